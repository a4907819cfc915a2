"""The GAN: what its players see and say, what is carried over, what is saved, and that it learns to obey."""

from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Laplace

import causalcf as ccf
from causalcf.core.errors import DensityError, MechanismError, TrainingError
from causalcf.mechanisms import GAN, Recipe
from causalcf.variables import Variable

PARENTS: dict[str, Variable] = {"t": ccf.Positive(), "k": ccf.Categorical(3), "b": ccf.Boolean(), "v": ccf.Vector(2)}


def _rows(n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    t = 0.5 + torch.rand(n, generator=generator, dtype=dtype)
    pa = {
        "t": t,
        "k": torch.randint(3, (n,), generator=generator),
        "b": torch.rand(n, generator=generator) < 0.4,
        "v": torch.randn(n, 2, generator=generator, dtype=dtype),
    }
    return t[:, None, None, None] * torch.rand(n, 1, 8, 8, generator=generator, dtype=dtype) / 2, pa


def _gan(parents: dict[str, Variable] = PARENTS, **options: object) -> GAN:
    gan = GAN(latent=3, widths=(8, 8, 8), **options)  # type: ignore[arg-type]
    gan.bind("image", ccf.Image(1, 8, 8), parents).double().requires_grad_(False).eval()
    x, pa = _rows(60)
    gan.calibrate(x, {name: pa[name] for name in parents})
    for parameter in gan.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    gan.fitted = True
    return gan


def _root() -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node("image")
    return graph


# ---------------------------------------------------------------------- the assignment


def test_the_residual_is_carried_over_in_proportion_to_the_gain() -> None:
    gan, (x, pa) = _gan(), _rows(9)
    u = gan.abduct(x, pa)
    other = pa | {"t": 2 * pa["t"]}
    left_over = x - gan.decode(u["z"], pa)
    ratio = gan.gain(other) / gan.gain(pa)
    assert (ratio > 1.5).all(), "the images brighten with t"
    assert torch.allclose(gan.predict(u, other), gan.decode(u["z"], other) + ratio * left_over, atol=1e-12)


def test_without_carrying_the_generator_alone_answers() -> None:
    gan, (x, pa) = _gan(carry=False), _rows(9)
    u = gan.abduct(x, pa)
    assert tuple(u) == gan.sites == ("z",)
    assert gan.residual_sites == ()
    assert torch.equal(gan.predict(u, pa), gan.decode(gan.encode(x, pa), pa))
    assert tuple(gan.sample_noise(2)) == ("z",)


def test_draws_from_the_prior_have_no_residual() -> None:
    gan = _gan()
    noise = gan.sample_noise(5000)
    assert not noise["eps"].any()
    assert (noise["z"].mean(0).abs() < 4.5 / 5000**0.5).all()
    assert ((noise["z"].std(0) - 1).abs() < 4.5 / 10000**0.5).all()


def test_there_is_no_density_and_the_error_says_so() -> None:
    scm = ccf.SCM(_root(), {"image": ccf.Image(1, 8, 8)}, {"image": GAN(latent=2, widths=(8, 8, 8))})
    scm.mechanisms["image"].fitted = True
    with pytest.raises(DensityError, match="'image' has no density: GAN is implicit"):
        scm.log_prob({"image": torch.rand(2, 1, 8, 8)})


def test_refining_comes_closer_to_every_image() -> None:
    gan, (_, pa) = _gan(), _rows(9)
    x = gan.predict(gan.sample_noise(9), pa)
    errors = []
    for gan.refine in (0, 60):
        errors.append((gan.decode(gan.encode(x, pa), pa) - x).square().flatten(1).mean(1))
    assert (errors[1] <= errors[0]).all()
    assert errors[1].mean() < 0.5 * errors[0].mean()


@pytest.mark.parametrize("options", [{"latent": 0}, {"refine": -1}, {"widths": (8, 8)}, {"cycle": float("nan")}])
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MechanismError, match=f"GAN of 'image': {next(iter(options))} must be"):
        GAN(**options).bind("image", ccf.Image(1, 8, 8), {})


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 30)])
def test_images_of_any_size_are_framed_and_cropped_back(shape: tuple[int, int, int]) -> None:
    gan = GAN(latent=2, widths=(8, 8, 8)).bind("image", ccf.Image(*shape), {})
    x = torch.rand(4, *shape)
    assert gan.predict(gan.abduct(x, {}), {}).allclose(x, atol=1e-5)
    for turn in (turn for stage in gan.stages for turn in stage.turns):
        assert torch.isfinite(getattr(gan, turn.loss)(x, {})), turn


