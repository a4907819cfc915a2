"""What parents do on average: found by least squares, against the effects that images were made with."""

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import MechanismError
from causalcf.mechanisms import HVAE, VAE
from causalcf.mechanisms.average import Average

GLASSES = {"glasses": ccf.Boolean(), "age": ccf.Real()}


def _pictures(n: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Grey noise that differs from row to row; glasses darken one pixel by 0.3, a year brightens another by 0.1."""
    glasses, age = torch.rand(n) < 0.2, torch.randn(n)
    x = 0.5 + 0.1 * torch.randn(n, 1, 1, 1) + 0.05 * torch.randn(n, 1, 8, 8)
    x[:, 0, 2, 3] -= 0.3 * glasses
    x[:, 0, 6, 6] += 0.1 * age
    return x, {"glasses": glasses, "age": age}


def _effect(vae: VAE | HVAE, x: Tensor, pa: dict[str, Tensor], node: str) -> Tensor:
    """The mean change of each pixel when a parent becomes 1 instead of 0."""
    ends = [vae.predict(vae.abduct(x, pa), {**pa, node: torch.full_like(pa[node], value)}) for value in (0, 1)]
    return (ends[1] - ends[0]).mean(0)[0]


@pytest.mark.parametrize("mechanism", [VAE(widths=(4, 4, 4), latent=2), HVAE(widths=(4, 4, 4, 4))])
def test_an_untrained_model_obeys_on_average(mechanism: VAE | HVAE) -> None:
    """Networks that draw nothing yet: where an effect acts it is there, and nowhere else."""
    x, pa = _pictures(3000)
    vae = type(mechanism)(**{**mechanism.config, "average": True}).bind("image", ccf.Image(1, 8, 8), GLASSES)
    vae.calibrate(x, pa)
    rows = {name: value[:50] for name, value in pa.items()}
    with torch.no_grad():
        vae.generator.head.weight.zero_()
        for node, expected, place in (("glasses", -0.3, (2, 3)), ("age", 0.1, (6, 6))):
            effect = _effect(vae, x[:50], rows, node)
            assert float(effect[place]) == pytest.approx(expected, abs=0.02)
            effect[place] = 0.0
            assert float(effect.abs().max()) < 0.01


def test_what_chance_explains_does_not_count() -> None:
    x, c = torch.rand(400, 1, 16, 16), torch.randn(400, 2)
    average = Average(2, (1, 16, 16))
    average.calibrate(x, c)
    assert float((average.weight[1:] != 0).double().mean()) < 0.01, "three standard errors: 0.3 % by chance"
    assert average(c, torch.zeros(400, 3, 16, 16))[0].flatten().allclose(average.weight[0] + c[0] @ average.weight[1:])


def test_what_networks_add_to_an_effect_stays_near_it() -> None:
    x, pa = _pictures(3000)
    c = torch.stack([pa["glasses"].float(), pa["age"]], 1)
    average = Average(2, (1, 8, 8))
    average.calibrate(x, c)
    added = torch.zeros(1, 3, 8, 8)
    added[:, 1] = 1.0
    moved = average(torch.tensor([[2.0, 5.0]]), added) - average(torch.tensor([[2.0, 5.0]]), 0 * added)
    expected = torch.zeros(8, 8)
    expected[:5, 1:6] = 2.0  # two pixels around the one that glasses darken; age has no share of this channel
    assert moved[0, 0].allclose(expected)


def test_sparsity_is_for_training_alone() -> None:
    x, pa = _pictures(200)
    plain = VAE(widths=(4, 4, 4), latent=2).bind("image", ccf.Image(1, 8, 8), GLASSES)
    vae = VAE(widths=(4, 4, 4), latent=2, sparsity=10.0).bind("image", ccf.Image(1, 8, 8), GLASSES)
    for made in (plain, vae):
        made.calibrate(x, pa)
    vae.load_state_dict(plain.state_dict(), strict=False)
    losses = []
    for made, training in ((plain, False), (vae, False), (vae, True)):
        torch.manual_seed(0)
        made.train(training)
        losses.append(made.loss(x, pa).item())
    assert losses[0] == losses[1]
    assert losses[2] > losses[1] + 0.01


def test_a_change_that_does_not_pay_is_what_sparsity_counts() -> None:
    """Against the change by hand, when every row acts on the only parent."""
    torch.manual_seed(3)
    x, t = torch.rand(6, 1, 8, 8), {"t": torch.randn(6)}
    vae = VAE(widths=(4, 4, 4), latent=2).bind("image", ccf.Image(1, 8, 8), {"t": ccf.Real()})
    vae.encoder.calibrate(t)
    u = vae.abduct(x, t)
    torch.manual_seed(0)
    changed = vae.changed(x, u, t)
    torch.manual_seed(0)
    torch.randint(1, (6,))
    other = t["t"][torch.randperm(6)]
    means = [vae.location_scale(u, {"t": value}) for value in (t["t"], other)]
    assert changed.item() == pytest.approx(((means[1][0] - means[0][0]) / means[0][1]).abs().mean().item(), rel=1e-4)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(MechanismError, match=r"VAE has no preset '64'. There are: \['colour'\]"):
        VAE.preset("64")
    with pytest.raises(MechanismError, match="sparsity must be a number of at least 0"):
        VAE(sparsity=-1.0).bind("image", ccf.Image(1, 8, 8), GLASSES)


def test_parents_that_do_not_brighten_have_no_gain() -> None:
    """A tenth of the variance of the brightness is not worth scaling a whole picture for; nine tenths are."""
    t = torch.rand(500)
    for share, noise in ((True, 0.05), (False, 1.0)):
        x = (0.2 + 0.5 * t + noise * 0.5 * torch.rand(500))[:, None, None, None] * torch.ones(1, 1, 8, 8)
        vae = VAE(widths=(4, 4, 4), latent=2).bind("image", ccf.Image(1, 8, 8), {"t": ccf.Real()})
        vae.calibrate(x, {"t": t})
        assert bool((vae.gain.weight != 0).any()) is share, noise
    hvae = HVAE(widths=(4, 4, 4, 4), gain_only=("t",)).bind("image", ccf.Image(1, 8, 8), {"t": ccf.Real()})
    hvae.calibrate(x, {"t": t})
    assert bool((hvae.gain.weight != 0).any()), "who says that a parent brightens is believed"
