"""The linear equation with Gaussian noise, fitted by least squares that numbers far from zero cannot mislead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Transform

from causalcf.mechanisms.base import Parents
from causalcf.mechanisms.flow import InvertibleMechanism
from causalcf.variables.scalar import Real

__all__ = ["LinearGaussian", "least_squares"]

LEAST = 1e-12
"""Noise that is left where causes explain all, as a share of the values' own spread."""

NOISE = 10.0
"""Spread, in units of the rounding of a column's numbers, that may be rounding alone."""


@dataclass(eq=False, repr=False)
class LinearGaussian(InvertibleMechanism):
    """x := intercept + sum of coefficient * (parent - its mean) + scale * u, fitted by least squares.

    The oldest structural equation (Wright 1921); its counterfactuals have a closed form, which makes
    it the mechanism to learn and to test with. Categories enter as one coefficient each, not centred. Parents
    that the data cannot tell apart share their effect, and one that never changes has none.

    Example:
        >>> from causalcf.variables import Real
        >>> x = torch.linspace(-1, 1, 50)
        >>> mechanism = LinearGaussian().bind("y", Real(), {"x": Real()})
        >>> mechanism.calibrate(3 * x + 1, {"x": x})
        >>> mechanism.solve(3 * x + 1 + 0.1 * torch.sin(40 * x), {"x": x})
        True
        >>> round(mechanism.weight.item(), 1)
        3.0
    """

    linear: ClassVar[bool] = True

    def validate(self) -> None:
        super().validate()
        if not isinstance(self.variable, Real):
            raise self.reject("a Real")

    def build_flow(self, features: int, context: int) -> None:
        self.weight = nn.Parameter(torch.zeros(context))
        self.intercept = nn.Parameter(torch.zeros(()))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def calibrate(self, x: Tensor, pa: Parents) -> None:
        """Take the means of the parents, around which the line is drawn; coefficients stay in data units."""
        if self.encoder.width:
            self.encoder.calibrate(pa)

    @torch.no_grad()
    def solve(self, x: Tensor, pa: Parents) -> bool:
        target = x.double()
        centre = target.mean()
        beta = target.new_zeros(0)
        residual = target - centre
        if self.encoder.width:
            design = self.encoder.raw(pa).double() - self.encoder.standardise.loc.double()
            middle = design.mean(0)
            beta = least_squares(design - middle, residual, _spacing(self.encoder.raw(pa)))
            residual = residual - (design - middle) @ beta
            centre = centre - middle @ beta
        self.intercept.copy_(centre)
        self.weight.copy_(beta)
        self.log_scale.copy_(residual.square().mean().sqrt().clamp_min(LEAST * _size(target)).log())
        return True

    def flow(self, c: Tensor | None) -> Transform:
        location = self.intercept if c is None else self.intercept + c @ self.weight
        # torch's affine map, not zuko's, which bounds the scale and would bend the closed form.
        return AffineTransform(location.unsqueeze(-1), self.log_scale.exp(), event_dim=1).inv


def _size(target: Tensor) -> float:
    """How large numbers are: their spread, or where they do not spread, themselves, or 1."""
    return float(target.std(unbiased=False)) or float(target.abs().mean()) or 1.0


def least_squares(design: Tensor, target: Tensor, rounding: Tensor) -> Tensor:
    """The smallest coefficients that fit best, (d,): columns that the data cannot tell apart share their effect.

    Columns are taken in units of their own spread. A direction in which they spread by no more than the rounding of
    their numbers says nothing: a column that is constant gets 0, columns that repeat each other share their effect.

    Args:
        design: Centred columns, (N, d), in 64 bits.
        target: Centred, (N,).
        rounding: How far apart the numbers of each column are stored, (d,).

    Example:
        >>> x = torch.linspace(-1, 1, 9, dtype=torch.float64)
        >>> least_squares(torch.stack([x, x, 0 * x], 1), 3 * x, torch.full((3,), 1e-16))
        tensor([1.5000, 1.5000, 0.0000], dtype=torch.float64)
    """
    spread = design.square().mean(0).sqrt()
    told = spread > NOISE * rounding
    if not told.any():
        return torch.zeros_like(spread)
    columns = design[:, told] / spread[told]
    blurred = float((rounding[told] / spread[told]).max())
    q, r = torch.linalg.qr(columns)
    u, s, v = torch.linalg.svd(r)
    kept = s > max(NOISE * blurred, torch.finfo(s.dtype).eps * NOISE) * len(design) ** 0.5
    share = torch.where(kept, (u.T @ (q.T @ target)) / s.clamp_min(torch.finfo(s.dtype).tiny), 0.0)
    beta = torch.zeros_like(spread)
    beta[told] = (v.T @ share) / spread[told]
    return beta


def _spacing(columns: Tensor) -> Tensor:
    """How far apart the largest numbers of each column are stored, (d,), in 64 bits."""
    return torch.finfo(columns.dtype).eps * columns.abs().amax(0).double()
