"""Ordered categories: thresholds on one noise, monotone in it, abducted in closed form."""

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import CausalCFWarning, MechanismError
from causalcf.mechanisms.ordinal import logistic_between


def _graded(n: int, seed: int = 0) -> dict[str, Tensor]:
    """Thresholds at -1 and 1 of x plus logistic noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator=generator)
    u = torch.logit(torch.rand(n, generator=generator).clamp(1e-6, 1 - 1e-6))
    return {"x": x, "u": u, "y": _grade(x, u)}


def _grade(x: Tensor, u: Tensor) -> Tensor:
    return (2 * x + u > -1).long() + (2 * x + u > 1).long()


@pytest.fixture(scope="module")
def scm() -> ccf.SCM:
    data = _graded(3000)
    variables = {"x": ccf.Real(), "y": ccf.Ordinal(["low", "mid", "high"])}
    rows = {"x": data["x"], "y": data["y"]}
    return ccf.SCM([("x", "y")], variables).fit(rows, epochs={"x": 1}, seed=0, progress=False)


def test_the_thresholds_are_those_that_made_the_data(scm: ccf.SCM) -> None:
    thresholds = scm.mechanisms["y"].logits({"x": torch.tensor([0.0, 0.5])})  # type: ignore[operator]
    assert torch.allclose(thresholds, torch.tensor([[-1.0, 1.0], [-2.0, 0.0]]), atol=0.25)


def test_counterfactual_probabilities_are_those_of_the_truncated_noise(scm: ccf.SCM) -> None:
    """Of rows that were "mid" at x = 0: had x been 0.5, the share of "high". Six standard errors of 4,000 draws."""
    x = {"x": torch.zeros(4000), "y": torch.ones(4000, dtype=torch.long)}
    cf = scm.counterfactual(x, do={"x": 0.5}, seed=0)["y"]
    before, after = torch.sigmoid(scm.mechanisms["y"].logits({"x": torch.tensor([0.0, 0.5])}))  # type: ignore[operator]
    expected = (before[1] - after[1]) / (before[1] - before[0])
    assert float((cf == 2).double().mean()) == pytest.approx(float(expected), abs=0.047)
    assert (cf >= 1).all()


def test_it_is_monotone_and_the_null_intervention_keeps_every_grade(scm: ccf.SCM) -> None:
    data = _graded(1000, seed=1)
    rows = {"x": data["x"], "y": data["y"]}
    assert torch.equal(scm.counterfactual(rows, do={}, recompute="all", seed=0)["y"], rows["y"])
    assert torch.equal(scm.counterfactual(rows, do={"x": rows["x"]}, seed=0)["y"], rows["y"])
    more = scm.counterfactual(rows, do={"x": ccf.shift(0.5)}, seed=0)["y"]
    assert (more >= rows["y"]).all()
    assert (more > rows["y"]).any()


def test_grades_have_names_and_the_data_have_them_back(scm: ccf.SCM) -> None:
    cf = scm.counterfactual({"x": [0.0, 1.0], "y": ["mid", "high"]}, do={"y": "low"}, seed=0)
    assert cf.to_frame()["y"].tolist() == ["low", "low"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_truncated_noise_lies_between_and_has_its_law(dtype: torch.dtype) -> None:
    """Kolmogorov-Smirnov at sqrt(n) D < 2.2: a false alarm rate of 1.3e-4 each, and the seed is fixed."""
    n, inf = 20_000, torch.inf
    for low, high in ((-1.0, 2.0), (-inf, 0.5), (3.0, inf), (30.0, 31.0), (-40.0, -39.0), (-inf, inf)):
        a, b = (torch.full((n,), end, dtype=dtype) for end in (low, high))
        u = logistic_between(a, b)
        assert bool(((u > a) & (u < b)).all())
        # Exact in the tail: seen from the side where probabilities are small.
        sign = -1.0 if low + high > 0 else 1.0
        ends = sorted((sign * low, sign * high))
        p = torch.sigmoid(torch.tensor(ends, dtype=torch.float64))
        levels = (torch.sigmoid((sign * u).double().sort().values) - p[0]) / (p[1] - p[0])
        steps = torch.arange(n + 1, dtype=torch.float64) / n
        assert n**0.5 * torch.maximum(steps[1:] - levels, levels - steps[:-1]).max() < 2.2


def test_narrow_intervals_keep_the_value() -> None:
    low = torch.tensor([5.0, -3.0])
    u = logistic_between(low, low + 1e-5)
    assert ((u > low) & (u < low + 1e-5)).all()


def test_a_root_has_the_shares_of_its_data() -> None:
    grades = torch.tensor([0, 1, 1, 2, 2, 2, 2, 2, 0, 1])
    ordinal = ccf.mechanisms.Ordinal().bind("g", ccf.Ordinal(4), {})
    assert ordinal.solve(grades, {})
    p = ordinal.dist({}).log_prob(torch.arange(4)).exp()
    assert p.tolist() == pytest.approx([0.2, 0.3, 0.5, 0.0], abs=1e-4)


def test_categories_without_an_order_have_no_thresholds() -> None:
    with pytest.raises(MechanismError, match="Ordinal cannot model 'c', a Categorical: it takes an Ordinal"):
        ccf.mechanisms.Ordinal().bind("c", ccf.Categorical(3), {})
    ccf.mechanisms.Categorical().bind("g", ccf.Ordinal(3), {})  # the order may be left out of account


def test_a_category_that_the_model_holds_to_be_impossible_is_told() -> None:
    ordinal = ccf.mechanisms.Ordinal().bind("g", ccf.Ordinal(4), {"x": ccf.Real()})
    raw = torch.tensor([300.0, -80.0, 1.0])  # the second threshold lies on the first
    ordinal.network = torch.nn.Sequential(torch.nn.Linear(1, 3))
    with torch.no_grad():
        ordinal.network[0].weight.zero_()
        ordinal.network[0].bias.copy_(raw)
    pa = {"x": torch.zeros(4)}
    with pytest.warns(CausalCFWarning, match=r"'g' has values that .* impossible in 2 of 4 rows, for example 1: no"):
        ordinal.abduct(torch.tensor([0, 1, 1, 3]), pa)
