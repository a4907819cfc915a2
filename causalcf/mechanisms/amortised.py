"""Amortised mechanisms with a Gaussian residual: x := mu(z, pa) + sigma(z, pa) eps, and its inversion."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from pyro.distributions import Independent, Normal
from torch import Tensor, nn

from causalcf.core.columns import Column
from causalcf.core.nn import column
from causalcf.core.settings import POSITIVE, WEIGHT
from causalcf.mechanisms.average import Average
from causalcf.mechanisms.base import Kind, Mechanism, Parents, Trainable
from causalcf.mechanisms.batching import in_one_batch
from causalcf.mechanisms.images import ImageMechanism, framed

__all__ = ["AmortisedImage", "AmortisedMechanism", "divergence"]


class AmortisedMechanism(Mechanism):
    r"""A mechanism with an encoder q(z | x, pa) and the residual :math:`\epsilon = (x - \mu) / \sigma` as noise.

    Abduction takes z from the encoder and the residual exactly; so with nothing done, prediction gives x back. A
    subclass decodes z (`location_scale`) and encodes x (`infer`).
    """

    kind: ClassVar[Kind] = "amortised"
    draws_by_row: ClassVar[bool] = True
    latent_dims: ClassVar[int] = 1
    """Dimensions of one latent: 1 of a vector, 3 of a map (channels, height, width)."""

    @property
    def sites(self) -> tuple[str, ...]:
        return (*self.latents, "eps")

    @property
    def residual_sites(self) -> tuple[str, ...]:
        return ("eps",)

    def is_random(self, *, sample: bool) -> bool:
        return sample

    @abstractmethod
    def location_scale(self, u: Mapping[str, Tensor], pa: Parents) -> tuple[Tensor, Tensor]:
        """Mean (N, *event_shape) of p(x | u, pa), and its standard deviation, broadcastable to that.

        Args:
            u: Noise of the latents, one row a unit; a residual in it is not read.
            pa: Parents.
        """

    @abstractmethod
    def infer(self, x: Tensor, pa: Parents, *, sample: bool) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Noise of the latents that the encoder reads off x, with their mean and standard deviation of x.

        Args:
            x: Observed values.
            pa: Observed parents.
            sample: Draw the latents from q instead of taking its mean.
        """

    def dist(self, pa: Parents, latents: Mapping[str, Tensor] = MappingProxyType({})) -> Independent:
        """p(x | pa, latents), batch shape that of the latents and the parents together."""
        batch, flat, u = in_one_batch(self.parents, pa, latents, dims=self.latent_dims)
        mean, std = self.location_scale(u, flat)
        event = self.variable.event_shape
        shape = (*batch, *event)
        return Normal(mean.reshape(shape), std.expand_as(mean).reshape(shape)).to_event(len(event))

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        u, mean, std = self.infer(x, pa, sample=sample)
        return {**u, "eps": (x - mean) / std}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        mean, std = self.location_scale(u, pa)
        return mean + std * u["eps"]


