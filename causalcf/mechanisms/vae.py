"""Image mechanism by a conditional variational autoencoder, with the residual as part of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import ClassVar

import torch
from pyro.distributions import Independent, Normal
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.errors import MechanismError
from causalcf.mechanisms.base import Kind, Mechanism, Parents, Recipe
from causalcf.nn import ParentEncoder
from causalcf.variables import Image, Interval, Positive, Variable

__all__ = ["VAE"]


@dataclass(eq=False, repr=False)
class VAE(Mechanism):
    r"""Conditional VAE: :math:`x := \mu(z, pa) + \sigma(z, pa)\,\epsilon`, z and :math:`\epsilon` standard normal.

    Abduction takes z from the encoder q(z | x, pa), mean or sample, and the residual
    :math:`\epsilon = (x - \mu)/\sigma` exactly; so with nothing done, prediction gives x back. Parents act in two
    ways: they modulate every block of encoder and decoder, and they brighten the whole image by a
    gain that multiplies :math:`\mu` and :math:`\sigma` alike (see `Gain`).

    References:
        Kingma and Welling, "Auto-Encoding Variational Bayes", 2014. Sohn, Lee, Yan, "Learning
        Structured Output Representation using Deep Conditional Generative Models", 2015. Pawlowski,
        Castro, Glocker, "Deep Structural Causal Models for Tractable Counterfactual Inference", 2020.
        Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", 2018.

    Args:
        latent: Dimensions of z.
        widths: Channels at half, a quarter and an eighth of the image's resolution.
        beta: Weight of the KL term in the training objective (Higgins et al. 2017). Above 1 it keeps
            what the parents explain out of z, which counterfactuals gain from.
        sigma: Standard deviation of pixels before the gain, or None to learn one per channel.

    Example:
        >>> from causalcf.variables import Real
        >>> vae = VAE(latent=4, widths=(8, 8, 8)).bind("image", Image(1, 16, 16), {"t": Real()})
        >>> x, pa = torch.rand(2, 1, 16, 16), {"t": torch.zeros(2)}
        >>> u = vae.abduct(x, pa)
        >>> vae.predict(u, pa).allclose(x, atol=1e-5)
        True
    """

    latent: int = 32
    widths: tuple[int, int, int] = (32, 64, 96)
    beta: float = 4.0
    sigma: float | None = None

    kind: ClassVar[Kind] = "amortised"
    mixed_precision: ClassVar[bool] = True
    latents: ClassVar[tuple[str, ...]] = ("z",)
    default_recipe: ClassVar[Recipe] = Recipe(
        epochs=30, batch_size=64, lr=2e-3, warmup=200, weight_decay=0.01, clip=1.0, ema=0.999
    )

    def validate(self) -> None:
        if not isinstance(self.variable, Image):
            raise self.reject("an Image")
        if self.variable.height % 8 or self.variable.width % 8:
            raise MechanismError(
                f"VAE of '{self.node}' needs a height and width divisible by 8,"
                f" got {self.variable.height} x {self.variable.width}. Pad or resize the images."
            )
        unfit = ParentEncoder.unfit(self.parents)
        if unfit:
            raise MechanismError(f"VAE of '{self.node}' cannot take the image parents {unfit}.")

    def build(self) -> None:
        self.encoder = ParentEncoder(self.parents)
        context = max(1, self.encoder.width)  # a root gets one constant feature
        channels, height, width = self.variable.event_shape
        grid = (height // 8, width // 8)
        self.inference = Inference(channels, context, self.widths, self.latent, grid)
        self.generator = Generator(channels, context, self.widths, self.latent, grid)
        self.gain = Gain(self.parents)
        self.log_sigma = nn.Parameter(torch.full((channels, 1, 1), -2.5))

    def calibrate(self, x: Tensor, pa: Parents) -> None:
        self.encoder.calibrate(pa)
        self.gain.calibrate(x, pa)

    @property
    def sites(self) -> tuple[str, ...]:
        return ("z", "eps")

    @property
    def residual_sites(self) -> tuple[str, ...]:
        return ("eps",)

    def is_random(self, *, sample: bool) -> bool:
        return sample

    # ------------------------------------------------------------------ distributions

    def encode(self, x: Tensor, pa: Parents) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x, pa), each (N, latent)."""
        return self.inference(x / self.gain(pa), self.features(pa, x.shape[0]))

    def decode(self, z: Tensor, pa: Parents) -> tuple[Tensor, Tensor]:
        """Mean (N, C, H, W) of p(x | z, pa), and its standard deviation, broadcastable to that."""
        gain = self.gain(pa)
        sigma = self.log_sigma.exp() if self.sigma is None else torch.full_like(self.log_sigma, self.sigma)
        return gain * self.generator(z, self.features(pa, z.shape[0])), gain * sigma

    def features(self, pa: Parents, rows: int) -> Tensor:
        """Encoded parents, (N, F); one zero a row without parents."""
        c = self.encoder(pa)
        return torch.zeros(rows, 1, device=self.device, dtype=self.dtype) if c is None else c

    def prior(self, pa: Parents) -> dict[str, Independent]:
        zeros = torch.zeros(self.latent, device=self.device, dtype=self.dtype)
        return {"z": Normal(zeros, torch.ones_like(zeros)).to_event(1)}

    def posterior(self, x: Tensor, pa: Parents) -> dict[str, Independent]:
        mean, log_std = self.encode(x, pa)
        return {"z": Normal(mean, log_std.exp()).to_event(1)}

    def dist(self, pa: Parents, latents: Mapping[str, Tensor] = MappingProxyType({})) -> Independent:
        """p(x | pa, z), batch shape that of z and the parents together."""
        z = latents["z"]
        batch = z.shape[:-1]
        for name, variable in self.parents.items():
            batch = torch.broadcast_shapes(batch, pa[name].shape[: pa[name].ndim - len(variable.event_shape)])
        # Networks take one batch dimension; ChiRho's worlds add more.
        flat = {
            name: pa[name].expand(*batch, *variable.event_shape).reshape(-1, *variable.event_shape)
            for name, variable in self.parents.items()
        }
        mean, std = self.decode(z.expand(*batch, self.latent).reshape(-1, self.latent), flat)
        shape = (*batch, *self.variable.event_shape)
        return Normal(mean.reshape(shape), std.expand_as(mean).reshape(shape)).to_event(3)

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        """Minus the evidence lower bound, with the KL term weighted by beta, in nats per pixel."""
        mean, log_std = self.encode(x, pa)
        mu, sigma = self.decode(_draw(mean, log_std), pa)
        reconstruction = Normal(mu, sigma, validate_args=False).log_prob(x).flatten(1).sum(1)
        divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 2 * log_std - 1).sum(1)
        return (self.beta * divergence - reconstruction).mean() / self.variable.numel

    # ------------------------------------------------------------------ the structural assignment

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        mean, log_std = self.encode(x, pa)
        z = _draw(mean, log_std) if sample else mean
        mu, sigma = self.decode(z, pa)
        return {"z": z, "eps": (x - mu) / sigma}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        mu, sigma = self.decode(u["z"], pa)
        return mu + sigma * u["eps"]

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        shapes = {"z": (n, self.latent), "eps": (n, *self.variable.event_shape)}
        return {site: torch.randn(shape, device=self.device, dtype=self.dtype) for site, shape in shapes.items()}


