"""The base of all variables of a causal model: a support, a bijector, a unit, and how raw data are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.distributions.transforms import identity_transform

from causalcf.core.columns import Column
from causalcf.core.errors import DataError, GraphError, SupportError
from causalcf.core.settings import plain
from causalcf.variables.days import is_of_days, origin, read_days
from causalcf.variables.raw import Raw, read_raw

__all__ = ["Variable"]


@dataclass(frozen=True)
class Variable(ABC):
    """The possible values of a node: their kind, shape, support and unit."""

    unit: str = field(default="", kw_only=True)

    discrete: ClassVar[bool] = False
    """Whether the values are codes (long or bool) rather than numbers."""

    def __post_init__(self) -> None:
        for own in fields(self):
            object.__setattr__(self, own.name, plain(getattr(self, own.name)))
        if not isinstance(self.unit, str):
            raise GraphError(f"The unit of {self.article} is a text, such as unit='kg'; got {self.unit!r}.")

    @property
    def kind(self) -> str:
        """The name of the class, as written in graph files."""
        return type(self).__name__

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one value: `()`, `(d,)` or `(c, h, w)`."""
        return ()

    @property
    def numel(self) -> int:
        """How many numbers one value has."""
        return prod(self.event_shape)

    @property
    @abstractmethod
    def support(self) -> str:
        """The support in words, for error messages."""

    @property
    def words(self) -> str:
        """The possible values, in words and with the unit, for tables."""
        return f"{self.support}, {self.unit}" if self.unit else self.support

    @property
    def constraint(self) -> constraints.Constraint:
        """The support as torch knows it."""
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def bijector(self) -> Transform:
        """Element-wise bijection from the real line onto the support."""
        return identity_transform

    @property
    def num_features(self) -> int:
        """Width of `features`: how many numbers represent the value to a network."""
        return self.numel

    def features(self, x: Tensor) -> Tensor:
        """The value as network input, (*batch, num_features), not yet standardised."""
        return x.flatten(x.ndim - len(self.event_shape)) if self.event_shape else x.unsqueeze(-1)

    def outside(self, x: Tensor) -> Tensor:
        """Which rows lie outside the support, shape (N,), bool."""
        return torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)

    def project(self, x: Tensor) -> Tensor:
        """The nearest value inside the support."""
        return x

    def read(self, name: str, values: Any, dtype: torch.dtype, device: torch.device, *, gaps: bool = False) -> Tensor:
        """Raw values as a checked tensor of shape (N, *event_shape).

        Args:
            name: The node, for error messages.
            values: Tensor, array, sequence, or column of a data frame, with rows first; see `raw.read_raw`.
            dtype: Floating type for numbers; codes become long, booleans bool.
            device: Where the tensor goes.
            gaps: Whether values may be missing; they are NaN then, and codes are held as numbers.

        Raises:
            DataError: Wrong shape or type, or missing values.
            SupportError: Values outside the support.
        """
        raw = read_raw(name, values)
        if not (gaps and self.discrete and raw.missing.any()):
            return self._of_raw(name, raw, dtype, device, gaps=gaps)
        there = ~raw.missing
        codes = torch.full(there.shape, torch.nan, dtype=dtype, device=device)
        if there.any():
            at = torch.from_numpy(there)
            found = replace(raw, values=raw.values[at if isinstance(raw.values, Tensor) else there])
            codes[at.to(device)] = self._of_raw(name, found, dtype, device, gaps=False).to(dtype)
        return codes

    def _of_raw(self, name: str, raw: Raw, dtype: torch.dtype, device: torch.device, *, gaps: bool) -> Tensor:
        x = self.encode(name, raw).to(device)
        if x.shape[1:] != self.event_shape or x.ndim == 0:
            expected = ", ".join(["N", *map(str, self.event_shape)])
            raise DataError(f"'{name}' is {self.article}: expected shape ({expected}), got {tuple(x.shape)}.")
        x = self._cast(name, x, dtype)
        if gaps and x.is_floating_point() and x.isnan().any():
            self.check(name, x[~x.reshape(len(x), -1).isnan().any(1)])
        else:
            self.check(name, x)
        # What inference mode has made takes part in no gradient.
        return x.clone() if x.is_inference() and not torch.is_inference_mode_enabled() else x

    def has_gaps(self, x: Tensor) -> bool:
        """Whether these are codes some of which are missing: held as numbers, NaN where there is none."""
        return self.discrete and x.is_floating_point()

    def hold(
        self, name: str, values: Any, dtype: torch.dtype, device: torch.device, *, gaps: bool = False
    ) -> Tensor | Column:
        """As `read`, but what is read when it is asked for stays so, where the variable can tell that it is right."""
        return self.read(name, values, dtype, device, gaps=gaps)

    def check(self, name: str, x: Tensor, remedy: str = "Correct or drop these rows.") -> None:
        """Raise if any row is not finite or lies outside the support."""
        if x.is_floating_point() and not torch.isfinite(x).all():
            rows = int((~torch.isfinite(x)).reshape(x.shape[0], -1).any(1).sum())
            raise DataError(
                f"'{name}' has NaN or infinite values in {rows} of {x.shape[0]} rows. Drop or impute these rows first."
            )
        if type(self).outside is Variable.outside:  # nothing is outside; what takes no look costs one row no time
            return
        outside = self.outside(x)
        if outside.any():
            worst = x[outside].reshape(int(outside.sum()), -1)[0]
            shown = worst[(worst - self.project(worst)).abs().argmax()] if worst.numel() > 1 else worst[0]
            raise SupportError(
                f"'{name}' must be {self.support}: {int(outside.sum())} of {x.shape[0]} rows are not"
                f" (for example {shown.item():g}). {remedy}"
            )

    @property
    def article(self) -> str:
        """The kind with its article, as in 'an Image'."""
        return f"{'an' if self.kind[0] in 'AEIOU' else 'a'} {self.kind}"

    def encode(self, name: str, raw: Raw) -> Tensor:
        """Raw values as numbers or codes, in any shape and in their own type; not yet checked against the support.

        Dates and durations are numbers in a unit of days.

        Args:
            name: The node, for error messages.
            raw: The values given.

        Raises:
            DataError: They are of a kind that this variable cannot take.
        """
        days = raw.kind in ("dates", "durations") or (raw.kind == "text" and origin(self.unit) is not None)
        if days and is_of_days(self.unit):
            return read_days(name, raw, self.unit)
        return raw.numbers(name, self.article)

    def _cast(self, name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(dtype)

    def to_json(self) -> dict[str, Any]:
        """The fields a graph file holds for this variable."""
        return {"kind": self.kind, **({"unit": self.unit} if self.unit else {})}
