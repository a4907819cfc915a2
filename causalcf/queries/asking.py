"""What queries have in common: arguments are held against the signature, and the caller's contexts stay out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from causalcf.core.signatures import checked
from causalcf.core.surroundings import kept_out

__all__ = ["as_query"]

F = TypeVar("F", bound=Callable[..., Any])


def as_query(function: F) -> F:
    """A query: neither autocast nor a default device reaches in, and a wrong argument is refused by its name.

    Raises:
        ArgumentError: By the call: an argument is of another type, missing, or not known.
    """
    return checked(kept_out()(function))
