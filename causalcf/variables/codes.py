"""Variables of a few values: booleans and categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import one_hot

from causalcf.core.errors import DataError, GraphError, SupportError
from causalcf.variables.base import Variable, as_array, as_tensor

__all__ = ["Boolean", "Categorical"]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Boolean(Variable):
    """True or false; reads bool, and numbers that are exactly 0 or 1.

    Example:
        >>> Boolean().read("smiling", [0, 1, 1], torch.float32, torch.device("cpu"))
        tensor([False,  True,  True])
    """

    discrete: ClassVar[bool] = True

    @property
    def support(self) -> str:
        return "True or False (or 0 and 1)"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.boolean

    def _cast(self, name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
        if x.dtype == torch.bool:
            return x
        wrong = (x != 0) & (x != 1)
        if wrong.any():
            raise SupportError(
                f"'{name}' must be {self.support}: {int(wrong.sum())} of {x.shape[0]} rows are not"
                f" (for example {x[wrong][0].item():g}). Recode these rows."
            )
        return x != 0


@dataclass(frozen=True)
class Categorical(Variable):
    """One of k categories, given by their number or their names; held as codes 0..k-1 (long).

    Text is read as names and numbers as codes. Where names are numbers other than their codes, as "1", "2", "3" are,
    plain numbers could be either and are refused; a tensor always holds codes.

    Example:
        >>> colour = Categorical(["blue", "red"])
        >>> colour.read("colour", ["red", "blue"], torch.float32, torch.device("cpu"))
        tensor([1, 0])
        >>> Categorical(3).categories
        ('0', '1', '2')
    """

    categories: tuple[str, ...]
    discrete: ClassVar[bool] = True

    def __init__(self, categories: int | Sequence[str], *, unit: str = "") -> None:
        names = range(categories) if isinstance(categories, int) else categories
        object.__setattr__(self, "categories", tuple(str(name) for name in names))
        object.__setattr__(self, "unit", unit)
        if len(self.categories) < 2 or len(set(self.categories)) < len(self.categories):
            raise GraphError(f"A Categorical needs two or more different categories, got {self.categories}.")

    @property
    def k(self) -> int:
        """How many categories there are."""
        return len(self.categories)

    @property
    def support(self) -> str:
        return f"one of the categories {list(self.categories)} or their codes 0..{self.k - 1}"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.k - 1)

    @property
    def num_features(self) -> int:
        return self.k

    def features(self, x: Tensor) -> Tensor:
        return one_hot(x, self.k)

    def outside(self, x: Tensor) -> Tensor:
        return (x < 0) | (x >= self.k)

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(0, self.k - 1)

    def code(self, name: str, category: str) -> int:
        """The code of a category name; raises `SupportError` if there is none."""
        if category not in self.categories:
            raise SupportError(f"'{name}' has no category '{category}'. It has {list(self.categories)}.")
        return self.categories.index(category)

    def require_codes(self, name: str) -> None:
        """Raise `DataError` if numbers could be names as well as codes, as with the names "1", "2", "3"."""
        if any(_is_number(label) and float(label) != code for code, label in enumerate(self.categories)):
            raise DataError(
                f"'{name}' got numbers, which could be its categories {list(self.categories)} or their codes"
                f" 0..{self.k - 1}. Give categories as text, or codes as a torch tensor."
            )

    def _as_tensor(self, name: str, values: Any) -> Tensor:
        if isinstance(values, Tensor):
            return values
        array = as_array(name, values)
        if array.dtype.kind in "fiub":
            self.require_codes(name)
            return as_tensor(array)
        labels, inverse = np.unique(array.astype(str), return_inverse=True)
        codes = np.array([self.code(name, label) for label in labels], dtype=np.int64)
        return torch.from_numpy(codes[inverse].reshape(array.shape))

    def _cast(self, name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
        codes = x.long()
        if x.is_floating_point() and not torch.equal(codes.to(x.dtype), x):
            raise SupportError(f"'{name}' must be {self.support}; it has fractional or missing values.")
        return codes

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"categories": list(self.categories)}
