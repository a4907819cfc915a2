"""The allowed values of settings: numbers in a range, checked before anything is built or trained with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from numbers import Integral, Real
from typing import Any

import numpy as np

from causalcf.core.errors import CausalCFError

__all__ = ["COUNT", "NATURAL", "POSITIVE", "WEIGHT", "Range", "plain", "require_settings"]


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may hold.

    Args:
        low: The smallest.
        high: The largest.
        above: Whether `low` itself is left out.
        below: Whether `high` itself is left out.
        whole: Whether they are whole numbers.
        entries: How many numbers a setting has, as a tuple; 0 for a number alone, None for a tuple of any length.

    Example:
        >>> 2 in Range(1, whole=True), 2.5 in Range(1, whole=True), (1.0, 2.0) in Range(0, entries=2)
        (True, False, True)
    """

    low: float
    high: float = inf
    above: bool = False
    below: bool = False
    whole: bool = False
    entries: int | None = 0

    def __contains__(self, value: Any) -> bool:
        if self.entries == 0:
            return self._holds(value)
        fits = isinstance(value, tuple | list) and self.entries in (None, len(value))
        return fits and all(map(self._holds, value))

    def _holds(self, value: Any) -> bool:
        if not isinstance(value, Integral if self.whole else Real) or isinstance(value, bool):
            return False
        bounded = self.low <= value <= self.high  # type: ignore[operator]
        return bounded and not (self.above and value == self.low) and not (self.below and value == self.high)

    def each(self, entries: int | None = None) -> Range:
        """The same for every number of a tuple, of so many entries or of any number."""
        return replace(self, entries=entries)

    def __str__(self) -> str:
        kind = "whole number" if self.whole else "number"
        what = f"a {kind}" if self.entries == 0 else f"{'' if self.entries is None else f'{self.entries} '}{kind}s"
        low = f"above {self.low}" if self.above else f"of at least {self.low}"
        high = "" if self.high == inf else f" and {'below' if self.below else 'at most'} {self.high}"
        return f"{what} {low}{high}"


COUNT = Range(1, whole=True)
NATURAL = Range(0, whole=True)
POSITIVE = Range(0, above=True)
WEIGHT = Range(0)


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own number or text, in tuples and lists too; anything else as it is.

    A value computed from data then serves as a setting, and a file can hold it.

    Example:
        >>> plain((np.int64(3), 0.5))
        (3, 0.5)
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (tuple, list):
        return type(value)(plain(item) for item in value)
    return value


def require_settings(thing: object, name: str, error: type[CausalCFError], **ranges: Range) -> None:
    """Raise unless every setting has an allowed value.

    Args:
        thing: The object with these attributes.
        name: Its name in the error.
        error: The class of error to raise.
        ranges: Setting -> its allowed values.

    Example:
        >>> from types import SimpleNamespace
        >>> require_settings(SimpleNamespace(latent=0), "VAE of 'image'", CausalCFError, latent=COUNT)
        Traceback (most recent call last):
        ...
        causalcf.core.errors.CausalCFError: VAE of 'image': latent must be a whole number of at least 1, got 0.
    """
    for setting, allowed in ranges.items():
        value = getattr(thing, setting)
        if value not in allowed:
            raise error(f"{name}: {setting} must be {allowed}, got {value!r}.")
