"""The law of a code given all parents, affine in their features, and the noise that is left when it is taken out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from causalcf.mechanisms.average import certain, least_squares
from causalcf.mechanisms.parents import ParentEncoder
from causalcf.variables import Variable

__all__ = ["ByParents"]


class ByParents(nn.Module):
    r"""An affine structural assignment of a code z by the parents: :math:`z := m + G\,c(pa) + S\,u`.

    An encoder writes into the code what it sees, the glasses too, and left as it is the code carries them into every
    counterfactual: the action is ignored. Here the mean of the code given the parents' features c is a mediator: least
    squares find it after training, what is within three standard errors from 0 does not count, and acting on a parent
    moves the code as the code differs on average between rows with one value and the other. `ByCategory` also takes
    out covariances, one for each combination of categories; this law needs no rows for each, and hears of numbers.

    S is the symmetric square root of the covariance that is left, of draws from the encoder.

    Args:
        parents: parent -> variable.
        width: Dimensions of the code.

    Example:
        >>> from causalcf.variables import Boolean
        >>> law, glasses = ByParents({"glasses": Boolean()}, 1), torch.tensor([False, True]).repeat(500)
        >>> z = torch.where(glasses, 2.0, 0.0)[:, None] + torch.linspace(-1, 1, 1000)[:, None]
        >>> law.settle(z, torch.full((1000, 1), 0.1), {"glasses": glasses})
        >>> u = law.noise(z, {"glasses": glasses})
        >>> bool(((law.code(u, {"glasses": ~glasses}) - z).abs() - 2 < 0.1).all())
        True
    """

    loc: Tensor
    weight: Tensor
    root: Tensor
    inverse: Tensor

    def __init__(self, parents: Mapping[str, Variable], width: int) -> None:
        super().__init__()
        self.encoder = ParentEncoder(parents)
        self.register_buffer("loc", torch.zeros(width))
        self.register_buffer("weight", torch.zeros(self.encoder.width, width))
        self.register_buffer("root", torch.eye(width))
        self.register_buffer("inverse", torch.eye(width))

    @torch.no_grad()
    def settle(self, mean: Tensor, variance: Tensor, pa: Mapping[str, Tensor]) -> None:
        """Take the law from the mean and the variance of each row's code, both (N, d)."""
        self.encoder.calibrate(pa)
        c = self.encoder(pa)
        if c is None:
            return
        effects = certain(*least_squares(mean, c))[1:]
        left = mean.double() - c.double() @ effects
        centred = left - left.mean(0)
        covariance = centred.T @ centred / len(left) + variance.double().mean(0).diag()
        values, vectors = torch.linalg.eigh(covariance)
        self.loc.copy_(left.mean(0))
        self.weight.copy_(effects)
        self.root.copy_(vectors @ (values.sqrt()[:, None] * vectors.T))
        self.inverse.copy_(vectors @ (values.rsqrt()[:, None] * vectors.T))

    def noise(self, z: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """u of codes (N, d)."""
        return _times(z - self._centre(pa), self.inverse)

    def code(self, u: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """z of noise (N, d)."""
        return self._centre(pa) + _times(u, self.root)

    def inverses(self, pa: Mapping[str, Tensor], rows: int) -> Tensor:
        """The inverse of S, for any row."""
        return self.inverse

    def _centre(self, pa: Mapping[str, Tensor]) -> Tensor:
        c = self.encoder(pa)
        return self.loc if c is None else self.loc + _times(c, self.weight)


def _times(rows: Tensor, matrix: Tensor) -> Tensor:
    """In the rows' own precision whatever is asked of the networks around."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ matrix.to(rows.dtype)
