"""Raw values as people have them: of which kind they are, and where there are none.

NumPy, pandas, polars, pyarrow and torch each have their own words for a number, a text, and nothing at all. Whatever
enters the library - a column, an action, a target - is read here, so that it means the same at every door.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import isfinite
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from causalcf.core.columns import Column
from causalcf.core.errors import DataError

__all__ = ["MARKS", "Kind", "Raw", "as_array", "as_number", "as_tensor", "label", "read_raw"]

Kind = Literal["numbers", "truths", "text", "dates", "durations", "mixed", "objects"]

WORDS = ("na", "n/a", "n.a.", "n/d", "nan", "-nan", "nat", "null", "(null)", "none", "nil", "missing", "(blank)")
SIGNS = ("-", "--", "---", "?", ".", "<na>", "\\n", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan")
EXCEL = ("#n/a", "#n/a n/a", "#na", "#null!", "#value!", "#div/0!", "#ref!", "#num!", "#name?")
MARKS = frozenset([*WORDS, *SIGNS, *EXCEL])
"""The marks for a missing value in spreadsheets and data bases, in small letters."""


@dataclass(frozen=True)
class Raw:
    """Values of one kind.

    Args:
        kind: Of the values; "mixed" for several kinds, "objects" for none that can be read.
        values: Numbers and truths as a tensor or array, NaN or None where there is none; text, and whatever else, as
            an array of text or of objects.
        dtype: Their type as it came.
        categories: The names that the column itself says it can hold, in order; None if it says none.
        ordered: Whether it says that these have an order.
    """

    kind: Kind
    values: Tensor | np.ndarray
    dtype: str
    categories: tuple[str, ...] | None = None
    ordered: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first; () for a single value."""
        return tuple(self.values.shape)

    @property
    def array(self) -> np.ndarray:
        """The values as an array."""
        if not isinstance(self.values, Tensor):
            return self.values
        x = self.values.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()  # NumPy has no bfloat16

    @cached_property
    def missing(self) -> np.ndarray:
        """True where a value is missing, bool, in the values' shape; a blank text counts as missing."""
        array = self.array
        if array.dtype.kind == "f":
            return np.asarray(np.isnan(array))
        if array.dtype.kind in "Mm":
            return np.asarray(np.isnat(array))
        if array.dtype.kind == "U":
            return np.asarray(np.char.strip(array) == "")
        return _each(_is_missing, array) if array.dtype.kind == "O" else np.zeros(array.shape, bool)

    @property
    def incomplete(self) -> np.ndarray:
        """Which rows lack any of their values, (N,), bool; a single value is one row."""
        gone = self.missing
        return np.asarray(gone.reshape(len(gone), -1).any(1)) if gone.ndim else gone.reshape(1)

    def require_whole(self, name: str) -> None:
        """Raise `DataError` if a value is missing."""
        rows = self.incomplete
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            raise DataError(
                f"'{name}' has no value in {int(rows.sum())} of {rows.size} rows (the first is row {first})."
                " Drop or name these first."
            )

    def numbers(self, name: str, article: str, remedy: str = "") -> Tensor:
        """The values as a tensor of their own type.

        Args:
            name: Of the column, for errors.
            article: The variable expected, such as "a Real".
            remedy: Advice; by default how these values are made numbers.

        Raises:
            DataError: They are no numbers.
        """
        if self.kind not in ("numbers", "truths"):
            raise DataError(f"'{name}' is {article}: expected numbers, got {self.what}. {remedy or self.remedy(name)}")
        if isinstance(self.values, Tensor):
            return self.values
        if self.values.dtype.kind == "O":  # truths, some of them missing
            self.require_whole(name)
            return torch.from_numpy(self.values.astype(bool))
        return as_tensor(self.values)

    def labels(self, name: str) -> np.ndarray:
        """The values as text.

        Raises:
            DataError: There is no value somewhere.
        """
        self.require_whole(name)
        array = self.array
        if array.dtype.kind == "U" or (array.dtype.kind == "O" and self.kind == "text"):
            return array.astype(str)
        return _each(label, array, object).astype(str)

    @property
    def what(self) -> str:
        """The kind in words, with an example."""
        there = self.array.reshape(-1)[~self.missing.reshape(-1)]
        example = f"for example {there[0]!s:.40}" if len(there) else "none of which has a value"
        match self.kind:
            case "dates" | "durations":
                return f"{self.dtype} values ({self.kind}, {example})"
            case "mixed":
                return self._mixture()
            case "text":
                return f"{self.dtype} values (text, for example {str(there[0])!r:.40})" if len(there) else "no text"
        return f"{self.dtype} values ({type(there[0]).__name__})" if len(there) else f"{self.dtype} values"

    def _mixture(self) -> str:
        """Which kind is the rarer one, and where its first value is."""
        kinds = _each(_kind_of, self.array, object).reshape(-1)
        there = ~self.missing.reshape(-1)
        found = kinds[there].tolist()
        counts = {kind: found.count(kind) for kind in ("text", "truths", "dates", "durations", "numbers")}
        rare, *_, most = sorted(filter(counts.get, counts), key=counts.__getitem__)
        first = int(np.flatnonzero(there & (kinds == rare))[0])
        value = self.array.reshape(-1)[first]
        return f"{rare} in {counts[rare]} of {there.size} rows (row {first}: {value!r:.40}), {most} in the others"

    def remedy(self, name: str) -> str:
        """The line of code that makes the values numbers."""
        match self.kind:
            case "dates":
                return "Say from which day they are counted: ccf.Real(unit='days since 2020-01-31')."
            case "durations":
                return f"Say that they are days, ccf.Real(unit='days'), or divide: df['{name}'] / pd.Timedelta('1h')."
            case "text" | "mixed":
                return f"Convert them, pd.to_numeric(df['{name}'], errors='coerce'), and drop or impute missing ones."
        return "Convert them, and drop or impute missing ones first."


