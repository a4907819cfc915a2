"""Explainers' searches as one would write them by hand, in plain torch: `searches` compares explainers with them.

Each loop evaluates the same networks as often as the explainer does, on the same rows, and ends where it ends. Weights
are not trained and no target is reached, so that both sides take every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import networkx as nx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core import seeding
from causalcf.explainers import CEM, GDL, PGD, REVISE, Clarity, Explainer, ImageGradient, LoSoCs, Schut
from causalcf.explainers.path import follow, line
from causalcf.explainers.query import Query
from causalcf.graph import CausalGraph
from causalcf.mechanisms import VAE
from causalcf.scm.model import StructuralCausalModel
from causalcf.variables.codes import Categorical
from causalcf.variables.image import Image

__all__ = ["LOOPS", "Loop", "Setting", "sides"]

LATENT, SIDE, CLASSES, MEMBERS = 16, 32, 10, 20


@dataclass(frozen=True)
class Setting:
    """A VAE, a convolutional classifier and images, as in the papers' MNIST studies.

    Args:
        rows: How many images.
        steps: Steps of every search.
        widths: Of the VAE.
        device: Where all of them are.
    """

    rows: int = 64
    steps: int = 10
    widths: tuple[int, int, int] = (32, 64, 96)
    device: str = "cpu"

    @cached_property
    def scm(self) -> StructuralCausalModel:
        """The model, of one node, as initialised."""
        graph = nx.DiGraph()
        graph.add_node("image")
        mechanism = VAE(latent=LATENT, widths=self.widths)
        scm = StructuralCausalModel(CausalGraph(graph), {"image": Image(1, SIDE, SIDE)}, {"image": mechanism})
        scm.mechanisms["image"].fitted = True
        return scm.to(self.device)

    @cached_property
    def f(self) -> nn.Module:
        """The classifier, with logits far enough apart to be told from rounding."""
        with seeding.seeded(0):
            f = nn.Sequential(
                *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
                *(nn.Flatten(), nn.Linear(2048, 64), nn.ReLU(), nn.Linear(64, CLASSES)),
            ).requires_grad_(False)
        for parameter in f[-1].parameters():
            parameter.mul_(10)
        return f.to(self.device)

    @cached_property
    def x(self) -> Tensor:
        """Images."""
        return torch.rand(self.rows, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(self.device)

    @cached_property
    def target(self) -> Tensor:
        """A class per image that f does not see in it."""
        return (self.f(self.x).argmax(1) + 1) % CLASSES

    @cached_property
    def z(self) -> Tensor:
        """The images' latents."""
        return self.vae.encode(self.x, {})[0]

    @cached_property
    def clarity(self) -> Clarity:
        """Clarity, its ensemble hardly trained."""
        options: dict[str, Any] = {"label": "y", "variable": Categorical(CLASSES), "members": MEMBERS, "epochs": 1}
        explainer = Clarity(self.scm, gamma=2.0, max_steps=self.steps, **options)
        labels = torch.arange(self.rows) % CLASSES
        return explainer.fit({"image": self.x, "y": labels}, seed=0)

    @cached_property
    def latent_target(self) -> Tensor:
        """A class per image that the ensemble does not see in it."""
        return (self.clarity.predict(self.x) + 1) % CLASSES

    @property
    def vae(self) -> VAE:
        """The generator."""
        return cast(VAE, self.scm.mechanisms["image"])

    def decode(self, z: Tensor) -> Tensor:
        """Images of latents; pixels are clamped forward and the gradient goes through, as the library's does."""
        image = self.vae.decode(z, {})[0]
        return image + (image.clamp(0, 1) - image).detach()

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Summed over rows."""
        return F.cross_entropy(logits, self.target, reduction="sum")

    def adam(self, start: Tensor, lr: float, loss: Callable[[Tensor], Tensor], *, box: bool = False) -> Tensor:
        """`steps` steps of torch's Adam, and the evaluation after the last."""
        code = start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([code], lr)
        for step in range(self.steps + 1):
            (code.grad,) = torch.autograd.grad(loss(code), code)
            if step < self.steps:
                optimizer.step()
            if box:
                code.data.clamp_(0, 1)
        return code.detach()


# ---------------------------------------------------------------------- the loops


def revise(s: Setting) -> Tensor:
    """REVISE's loss, by Adam on latents."""

    def loss(z: Tensor) -> Tensor:
        image = s.decode(z)
        return s.cross_entropy(s.f(image)) + 1e-3 * (image - s.x).abs().sum()

    return s.adam(s.z, 0.1, loss)


def losocs(s: Setting) -> Tensor:
    """Minus the target's logit, by Adam on latents."""
    return s.adam(s.z, 0.05, lambda z: -s.f(s.decode(z)).gather(1, s.target[:, None]).sum())


def gdl(s: Setting) -> Tensor:
    """The squared distance of the target's probability to .55, by Adam on latents."""

    def loss(z: Tensor) -> Tensor:
        p = s.f(s.decode(z)).softmax(1).gather(1, s.target[:, None])
        return (p - 0.55).square().sum()

    return s.adam(s.z, 0.02, loss)


def image_gradient(s: Setting) -> Tensor:
    """REVISE's loss, by Adam on pixels."""
    return s.adam(s.x, 0.01, lambda x: s.cross_entropy(s.f(x)) + 1e-3 * (x - s.x).abs().sum(), box=True)


def pgd(s: Setting) -> Tensor:
    """Sign steps in a ball."""
    x = s.x
    for step in range(s.steps + 1):
        x = x.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(s.cross_entropy(s.f(x)), x)
        if step < s.steps:
            change = (x.detach() - gradient.sign() / 255 - s.x).clamp(-64 / 255, 64 / 255)
            x = (s.x + change).clamp(0, 1)
    return x.detach()


