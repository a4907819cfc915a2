"""The base of image mechanisms: checks, the parents' gain, and the blocks of their networks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core import draws
from causalcf.core.columns import Column, by_blocks
from causalcf.core.errors import MechanismError
from causalcf.mechanisms.base import Mechanism, Parents
from causalcf.mechanisms.parents import ParentEncoder
from causalcf.variables import Variable
from causalcf.variables.image import Image
from causalcf.variables.scalar import Interval, Positive

__all__ = [
    "CELL",
    "EMBEDDING",
    "Decoder",
    "Encoder",
    "Film",
    "Gain",
    "ImageMechanism",
    "ResidualBlock",
    "draw_normal",
    "embedding",
    "framed",
    "quiet",
]

EMBEDDING = 64
"""Width of the embedding through which the parents modulate the blocks."""

EXPLAINED = 0.5
"""Least share of the variance of log brightness that a gain explains."""

CELL = 8
"""Pixels a side of the cells of the coarsest grid of an `Encoder` and a `Decoder`."""


class ImageMechanism(Mechanism):
    """A mechanism of one image, whose parents are anything but images."""

    mixed_precision: ClassVar[bool] = True
    multiple: ClassVar[int] = 8
    """Height and width must be divisible by it."""
    gain_only: tuple[str, ...] = ()
    """Parents known to do no more than brighten the image: the gain alone hears of them."""

    def validate(self) -> None:
        kind = type(self).__name__
        if not isinstance(self.variable, Image):
            raise self.reject("an Image")
        if self.variable.height % self.multiple or self.variable.width % self.multiple:
            raise MechanismError(
                f"{kind} of '{self.node}' needs a height and width divisible by {self.multiple},"
                f" got {self.variable.height} x {self.variable.width}. Pad or resize the images."
            )
        unfit = ParentEncoder.unfit(self.parents)
        if unfit:
            raise MechanismError(f"{kind} of '{self.node}' cannot take the image parents {unfit}.")
        unknown = [parent for parent in self.gain_only if parent not in self.parents]
        if unknown:
            raise MechanismError(
                f"{kind} of '{self.node}': gain_only names {unknown}, but its parents are {list(self.parents)}."
            )

    def build(self) -> None:
        self.encoder = ParentEncoder({name: v for name, v in self.parents.items() if name not in self.gain_only})
        self.gain = Gain(self.parents, known=bool(self.gain_only))

    def calibrate(self, x: Tensor | Column, pa: Parents) -> None:
        self.encoder.calibrate(pa)
        self.gain.calibrate(x, pa)

    def frame(self, cell: int) -> tuple[int, int]:
        """The smallest height and width divisible by `cell` that hold the image."""
        _, height, width = self.variable.event_shape
        return (-(-height // cell) * cell, -(-width // cell) * cell)

    @property
    def context(self) -> int:
        """Features of the parents; a root gets one constant feature."""
        return max(1, self.encoder.width)

    def features(self, pa: Parents, rows: int) -> Tensor:
        """Encoded parents, (N, context); one zero a row without parents."""
        c = self.encoder(pa)
        return torch.zeros(rows, 1, device=self.device, dtype=self.dtype) if c is None else c

    def standard_noise(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Standard normal noise: site -> tensor of that shape."""
        return {site: draws.normal(shape, self._anchor) for site, shape in shapes.items()}


class Gain(nn.Module):
    """Factor by which the parents brighten the whole image: a power law, fitted in closed form.

    Exposure, contrast and intensity act on mean and residual alike. With that factor outside the
    network, the standardised residual of an image stays what it is when its brightness changes,
    and a counterfactual keeps its texture. The logarithm of an image's brightness is regressed on the parents:
    positive ones by their logarithm, so that proportional effects stay proportional beyond the
    data as well, others as they are. Over the training data the gain averages 1.

    Where the parents leave over half of the variance of that logarithm unexplained, they do not brighten images, and
    the gain is 1: the hair of a portrait goes with how bright it is, yet dyeing it leaves the wall behind as it was.

    Args:
        parents: parent -> variable.
        known: Whether some are known to brighten the whole image, so that there is a gain, however little it explains.
    """

    weight: Tensor
    offset: Tensor

    def __init__(self, parents: Mapping[str, Variable], *, known: bool = False) -> None:
        super().__init__()
        self.parents, self.known = dict(parents), known
        self.register_buffer("weight", torch.zeros(sum(v.num_features for v in parents.values())))
        self.register_buffer("offset", torch.zeros(()))

    def regressors(self, pa: Parents) -> Tensor:
        """The regressors of the log gain, which is linear in them, (N, F)."""
        columns = []
        for name, variable in self.parents.items():
            features = variable.features(pa[name]).to(self.weight.dtype)
            positive = isinstance(variable, Positive) or (isinstance(variable, Interval) and variable.low > 0)
            columns.append(features.log() if positive else features)
        return torch.cat(columns, -1)

    @torch.no_grad()
    def calibrate(self, x: Tensor | Column, pa: Parents) -> None:
        """Least squares of log brightness on the parents."""
        if not self.parents:
            return
        brightness = by_blocks(x, lambda part, _: _brightness(part))
        regressors = self.regressors(pa).double()
        centred = regressors - regressors.mean(0)
        # One-hot columns are collinear once centred: the pseudo-inverse takes the smallest solution.
        weight = torch.linalg.pinv(centred) @ (brightness - brightness.mean())
        explained = (centred @ weight).square().sum()
        if not self.known and explained < EXPLAINED * (brightness - brightness.mean()).square().sum():
            weight = torch.zeros_like(weight)
        self.weight.copy_(weight)
        self.offset.copy_(-regressors.mean(0) @ weight)

    def forward(self, pa: Parents) -> Tensor:
        """The factor, (N, 1, 1, 1), or () without parents."""
        if not self.parents:
            return self.offset.exp()
        return (self.regressors(pa) @ self.weight + self.offset).exp()[:, None, None, None]