# ---------------------------------------------------------------------- what the players see


def test_fakes_are_prior_draws_counterfactuals_and_single_changes() -> None:
    gan, (_, pa) = _gan(), _rows(600)
    codes = 10 + torch.rand(600, 3, dtype=torch.float64)
    z, acted, judged = gan._fakes(codes, pa)
    kind = torch.arange(600) % 3
    assert torch.equal(judged, (kind < 2).double()), "no real image need have parents of which one was changed"
    assert (z[kind == 0].abs() < 6).all()
    assert torch.equal(z[kind > 0], codes[kind > 0])
    same = torch.stack([(acted[name] == pa[name]).reshape(600, -1).all(1) for name in pa], 1)
    assert same[kind == 0].all()
    assert (same[kind == 2].sum(1) >= len(pa) - 1).all()
    assert (~same[kind == 2]).any(0).all(), "each parent gets its turn"
    rows = {tuple(torch.cat([acted[n].reshape(600, -1).double() for n in pa], 1)[i].tolist()) for i in range(1, 600, 3)}
    real = {tuple(row.tolist()) for row in torch.cat([pa[n].reshape(600, -1).double() for n in pa], 1)}
    assert rows <= real, "counterfactual parents are another row's, all together"
    assert (~same[kind == 1]).any(1).double().mean() > 0.95


def test_misreading_is_minus_the_log_likelihood_of_the_parents() -> None:
    gan, (x, pa) = _gan(), _rows(30)
    _, read = gan.judge(x, gan.encode(x, pa), pa)
    features = gan.encoder(pa)
    assert features is not None
    scale = gan.discriminator.log_scale.exp()
    expected = (
        Laplace(read[:, 0], scale[0]).log_prob(features[:, 0])
        + Categorical(logits=read[:, 1:4]).log_prob(pa["k"])
        + Bernoulli(logits=read[:, 4]).log_prob(pa["b"].double())
        + Laplace(read[:, 5:], scale[1:]).log_prob(features[:, 5:]).sum(1)
    ).mean()
    halves = 3 * torch.log(torch.tensor(2.0, dtype=torch.float64))  # the Laplace constant, once a number
    assert gan.discriminator.misread(read, features).item() == pytest.approx(float(-expected - halves), abs=1e-9)


def test_the_discriminator_reads_parents_off_the_image_alone() -> None:
    gan, (x, pa) = _gan(), _rows(8)
    read = gan.judge(x, torch.zeros(8, 3, dtype=torch.float64), pa)[1]
    other = {name: value.flip(0) for name, value in pa.items()}
    assert torch.equal(gan.judge(x, torch.ones(8, 3, dtype=torch.float64), other)[1], read)
    assert not torch.equal(gan.judge(x.flip(0), torch.zeros(8, 3, dtype=torch.float64), pa)[1], read)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_last_batch_may_be_tiny(n: int) -> None:
    gan, (x, pa) = _gan(), _rows(n)
    for loss in (gan.discriminator_loss, gan.generator_loss, gan.encoder_loss):
        assert torch.isfinite(loss(x, pa))


def test_the_slope_penalty_is_that_of_the_gradient() -> None:
    """Against the gradient itself: for small changes both give half the penalty times its square, on average."""
    gan, (x, pa) = _gan(jitter=0.0), _rows(400)
    losses = []
    for gan.penalty in (0.0, 1.0):
        torch.manual_seed(1)
        losses.append(float(gan.discriminator_loss(x, pa)))
    leaf = x[:100].clone().requires_grad_(True)
    few = {name: value[:100] for name, value in pa.items()}
    (slope,) = torch.autograd.grad(gan.judge(leaf, gan.encode(x[:100], few), few)[0].sum(), leaf)
    expected = 0.5 * slope.square().flatten(1).sum(1).mean()
    assert losses[1] - losses[0] == pytest.approx(float(expected), rel=0.4)