class AmortisedImage(AmortisedMechanism, ImageMechanism):
    r"""An amortised mechanism of an image, trained by the evidence lower bound.

    The gain of the parents (see `Gain`) multiplies :math:`\mu` and :math:`\sigma` alike. A subclass has the fields
    `beta`, the weight of the KL terms; `sigma`, the standard deviation of pixels before the gain, or None to learn
    one per channel; `average`, whether the parents' average effect is added in closed form (see `Average`); and
    `sparsity`, the weight in training of how much an action on one parent changes (see `changed`).
    """

    beta: float
    sigma: float | None
    average: bool
    sparsity: float
    multiple: ClassVar[int] = 1  # any size: images are framed

    def validate(self) -> None:
        super().validate()
        self.require(sparsity=WEIGHT)
        if self.sigma is not None:
            self.require(sigma=POSITIVE)

    def build(self) -> None:
        super().build()
        self.log_sigma = nn.Parameter(torch.full((self.variable.event_shape[0], 1, 1), -2.5))
        self.typical = Average(self.context, self.variable.event_shape) if self.average else None

    def calibrate(self, x: Tensor | Column, pa: Parents) -> None:
        super().calibrate(x, pa)
        if self.typical is not None:
            self.typical.calibrate(x, self.features(pa, len(x)), self.gain(pa) if self.parents else None)

    @property
    def drawn_channels(self) -> int:
        """Channels that the networks draw: the image's, and with `average` those of each feature's effect."""
        return self.variable.event_shape[0] * (1 + self.context * self.average)

    def still(self, head: nn.Conv2d) -> None:
        """Begin with the average effects alone: a last layer's channels that add to them give 0."""
        own = head.out_channels // (1 + self.context * self.average)
        with torch.no_grad():
            head.weight[own:] = 0.0

    def drawn(self, image: Tensor, c: Tensor, pa: Parents) -> tuple[Tensor, Tensor]:
        """Mean (N, C, H, W) and standard deviation of p(x | u, pa), by what a network made of them.

        Args:
            image: The network's image, in the middle of its frame.
            c: Encoded parents, (N, context).
            pa: Parents.
        """
        gain, image = self.gain(pa), framed(image, self.frame(1))
        return gain * (image if self.typical is None else self.typical(c, image)), gain * self.std()

    def std(self) -> Tensor:
        """Standard deviation of pixels before the gain, (C, 1, 1)."""
        return self.log_sigma.exp() if self.sigma is None else torch.full_like(self.log_sigma, self.sigma)

    @abstractmethod
    def bound(self, x: Tensor, pa: Parents) -> tuple[Tensor, dict[str, Tensor]]:
        """The training objective, a scalar, and the noise that was drawn for it."""

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        """Minus the evidence lower bound, with the KL terms weighted by beta, in nats per pixel; `sparsity` beside."""
        loss, u = self.bound(x, pa)
        return loss + self.sparsity * self.changed(x, u, pa) if self.sparsity and self.training else loss

    def changed(self, x: Tensor, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        """How much the networks change a pixel on average, in standard deviations, when one parent takes another value.

        The value is another row's; what the parents do on average (see `Average`) is not counted. An effect that the
        bound does not pay for stays 0, as by the lasso (Tibshirani 1996): a smile leaves the wall behind as it was.
        """
        acted = torch.randint(len(pa), (len(x),), device=x.device)
        other = torch.randperm(len(x), device=x.device)
        star = {name: torch.where(column(acted == i, v), v[other], v) for i, (name, v) in enumerate(pa.items())}
        mean, std = self.location_scale(u, star)
        change = mean / std - (x / (self.gain(pa) * self.std()) - u["eps"])
        if self.typical is not None:
            moved = self.features(star, len(x)) - self.features(pa, len(x))
            change = change - (moved @ self.typical.weight[1:]).unflatten(1, self.variable.event_shape) / self.std()
        return change.abs().mean()

    def finetune_loss(
        self, x: Tensor, pa: Parents, pa_star: Parents, predictors: Mapping[str, Trainable], carried: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss, u = self.bound(x, pa)
        return loss, self.disobedience(u, pa_star, predictors, carried)

    def negative_bound(self, x: Tensor, mean: Tensor, std: Tensor, kl: Tensor) -> Tensor:
        """Minus the evidence lower bound of images, in nats per pixel, averaged over rows; a scalar.

        Args:
            x: Images.
            mean: Of p(x | z, pa), for a z drawn from q.
            std: Its standard deviation.
            kl: KL terms of each row, summed, (N,).
        """
        reconstruction = Normal(mean, std, validate_args=False).log_prob(x).flatten(1).sum(1)
        return (self.beta * kl - reconstruction).mean() / self.variable.numel


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL divergence of N(mean, std) from N(0, 1), summed over all but the rows, (N,) in nats.

    Example:
        >>> divergence(torch.ones(2, 3), torch.zeros(2, 3))
        tensor([1.5000, 1.5000])
    """
    return (0.5 * (mean.square() + (2 * log_std).exp() - 2 * log_std - 1)).flatten(1).sum(1)
