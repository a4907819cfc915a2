"""Tables of other libraries: their columns and row labels taken, and given back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.data.batch import Batch, Index
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RawTable", "align", "columns", "open_table", "scalar_columns", "to_frame"]


@dataclass(frozen=True)
class RawTable:
    """Raw columns, in one order of rows.

    Args:
        values: name -> column, yet to be read as a variable.
        index: Row labels, (N,); None if there are none.
        labels: The same as a pandas Index, if they came as one.
    """

    values: dict[str, Any]
    index: Index | None = None
    labels: pd.Index | None = None


def open_table(data: Any) -> RawTable:
    """The columns and row labels of a mapping, or of a table of another library.

    Raises:
        DataError: It is neither, two columns have one name, or the labels of columns differ.
    """
    library = type(data).__module__.partition(".")[0]
    if library == "polars" and hasattr(data, "collect"):
        data = data.collect()
    if isinstance(data, Batch):
        return RawTable(dict(data.held), data.index, data.labels)
    if isinstance(data, Mapping):
        return _aligned(dict(data))
    names = _names(data)
    if names is None:
        if hasattr(data, "compute"):  # of dask, for example
            raise DataError(f"Got a lazy {type(data).__name__}. Give its rows: data.compute().")
        raise DataError(
            f"Expected a mapping of arrays or tensors, or a data frame, got {type(data).__name__}."
            " Name its columns: {'x': ..., 'y': ...}; items one after another, as a torch Dataset has them, are read by"
            " ccf.datasets.from_items."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"The data have the columns {twice} more than once. Rename all but one of each.")
    if not hasattr(data, "iloc"):  # polars, pyarrow, NumPy: rows without labels
        return RawTable({name: data[name] for name in names})
    values = {name: _column(data.iloc[:, i]) for i, name in enumerate(names)}
    return RawTable(values, _index(data.index), data.index)


def columns(data: Any) -> tuple[dict[str, Any], Index | None]:
    """The columns and row labels of a mapping, or of a table of another library; raises as `open_table` does."""
    table = open_table(data)
    return table.values, table.index


def _names(data: Any) -> list[str] | None:
    """The names of a table's columns; None if it is not a table."""
    if isinstance(data, np.ndarray):
        return None if data.dtype.names is None else list(data.dtype.names)
    found = getattr(data, "column_names", None)  # pyarrow
    if found is None:
        found = getattr(data, "columns", None)
    lazy = hasattr(data, "compute") and not hasattr(data, "collect")
    return None if found is None or lazy or not hasattr(data, "__getitem__") else [str(name) for name in found]


def _column(series: Any) -> Any:
    """A pandas column without its labels: an array, or an extension array where its type means more."""
    return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array


def _index(labels: Any) -> Index:
    """Row labels as a tensor if they are whole numbers, else as an array."""
    array = np.asarray(labels)
    return torch.from_numpy(array.astype(np.int64)) if array.dtype.kind == "i" else array


def _is_labelled(values: Any) -> bool:
    """Whether values are a column, or columns, of pandas."""
    return hasattr(values, "iloc") and hasattr(values, "index")


def _aligned(values: dict[str, Any]) -> RawTable:
    """Columns of a mapping; those with labels in the order of the first one that has them."""
    named = {name: column for name, column in values.items() if _is_labelled(column)}
    if not named:
        return RawTable(values)
    first, labels = next((name, column.index) for name, column in named.items())
    for name, column in named.items():
        if len(column) != len(labels):
            counts = {first: len(labels), name: len(column)}
            raise DataError(f"All variables need the same number of rows, got {counts}.")
        ordered = align(f"'{name}'", column, labels, f"those of '{first}'")
        values[name] = _column(ordered) if hasattr(ordered, "array") else ordered.to_numpy()
    counts = {name: len(column) for name, column in values.items() if hasattr(column, "__len__")}
    whole = set(counts.values()) == {len(labels)}
    return RawTable(values, _index(labels) if whole else None, labels if whole else None)


def align(name: str, values: Any, labels: pd.Index | None, whose: str = "those of the rows") -> Any:
    """Values by their labels in the order of the rows; values without labels stay as they are.

    Args:
        name: Of the values, for the error.
        values: Anything; a Series or a data frame has labels.
        labels: The rows' own; None if they have none: values labelled by row numbers are put in their order then.
        whose: Owner of the labels, for the error.

    Raises:
        DataError: The values lack labels of rows, or have one twice.

    Example:
        >>> import pandas as pd
        >>> dose = pd.Series([1.0, 2.0], index=["bo", "anna"])
        >>> align("dose", dose, pd.Index(["anna", "bo"])).tolist()
        [2.0, 1.0]
    """
    if not _is_labelled(values):
        return values
    own = values.index
    if labels is None:  # rows without labels have numbers
        numbers = type(own)(range(len(own))) if own.dtype.kind in "iu" and own.is_unique else own
        return values if set(own) != set(numbers) or own.equals(numbers) else values.iloc[own.get_indexer(numbers)]
    if own.equals(labels):
        return values
    at = own.get_indexer(labels) if own.is_unique else np.full(1, -1)
    if len(at) and (at < 0).any():
        raise DataError(
            f"The labels of {name} are not {whose}: {_shown(own)} and {_shown(labels)}. Give each row's label once, or"
            " values without labels, in the order of the rows: series.to_numpy()."
        )
    return values.iloc[at]


def _shown(labels: Any) -> str:
    """The first labels, for an error."""
    first = ", ".join(repr(label) for label in labels[:3].tolist())
    return f"[{first}{', ...' if len(labels) > 3 else ''}]"


# ---------------------------------------------------------------------- giving back


def scalar_columns(values: Mapping[str, Tensor], variables: Mapping[str, Variable]) -> dict[str, np.ndarray]:
    """Scalar nodes as arrays (N,), category names restored; a Vector's components as `name[0]`, ...

    Images are left out. Where a category or a Boolean has no value stands None.
    """
    series: dict[str, np.ndarray] = {}
    for name, variable in variables.items():
        value = values[name].detach().cpu().numpy()
        if variable.discrete and value.dtype.kind == "f":
            series[name] = _with_gaps(value, variable)
        elif isinstance(variable, Categorical):
            series[name] = np.asarray(variable.categories)[value]
        elif value.ndim == 1:
            series[name] = value
        elif value.ndim == 2:
            series |= {f"{name}[{i}]": value[:, i] for i in range(value.shape[1])}
    return series


def _with_gaps(codes: np.ndarray, variable: Variable) -> np.ndarray:
    """Names, or truths, of codes (N,) some of which are NaN."""
    there = ~np.isnan(codes)
    found = np.full(len(codes), None, dtype=object)
    whole = codes[there].astype(int)
    found[there] = np.asarray(variable.categories)[whole] if isinstance(variable, Categorical) else whole.astype(bool)
    return found


def to_frame(
    values: Mapping[str, Tensor], variables: Mapping[str, Variable], index: Index, labels: pd.Index | None = None
) -> pd.DataFrame:
    """Scalar nodes as a data frame in data units, with category names and row labels restored.

    Images are left out; a Vector becomes one column per component (`name[0]`, ...).

    Args:
        values: node -> tensor.
        variables: node -> variable.
        index: Row labels.
        labels: The same with names and levels, if they came so.
    """
    import pandas as pd

    series = scalar_columns(values, variables)
    return pd.DataFrame(series, index=pd.Index(np.asarray(index)) if labels is None else labels)