# ---------------------------------------------------------------------- reading


def read_raw(name: str, values: Any) -> Raw:
    """Read raw values and find their kind.

    Args:
        name: Of the values, in errors.
        values: A tensor, an array (masked, of objects, of bytes), a column of pandas, polars or pyarrow, a list, or a
            single value. Tensors and arrays of numbers are passed on, not copied.

    Raises:
        DataError: Rows differ in length, or numbers are complex.

    Example:
        >>> from decimal import Decimal
        >>> raw = read_raw("price", [Decimal("1.50"), None])
        >>> raw.kind, raw.values.tolist()
        ('numbers', [1.5, nan])
    """
    if isinstance(values, Raw):
        return values
    if isinstance(values, Column):
        return _of_tensor(name, values[:])
    if isinstance(values, Tensor):
        return _of_tensor(name, values)
    library = type(values).__module__.partition(".")[0]
    if library == "pyarrow":
        return read_raw(name, values.to_pandas() if hasattr(values, "to_pandas") else values.as_py())
    if library == "polars" and hasattr(values, "to_list"):  # an expression has no values
        return _of_polars(name, values)
    if np.ma.isMaskedArray(values):
        return _of_masked(name, values)
    if hasattr(values, "isna") and not isinstance(getattr(values, "dtype", np.dtype(object)), np.dtype):
        return _of_extension(name, values)
    return _of_array(name, as_array(name, values))


def _of_tensor(name: str, x: Tensor) -> Raw:
    if x.is_complex():
        raise DataError(f"'{name}' holds complex numbers. Give a real one of them: x.real, x.imag or x.abs().")
    if x.is_quantized:
        raise DataError(f"'{name}' is a quantized tensor. Give a plain one: x.dequantize().")
    if x.is_nested or x.layout != torch.strided:
        layout, remedy = ("nested", "x.to_padded_tensor(0.0)") if x.is_nested else ("sparse", "x.to_dense()")
        raise DataError(f"'{name}' is a {layout} tensor. Give a plain one: {remedy}.")
    if x.is_meta:
        raise DataError(f"'{name}' is a tensor without values (device 'meta'). Give one with values.")
    kind: Kind = "truths" if x.dtype == torch.bool else "numbers"
    return Raw(kind, x, str(x.dtype).removeprefix("torch."))


