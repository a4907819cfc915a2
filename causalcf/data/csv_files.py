"""CSV files as people have them: any separator and encoding, blanks, quotes, and marks for what is missing."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from causalcf.core.errors import DataError, MissingFileError
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.raw import MARKS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_csv"]

SEPARATORS = (",", ";", "\t", "|")
BEGINNINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Bytes that say in which encoding a file is written."""


def read_csv(
    path: str | Path,
    variables: Mapping[str, Variable] = MappingProxyType({}),
    *,
    encoding: str | None = None,
    missing: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The columns of a CSV file with a header line: numbers, booleans (true/false, yes/no) or text.

    The separator is told from the header: a comma, semicolon, tab or bar. Blank lines are skipped. In a column of
    numbers a blank, and what spreadsheets write for nothing (NA, null, #N/A, ?, -), is missing. A column that holds
    anything else stays text, for `infer_variable` to judge.

    Args:
        path: The file.
        variables: node -> variable, as far as they are declared; what a Categorical's column holds are names, and
            stays text.
        encoding: Such as "cp1252"; by default UTF-8, or what the file's first bytes say.
        missing: Further marks for "missing", in columns of any kind.

    Raises:
        MissingFileError: There is no such file.
        DataError: An empty file, lines of different length, a column name twice, or another encoding.

    Example:
        >>> read_csv("people.csv")["age"]  # doctest: +SKIP
        array([39., 50., 38.])
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}.")
    text = _decoded(path, encoding)
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise DataError(f"{path} is empty: expected a line of column names.")
    separator = max(SEPARATORS, key=re.sub(r'"[^"]*"', "", first).count)
    header, table = _parsed(path, text, separator)
    decimal = "," if separator in (";", "\t") else "."
    marks = {mark.strip() for mark in missing}
    return {name: _column(table.iloc[:, i], variables.get(name), marks, decimal) for i, name in enumerate(header)}


def _decoded(path: Path, encoding: str | None) -> str:
    """The file's text."""
    content = path.read_bytes()
    told = next((name for start, name in BEGINNINGS.items() if content.startswith(start)), None)
    try:
        text = content.decode(encoding or told or "utf-8")
    except LookupError:
        raise DataError(f"--encoding {encoding}: there is no such encoding. Try utf-8, utf-16 or cp1252.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding or 'UTF-8'} (byte 0x{content[error.start]:02x} at position {error.start}). Save"
            " it as 'CSV UTF-8', or name its encoding: --encoding cp1252 (Windows), read_csv(path, encoding='cp1252')."
        ) from None
    if "\0" in text:
        raise DataError(f"{path} holds NUL bytes: it is no text, or in another encoding, such as --encoding utf-16-le.")
    return text.removeprefix("\ufeff")


def _parsed(path: Path, text: str, separator: str) -> tuple[list[str], pd.DataFrame]:
    """The column names, and the lines below as text."""
    import pandas as pd

    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=None,
            dtype=object,
            keep_default_na=False,
            skipinitialspace=True,
            skip_blank_lines=True,
            encoding_errors="strict",
        )
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found is None:
            raise DataError(f"{path} cannot be read as a table: {str(error).strip()}. Check its quotes.") from None
        wanted, line, _ = found.groups()
        raise DataError(f"{path}: line {line} does not have {wanted} fields as the header has.") from None
    header = [str(name).strip() for name in table.iloc[0]]
    header[0] = header[0] or "Unnamed: 0"  # as pandas calls the row labels that it wrote itself
    table = table.iloc[1:].reset_index(drop=True)
    blank = (table.isna() | (table == "")).all(axis=1) if len(header) > 1 else table[0].isna()
    table = table[~blank].reset_index(drop=True)
    short = table.isna().any(axis=1)
    if short.any():
        line = _line_of(text, int(np.flatnonzero(short)[0]))
        raise DataError(f"{path}: line {line} does not have {len(header)} fields as the header has.")
    void = [i for i, name in enumerate(header) if not name and (table[i].str.strip() == "").all()]
    header = [name for i, name in enumerate(header) if i not in void]
    _check_header(path, header)
    return header, table.drop(columns=void)


def _line_of(text: str, row: int) -> int:
    """The number of the line of a row, if none has a line break in quotes."""
    filled = [number for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return filled[min(row + 1, len(filled) - 1)]


def _check_header(path: Path, header: Sequence[str]) -> None:
    """Refuse columns without a name, or with the name of another."""
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if "" in header:
        raise DataError(f"{path}: column {header.index('') + 1} has no name in the header. Give it one.")
    if twice:
        where = [str(i) for i, name in enumerate(header, 1) if name == twice[0]]
        raise DataError(f"{path} has the column '{twice[0]}' twice (columns {' and '.join(where)}). Rename one.")


def _column(cells: pd.Series, variable: Variable | None, missing: set[str], decimal: str) -> np.ndarray:
    """Numbers if all cells are, or are missing; booleans if all are true/false or yes/no; else text."""
    import pandas as pd

    cells = cells.str.strip()
    gone = cells.isin([*missing, ""]).to_numpy()
    if isinstance(variable, Categorical):
        return _text(cells, gone)
    small = cells.str.lower()
    words = set(small[~gone].unique())
    if not gone.any() and words and (words <= {"true", "false"} or words <= {"yes", "no"}):
        return small.isin(["true", "yes"]).to_numpy(dtype=bool)
    if isinstance(variable, Boolean):
        return _text(cells, gone)
    empty = gone | small.isin(MARKS).to_numpy()
    plain = cells
    if decimal == "," and not cells[~empty].str.contains(".", regex=False).any():
        plain = cells.str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(plain.where(~empty), errors="coerce").to_numpy(dtype=np.float64, copy=True)
    return _text(cells, gone) if (np.isnan(numbers) & ~empty).any() or empty.all() != gone.all() else numbers


def _text(cells: pd.Series, gone: np.ndarray) -> np.ndarray:
    """Text, nothing where it is missing."""
    array = cells.to_numpy(dtype=object, copy=True)
    array[gone] = ""
    return array.astype(str)