def _draw(mean: Tensor, log_std: Tensor) -> Tensor:
    return mean + log_std.exp() * torch.randn_like(mean)


class Gain(nn.Module):
    """Factor by which the parents brighten the whole image: a power law, fitted in closed form.

    Exposure, contrast and intensity act on mean and residual alike. With that factor outside the
    network, the standardised residual of an image stays what it is when its brightness changes,
    and a counterfactual keeps its texture. The logarithm of an image's brightness is regressed on the parents:
    positive ones by their logarithm, so that what is proportional comes out proportional beyond the
    data as well, others as they are. Over the training data the gain averages 1.
    """

    weight: Tensor
    offset: Tensor

    def __init__(self, parents: Mapping[str, Variable]) -> None:
        super().__init__()
        self.parents = dict(parents)
        self.register_buffer("weight", torch.zeros(sum(v.num_features for v in parents.values())))
        self.register_buffer("offset", torch.zeros(()))

    def regressors(self, pa: Parents) -> Tensor:
        """What the log gain is linear in, (N, F)."""
        columns = []
        for name, variable in self.parents.items():
            features = variable.features(pa[name]).to(self.weight.dtype)
            positive = isinstance(variable, Positive) or (isinstance(variable, Interval) and variable.low > 0)
            columns.append(features.log() if positive else features)
        return torch.cat(columns, -1)

    @torch.no_grad()
    def calibrate(self, x: Tensor, pa: Parents) -> None:
        """Least squares of log brightness on the parents."""
        if not self.parents:
            return
        # Weighted by itself, the mean grey level does not depend on how much of the image is empty.
        flat = x.flatten(1).double()
        brightness = (flat.square().sum(1) + 1e-6).log() - (flat.sum(1) + 1e-6).log()
        regressors = self.regressors(pa).double()
        centred = regressors - regressors.mean(0)
        # One-hot columns are collinear once centred: the pseudo-inverse takes the smallest solution.
        self.weight.copy_(torch.linalg.pinv(centred) @ (brightness - brightness.mean()))
        self.offset.copy_(-regressors.mean(0) @ self.weight.double())

    def forward(self, pa: Parents) -> Tensor:
        """The factor, (N, 1, 1, 1), or () without parents."""
        if not self.parents:
            return self.offset.exp()
        return (self.regressors(pa) @ self.weight + self.offset).exp()[:, None, None, None]


