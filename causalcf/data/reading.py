"""Columns checked against variables, as tensors."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from causalcf.core.columns import Column, as_column
from causalcf.core.errors import DataError
from causalcf.core.surroundings import callers_line
from causalcf.data.batch import Batch
from causalcf.data.frames import open_table
from causalcf.variables import Variable
from causalcf.variables.raw import read_raw

__all__ = ["numbers", "read"]


def read(
    data: Any,
    variables: Mapping[str, Variable],
    *,
    optional: frozenset[str] = frozenset(),
    gaps: Collection[str] = (),
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Batch:
    """Check raw data against the variables and give them as tensors.

    Args:
        data: Mapping of arrays, tensors or columns, or a table of pandas, polars, pyarrow or NumPy; rows first, data
            units. Columns that have labels are put in one order. Images may be bytes, or read when asked for: they are
            held as they are.
        variables: node -> variable; columns that are not among them are ignored with one warning.
        optional: Nodes that may be missing.
        gaps: Nodes that may have no value in some rows; these are NaN, and codes are then held as numbers.
        dtype: Floating type of the numbers.
        device: Where the tensors go.

    Raises:
        DataError: Missing nodes, wrong shapes, unequal lengths, NaN, labels that differ.
        SupportError: Values outside a variable's support.

    Example:
        >>> from causalcf.variables import Real
        >>> read({"t": [1, 2]}, {"t": Real()})["t"]
        tensor([1., 2.])
    """
    table = open_table(data)
    missing = [name for name in variables if name not in table.values and name not in optional]
    if missing:
        raise DataError(
            f"The data lack {missing}. The graph's nodes are {list(variables)}; the data have {list(table.values)}."
        )
    extra = [name for name in table.values if name not in variables]
    if extra:
        warnings.warn(f"Ignoring {extra}: not nodes of the graph.", stacklevel=callers_line())
    tensors = {
        name: variable.hold(name, table.values[name], dtype, torch.device(device), gaps=name in gaps)
        for name, variable in variables.items()
        if name in table.values
    }
    return Batch(tensors, table.index, table.labels)


def numbers(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Tensor | Column]:
    """The named columns as numbers, not checked against any variable; what is read when it is asked for stays so.

    Bytes of more than one dimension are pictures.

    Raises:
        DataError: A column holds no numbers.
    """
    values = data.held if isinstance(data, Batch) else data
    columns = {name: as_column(values[name]) if getattr(values[name], "ndim", 1) > 1 else None for name in names}
    return {
        name: read_raw(name, values[name]).numbers(name, "a column") if column is None else column
        for name, column in columns.items()
    }
