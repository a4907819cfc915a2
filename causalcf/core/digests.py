"""Digests, which tell files, data and weights apart.

All are SHA-256 over parts in a row, so that older files stay comparable: a saved model, the checkpoint of a fit,
a row of a benchmark and a kept truth carry such digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from causalcf.core.columns import Column

__all__ = ["digest", "named", "weights_digest"]

T = TypeVar("T", Tensor, Column, Tensor | Column)

FULL = 64
"""Digits of a whole SHA-256."""


def digest(*parts: str | bytes | Tensor | Column, digits: int = FULL) -> str:
    """The first hexadecimal digits of the SHA-256 of parts, one after another.

    Args:
        parts: Text, bytes, or tensors and columns of any type and device, whose values count and not their shape.
        digits: How many to keep, of 64.

    Example:
        >>> digest("a", torch.zeros(2), digits=8) == digest(b"a", torch.zeros(2, 1), digits=8)
        True
    """
    whole = hashlib.sha256()
    for part in parts:
        for piece in part.split() if isinstance(part, Column) else (part,):
            whole.update(
                piece.encode() if isinstance(piece, str) else piece if isinstance(piece, bytes) else _bytes(piece)
            )
    return whole.hexdigest()[:digits]


def named(tensors: Mapping[str, T]) -> Iterator[str | T]:
    """Names and tensors, or columns, in turn, in the order of the mapping: parts of a digest.

    Example:
        >>> list(named({"x": torch.tensor([1])}))
        ['x', tensor([1])]
    """
    for name, tensor in tensors.items():
        yield name
        yield tensor


def weights_digest(tensors: Mapping[str, Tensor], facts: Any = None) -> str:
    """Eight digits that tell networks apart, whether their weights are stored in full or in half precision.

    Args:
        tensors: A network's state.
        facts: JSON-able; everything else that defines the object.

    Example:
        >>> weights_digest({"weight": torch.ones(2)}) == weights_digest({"weight": torch.ones(2).half()})
        True
    """
    halves = {name: tensor.detach().half() for name, tensor in sorted(tensors.items())}
    return digest("" if facts is None else json.dumps(facts, sort_keys=True), *named(halves), digits=8)


def _bytes(tensor: Tensor) -> bytes:
    """The values of a tensor as they lie in memory, row by row."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if flat.stride(0) != 1:  # one value, made by `expand`: torch calls it contiguous all the same
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().tobytes()
