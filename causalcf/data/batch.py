"""Data as the library passes them: an immutable mapping of node -> tensor, rows first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from causalcf.core.columns import Column
from causalcf.core.errors import DataError, UnknownNodeError
from causalcf.core.html import ROWS
from causalcf.core.signatures import checked
from causalcf.variables import Variable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Batch", "Index"]

Index = Tensor | np.ndarray


@checked
class Batch(Mapping[str, Tensor]):
    """A frozen mapping of node -> tensor in data units, all with the same number of rows.

    A name gives a tensor; anything else (a slice, an index tensor, a mask) selects rows and gives a
    smaller batch. As for any mapping, `len` counts the nodes; `rows` counts the rows.

    A node may have a `Column` instead, whose rows are read when they are asked for: `batch["image"]` reads all of them,
    `batch[:64]` reads 64, `batch.select(rows)` and `batch.held` read none.

    Args:
        values: node -> tensor, or column, of shape (N, *event_shape); arrays where columns of a file are yet to be
            read.
        index: Row labels of shape (N,), kept when rows are selected; 0..N-1 by default.
        labels: The same as the data frame has them, with names and levels: a pandas Index. None for rows that came
            without labels of their own.

    Raises:
        DataError: The tensors differ in their number of rows, or rows are selected by a single number.
        UnknownNodeError: There is no tensor of that name.

    Example:
        >>> batch = Batch({"x": torch.arange(4.0)})
        >>> batch[1:3]["x"], batch[1:3].index
        (tensor([1., 2.]), tensor([1, 2]))
    """

    def __init__(
        self, values: Mapping[str, Tensor | Column], index: Index | None = None, labels: pd.Index | None = None
    ) -> None:
        values = values.held if isinstance(values, Batch) else values
        counts = {name: value.shape[0] for name, value in values.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"All variables need the same number of rows, got {counts}.")
        self._values = dict(values)
        self.rows: int = next(iter(counts.values()), 0)
        self.index: Index = torch.arange(self.rows) if index is None else index
        self.labels = labels
        if len(self.index) != self.rows:
            raise DataError(f"The index has {len(self.index)} labels for {self.rows} rows.")

    @overload
    def __getitem__(self, key: str) -> Tensor: ...
    @overload
    def __getitem__(self, key: slice | Tensor | np.ndarray | list[int]) -> Batch: ...
    def __getitem__(self, key: str | slice | Tensor | np.ndarray | list[int]) -> Tensor | Batch:
        if isinstance(key, str):
            if key not in self._values:
                raise UnknownNodeError(f"There is no '{key}' among {list(self._values)}.")
            held = self._values[key]
            return held[:] if isinstance(held, Column) else held
        return self.select(key).loaded()

    @property
    def held(self) -> Mapping[str, Tensor | Column]:
        """node -> what is held of it: a tensor, or a column that is yet to be read."""
        return MappingProxyType(self._values)

    def loaded(self) -> Batch:
        """The same rows with every column as a tensor."""
        if not any(isinstance(value, Column) for value in self._values.values()):
            return self
        return Batch({name: self[name] for name in self._values}, self.index, self.labels)

    def select(self, key: slice | Tensor | np.ndarray | list[int]) -> Batch:
        """Some rows, whose columns are yet to be read.

        Raises:
            DataError: They are selected by a single number.
        """
        if isinstance(key, slice):
            labels = None if self.labels is None else self.labels[key]
            return Batch({name: _at(value, key) for name, value in self.held.items()}, self.index[key], labels)
        rows = torch.as_tensor(key).cpu()
        if rows.ndim != 1:
            raise DataError(
                f"Rows are selected with a slice, a list or a mask, got {key!r}. For one row: batch[i : i + 1]."
            )
        labels = None if self.labels is None else self.labels[rows.numpy()]
        return Batch({name: _at(value, rows) for name, value in self.held.items()}, _at(self.index, rows), labels)

    def prepare(self, *, progress: bool = False) -> Batch:
        """The same rows, once their columns had the chance to copy what is slow to read; see `Store.prepare`."""
        for column in self._values.values():
            if isinstance(column, Column):
                column.store.prepare(column.rows, progress=progress)
        return self

    def like(self, values: Mapping[str, Tensor | Column]) -> Batch:
        """Other values of the same rows, with their labels."""
        return Batch(values, self.index, self.labels)

    def blocks(self, size: int) -> Iterator[Batch]:
        """The rows in consecutive blocks of at most `size`; an empty batch is one empty block.

        Example:
            >>> [part.rows for part in Batch({"x": torch.arange(5.0)}).blocks(2)]
            [2, 2, 1]
        """
        for start in range(0, max(self.rows, 1), size):
            yield self[start : start + size]

    @classmethod
    def join(cls, parts: Iterable[Batch]) -> Batch:
        """The rows of several batches as one, in their order: undoes `blocks`.

        Raises:
            DataError: There are no parts.

        Example:
            >>> Batch.join(Batch({"x": torch.arange(5.0)}).blocks(2))["x"]
            tensor([0., 1., 2., 3., 4.])
        """
        parts = list(parts)
        if not parts:
            raise DataError("There are no batches to join.")
        tensors = [part.index for part in parts if isinstance(part.index, Tensor)]
        whole = len(tensors) == len(parts)
        index = torch.cat(tensors) if whole else np.concatenate([np.asarray(part.index) for part in parts])
        frames = [part.labels for part in parts if part.labels is not None]
        joined = frames[0].append(frames[1:]) if len(frames) == len(parts) else None
        return cls({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, index, joined)

    def walk(self, size: int, ask: Callable[[Batch], Tensor]) -> Tensor:
        """Apply `ask` to blocks of at most `size` rows and join the results: all rows at once may need too much memory.

        Example:
            >>> Batch({"x": torch.arange(5.0)}).walk(2, lambda part: 2 * part["x"])
            tensor([0., 2., 4., 6., 8.])
        """
        return torch.cat([ask(part) for part in self.blocks(size)])

    def __contains__(self, name: object) -> bool:
        return name in self._values  # a mapping's own would read the column

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {tuple(value.shape)}" for name, value in self.held.items())
        return f"{type(self).__name__}({shapes})"

    def _repr_html_(self) -> str:
        return self._as_html({})

    def _as_html(self, variables: Mapping[str, Variable]) -> str:
        """The first rows as a table for a notebook; `variables` name categories and units."""
        from causalcf.data.html import rows_html

        head = self[:ROWS]
        return rows_html(type(self).__name__, head, head.index.tolist(), self.rows, variables)


def _at(values: Any, rows: slice | Tensor) -> Any:
    """Some rows of a tensor, of a column that is yet to be read, or of an array."""
    if isinstance(values, Column):
        return values.select(rows)
    if isinstance(rows, slice):
        return values[rows]
    return values[rows.to(values.device)] if isinstance(values, Tensor) else values[rows.numpy()]
