"""Numbers: real, positive, within an interval, and vectors of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.distributions.transforms import ExpTransform
from torch.nn.functional import logsigmoid

from causalcf.core.errors import GraphError
from causalcf.variables.base import Variable
from causalcf.variables.raw import as_number

__all__ = ["Interval", "IntervalTransform", "Positive", "Real", "Vector"]


class IntervalTransform(Transform):
    """Bijection from the real line onto the open interval (low, high), by the logistic function.

    torch's `AffineTransform` after a sigmoid reports the whole line as its codomain; this one
    reports the interval, so that Pyro knows the support.
    """

    bijective = True
    sign = +1
    domain = constraints.real

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    @property
    def codomain(self) -> constraints.Constraint:  # type: ignore[override]
        return constraints.interval(self.low, self.high)

    def _call(self, x: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * torch.sigmoid(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.log(y - self.low) - torch.log(self.high - y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return np.log(self.high - self.low) + logsigmoid(x) + logsigmoid(-x)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalTransform) and (self.low, self.high) == (other.low, other.high)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Real(Variable):
    """A real number.

    Example:
        >>> Real(unit="kg").support
        'a real number'
    """

    @property
    def support(self) -> str:
        return "a real number"


@dataclass(frozen=True)
class Positive(Variable):
    """A number above zero, modelled on the log scale.

    Example:
        >>> Positive(unit="px").bijector(torch.zeros(1))
        tensor([1.])
    """

    @property
    def support(self) -> str:
        return "above 0"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.positive

    @property
    def bijector(self) -> Transform:
        return ExpTransform()

    def outside(self, x: Tensor) -> Tensor:
        return x <= 0

    def project(self, x: Tensor) -> Tensor:
        return x.clamp_min(torch.finfo(x.dtype).tiny)


@dataclass(frozen=True)
class Interval(Variable):
    """A number in [low, high], modelled on the logit scale.

    Example:
        >>> Interval(64, 255).bijector(torch.zeros(1))
        tensor([159.5000])
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds = [as_number(self.low), as_number(self.high)]
        numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
        if not numbers or not bounds[0] < bounds[1] or not np.isfinite(bounds).all():
            raise GraphError(
                f"An Interval needs two finite numbers with low < high, got low={self.low}, high={self.high}."
            )
        object.__setattr__(self, "low", bounds[0])
        object.__setattr__(self, "high", bounds[1])

    @property
    def support(self) -> str:
        return f"in [{self.low:g}, {self.high:g}]"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.high)

    @property
    def bijector(self) -> Transform:
        return IntervalTransform(float(self.low), float(self.high))

    def outside(self, x: Tensor) -> Tensor:
        return (x < self.low) | (x > self.high)

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"low": self.low, "high": self.high}


@dataclass(frozen=True)
class Vector(Variable):
    """A vector of d real numbers, modelled jointly.

    Example:
        >>> Vector(3).event_shape
        (3,)
    """

    d: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.d, int) or self.d < 1:
            raise GraphError(f"A Vector needs d, a whole number of at least 1, got d={self.d!r}.")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    @property
    def support(self) -> str:
        return f"a vector of {self.d} real numbers"

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"d": self.d}
