"""Training on columns that are not in memory: the same bits, and never more than a block of rows at a time.

The memory of a whole fit at two sizes is measured in tests/costs, each process's share in test_processes.py.
"""

from typing import Any

import pytest
import torch
from data.test_columns import Watched

import causalcf as ccf
from causalcf import predictors
from causalcf.core.columns import BLOCK, Column
from causalcf.mechanisms import GAN, VAE, LinearGaussian, Recipe
from causalcf.predictors import Predictor
from causalcf.training import feeding

ROWS = BLOCK + 60
X = torch.rand(ROWS, generator=torch.Generator().manual_seed(0))
SIDE = torch.arange(ROWS) // 2 % 2
LIGHT = (200 * X)[:, None, None, None] + 50 * torch.rand(ROWS, 3, 8, 8, generator=torch.Generator().manual_seed(1))
PIXELS = LIGHT.to(torch.uint8)
VARIABLES = {"x": ccf.Real(), "side": ccf.Categorical(2), "image": ccf.Image(3, 8, 8)}
EDGES = [("x", "image"), ("side", "image")]
RECIPE = Recipe(epochs=1, batch_size=64, accumulate=2)
KINDS = {
    "vae": VAE(latent=2, widths=(4, 4, 4), by_category=True, recipe=RECIPE),
    "gan": GAN(latent=2, widths=(4, 4, 4)),
}


def _fitted(image: Any, kind: str = "vae", **options: Any) -> ccf.SCM:
    mechanisms = {"x": LinearGaussian(), "image": KINDS[kind]}
    scm = ccf.SCM(EDGES, VARIABLES, mechanisms)
    return scm.fit(_data(image), epochs=1, seed=0, progress=False, **options)


def _data(image: Any) -> Any:
    """The rows: a data set if the image is a column, as those that come along are, or else a mapping."""
    values = {"x": X, "side": SIDE, "image": image}
    graph = ccf.CausalGraph(EDGES, VARIABLES)
    return ccf.datasets.Dataset(values, graph) if isinstance(image, Column) else values


def _tuner(image: Any) -> Predictor:
    judge = Predictor("side", VARIABLES["side"], VARIABLES["image"], widths=(4,), hidden=4)
    return predictors.fit(judge, _data(image), which="tune", recipe=Recipe(epochs=1, batch_size=32), progress=False)


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[ccf.SCM, Watched]]:
    """In memory, and streamed: the model, and the store it was fitted on."""
    stores = {"memory": Watched(PIXELS), "streamed": Watched(PIXELS)}
    images = {"memory": PIXELS.float() / 255, "streamed": Column(stores["streamed"])}
    return {how: (_fitted(image), stores[how]) for how, image in images.items()}


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _losses(scm: ccf.SCM) -> list[Any]:
    return [(record["losses"], record["validation"]) for record in scm.history]


def test_a_model_is_the_same_to_the_last_bit(models: dict[str, tuple[ccf.SCM, Watched]]) -> None:
    memory, streamed = models["memory"][0], models["streamed"][0]
    assert _same(memory, streamed)
    assert _losses(memory) == _losses(streamed)
    assert memory.seen == streamed.seen


@pytest.mark.parametrize(("kind", "precision"), [("gan", "32-true"), ("vae", "64-true")])
def test_adversaries_and_64_bits_too(kind: str, precision: str) -> None:
    images = (PIXELS.float() / 255, PIXELS)
    memory, streamed = (_fitted(image, kind, precision=precision) for image in images)
    assert _same(memory, streamed)


def test_fit_never_reads_more_than_a_block(models: dict[str, tuple[ccf.SCM, Watched]]) -> None:
    taken = models["streamed"][1].taken
    assert max(map(len, taken)) <= max(BLOCK, 500)
    assert {row for rows in taken for row in rows} == set(range(ROWS))


def test_a_killed_run_goes_on_with_the_data_wherever_they_are(tmp_path) -> None:
    path = tmp_path / "run"
    whole = _fitted(PIXELS.float() / 255, checkpoint=path)
    again = _fitted(Column(Watched(PIXELS)), checkpoint=path, resume=True)
    assert _same(whole, again)


