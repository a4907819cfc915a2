"""A mapping that is not changed once it is made, and can be pickled and copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

__all__ = ["Frozen"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class Frozen(Mapping[Key, Value]):
    """Keys and values as they were given; unlike `types.MappingProxyType` it can be sent to another process.

    Args:
        entries: Copied.

    Example:
        >>> Frozen({"x": 1})["x"]
        1
    """

    def __init__(self, entries: Mapping[Key, Value] | None = None) -> None:
        self._entries = dict(entries or {})

    def __getitem__(self, key: Key) -> Value:
        return self._entries[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __or__(self, other: Mapping[Key, Value]) -> dict[Key, Value]:
        return self._entries | dict(other)

    def __repr__(self) -> str:
        return repr(self._entries)
