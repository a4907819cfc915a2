"""Small network pieces that several mechanisms share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["Standardiser", "column", "mlp"]


def column(per_row: Tensor, like: Tensor) -> Tensor:
    """One number a row, (N,) or (), in a shape that broadcasts against rows (N, ...).

    Example:
        >>> column(torch.ones(5), torch.zeros(5, 2, 3)).shape
        torch.Size([5, 1, 1])
    """
    return per_row.reshape(-1, *[1] * (like.ndim - 1))


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """A plain multilayer perceptron; `sizes` runs from input width to output width.

    Example:
        >>> mlp([2, 8, 1])(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """
    layers: list[nn.Module] = []
    for i, (width_in, width_out) in enumerate(pairwise(sizes)):
        layers += [activation()] if i else []
        layers += [nn.Linear(width_in, width_out)]
    return nn.Sequential(*layers)


class Standardiser(nn.Module):
    """Affine map to zero mean and unit variance per feature, with constants taken from data."""

    loc: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @torch.no_grad()
    def calibrate(self, features: Tensor) -> None:
        """Take mean and standard deviation from features of shape (N, width)."""
        features = features.double()
        scale = features.std(0, unbiased=False)
        self.loc.copy_(features.mean(0))
        # A constant feature carries no scale of its own; leave it unscaled.
        self.scale.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.loc) / self.scale

    def inverse(self, features: Tensor) -> Tensor:
        """Back to data units."""
        return features * self.scale + self.loc
