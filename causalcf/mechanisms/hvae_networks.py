"""The networks of the hierarchical VAE, made from a record of their shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.mechanisms.images import EMBEDDING, Film, embedding, quiet

__all__ = ["Choose", "Inference", "Shape", "Shapes", "TopDown"]

Shape = tuple[int, int, int]


Choose = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(site's number, features before it, prior mean, prior log standard deviation) -> its standardised noise u."""


@dataclass(frozen=True)
class Shapes:
    """Shapes of the networks; levels run from the finest to the top, which is one cell.

    Args:
        channels: Of the image.
        drawn: Channels that are drawn.
        context: Features of the encoded parents.
        stride: Pixels of the image per cell of the finest level.
        grids: Height and width of each level.
        widths: Channels of the features at each level.
        blocks: Latents at each level; 0 for a level of features alone.
        latent: Channels of a latent at each level.
        bottleneck: Channels inside a residual block, as a share of its width.
        exogenous_prior: Whether the prior sees the latents alone.
    """

    channels: int
    drawn: int
    context: int
    stride: int
    grids: tuple[tuple[int, int], ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    latent: tuple[int, ...]
    bottleneck: float
    exogenous_prior: bool


class BottleneckBlock(nn.Module):
    """Residual block of two convolutions, modulated by the embedding in between; no normalisation."""

    def __init__(self, width: int, inner: int, kernel: int, *, modulated: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, inner, kernel, padding=kernel // 2)
        self.film = Film(inner, EMBEDDING) if modulated else None
        self.second = quiet(nn.Conv2d(inner, width, kernel, padding=kernel // 2))

    def forward(self, h: Tensor, e: Tensor | None) -> Tensor:
        inner = self.first(F.silu(h))
        if self.film is not None and e is not None:
            inner = self.film(inner, e)
        return h + self.second(F.silu(inner))


class Head(nn.Module):
    """Features to mean and log standard deviation of a latent, in full precision."""

    def __init__(self, inputs: int, width: int, latent: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(inputs, width, 1)
        self.last = quiet(nn.Conv2d(width, 2 * latent, 1))

    def forward(self, *features: Tensor) -> tuple[Tensor, Tensor]:
        h = self.last(F.silu(self.mix(F.silu(torch.cat(features, 1)))))
        mean, log_std = h.to(self.last.weight.dtype).chunk(2, 1)
        # Bounded smoothly: a deviation that runs away to 0 or infinity is how deep VAEs come to grief.
        return mean, 4 * torch.tanh(log_std / 4)


class Inference(nn.Module):
    """Bottom-up features of an image and its parents, and the heads of q that read them on the way down."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        grids, widths, self.stride = shapes.grids, shapes.widths, shapes.stride
        self.embed = embedding(shapes.context)
        self.stem = nn.Conv2d(shapes.channels * self.stride**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(_block(shapes, width, grid) for width, grid in zip(widths, grids, strict=True))
        self.down = nn.ModuleList(
            _down(a, b, s, t) for (a, b), (s, t) in zip(pairwise(widths), pairwise(grids), strict=True)
        )
        coarse_first = list(reversed(range(len(widths))))
        self.level = [level for level in coarse_first for _ in range(shapes.blocks[level])]
        self.heads = nn.ModuleList(Head(2 * widths[level], widths[level], shapes.latent[level]) for level in self.level)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, c: Tensor) -> list[Tensor]:
        """Features at each level, finest first."""
        e = self.embed(c)
        x = F.pixel_unshuffle(x, self.stride).contiguous(memory_format=torch.channels_last)
        features = [self.blocks[0](self.stem(x), e)]
        for down, block in zip(self.down, self.blocks[1:], strict=True):
            features.append(block(down(features[-1]), e))
        return features

    def head(self, k: int, h: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of z_k given the features above it and the image's."""
        return self.heads[k](h, features[self.level[k]])


class TopDown(nn.Module):
    """Noise and parent features to the mean image, before its gain; coarse to fine."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        levels = list(reversed(list(zip(shapes.widths, shapes.grids, shapes.blocks, shapes.latent, strict=True))))
        self.stride = shapes.stride
        self.embed = embedding(shapes.context)
        self.stem = nn.Linear(EMBEDDING, shapes.widths[-1])
        self.up = nn.ModuleList(_up(a[0], b[0], a[1], b[1]) for a, b in pairwise(levels))
        self.levels = nn.ModuleList(
            nn.ModuleList(
                [Latent(shapes, width, grid, channels) for _ in range(blocks)] or [_block(shapes, width, grid)]
            )
            for width, grid, blocks, channels in levels
        )
        # Features of the latents alone, which is all that an exogenous prior may see; the last latent has no successor.
        self.start = nn.Parameter(torch.zeros(1, _narrow(shapes.widths[-1]), 1, 1)) if shapes.exogenous_prior else None
        used = levels[: 1 + max(i for i, level in enumerate(levels) if level[2])] if shapes.exogenous_prior else []
        self.free_up = nn.ModuleList(_up(_narrow(a[0]), _narrow(b[0]), a[1], b[1]) for a, b in pairwise(used))
        [module for module in self.modules() if isinstance(module, Latent)][-1].free = None
        # Edges of strokes are decided at the finest level: one more block there.
        self.last = _block(shapes, shapes.widths[0], shapes.grids[0])
        self.head = quiet(nn.Conv2d(shapes.widths[0], shapes.drawn * self.stride**2, 3, padding=1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, c: Tensor, choose: Choose) -> Tensor:
        e = self.embed(c)
        h = self.stem(e)[:, :, None, None].contiguous(memory_format=torch.channels_last)
        g = None if self.start is None else self.start.expand(len(c), -1, -1, -1)
        numbers = count()
        for i, level in enumerate(self.levels):
            if i:
                h = self.up[i - 1](h)
                g = self.free_up[i - 1](g) if i <= len(self.free_up) else g
            for block in level.children():
                if isinstance(block, Latent):
                    mean, log_std = block.prior(h if g is None else g)
                    z = mean + log_std.exp() * choose(next(numbers), h, mean, log_std)
                    h, g = block(h, g, e, z)
                else:
                    h = block(h, e)
        h = self.head(F.silu(self.last(h, e)))
        return F.pixel_shuffle(h.to(self.head.weight.dtype), self.stride)


class Latent(nn.Module):
    """One latent of the way down: its prior given the features above it, and its addition to them."""

    def __init__(self, shapes: Shapes, width: int, grid: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.prior = Head(_narrow(width) if shapes.exogenous_prior else width, width, channels)
        self.project = nn.Conv2d(channels, width, 1)
        self.block = _block(shapes, width, grid)
        self.free = Free(shapes, _narrow(width), grid, channels) if shapes.exogenous_prior else None

    def forward(self, h: Tensor, g: Tensor | None, e: Tensor, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features with z, and those of the latents alone where there are such."""
        return self.block(h + self.project(z), e), g if self.free is None else self.free(g, z)


class Free(nn.Module):
    """The contribution of a latent to the features of the latents alone."""

    def __init__(self, shapes: Shapes, width: int, grid: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1)
        self.block = _block(shapes, width, grid, modulated=False)

    def forward(self, g: Tensor, z: Tensor) -> Tensor:
        return self.block(g + self.project(z), None)


def _block(shapes: Shapes, width: int, grid: tuple[int, int], *, modulated: bool = True) -> BottleneckBlock:
    return BottleneckBlock(
        width, max(1, round(shapes.bottleneck * width)), 1 if grid == (1, 1) else 3, modulated=modulated
    )


def _narrow(width: int) -> int:
    """Channels of the features of the latents alone, beside `width` for all."""
    return max(8, width // 4)


def _down(width: int, wider: int, grid: tuple[int, int], coarser: tuple[int, int]) -> nn.Module:
    """To a coarser level; onto the top one, which is one cell, by a full connection."""
    stride = (grid[0] // coarser[0], grid[1] // coarser[1])
    if coarser == (1, 1):
        return nn.Conv2d(width, wider, grid)
    return nn.Conv2d(width, wider, (stride[0] + 2, stride[1] + 2), stride=stride, padding=1)


def _up(wider: int, width: int, coarser: tuple[int, int], grid: tuple[int, int]) -> nn.Module:
    """To a finer level; off the top one by a full connection."""
    if coarser == (1, 1):
        return nn.ConvTranspose2d(wider, width, grid)
    stride = grid[0] // coarser[0]
    return nn.Sequential(nn.Conv2d(wider, stride**2 * width, 1), nn.PixelShuffle(stride))
