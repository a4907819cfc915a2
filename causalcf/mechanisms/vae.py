"""Image mechanism by a conditional variational autoencoder, with the residual as part of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from pyro.distributions import Independent, Normal
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.errors import MechanismError
from causalcf.mechanisms.base import Kind, Mechanism, Parents, Recipe
from causalcf.nn import ParentEncoder
from causalcf.variables import Image

__all__ = ["VAE"]


@dataclass(eq=False, repr=False)
class VAE(Mechanism):
    r"""Conditional VAE: :math:`x := \mu(z, pa) + \sigma(z, pa)\,\epsilon`, z and :math:`\epsilon` standard normal.

    Abduction takes z from the encoder q(z | x, pa), mean or sample, and the residual
    :math:`\epsilon = (x - \mu)/\sigma` exactly; so with nothing done, prediction gives x back. Parents modulate
    every block of encoder and decoder, feature by feature.

    References:
        Kingma and Welling, "Auto-Encoding Variational Bayes", 2014. Sohn, Lee, Yan, "Learning
        Structured Output Representation using Deep Conditional Generative Models", 2015. Pawlowski,
        Castro, Glocker, "Deep Structural Causal Models for Tractable Counterfactual Inference", 2020.
        Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", 2018.

    Args:
        latent: Dimensions of z.
        widths: Channels at half, a quarter and an eighth of the image's resolution.
        beta: Weight of the KL term in the training objective (Higgins et al. 2017).
        sigma: Standard deviation of pixels, or None to learn one for the image, times its gain.

    Example:
        >>> from causalcf.variables import Real
        >>> vae = VAE(latent=4, widths=(8, 8, 8)).bind("image", Image(1, 16, 16), {"t": Real()})
        >>> x, pa = torch.rand(2, 1, 16, 16), {"t": torch.zeros(2)}
        >>> u = vae.abduct(x, pa)
        >>> vae.predict(u, pa).allclose(x, atol=1e-5)
        True
    """

    latent: int = 16
    widths: tuple[int, int, int] = (32, 64, 96)
    beta: float = 4.0
    sigma: float | None = None

    kind: ClassVar[Kind] = "amortised"
    latents: ClassVar[tuple[str, ...]] = ("z",)
    default_recipe: ClassVar[Recipe] = Recipe(
        epochs=40, batch_size=128, lr=2e-3, warmup=200, weight_decay=0.01, clip=5.0, ema=0.999
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
        self.gain = Gain(context, channels)
        self.log_sigma = nn.Parameter(torch.full((channels, 1, 1), -2.5))

    def calibrate(self, x: Tensor, pa: Parents) -> None:
        self.encoder.calibrate(pa)

    @property
    def sites(self) -> tuple[str, ...]:
        return ("z", "eps")

    @property
    def residual_sites(self) -> tuple[str, ...]:
        return ("eps",)

    def is_random(self, *, sample: bool) -> bool:
        return sample

    # ------------------------------------------------------------------ distributions

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x, pa), each (N, latent)."""
        return self.inference(x / self.gain(c).exp(), c)

    def decode(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of p(x | z, pa), (N, C, H, W) and broadcastable to it."""
        log_gain = self.gain(c)
        log_sigma = self.log_sigma if self.sigma is None else torch.full_like(self.log_sigma, self.sigma).log()
        return log_gain.exp() * self.generator(z, c), (log_gain + log_sigma).exp()

    def features(self, pa: Parents, rows: int) -> Tensor:
        """Encoded parents, (N, F); one zero a row without parents."""
        c = self.encoder(pa)
        return torch.zeros(rows, 1, device=self.device, dtype=self.dtype) if c is None else c

    def prior(self, pa: Parents) -> dict[str, Independent]:
        zeros = torch.zeros(self.latent, device=self.device, dtype=self.dtype)
        return {"z": Normal(zeros, torch.ones_like(zeros)).to_event(1)}

    def posterior(self, x: Tensor, pa: Parents) -> dict[str, Independent]:
        mean, log_std = self.encode(x, self.features(pa, x.shape[0]))
        return {"z": Normal(mean, log_std.exp()).to_event(1)}

    def dist(self, pa: Parents, latents: Mapping[str, Tensor] = MappingProxyType({})) -> Independent:
        """p(x | pa, z), batch shape that of z and the parents together."""
        z = latents["z"]
        c = self.encoder(pa)
        batch = torch.broadcast_shapes(z.shape[:-1], () if c is None else c.shape[:-1])
        flat = z.expand(*batch, -1).reshape(-1, self.latent)
        flat_c = self.features(pa, flat.shape[0]) if c is None else c.expand(*batch, -1).reshape(flat.shape[0], -1)
        mean, std = self.decode(flat, flat_c)
        shape = (*batch, *self.variable.event_shape)
        return Normal(mean.reshape(shape), std.expand_as(mean).reshape(shape)).to_event(3)

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        """Minus the evidence lower bound, with the KL term weighted by beta, in nats per pixel."""
        c = self.features(pa, x.shape[0])
        mean, log_std = self.encode(x, c)
        z = mean + log_std.exp() * torch.randn_like(mean)
        mu, sigma = self.decode(z, c)
        reconstruction = Normal(mu, sigma, validate_args=False).log_prob(x).flatten(1).sum(1)
        divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 2 * log_std - 1).sum(1)
        return (self.beta * divergence - reconstruction).mean() / self.variable.numel

    # ------------------------------------------------------------------ the structural assignment

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        c = self.features(pa, x.shape[0])
        mean, log_std = self.encode(x, c)
        z = mean + log_std.exp() * torch.randn_like(mean) if sample else mean
        mu, sigma = self.decode(z, c)
        return {"z": z, "eps": (x - mu) / sigma}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        mu, sigma = self.decode(u["z"], self.features(pa, u["z"].shape[0]))
        return mu + sigma * u["eps"]

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        options = {"device": self.device, "dtype": self.dtype}
        return {
            "z": torch.randn(n, self.latent, **options),
            "eps": torch.randn(n, *self.variable.event_shape, **options),
        }


# ---------------------------------------------------------------------- networks


class Film(nn.Module):
    """Feature-wise scale and shift, read off an embedding."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.to_modulation = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.to_modulation.bias)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.to_modulation(e)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(shift, h, 1 + scale)


class Block(nn.Module):
    """Residual block of two convolutions, modulated by the embedding after normalisation."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(max(1, min(8, channels // 4)), channels, affine=False)
        self.film = Film(channels, embedding)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        return h + self.second(F.silu(self.first(F.silu(self.film(self.norm(h), e)))))


class Inference(nn.Module):
    """q(z | x, pa): image and parent features to mean and log standard deviation of z."""

    def __init__(
        self, channels: int, context: int, widths: tuple[int, int, int], latent: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        embedding = widths[1]
        self.embed = nn.Sequential(nn.Linear(context, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, embedding) for width in widths)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.head = nn.Linear(widths[2] * grid[0] * grid[1], 2 * latent)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        e = self.embed(c)
        h = self.stem(F.pixel_unshuffle(x, 2))
        for block, down in zip(self.blocks, [*self.down, None], strict=True):
            h = block(h, e)
            h = h if down is None else down(h)
        mean, log_std = self.head(F.silu(h).flatten(1)).chunk(2, 1)
        return mean, log_std.clamp(-8, 4)


class Generator(nn.Module):
    """z and parent features to the mean image, before its gain."""

    def __init__(
        self, channels: int, context: int, widths: tuple[int, int, int], latent: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        embedding = widths[1]
        self.grid = grid
        self.embed = nn.Sequential(nn.Linear(context, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.stem = nn.Linear(latent + embedding, widths[2] * grid[0] * grid[1])
        self.blocks = nn.ModuleList(Block(width, embedding) for width in reversed(widths))
        self.up = nn.ModuleList(
            nn.Conv2d(a, 4 * b, 1) for a, b in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        )
        self.head = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        e = self.embed(c)
        h = self.stem(torch.cat([z, e], 1)).unflatten(1, (-1, *self.grid))
        for block, up in zip(self.blocks, [*self.up, None], strict=True):
            h = block(h, e)
            h = h if up is None else F.pixel_shuffle(up(h), 2)
        return F.pixel_shuffle(self.head(F.silu(h)), 2)


class Gain(nn.Module):
    """Log of a factor per channel by which the parents brighten the whole image.

    Brightness acts on mean and residual alike; with the factor outside the network the standardised
    residual need not change when brightness does. It starts at 1.
    """

    def __init__(self, context: int, channels: int, hidden: int = 32) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(context, hidden), nn.SiLU(), nn.Linear(hidden, channels))
        nn.init.zeros_(self.network[2].weight)
        nn.init.zeros_(self.network[2].bias)

    def forward(self, c: Tensor) -> Tensor:
        return self.network(c)[:, :, None, None]
