"""The linear equation with Gaussian noise, fitted by least squares that numbers far from zero cannot mislead."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Transform

from causalcf.core._zuko import Affine
from causalcf.core.errors import CausalCFWarning
from causalcf.core.nn import quartiles
from causalcf.core.surroundings import callers_line
from causalcf.mechanisms.base import Parents
from causalcf.mechanisms.flow import InvertibleMechanism
from causalcf.variables.scalar import Real

__all__ = ["LinearGaussian", "least_squares"]

LEAST = 1e-12
"""Noise that is left where causes explain all, as a share of the values' own spread."""

FAR = 6.0
"""Spreads of the middle half, as of a normal variable, beyond which a row may rule the line: 2 rows in 1e9."""

MOVED = 0.25
"""How far a few rows may move an answer, in standard deviations of the rest, before it is said."""

WIDER = 3.0
"""How many times as wide they may make the noise before it is said."""

ENOUGH = 20
"""Rows that a second line needs."""

PASSES = 5
"""Most lines that are drawn without outliers."""

NOISE = 10.0
"""Spread, in units of the rounding of a column's numbers, that may be rounding alone."""


@dataclass(eq=False, repr=False)
class LinearGaussian(InvertibleMechanism):
    """x := intercept + sum of coefficient * (parent - its mean) + scale * u, fitted by least squares.

    The oldest structural equation (Wright 1921); its counterfactuals have a closed form, which makes
    it the mechanism to learn and to test with. Categories enter as one coefficient each, not centred. Parents
    that the data cannot tell apart share their effect, and one that never changes has none. Least squares follows
    outliers; a `CausalCFWarning` counts them where they rule the line.

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
            middle, rounding = design.mean(0), _spacing(self.encoder.raw(pa))
            beta = least_squares(design - middle, residual, rounding)
            _warn_if_ruled(self.node, list(self.parents), design - middle, residual, beta, rounding)
            residual = residual - (design - middle) @ beta
            centre = centre - middle @ beta
        self.intercept.copy_(centre)
        self.weight.copy_(beta)
        self.log_scale.copy_(residual.square().mean().sqrt().clamp_min(LEAST * _size(target)).log())
        return True

    def flow(self, c: Tensor | None) -> Transform:
        location = self.intercept if c is None else self.intercept + c @ self.weight
        # torch's affine map, not zuko's, which bounds the scale and would bend the closed form.
        return Affine(location.unsqueeze(-1), self.log_scale.exp(), event_dim=1).inv


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


def _warn_if_ruled(
    node: str, parents: list[str], design: Tensor, target: Tensor, beta: Tensor, rounding: Tensor
) -> None:
    """Warn where the line is that of a few rows: where without them it is another one for all the rest.

    Rows are left out that lie `FAR` spreads of the middle half from the middle, in a cause or off the line of the
    others, and the line is drawn again, until the same rows are left out.

    Args:
        node: The node, for the warning.
        parents: Its causes.
        design: Centred columns, (N, d).
        target: Centred, (N,).
        beta: The coefficients of all rows, (d,).
        rounding: As for `least_squares`.

    Warns:
        CausalCFWarning: Names the node, how many rows, how far the line moves, and the remedy.
    """
    usual = ~_far(design).any(1)
    kept = usual
    for _ in range(PASSES):
        if int(kept.sum()) < max(ENOUGH, len(target) / 2):
            return
        columns, values = design[kept], target[kept]
        middle, level = columns.mean(0), values.mean()
        without = least_squares(columns - middle, values - level, rounding)
        off = target - level - (design - middle) @ without
        again = usual & ~_far(off[:, None], usual)[:, 0]
        if bool((again == kept).all()):
            break
        kept = again
    rows = int((~kept).sum())
    if not rows:
        return
    spread = float(target[kept].std(unbiased=False))
    moved = float(((beta - without).abs() * design[kept].std(0, unbiased=False)).max()) / spread if spread > 0 else 0.0
    noise = off[kept].std(unbiased=False)
    wider = float((target - design @ beta).std(unbiased=False) / noise) if noise > LEAST * spread else 1.0
    if moved > MOVED or wider > WIDER:
        warnings.warn(
            f"'{node}' = its coefficients * {parents} + noise is ruled by {rows} of {len(target)} rows that lie far"
            f" from all others: without them an action of one standard deviation moves '{node}' by {moved:.2g} standard"
            f" deviations more or less, and the noise is {wider:.2g} times as narrow. Correct or drop these rows, or"
            f" take ccf.mechanisms.Flow() for '{node}', which outliers do not rule.",
            CausalCFWarning,
            stacklevel=callers_line(),
        )


def _far(columns: Tensor, among: Tensor | None = None) -> Tensor:
    """Values, (N, d), that lie `FAR` spreads of the middle half from the middle of some rows, (N,), or of all."""
    low, middle, high = quartiles(columns if among is None else columns[among])
    spread = (high - low) / 1.349
    return (spread > 0) & ((columns - middle).abs() > FAR * spread)


def _spacing(columns: Tensor) -> Tensor:
    """How far apart the largest numbers of each column are stored, (d,), in 64 bits."""
    return torch.finfo(columns.dtype).eps * columns.abs().amax(0).double()
