"""Parents in data units as one standardised vector of features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from causalcf.core.nn import RobustStandardiser, Standardiser
from causalcf.variables import Variable
from causalcf.variables.image import Image

__all__ = ["FAR", "ParentEncoder"]

FAR = 1e4
"""Standard deviations beyond which a parent moves nothing further: networks stay finite whatever they are shown."""


class ParentEncoder(nn.Module):
    """Parents in data units -> one standardised feature vector of shape (N, width).

    Numbers are standardised, categories one-hot, booleans 0/1. Images have no such vector: see `unfit`.
    Any batch shape will do, and parents' batch shapes broadcast (ChiRho adds dimensions for worlds).

    Args:
        parents: parent -> variable, in the order of the features.
        linear: Whether features are only centred, at the means of the data: no scale, nothing bent or limited.
    """

    def __init__(self, parents: Mapping[str, Variable], *, linear: bool = False) -> None:
        super().__init__()
        self.parents = dict(parents)
        self.width = sum(variable.num_features for variable in parents.values())
        self.linear = linear
        self.standardise = Standardiser(self.width) if linear else RobustStandardiser(self.width)

    @staticmethod
    def unfit(parents: Mapping[str, Variable]) -> list[str]:
        """Parents that cannot be encoded as a vector."""
        return [name for name, variable in parents.items() if isinstance(variable, Image)]

    def raw(self, pa: Mapping[str, Tensor]) -> Tensor:
        """Features before standardisation."""
        dtype = self.standardise.loc.dtype
        features = [variable.features(pa[name]).to(dtype) for name, variable in self.parents.items()]
        shapes = [f.shape[:-1] for f in features]
        if any(shape != shapes[0] for shape in shapes):  # compared, not hashed: torch.export has shapes that cannot be
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
        self.standardise.scale.masked_fill_(discrete | self.linear, 1.0)
        if isinstance(self.standardise, RobustStandardiser) and self.standardise.bent is not None:
            self.standardise.bend(self.standardise.bent & ~discrete, self.standardise.end)

    def forward(self, pa: Mapping[str, Tensor]) -> Tensor | None:
        """Standardised features, or None where there are no parents."""
        if not self.width:
            return None
        features = self.standardise(self.raw(pa))
        return features if self.linear else features.clamp(-FAR, FAR)
