"""A row of a table as one variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from causalcf.core.errors import DataError, GraphError
from causalcf.variables.base import Variable
from causalcf.variables.codes import Categorical

__all__ = ["Table"]


@dataclass(frozen=True)
class Table(Variable):
    """A row of named columns as one value: numbers in their unit, booleans 0 or 1, categories one-hot.

    One tensor (N, F) with a number for every feature, so that networks read it and gradients reach it; `pack` makes it
    of columns and `unpack` gives them back. Values between categories are projected onto the likeliest.

    Args:
        columns: name -> a variable of one number, boolean or category.

    Raises:
        GraphError: There are no columns, or one is no scalar.

    Example:
        >>> from causalcf.variables import Categorical, Positive
        >>> table = Table({"age": Positive(unit="years"), "sex": Categorical(["Female", "Male"])})
        >>> x = table.pack({"age": [30.0, 50.0], "sex": ["Male", "Female"]})
        >>> x
        tensor([[30.,  0.,  1.],
                [50.,  1.,  0.]])
        >>> table.unpack(torch.tensor([[40.0, 0.3, 0.7]]))["sex"]
        tensor([1])
    """

    columns: tuple[tuple[str, Variable], ...]

    def __init__(self, columns: Mapping[str, Variable], *, unit: str = "") -> None:
        object.__setattr__(self, "columns", tuple(columns.items()))
        object.__setattr__(self, "unit", unit)
        self.__post_init__()
        unfit = [name for name, variable in self.columns if variable.event_shape]
        if unfit or not self.columns:
            raise GraphError(f"A Table needs one or more columns of one number or category each, {unfit} are not.")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (sum(variable.num_features for _, variable in self.columns),)

    @property
    def support(self) -> str:
        return f"a row of the columns {[name for name, _ in self.columns]}, each in its support"

    @property
    def widths(self) -> list[int]:
        """Features of each column."""
        return [variable.num_features for _, variable in self.columns]

    @property
    def numbers(self) -> Tensor:
        """Which features are numbers in a unit, (F,) bool; the others are shares of categories."""
        return torch.tensor([not v.discrete for _, v in self.columns for _ in range(v.num_features)])

    def pack(self, columns: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> Tensor:
        """Columns as one tensor, (N, F); raises as `read` does."""
        lacks = [name for name, _ in self.columns if name not in columns]
        if lacks:
            raise DataError(f"The columns {lacks} are missing. Give all of {[name for name, _ in self.columns]}.")
        parts = []
        for name, variable in self.columns:
            device = columns[name].device if isinstance(columns[name], Tensor) else torch.device("cpu")
            value = variable.read(name, columns[name], dtype, device)
            parts.append(variable.features(value).to(dtype).reshape(len(value), -1))
        return torch.cat(parts, -1)

    def unpack(self, x: Tensor) -> dict[str, Tensor]:
        """name -> values (N,): numbers, booleans, category codes."""
        parts = x.split(self.widths, -1)
        return {name: _one(variable, part) for (name, variable), part in zip(self.columns, parts, strict=True)}

    def outside(self, x: Tensor) -> Tensor:
        parts = zip(self.columns, x.split(self.widths, -1), strict=True)
        wrong = [
            (part != _features(variable, part)).any(-1) if variable.discrete else variable.outside(part[:, 0])
            for (_, variable), part in parts
        ]
        return torch.stack(wrong).any(0)

    def project(self, x: Tensor) -> Tensor:
        parts = zip(self.columns, x.split(self.widths, -1), strict=True)
        return torch.cat([_features(variable, part) for (_, variable), part in parts], -1)

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"columns": {name: variable.to_json() for name, variable in self.columns}}


def _one(variable: Variable, features: Tensor) -> Tensor:
    """A column's values from its features (N, k)."""
    if isinstance(variable, Categorical):
        return features.argmax(-1)
    return features[..., 0] > 0.5 if variable.discrete else features[..., 0]


def _features(variable: Variable, features: Tensor) -> Tensor:
    """The nearest features, (N, k), that a column can have."""
    value = _one(variable, features)
    value = value if variable.discrete else variable.project(value)
    return variable.features(value).to(features.dtype).reshape(features.shape)
