"""Image mechanisms without a density: a code, a carried residual, and inversion by descent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from pyro.distributions import Delta, Independent, Normal
from torch import Tensor

from causalcf.core import draws
from causalcf.mechanisms.base import Kind, Mechanism, Parents

__all__ = ["ImplicitImage", "invert"]

PATIENCE = 20
"""Steps that a row may take without getting closer before it stops."""

GAIN = 1e-3
"""Share of a row's loss by which a step must lower it to count as getting closer."""

DECAYS = (0.9, 0.99)
"""Decay rates of Adam's moments."""


class ImplicitImage(Mechanism):
    r"""x := G(z, pa) + g(pa) eps, with z standard normal and abducted by an encoder or by descent.

    eps is the part of an observed image that G cannot reach. It has no law of its own: images from the prior have none.
    """

    latent: int
    carry: bool

    kind: ClassVar[Kind] = "implicit"
    draws_by_row: ClassVar[bool] = True
    latents: ClassVar[tuple[str, ...]] = ("z",)

    @abstractmethod
    def encode(self, x: Tensor, pa: Parents) -> Tensor:
        """Latents (N, latent) that explain images (N, C, H, W)."""

    @abstractmethod
    def decode(self, z: Tensor, pa: Parents) -> Tensor:
        """Images (N, C, H, W) in data units."""

    def brightness(self, pa: Parents) -> Tensor:
        """g(pa), the unit of the residual, broadcastable to images."""
        return torch.ones((), device=self.device, dtype=self.dtype)

    @property
    def sites(self) -> tuple[str, ...]:
        return ("z", "eps") if self.carry else ("z",)

    @property
    def residual_sites(self) -> tuple[str, ...]:
        return ("eps",) if self.carry else ()

    def prior(self, pa: Parents) -> dict[str, Independent]:
        zeros = torch.zeros(self.latent, device=self.device, dtype=self.dtype)
        return {"z": Normal(zeros, torch.ones_like(zeros)).to_event(1)}

    def posterior(self, x: Tensor, pa: Parents) -> dict[str, Delta]:
        return {"z": Delta(self.encode(x, pa), event_dim=1)}

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        z = self.encode(x, pa)
        return {"z": z, "eps": (x - self.decode(z, pa)) / self.brightness(pa)} if self.carry else {"z": z}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        x = self.decode(u["z"], pa)
        return x + self.brightness(pa) * u["eps"] if "eps" in u else x

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        z = draws.normal((n, self.latent), self._anchor)
        return {"z": z, "eps": z.new_zeros(n, *self.variable.event_shape)} if self.carry else {"z": z}


@torch.enable_grad()  # whatever the caller has switched off
def invert(
    decode: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    *,
    steps: int,
    lr: float = 0.05,
    plausible: float = 0.0,
) -> tuple[Tensor, Tensor]:
    r"""For each row the latent, found from a start, that minimises
    :math:`\overline{(G(z) - x)^2} + \lambda\,\overline{z^2}` (means over pixels and over latents).

    Adam, on each row's own loss: a row's path does not depend on what else is in the batch. A row that gets no
    closer stops where it is while the others go on, without the host waiting for the device; the best latent seen
    is kept. No gradient passes back to x.

    References:
        Creswell and Bharath, "Inverting The Generator Of A Generative Adversarial Network", 2018. Kingma and Ba,
        "Adam: A Method for Stochastic Optimization", 2015.

    Args:
        decode: Latents (N, d) to values of x's shape; rows must not depend on each other.
        x: The values to invert, (N, ...).
        start: Where each row begins, (N, d).
        steps: Most steps a row takes; 0 gives `start`.
        lr: Adam's step size.
        plausible: Lambda, which keeps latents near where a standard normal prior has them.

    Returns:
        Latents (N, d), and each row's loss there, (N,).

    Example:
        >>> x = torch.tensor([[1.0, 3.0], [0.5, 0.0]])
        >>> z, loss = invert(lambda z: z.cumsum(1), x, torch.zeros(2, 2), steps=400)
        >>> z.round(decimals=1)
        tensor([[ 1.0000,  2.0000],
                [ 0.5000, -0.5000]])
    """
    x, z = x.detach(), start.detach().clone()
    best, lowest = z, torch.full_like(z[:, 0], torch.inf)
    mean, square, stale = torch.zeros_like(z), torch.zeros_like(z), torch.zeros_like(lowest)
    for step in range(1, steps + 2):
        z.requires_grad_(step <= steps)
        loss = (decode(z) - x).square().flatten(1).mean(1) + plausible * z.square().mean(1)
        stale = torch.where(loss < (1 - GAIN) * lowest, 0.0, stale + 1)
        best = torch.where((loss < lowest)[:, None], z, best).detach()
        lowest = torch.where(loss < lowest, loss, lowest).detach()
        if step > steps:
            break
        (slope,) = torch.autograd.grad(loss.sum(), z)
        mean, square = mean.lerp(slope, 1 - DECAYS[0]), square.lerp(slope.square(), 1 - DECAYS[1])
        move = lr * (mean / (1 - DECAYS[0] ** step)) / ((square / (1 - DECAYS[1] ** step)).sqrt() + 1e-12)
        z = torch.where((stale < PATIENCE)[:, None], z - move, z).detach()
    return best, lowest
