"""The HVAE: its bound, its noise, its hierarchy, its presets, and that do() is never absorbed."""

from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

import causalcf as ccf
from causalcf.core.errors import MechanismError
from causalcf.mechanisms import HVAE

TINY: dict[str, Any] = {"strides": (2, 4), "widths": (8, 8, 8), "blocks": (1, 1, 2), "latent": (1, 2, 3)}
T = {"t": ccf.Real()}
either_prior = pytest.mark.parametrize("exogenous", [True, False], ids=["exogenous", "given-parents"])


def _hvae(exogenous: bool = True, **options: Any) -> HVAE:
    """In double precision, with weights large enough that every path matters."""
    torch.manual_seed(1)
    hvae = HVAE(**TINY, exogenous_prior=exogenous, **options)
    hvae.bind("image", ccf.Image(1, 8, 8), T).double().requires_grad_(False).eval()
    for parameter in hvae.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return hvae


def _rows(n: int) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.rand(n, 1, 8, 8, generator=generator, dtype=torch.float64),
        {"t": torch.rand(n, generator=generator, dtype=torch.float64)},
    )


def test_sites_run_from_one_global_cell_to_local_maps() -> None:
    hvae, (x, pa) = _hvae(), _rows(3)
    shapes = {"z0": (3, 1, 1), "z1": (3, 1, 1), "z2": (2, 2, 2), "z3": (1, 4, 4)}
    assert hvae.shapes() == shapes
    assert hvae.latents == tuple(shapes)
    for laws in (hvae.prior(pa), hvae.posterior(x, pa)):
        assert {site: tuple(law.event_shape) for site, law in laws.items()} == shapes
    assert all(law.batch_shape == (3,) for law in hvae.posterior(x, pa).values())
    assert {site: tuple(u.shape[1:]) for site, u in hvae.abduct(x, pa).items()} == {**shapes, "eps": (1, 8, 8)}


@either_prior
@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_loss_is_the_evidence_bound_in_nats_per_pixel(exogenous: bool, beta: float) -> None:
    """Against the bound put together from the distributions, on the same draw of the latents."""
    hvae, (x, pa) = _hvae(exogenous, beta=beta), _rows(9)
    torch.manual_seed(0)
    loss = hvae.loss(x, pa)
    torch.manual_seed(0)
    laws = {}

    def draw(site: str, law: torch.distributions.Independent) -> Tensor:
        laws[site] = law.base_dist
        return law.base_dist.mean + law.base_dist.stddev * torch.randn_like(law.base_dist.mean)

    u = hvae.propose(x, pa, draw)
    kl = sum(kl_divergence(law, Normal(torch.zeros_like(law.mean), 1.0)).flatten(1).sum(1) for law in laws.values())
    bound = hvae.dist(pa, u).log_prob(x) - beta * kl
    assert loss.item() == pytest.approx(-bound.mean().item() / 64, abs=1e-9)


def test_the_priors_noise_is_standard_normal_whatever_the_parents() -> None:
    """The law of u is the same in every row, though that of z may follow the parents."""
    hvae = _hvae(exogenous=False)
    for law in hvae.prior({"t": torch.tensor([-9.0, 9.0])}).values():
        assert torch.equal(law.mean, torch.zeros_like(law.mean))
        assert torch.equal(law.stddev, torch.ones_like(law.stddev))