def _of_array(name: str, array: np.ndarray) -> Raw:
    kind, dtype = array.dtype.kind, str(array.dtype)
    if kind in "fiu":
        return Raw("numbers", array, dtype)
    if kind == "b":
        return Raw("truths", array, dtype)
    if kind == "c":
        raise DataError(f"'{name}' holds complex numbers. Give a real one of them: x.real, x.imag or np.abs(x).")
    if kind == "U":
        return Raw("text", array, dtype)
    if kind in "Mm":
        return Raw("dates" if kind == "M" else "durations", array, dtype)
    if kind in "SOT":
        return _of_objects(name, array.astype(object), "object" if kind == "O" else dtype)
    return Raw("objects", array, dtype)


def _of_objects(name: str, array: np.ndarray, dtype: str) -> Raw:
    """An array of Python objects: numbers if all are, text if all are, ..."""
    flat = array.reshape(-1)
    if bytes in set(map(type, flat.tolist())):
        array = _each(lambda value: _decoded(name, value), array, object)
        flat = array.reshape(-1)
    there = flat[~_each(_is_missing, flat)]
    if len(there) and isinstance(there[0], np.ndarray | list | tuple | Tensor):  # a column of vectors, or of images
        return _of_array(name, as_array(name, [np.asarray(value) for value in flat]))
    kinds = {_kind_of(value) for value in there.tolist()} if len(there) else {"objects"}
    if kinds <= {"numbers", "truths"} and "numbers" in kinds:
        return Raw("numbers", _each(_number, array, np.float64), dtype)
    kind: Any = kinds.pop() if len(kinds) == 1 else "objects" if "objects" in kinds else "mixed"
    if kind == "truths" and len(there) == len(flat):
        array = array.astype(bool)
    return Raw(kind, array, dtype)


def _of_masked(name: str, values: np.ma.MaskedArray) -> Raw:
    """Read a masked array; masked entries have no value."""
    mask = np.ma.getmaskarray(values)
    array = np.asarray(values.data)
    if not mask.any() or array.dtype.names:
        return _of_array(name, array)
    if array.dtype.kind in "fiu":
        return Raw("numbers", np.where(mask, np.nan, array.astype(np.float64)), str(array.dtype))
    array = array.astype(object)
    array[mask] = None
    return _of_objects(name, array, str(values.dtype))


def _of_extension(name: str, column: Any) -> Raw:
    """A pandas column of a type of its own: categories, nullable numbers, Arrow's, dates with a time zone."""
    missing, dtype = np.asarray(column.isna()), column.dtype
    kind = getattr(dtype, "kind", "O")
    if hasattr(dtype, "categories") and hasattr(dtype, "ordered"):
        names = np.array([label(value) for value in dtype.categories], dtype=object)
        codes = np.asarray(column.cat.codes if hasattr(column, "cat") else column.codes)
        values = names[codes] if len(names) else np.full(codes.shape, None, dtype=object)
        values[missing] = None
        return Raw("text", values, "category", tuple(names), bool(dtype.ordered))
    if str(dtype).startswith("dictionary"):  # Arrow's word for categories
        import pandas as pd

        return _of_extension(name, pd.Categorical(column.to_numpy(dtype=object)))
    if kind in "iuf":
        whole = kind != "f" and not missing.any()
        values = column.to_numpy(dtype=np.dtype(f"{kind}8")) if whole else column.to_numpy(np.float64, na_value=np.nan)
        return Raw("numbers", values, str(dtype))
    if kind == "b" and not missing.any():
        return Raw("truths", column.to_numpy(dtype=bool), str(dtype))
    if kind in "Mm" or str(dtype).startswith("period"):
        values = np.asarray(column.astype(object), dtype=object).copy()
        values[missing] = None
        return Raw("durations" if kind == "m" else "dates", values, str(dtype))
    objects = np.array(column.to_numpy(dtype=object), dtype=object)
    objects[missing] = None
    return _of_objects(name, objects, str(dtype))


