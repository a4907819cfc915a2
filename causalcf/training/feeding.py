"""Minibatches of columns that are not in memory, read in the background while the step before is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from causalcf.core.columns import Column
from causalcf.data import Batch
from causalcf.mechanisms import Trainable

__all__ = ["all_rows", "feed", "rows_of", "settled_on"]

AHEAD = 2
"""Minibatches that are read before they are asked for."""

SHARE = 0.25
"""Share of a GPU's free memory that columns may take: then they stay there, as bytes."""

Given = Mapping[str, Tensor]


def feed(data: Batch, names: Sequence[str], parts: Sequence[Tensor]) -> Iterator[Given]:
    """For each part the values of the columns that have to be read, by name; what is in memory is left out.

    Args:
        data: The rows.
        names: Which nodes are needed.
        parts: Numbers of rows, each (B,), of one minibatch after another.
    """
    columns = {name: value for name, value in _columns(data).items() if name in names and not value.is_resident}
    if not columns:
        yield from ({} for _ in parts)
        return

    def read(rows: Tensor) -> Given:
        return {name: column.fetch(rows) for name, column in columns.items()}

    waiting: deque[Future[Given]] = deque()
    left = iter([part.cpu() for part in parts])
    with ThreadPoolExecutor(1) as pool:
        try:
            for _ in parts:
                while len(waiting) < AHEAD and (rows := next(left, None)) is not None:
                    waiting.append(pool.submit(read, rows))
                raw = waiting.popleft().result()
                yield {name: columns[name].convert(value) for name, value in raw.items()}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def settled_on(data: Batch, device: torch.device) -> Batch:
    """The rows with columns copied to a GPU as bytes, where they take up no more than a share of its free memory."""
    columns = _columns(data)
    if device.type != "cuda" or not columns:
        return data
    free, _ = torch.cuda.mem_get_info(device)
    if sum(value.nbytes for value in columns.values()) > SHARE * free:
        return data
    return data.like({**data.held, **{name: value.to(device).resident() for name, value in columns.items()}})


def rows_of(
    data: Batch, node: str, parents: Iterable[str], rows: Tensor | slice, given: Given | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """A node's values and its parents' in some rows; what was read of these rows already is taken as it is."""
    given = given or {}

    def values(name: str) -> Tensor:
        return given[name] if name in given else data.held[name][rows]

    return values(node), {parent: values(parent) for parent in parents}


def all_rows(data: Batch, node: str, parents: Iterable[str], trainable: Trainable) -> tuple[Tensor, dict[str, Tensor]]:
    """All rows of a node and its parents: columns yet to be read for a mechanism that takes them, else tensors."""
    values = data.held if trainable.takes_columns else data
    return values[node], {parent: values[parent] for parent in parents}  # type: ignore[return-value]


def _columns(data: Batch) -> dict[str, Column]:
    """The nodes of which rows are read when they are asked for."""
    return {name: value for name, value in data.held.items() if isinstance(value, Column)}
