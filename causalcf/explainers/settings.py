"""Checks of an explainer's settings, by the types of its fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from causalcf.core.errors import ExplanationError
from causalcf.core.settings import COUNT, WEIGHT, Range, require_settings

__all__ = ["Share", "require_types"]

Share = Annotated[float, Range(0, 1)]
"""A probability, or a part of a whole."""


def require_types(explainer: Any) -> None:
    """Check settings: a `Literal` field must hold one of its values, a number must lie in its range.

    The range of a number is said by its type, `Annotated[int, Range(2)]`. Without one, whole numbers are counts of at
    least 1, or 0 where that is the default, and others are at least 0.

    Raises:
        ExplanationError: Names the setting, and its allowed values.
    """
    name, hints = type(explainer).__name__, get_type_hints(type(explainer), include_extras=True)
    ranges: dict[str, Range] = {}
    for field in fields(explainer):
        hint, value = hints[field.name], getattr(explainer, field.name)
        hint, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        parts = get_args(hint)
        whole = int in (hint, *parts)
        if get_origin(hint) is Literal and value not in parts:
            raise ExplanationError(f"{name}: {field.name} must be one of {list(parts)}, got {value!r}.")
        if (whole or float in (hint, *parts)) and not (value is None and NoneType in parts):
            allowed = limits[0] if limits else COUNT if whole and field.default != 0 else WEIGHT
            several = get_origin(hint) in (tuple, Sequence)
            ranges[field.name] = replace(allowed, whole=whole, entries=None if several else 0)
    require_settings(explainer, name, ExplanationError, **ranges)