def _brightness(x: Tensor) -> Tensor:
    """Log of the mean grey level weighted by itself, (N,): it does not depend on how much of the image is empty."""
    flat = x.flatten(1).double()
    return (flat.square().sum(1) + 1e-6).log() - (flat.sum(1) + 1e-6).log()


# ---------------------------------------------------------------------- blocks


def framed(x: Tensor, frame: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) in the middle of a black frame of that height and width; negative margins crop.

    Example:
        >>> framed(torch.ones(1, 1, 28, 28), (32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """
    height, width = frame[0] - x.shape[-2], frame[1] - x.shape[-1]
    if not (height or width):
        return x
    top, left = int(height / 2), int(width / 2)  # towards zero, so that cropping undoes padding
    return F.pad(x, (left, width - left, top, height - top))


class Film(nn.Module):
    """Feature-wise scale and shift, read off an embedding."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.modulation = quiet(nn.Linear(width, 2 * channels))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.modulation(e)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(shift, h, 1 + scale)


class ResidualBlock(nn.Module):
    """Residual block of two convolutions, modulated by the embedding after normalisation."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(max(1, min(8, channels // 4)), channels, affine=False)
        self.film = Film(channels, width)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = quiet(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        return h + self.second(F.silu(self.first(F.silu(self.film(self.norm(h), e)))))


class Encoder(nn.Module):
    """Image and parent features to a vector, such as the mean and log standard deviation of a latent."""

    def __init__(self, channels: int, context: int, widths: tuple[int, ...], out: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.embed = embedding(context)
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, EMBEDDING) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.head = quiet(nn.Linear(widths[-1] * grid[0] * grid[1], out))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        e = self.embed(c)
        h = self.stem(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        h = self.blocks[0](h, e)
        for down, block in zip(self.down, self.blocks[1:], strict=True):
            h = block(down(h), e)
        return self.head(F.silu(h).flatten(1)).to(x.dtype)


class Decoder(nn.Module):
    """z and parent features to an image, before its gain."""

    def __init__(
        self, channels: int, context: int, widths: tuple[int, ...], latent: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.grid = grid
        self.embed = embedding(context)
        self.stem = nn.Linear(latent + EMBEDDING, widths[-1] * grid[0] * grid[1])
        self.blocks = nn.ModuleList(ResidualBlock(width, EMBEDDING) for width in reversed(widths))
        self.up = nn.ModuleList(nn.Conv2d(a, 4 * b, 1) for a, b in pairwise(reversed(widths)))
        # Edges of strokes are decided at the finest level: one more block there.
        self.last = ResidualBlock(widths[0], EMBEDDING)
        self.head = quiet(nn.Conv2d(widths[0], 4 * channels, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        e = self.embed(c)
        h = self.stem(torch.cat([z, e], 1)).unflatten(1, (-1, *self.grid))
        h = self.blocks[0](h.contiguous(memory_format=torch.channels_last), e)
        for up, block in zip(self.up, self.blocks[1:], strict=True):
            h = block(F.pixel_shuffle(up(h), 2), e)
        return F.pixel_shuffle(self.head(F.silu(self.last(h, e))), 2).to(z.dtype)


def embedding(context: int) -> nn.Sequential:
    """Encoded parents (N, context) to the vector (N, EMBEDDING) that modulates the blocks."""
    return nn.Sequential(nn.Linear(context, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU())


def quiet(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer with smaller initial weights, so that residual paths and heads start out faint."""
    with torch.no_grad():
        layer.weight.mul_(0.3)
        layer.bias.zero_()  # type: ignore[union-attr]
    return layer


def draw_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    """A draw that gradients pass through (Kingma and Welling 2014)."""
    return mean + log_std.exp() * draws.normal(mean.shape, mean)