# ---------------------------------------------------------------------- training and files


def test_a_root_image_trains_samples_and_obeys_its_latent() -> None:
    scm = ccf.SCM(_root(), {"image": ccf.Image(1, 8, 8)}, {"image": GAN(latent=2, widths=(8, 8, 8))})
    scm.fit({"image": torch.rand(60, 1, 8, 8)}, epochs=1, seed=0, progress=False)
    assert [record["stage"] for record in scm.history] == ["adversarial", "encoder"]
    drawn = scm.sample(3, do={"image.z": [1.0, -1.0]}, seed=0)["image"]
    assert torch.allclose(drawn[0], drawn[1], atol=1e-6)
    other = scm.sample(1, do={"image.z": [-1.0, 1.0]}, seed=0)["image"]
    assert not torch.allclose(drawn[:1], other, atol=1e-5)


def test_files_leave_the_discriminator_out(tmp_path: Path) -> None:
    graph, variables = [("t", "image")], {"t": ccf.Real(), "image": ccf.Image(1, 8, 8)}
    rows = {"t": torch.randn(60), "image": torch.rand(60, 1, 8, 8)}
    scm = ccf.SCM(graph, variables, {"image": GAN(latent=2, widths=(8, 8, 8))})
    scm.fit(rows, epochs=1, seed=0, progress=False).save(tmp_path / "gan.safetensors", half=["image"])
    again = ccf.SCM.load(tmp_path / "gan.safetensors")
    assert not [name for name in again.state_dict() if "discriminator" in name]
    cf, cf_again = (model.counterfactual(rows, {"t": 1.0}, residual=0.0)["image"] for model in (scm, again))
    assert torch.allclose(cf, cf_again, atol=2e-3)
    retrained = again.fit(rows, epochs=1, seed=0, progress=False)
    assert torch.equal(retrained.counterfactual(rows, {"t": 1.0}, residual=0.0)["image"], cf)


def test_a_loss_that_is_not_finite_stops_training(monkeypatch: pytest.MonkeyPatch) -> None:
    told = GAN.generator_loss
    monkeypatch.setattr(GAN, "generator_loss", lambda self, x, pa: float("nan") * told(self, x, pa))
    scm = ccf.SCM(_root(), {"image": ccf.Image(1, 8, 8)}, {"image": GAN(latent=2, widths=(8, 8, 8))})
    recipe = {"image": Recipe(epochs=1, batch_size=4)}
    with pytest.raises(TrainingError, match="'image adversarial': the loss or its gradient was NaN or infinite"):
        scm.fit({"image": torch.rand(80, 1, 8, 8)}, recipes=recipe, seed=0, progress=False)


@pytest.mark.slow
def test_counterfactuals_of_bars_show_the_side_and_width_that_are_asked_for() -> None:
    bars = ccf.datasets.Bars(4000, seed=1)
    gan = GAN(
        latent=4, widths=(8, 16, 32), recipe=Recipe(epochs=10, batch_size=64, lr=2e-3, betas=(0.5, 0.99), ema=0.99)
    )
    scm = ccf.SCM(bars.graph, mechanisms={"image": gan}).fit(bars, epochs={"image": 10}, seed=0, progress=False)
    rows = bars[:300]
    side = (rows["side"] + 1) % 3
    for residual in (0.0, 1.0):
        cf = scm.counterfactual(rows, {"side": side}, residual=residual)["image"]
        across = cf.sum((1, 2))
        centre = (across * torch.arange(16)).sum(1) / across.sum(1)
        shown = (centre[:, None] - torch.tensor([3.5, 7.5, 11.5])).abs().argmin(1)
        assert (shown == side).double().mean() > 0.9, residual
    noise = scm.abduct(rows)
    again = scm.predict(noise, {}, recompute="all", residual=0.0)["image"]
    assert (again - rows["image"]).abs().mean() < 0.25 * rows["image"].abs().mean()
    truth = bars.truth(rows, {"width": 4.0})["image"]
    wide = scm.counterfactual(rows, {"width": 4.0}, residual=0.0)["image"]
    assert (wide - truth).abs().mean() < 0.6 * (rows["image"] - truth).abs().mean()