@either_prior
def test_each_posterior_depends_on_the_latents_above_it(exogenous: bool) -> None:
    hvae, (x, pa) = _hvae(exogenous), _rows(4)

    def laws_after(first: float) -> dict[str, Tensor]:
        means = {}

        def draw(site: str, law: torch.distributions.Independent) -> Tensor:
            means[site] = law.mean
            return law.mean + (first if site == "z0" else 0.0)

        hvae.propose(x, pa, draw)
        return means

    calm, moved = laws_after(0.0), laws_after(2.0)
    assert torch.equal(calm["z0"], moved["z0"])
    assert all((calm[site] - moved[site]).abs().max() > 1e-4 for site in ("z1", "z2", "z3"))
    assert all(torch.equal(law.mean, calm[site]) for site, law in hvae.posterior(x, pa).items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_prior_has_the_models_precision(dtype: torch.dtype) -> None:
    """A float32 scale beside a float16 mean would draw in float32."""
    for law in _hvae().to(dtype).prior({}).values():
        assert law.base_dist.loc.dtype == law.base_dist.scale.dtype == dtype


def test_an_exogenous_prior_sees_no_parents_and_the_other_does() -> None:
    """z = m + s u for the same u under two values of t."""
    for exogenous in (True, False):
        hvae = _hvae(exogenous)
        u = hvae.sample_noise(2)
        u = {site: value[:1].expand_as(value) for site, value in u.items()}
        priors: list[Tensor] = []

        def seen(k: int, _h: Tensor, mean: Tensor, log_std: Tensor, u: dict = u, priors: list = priors) -> Tensor:
            priors.append(torch.cat([mean, log_std], 1))
            return u[f"z{k}"]

        hvae.generator(hvae.features({"t": torch.tensor([-1.0, 2.0], dtype=torch.float64)}, 2), seen)
        same = [torch.allclose(p[0], p[1], atol=1e-12) for p in priors]
        assert same == [exogenous] * 4


@either_prior
def test_the_residual_makes_the_round_trip_exact_by_mean_and_by_sample(exogenous: bool) -> None:
    hvae, (x, pa) = _hvae(exogenous), _rows(9)
    for sample in (False, True):
        u = hvae.abduct(x, pa, sample=sample)
        law = hvae.dist(pa, {site: u[site] for site in hvae.latents})
        assert torch.allclose(u["eps"], (x - law.mean) / law.stddev, atol=1e-9)
        assert torch.allclose(hvae.predict(u, pa), x, atol=1e-12)


def _square(t: Tensor) -> Tensor:
    image = torch.zeros(len(t), 1, 8, 8)
    image[:, :, 2:6, 2:6] = t[:, None, None, None]
    return image


@either_prior
def test_an_action_is_never_absorbed_by_the_abducted_latents(exogenous: bool) -> None:
    """A square whose grey level is t, trained: the counterfactual's mean must follow do(t), mediator or not."""
    t = torch.rand(400, generator=torch.Generator().manual_seed(0))
    recipe = ccf.mechanisms.Recipe(epochs=12, batch_size=32, lr=5e-3)
    hvae = HVAE(**TINY, exogenous_prior=exogenous, recipe=recipe)
    variables = {"t": ccf.Interval(-0.01, 1.01), "image": ccf.Image(1, 8, 8)}
    scm = ccf.SCM([("t", "image")], variables, {"image": hvae})
    scm.fit({"t": t, "image": _square(t)}, epochs={"t": 1}, seed=0, progress=False)
    losses = [record["validation"] for record in scm.history if record["node"] == "image"]
    assert min(losses) < losses[0] - 0.3
    rows = {"t": t[:50], "image": _square(t[:50])}
    for abduction in ("mean", "sample"):
        cf = scm.counterfactual(rows, {"t": 0.9}, abduction=abduction, residual=0.0, seed=0)["image"]
        truth = _square(torch.full((50,), 0.9))
        assert (cf - truth).abs().mean() < 0.4 * (rows["image"] - truth).abs().mean()


def test_an_answer_says_at_what_temperature_its_latents_were_drawn(tmp_path: Path) -> None:
    t = torch.rand(40, generator=torch.Generator().manual_seed(0))
    rows = {"t": t, "image": _square(t)}
    variables = {"t": ccf.Interval(-0.01, 1.01), "image": ccf.Image(1, 8, 8)}
    scm = ccf.SCM([("t", "image")], variables, {"image": HVAE(**TINY, temperature=0.25)})
    scm.fit(rows, epochs=1, seed=0, progress=False).save(tmp_path / "cool.safetensors")
    for model in (scm, ccf.SCM.load(tmp_path / "cool.safetensors")):
        drawn = model.counterfactual(rows, [{"t": 0.9}, {}], abduction="sample", num_samples=2, seed=0)
        world = drawn.world(0).sample(1)
        assert drawn.temperatures == world.temperatures == world.noise.temperatures == {"image": 0.25}
        assert torch.equal(world.noise["image.z0"], drawn.noise["image.z0"][1])
        assert model.predict(world.noise, {"t": 0.1}).temperatures == {"image": 0.25}
        assert model.counterfactual(rows, {"t": 0.9}).temperatures == {}, "the posterior's mean knows none"
    warm = ccf.SCM([("t", "image")], variables, {"image": ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))})
    warm.fit(rows, epochs=1, seed=0, progress=False)
    assert warm.abduct(rows, abduction="sample", seed=0).temperatures == {"image": 1.0}