def schut(s: Setting) -> Tensor:
    """The pixel of largest gradient that can move moves by .2, five times at most."""
    x, count = s.x.flatten(1), torch.zeros_like(s.x).flatten(1)
    for step in range(s.steps + 1):
        x = x.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(s.cross_entropy(s.f(x.view_as(s.x))), x)
        if step < s.steps:
            moved = (x.detach() - 0.2 * gradient.sign()).clamp(0, 1)
            saliency = gradient.abs().masked_fill_((moved == x) | (count >= 5), -1.0)
            pixel = saliency.argmax(1, keepdim=True)
            x = x.detach().scatter(1, pixel, moved.gather(1, pixel))
            count.scatter_add_(1, pixel, torch.ones_like(pixel, dtype=count.dtype))
    return x.detach().view_as(s.x)


def clarity(s: Setting) -> Tensor:
    """Mean cross-entropy of an ensemble of perceptrons, by Adam on latents; no decoder in the loop."""
    target = s.latent_target.expand(MEMBERS, -1)

    def loss(z: Tensor) -> Tensor:
        log_p = s.clarity.ensemble.members(z).log_softmax(-1).gather(-1, target[..., None])
        return -log_p.sum() / MEMBERS + 1e-3 * (z - s.z).abs().sum()

    return s.adam(s.z, 0.05, loss)


def cem(s: Setting) -> Tensor:
    """FISTA on added pixels alone: hinge, L2, the autoencoder's error. One round; classified at both points."""
    x = y = s.x
    for step in range(s.steps + 1):
        y = y.detach().requires_grad_(True)
        logits = s.f(y)
        at = s.target[:, None]
        hinge = (logits.scatter(1, at, -torch.inf).amax(1) - logits.gather(1, at)[:, 0] + 1e6).clamp_min(0)
        error = (s.vae.decode(s.vae.encode(y, {})[0], {})[0] - y).square().sum()
        (gradient,) = torch.autograd.grad(10 * hinge.sum() + (y - s.x).square().sum() + 100 * error, y)
        with torch.no_grad():
            s.f(x)
            if step < s.steps:
                lr = 0.01 * (1 - step / s.steps) ** 0.5
                new = (s.x + F.softshrink(y - lr * gradient - s.x, 0.1)).maximum(s.x).clamp(0, 1)
                y = (new + step / (step + 3) * (new - x)).maximum(s.x).clamp(0, 1)
                x = new
    return s.x  # no target is reached, and the first attempt is the factual


def path(s: Setting) -> Tensor:
    """The best of eight points of a line, by the rows' eight images in one batch."""
    end = s.z.roll(1, 0)
    shares = torch.linspace(0, 1, 8, device=s.z.device)
    codes = torch.lerp(s.z[:, None], end[:, None], shares[:, None]).flatten(0, 1)
    with torch.no_grad():
        logits = s.f(s.decode(codes))
        p = logits.softmax(1).gather(1, s.target.repeat_interleave(8)[:, None]).view(-1, 8)
    share = shares[p.argmax(1)]
    return torch.lerp(s.z, end, share[:, None])


@dataclass(frozen=True)
class Loop:
    """A loop written by hand, and the explainer that it is compared with, where that never reaches its target."""

    by_hand: Callable[[Setting], Tensor]
    search: Callable[[Setting], Callable[[], Tensor]]


def _search(method: Callable[..., Explainer], **settings: Any) -> Callable[[Setting], Callable[[], Tensor]]:
    """A method's search, without its frame."""

    def of(s: Setting) -> Callable[[], Tensor]:
        return _found(s, method(s.scm, classifier=s.f, **{"max_steps": s.steps, **settings}))

    return of


def _found(s: Setting, explainer: Explainer) -> Callable[[], Tensor]:
    query = _query(s, explainer)

    def search() -> Tensor:
        with torch.no_grad():
            return explainer.find(query, stream=False).code

    return search


def _follow(s: Setting) -> Callable[[], Tensor]:
    query = _query(s, REVISE(s.scm, classifier=s.f)).given(end=s.z.roll(1, 0))

    def search() -> Tensor:
        with torch.no_grad():
            return follow(query, line, gamma=2.0).code

    return search


def _query(s: Setting, explainer: Explainer) -> Query:
    target = (explainer.predict(s.x) + 1) % CLASSES
    with torch.no_grad():
        return explainer.query({"image": s.x}, target)


# A target probability of 2 is never reached; nor is a margin of a million.
LOOPS: dict[str, Loop] = {
    "REVISE": Loop(revise, _search(REVISE, gamma=2.0)),
    "LoSoCs": Loop(losocs, _search(LoSoCs, gamma=2.0)),
    "GDL": Loop(gdl, _search(GDL, gamma=2.0)),
    "Clarity": Loop(clarity, lambda s: _found(s, s.clarity)),
    "ImageGradient": Loop(image_gradient, _search(ImageGradient, gamma=2.0)),
    "Schut": Loop(schut, _search(Schut, gamma=2.0)),
    "PGD": Loop(pgd, _search(PGD)),
    "CEM": Loop(cem, _search(CEM, c_steps=1, kappa=1e6)),
    "path": Loop(path, _follow),
}
"""The searches by name."""


def sides(name: str, setting: Setting) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The library's search without its frame, and the loop by hand; each gives the codes where it ends."""
    loop = LOOPS[name]
    return loop.search(setting), lambda: loop.by_hand(setting)
