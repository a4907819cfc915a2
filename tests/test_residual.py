"""A residual that fades between its two ends, 1 and 0."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import causalcf as ccf
from causalcf.core.errors import DataError, InterventionError
from causalcf.scm.residual import Fading, residual_label
from causalcf.variables.codes import Categorical
from causalcf.variables.image import Image
from causalcf.variables.scalar import Positive

N = 6


@pytest.fixture(scope="module")
def scm() -> ccf.SCM:
    """An untrained VAE below a thickness and a class: laws hold for any weights."""
    torch.manual_seed(0)
    rows = {
        "t": 1 + torch.rand(64),
        "k": torch.arange(64) % 3,
        "image": torch.rand(64, 1, 16, 16),
    }
    variables = {"t": Positive(), "k": Categorical(3), "image": Image(1, 16, 16)}
    model = ccf.SCM(
        [("t", "image"), ("k", "image")], variables, {"image": ccf.mechanisms.VAE(latent=4, widths=(8, 8, 8))}
    )
    return model.fit(rows, epochs=0, seed=0, progress=False)


@pytest.fixture(scope="module")
def x() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"t": 1 + torch.rand(N), "k": torch.arange(N) % 3, "image": torch.rand(N, 1, 16, 16)}


def _image(scm: ccf.SCM, x: dict[str, torch.Tensor], do: dict, residual: float | Fading) -> torch.Tensor:
    return scm.predict(scm.abduct(x, seed=0), do, residual=residual, project=False)["image"]


@given(st.floats(0.2, 5), st.floats(0.05, 3))
def test_what_is_left_decays_with_the_distance(scm: ccf.SCM, x: dict, length: float, moved: float) -> None:
    do = {"t": x["t"] + moved}
    whole, none = _image(scm, x, do, 1.0), _image(scm, x, do, 0.0)
    expected = none + math.exp(-moved / length) * (whole - none)
    assert torch.allclose(_image(scm, x, do, Fading(t=length)), expected, atol=1e-5)


def test_nothing_fades_where_nothing_moves(scm: ccf.SCM, x: dict) -> None:
    for residual in (Fading(t=0), Fading(t=0.1, k=0)):
        cf = scm.counterfactual(x, {"t": x["t"], "k": x["k"]}, residual=residual)
        assert torch.allclose(cf["image"], x["image"], atol=1e-5)
        assert cf.residual == residual


def test_length_nought_lets_nothing_through_and_a_long_one_everything(scm: ccf.SCM, x: dict) -> None:
    do = {"t": x["t"] + 1}
    assert torch.equal(_image(scm, x, do, Fading(t=0)), _image(scm, x, do, 0.0))
    assert torch.allclose(_image(scm, x, do, Fading(t=1e9)), _image(scm, x, do, 1.0), atol=1e-5)


def test_each_row_fades_by_its_own_distance(scm: ccf.SCM, x: dict) -> None:
    target = torch.full((N,), 1.5)
    whole, none = _image(scm, x, {"t": target}, 1.0), _image(scm, x, {"t": target}, 0.0)
    share = (-(target - x["t"]).abs() / 0.3).exp()[:, None, None, None]
    assert torch.allclose(_image(scm, x, {"t": target}, Fading(t=0.3)), none + share * (whole - none), atol=1e-5)


def test_a_category_moves_by_one_whichever_it_becomes(scm: ccf.SCM, x: dict) -> None:
    do = {"k": torch.full((N,), 1)}
    faded, whole, none = (_image(scm, x, do, r) for r in (Fading(k=0.5), 1.0, 0.0))
    same = x["k"] == 1
    assert torch.equal(faded[same], whole[same])
    assert torch.allclose((faded - none)[~same], math.exp(-2) * (whole - none)[~same], atol=1e-5)


def test_lengths_multiply_and_parents_without_one_fade_nothing(scm: ccf.SCM, x: dict) -> None:
    do = {"t": x["t"] + 1, "k": (x["k"] + 1) % 3}
    whole, none = _image(scm, x, do, 1.0), _image(scm, x, do, 0.0)
    assert torch.allclose(_image(scm, x, do, Fading(t=1, k=1)), none + math.exp(-2) * (whole - none), atol=1e-5)
    assert torch.equal(_image(scm, x, {"k": do["k"]}, Fading(t=0.01)), _image(scm, x, {"k": do["k"]}, 1.0))


def test_worlds_and_samples_fade_each_by_their_own(scm: ccf.SCM, x: dict) -> None:
    worlds = [{"t": x["t"] + 1}, {"k": (x["k"] + 1) % 3}]
    cf = scm.counterfactual(x, worlds, residual=Fading(t=1), num_samples=2, abduction="sample", seed=3)
    assert cf["image"].shape == (2, 2, N, 1, 16, 16)
    one = scm.counterfactual(x, worlds[0], residual=Fading(t=1), num_samples=2, abduction="sample", seed=3)
    assert torch.equal(cf["image"][0], one["image"])


def test_draws_from_the_prior_keep_their_residual(scm: ccf.SCM) -> None:
    drawn = scm.sample(N, seed=0, residual=Fading(t=1))
    assert torch.equal(drawn["image"], scm.sample(N, seed=0)["image"])


def test_double_precision_stays(scm: ccf.SCM, x: dict) -> None:
    double = scm.double()
    try:
        wide = {name: value.double() if value.is_floating_point() else value for name, value in x.items()}
        assert _image(double, wide, {"t": wide["t"] + 1}, Fading(t=1, k=1)).dtype == torch.float64
    finally:
        scm.float()


@pytest.mark.parametrize("lengths", [{}, {"t": -1.0}, {"t": float("nan")}, {"t": float("inf")}, {"t": "long"}])
def test_bad_lengths_are_refused(lengths: dict) -> None:
    with pytest.raises(InterventionError, match="length"):
        Fading(lengths)


def test_a_parent_computed_again_has_not_moved() -> None:
    """Null interventions give a recomputed parent back but for rounding: with a length of 0 that must not count."""
    bars = ccf.datasets.Bars(200)
    vae = ccf.mechanisms.VAE(latent=4, widths=(8, 8, 8))
    scm = ccf.SCM(bars.graph, mechanisms={"image": vae}).fit(bars, epochs={"image": 0}, seed=0, progress=False)
    for do in ({}, {"width": bars["width"]}):
        cf = scm.counterfactual(bars, do, recompute="all", residual=Fading(brightness=0), seed=0)
        assert float((cf["image"] - bars["image"]).abs().max()) < 1e-3


@pytest.mark.parametrize("residual", [float("nan"), float("inf"), -1, True, None, "1", torch.ones(N), {"t": 1.0}])
def test_what_is_no_residual_is_refused(scm: ccf.SCM, x: dict, residual: Any) -> None:
    with pytest.raises(InterventionError, match="residual="):
        scm.counterfactual(x, {"t": 2.0}, residual=residual)
    with pytest.raises(InterventionError, match="residual="):
        ccf.evaluate(scm, x, ["composition"], n=N, residuals=(residual,))


@pytest.mark.parametrize("residuals", [(), "1", 1.0])
def test_residuals_are_a_sequence(scm: ccf.SCM, x: dict, residuals: Any) -> None:
    with pytest.raises(DataError, match="residuals="):
        ccf.evaluate(scm, x, ["composition"], n=N, residuals=residuals)


def test_numbers_of_other_libraries_are_numbers(scm: ccf.SCM, x: dict) -> None:
    assert Fading(t=np.float32(0.5), k=np.int64(1)) == Fading(t=0.5, k=1)
    found = ccf.evaluate(scm, x, ["composition"], n=N, residuals=(1, np.float32(1.0), Fading(t=np.float32(1))))
    assert {record.residual for record in found} == {1.0, "t=1"}  # each asked once, and JSON
    assert found.one(metric="composition(1)", residual=Fading(t=1)).value < 1e-3


def test_a_mechanism_without_the_parent_keeps_its_residual() -> None:
    kept = Fading(t=1).share({}, {}, {})
    assert torch.equal(kept, torch.ones(()))


@pytest.mark.parametrize("node", ["image", "nowhere"])
def test_what_is_no_parent_of_a_node_with_a_residual_is_refused(scm: ccf.SCM, x: dict, node: str) -> None:
    with pytest.raises(InterventionError, match=node):
        scm.counterfactual(x, {"t": 2.0}, residual=Fading({node: 1.0}))


def test_a_fading_is_a_key_and_has_a_name() -> None:
    assert {Fading(t=1): 1}[Fading({"t": 1})] == 1
    assert residual_label(Fading(t=1, k=0)) == "residual fading (t=1, k=0)"
    assert residual_label(0.0) == "residual 0"


def test_a_score_says_how_the_residual_faded(scm: ccf.SCM, x: dict) -> None:
    found = ccf.evaluate(scm, x, ["composition"], n=N, residuals=(1.0, Fading(t=1)))
    assert found.select(residual="t=1", metric="composition(1)")[0].value < 1e-3
    assert ccf.Records.from_json(found.to_json())[0] == found[0]