# ---------------------------------------------------------------------- networks


class Film(nn.Module):
    """Feature-wise scale and shift, read off an embedding."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.modulation = _quiet(nn.Linear(embedding, 2 * channels))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.modulation(e)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(shift, h, 1 + scale)


class Block(nn.Module):
    """Residual block of two convolutions, modulated by the embedding after normalisation."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(max(1, min(8, channels // 4)), channels, affine=False)
        self.film = Film(channels, embedding)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = _quiet(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        return h + self.second(F.silu(self.first(F.silu(self.film(self.norm(h), e)))))


class Inference(nn.Module):
    """q(z | x, pa): image and parent features to mean and log standard deviation of z."""

    def __init__(
        self, channels: int, context: int, widths: tuple[int, ...], latent: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.embed = _embedding(context, EMBEDDING)
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, EMBEDDING) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.head = _quiet(nn.Linear(widths[-1] * grid[0] * grid[1], 2 * latent))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        e = self.embed(c)
        h = self.stem(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        h = self.blocks[0](h, e)
        for down, block in zip(self.down, self.blocks[1:], strict=True):
            h = block(down(h), e)
        mean, log_std = self.head(F.silu(h).flatten(1)).to(x.dtype).chunk(2, 1)
        return mean, log_std.clamp(-4, 2)


class Generator(nn.Module):
    """z and parent features to the mean image, before its gain."""

    def __init__(
        self, channels: int, context: int, widths: tuple[int, ...], latent: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.grid = grid
        self.embed = _embedding(context, EMBEDDING)
        self.stem = nn.Linear(latent + EMBEDDING, widths[-1] * grid[0] * grid[1])
        self.blocks = nn.ModuleList(Block(width, EMBEDDING) for width in reversed(widths))
        self.up = nn.ModuleList(nn.Conv2d(a, 4 * b, 1) for a, b in pairwise(reversed(widths)))
        # Edges of strokes are decided at the finest level: one more block there.
        self.last = Block(widths[0], EMBEDDING)
        self.head = _quiet(nn.Conv2d(widths[0], 4 * channels, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        e = self.embed(c)
        h = self.stem(torch.cat([z, e], 1)).unflatten(1, (-1, *self.grid))
        h = self.blocks[0](h.contiguous(memory_format=torch.channels_last), e)
        for up, block in zip(self.up, self.blocks[1:], strict=True):
            h = block(F.pixel_shuffle(up(h), 2), e)
        return F.pixel_shuffle(self.head(F.silu(self.last(h, e))), 2).to(z.dtype)


EMBEDDING = 64
"""Width of the embedding through which the parents modulate the blocks."""


def _embedding(context: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(context, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())


def _quiet(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer with smaller initial weights, so that residual paths and heads start out faint."""
    with torch.no_grad():
        layer.weight.mul_(0.3)
        layer.bias.zero_()  # type: ignore[union-attr]
    return layer
