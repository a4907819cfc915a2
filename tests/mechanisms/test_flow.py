"""Flows: what each bijection can and cannot express, and how it is fitted."""

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.mechanisms.flow import within_edges


def _fit(mechanism: ccf.mechanisms.Mechanism, variable: ccf.Real, x: Tensor, y: Tensor, **options: object) -> ccf.SCM:
    scm = ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": variable}, {"y": mechanism})
    return scm.fit({"x": x, "y": y}, seed=0, progress=False, **options)  # type: ignore[arg-type]


def test_a_flow_learns_noise_whose_width_depends_on_the_parents() -> None:
    """y = x + (0.2 + x^2) e: the counterfactual needs the width; doing nothing scores 10 times worse."""
    generator = torch.Generator().manual_seed(0)
    x, e = torch.randn(2, 3000, generator=generator)
    truth = lambda x: x + (0.2 + x.square()) * e  # noqa: E731
    scm = _fit(ccf.mechanisms.Flow(), ccf.Real(), x, truth(x), epochs=60)
    cf = scm.counterfactual({"x": x, "y": truth(x)}, {"x": 1.0})["y"]
    error, idle = (cf - truth(torch.ones(()))).abs().median(), (truth(x) - truth(torch.ones(()))).abs().median()
    assert error < 0.1 * idle


def test_additive_noise_moves_the_location_only() -> None:
    mechanism = ccf.mechanisms.AdditiveNoise().bind("y", ccf.Real(), {"x": ccf.Real()}).double()
    for parameter in mechanism.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    u = torch.linspace(-3, 3, 50, dtype=torch.float64)
    with torch.no_grad():
        low, high = (mechanism.predict({"u": u}, {"x": torch.full_like(u, v)}) for v in (-1.0, 2.0))
    assert (high - low).std() < 1e-12
    assert (high - low).abs().min() > 1e-3
    assert (low.diff() > 0).all()
    assert low.diff().std() > 1e-3, "the noise is not a straight line"


def test_least_squares_are_exact_with_categories_and_vectors_too() -> None:
    generator = torch.Generator().manual_seed(0)
    parents = {"x": ccf.Real(), "c": ccf.Categorical(3), "v": ccf.Vector(2), "b": ccf.Boolean()}
    n = 200
    pa = {
        "x": torch.randn(n, generator=generator, dtype=torch.float64),
        "c": torch.randint(3, (n,), generator=generator),
        "v": torch.randn(n, 2, generator=generator, dtype=torch.float64),
        "b": torch.rand(n, generator=generator) < 0.5,
    }
    effect = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    y = 3 + 2 * pa["x"] + effect[pa["c"]] + pa["v"] @ torch.tensor([0.5, -1.5], dtype=torch.float64) + 4.0 * pa["b"]
    mechanism = ccf.mechanisms.LinearGaussian().bind("y", ccf.Real(), parents).double()
    assert mechanism.solve(y, pa)
    assert torch.allclose(mechanism.predict({"u": torch.zeros(n, dtype=torch.float64)}, pa), y, atol=1e-9)
    moved = mechanism.predict({"u": torch.zeros(n, dtype=torch.float64)}, pa | {"c": (pa["c"] + 1) % 3})
    assert torch.allclose(moved - y, effect[(pa["c"] + 1) % 3] - effect[pa["c"]], atol=1e-9)


def test_a_vector_is_modelled_jointly() -> None:
    """v2 = v1^2 + e: shifting the noise of v1 moves v2; components modelled apart would not."""
    generator = torch.Generator().manual_seed(0)
    first, e = torch.randn(2, 2000, generator=generator)
    v = torch.stack([first, first.square() + 0.1 * e], 1)
    scm = ccf.SCM(ccf.CausalGraph([("v", "s")]), {"v": ccf.Vector(2), "s": ccf.Real()}, {"s": _total()})
    scm.fit({"v": v}, epochs=40, seed=0, progress=False)
    density = scm.mechanisms["v"].dist({}).log_prob(v).mean()
    apart = torch.distributions.MultivariateNormal(v.mean(0), v.T.cov()).log_prob(v).mean()
    assert density > apart + 0.5


def _total() -> ccf.mechanisms.Deterministic:
    return ccf.mechanisms.Deterministic(lambda pa: pa["v"].sum(1))


def test_data_units_do_not_matter() -> None:
    """The density of metres is that of millimetres, moved by log 1000; counterfactuals scale."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 400, generator=generator).exp()
    metres, millimetres = (
        _fit(ccf.mechanisms.Flow(hidden=(16,)), ccf.Positive(), x, y * k, epochs=20, precision="64-true")
        for k in (1, 1000)
    )
    one, two = ({"x": x, "y": y * k} for k in (1, 1000))
    cf = [scm.counterfactual(rows, {"x": 2.0})["y"] for scm, rows in ((metres, one), (millimetres, two))]
    assert torch.allclose(1000 * cf[0], cf[1], rtol=1e-3)
    densities = [scm.log_prob(rows)["y"] for scm, rows in ((metres, one), (millimetres, two))]
    assert torch.allclose(densities[0], densities[1] + torch.tensor(1000.0).log(), atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (64, 255), (1900, 2020), (1000, 1001), (-1e6, 1e6)])
def test_edges_move_inside_far_enough_to_have_a_logit(low: float, high: float, dtype: torch.dtype) -> None:
    interval = ccf.Interval(low, high)
    x = torch.tensor([low, (low + high) / 2, high], dtype=dtype)
    inside = within_edges(x, interval)
    assert torch.isfinite(interval.bijector.inv(inside)).all()
    assert inside[1] == x[1]
    assert (inside - x).abs().max() < 1e-3 * (high - low)


def test_values_outside_the_support_have_no_density() -> None:
    law = ccf.mechanisms.Flow().bind("p", ccf.Positive(), {}).dist({})
    with pytest.raises(ValueError, match="to be within the support"):
        law.log_prob(torch.tensor([-1.0]))
    assert law.support is not None
    assert law.has_rsample


def test_constant_columns_do_not_divide_by_zero() -> None:
    scm = _fit(ccf.mechanisms.Flow(), ccf.Real(), torch.ones(60), torch.randn(60), epochs=1)
    cf = scm.counterfactual({"x": [1.0], "y": [0.3]}, {"x": 1.0})
    assert cf["y"].item() == pytest.approx(0.3, abs=1e-5)
