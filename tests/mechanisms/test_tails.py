"""Where the data end: draws do not run away, outliers do not rule, and old files answer as they did."""

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import CausalCFWarning
from causalcf.core.nn import RobustStandardiser
from causalcf.mechanisms.tails import TamedExp, upper_tail


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _slope(f: TamedExp, y: Tensor) -> Tensor:
    y = y.clone().requires_grad_()
    return torch.autograd.grad(f(y).sum(), y)[0]


def test_the_tamed_exponential_is_a_bijection_with_its_jacobian() -> None:
    f = TamedExp(torch.tensor([1.0, 0.3], dtype=torch.float64))
    y = torch.linspace(-5, 9, 101, dtype=torch.float64)
    x = f(y)
    assert torch.allclose(f.inv(x), y)
    assert torch.equal(x[y <= 1], y[y <= 1].exp())
    assert torch.allclose(f.log_abs_det_jacobian(y, x), _slope(f, y).log())
    assert bool(torch.isfinite(f.inv(torch.tensor([1e300], dtype=torch.float64))).all())


def test_heavier_data_have_a_heavier_tail() -> None:
    uniform = 1 + 99 * torch.rand(2000, generator=_generator())
    lognormal = torch.randn(2000, generator=_generator()).exp()
    slopes = [float(upper_tail(x)[1]) for x in (uniform, lognormal)]
    assert slopes[0] == pytest.approx(0.1)
    assert slopes[1] > 0.5


@pytest.fixture(scope="module")
def visits() -> tuple[ccf.SCM, dict[str, Tensor]]:
    days = (1 + 1459 * torch.rand(1500, generator=_generator(1))).ceil()
    count = ((0.5 * torch.randn(1500, generator=_generator(2))).exp() * (1 + days / 200)).ceil()
    data = {"days": days, "visits": count}
    variables = {"days": ccf.Positive(), "visits": ccf.Positive()}
    return ccf.SCM([("days", "visits")], variables).fit(data, seed=0, epochs=60, progress=False), data


def test_draws_stay_where_the_data_were(visits: tuple[ccf.SCM, dict[str, Tensor]]) -> None:
    scm, data = visits
    drawn = scm.sample(20_000, seed=1)
    for node, x in data.items():
        assert float(drawn[node].max()) < 2 * float(x.max())
        assert float(drawn[node].mean()) == pytest.approx(float(x.mean()), rel=0.06)


def test_a_positive_child_does_not_overflow_far_from_the_data(visits: tuple[ccf.SCM, dict[str, Tensor]]) -> None:
    scm, data = visits
    x = {node: value[:50] for node, value in data.items()}
    for days in (1e4, 1e8, 1e30):
        moved = scm.counterfactual(x, {"days": days})["visits"]
        assert bool(torch.isfinite(moved).all())
        assert bool((moved > 0).all())


def test_draws_far_from_the_data_are_counted() -> None:
    x = torch.randn(200, generator=_generator())
    scm = ccf.SCM([("x", "y")], mechanisms={n: ccf.mechanisms.LinearGaussian() for n in "xy"})
    scm.fit({"x": x, "y": 2 * x + torch.randn(200, generator=_generator(3))}, seed=0, progress=False)
    scm.mechanisms["y"].log_scale.data.add_(2.5)
    with pytest.warns(CausalCFWarning, match=r"\d+ of 1000 draws of 'y' lie far outside its data"):
        scm.sample(1000, seed=0)


def test_without_outliers_scales_are_mean_and_standard_deviation() -> None:
    x = torch.randn(500, 2, generator=_generator()) * 3 + 1
    scales = RobustStandardiser(2)
    scales.calibrate(x)
    assert scales.bent is None
    assert torch.allclose(scales.loc, x.mean(0))
    assert torch.allclose(scales.scale, x.std(0, unbiased=False))


