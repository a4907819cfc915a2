"""How many: whole numbers from zero on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from causalcf.core.errors import SupportError
from causalcf.variables.base import Variable

__all__ = ["Count", "largest_count"]


def largest_count(dtype: torch.dtype) -> int:
    """The largest count that arithmetic of a type tells from the next one, some roundings on the way included.

    Example:
        >>> largest_count(torch.float32), largest_count(torch.float64)
        (1048576, 562949953421312)
    """
    return round(0.125 / torch.finfo(dtype).eps)


@dataclass(frozen=True)
class Count(Variable):
    """A count: 0, 1, 2, ..., in the unit of the things counted. Held as a number, so that it may be shifted.

    As a cause it enters as the number it is. Its counterfactuals are whole, and none is below zero. In 32 bits counts
    go up to 2^20, about a million; in 64 bits up to 2^49.

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
        return (x < 0) | (x != torch.round(x)) | (x > largest_count(x.dtype))

    def project(self, x: Tensor) -> Tensor:
        return x.round().clamp(0, largest_count(x.dtype))

    def check(self, name: str, x: Tensor, remedy: str = "Correct or drop these rows.") -> None:
        """Raise if any row is no count, or too large to be told from the next."""
        most = largest_count(x.dtype)
        if bool(torch.isfinite(x).all()) and bool((x > most).any()):
            bits = torch.finfo(x.dtype).bits
            raise SupportError(
                f"'{name}' counts up to {float(x.max()):.6g}: {bits} bits tell counts up to {most:,} apart"
                f" ({int((x > most).sum())} of {len(x)} rows are above). Declare ccf.Positive(), count in thousands,"
                ' or, where these are counts and no mistake, fit with precision="64-true".'
            )
        super().check(name, x, remedy)
