"""A pretrained generator as a mechanism: it stays as it is, it inverts, and it obeys its class."""

from pathlib import Path

import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import causalcf as ccf
from causalcf.core.errors import CheckpointError, MechanismError
from causalcf.mechanisms import Generator

CLASSES = 3


class Net(nn.Module):
    """z and a one-hot class to an image in [-1, 1], with what must not be live: dropout and batch statistics."""

    def __init__(self, latent: int = 4) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(latent + CLASSES, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(0.5), nn.Linear(32, 64)
        )

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return self.net(torch.cat([z, 2 * label], 1)).tanh().unflatten(1, (1, 8, 8))


def one_hot(pa: ccf.mechanisms.base.Parents) -> tuple[Tensor, ...]:
    """What Net is told of the parents."""
    return (F.one_hot(pa["label"], CLASSES).float(),)


def _conditional(**options: object) -> ccf.SCM:
    generator = Generator(Net(), latent=4, adapt=one_hot, span=(-1, 1), **options)  # type: ignore[arg-type]
    variables = {"label": ccf.Categorical(CLASSES), "image": ccf.Image(1, 8, 8)}
    scm = ccf.SCM([("label", "image")], variables, {"image": generator})
    return scm.fit(
        {"label": torch.arange(60) % CLASSES, "image": torch.rand(60, 1, 8, 8)}, seed=0, progress=False, epochs=2
    )


def _root(generator: Generator) -> ccf.SCM:
    graph = nx.DiGraph()
    graph.add_node("image")
    return ccf.SCM(graph, {"image": ccf.Image(1, 8, 8)}, {"image": generator})


def _linear(latent: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(latent, 64), nn.Unflatten(1, (1, 8, 8)))


def test_fitting_a_model_leaves_the_generator_as_it_was() -> None:
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    variables = {"label": ccf.Categorical(CLASSES), "image": ccf.Image(1, 8, 8)}
    scm = ccf.SCM([("label", "image")], variables, {"image": Generator(net, latent=4, adapt=one_hot)})
    assert scm.mechanisms["image"].fitted
    scm.fit({"label": torch.arange(60) % CLASSES, "image": torch.rand(60, 1, 8, 8)}, seed=0, progress=False)
    assert {record["node"] for record in scm.history} == {"label"}
    after = scm.mechanisms["image"].G.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_callers_networks_stay_as_they_are() -> None:
    G = nn.Sequential(nn.Linear(2, 16), nn.Dropout(), nn.Unflatten(1, (1, 4, 4)))
    Generator(G, latent=2)
    assert all(module.training for module in G.modules())
    assert all(weight.requires_grad for weight in G.parameters())


def test_dropout_and_batch_statistics_are_never_live() -> None:
    scm = _conditional()
    noise = scm.abduct(scm.sample(5, seed=0))
    first = scm.predict(noise, {"label": 1})["image"]
    scm.train()
    assert torch.equal(scm.predict(noise, {"label": 1})["image"], first)
    assert not any(module.training for module in scm.mechanisms["image"].modules())
    assert not any(parameter.requires_grad for parameter in scm.parameters())


def test_without_an_encoder_its_own_images_are_found_again() -> None:
    scm = _conditional(refine=300)
    drawn = scm.sample(20, seed=0)
    generator = scm.mechanisms["image"]
    assert isinstance(generator, Generator)
    pa = {"label": drawn["label"]}
    again = generator.decode(generator.encode(drawn["image"], pa), pa)
    idle = generator.decode(torch.zeros(20, 4), pa)
    assert (again - drawn["image"]).abs().mean() < 0.1 * (idle - drawn["image"]).abs().mean()


def test_more_starts_find_no_worse_latents() -> None:
    torch.manual_seed(3)
    net, x, errors = Net(), torch.rand(12, 1, 8, 8), []
    pa = {"label": torch.arange(12) % CLASSES}
    for starts in (1, 5):
        generator = Generator(net, latent=4, adapt=one_hot, span=(-1, 1), starts=starts, refine=40)
        generator.bind("image", ccf.Image(1, 8, 8), {"label": ccf.Categorical(CLASSES)})
        errors.append((generator.decode(generator.encode(x, pa), pa) - x).square().flatten(1).mean(1))
    assert (errors[1] <= errors[0] + 1e-6).all()
    assert (errors[1] < errors[0] - 1e-6).any()


def test_counterfactuals_hold_z_and_move_the_class() -> None:
    scm = _conditional()
    x = scm.sample(6, seed=0)
    noise = scm.abduct(x)
    generator = scm.mechanisms["image"]
    assert isinstance(generator, Generator)
    cf = scm.predict(noise, {"label": 2}, residual=0.0)["image"]
    label = torch.zeros(6, CLASSES)
    label[:, 2] = 1
    expected = (generator.G(noise["image.z"], label) + 1) / 2
    assert torch.allclose(cf, expected, atol=1e-6)
    whole = generator.predict({s: noise[f"image.{s}"] for s in ("z", "eps")}, {"label": x["label"]})
    assert torch.allclose(whole, x["image"], atol=1e-5), "with the residual nothing is lost"


