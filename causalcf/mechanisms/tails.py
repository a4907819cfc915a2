"""Where the data end: a bijector that does not run away beyond them."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor
from torch.distributions import constraints

from causalcf.core._zuko import Uncycled

__all__ = ["TamedExp", "upper_tail"]

TOP = 0.01
"""Share of the data, the largest ones, that say how heavy their tail is; ten of them at least."""

SLOPES = (0.1, 1.0)
"""Least and largest slope beyond the data, as a share of the exponential's own at their end."""


class TamedExp(Uncycled):
    r"""exp up to the largest value of the data, and a line beyond.

    Beyond the data an exponential turns noise that is a little too large into a value that is many times too large:
    of a flow's draws of days up to 1,460, one in thousands was 41,666. A line keeps the support, and fits are the same.

    Args:
        tail: log of the data's largest value, and the slope beyond it as a share of the exponential's there, (2,).

    Example:
        >>> tamed = TamedExp(torch.tensor([2.0, 1.0]).log() + torch.tensor([0.0, 1.0]))
        >>> tamed(torch.tensor([1.0, 2.0, 8.0]).log())
        tensor([1.0000, 2.0000, 4.7726])
    """

    domain = constraints.real
    codomain = constraints.positive
    bijective = True
    sign = +1

    def __init__(self, tail: Tensor) -> None:
        super().__init__()
        self.top, self.slope = tail.unbind()

    def _call(self, x: Tensor) -> Tensor:
        inside = torch.minimum(x, self.top)
        return inside.exp() * (1 + self.slope * (x - inside))

    def _inverse(self, y: Tensor) -> Tensor:
        largest = self.top.exp()
        return torch.minimum(y, largest).log() + (y / largest - 1).clamp_min(0) / self.slope

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(x > self.top, self.top + self.slope.log(), x)


def upper_tail(x: Tensor) -> Tensor:
    """The upper tail of positive data, (N,), for `TamedExp`: where the data end, and how fast values may go on, (2,).

    A line of that slope, over normal noise, exceeds the end as the largest data exceed what lies below them: by their
    mean excess times the rate at which a normal quantile takes in exponential ones, about 3 where data end.

    Example:
        >>> top, slope = upper_tail(torch.linspace(1, 1460, 1000))  # as many large ones as small ones, then none
        >>> round(float(top.exp())), round(float(slope), 1)
        (1460, 0.1)
    """
    ranked = x.double().sort().values
    largest = ranked[-1]
    count = min(len(ranked) - 1, max(10, ceil(TOP * len(ranked))))
    excess = (ranked[len(ranked) - count :] - ranked[len(ranked) - count - 1]).mean() if count else largest
    spread = ranked.log().std(unbiased=False).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.stack([largest.log(), (3 * excess / (largest * spread)).clamp(*SLOPES)])
