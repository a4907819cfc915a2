"""The monotone curve inside the flows: an affine map, then a rational-quadratic spline.

zuko has both, and a test holds them equal. This one is two to three times as fast, for one row and
for ten thousand: it reads both axes and the slopes of a bin in one gather, and normalises bins
without `softmax`, which is slow over the last few entries of a large tensor.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.nn.functional import pad

__all__ = ["AffineSpline"]

BOUND = 5.0
"""The spline lives on [-5, 5] and is the identity outside: beyond five standard deviations."""

LIMIT = -log(1e-3)
"""Scales and slopes stay within [1e-3, 1e3]."""


class AffineSpline(Transform):
    r"""Element-wise :math:`y = \mathrm{RQS}(e^{s} x + m)` with parameters of its own for every element.

    References:
        Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", 2019, section 3.1.

    Args:
        parameters: Unconstrained, (*, 3 K + 1): shift m, log scale s, K widths and K heights of the
            bins, K - 1 slopes at the knots between them. Zeros give the identity.

    Example:
        >>> spline = AffineSpline(torch.randn(100, 25))
        >>> x = torch.linspace(-7, 7, 100)
        >>> bool((spline.inv(spline(x)) - x).abs().max() < 1e-3)
        True
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, parameters: Tensor) -> None:
        super().__init__()
        bins = (parameters.shape[-1] - 1) // 3
        self.shift, logs = parameters[..., 0], _limit(parameters[..., 1:])
        self.log_scale = logs[..., 0]
        self.scale = self.log_scale.exp()
        # Limited twice, to half as much: no bin is over a thousand times as wide as another.
        shares = _limit(logs[..., 1 : 2 * bins + 1]).exp()
        ends = shares.unflatten(-1, (2, bins)).cumsum(-1)
        corners = pad(ends * (2 * BOUND / ends[..., -1:]) - BOUND, (1, 0), value=-BOUND)
        slopes = pad(logs[..., 2 * bins + 1 :], (1, 1)).exp()
        # (*, 3, K + 1): where the knots lie on the x axis, on the y axis, and the slopes there.
        self.knots = torch.cat([corners, slopes.unsqueeze(-2)], -2)

    def _bin(self, value: Tensor, axis: int) -> tuple[Tensor, ...]:
        """The bin of each value on an axis: its corner, width, height, mean slope, slopes at both ends."""
        left = (self.knots[..., axis, 1:-1] < value.unsqueeze(-1)).sum(-1)[..., None, None]
        knots = self.knots.expand(*value.shape, -1, -1)
        ends = knots.gather(-1, torch.cat([left, left + 1], -1).expand(*value.shape, 3, 2))
        x, y, slope = ends[..., 0].unbind(-1)
        width, height, _ = (ends[..., 1] - ends[..., 0]).unbind(-1)
        return x, y, width, height, height / width, slope, ends[..., 2, 1]

    def _call(self, x: Tensor) -> Tensor:
        return self._rise(x)[0]

    def _rise(self, x: Tensor) -> tuple[Tensor, ...]:
        """The value, and the parts of its slope."""
        x = x * self.scale + self.shift
        inside = x.clamp(-BOUND, BOUND)
        x0, y0, width, height, mean, slope0, slope1 = self._bin(inside, 0)
        z = (inside - x0) / width
        bend = z * (1 - z)
        below = mean + (slope0 + slope1 - 2 * mean) * bend
        y = y0 + height * (mean * z.square() + slope0 * bend) / below
        return y + (x - inside), x == inside, z, bend, below, mean, slope0, slope1

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The value, and log |dy/dx|, which have most of their terms in common."""
        y, is_inside, z, bend, below, mean, slope0, slope1 = self._rise(x)
        slope = (mean / below).square() * (slope1 * z.square() + 2 * mean * bend + slope0 * (1 - z).square())
        return y, torch.where(is_inside, slope.log(), 0.0) + self.log_scale

    def _inverse(self, y: Tensor) -> Tensor:
        if y.shape != self.shift.shape:
            y = y.expand(torch.broadcast_shapes(y.shape, self.shift.shape))
        inside = y.clamp(-BOUND, BOUND)
        x0, y0, width, height, mean, slope0, slope1 = self._bin(inside, 1)
        rise = inside - y0
        bent = rise * (slope0 + slope1 - 2 * mean)
        a, b, c = height * (mean - slope0) + bent, height * slope0 - bent, -mean * rise
        # Rounding may leave less than nothing where slopes differ a thousandfold.
        root = (b.square() - 4 * a * c).clamp_min(torch.finfo(y.dtype).tiny).sqrt()
        z = (2 * c / (-b - root)).clamp(0, 1)
        return (x0 + z * width + (y - inside) - self.shift) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]


def _limit(x: Tensor) -> Tensor:
    """x, bent smoothly so that it stays within the limit on either side; twice gives half the limit."""
    return x / (1 + x.abs() / LIMIT)
