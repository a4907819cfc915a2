"""The law of a code within each category of the parents, and the noise that is left when it is taken out."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["ByCategory"]


class ByCategory(nn.Module):
    r"""An affine structural assignment of a code z by the parents' categories: :math:`z := m_c + S_c\,u`.

    The codes that an encoder gives to images of a class differ from those of another class. Left as they are, they
    carry the class into every counterfactual, and do(class) is ignored; and the prior's draws are like no class. With
    mean and covariance of each category taken out, u has mean 0 and covariance 1 in every category, and a
    counterfactual keeps the place that its factual has among its like. The law is that of draws from the encoder, the
    aggregated posterior: S^2 is the covariance of the encoder's means plus the mean of its variances. So a dimension
    that says nothing about the image keeps its scale, and u = N(0, 1) decodes to a draw of that category. S is the
    symmetric square root. Categories with too few rows have the law of all rows. Where no category changes, neither
    does z.

    References:
        Hoffman and Johnson, "ELBO surgery: yet another way to carve up the variational evidence lower bound", 2016
        (the aggregated posterior).

    Args:
        parents: parent -> variable; those that are neither categories nor booleans are not looked at.
        width: Dimensions of the code.

    Example:
        >>> code = ByCategory({"c": Categorical(2)}, 1)
        >>> c, z = {"c": torch.tensor([0, 1]).repeat(500)}, torch.tensor([[2.0], [5.0]]).repeat(500, 1)
        >>> code.settle(z + torch.linspace(-1, 1, 1000)[:, None], torch.full((1000, 1), 0.1), c)
        >>> code.code(code.noise(z, c), {"c": 1 - c["c"]}).round(decimals=1)[:2, 0]
        tensor([5., 2.])
    """

    loc: Tensor
    root: Tensor
    inverse: Tensor

    def __init__(self, parents: Mapping[str, Variable], width: int) -> None:
        super().__init__()
        self.sizes = {
            name: 2 if isinstance(variable, Boolean) else variable.num_features
            for name, variable in parents.items()
            if isinstance(variable, Categorical | Boolean)
        }
        cells = prod(self.sizes.values())
        self.register_buffer("loc", torch.zeros(cells, width))
        self.register_buffer("root", torch.eye(width).repeat(cells, 1, 1))
        self.register_buffer("inverse", torch.eye(width).repeat(cells, 1, 1))

    def cell(self, pa: Mapping[str, Tensor], rows: int) -> Tensor:
        """Number of each row's combination of categories, (N,)."""
        cell = torch.zeros(rows, dtype=torch.long, device=self.loc.device)
        for name, size in self.sizes.items():
            cell = cell * size + pa[name].long()
        return cell

    @torch.no_grad()
    def settle(self, mean: Tensor, variance: Tensor, pa: Mapping[str, Tensor]) -> None:
        """Take each category's law from the mean and the variance of each row's code, both (N, d)."""
        cells, width = self.cell(pa, len(mean)), mean.shape[1]
        for k in range(len(self.loc)):
            own = cells == k
            rows = own if own.sum() > 2 * width else torch.ones_like(own)
            centre, spread = mean[rows].double(), variance[rows].double().mean(0)
            covariance = centre.T.cov(correction=0).reshape(width, width) + spread.diag()
            values, vectors = torch.linalg.eigh(covariance)
            self.loc[k] = centre.mean(0)
            self.root[k] = vectors @ (values.sqrt()[:, None] * vectors.T)
            self.inverse[k] = vectors @ (values.rsqrt()[:, None] * vectors.T)

    def noise(self, z: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """u of codes (N, d)."""
        cell = self.cell(pa, len(z))
        return _times(self.inverse[cell], z - self.loc[cell])

    def code(self, u: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """z of noise (N, d)."""
        cell = self.cell(pa, len(u))
        return self.loc[cell] + _times(self.root[cell], u)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Row by row, in the vectors' own precision whatever is asked of the networks around."""
    with torch.autocast(vectors.device.type, enabled=False):
        return (matrices.to(vectors.dtype) @ vectors[:, :, None])[:, :, 0]
