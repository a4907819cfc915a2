"""The VAE: its bound, its noise, its gain, and the images it can take."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

import causalcf as ccf
from causalcf.core.errors import MechanismError
from causalcf.mechanisms import images


def _vae(**options: object) -> ccf.mechanisms.VAE:
    vae = ccf.mechanisms.VAE(latent=3, widths=(8, 8, 8), **options)  # type: ignore[arg-type]
    vae.bind("image", ccf.Image(1, 8, 8), {"t": ccf.Real()}).double().requires_grad_(False).eval()
    for parameter in vae.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return vae


def _rows(n: int) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.rand(n, 1, 8, 8, generator=generator, dtype=torch.float64),
        {"t": torch.rand(n, generator=generator, dtype=torch.float64)},
    )


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_loss_is_the_evidence_bound_in_nats_per_pixel(beta: float) -> None:
    """Against the bound put together from the distributions, on the same draw of z."""
    vae, (x, pa) = _vae(beta=beta), _rows(9)
    torch.manual_seed(0)
    loss = vae.loss(x, pa)
    torch.manual_seed(0)
    q, p = vae.posterior(x, pa)["z"], vae.prior(pa)["z"]
    z = q.mean + q.stddev * torch.randn_like(q.mean)
    bound = vae.dist(pa, {"z": z}).log_prob(x) - beta * kl_divergence(q.base_dist, p.base_dist).sum(1)
    assert loss.item() == pytest.approx(-bound.mean().item() / 64, abs=1e-9)


def test_the_residual_is_the_noise_of_the_pixels() -> None:
    vae, (x, pa) = _vae(), _rows(9)
    u = vae.abduct(x, pa)
    law = vae.dist(pa, {"z": u["z"]})
    assert torch.allclose(u["eps"], (x - law.mean) / law.stddev, atol=1e-9)
    assert torch.allclose(vae.predict(u, pa), x, atol=1e-12)
    other = {"t": pa["t"] + 1}
    moved = vae.dist(other, {"z": u["z"]})
    assert torch.allclose(vae.predict(u, other), moved.mean + moved.stddev * u["eps"], atol=1e-12)
    assert not torch.allclose(vae.predict(u, other), x, atol=1e-3)
    mean = vae.predict({"z": u["z"], "eps": torch.zeros_like(u["eps"])}, pa)
    assert torch.allclose(mean, law.mean, atol=1e-12)


def test_abduction_takes_the_posterior_mean_or_a_draw() -> None:
    vae, (x, pa) = _vae(), _rows(9)
    q = vae.posterior(x, pa)["z"]
    assert torch.equal(vae.abduct(x, pa)["z"], q.mean)
    draws = torch.stack([vae.abduct(x, pa, sample=True)["z"] for _ in range(400)])
    assert ((draws.mean(0) - q.mean).abs() < 5 * q.stddev / 400**0.5).all()
    assert torch.allclose(draws.std(0) / q.stddev, torch.ones(9, 3, dtype=torch.float64), atol=0.2)
    u = vae.abduct(x, pa, sample=True)
    assert torch.allclose(vae.predict(u, pa), x, atol=1e-12), "the residual makes up for the draw"


def test_samples_follow_the_prior_and_the_likelihood() -> None:
    vae, (_, pa) = _vae(), _rows(1)
    noise = vae.sample_noise(4000)
    for value in (noise["z"], noise["eps"].flatten(1)[:, :5]):
        assert (value.mean(0).abs() < 4.5 / 4000**0.5).all()
        assert ((value.std(0) - 1).abs() < 4.5 / (2 * 4000) ** 0.5).all()
    z = {"z": noise["z"][:1]}
    law = vae.dist(pa, z)
    drawn = vae.predict({"z": z["z"].expand(4000, -1), "eps": noise["eps"]}, {"t": pa["t"].expand(4000)})
    assert ((drawn.mean(0) - law.mean[0]).abs() < 5 * law.stddev[0] / 4000**0.5).all()


def test_sigma_is_learned_or_fixed() -> None:
    (x, pa), learned, fixed = _rows(2), _vae(), _vae(sigma=0.25)
    z = {"z": torch.zeros(2, 3, dtype=torch.float64)}
    for vae, sigma in ((fixed, torch.full((1, 1, 1), 0.25)), (learned, learned.log_sigma.exp())):
        assert torch.allclose(vae.dist(pa, z).stddev, (vae.gain(pa) * sigma).expand_as(x), atol=1e-12)


def test_the_gain_is_read_off_brightness_and_multiplies_mean_and_residual() -> None:
    """An image whose brightness is a power of t: the gain finds the power, and do(t) scales the residual."""
    generator = torch.Generator().manual_seed(0)
    t = (0.5 * torch.randn(400, generator=generator, dtype=torch.float64)).exp()
    image = 0.02 * t[:, None, None, None] ** 1.5 * (1 + 0.1 * torch.rand(400, 1, 8, 8, generator=generator))
    vae = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8)).bind("image", ccf.Image(1, 8, 8), {"t": ccf.Positive()})
    vae.double().calibrate(image, {"t": t})
    ratio = vae.gain({"t": 2 * t}) / vae.gain({"t": t})
    assert torch.allclose(ratio, torch.full_like(ratio, 2**1.5), rtol=0.02)


def test_a_training_run_lowers_the_bound_and_the_parents_matter() -> None:
    """A square whose grey level is t: the mean image must follow do(t)."""
    t = torch.rand(400, generator=torch.Generator().manual_seed(0))
    image = torch.zeros(400, 1, 8, 8)
    image[:, :, 2:6, 2:6] = t[:, None, None, None]
    scm = ccf.SCM(
        [("t", "image")],
        {"t": ccf.Interval(-0.01, 1.01), "image": ccf.Image(1, 8, 8)},
        {
            "image": ccf.mechanisms.VAE(
                latent=2, widths=(8, 8, 8), recipe=ccf.mechanisms.Recipe(epochs=12, batch_size=32, lr=5e-3)
            )
        },
    ).fit({"t": t, "image": image}, epochs={"t": 1}, seed=0, progress=False)
    losses = [record["validation"] for record in scm.history if record["node"] == "image"]
    assert min(losses) < losses[0] - 0.5
    rows = {"t": t[:50], "image": image[:50]}
    cf = scm.counterfactual(rows, {"t": 0.9}, residual=1.0)["image"]
    truth = torch.zeros(50, 1, 8, 8)
    truth[:, :, 2:6, 2:6] = 0.9
    error, idle = (cf - truth).abs().mean(), (image[:50] - truth).abs().mean()
    assert error < 0.4 * idle


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 13, 8), (3, 5, 30)])
def test_images_of_any_size_are_framed_and_cropped_back(shape: tuple[int, int, int]) -> None:
    vae = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8)).bind("image", ccf.Image(*shape), {})
    x = torch.rand(2, *shape)
    u = vae.abduct(x, {})
    assert u["eps"].shape == x.shape
    assert torch.allclose(vae.predict(u, {}), x, atol=1e-5)
    framed = images.framed(x, vae.frame(8))
    assert all(side % 8 == 0 for side in framed.shape[2:])
    assert torch.isclose(framed.sum(), x.sum())
    assert torch.equal(images.framed(framed, shape[1:]), x)


def test_colour_images_of_other_sizes_go_through() -> None:
    vae = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8)).bind("image", ccf.Image(3, 24, 16), {"c": ccf.Categorical(2)})
    x, pa = torch.rand(2, 3, 24, 16), {"c": torch.tensor([0, 1])}
    assert torch.allclose(vae.predict(vae.abduct(x, pa), pa), x, atol=1e-5)
    assert Normal(0, 1).log_prob(vae.sample_noise(2)["eps"]).shape == (2, 3, 24, 16)


def test_a_root_image_is_a_model_of_one_node() -> None:
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_node("image")
    scm = ccf.SCM(graph, {"image": ccf.Image(1, 8, 8)}, {"image": ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))})
    scm.fit({"image": torch.rand(40, 1, 8, 8)}, epochs=1, seed=0, progress=False)
    drawn = scm.sample(3, do={"image.z": [1.0, -1.0]}, residual=0.0, seed=0)["image"]
    assert torch.allclose(drawn[0], drawn[1], atol=1e-6), "one latent, no residual: one image"
    set_to_zero = scm.sample(3, do={"image.z": [1.0, -1.0], "image.eps": torch.zeros(1, 8, 8)})["image"]
    assert torch.allclose(set_to_zero, drawn, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"latent": 0}, {"latent": "a"}, {"widths": (8, 8)}, {"beta": -1.0}, {"sigma": 0.0}, {"latent": True}]
)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MechanismError, match=f"VAE of 'image': {next(iter(options))} must be"):
        ccf.mechanisms.VAE(**options).bind("image", ccf.Image(1, 8, 8), {})
