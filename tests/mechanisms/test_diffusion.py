"""The diffusion: its flow, its exact inversion, its gain, and the images it can take."""

from itertools import pairwise
from math import log
from typing import Any

import pyro
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import causalcf as ccf
from causalcf.core.errors import DensityError, MechanismError
from causalcf.mechanisms import Diffusion
from causalcf.mechanisms.diffusion import _correction, _fixed_point

PARENTS = {"t": ccf.Positive(), "s": ccf.Real()}


def _diffusion(seed: int = 1, **options: Any) -> Diffusion:
    """In double precision, with weights large enough that the flow bends."""
    torch.manual_seed(seed)
    diffusion = Diffusion(widths=(8, 8, 8), **options).bind("image", ccf.Image(1, 8, 8), PARENTS).double()
    diffusion.calibrate(*_rows(200))
    diffusion.requires_grad_(False).eval()
    for parameter in diffusion.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return diffusion


def _rows(n: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Images as bright as t, which have nothing to do with s."""
    generator = torch.Generator().manual_seed(0)
    t, s = torch.rand(2, n, generator=generator, dtype=torch.float64)
    x = 0.3 * (1 + t)[:, None, None, None] * torch.rand(n, 1, 8, 8, generator=generator, dtype=torch.float64)
    return x, {"t": 1 + t, "s": s}


class ToOneImage(nn.Module):
    """The velocity, in closed form, of a flow whose data are one image: straight lines to it."""

    def __init__(self, image: Tensor, sigma: float) -> None:
        super().__init__()
        self.image, self.sigma = image, sigma

    def forward(self, y: Tensor, clock: Tensor, c: Tensor) -> Tensor:
        level = (clock * log(self.sigma)).exp()[:, None, None, None]
        return (self.image - (1 - self.sigma) * y) / level


def _to_one_image(x: Tensor, pa: dict[str, Tensor], **options: Any) -> Diffusion:
    diffusion = _diffusion(**options)
    diffusion.velocity = ToOneImage(diffusion.standardise(x / diffusion.gain(pa)), diffusion.sigma)  # type: ignore[assignment]
    return diffusion


# ---------------------------------------------------------------------- the flow


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_the_loss_is_zero_at_the_true_velocity_and_nowhere_near(sigma: float) -> None:
    """Of images that are all the same the velocity is known, whatever the noise."""
    x, pa = _rows(1)
    diffusion = _to_one_image(x, pa, sigma=sigma)
    same, given = x.expand(40, -1, -1, -1), {name: value.expand(40) for name, value in pa.items()}
    assert float(diffusion.loss(same, given)) < 1e-20
    assert float(diffusion.loss(same + 0.1, given)) > 0.01


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_straight_flows_are_exact_in_any_number_of_steps(steps: int) -> None:
    x, pa = _rows(1)
    diffusion = _to_one_image(x, pa, steps=steps)
    u = {"u": torch.randn(30, 1, 8, 8, dtype=torch.float64)}
    wide = {name: value.expand(30) for name, value in pa.items()}
    noise = diffusion.sigma * u["u"] - diffusion.dither.pattern
    expected = x + diffusion.gain(pa) * diffusion.standardise.scale * noise
    drawn = diffusion.predict(u, wide)
    assert torch.allclose(drawn, expected, atol=1e-12)
    assert torch.allclose(diffusion.abduct(drawn, wide)["u"], u["u"], atol=1e-8)
    clean = diffusion.abduct(x, pa)["u"]
    assert torch.allclose(clean, diffusion.dither.pattern / diffusion.sigma, atol=1e-8), (
        "a clean image has dithered noise"
    )


def test_every_step_calls_the_network_once() -> None:
    diffusion, (x, pa) = _diffusion(steps=7, iterations=5), _rows(2)
    calls = []
    diffusion.velocity.register_forward_hook(lambda *_: calls.append(1))
    u = diffusion.abduct(x, pa)
    assert len(calls) == 35
    diffusion.predict(u, pa)
    assert len(calls) == 42


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_steps_run_from_noise_to_image_and_shrink(steps: int) -> None:
    times = Diffusion(steps=steps)._times()
    assert len(times) == steps
    assert times[0][0] == 0
    assert times[-1][1] == 1
    assert all(before[1] == after[0] for before, after in pairwise(times))
    lengths = [later - t for t, later in times]
    assert all(0 < shorter < longer for longer, shorter in pairwise(lengths))


# ---------------------------------------------------------------------- its inversion


@settings(max_examples=10, deadline=None)
@given(steps=st.integers(2, 25), seed=st.integers(0, 99))
def test_what_is_abducted_predicts_the_image_whatever_the_steps(steps: int, seed: int) -> None:
    """A millionth of a grey level and less; the fewer the steps, the longer, and the harder to invert."""
    diffusion, (x, pa) = _diffusion(seed, steps=steps), _rows(3)
    error = (diffusion.predict(diffusion.abduct(x, pa), pa) - x).abs().max()
    assert error < (1e-4 if steps < 5 else 1e-7)


def test_more_iterations_invert_more_exactly() -> None:
    x, pa = _rows(6)
    errors = []
    for iterations in (1, 2, 4, 8, 12):
        diffusion = _diffusion(steps=5, iterations=iterations)
        errors.append(float((diffusion.predict(diffusion.abduct(x, pa), pa) - x).abs().max()))
    assert all(b < a / 3 for a, b in pairwise(errors))
    assert errors[-1] < 1e-10


def test_anderson_finds_fixed_points_that_plain_iteration_runs_from() -> None:
    """Affine maps with three slopes, one of them outside of the unit circle: exact from as many memories on."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64)).Q
    slopes = torch.tensor([-2.5, 0.4, -0.3] * 4, dtype=torch.float64)
    matrix = basis @ slopes.diag() @ basis.T
    offset = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    exact = torch.linalg.solve(torch.eye(12, dtype=torch.float64) - matrix, offset.T).T
    found = _fixed_point(lambda y: y @ matrix.T + offset, torch.zeros_like(offset), 8)
    plain = torch.zeros_like(offset)
    for _ in range(8):
        plain = plain @ matrix.T + offset
    assert torch.allclose(found, exact, atol=1e-6)
    assert (plain - exact).abs().max() > 100


def test_collinear_changes_leave_a_row_where_the_iteration_brings_it() -> None:
    """In float32 a ridge of 1e-8 is lost, and one such row ended the whole batch."""
    a = torch.tensor([[1.0, 2.0, 2.0, 4.0], [1.0, 0.0, 3.0, 1.0]])
    b = torch.tensor([[1.0, 2.0, 2.0, 4.0], [0.0, 1.0, 1.0, 2.0]])
    residuals = [torch.zeros_like(a), a, a + 2 * b]  # of the first row twice the same direction
    correction = _correction([torch.zeros_like(a), a, a + b], residuals)
    assert torch.isfinite(correction).all()
    line = correction[0] @ a[0] / (correction[0].norm() * a[0].norm())
    assert line.abs() == pytest.approx(1.0, abs=1e-4)


def test_rows_are_inverted_apart() -> None:
    diffusion, (x, pa) = _diffusion(steps=4), _rows(6)
    together = diffusion.abduct(x, pa)["u"]
    alone = torch.cat(
        [diffusion.abduct(x[[i]], {name: value[[i]] for name, value in pa.items()})["u"] for i in range(6)]
    )
    assert torch.allclose(together, alone, atol=1e-9)


def test_gradients_run_through_prediction_and_abduction() -> None:
    diffusion, (x, pa) = _diffusion(steps=3), _rows(2)
    u = diffusion.abduct(x, pa)["u"].requires_grad_(True)
    t, s = (pa[name].clone().requires_grad_(True) for name in ("t", "s"))
    check = torch.autograd.gradcheck
    assert check(lambda u, t, s: diffusion.predict({"u": u}, {"t": t, "s": s}), (u, t, s), fast_mode=True)
    assert check(lambda x: diffusion.abduct(x, pa)["u"], (x.requires_grad_(True),), fast_mode=True)


# ---------------------------------------------------------------------- parents


def test_acting_on_a_parent_of_the_gain_alone_multiplies_the_image() -> None:
    diffusion, (x, pa) = _diffusion(gain_only=("t",), steps=5), _rows(10)
    u = diffusion.abduct(x, pa)
    for node, only_brighter in (("t", True), ("s", False)):
        acted = {**pa, node: 2 * pa[node]}
        ratio = diffusion.gain(acted) / diffusion.gain(pa)
        assert torch.allclose(diffusion.predict(u, acted), ratio * x, atol=1e-7) == only_brighter
    brighter = diffusion.gain({**pa, "t": 2 * pa["t"]}) / diffusion.gain(pa)
    assert torch.allclose(brighter, torch.full_like(brighter, 2.0), rtol=0.05)


@pytest.fixture(scope="module")
def bars() -> ccf.SCM:
    """A model of bars, a few seconds' training."""
    data = ccf.datasets.Bars(600)
    recipe = ccf.mechanisms.Recipe(epochs=20, batch_size=50, lr=5e-3, ema=0.99)
    image = Diffusion(widths=(16, 16, 16), steps=10, gain_only=("brightness",), recipe=recipe)
    return ccf.SCM(data.graph, mechanisms={"image": image}).fit(
        data, epochs={"width": 2, "brightness": 5}, seed=0, progress=False
    )


@pytest.mark.parametrize("node", ["width", "brightness", "side"])
def test_a_training_run_learns_what_parents_do(bars: ccf.SCM, node: str) -> None:
    test = ccf.datasets.Bars(60, seed=1)
    x = test[:60]
    do = {"width": x["width"].flip(0), "brightness": x["brightness"].flip(0), "side": (x["side"] + 1) % 3}[node]
    truth = test.truth(x, {node: do})
    cf = bars.counterfactual(x, {node: do}, recompute="descendants")
    error, idle = ((image - truth["image"]).abs().mean() for image in (cf["image"], x["image"]))
    assert error < {"width": 0.5, "brightness": 0.1, "side": 0.5}[node] * idle


def test_training_lowers_the_loss_and_doing_nothing_does_nothing(bars: ccf.SCM) -> None:
    losses = [record["validation"] for record in bars.history if record["node"] == "image"]
    assert min(losses) < 0.5 * losses[0]
    x = ccf.datasets.Bars(40, seed=1)[:40]
    again = bars.counterfactual(x, {}, recompute="all")["image"]
    assert torch.allclose(again, x["image"], atol=1e-4)


@pytest.mark.parametrize(("steps", "grey_levels"), [(3, 12), (5, 3), (10, 0.1), (20, 0.002)])
def test_a_fitted_flow_takes_any_number_of_steps(bars: ccf.SCM, steps: int, grey_levels: float) -> None:
    """Few steps draw well and fast; to invert to the last digit takes more."""
    image = bars.mechanisms["image"]
    x = ccf.datasets.Bars(40, seed=1)[:40]
    image.steps = steps  # type: ignore[assignment]
    try:
        again = bars.counterfactual(x, {}, recompute="all")["image"]
        drawn = bars.sample(40, do={"width": 4.0, "brightness": 200.0}, seed=0)["image"]
    finally:
        image.steps = 10  # type: ignore[assignment]
    assert torch.allclose(again, x["image"], atol=grey_levels / 255)
    assert drawn.mean() == pytest.approx(float(4 * 10 * 200 / 255 / 256), rel=0.2)


def test_a_file_holds_the_flow_and_its_dither(bars: ccf.SCM, tmp_path: Any) -> None:
    bars.save(tmp_path / "bars.safetensors")
    loaded = ccf.SCM.load(tmp_path / "bars.safetensors")
    x = ccf.datasets.Bars(5, seed=1)[:5]
    do = {"width": 4.0}
    assert torch.equal(loaded.counterfactual(x, do)["image"], bars.counterfactual(x, do)["image"])
    assert loaded.mechanisms["image"].config == bars.mechanisms["image"].config


# ---------------------------------------------------------------------- what it has not, and cannot take


def test_there_is_no_density_and_the_program_says_so(bars: ccf.SCM) -> None:
    x = ccf.datasets.Bars(3, seed=1)[:3]
    with pytest.raises(DensityError, match="'image' has no density: Diffusion is implicit"):
        bars.log_prob(x)
    trace = pyro.poutine.trace(bars.model).get_trace(3)
    assert trace.nodes["image.u"]["value"].shape == trace.nodes["image"]["value"].shape == (3, 1, 16, 16)
    conditioned = pyro.condition(bars.model, data={"image": x["image"]})
    with pytest.raises(DensityError, match="'image' is deterministic given its noise"):
        pyro.poutine.trace(conditioned).get_trace(3).log_prob_sum()
    guide = pyro.poutine.trace(bars.guide).get_trace(dict(x))
    assert torch.equal(guide.nodes["image.u"]["value"], bars.abduct(x)["image.u"])


@pytest.mark.parametrize("shape", [(3, 24, 16), (1, 7, 11)])
def test_images_of_any_size_and_colour_go_through(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    diffusion = Diffusion(widths=(8, 8, 8)).bind("image", ccf.Image(*shape), {"c": ccf.Categorical(2)})
    x, pa = torch.rand(2, *shape), {"c": torch.tensor([0, 1])}
    u = diffusion.abduct(x, pa)
    assert u["u"].shape == x.shape
    assert torch.allclose(diffusion.predict(u, pa), x, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": 2.5}, {"iterations": 0}, {"widths": (8, 8)}, {"sigma": 0.0}, {"sigma": 1.0}]
)
def test_options_that_make_no_flow_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MechanismError, match=f"Diffusion of 'image': {next(iter(options))} must be"):
        Diffusion(**options).bind("image", ccf.Image(1, 8, 8), {})


def test_a_gain_of_what_is_no_parent_is_refused() -> None:
    with pytest.raises(MechanismError, match=r"gain_only names \['brightness'\], but its parents are"):
        Diffusion(gain_only=("brightness",)).bind("image", ccf.Image(1, 8, 8), PARENTS)
