"""Which parents an image obeys, on models that do and that do not."""

import torch

import causalcf as ccf
from causalcf.scm.obedience import ignored


def test_a_model_that_ignores_the_digit_is_told_from_one_that_does_not() -> None:
    """The card of the VAE says that do(digit) leaves the shape; its own draws, too, differ from digit to digit."""
    x = ccf.pretrained("morphomnist-hvae").sample(2000, seed=0, residual=0.0)
    idle, tuned = (ccf.pretrained(f"morphomnist-{name}").obedience(x)["image"] for name in ("vae", "vae-tuned"))
    assert idle["digit"] < 0.25
    assert tuned["digit"] > 0.75
    assert min(idle["thickness"], idle["intensity"]) > 0.5
    (line,) = ignored({"image": idle})
    assert line.startswith("image ignores 'digit': acting on it shows ")


def test_the_truth_obeys_and_what_acts_on_nothing_is_not_asked_for() -> None:
    """An image that is linear in one parent; the other acts on nothing, and has no entry."""
    torch.manual_seed(0)
    t, idle = torch.randn(1000), torch.randn(1000)
    image = (0.5 + 0.1 * t)[:, None, None, None] * torch.ones(1, 8, 8) + 0.02 * torch.randn(1000, 1, 8, 8)
    rows = {"t": t, "idle": idle, "image": image.clamp(0, 1)}
    vae = ccf.mechanisms.VAE(widths=(4, 4, 4), latent=2, average=True)
    graph = ccf.CausalGraph(
        [("t", "image"), ("idle", "image")], {"t": ccf.Real(), "idle": ccf.Real(), "image": ccf.Image(1, 8, 8)}
    )
    scm = ccf.SCM(graph, mechanisms={"image": vae}).fit(rows, epochs=0, seed=0, progress=False)
    shares = scm.obedience(rows)["image"]
    assert list(shares) == ["t"]
    assert abs(shares["t"] - 1) < 0.15
    assert not ignored({"image": shares})
