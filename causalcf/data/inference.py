"""The variable that a column suggests, the reason, and the doubt: no guess is silent."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalcf.core.errors import CausalCFWarning, DataError
from causalcf.data.frames import open_table
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical, shortened
from causalcf.variables.ordinal import Ordinal
from causalcf.variables.raw import MARKS, Raw, read_raw
from causalcf.variables.scalar import Real

__all__ = ["Inferred", "infer", "infer_variable", "infer_variables", "warn_of"]

ENOUGH = 30
"""Rows from which on a column's values say something about what it is."""

FEW = 20
"""Different whole numbers up to which a column may hold counts, grades or codes."""

MANY = 100
"""Categories from which on one asks whether they are categories."""

NUMBER = re.compile(
    r"[^\w+\-.]{0,2}[-+]?\d[\d.,'\u00a0 ]*(?:e[-+]?\d+)?\s*"
    r"(?:[%$€£¥]|(?!st$|nd$|rd$|th$)[a-zA-Zµ°]{1,4})?",
    re.IGNORECASE,
)
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})(?:[T ].*)?"
    r"|\d{1,2}[- ][A-Za-z]{3,9}[- ]\d{2,4}|[A-Za-z]{3,9} \d{1,2}, \d{4}|\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
)
NAMED_ID = re.compile(r"(?:^|[_\W])(?:id|uuid|guid|key|index|idx|nr|no)$|^(?:id|row)s?(?:[_\W]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Inferred:
    """The variable that was inferred for a column, and why.

    Args:
        variable: The variable.
        why: The reason, found in the column.
        doubt: The reason against it, and the line that settles it; empty if there is none.
    """

    variable: Variable
    why: str
    doubt: str = ""


def infer_variable(name: str, values: Any) -> Variable:
    """The variable that raw values suggest: bool -> Boolean, text -> Categorical, numbers -> Real.

    A column of pandas' type `category` is a Categorical whatever its categories are, an Ordinal if they are ordered.
    Images, vectors and narrower supports cannot be told from values, so they must be declared.

    Args:
        name: The column, for errors.
        values: Whatever `raw.read_raw` takes.

    Raises:
        DataError: The values have more than one dimension, are dates, of several kinds, neither text, bool nor numbers;
            or text with missing values, a single category, or numbers, dates or names of rows written as text.

    Warns:
        CausalCFWarning: The values may be something else, such as codes, counts or row numbers.

    Example:
        >>> infer_variable("colour", ["red", "blue"])
        Categorical(unit='', categories=('blue', 'red'))
    """
    found = inferred(name, values)
    if found.doubt:
        warnings.warn(found.doubt, CausalCFWarning, stacklevel=2)
    return found.variable


def infer(data: Any, names: Iterable[str]) -> dict[str, Inferred]:
    """Infer the variable of each named column that the data have; the caller has to warn of doubts."""
    values = open_table(data).values
    return {name: inferred(name, values[name]) for name in names if name in values}


def infer_variables(data: Any, names: Iterable[str]) -> dict[str, Variable]:
    """`infer_variable` for each named column that the data have."""
    values = open_table(data).values
    return {name: infer_variable(name, values[name]) for name in names if name in values}


def inferred(name: str, values: Any) -> Inferred:
    """The variable that raw values suggest, with reason and doubt; raises as `infer_variable` does."""
    raw = read_raw(name, values)
    if len(raw.shape) != 1:
        raise DataError(
            f"'{name}' has shape {raw.shape}; its variable cannot be inferred."
            f" Declare it: SCM(graph, variables={{'{name}': ccf.Image(c, h, w)}}) or ccf.Vector(d)."
        )
    match raw.kind:
        case "truths":
            raw.require_whole(name)
            return Inferred(Boolean(), "true or false", _constant(name, raw, "ccf.Boolean()"))
        case "numbers":
            return _of_numbers(name, raw)
        case "text":
            return _of_text(name, raw)
    if not raw.missing.all() and raw.kind == "mixed":
        raise DataError(f"'{name}' is {raw.what}. {raw.remedy(name)} If these are categories, {_line(name)}")
    if raw.missing.all():
        raw.require_whole(name)
    raise DataError(f"'{name}' holds {raw.what}; expected numbers, booleans or text. {raw.remedy(name)}")


def _line(name: str, variable: str = "ccf.Categorical([...])") -> str:
    """The line of code that settles a column's variable."""
    return f"declare it: SCM(graph, variables={{'{name}': {variable}}})."


def _constant(name: str, raw: Raw, variable: str) -> str:
    array = raw.array
    if len(array) < ENOUGH or (array != array[0]).any():
        return ""
    return (
        f"'{name}' is {array[0].item()!r} in every one of {len(array)} rows: nothing can be learned about it, nor from"
        f" it. Leave it out of the graph, or {_line(name, variable)}"
    )


# ---------------------------------------------------------------------- numbers


def _of_numbers(name: str, raw: Raw) -> Inferred:
    """A Real; numbers of which there are few, or one for each row, may be something else."""
    x = raw.array.astype(np.float64)
    x = x[np.isfinite(x)]
    if not len(x):
        return Inferred(Real(), "numbers")
    why = f"numbers, {x.min():.6g} .. {x.max():.6g}"
    if len(x) < ENOUGH:
        return Inferred(Real(), why)
    return Inferred(Real(), why, _constant(name, raw, "ccf.Real()") or _row_number(name, x) or _whole_numbers(name, x))


def _row_number(name: str, x: np.ndarray) -> str:
    """Whole numbers, each once, without a gap or under the name of an identifier."""
    whole = bool((x == np.round(x)).all())
    if not whole or len(np.unique(x)) < len(x):
        return ""
    if x.max() - x.min() != len(x) - 1 and not NAMED_ID.search(name):
        return ""
    return (
        f"'{name}' has another whole number in each of {len(x)} rows ({x.min():.6g} .. {x.max():.6g}), as row numbers"
        f" and identifiers have; taken as a quantity. Leave it out of the graph, or {_line(name, 'ccf.Real()')}"
    )


def _whole_numbers(name: str, x: np.ndarray) -> str:
    """Few different numbers: codes, grades, counts."""
    found, counts = np.unique(x, return_counts=True)
    shown = [int(value) if value == round(value) else float(value) for value in found[: FEW + 1].tolist()]
    grades = f"ccf.Ordinal({shown})"
    if len(found) == 2:
        what = "ccf.Boolean()" if shown == [0, 1] else grades
        return (
            f"'{name}' holds only {shown[0]} and {shown[1]}: as the quantity it is taken for, answers lie between and"
            f" beyond. If these are two states, {_line(name, what)} If not, ccf.Real() says so."
        )
    if (found != np.round(found)).any():
        return ""
    often = len(found) * 2 <= len(x)
    counted = bool(found[0] >= 0 and often and (len(found) <= FEW or counts.max() > len(x) / 10))
    graded = len(found) <= FEW and len(found) * 5 <= len(x)
    if not (graded or counted):
        return ""
    told = "ccf.Count()" if counted else grades
    others = [f"grades are {grades}"] * (counted and graded)
    return (
        f"'{name}' holds {len(found)} different whole numbers ({found[0]:.6g} .. {found[-1]:.6g}), taken as a quantity"
        f" with everything between. If they {'count something' if counted else 'are grades'}, {_line(name, told)[:-1]};"
        f" {'; '.join([*others, 'ccf.Real() says that they are a quantity'])}."
    )


def sentinel(x: np.ndarray) -> float | None:
    """A value that stands far from all others and is there again and again, as -9999 for "missing" is.

    Example:
        >>> sentinel(np.array([-9999.0, -9999.0, *np.linspace(0, 1, 50)]))
        -9999.0
    """
    low, high = x.min(), x.max()
    rest = x[(x > low) & (x < high)]
    if len(rest) < ENOUGH // 2:
        return None
    least, most = rest.min(), rest.max()
    for value, gap in ((low, least - low), (high, high - most)):
        if (x == value).sum() < 2:
            continue
        nines = re.fullmatch(r"-?99+", f"{value:.10g}") is not None
        coded = nines and (gap > most - least or (value < 0 <= least))
        if gap > 3 * (most - least) or coded or (value == -1 and least >= 0 and (rest != np.round(rest)).any()):
            return float(value)
    return None


def warn_of(data: Any, variables: Mapping[str, Variable]) -> None:
    """Warn of columns of numbers, declared or not, in which a mark for "missing" hides.

    Warns:
        CausalCFWarning: Names the column, the value, and the line that makes it missing.
    """
    values = open_table(data).values
    for name, variable in variables.items():
        if variable.discrete or variable.event_shape or name not in values:
            continue
        raw = read_raw(name, values[name])
        if raw.kind != "numbers" or len(raw.shape) != 1:
            continue
        x = raw.array
        x = x if x.dtype.kind == "f" else x.astype(np.float64)
        finite = np.isfinite(x)
        x = x if finite.all() else x[finite]
        mark = sentinel(x) if len(x) >= ENOUGH else None
        if mark is not None:
            rows = int((x == mark).sum())
            warnings.warn(
                f"'{name}' is {mark:.10g} in {rows} of {len(x)} rows, far from all other values: if that stands for a"
                f" missing value, it rules the fit of all others. Drop these rows, df[df['{name}'] != {mark:.10g}], or"
                " impute them.",
                CausalCFWarning,
                stacklevel=4,
            )


# ---------------------------------------------------------------------- text


def _of_text(name: str, raw: Raw) -> Inferred:
    """A Categorical of the sorted labels, or of those that the column's type has; an Ordinal if they are ordered."""
    raw.require_whole(name)
    if raw.categories is not None and len(raw.categories) > 1:
        kind = Ordinal if raw.ordered else Categorical
        why = f"the column's own {'ordered ' if raw.ordered else ''}categories"
        return Inferred(kind(raw.categories), why, _many(name, raw.labels(name), list(raw.categories)))
    labels = raw.labels(name)
    found = sorted(set(labels.tolist()))
    if len(found) < 2:
        raise DataError(f"'{name}' is {found} in every row. Leave it out, or declare all of its categories.")
    doubts = [
        _as_dates(name, labels, found),
        _as_numbers(name, labels, found),
        _many(name, labels, found),
        _marked(name, labels, found),
        _alike(name, found),
    ]
    return Inferred(Categorical(found), f"text, {len(found)} different", " ".join(filter(None, doubts)))


def _share(labels: np.ndarray, found: list[str], fits: Callable[[str], Any]) -> tuple[float, list[str]]:
    """Share of the rows whose text fits, and the different texts that do."""
    fitting = [text for text in found if fits(text.strip())]
    return float(np.isin(labels, fitting).mean()) if fitting else 0.0, fitting


def _first(labels: np.ndarray, texts: list[str]) -> str:
    """Where one of some texts is first, and which."""
    at = int(np.flatnonzero(np.isin(labels, texts))[0])
    return f"row {at}: {labels[at].item()!r:.40}"


def _as_dates(name: str, labels: np.ndarray, found: list[str]) -> str:
    share, dates = _share(labels, found, DATE.fullmatch)
    if share < 0.9:
        return ""
    raise DataError(
        f"'{name}' holds dates or times as text ({_first(labels, dates)}): {len(found)} different ones, which are no"
        f" categories. {Raw('dates', labels, 'text').remedy(name)} If they are categories, {_line(name)}"
    )


def _is_plain(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _as_numbers(name: str, labels: np.ndarray, found: list[str]) -> str:
    """Numbers as text are names if they are few; if they are many, they are numbers."""
    numbers = _share(labels, found, _is_plain)[1]
    share, alike = _share(labels, found, lambda text: _is_plain(text) or NUMBER.fullmatch(text))
    marks = [text for text in found if text not in alike]
    written = [text for text in alike if text not in numbers]
    if len(numbers) <= FEW and len(alike) <= FEW:
        if written and share == 1:
            return (
                f"'{name}' is text that looks like numbers ({_first(labels, written)}): taken as {len(found)}"
                " categories. If they are numbers, write them plainly, as 1234.5; if not,"
                f" {_line(name, shortened_variable(found))}"
            )
        return ""
    if share < 0.5 or len(marks) > FEW:
        return ""
    if marks:
        rows = int(np.isin(labels, marks).sum())
        raise DataError(
            f"'{name}' is text in {rows} of {len(labels)} rows ({_first(labels, marks)}), numbers in the others. If"
            " that stands for a missing value, say so: read_csv(path, missing=[...]), --missing, or"
            f" pd.to_numeric(df['{name}'], errors='coerce'); then drop or impute it. If these are categories,"
            f" {_line(name)}"
        )
    if written:
        comma = all("." not in text and re.fullmatch(r"[^,]*,\d{1,2}\D*|[^,]*", text) for text in written)
        plain = "str.replace(',', '.')" if comma else "str.replace(r'[^0-9.eE+-]', '', regex=True)"
        raise DataError(
            f"'{name}' is text that looks like numbers ({_first(labels, written)}). Write them plainly, as 1234.5:"
            f" pd.to_numeric(df['{name}'].{plain}). If these are categories, {_line(name)}"
        )
    raise DataError(
        f"'{name}' is text, but all of its {len(found)} different values are numbers ({_first(labels, found)})."
        f" Convert them: pd.to_numeric(df['{name}']). If these are categories, {_line(name)}"
    )


def shortened_variable(found: list[str]) -> str:
    """A Categorical of these names, as code."""
    return f"ccf.Categorical({shortened(found)})"


def _many(name: str, labels: np.ndarray, found: list[str]) -> str:
    """Raise if a text column names rows, or has hundreds of categories, which are rarely meant."""
    there = len(np.unique(labels))
    if len(labels) >= ENOUGH and there == len(labels):
        raise DataError(
            f"'{name}' is text with another value in each of {len(labels)} rows (row 0: {labels[0].item()!r:.40}): it"
            f" names the rows and does not cause anything. Leave it out of the graph, or {_line(name)}"
        )
    if len(labels) >= 2 * ENOUGH and there > len(labels) / 2:
        raise DataError(
            f"'{name}' is text with {there} different values in {len(labels)} rows (row 0: {labels[0].item()!r:.40}):"
            f" too many to learn anything about. Leave it out of the graph, group them, or {_line(name)}"
        )
    if len(found) <= MANY:
        return ""
    return (
        f"'{name}' is text with {len(found)} different values (row 0: {labels[0].item()!r:.40}), taken as as many"
        f" categories. If that is not meant, convert it; if it is, {_line(name)}"
    )


def _marked(name: str, labels: np.ndarray, found: list[str]) -> str:
    """Text in which a spreadsheet's word for nothing stands among the categories."""
    marks = [text for text in found if text.strip().lower() in MARKS]
    if not marks:
        return ""
    rows = int(np.isin(labels, marks).sum())
    return (
        f"'{name}' holds {marks} in {rows} of {len(labels)} rows ({_first(labels, marks)}), taken as a category. If"
        f" that stands for a missing value, say so: read_csv(path, missing={marks}), --missing, or"
        f" df['{name}'].replace({marks}, None); if not, {_line(name, shortened_variable(found))}"
    )


def _alike(name: str, found: list[str]) -> str:
    """Categories that differ in capitals or blanks alone."""
    groups: dict[str, list[str]] = {}
    for text in found:
        groups.setdefault(" ".join(text.lower().split()), []).append(text)
    twins = [group for group in groups.values() if len(group) > 1]
    if not twins:
        return ""
    return (
        f"'{name}' has categories that differ in capitals or blanks alone, {twins[0]}. If they are one, write them"
        f" alike: df['{name}'].str.strip().str.lower(); if not, {_line(name, shortened_variable(found))}"
    )
