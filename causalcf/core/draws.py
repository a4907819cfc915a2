"""Random numbers that belong to rows: a function of (seed, label of the row, purpose), and of nothing else.

A generator's numbers depend on how many were drawn before. Here each is a hash of a counter, so that a row gets the
same in any batch, order, thread and process, and torch's own state is neither read nor moved.

References:
    Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011 (counters instead of states).
    Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014 (the hash, SplitMix64).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causalcf.core.seeding import derive

__all__ = ["by_row", "gumbel", "label_keys", "normal", "row_keys", "told_apart", "uniform"]


def _signed(bits: int) -> int:
    """64 bits as torch's integers hold them."""
    return bits - 2**64 if bits >= 2**63 else bits


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST, _SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's hash of every integer; products wrap around."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        x = (x ^ _shifted(x, shift)) * factor
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """x shifted to the right, zeros coming in from the left (torch's shift repeats the sign)."""
    return (x >> by) & (2 ** (64 - by) - 1)


# ---------------------------------------------------------------------- which row


def label_keys(index: Any) -> Tensor:
    """A 64-bit number for each row label, the same whatever labels stand beside it, (N,), long.

    Args:
        index: Whole numbers, text, times or anything else with a text of its own.

    Example:
        >>> bool((label_keys(["a", "bc"])[1:] == label_keys(["bc"])).all())
        True
    """
    if isinstance(index, Tensor):
        return index.detach().cpu().long()
    labels = np.asarray(index)
    if labels.ndim != 1:  # the levels of a label, one row each
        labels = np.array([str(tuple(label)) for label in labels.tolist()])
    if labels.dtype.kind in "iub":
        return torch.from_numpy(labels.astype(np.int64))
    if labels.dtype.kind in "mM":
        labels = labels.astype(f"{labels.dtype.kind}8[ns]").astype(np.int64)
        return torch.from_numpy(labels)
    if all(type(label) is int for label in labels[:1].tolist()):
        with_numbers = [label if type(label) is int else None for label in labels.tolist()]
        if None not in with_numbers:
            return torch.tensor(with_numbers, dtype=torch.int64)
    if labels.dtype == object:  # such as tuples, which NumPy would take for rows
        labels = np.array([str(label) for label in labels.tolist()])
    letters = np.ascontiguousarray(labels.astype(str))
    codes = torch.from_numpy(letters.view(np.uint32).reshape(len(letters), -1).astype(np.int64))
    keys = torch.zeros(len(letters), dtype=torch.int64)
    for column in codes.unbind(1):  # padding with zeros changes nothing, so the longest label does not matter
        keys = torch.where(column != 0, _mix((keys ^ column) + _GOLDEN), keys)
    return keys


def told_apart(index: Any) -> Tensor:
    """A number for each row label, as `label_keys` gives it the first time that a label stands, (N,), long.

    With these as their labels, rows get the same draws in blocks as they get all together.

    Args:
        index: Row labels, (N,).

    Example:
        >>> numbers = told_apart(torch.tensor([4, 4, 5]))
        >>> bool((told_apart(numbers) == numbers).all()), numbers[0].item(), numbers[2].item()
        (True, 4, 5)
    """
    labels = label_keys(index)
    if not bool((labels[1:] > labels[:-1]).all()):
        labels = labels + _mix(_times_before(labels))  # the hash of 0 is 0
    return labels


def row_keys(index: Any, seed: int, *purpose: object, device: torch.device | str = "cpu") -> Tensor:
    """The keys of each row's random numbers, (N,), long.

    A label that stands several times gets other draws each time, the first time those that it gets alone.

    Args:
        index: Row labels, (N,).
        seed: Of the query.
        purpose: Name of these draws, such as "noise".
        device: Where draws are made.
    """
    labels = told_apart(index).to(device)
    return _mix(_mix(labels * _GOLDEN + 1) ^ derive(seed, *purpose))


def _times_before(labels: Tensor) -> Tensor:
    """How often each label stands before its place."""
    ranked, order = labels.sort(stable=True)
    places = torch.arange(len(labels))
    first = torch.cat([torch.ones(1, dtype=torch.bool), ranked[1:] != ranked[:-1]])
    begins = torch.where(first, places, 0).cummax(0).values
    return torch.empty_like(places).scatter_(0, order, places - begins)


class _Rows:
    """The draws of a block: keys, and how many numbers each row has had."""

    def __init__(self, keys: Tensor) -> None:
        self.keys, self.taken = keys, 0

    def bits(self, shape: Sequence[int]) -> Tensor:
        """64 random bits for every entry; the first dimension is the rows'."""
        width = int(np.prod(shape[1:]))
        counters = torch.arange(self.taken + 1, self.taken + width + 1, device=self.keys.device) * _GOLDEN
        self.taken += width
        return _mix(self.keys.unsqueeze(1) + counters).reshape(shape)


_CURRENT: ContextVar[_Rows | None] = ContextVar("rows", default=None)
"""The draws of this thread and task; None outside `by_row`, where draws come from torch's own state, as in training."""


@contextmanager
def by_row(keys: Tensor, *purpose: object) -> Iterator[None]:
    """In this block, `uniform`, `normal` and `gumbel` draw by row.

    Args:
        keys: From `row_keys`.
        purpose: Tells these draws from others with the same keys: the node, for example.

    Example:
        >>> keys = row_keys(torch.arange(3), 0)
        >>> with by_row(keys):
        ...     three = normal((3,), torch.empty(0))
        >>> with by_row(keys[2:]):
        ...     bool(normal((1,), torch.empty(0)) == three[2])
        True
    """
    token = _CURRENT.set(_Rows(_mix(keys ^ derive(0, *purpose))))
    try:
        yield
    finally:
        _CURRENT.reset(token)


# ---------------------------------------------------------------------- draws


def uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Draws in the open interval (0, 1), of a shape whose first dimension is the rows', of another tensor's type."""
    rows = _CURRENT.get()
    if rows is None:
        finest = torch.finfo(like.dtype)
        drawn = torch.empty(tuple(shape), dtype=like.dtype, device=like.device).uniform_()
        return drawn.clamp_(finest.tiny, 1 - finest.eps)
    digits = 52 if like.dtype == torch.float64 else 23  # so that a half more can still be told from 0 and 1
    return (_shifted(rows.bits(shape), 64 - digits).to(_wide(like)) + 0.5).mul_(2.0**-digits).to(like.dtype)


def normal(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal draws, of a shape whose first dimension is the rows', of another tensor's type."""
    rows = _CURRENT.get()
    if rows is None and like.shape == torch.Size(shape):
        return torch.randn_like(like)  # laid out in memory as the other one is
    if rows is None:
        return torch.randn(tuple(shape), dtype=like.dtype, device=like.device)
    bits = rows.bits(shape)  # Box and Muller 1958: one half for the radius, the other for the angle
    radius = ((_shifted(bits, 32).to(_wide(like)) + 0.5) * 2.0**-32).log().mul_(-2).clamp_min_(0).sqrt_()
    angle = (bits & 0xFFFFFFFF).to(_wide(like)).mul_(2 * pi * 2.0**-32)
    return (radius * angle.cos_()).to(like.dtype)


def gumbel(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard Gumbel draws."""
    return -torch.log(-torch.log(uniform(shape, like)))


def _wide(like: Tensor) -> torch.dtype:
    """The type to compute in: half precision is too coarse for 23 digits."""
    return torch.float64 if like.dtype == torch.float64 else torch.float32
