"""Counts: their law, their noise in closed form, and whole counterfactuals."""

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import MechanismError, SupportError
from causalcf.mechanisms.count import CountDistribution


def _poisson(n: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator=generator)
    return {"x": x, "y": torch.poisson((0.5 + 0.6 * x).exp(), generator=generator)}


@pytest.fixture(scope="module")
def scm() -> ccf.SCM:
    variables = {"x": ccf.Real(), "y": ccf.Count()}
    return ccf.SCM([("x", "y")], variables).fit(_poisson(1500), epochs={"x": 1, "y": 20}, seed=0, progress=False)


def test_a_law_of_counts_is_learned(scm: ccf.SCM) -> None:
    """Within 0.03 nats of the Poisson law that made them, on other rows; and its mean after acting."""
    rows = _poisson(2000, seed=1)
    truth = torch.distributions.Poisson((0.5 + 0.6 * rows["x"]).exp()).log_prob(rows["y"]).mean()
    assert scm.log_prob(rows)["y"].mean() == pytest.approx(float(truth), abs=0.03)
    drawn = scm.sample(20_000, do={"x": 1.0}, seed=0)["y"]
    assert float(drawn.mean()) == pytest.approx(float(torch.tensor(1.1).exp()), abs=0.2)
    assert drawn.max() < 25, "the tail is no heavier than the data's"


def test_counterfactual_counts_are_whole_monotone_and_compose(scm: ccf.SCM) -> None:
    rows = _poisson(500, seed=2)
    null = scm.counterfactual(rows, do={}, recompute="all", seed=0)
    same = scm.counterfactual(rows, do={"x": rows["x"]}, seed=0)
    assert torch.equal(null["y"], rows["y"])
    assert torch.equal(same["y"], rows["y"])
    more = scm.counterfactual(rows, do={"x": ccf.shift(0.5)}, seed=0)["y"]
    assert torch.equal(more, more.round())
    assert (more >= rows["y"]).double().mean() > 0.99


def test_a_count_can_be_set_and_shifted_by_whole_numbers(scm: ccf.SCM) -> None:
    rows = _poisson(5, seed=3)
    assert torch.equal(scm.counterfactual(rows, do={"y": ccf.shift(2)}, seed=0)["y"], rows["y"] + 2)
    for action in (ccf.shift(0.5), 1.5, -1, ccf.shift(-99)):
        with pytest.raises(SupportError, match="'y' must be a whole number of at least 0"):
            scm.counterfactual(rows, do={"y": action}, seed=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_thresholds_and_quantiles_agree(dtype: torch.dtype) -> None:
    law = CountDistribution(
        torch.tensor([0.3, 0.7], dtype=dtype).log(),
        torch.tensor([0.2, 40.0], dtype=dtype),
        torch.tensor([0.05, 9.0], dtype=dtype),
    )
    k = torch.arange(600, dtype=dtype)
    p = law.log_prob(k).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    below = law.threshold(k)
    assert torch.allclose(below[:60].sigmoid(), p.cumsum(0)[:60], atol=1e-5)
    assert (below.diff() > 0).all(), "increasing far out in the tail, where probabilities round to 1"
    # A threshold belongs to its count, and what lies just above to the next.
    assert torch.equal(law.expand([len(k)]).quantile(below), k)
    assert torch.equal(
        law.expand([len(k)]).quantile(below + 1e-3 * below.diff().min()).clamp_max(599), (k + 1).clamp_max(599)
    )
    assert law.log_prob(torch.tensor([-1.0, 0.5], dtype=dtype)).tolist() == [-torch.inf, -torch.inf]


def test_impossible_rows_stay_finite() -> None:
    count = ccf.mechanisms.Count().bind("n", ccf.Count(), {"r": ccf.Real()})
    count.calibrate(torch.poisson(torch.full((100,), 3.0)), {"r": torch.randn(100)})
    pa, x = {"r": torch.tensor([0.0, 1e6, -1e6])}, torch.tensor([1e6, 0.0, 5.0])
    assert torch.isfinite(count.dist(pa).log_prob(x)).all()
    u = count.abduct(x, pa)
    assert torch.isfinite(u["u"]).all()
    assert torch.isfinite(count.predict(u, pa)).all()


def test_other_variables_are_no_counts() -> None:
    with pytest.raises(MechanismError, match="Flow cannot model 'n', a Count"):
        ccf.SCM([("x", "n")], {"x": ccf.Real(), "n": ccf.Count()}, {"n": ccf.mechanisms.Flow()})


def test_counts_that_a_type_cannot_tell_apart_are_refused() -> None:
    rows = {"x": torch.randn(20), "n": torch.full((20,), 3e6)}
    scm = ccf.SCM([("x", "n")], {"x": ccf.Real(), "n": ccf.Count()})
    with pytest.raises(
        SupportError, match=r"'n' counts up to 3e\+06: 32 bits tell counts up to 1,048,576 apart \(20 of"
    ):
        scm.fit(rows, seed=0, progress=False)
    count = ccf.Count()
    count.check("n", torch.tensor([3e6], dtype=torch.float64))
    assert count.project(torch.tensor([3e6])).item() == 2**20


def test_large_counts_come_back_from_their_noise_in_32_bits() -> None:
    count = ccf.mechanisms.Count().bind("n", ccf.Count(), {"r": ccf.Real()})
    x = (1e6 - 1e4 * torch.rand(400, generator=torch.Generator().manual_seed(0))).round()
    pa = {"r": torch.zeros(400)}
    count.calibrate(x, pa)
    assert torch.equal(count.predict(count.abduct(x, pa), pa), x)
