"""CSV files as people have them: any separator and encoding, blanks, quotes, and marks for what is missing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from causalcf.core.errors import DataError, MissingFileError
from causalcf.variables import Variable
from causalcf.variables.codes import WORDS, Boolean, Categorical
from causalcf.variables.raw import MARKS

__all__ = ["read_csv"]

SEPARATORS = (",", ";", "\t", "|")
BEGINNINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Bytes that say in which encoding a file is written."""

OTHERS = {
    b"PK\x03\x04": "a workbook or another zip archive. Read it with pandas.read_excel(path)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook. Read it with pandas.read_excel(path)",
    b"\x1f\x8b": "compressed by gzip. Unpack it first",
    b"PAR1": "a Parquet file. Read it with pandas.read_parquet(path)",
}
"""Bytes that other kinds of files begin with -> the kind, and the remedy."""

TOLD = re.compile(r"sep=(.)\s*", re.IGNORECASE)
"""A first line in which Excel is told the separator."""

MARKS_OF_DECIMALS = (
    (",", ".", re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")),
    (".", ",", re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+")),
)
"""A mark that begins decimals, the other one, and the numbers in which it may group thousands just as well."""

CODE = re.compile(r"0\d+")
"""Digits that a number would lose: 00501 is a code."""


def read_csv(
    path: str | Path,
    variables: Mapping[str, Variable] = MappingProxyType({}),
    *,
    values: Collection[str] | None = None,
    encoding: str | None = None,
    missing: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The columns of a CSV file with a header line: numbers, booleans (true/false, yes/no) or text.

    The separator is told from the header: a comma, semicolon, tab or bar; so is, where commas do not separate, whether
    they begin the decimals. Blank lines are skipped. In a column of numbers a blank, and what spreadsheets write for
    nothing (NA, null, #N/A, ?, -), is missing. A column that holds anything else stays text, for `infer_variable` to
    judge; so does one of codes (00501), and one whose points or commas may group thousands.

    Args:
        path: The file.
        variables: node -> variable, as far as they are declared; a Categorical's column holds names, and
            stays text.
        values: Columns that hold values; the others stay text as it is written, such as 007. All by default.
        encoding: Such as "cp1252"; by default UTF-8, or the encoding that the file's first bytes state.
        missing: Further marks for "missing", in columns of any kind.

    Raises:
        MissingFileError: There is no such file.
        DataError: An empty file, lines of different length, a header or a column name twice, or another encoding.

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
    told = TOLD.fullmatch(first)
    text = text[text.index(first) + len(first) :] if told else text
    separator = told[1] if told else max(SEPARATORS, key=re.sub(r'"[^"]*"', "", first).count)
    header, columns = _parsed(path, text, separator)
    marks = {mark.strip() for mark in missing}
    texts = {
        name: ["" if cell.strip() in marks and (values is None or name in values) else cell.strip() for cell in column]
        for name, column in zip(header, columns, strict=True)
    }
    decimal = _decimal_mark(texts.values()) if separator != "," else "."
    return {
        name: _column(column, variables.get(name), decimal) if values is None or name in values else np.array(column)
        for name, column in texts.items()
    }


def _decoded(path: Path, encoding: str | None) -> str:
    """The file's text."""
    content = path.read_bytes()
    other = next((kind for start, kind in OTHERS.items() if content.startswith(start)), None)
    if other:
        raise DataError(f"{path} is no CSV file but {other}.")
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
    if not rows:
        raise DataError(f"{path} is empty: expected a line of column names.")
    header = [name.strip() for name in rows[0][1]]
    again = [number for number, row in rows[1:] if [name.strip() for name in row] == header]
    if again:
        raise DataError(f"{path}: line {again[0]} is the header again, as where files were joined. Delete it.")
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


def _decimal_mark(columns: Iterable[Sequence[str]]) -> str:
    """What begins the decimals in a file whose commas do not separate: "," or "."; "" where nothing tells.

    A column tells if its numbers have one mark only, and this one cannot group thousands.
    """
    found = set()
    for column in columns:
        for mark, other, grouped in MARKS_OF_DECIMALS:
            cells = [text for text in column if mark in text]
            numbers = bool(cells) and all(_number(text.replace(mark, ".")) is not None for text in column)
            if numbers and not any(other in text for text in column) and not all(map(grouped.fullmatch, cells)):
                found.add(mark)
    return found.pop() if len(found) == 1 else ""


def _column(texts: Sequence[str], variable: Variable | None, decimal: str) -> np.ndarray:
    """Numbers if all cells are, or are missing; booleans if all are true/false or yes/no; else text.

    Of a column that is declared to hold numbers, the cells that do are numbers, and the others stay text.
    """
    if isinstance(variable, Categorical):
        return np.array(texts)
    words = {text.lower() for text in set(texts)}
    if words <= WORDS.keys() and not words <= {"0", "1"}:
        return np.array([WORDS[text.lower()] for text in texts])
    if isinstance(variable, Boolean) and not words <= {"0", "1"}:
        return np.array(texts)
    if variable is None and any(map(CODE.fullmatch, words)):
        return np.array(texts)
    numbers = _numbers(texts, decimal)
    strange = [i for i, number in enumerate(numbers) if number is None]
    if strange and variable is None:
        return np.array(texts)
    if strange:  # a number by declaration: what is none is for those to see who ask about its row
        return np.array([texts[i] if number is None else number for i, number in enumerate(numbers)], dtype=object)
    found = np.array(numbers, dtype=np.float64)
    # Marks alone, such as none and missing, are categories rather than numbers of which all are gone.
    return np.array(texts) if variable is None and np.isnan(found).all() and any(texts) else found


def _numbers(texts: Sequence[str], decimal: str) -> list[float | None]:
    """Cells as numbers, NaN where they are missing; None for what is none, or may be two different ones."""
    for mark, other, grouped in MARKS_OF_DECIMALS:
        cells = [text for text in texts if mark in text]
        if cells and not any(other in text for text in texts):
            mixed = mark == "," or any(text.isdigit() for text in texts)  # no fixed number of decimals
            either = decimal == other or (not decimal and mixed and all(map(grouped.fullmatch, cells)))
            return [None if either and mark in text else _number(text.replace(mark, ".")) for text in texts]
    return [_number(text) for text in texts]


def _number(text: str) -> float | None:
    """A cell as a number, NaN if it is missing; None if it is neither."""
    if not text or text.lower() in MARKS:
        return np.nan
    try:
        return None if "_" in text else float(text)  # 1_000 is Python's own way to group digits
    except ValueError:
        return None