def _of_polars(name: str, column: Any) -> Raw:
    """A polars Series; its missing values are None."""
    dtype = column.dtype
    plain = dtype.is_float() or dtype.is_integer() or str(dtype) == "Boolean"
    if plain and not (str(dtype) == "Boolean" and column.null_count()):
        return _of_array(name, column.to_numpy())
    if dtype.is_nested():
        return _of_array(name, as_array(name, column.to_list()))
    objects = np.empty(len(column), dtype=object)
    objects[:] = column.to_list()
    raw = _of_objects(name, objects, str(dtype))
    if str(dtype).startswith("Enum"):
        return Raw(raw.kind, raw.values, "Enum", tuple(dtype.categories.to_list()))
    return raw


# ---------------------------------------------------------------------- single values


def label(value: Any) -> str:
    """A value as the name of a category: whole numbers without a point, dates as ISO 8601 has them.

    Example:
        >>> label(np.int64(3)), label(3.0), label("a"), label(True)
        ('3', '3', 'a', 'True')
    """
    value = as_number(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(int(value)) if isfinite(value) and value == int(value) else str(value)
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def as_number(value: Any) -> Any:
    """A zero-dimensional array or tensor as a Python number; anything else as it is."""
    return value.item() if isinstance(value, np.generic | np.ndarray | Tensor) and value.ndim == 0 else value


def _decoded(name: str, value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"'{name}' holds bytes that are not UTF-8 ({value!r:.40}: {error.reason}). Decode them as what they are:"
            f" df['{name}'].str.decode('cp1252')."
        ) from None


def _is_missing(value: Any) -> bool:
    """Whether an object is one of the many words for nothing."""
    if isinstance(value, str):
        return not value or value.isspace()
    if value is None or type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return True
    if isinstance(value, float | np.floating | Decimal):
        return bool(value != value)  # NaN alone is not itself
    return isinstance(value, np.datetime64 | np.timedelta64) and bool(np.isnat(value))


def _kind_of(value: Any) -> Kind:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "truths"
    if isinstance(value, Real | Decimal):
        return "numbers"
    if isinstance(value, datetime.timedelta | np.timedelta64):
        return "durations"
    dates = isinstance(value, datetime.date | datetime.time | np.datetime64) or type(value).__name__ == "Period"
    return "dates" if dates else "objects"


def _number(value: Any) -> float:
    try:
        return np.nan if _is_missing(value) else float(value)
    except OverflowError:
        raise DataError(f"{value} is too large a number: it has more than 308 digits.") from None


def _each(ask: Callable[[Any], Any], array: np.ndarray, dtype: Any = bool) -> np.ndarray:
    """Apply `ask` to each value; the result has the array's shape."""
    found = np.empty(array.size, dtype=dtype)
    for i, value in enumerate(array.reshape(-1).tolist() if array.dtype.kind != "M" else array.reshape(-1)):
        found[i] = ask(value)
    return found.reshape(array.shape)


# ---------------------------------------------------------------------- arrays


def as_array(name: str, values: Any) -> np.ndarray:
    """Raw values as an array; raises `DataError` if rows differ in length."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US" and isinstance(values, list | tuple) and array.ndim == 1:
            alike = all(isinstance(value, str | bytes) for value in values)
            # NumPy turns a number, or nothing, that stands among text into text.
            array = array if alike else np.array(values, dtype=object)
    except ValueError as error:
        raise DataError(f"'{name}' is not an array: {error} Give every row the same shape.") from None
    return array


def as_tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor, without torch's warning for read-only memory, which data frames give."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f" and size > 8:
        array = array.astype(np.float64)  # torch has no longer one
    elif kind == "u" and size > 1:
        array = array.astype(np.int64 if size < 8 or not array.size or array.max() < 2**63 else np.float64)
    native = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(native if native.flags.writeable else native.copy())
