"""A fit happens whole or not at all; what is fitted travels with a state dict; devices that are not there are named."""

from __future__ import annotations

import io
import pickle

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import CausalCFError, DataError, NotFittedError

SETTINGS = {"epochs": 1, "seed": 0, "progress": False}


def _rows() -> dict[str, Tensor]:
    x = torch.randn(80, generator=torch.Generator().manual_seed(0))
    return {"x": x, "y": 2 * x + torch.randn(80, generator=torch.Generator().manual_seed(1))}


def _state(scm: ccf.SCM) -> bytes:
    out = io.BytesIO()
    pickle.dump([(name, tensor.numpy().tobytes()) for name, tensor in scm.state_dict().items()], out)
    return out.getvalue()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_failed_refit_leaves_a_fitted_model_fitted(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    scm = ccf.SCM([("x", "y")]).fit(_rows(), **SETTINGS)
    before, history, provenance = _state(scm), scm.history, scm.provenance

    def killed(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("causalcf.training.fit", killed)
    with pytest.raises(error):
        scm.fit(_rows(), precision="64-true", **SETTINGS)
    assert _state(scm) == before
    assert (scm.history, scm.provenance, scm.dtype) == (history, provenance, torch.float32)
    assert scm.counterfactual(_rows(), do={"x": 1.0})["y"].shape == (80,)
    monkeypatch.undo()
    assert _state(scm.fit(_rows(), **SETTINGS)) == before


@pytest.mark.parametrize(
    "wrong", [{"validation": 5.0}, {"precision": "8-bit"}, {"nodes": ["z"]}, {"device": "gpu"}, {"epochs": {"z": 1}}]
)
def test_a_failed_first_fit_leaves_no_kinds_behind(wrong: dict[str, object]) -> None:
    scm = ccf.SCM([("x", "y")])
    with pytest.raises(CausalCFError):
        scm.fit({"x": [True, False] * 40, "y": torch.randn(80)}, **{**SETTINGS, **wrong})
    assert dict(scm.graph.variables) == {}
    assert dict(scm.mechanisms) == {}
    assert scm.fit(_rows(), **SETTINGS).variables["x"] == ccf.Real()


def test_a_state_dict_says_that_its_weights_are_fitted() -> None:
    variables = {"x": ccf.Real(), "y": ccf.Real()}
    scm = ccf.SCM([("x", "y")], variables).fit(_rows(), **SETTINGS)
    again, out = ccf.SCM([("x", "y")], variables), io.BytesIO()
    torch.save(scm.state_dict(), out)
    out.seek(0)
    again.load_state_dict(torch.load(out, weights_only=True))
    expected = scm.counterfactual(_rows(), do={"x": 1.0})["y"]
    assert torch.equal(again.counterfactual(_rows(), do={"x": 1.0})["y"], expected)
    again.load_state_dict(ccf.SCM([("x", "y")], variables).state_dict())
    with pytest.raises(NotFittedError, match="A state dict says that its weights are fitted by its metadata"):
        again.counterfactual(_rows(), do={"x": 1.0})
    again.load_state_dict(dict(scm.state_dict()))
    with pytest.raises(NotFittedError, match="are not fitted"):
        again.counterfactual(_rows(), do={"x": 1.0})


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", None, 3.5])
def test_a_device_that_is_not_there_is_named(device: object) -> None:
    message = f"{device}: this machine has no such device. Name one it has: cpu, cuda, cuda:1, mps"
    for ask in (
        lambda: ccf.SCM([("x", "y")]).fit(_rows(), device=device, **SETTINGS),
        lambda: ccf.pretrained("mnist-vae", device=device),  # type: ignore[arg-type]
        lambda: ccf.predictors.pretrained("mnist", device=device),  # type: ignore[arg-type]
    ):
        with pytest.raises(DataError, match=message):
            ask()


def test_loading_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    ccf.predictors.pretrained("mnist")
    ccf.pretrained("mnist-vae")
    assert torch.equal(torch.random.get_rng_state(), before)
