"""Variables of a few values: booleans and categories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import one_hot

from causalcf.core.errors import DataError, GraphError, SupportError
from causalcf.variables.base import Variable
from causalcf.variables.raw import Raw, as_number, label

__all__ = ["WORDS", "Boolean", "Categorical"]

WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
"""The words that people write for true and false, in small letters."""


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def shortened(names: Sequence[str]) -> str:
    """A list of names, the middle left out where it is long."""
    return str(list(names)) if len(names) <= 20 else f"[{', '.join(map(repr, names[:10]))}, ... ({len(names)} in all)]"


@dataclass(frozen=True)
class Boolean(Variable):
    """True or false; reads bool, numbers that are exactly 0 or 1, and the words true, false, yes and no.

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

    def encode(self, name: str, raw: Raw) -> Tensor:
        if raw.kind not in ("text", "mixed"):
            return raw.numbers(name, self.article)
        labels, inverse = np.unique(raw.labels(name), return_inverse=True)
        strange = [text for text in labels.tolist() if text.strip().lower() not in WORDS]
        if strange:
            raise SupportError(
                f"'{name}' is a Boolean: expected true or false, yes or no, 0 or 1, got {strange[0]!r}."
                " Recode these rows, or declare a Categorical."
            )
        truths = np.array([WORDS[text.strip().lower()] for text in labels.tolist()], dtype=bool)
        return torch.from_numpy(np.asarray(truths[inverse]).reshape(raw.shape))

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

    def __init__(self, categories: int | Sequence[Any], *, unit: str = "") -> None:
        categories, kind = as_number(categories), self.article[0].upper() + self.article[1:]
        if isinstance(categories, str | bytes | float | bool) or not isinstance(categories, int | Iterable):
            raise GraphError(
                f"{kind} needs its categories, as a list of names, or how many they are; got {categories!r}."
            )
        names = range(categories) if isinstance(categories, int) else categories
        object.__setattr__(self, "categories", tuple(label(name) for name in names))
        object.__setattr__(self, "unit", unit)
        self.__post_init__()
        if len(self.categories) < 2 or len(set(self.categories)) < len(self.categories):
            raise GraphError(f"{kind} needs two or more different categories, got {shortened(self.categories)}.")

    @property
    def k(self) -> int:
        """How many categories there are."""
        return len(self.categories)

    @property
    def support(self) -> str:
        return f"one of the categories {shortened(self.categories)} or their codes 0..{self.k - 1}"

    @property
    def words(self) -> str:
        names = ", ".join(self.categories if self.k <= 12 else (*self.categories[:8], f"... ({self.k} in all)"))
        return f"{names}, {self.unit}" if self.unit else names

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
            raise SupportError(f"'{name}' has no category '{category}'. It has {shortened(self.categories)}.")
        return self.categories.index(category)

    def require_codes(self, name: str) -> None:
        """Raise `DataError` if numbers could be names as well as codes, as with the names "1", "2", "3"."""
        if any(is_number(label) and float(label) != code for code, label in enumerate(self.categories)):
            raise DataError(
                f"'{name}' got numbers, which could be its categories {shortened(self.categories)} or their codes"
                f" 0..{self.k - 1}. Give categories as text, or codes as a torch tensor."
            )

    def encode(self, name: str, raw: Raw) -> Tensor:
        """Codes: text is read as names, numbers as codes, unless the column itself says that they are names."""
        if raw.kind == "numbers" or (raw.kind == "truths" and not {"True", "False"} & set(self.categories)):
            if not isinstance(raw.values, Tensor):
                self.require_codes(name)
            return raw.numbers(name, self.article)
        labels, inverse = np.unique(raw.labels(name), return_inverse=True)
        codes = np.array([self.code(name, text) for text in labels.tolist()], dtype=np.int64)
        return torch.from_numpy(np.asarray(codes[inverse]).reshape(raw.shape))

    def _cast(self, name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
        codes = x.long()
        if x.is_floating_point() and not torch.equal(codes.to(x.dtype), x):
            raise SupportError(f"'{name}' must be {self.support}; it has fractional or missing values.")
        return codes

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"categories": list(self.categories)}
