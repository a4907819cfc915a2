"""Least squares far from zero, on columns that repeat each other, and on columns that say nothing."""

import re
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import causalcf as ccf
from causalcf.core.errors import CausalCFWarning
from causalcf.scm.doubts import warn_of_rounding


def _linear(*nodes: str) -> dict[str, ccf.mechanisms.LinearGaussian]:
    return {node: ccf.mechanisms.LinearGaussian() for node in nodes}


def _draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("rows", "days"), [(1000, 1), (200_000, 365)])
def test_the_slope_of_times_in_seconds_since_1970(rows: int, days: int) -> None:
    u = torch.rand(rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * days
    data = {"when": 1.7e9 + 86_400 * u, "y": 3 * u + 0.1 * _draws(rows, seed=1)}
    scm = ccf.SCM([("when", "y")], mechanisms=_linear("when", "y"))
    scm.fit(data, seed=0, progress=False, precision="64-true")
    moved = scm.counterfactual({"when": [1.7e9], "y": [0.0]}, {"when": ccf.shift(86_400.0)})
    assert moved["y"].item() == pytest.approx(3, abs=0.05)


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e3), st.floats(-5, 5), st.integers(0, 100))
def test_where_zero_and_what_the_unit_is_make_no_difference(
    offset: float, unit: float, slope: float, seed: int
) -> None:
    x, e = _draws(2, 200, seed=seed)
    data = {"x": unit * (offset + x), "y": slope * x + 0.1 * e}
    scm = ccf.SCM([("x", "y")], mechanisms=_linear("x", "y")).fit(data, seed=0, progress=False, precision="64-true")
    moved = scm.counterfactual({"x": [unit * offset], "y": [0.0]}, {"x": ccf.shift(unit)})
    assert moved["y"].item() == pytest.approx(slope, abs=0.1)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_cause_that_never_changes_has_no_effect(precision: str) -> None:
    data = {"x": torch.full((500,), 3.0), "y": 2 + _draws(500)}
    scm = ccf.SCM([("x", "y")], {"x": ccf.Real()}, _linear("x", "y"))
    scm.fit(data, seed=0, progress=False, precision=precision)
    assert scm.counterfactual({"x": [3.0], "y": [2.0]}, {"x": 4.0})["y"].item() == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
@pytest.mark.parametrize("factor", [1.0, 2.0, 0.1])
def test_causes_that_repeat_each_other_share_their_effect(precision: str, factor: float) -> None:
    a, e = _draws(2, 1000)
    data = {"a": a, "b": factor * a + 5, "y": a + 0.1 * e}
    scm = ccf.SCM([("a", "b"), ("a", "y"), ("b", "y")], mechanisms=_linear("a", "b", "y"))
    scm.fit(data, seed=0, progress=False, precision=precision)
    assert float(scm.mechanisms["y"].weight.abs().max()) < 1.01 / factor
    both = scm.counterfactual({"a": [0.0], "b": [5.0], "y": [0.0]}, {"a": 1.0, "b": 5 + factor})
    assert both["y"].item() == pytest.approx(1, abs=0.02)


def test_categories_have_the_effects_that_they_have() -> None:
    c = torch.arange(300) % 3
    data = {"c": c, "y": torch.tensor([1.0, -2.0, 4.0])[c] + 0.01 * _draws(300)}
    scm = ccf.SCM([("c", "y")], {"c": ccf.Categorical(["a", "b", "d"])}, _linear("y")).fit(data, seed=0, progress=False)
    cf = scm.counterfactual({"c": ["a"], "y": [1.0]}, [{"c": "b"}, {"c": "d"}], seed=0)
    assert cf["y"].flatten().tolist() == pytest.approx([-2, 4], abs=0.01)


def test_numbers_that_32_bits_merge_are_named() -> None:
    ids = 16_777_217.0 + torch.arange(500, dtype=torch.float64)
    data = {"id": ids, "y": 1e8 + _draws(500), "z": _draws(500)}
    scm = ccf.SCM([("id", "y"), ("z", "y")], {"id": ccf.Real()}, _linear("id", "y", "z"))
    with pytest.warns(CausalCFWarning, match='precision="64-true"') as told:
        scm.fit(data, seed=0, progress=False)
    assert [str(w.message).split(":")[0] for w in told] == ["'id'", "'y'"]
    scm.fit(data, seed=0, progress=False, precision="64-true")
    assert torch.equal(scm.counterfactual(data, {"z": 0.0})["id"], ids)


def test_numbers_too_small_for_32_bits_are_named() -> None:
    data = {"x": _draws(500), "y": 1e-44 * (2 + _draws(500))}
    graph = ccf.SCM([("x", "y")], mechanisms=_linear("x", "y")).fit({**data, "y": data["x"]}, seed=0, progress=False)
    with pytest.warns(CausalCFWarning, match="'y': 32 bits"):
        warn_of_rounding(graph.graph, data, torch.float32)


def test_the_noise_is_as_small_as_the_unit_makes_it() -> None:
    data = {"x": _draws(500), "y": 1e-15 * _draws(500, seed=1)}
    scm = ccf.SCM([("x", "y")], mechanisms=_linear("x", "y")).fit(data, seed=0, progress=False)
    assert float(scm.sample(500, seed=0)["y"].std()) == pytest.approx(1e-15, rel=0.2)


def _told(x: torch.Tensor, y: torch.Tensor) -> list[str]:
    """Warnings of a fit of y on x that speak of rows that rule the line."""
    mechanism = ccf.mechanisms.LinearGaussian().bind("y", ccf.Real(), {"x": ccf.Real()}).double()
    mechanism.calibrate(y, {"x": x})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        mechanism.solve(y, {"x": x})
    return [str(warning.message) for warning in told]


def test_a_few_rows_that_rule_the_line_are_counted() -> None:
    x, e = _draws(2, 2000, seed=5)
    y, bad = 2 * x + 0.5 * e, torch.arange(2000) % 50 == 0
    ten = torch.full_like(x, 10.0)
    for told in (_told(torch.where(bad, ten, x), y), _told(torch.where(bad, x + 8, x), torch.where(bad, -3 * ten, y))):
        assert len(told) == 1
        assert "ruled by 40 of 2000 rows" in told[0]
        assert "moves 'y' by" in told[0]
    # Off the line alone, they widen the noise and hardly move the line.
    (told,) = _told(x, torch.where(bad, 3 * ten, y))
    assert float(re.findall(r"noise is (\S+) times", told)[0]) > 5


@pytest.mark.parametrize("law", ["normal", "lognormal cause", "laplace noise", "rare cause", "one that explains all"])
def test_data_without_such_rows_are_not_doubted(law: str) -> None:
    x, e = _draws(2, 2000, seed=6)
    if law == "lognormal cause":
        x = x.exp()
    elif law == "laplace noise":
        e = torch.sign(e) * torch.log(torch.rand(2000, generator=torch.Generator().manual_seed(0))).double()
    elif law == "rare cause":
        x = (x > 2).double()
    assert _told(x, 2 * x + (0.0 if law == "one that explains all" else 0.5) * e) == []