def test_predictors_and_finetuning_too(models: dict[str, tuple[ccf.SCM, Watched]]) -> None:
    store = Watched(PIXELS)
    images = (PIXELS.float() / 255, Column(store))
    tuners = [_tuner(image) for image in images]
    assert _same(*tuners)
    assert tuners[0].score == tuners[1].score
    assert max(map(len, store.taken)) <= BLOCK
    recipe = Recipe(epochs=1, batch_size=64)
    tuned = [
        ccf.finetune(
            models["memory"][0], _data(image), [tuners[0]], recipe=recipe, seed=0,
            progress=False,
        )
        for image in images[:1]
    ]  # fmt: skip
    scm = ccf.finetune(
        models["streamed"][0], _data(images[1]), [tuners[0]], recipe=recipe, seed=0,
        progress=False,
    )  # fmt: skip
    assert _same(tuned[0], scm)
    assert max(map(len, store.taken)) <= BLOCK


def test_questions_scores_and_explanations_read_what_they_ask_about(models: dict[str, tuple[ccf.SCM, Watched]]) -> None:
    scm, store = models["memory"][0], Watched(PIXELS)
    floats = {"x": X, "side": SIDE, "image": PIXELS.float() / 255}
    data = _data(Column(store))
    do = {"x": 0.5}
    cf = scm.counterfactual(data[:5], do=do, seed=0)
    assert store.taken == [list(range(5))]
    memory = scm.counterfactual(ccf.Batch(floats)[:5], do=do, seed=0)
    assert torch.equal(cf["image"], memory["image"])
    assert torch.equal(cf.factual["image"], floats["image"][:5])
    store.taken.clear()
    found, expected = (ccf.evaluate(scm, x, ["composition"], n=20) for x in (data, floats))
    assert [record.value for record in found] == [record.value for record in expected]
    assert max(map(len, store.taken)) <= BLOCK
    explainer = ccf.explainers.REVISE(scm, classifier=_tuner(PIXELS), node="image", max_steps=2)
    answers = [explainer.explain(x, target=0, seed=0).counterfactual for x in (data[:3], ccf.Batch(floats)[:3])]
    assert torch.equal(*answers)


def test_a_row_that_cannot_be_read_stops_training_and_leaves_the_model_as_it_was() -> None:
    class Broken(Watched):
        def take(self, rows: torch.Tensor) -> torch.Tensor:
            if len(self.taken) > 5:
                raise ccf.errors.DataError("row 7 is damaged")
            return super().take(rows)

    scm = ccf.SCM(EDGES, VARIABLES, {"x": LinearGaussian(), "image": KINDS["vae"]})
    with pytest.raises(ccf.errors.DataError, match="row 7 is damaged"):
        scm.fit({"x": X, "side": SIDE, "image": Column(Broken(PIXELS))}, epochs=1, seed=0, progress=False)
    assert not scm.mechanisms["image"].fitted


def test_rows_that_lie_on_a_device_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Column(Watched(PIXELS)).select(torch.arange(40, 10, -1))
    resident = column.resident()
    monkeypatch.setattr(Column, "is_resident", True)
    expected = (PIXELS.float() / 255)[torch.arange(40, 10, -1)]
    rows = torch.tensor([3, 0, 7])
    assert torch.equal(resident[rows], expected[rows])
    assert torch.equal(resident.select(rows)[1:], expected[rows][1:])


@pytest.mark.parametrize("share", [0.25, 0.0], ids=["resident", "streamed"])
def test_a_gpu_captures_steps_on_bytes_wherever_they_lie(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU nothing is captured, and columns stay where they are: the same bits."""
    monkeypatch.setattr(feeding, "SHARE", share)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    image = Column(Watched(PIXELS))
    assert feeding.settled_on(ccf.Batch({"image": image}), torch.device("cpu")).held["image"] is image
    step_by_step, captured = _fitted(image, device=device), _fitted(image, device=device, compile=device == "cuda")
    for name, weight in step_by_step.state_dict().items():
        assert torch.allclose(weight, captured.state_dict()[name], rtol=1e-2, atol=1e-3), name