def test_temperature_scales_what_is_drawn_and_is_recorded() -> None:
    (x, pa), warm, cool = _rows(3), _hvae(), _hvae(temperature=0.25)
    assert cool.config["temperature"] == 0.25
    assert torch.equal(warm.abduct(x, pa)["z3"], cool.abduct(x, pa)["z3"])
    torch.manual_seed(0)
    one, whole = warm.abduct(x, pa, sample=True)["z0"], warm.sample_noise(5)
    torch.manual_seed(0)
    other, part = cool.abduct(x, pa, sample=True)["z0"], cool.sample_noise(5)
    mean = warm.posterior(x, pa)["z0"].mean
    assert torch.allclose(other - mean, 0.25 * (one - mean), atol=1e-12)
    assert torch.allclose(part["z3"], 0.25 * whole["z3"], atol=1e-12)
    assert torch.equal(part["eps"], whole["eps"])
    for laws in ("prior", "posterior"):
        hot, cold = (m.prior(pa) if laws == "prior" else m.posterior(x, pa) for m in (warm, cool))
        assert torch.allclose(cold["z1"].stddev, 0.25 * hot["z1"].stddev, atol=1e-12)


def test_sigma_is_learned_or_fixed() -> None:
    (_, pa), learned, fixed = _rows(2), _hvae(), _hvae(sigma=0.25)
    u = {site: law.expand([2]).mean for site, law in learned.prior(pa).items()}
    for hvae, sigma in ((fixed, torch.full((1, 1, 1), 0.25)), (learned, learned.log_sigma.exp())):
        assert torch.allclose(hvae.dist(pa, u).stddev, (hvae.gain(pa) * sigma).expand(2, 1, 8, 8), atol=1e-12)


def test_the_pyro_program_and_its_guide_have_the_hierarchys_sites() -> None:
    x, pa = _rows(6)
    scm = ccf.SCM([("t", "image")], {**T, "image": ccf.Image(1, 8, 8)}, {"image": HVAE(**TINY)})
    rows = {"t": pa["t"].float(), "image": x.float()}
    scm.fit(rows, epochs=1, validation=0.5, seed=0, progress=False)
    guide = pyro.poutine.trace(scm.guide).get_trace(rows)
    model: dict[str, Any] = dict(pyro.poutine.trace(pyro.poutine.replay(scm.model, guide)).get_trace(6).nodes)
    names = [f"image.z{k}" for k in range(4)]
    assert [name for name in guide.nodes if name in names] == names
    drawn = {name.removeprefix("image."): model[name]["value"] for name in names}
    law = scm.mechanisms["image"].dist({"t": model["t"]["value"]}, drawn)
    assert torch.allclose(model["image"]["fn"].mean, law.mean, atol=1e-6)
    found = scm.log_prob(rows, particles=3, seed=0)
    assert found.lower_bounds == ("image",)
    assert torch.isfinite(found["image"]).all()


def test_more_particles_tighten_the_bound() -> None:
    """Burda et al. 2016: the importance-weighted bound grows with the particles; here by the mean of 40 rows."""
    scm = ccf.SCM([("t", "image")], {**T, "image": ccf.Image(1, 8, 8)}, {"image": HVAE(**TINY)})
    x, pa = _rows(40)
    rows = {"t": pa["t"].float(), "image": x.float()}
    scm.fit(rows, epochs=1, seed=0, progress=False)
    one, many = (scm.log_prob(rows, particles=k, seed=0)["image"].mean() for k in (1, 50))
    assert many > one


@pytest.mark.parametrize(("name", "channels", "size"), [("32", 1, 32), ("64", 3, 64)])
def test_presets_build_for_their_size_and_refuse_others(name: str, channels: int, size: int) -> None:
    thin = {"widths": (8,) * (6 if name == "64" else 5)}
    hvae = HVAE.preset(name, **thin).bind("image", ccf.Image(channels, size, size), T)
    assert len(hvae.latents) == {"32": 20, "64": 24}[name]
    x, pa = torch.rand(2, channels, size, size), {"t": torch.zeros(2)}
    hvae.loss(x, pa).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in hvae.parameters() if p.numel())
    with torch.no_grad():
        assert torch.allclose(hvae.predict(hvae.abduct(x, pa), pa), x, atol=1e-5)
    with pytest.raises(
        MechanismError, match=rf"HVAE of 'image' with size={size} takes images of {size} x {size}, got 48"
    ):
        HVAE.preset(name, **thin).bind("image", ccf.Image(channels, 48, 48), T)


