"""Small network pieces that several mechanisms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from causalcf.variables import Image, Variable

__all__ = ["ParentEncoder", "Standardiser", "column", "mlp"]


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


class ParentEncoder(nn.Module):
    """Parents in data units -> one standardised feature vector of shape (N, width).

    Numbers are standardised, categories one-hot, booleans 0/1. Images have no such vector: see `unfit`.
    Any batch shape will do, and parents' batch shapes broadcast (ChiRho adds dimensions for worlds).

    Args:
        parents: parent -> variable, in the order of the features.
    """

    def __init__(self, parents: Mapping[str, Variable]) -> None:
        super().__init__()
        self.parents = dict(parents)
        self.width = sum(variable.num_features for variable in parents.values())
        self.standardise = Standardiser(self.width)

    @staticmethod
    def unfit(parents: Mapping[str, Variable]) -> list[str]:
        """Parents that cannot be encoded as a vector."""
        return [name for name, variable in parents.items() if isinstance(variable, Image)]

    def raw(self, pa: Mapping[str, Tensor]) -> Tensor:
        """Features before standardisation."""
        dtype = self.standardise.loc.dtype
        features = [variable.features(pa[name]).to(dtype) for name, variable in self.parents.items()]
        shapes = {f.shape[:-1] for f in features}
        if len(shapes) > 1:
            batch = torch.broadcast_shapes(*shapes)
            features = [f.expand(*batch, -1) for f in features]
        return torch.cat(features, dim=-1)

    def calibrate(self, pa: Mapping[str, Tensor]) -> None:
        """Take the scales of the continuous parents from data."""
        if not self.width:
            return
        self.standardise.calibrate(self.raw(pa))
        discrete = torch.cat(
            [torch.full((v.num_features,), v.discrete, dtype=torch.bool) for v in self.parents.values()]
        ).to(self.standardise.loc.device)
        self.standardise.loc.masked_fill_(discrete, 0.0)
        self.standardise.scale.masked_fill_(discrete, 1.0)

    def forward(self, pa: Mapping[str, Tensor]) -> Tensor | None:
        """Standardised features, or None where there are no parents."""
        return self.standardise(self.raw(pa)) if self.width else None
