"""Images as a variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from causalcf.core.columns import Column, as_column
from causalcf.core.errors import DataError, GraphError
from causalcf.variables.base import Variable
from causalcf.variables.raw import Raw

__all__ = ["Image"]


@dataclass(frozen=True)
class Image(Variable):
    """An image with values in [0, 1], channels first; bytes (uint8) count from 0 to 255.

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

    def read(self, name: str, values: Any, dtype: torch.dtype, device: torch.device, *, gaps: bool = False) -> Tensor:
        held = self.hold(name, values, dtype, device, gaps=gaps)
        return held[:] if isinstance(held, Column) else held

    def hold(
        self, name: str, values: Any, dtype: torch.dtype, device: torch.device, *, gaps: bool = False
    ) -> Tensor | Column:
        column = as_column(values)
        if column is None:
            return super().read(name, values, dtype, device, gaps=gaps)
        if column.shape[1:] != self.event_shape:
            expected = ", ".join(["N", *map(str, self.event_shape)])
            last = column.shape[1:] == (self.height, self.width, self.channels)
            remedy = " Put the channels first: x.transpose(0, 3, 1, 2)." if last else ""
            raise DataError(f"'{name}' is an Image: expected shape ({expected}), got {tuple(column.shape)}.{remedy}")
        if isinstance(values, np.memmap) and values.dtype.kind == "f":
            for part in column.split():
                self.check(name, part)
        elif not isinstance(values, Column) and len(values) and values.max() == 1:
            raise DataError(
                f"'{name}' holds bytes (uint8) 0 and 1 alone, where 255 is white. Give true and false, or floats in"
                " [0, 1]; or multiply by 255."
            )
        return column.to(device, dtype)

    def encode(self, name: str, raw: Raw) -> Tensor:
        pictures = "Files and pictures are read by ccf.datasets.from_folder, from_frame and from_items."
        x = raw.numbers(name, self.article, pictures if raw.kind in ("objects", "text") else "")
        if x.dtype == torch.uint8:
            raise DataError(
                f"'{name}' holds bytes (uint8) of shape {raw.shape}, in no array of bytes (N, C, H, W). Give one, or"
                f" floats in [0, 1]. {pictures}"
            )
        return x

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"shape": list(self.event_shape)}
