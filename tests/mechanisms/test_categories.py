"""Codes without their categories: the same law in every category, and the way there and back."""

import pytest
import torch

import causalcf as ccf
from causalcf.mechanisms import VAE
from causalcf.mechanisms.categories import ByCategory

PARENTS = {"c": ccf.Categorical(3), "b": ccf.Boolean(), "t": ccf.Real()}

SURE = torch.zeros(3000, 2)
"""The variances of codes that are known exactly."""


def _codes(rows: int = 3000) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Codes whose mean and covariance follow from two categories."""
    generator = torch.Generator().manual_seed(0)
    c = torch.randint(3, (rows,), generator=generator)
    b = torch.rand(rows, generator=generator) < 0.5
    mixing = torch.randn(6, 2, 2, generator=generator) + 2 * torch.eye(2)
    shift = 4 * torch.randn(6, 2, generator=generator)
    cell = 2 * c + b
    z = shift[cell] + (mixing[cell] @ torch.randn(rows, 2, 1, generator=generator))[:, :, 0]
    return z, {"c": c, "b": b, "t": torch.randn(rows, generator=generator)}


def test_noise_has_the_same_moments_in_every_category() -> None:
    z, pa = _codes()
    law = ByCategory(PARENTS, 2)
    law.settle(z, SURE, pa)
    u = law.noise(z, pa)
    for c in range(3):
        for b in (False, True):
            own = u[(pa["c"] == c) & (pa["b"] == b)]
            torch.testing.assert_close(own.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
            torch.testing.assert_close(own.T.cov(correction=0), torch.eye(2), atol=1e-3, rtol=0)


def test_the_spread_of_each_code_counts_as_much_as_that_of_their_means() -> None:
    """The law of draws, against many draws: one dimension carries the image, the other nothing."""
    z, pa = _codes()
    z[:, 1] = 0.0
    std = torch.tensor([0.1, 1.0]) * (0.5 + torch.rand(3000, 2, generator=torch.Generator().manual_seed(1)))
    law = ByCategory(PARENTS, 2)
    law.settle(z, std.square(), pa)
    many = {name: value.repeat(100) for name, value in pa.items()}
    noise = torch.randn(300_000, 2, generator=torch.Generator().manual_seed(2))
    u = law.noise(z.repeat(100, 1) + std.repeat(100, 1) * noise, many)
    for c in range(3):
        own = u[many["c"] == c]
        torch.testing.assert_close(own.mean(0), torch.zeros(2), atol=0.02, rtol=0)
        torch.testing.assert_close(own.T.cov(), torch.eye(2), atol=0.03, rtol=0)


def test_there_and_back_and_into_another_category() -> None:
    z, pa = _codes()
    law = ByCategory(PARENTS, 2)
    torch.testing.assert_close(law.noise(z, pa), z)  # before it is settled, it does nothing
    law.settle(z, SURE, pa)
    torch.testing.assert_close(law.code(law.noise(z, pa), pa), z, atol=1e-4, rtol=1e-4)
    other = law.code(law.noise(z, pa), {**pa, "c": torch.zeros_like(pa["c"]), "b": torch.zeros_like(pa["b"])})
    own = z[(pa["c"] == 0) & ~pa["b"]]
    torch.testing.assert_close(other.mean(0), own.mean(0), atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(other.T.cov(), own.T.cov(), atol=2e-2, rtol=2e-2)


def test_a_rare_category_has_the_law_of_all_rows() -> None:
    z, pa = _codes()
    pa["c"] = pa["c"].clamp_max(1)
    pa["c"][0] = 2
    law = ByCategory(PARENTS, 2)
    law.settle(z, SURE, pa)
    torch.testing.assert_close(law.loc[4], z.mean(0), atol=1e-4, rtol=1e-4)


def _settled() -> tuple[VAE, ccf.Batch]:
    bars = ccf.datasets.Bars(60)
    parents = {node: bars.variables[node] for node in ("width", "brightness", "side")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = VAE(latent=3, widths=(4, 4, 4), by_category=True).bind("image", bars.variables["image"], parents)
    x = bars[:]
    pa = {node: x[node] for node in parents}
    vae.calibrate(x["image"], pa)
    vae.settle(x["image"], pa)
    return vae, x


def test_a_settled_vae_keeps_its_round_trip_and_its_posterior() -> None:
    vae, x = _settled()
    pa = {node: x[node] for node in vae.parents}
    u = vae.abduct(x["image"], pa)
    torch.testing.assert_close(vae.predict(u, pa), x["image"], atol=1e-5, rtol=0)
    law = vae.posterior(x["image"], pa)["z"]
    torch.testing.assert_close(law.mean, u["z"])
    mean, log_std = vae.encode(x["image"], pa)
    draws = law.sample(torch.Size([4000])).reshape(-1, 3)  # type: ignore[arg-type]
    many = {node: value.repeat(4000) for node, value in pa.items()}
    codes = vae._code(draws, many).reshape(4000, -1, 3)
    # The standard error of a mean of 4,000 draws is 0.016 standard deviations; 6 of them for 180 means.
    assert ((codes.mean(0) - mean).abs() < 0.1 * log_std.exp() + 1e-4).all()


def test_draws_from_the_posterior_of_a_settled_vae_have_the_law_of_the_prior() -> None:
    """An encoder that says next to nothing: the prior should fit its draws, and the density with it."""
    vae, x = _settled()
    pa = {node: x[node].repeat(200) for node in vae.parents}
    torch.manual_seed(0)
    u = vae.abduct(x["image"].repeat(200, 1, 1, 1), pa, sample=True)["z"]
    for side in range(3):
        own = u[pa["side"] == side]
        torch.testing.assert_close(own.mean(0), torch.zeros(3), atol=0.05, rtol=0)
        torch.testing.assert_close(own.T.cov(), torch.eye(3), atol=0.05, rtol=0)


def test_where_no_category_changes_neither_does_the_code() -> None:
    vae, x = _settled()
    pa = {node: x[node] for node in vae.parents}
    plain = VAE(latent=3, widths=(4, 4, 4)).bind("image", vae.variable, vae.parents)
    plain.load_state_dict({k: v for k, v in vae.state_dict().items() if not k.startswith("categories.")})
    acted = {**pa, "width": pa["width"] + 0.5}
    torch.testing.assert_close(
        vae.predict(vae.abduct(x["image"], pa), acted),
        plain.predict(plain.abduct(x["image"], pa), acted),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("half", [(), ("image",)])
def test_its_file_holds_the_laws(tmp_path, half) -> None:  # type: ignore[no-untyped-def]
    bars = ccf.datasets.Bars(120)
    vae = VAE(latent=2, widths=(4, 4, 4), by_category=True)
    scm = ccf.SCM(bars.graph, mechanisms={"image": vae}).fit(bars, epochs=1, seed=0, progress=False)
    scm.save(tmp_path / "m.safetensors", half=half)
    law = ccf.SCM.load(tmp_path / "m.safetensors").mechanisms["image"].categories  # type: ignore[union-attr]
    assert not torch.equal(law.root[0], torch.eye(2))  # type: ignore[union-attr]
    torch.testing.assert_close(law.root, scm.mechanisms["image"].categories.root)  # type: ignore[union-attr]
