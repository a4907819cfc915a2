"""Checks of a variable's fields in a file, types and sizes, before the variable is made."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, prod
from typing import Any

from causalcf.core.errors import GraphError

__all__ = ["check_fields"]

LARGEST = 2**31
"""Numbers that one value may have."""

CATEGORIES = 2**20
"""Categories that may be given by their number alone."""


def check_fields(node: str, fields: Mapping[str, Any]) -> None:
    """Raise `GraphError` where a field is of another type than a variable's, or a size is beyond all use.

    Args:
        node: Whose variable it is.
        fields: Field -> value, JSON.

    Example:
        >>> check_fields("colour", {"kind": "Categorical", "categories": "red"})
        Traceback (most recent call last):
        ...
        causalcf.core.errors.GraphError: Node 'colour': "categories" must be a list of texts, got 'red'.
    """
    expected = {
        "kind": ("text", lambda value: isinstance(value, str) or value is None),
        "unit": ("text", lambda value: isinstance(value, str)),
        "low": ("a finite number", _is_finite),
        "high": ("a finite number", _is_finite),
        "d": (f"a whole number up to {LARGEST}", lambda value: _is_whole(value) and value <= LARGEST),
        "shape": (f"whole numbers whose product is at most {LARGEST}", _is_shape),
        "categories": ("a list of texts", _are_categories),
    }
    for field, value in fields.items():
        what, fits = expected.get(field, ("", lambda _: True))
        if not fits(value):
            raise GraphError(f"Node '{node}': \"{field}\" must be {what}, got {repr(value)[:60]}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return (_is_whole(value) and abs(value) < 1e308) or (isinstance(value, float) and isfinite(value))


def _is_shape(value: Any) -> bool:
    return not isinstance(value, list) or (all(map(_is_whole, value)) and abs(prod(value)) <= LARGEST)


def _are_categories(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(name, str) for name in value)
    return _is_whole(value) and value <= CATEGORIES