def test_a_preset_keeps_what_is_set_and_names_the_others() -> None:
    assert HVAE.preset("32", beta=2.0, exogenous_prior=False).config["beta"] == 2.0
    with pytest.raises(MechanismError, match=r"HVAE has no preset '128'. There are: \['32', '64', 'colour'\]"):
        HVAE.preset("128")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (8, 8)}, "widths must be 3 whole numbers of at least 1"),
        ({"blocks": (1, 1)}, "blocks must be 3 whole numbers of at least 0"),
        ({"strides": 2}, "strides must be whole numbers of at least 1"),
        ({"bottleneck": 0}, "bottleneck must be a number above 0"),
        ({"temperature": float("nan")}, "temperature must be a number above 0"),
        ({"strides": (4, 6)}, "each stride must be a multiple of the one before"),
        ({"strides": (4, 4)}, "each stride must be a multiple of the one before"),
        ({"blocks": (0, 0, 0)}, "blocks must hold at least one latent"),
        ({"temperature": 0.0}, "temperature must be a number above 0"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MechanismError, match=f"HVAE of 'image': {message}"):
        HVAE(**{**TINY, **options}).bind("image", ccf.Image(1, 8, 8), T)


@pytest.mark.parametrize("shape", [(3, 24, 16), (1, 28, 28), (1, 9, 13)])
def test_images_of_any_size_go_through(shape: tuple[int, int, int]) -> None:
    hvae = HVAE(**TINY).bind("image", ccf.Image(*shape), {"c": ccf.Categorical(2)})
    x, pa = torch.rand(2, *shape), {"c": torch.tensor([0, 1])}
    with torch.no_grad():
        assert torch.allclose(hvae.predict(hvae.abduct(x, pa), pa), x, atol=1e-5)


def test_mixed_precision_gives_finite_losses_near_full_precision() -> None:
    hvae = HVAE(**TINY).bind("image", ccf.Image(1, 8, 8), T)
    x, pa = _rows(64)
    rows = x.float(), {"t": pa["t"].float()}
    torch.manual_seed(0)
    full = hvae.loss(*rows)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = hvae.loss(*rows)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(full.item(), rel=0.02)


@either_prior
def test_a_parent_that_only_brightens_multiplies_the_image(exogenous: bool) -> None:
    """The networks do not hear of it, so acting on it scales the image by the ratio of gains, residual and all."""
    hvae = HVAE(**TINY, exogenous_prior=exogenous, gain_only=("i",))
    hvae.bind("image", ccf.Image(1, 8, 8), {**T, "i": ccf.Interval(64, 255)}).double().requires_grad_(False)
    x, pa = _rows(40)
    pa = {**pa, "i": torch.linspace(70, 200, 40, dtype=torch.float64)}
    x = x * pa["i"][:, None, None, None] / 255
    hvae.calibrate(x, pa)
    acted = {**pa, "i": 1.2 * pa["i"]}
    ratio = hvae.gain(acted) / hvae.gain(pa)
    assert (ratio > 1.1).all()
    assert torch.allclose(hvae.predict(hvae.abduct(x, pa), acted), ratio * x, atol=1e-9)
    with pytest.raises(MechanismError, match=r"HVAE of 'image': gain_only names \['j'\], but its parents are \['t'\]"):
        HVAE(**TINY, gain_only=("j",)).bind("image", ccf.Image(1, 8, 8), T)


def test_fine_tuning_weighs_the_bound_against_what_the_predictors_say() -> None:
    """One pass for both: the bound is the loss, and the counterfactual is predicted from the same draw."""
    hvae, (x, pa) = _hvae(), _rows(5)
    seen: list[dict[str, Tensor]] = []

    class Reader(ccf.mechanisms.Trainable):
        def loss(self, x: Tensor, pa: Any) -> Tensor:
            seen.append(dict(pa))
            return (pa["image"].mean((1, 2, 3)) - x).square().mean()

    torch.manual_seed(0)
    loss = hvae.loss(x, pa)
    torch.manual_seed(0)
    pa_star = {"t": pa["t"] + 1}
    own, disobedience = hvae.finetune_loss(x, pa, pa_star, {"t": Reader()}, torch.ones(len(x)))
    assert own.item() == pytest.approx(loss.item(), abs=1e-12)
    assert torch.isfinite(disobedience)
    assert seen[0]["image"].shape == x.shape
    assert torch.equal(seen[0]["t"], pa_star["t"])
