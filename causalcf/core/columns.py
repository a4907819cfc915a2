"""Columns that are not in memory as floats: rows are read when they are asked for.

A `Store` has rows: bytes in memory, a file that is mapped, pictures that are decoded or drawn. A `Column` is some of
its rows as a model takes them, floats of a type on a device. It is indexed like a tensor, and gives one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["BLOCK", "Array", "Column", "Held", "Rows", "Store", "as_column", "by_blocks"]

BLOCK = 512
"""Rows that are read at a time where all are looked at once."""

Rows = slice | Tensor | np.ndarray | list[int]


class Store:
    """Rows that can be read in any order: bytes, or floats.

    Args:
        shape: (N, *shape of a row).
        itemsize: Bytes of one number.
    """

    def __init__(self, shape: tuple[int, ...], itemsize: int = 1) -> None:
        self.shape, self.itemsize = torch.Size(shape), itemsize

    def take(self, rows: Tensor) -> Tensor:
        """Some rows, in the order asked for, as a new tensor (len(rows), ...) of bytes or floats.

        Args:
            rows: Their numbers, (B,), on the CPU.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how its rows are read.")

    def prepare(self, rows: Tensor | None = None, *, progress: bool = False) -> None:
        """Called before rows are read, perhaps again and again: the chance to copy what is slow to read.

        Args:
            rows: Their numbers; all rows by default.
            progress: Whether it may show a progress bar.
        """


class Held(Store):
    """Bytes, or floats, in memory or in the memory of a device.

    Args:
        values: A tensor of shape (N, ...).
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__(tuple(values.shape), values.element_size())
        self.values = values

    def take(self, rows: Tensor) -> Tensor:
        return self.values[rows.to(self.values.device)]


class Array(Store):
    """Bytes, or floats, in an array of NumPy, which may be a file that is mapped into memory.

    Args:
        values: An array of shape (N, ...).
    """

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(values.shape, values.itemsize)
        self.values = values

    def take(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self.values.take(rows.numpy(), axis=0)))


class Column:
    """Rows of a store as floats: indexed like a tensor, it reads the rows asked for and gives them as one.

    Bytes 0..255 become floats 0..1, on the device.

    Args:
        store: What is read from.
        rows: Which of its rows, and in which order, (N,); all of them by default.
        dtype: Floating type of what is given.
        device: Where it is given.

    Example:
        >>> column = Column(Held(torch.tensor([[0, 51], [255, 102]], dtype=torch.uint8)))
        >>> column[1:]
        tensor([[1.0000, 0.4000]])
        >>> column.select([1, 0]).shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        store: Store,
        rows: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.store, self.rows, self.dtype, self.device = store, rows, dtype, torch.device(device)

    @property
    def shape(self) -> torch.Size:
        """(N, *shape of a row)."""
        return torch.Size((len(self), *self.store.shape[1:]))

    @property
    def ndim(self) -> int:
        """Dimensions, rows included."""
        return len(self.store.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows as they are stored."""
        return self.shape.numel() * self.store.itemsize

    def __len__(self) -> int:
        return self.store.shape[0] if self.rows is None else len(self.rows)

    def __getitem__(self, key: Rows) -> Tensor:
        return self.convert(self.fetch(key))

    def select(self, key: Rows) -> Column:
        """Some of the rows, yet to be read."""
        return Column(self.store, self._numbers(key), self.dtype, self.device)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Column:
        """The same rows, to be given on another device or in another type."""
        return Column(self.store, self.rows, dtype or self.dtype, self.device if device is None else device)

    def cpu(self) -> Column:
        """The same rows, to be given on the CPU."""
        return self.to("cpu")

    def split(self, size: int = BLOCK) -> Iterator[Tensor]:
        """The rows, a block at a time, as `Tensor.split` gives them."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def fetch(self, key: Rows) -> Tensor:
        """The part of reading that a thread can do: rows as they are stored, in memory that a GPU can copy from."""
        raw = self.store.take(self._numbers(key))
        if self.device.type == "cuda" and not raw.is_cuda:
            return raw.pin_memory()
        return self.convert(raw) if self.device.type == "cpu" else raw

    def convert(self, raw: Tensor) -> Tensor:
        """What `fetch` gave, as floats on the device."""
        x = raw.to(self.device, non_blocking=True)
        if not x.is_floating_point():
            # A divisor on the device: by a number, a GPU multiplies by its reciprocal and rounds otherwise.
            x = x.float().div_(torch.full((), 255.0, device=x.device))
        return x.to(self.dtype)

    def resident(self) -> Column:
        """The same rows as bytes, copied to the device."""
        rows = torch.arange(len(self))
        values = torch.cat([self.store.take(self._numbers(part)).to(self.device) for part in rows.split(BLOCK)])
        return Column(Held(values), None, self.dtype, self.device)

    @property
    def is_resident(self) -> bool:
        """Whether the rows lie on the device of a GPU, so that nothing has to be fetched."""
        return self.device.type == "cuda" and isinstance(self.store, Held) and self.store.values.is_cuda

    def _numbers(self, key: Rows) -> Tensor:
        """Numbers of rows of the store; those of rows on a GPU lie there."""
        if isinstance(key, slice):
            rows = torch.arange(len(self))[key]
        else:
            rows = torch.as_tensor(key)
            if rows.ndim != 1 or isinstance(key, tuple):
                raise IndexError(f"Rows are selected with a slice, a list or a mask, got {key!r}.")
            rows = self._chosen(rows) if rows.dtype == torch.bool else rows.long()
        if self.is_resident:  # nothing waits for the device to say whether there are such rows
            return rows if self.rows is None else self.rows.to(rows.device)[rows]
        rows = rows.cpu()
        if len(rows) and not -len(self) <= int(rows.min()) <= int(rows.max()) < len(self):
            raise IndexError(f"There are {len(self)} rows; {int(rows.min())} .. {int(rows.max())} were asked for.")
        rows = torch.where(rows < 0, rows + len(self), rows)
        return rows if self.rows is None else self.rows[rows]

    def _chosen(self, mask: Tensor) -> Tensor:
        if len(mask) != len(self):
            raise IndexError(f"A mask of {len(mask)} rows selects none of {len(self)}.")
        return mask.nonzero()[:, 0]

    def __repr__(self) -> str:
        return f"Column({tuple(self.shape)} of {type(self.store).__name__})"


def by_blocks(x: Tensor | Column, ask: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """`ask` of each block of rows, joined: all of them as floats may not fit into memory.

    Args:
        x: Rows.
        ask: Given a block, and which rows it is, a tensor with as many.

    Example:
        >>> by_blocks(torch.ones(3, 2), lambda part, rows: part.sum(1))
        tensor([2., 2., 2.])
    """
    starts = range(0, max(len(x), 1), BLOCK)
    return torch.cat([ask(x[start : start + BLOCK], slice(start, start + BLOCK)) for start in starts])


def as_column(values: Any) -> Column | None:
    """A column, or bytes as one, or a file of floats that is mapped into memory; None for anything else."""
    mapped = isinstance(values, np.memmap) and values.dtype.kind == "f"
    if isinstance(values, np.ndarray) and values.ndim and (mapped or values.dtype == np.uint8):
        return Column(Array(values))
    if isinstance(values, Tensor) and values.dtype == torch.uint8 and values.ndim:
        return Column(Held(values))
    return values if isinstance(values, Column) else None