def test_bent_scales_are_a_bijection_with_its_slope_and_survive_a_state_dict() -> None:
    x = torch.randn(500, 1, generator=_generator(), dtype=torch.float64)
    x[:10] = -9999.0
    scales = RobustStandardiser(1).double()
    scales.calibrate(x)
    assert scales.bent is not None
    y = scales(x)
    assert torch.allclose(scales.inverse(y), x)
    assert float(y.abs().max()) < 50
    far = torch.tensor([[-7000.0]], dtype=torch.float64, requires_grad=True)
    standard = scales(far)
    (slope,) = torch.autograd.grad(standard.sum(), far)
    assert torch.allclose(slope.log().squeeze(), scales.log_slope(standard.detach()).squeeze())
    again = RobustStandardiser(1).double()
    again.load_state_dict(scales.state_dict())
    assert torch.equal(again(x), y)
    again.load_state_dict(RobustStandardiser(1).state_dict())
    assert again.bent is None


@pytest.mark.parametrize("where", ["cause", "effect"])
def test_a_few_outliers_do_not_rule_the_answers_of_all_others(where: str) -> None:
    x = torch.randn(1000, generator=_generator(4))
    y = 2 * x + 0.5 * torch.randn(1000, generator=_generator(5))
    bad = torch.arange(1000) % 50 == 0
    far = 1e4 * (1 + torch.rand(1000, generator=_generator(6)))
    data = {"x": torch.where(bad, -far, x), "y": y} if where == "cause" else {"x": x, "y": torch.where(bad, far, y)}
    with pytest.warns(CausalCFWarning, match=f"'{'x' if where == 'cause' else 'y'}': 0.02 of the values"):
        scm = ccf.SCM([("x", "y")]).fit(data, seed=0, epochs=120, progress=False)
    rows = {node: value[~bad][:200] for node, value in data.items()}
    cf = scm.counterfactual(rows, {"x": 1.0})
    wrong = (cf["y"] - (2 + y[~bad][:200] - 2 * x[~bad][:200])).abs().median() / y.std()
    assert float(wrong) < 0.2


def test_tails_and_bends_are_saved(visits: tuple[ccf.SCM, dict[str, Tensor]], tmp_path: object) -> None:
    scm, data = visits
    scm.save(f"{tmp_path}/scm.safetensors")
    again = ccf.SCM.load(f"{tmp_path}/scm.safetensors")
    x = {node: value[:20] for node, value in data.items()}
    assert torch.equal(
        again.counterfactual(x, {"days": 5000.0})["visits"], scm.counterfactual(x, {"days": 5000.0})["visits"]
    )


def test_beyond_the_outliers_of_the_data_bent_scales_are_a_line() -> None:
    """An exponential there overflows: one draw in hundreds of a flow with a small scale was infinite."""
    x = torch.randn(500, 1, generator=_generator(), dtype=torch.float64)
    x[:10] = -9999.0
    scales = RobustStandardiser(1).double()
    scales.calibrate(x)
    assert scales.end is not None
    last = float(scales(x).abs().max())
    beyond = torch.tensor([[last], [last + 1], [last + 2], [last + 200]], dtype=torch.float64)
    values = scales.inverse(beyond).squeeze(1)
    assert torch.allclose(values.diff() / beyond.squeeze(1).diff(), values[1] - values[0])
    assert torch.allclose(scales(values.unsqueeze(1)), beyond)
    old = {name: value for name, value in scales.state_dict().items() if name != "end"}
    before = RobustStandardiser(1).double()
    before.load_state_dict(old)  # a file from before answers as it did
    assert torch.isinf(before.inverse(beyond[3] * 5)).all()


def test_a_vector_far_from_the_data_keeps_its_other_components() -> None:
    flow = ccf.mechanisms.Flow(hidden=(8,)).bind("v", ccf.Vector(3), {})
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(2 * torch.randn(parameter.shape, generator=_generator()))
    x = torch.tensor([[1e30, 0.1, 0.2], [1e6, 0.1, 0.2], [0.3, -1e30, 1e8], [0.1, 0.2, 0.3]])
    u = flow.abduct(x, {})
    assert bool(torch.isfinite(u["u"]).all())
    assert torch.allclose(flow.predict(u, {}), x, rtol=1e-3, atol=0.5)
