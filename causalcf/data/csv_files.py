"""CSV files as people have them: any separator and encoding, blanks, quotes, and marks for what is missing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from causalcf.core.errors import DataError, MissingFileError
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.raw import MARKS

__all__ = ["read_csv"]

SEPARATORS = (",", ";", "\t", "|")
BEGINNINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Bytes that say in which encoding a file is written."""


def read_csv(
    path: str | Path,
    variables: Mapping[str, Variable] = MappingProxyType({}),
    *,
    values: Collection[str] | None = None,
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
        values: Columns that hold values; the others stay text as it is written, such as 007. All by default.
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
    header, columns = _parsed(path, text, separator)
    decimal = "," if separator in (";", "\t") else "."
    marks = {mark.strip() for mark in missing}
    return {
        name: _column(column, variables.get(name), marks, decimal)
        if values is None or name in values
        else np.array([cell.strip() for cell in column])
        for name, column in zip(header, columns, strict=True)
    }


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
        raise DataError(f"{path} holds NUL bytes: it is not text or in another encoding, such as --encoding utf-16-le.")
    return text.removeprefix("\ufeff")


def _parsed(path: Path, text: str, separator: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """The column names, and the columns as text."""
    before = csv.field_size_limit(len(text) + 1)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        rows = [(lines.line_num, row) for row in lines if any(cell and not cell.isspace() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{path}: line {lines.line_num} cannot be read: {error}. Check its quotes.") from None
    finally:
        csv.field_size_limit(before)
    header = [name.strip() for name in rows[0][1]]
    header[0] = header[0] or "Unnamed: 0"  # as pandas calls the row labels that it wrote itself
    ragged = [number for number, row in rows if len(row) != len(header)]
    if ragged:
        raise DataError(f"{path}: line {ragged[0]} does not have {len(header)} fields as the header has.")
    if len(rows) == 1:
        raise DataError(f"{path} has a header and no rows below it.")
    columns = list(zip(*(row for _, row in rows[1:]), strict=True))
    void = [i for i, name in enumerate(header) if not name and not any(cell.strip() for cell in columns[i])]
    header = [name for i, name in enumerate(header) if i not in void]
    _check_header(path, header)
    return header, [column for i, column in enumerate(columns) if i not in void]


def _check_header(path: Path, header: Sequence[str]) -> None:
    """Refuse columns without a name, or with the name of another."""
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if "" in header:
        raise DataError(f"{path}: column {header.index('') + 1} has no name in the header. Give it one.")
    if twice:
        where = [str(i) for i, name in enumerate(header, 1) if name == twice[0]]
        raise DataError(f"{path} has the column '{twice[0]}' twice (columns {' and '.join(where)}). Rename one.")


def _column(cells: Sequence[str], variable: Variable | None, missing: Collection[str], decimal: str) -> np.ndarray:
    """Numbers if all cells are, or are missing; booleans if all are true/false or yes/no; else text.

    Of a column that is declared to hold numbers, the cells that do are numbers, and the others stay text.
    """
    texts = ["" if cell.strip() in missing else cell.strip() for cell in cells]
    if isinstance(variable, Categorical):
        return np.array(texts)
    words = {text.lower() for text in set(texts)}
    if words <= {"true", "false"} or words <= {"yes", "no"}:
        return np.array([text.lower() in ("true", "yes") for text in texts])
    if isinstance(variable, Boolean) and not words <= {"0", "1"}:
        return np.array(texts)
    plain = texts
    if decimal == "," and not any("." in text for text in texts):
        plain = [text.replace(",", ".") for text in texts]
    numbers = [_number(text) for text in plain]
    strange = [i for i, number in enumerate(numbers) if number is None]
    if strange and variable is None:
        return np.array(texts)
    if strange:  # a number by declaration: what is none is for those to see who ask about its row
        return np.array([texts[i] if number is None else number for i, number in enumerate(numbers)], dtype=object)
    found = np.array(numbers, dtype=np.float64)
    # Marks alone, such as none and missing, are categories rather than numbers of which all are gone.
    return np.array(texts) if variable is None and np.isnan(found).all() and any(texts) else found


def _number(text: str) -> float | None:
    """A cell as a number, NaN if it is missing; None if it is neither."""
    if not text or text.lower() in MARKS:
        return np.nan
    try:
        return None if "_" in text else float(text)  # 1_000 is Python's own way to group digits
    except ValueError:
        return None
