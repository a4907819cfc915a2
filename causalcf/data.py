"""Data as the library passes them: an immutable mapping of node -> tensor, rows first."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from causalcf.core.errors import CausalCFError, DataError, MissingFileError, UnknownNodeError
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.scalar import Real

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Batch", "infer_variable", "infer_variables", "read", "read_csv", "scalar_columns", "to_frame"]

Index = Tensor | np.ndarray


class Batch(Mapping[str, Tensor]):
    """A frozen mapping of node -> tensor in data units, all with the same number of rows.

    A name gives a tensor; anything else (a slice, an index tensor, a mask) selects rows and gives a
    smaller batch. As for any mapping, `len` counts the nodes; `rows` counts the rows.

    Args:
        values: node -> tensor of shape (N, *event_shape); arrays where columns of a file are yet to be read.
        index: Row labels of shape (N,), kept when rows are selected; 0..N-1 by default.

    Raises:
        DataError: The tensors differ in their number of rows, or rows are selected by a single number.
        UnknownNodeError: There is no tensor of that name.

    Example:
        >>> batch = Batch({"x": torch.arange(4.0)})
        >>> batch[1:3]["x"], batch[1:3].index
        (tensor([1., 2.]), tensor([1, 2]))
    """

    def __init__(self, values: Mapping[str, Tensor], index: Index | None = None) -> None:
        counts = {name: value.shape[0] for name, value in values.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"All variables need the same number of rows, got {counts}.")
        self._values = dict(values)
        self.rows: int = next(iter(counts.values()), 0)
        self.index: Index = torch.arange(self.rows) if index is None else index
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
            return self._values[key]
        if isinstance(key, slice):
            return Batch({name: value[key] for name, value in self.items()}, self.index[key])
        rows = torch.as_tensor(key).cpu()
        if rows.ndim != 1:
            raise DataError(
                f"Rows are selected with a slice, a list or a mask, got {key!r}. For one row: batch[i : i + 1]."
            )
        return Batch({name: _at(value, rows) for name, value in self.items()}, _at(self.index, rows))

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
        """The rows of several batches as one, in their order: what `blocks` took apart.

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
        return cls({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, index)

    def walk(self, size: int, ask: Callable[[Batch], Tensor]) -> Tensor:
        """What `ask` gives for each block of at most `size` rows, joined: for answers too large to compute at once.

        Example:
            >>> Batch({"x": torch.arange(5.0)}).walk(2, lambda part: 2 * part["x"])
            tensor([0., 2., 4., 6., 8.])
        """
        return torch.cat([ask(part) for part in self.blocks(size)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {tuple(value.shape)}" for name, value in self.items())
        return f"{type(self).__name__}({shapes})"


def _at(values: Any, rows: Tensor) -> Any:
    """Some rows of a tensor, or of an array."""
    return values[rows.to(values.device)] if isinstance(values, Tensor) else values[rows.numpy()]


def columns(data: Any) -> tuple[dict[str, Any], Index | None]:
    """The columns and row labels of a mapping or a data frame.

    Raises:
        DataError: `data` is neither.
    """
    if isinstance(data, Mapping):
        return dict(data), getattr(data, "index", None)
    if hasattr(data, "columns"):  # a pandas or polars frame; neither is a dependency of the core
        labels = np.asarray(data.index) if hasattr(data, "index") else np.arange(len(data))
        index = torch.from_numpy(labels.copy()) if labels.dtype.kind == "i" else labels
        return {str(name): np.asarray(data[name]) for name in data.columns}, index
    raise DataError(f"Expected a mapping of arrays or tensors, or a data frame, got {type(data).__name__}.")


def infer_variable(name: str, values: Any) -> Variable:
    """The variable that raw values suggest: bool -> Boolean, text -> Categorical, numbers -> Real.

    Images, vectors and narrower supports cannot be told from values, so they must be declared.

    Raises:
        DataError: The values have more than one dimension, are neither text, bool nor numbers, or are
            text with missing values or a single category.

    Example:
        >>> infer_variable("colour", ["red", "blue"])
        Categorical(unit='', categories=('blue', 'red'))
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1:
        raise DataError(
            f"'{name}' has shape {array.shape}; its variable cannot be inferred."
            f" Declare it: SCM(graph, variables={{'{name}': ccf.Image(c, h, w)}}) or ccf.Vector(d)."
        )
    match array.dtype.kind:
        case "b":
            return Boolean()
        case "f" | "i" | "u":
            return Real()
        case "U" | "O" | "T":
            return _categories_of(name, array)
    raise DataError(f"'{name}' holds {array.dtype} values; expected numbers, booleans or text.")


def _categories_of(name: str, labels: np.ndarray) -> Categorical:
    """The sorted labels as categories."""
    missing = sum(value is None or value == "" or value != value for value in labels.tolist())  # NaN is not itself
    if missing:
        raise DataError(f"'{name}' has no value in {missing} of {len(labels)} rows. Drop or name these first.")
    categories = sorted({str(value) for value in labels})
    if len(categories) < 2:
        raise DataError(f"'{name}' is {categories} in every row. Leave it out, or declare all of its categories.")
    return Categorical(categories)


def infer_variables(data: Any, names: list[str]) -> dict[str, Variable]:
    """`infer_variable` for each named column that the data have."""
    values, _ = columns(data)
    return {name: infer_variable(name, values[name]) for name in names if name in values}


def read(
    data: Any,
    variables: Mapping[str, Variable],
    *,
    optional: frozenset[str] = frozenset(),
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Batch:
    """Check raw data against the variables and give them as tensors.

    Args:
        data: Mapping of arrays or tensors, or a data frame; rows first, data units.
        variables: node -> variable; columns that are not among them are ignored with one warning.
        optional: Nodes that may be missing.
        dtype: Floating type of the numbers.
        device: Where the tensors go.

    Raises:
        DataError: Missing nodes, wrong shapes, unequal lengths, NaN.
        SupportError: Values outside a variable's support.

    Example:
        >>> read({"t": [1, 2]}, {"t": Real()})["t"]
        tensor([1., 2.])
    """
    values, index = columns(data)
    missing = [name for name in variables if name not in values and name not in optional]
    if missing:
        raise DataError(
            f"The data lack {missing}. The graph's nodes are {list(variables)}; the data have {list(values)}."
        )
    extra = [name for name in values if name not in variables]
    if extra:
        warnings.warn(f"Ignoring {extra}: not nodes of the graph.", stacklevel=3)
    tensors = {
        name: variable.read(name, values[name], dtype, torch.device(device))
        for name, variable in variables.items()
        if name in values
    }
    return Batch(tensors, index)


def scalar_columns(values: Mapping[str, Tensor], variables: Mapping[str, Variable]) -> dict[str, np.ndarray]:
    """Scalar nodes as arrays (N,), category names restored; a Vector's components as `name[0]`, ...

    Images are left out.
    """
    series: dict[str, np.ndarray] = {}
    for name, variable in variables.items():
        value = values[name].detach().cpu().numpy()
        if isinstance(variable, Categorical):
            series[name] = np.asarray(variable.categories)[value]
        elif value.ndim == 1:
            series[name] = value
        elif value.ndim == 2:
            series |= {f"{name}[{i}]": value[:, i] for i in range(value.shape[1])}
    return series


def read_csv(path: str | Path, variables: Mapping[str, Variable] = MappingProxyType({})) -> dict[str, np.ndarray]:
    """The columns of a CSV file with a header line: numbers, booleans (true/false) or text.

    Args:
        path: The file.
        variables: node -> variable, as far as they are declared; what a Categorical's column holds are names, and
            stays text.

    Raises:
        MissingFileError: There is no such file.
        DataError: An empty file, or lines of different length.

    Example:
        >>> read_csv("people.csv")["age"]  # doctest: +SKIP
        array([39., 50., 38.])
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    if not lines:
        raise DataError(f"{path} is empty: expected a line of column names.")
    header, *lines = lines
    ragged = [i for i, line in enumerate(lines, 2) if len(line) != len(header)]
    if ragged:
        raise DataError(f"{path}: line {ragged[0]} does not have {len(header)} fields as the header has.")
    texts = {name: [line[i] for line in lines] for i, name in enumerate(header)}
    return {
        name: np.array(column) if isinstance(variables.get(name), Categorical) else _parse(column)
        for name, column in texts.items()
    }


def _parse(texts: list[str]) -> np.ndarray:
    """Numbers if all texts are numbers (or empty: missing), booleans if all are true/false, else text."""
    if {text.lower() for text in texts} <= {"true", "false"}:
        return np.array([text.lower() == "true" for text in texts])
    try:
        return np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return np.array(texts)


def to_frame(values: Mapping[str, Tensor], variables: Mapping[str, Variable], index: Index) -> pd.DataFrame:
    """Scalar nodes as a data frame in data units, with category names and row labels restored.

    Images are left out; a Vector becomes one column per component (`name[0]`, ...).

    Raises:
        CausalCFError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise CausalCFError("to_frame() needs pandas: pip install 'causalcf[pandas]'.") from None
    series = scalar_columns(values, variables)
    return pd.DataFrame(series, index=pd.Index(np.asarray(index)))
