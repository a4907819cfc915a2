"""Images as a variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from causalcf.core.errors import DataError, GraphError
from causalcf.variables.base import Variable
from causalcf.variables.raw import Raw

__all__ = ["Image"]


@dataclass(frozen=True)
class Image(Variable):
    """An image with values in [0, 1], channels first.

    Example:
        >>> Image(1, 32, 32).event_shape
        (1, 32, 32)
    """

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(isinstance(size, int) for size in self.event_shape) or min(self.event_shape) < 1:
            raise GraphError(f"An Image needs channels, height and width of at least 1, got {self.event_shape}.")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    @property
    def support(self) -> str:
        return "an image with values in [0, 1]"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.independent(constraints.unit_interval, 3)

    def outside(self, x: Tensor) -> Tensor:
        low, high = x.flatten(1).aminmax(dim=1)
        return (low < 0) | (high > 1)

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    def encode(self, name: str, raw: Raw) -> Tensor:
        x = super().encode(name, raw)
        if x.dtype == torch.uint8:
            raise DataError(f"'{name}' holds bytes (uint8); an Image holds floats in [0, 1]. Divide by 255.")
        return x

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"shape": list(self.event_shape)}