def test_z_is_drawn_from_its_prior_and_can_be_set() -> None:
    scm = _root(Generator(_linear(), latent=3))
    noise = scm.mechanisms["image"].sample_noise(4000)
    assert not noise["eps"].any()
    assert ((noise["z"].std(0) - 1).abs() < 4.5 / 8000**0.5).all()
    drawn = scm.sample(2, do={"image.z": [1.0, 0.0, 0.0]}, out_of_support="clip", seed=0)["image"]
    assert torch.allclose(drawn[0], drawn[1])


def test_an_encoder_begins_and_descent_goes_on() -> None:
    G, E = _linear(), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    pa: dict[str, Tensor] = {}
    x = Generator(G, latent=3).bind("image", ccf.Image(1, 8, 8), {}).predict({"z": torch.randn(8, 3)}, pa)
    alone, refined = (
        Generator(G, E, latent=3, refine=refine).bind("image", ccf.Image(1, 8, 8), {}) for refine in (None, 300)
    )
    assert torch.equal(alone.encode(x, pa), E(x))
    errors = [(m.decode(m.encode(x, pa), pa) - x).abs().mean() for m in (alone, refined)]
    assert errors[1] < 0.05 * errors[0]


def test_all_networks_see_pixels_in_the_span() -> None:
    generator = Generator(
        lambda z: z.reshape(-1, 1, 2, 2), lambda x: x.flatten(1), lambda x: x.amax((1, 2, 3)), latent=4, span=(-1, 3)
    ).bind("image", ccf.Image(1, 2, 2), {})
    x = torch.tensor([[[[0.0, 1.0], [0.5, 0.25]]]])
    assert torch.equal(generator.encode(x, {}), torch.tensor([[-1.0, 3.0, 1.0, 0.0]]))
    assert torch.equal(generator.decode(generator.encode(x, {}), {}), x)
    assert torch.equal(generator.realism(x, {}), torch.tensor([3.0]))


def test_a_file_needs_the_networks_again(tmp_path: Path) -> None:
    torch.manual_seed(1)
    scm = _root(Generator(_linear(), latent=3))
    scm.save(tmp_path / "g.safetensors")
    with pytest.raises(CheckpointError, match="the Generator of 'image' holds code"):
        ccf.SCM.load(tmp_path / "g.safetensors")
    again = ccf.SCM.load(tmp_path / "g.safetensors", mechanisms={"image": Generator(_linear(), latent=3)})
    noise = scm.mechanisms["image"].sample_noise(2)
    assert torch.equal(again.mechanisms["image"].predict(noise, {}), scm.mechanisms["image"].predict(noise, {}))
    for settings in ({"span": (-1.0, 1.0)}, {"carry": False}, {"plausible": 0.1}, {"starts": 2}):
        given = Generator(_linear(), latent=3, **settings)
        with pytest.raises(CheckpointError, match=f"was made with .*{next(iter(settings))}"):
            ccf.SCM.load(tmp_path / "g.safetensors", mechanisms={"image": given})
    with pytest.raises(CheckpointError, match=r"was made with .*latent"):
        ccf.SCM.load(tmp_path / "g.safetensors", mechanisms={"image": Generator(_linear(5), latent=5)})
    wider = Generator(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 64), nn.Unflatten(1, (1, 8, 8))), latent=3)
    with pytest.raises(CheckpointError, match="another architecture"):
        ccf.SCM.load(tmp_path / "g.safetensors", mechanisms={"image": wider})


def test_networks_that_do_not_fit_are_named() -> None:
    x = torch.rand(2, 1, 8, 8)
    small = Generator(nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, (1, 4, 4))), latent=3)
    with pytest.raises(MechanismError, match=r"'image' must give images of shape \(2, 1, 8, 8\).*got \(2, 1, 4, 4\)"):
        small.bind("image", ccf.Image(1, 8, 8), {}).decode(torch.zeros(2, 3), {})
    reads = Generator(_linear(), nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), latent=3)
    with pytest.raises(MechanismError, match=r"encoder of 'image' must give latents of shape \(2, 3\), got \(2, 5\)"):
        reads.bind("image", ccf.Image(1, 8, 8), {}).encode(x, {})
    wide = Generator(_linear(3), latent=5).bind("image", ccf.Image(1, 8, 8), {})
    with pytest.raises(MechanismError, match=r"G of 'image' cannot be called with .*\[\(2, 5\)\].* Set latent="):
        wide.decode(torch.zeros(2, 5), {})
    told = Generator(_linear(3), latent=3).bind("image", ccf.Image(1, 8, 8), {"t": ccf.Real()})
    with pytest.raises(MechanismError, match=r"\[\(2, 3\), \(2,\)\]: .*adapt= to what .* parents \['t'\]"):
        told.decode(torch.zeros(2, 3), {"t": torch.zeros(2)})
    with pytest.raises(MechanismError, match="'image' came without a discriminator"):
        reads.realism(x, {})
    with pytest.raises(MechanismError, match="as G, got int"):
        Generator(3)  # type: ignore[arg-type]
    with pytest.raises(MechanismError, match="latent >= 1"):
        Generator(_linear(), span=(1.0, 0.0))
