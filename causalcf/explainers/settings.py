"""What the settings of an explainer may be, read off the types of its fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import inf
from numbers import Integral, Real
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from causalcf.errors import ExplanationError

if TYPE_CHECKING:
    from causalcf.explainers.base import Explainer

__all__ = ["Range", "Share", "require_settings"]


@dataclass(frozen=True)
class Range:
    """The numbers that a field may hold, ends included: `Annotated[int, Range(2)]`.

    Without one, whole numbers are counts of at least 1, or 0 where that is the default; others are at least 0.

    Args:
        low: The smallest.
        high: The largest.
    """

    low: float
    high: float = inf

    def __contains__(self, number: Any) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return f"of at least {self.low}" if self.high == inf else f"from {self.low} to {self.high}"


Share = Annotated[float, Range(0, 1)]
"""A probability, or a part of a whole."""


def require_settings(explainer: Explainer) -> None:
    """Refuse settings that a method could only misread: values of no `Literal`, and numbers outside their range.

    Raises:
        ExplanationError: Names the setting, and what it may be.
    """
    hints = get_type_hints(type(explainer), include_extras=True)
    for field in fields(explainer):
        value, rule = getattr(explainer, field.name), _rule(hints[field.name], field.default)
        if rule is not None and not rule[1](value):
            raise ExplanationError(f"{type(explainer).__name__} needs {field.name} to be {rule[0]}, got {value!r}.")


def _rule(hint: Any, default: Any) -> tuple[str, Callable[[Any], bool]] | None:
    """What a field may hold, in words and as a test; None for what is neither a choice nor numbers."""
    hint, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return f"one of {list(parts)}", lambda value: value in parts
    whole = int in (hint, *parts)
    if not whole and float not in (hint, *parts):
        return None
    allowed = limits[0] if limits else Range(1 if whole and default != 0 else 0)
    kind, noun = (Integral, "whole number") if whole else (Real, "number")

    def fits(value: Any) -> bool:
        return isinstance(value, kind) and not isinstance(value, bool) and value in allowed

    if get_origin(hint) in (tuple, Sequence):
        return f"{noun}s {allowed}", lambda value: isinstance(value, list | tuple) and all(map(fits, value))
    if NoneType in parts:
        return f"a {noun} {allowed} or None", lambda value: value is None or fits(value)
    return f"a {noun} {allowed}", fits
