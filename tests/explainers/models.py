"""Models to explain whose answers are known: a linear generator and linear classifiers of its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn

import causalcf as ccf
from causalcf.mechanisms import Mechanism

LATENT, SIDE, CLASSES = 4, 8, 3


def columns() -> Tensor:
    """Orthonormal directions in pixel space, (SIDE * SIDE, LATENT)."""
    drawn = torch.randn(SIDE * SIDE, LATENT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.linalg.qr(drawn)[0]


@dataclass(eq=False, repr=False)
class Linear(Mechanism):
    """x := 1/2 + W z + t + eps, with orthonormal columns of W; so z is exactly abducted, and eps is what is left."""

    kind: ClassVar = "amortised"

    def build(self) -> None:
        self.register_buffer("weight", columns().to(torch.get_default_dtype()))

    @property
    def sites(self) -> tuple[str, ...]:
        return ("z", "eps")

    @property
    def residual_sites(self) -> tuple[str, ...]:
        return ("eps",)

    def _shift(self, pa: Mapping[str, Tensor]) -> Tensor:
        return 0.5 + sum((0.01 * value.to(self.dtype) for value in pa.values()), self.weight.new_zeros(1))[:, None]

    def abduct(self, x: Tensor, pa: Mapping[str, Tensor], *, sample: bool = False) -> dict[str, Tensor]:
        z = (x.flatten(1) - self._shift(pa)) @ self.weight
        return {"z": z, "eps": x - self.predict({"z": z, "eps": torch.zeros_like(x)}, pa)}

    def predict(self, u: Mapping[str, Tensor], pa: Mapping[str, Tensor]) -> Tensor:
        flat = u["z"] @ self.weight.T + self._shift(pa)
        return flat.view(-1, *self.variable.event_shape) + u["eps"]

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {
            "z": torch.randn(n, LATENT, device=self.device, dtype=self.dtype),
            "eps": torch.zeros(n, *self.variable.event_shape, device=self.device, dtype=self.dtype),
        }


def linear_scm(parent: ccf.variables.Variable | None = None, dtype: torch.dtype = torch.float64) -> ccf.SCM:
    """An image of `SIDE` x `SIDE` pixels, alone or with a parent "t"."""
    image = ccf.Image(1, SIDE, SIDE)
    if parent is None:
        graph = ccf.CausalGraph(_one_node())
        scm = ccf.SCM(graph, {"image": image}, {"image": Linear()})
    else:
        scm = ccf.SCM([("t", "image")], {"t": parent, "image": image}, {"image": Linear()})
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    return scm.to(dtype)


def _one_node() -> object:
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_node("image")
    return graph


def linear_classifier(seed: int = 1, classes: int = CLASSES, scale: float = 6.0) -> nn.Module:
    """Logits that are linear in the image: the classes lie in opposite directions of the latents, and a little beyond.

    The class directions add up to 0, so that raising one logit lowers the others.
    """
    f = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, classes))
    generator = torch.Generator().manual_seed(seed)
    directions = torch.zeros(classes, LATENT)
    directions[:, :classes] = torch.eye(classes) - 1 / classes
    beyond = 0.05 * torch.randn(classes, SIDE * SIDE, generator=generator)
    with torch.no_grad():
        f[1].weight.copy_(scale * (directions @ columns().T.float() + beyond - beyond.mean(0)))
        f[1].bias.copy_(-0.5 * f[1].weight.sum(1))
    return f.double()


def images(scm: ccf.SCM, n: int, seed: int = 2) -> Tensor:
    """Images the linear model makes of small latents, a little noise on top, within [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    z = 0.5 * torch.randn(n, LATENT, generator=generator)
    noise = 0.02 * torch.randn(n, 1, SIDE, SIDE, generator=generator)
    alone = len(scm.graph.nodes) == 1
    mechanism = linear_scm(None if alone else ccf.Real(), scm.dtype).mechanisms["image"]
    pa = {} if len(scm.graph.nodes) == 1 else {"t": torch.zeros(n, dtype=scm.dtype)}
    return mechanism.predict({"z": z.to(scm.dtype), "eps": noise.to(scm.dtype)}, pa).clamp(0, 1)


def targets(f: nn.Module, x: Tensor, classes: int = CLASSES) -> Tensor:
    """For each row, a class it does not have."""
    with torch.no_grad():
        return (f(x).argmax(1) + 1) % classes


@cache
def mixture_scm(parent: ccf.variables.Variable | None = None, dtype: torch.dtype = torch.float64) -> ccf.SCM:
    """Like `linear_scm`, with a mixture autoencoder that is fitted to the linear model's images."""
    linear = linear_scm(parent, dtype)
    mechanism = ccf.mechanisms.MixtureAE(linear_classifier(), latent=LATENT, irrelevant=4)
    mechanisms = {"image": mechanism} | ({} if parent is None else {"t": ccf.mechanisms.LinearGaussian()})
    scm = ccf.SCM(linear.graph, mechanisms=mechanisms).to(dtype)
    rows = {"image": images(linear, 600, seed=7)} | ({} if parent is None else {"t": torch.randn(600)})
    recipe = ccf.mechanisms.Recipe(epochs=12, batch_size=60, lr=5e-3, warmup=0)
    precision = "64-true" if dtype == torch.float64 else "32-true"
    return scm.fit(rows, recipes={"image": recipe}, seed=0, precision=precision, progress=False)


def convolutional_classifier(seed: int = 1) -> nn.Module:
    """The linear classifier of an image's 4 x 4 cells, each with its four pixels as channels."""
    linear = linear_classifier(seed)[1]
    f = nn.Sequential(nn.Conv2d(1, 4, 2, stride=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, CLASSES))
    with torch.no_grad():
        f[0].weight.copy_(torch.eye(4).view(4, 1, 2, 2))
        f[3].weight.copy_(nn.functional.pixel_unshuffle(linear.weight.view(CLASSES, 1, SIDE, SIDE), 2).flatten(1))
        f[3].bias.copy_(linear.bias)
    return f.double()
