"""A captured step leaves the weights that the step itself leaves; how it is captured is for a GPU."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.mechanisms import HVAE, LinearGaussian, Recipe
from causalcf.training.replay import ROWS, WARM_UP, Replay, replays


def _fitted(device: str, *, compile: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(80, generator=generator)
    data = {"t": t, "image": t[:, None, None, None] * torch.rand(80, 1, 8, 8, generator=generator)}
    recipe = Recipe(epochs=6, batch_size=16, lr=1e-3, ema=0.9)  # 72 rows: four full batches and one of 8
    image = HVAE(strides=(2, 4), widths=(8, 8, 8), blocks=(0, 1, 1), latent=(0, 2, 2), recipe=recipe)
    variables = {"t": ccf.Real(), "image": ccf.Image(1, 8, 8)}
    scm = ccf.SCM([("t", "image")], variables, {"t": LinearGaussian(), "image": image})
    scm.fit(data, seed=0, device=device, compile=compile, progress=False)
    return {name: weight.cpu() for name, weight in scm.mechanisms["image"].state_dict().items()}


def test_a_gpu_captures_what_it_would_do_step_by_step() -> None:
    """On a CPU nothing is captured: the same bits."""
    if not torch.cuda.is_available():
        assert not replays(torch.device("cpu"))
        again = _fitted("cpu", compile=False)
        assert all(torch.equal(weight, again[name]) for name, weight in _fitted("cpu", compile=False).items())
        return
    one_by_one, captured = _fitted("cuda", compile=False), _fitted("cuda", compile=True)
    for name, weight in one_by_one.items():
        assert torch.allclose(weight, captured[name], rtol=1e-2, atol=1e-3), name


class _Recorder:
    """A step that counts, and what stands for a capture of it: the last batch, and how often it was replayed."""

    def __init__(self) -> None:
        self.taken: list[list[int]] = []
        self.replayed = 0

    def step(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        self.taken.append(batch[ROWS].tolist())
        return [batch[ROWS].sum()]

    def replay(self) -> None:
        self.replayed += 1


def test_full_batches_are_replayed_after_a_few_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = _Recorder()

    def capture(self: Replay, batch: Mapping[str, Tensor]) -> None:
        self.batch = {name: values.clone() for name, values in batch.items()}
        self.losses, self.graph = self.step(batch), recorder  # type: ignore[assignment]

    monkeypatch.setattr(Replay, "_capture", capture)
    monkeypatch.setattr(Replay, "_aside", lambda self, batch: self.step(batch))
    replay = Replay(recorder.step, 2)
    for i in range(WARM_UP + 3):
        replay({ROWS: torch.tensor([i, i]), "image": torch.tensor([float(i)])})
        replay({ROWS: torch.tensor([9])})
    full = [rows for rows in recorder.taken if rows != [9]]
    assert full == [[i, i] for i in range(WARM_UP + 1)]  # the last of them to be recorded
    assert recorder.replayed == 3
    assert recorder.taken.count([9]) == WARM_UP + 3
    assert {name: values.tolist() for name, values in replay.batch.items()} == {
        ROWS: [WARM_UP + 2] * 2,
        "image": [WARM_UP + 2.0],
    }
