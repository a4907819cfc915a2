"""How many: whole numbers from zero on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from causalcf.variables.base import Variable

__all__ = ["Count"]


@dataclass(frozen=True)
class Count(Variable):
    """A count: 0, 1, 2, ..., in the unit of the things counted. Held as a number, so that it may be shifted.

    As a cause it enters as the number it is. Its counterfactuals are whole, and none is below zero.

    Example:
        >>> Count(unit="visits").read("visits", [0, 3, 1], torch.float32, torch.device("cpu"))
        tensor([0., 3., 1.])
    """

    @property
    def support(self) -> str:
        return "a whole number of at least 0"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.nonnegative_integer

    def outside(self, x: Tensor) -> Tensor:
        return (x < 0) | (x != torch.round(x))

    def project(self, x: Tensor) -> Tensor:
        return x.round().clamp_min(0)
