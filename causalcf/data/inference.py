"""The variable that a column suggests, the reason, and the doubt: no guess is silent."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from causalcf.core.errors import CausalCFWarning, DataError
from causalcf.core.surroundings import callers_line
from causalcf.data.frames import open_table
from causalcf.data.inferred import ENOUGH, FEW, Inferred, line
from causalcf.data.text import of_text
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean
from causalcf.variables.count import Count
from causalcf.variables.days import unit_of_days
from causalcf.variables.raw import Raw, read_raw
from causalcf.variables.scalar import Interval, Real

__all__ = ["NAMED_ID", "infer", "infer_variable", "infer_variables", "pile", "sentinel", "warn_of"]

PILE = 0.1
"""Least share of the rows that makes one value a place of its own."""

OFTEN = 5.0
"""How many times as often as the next one it is there."""

SEEN = 10_000
"""Most other rows that are looked at."""

NAMED_ID = re.compile(r"(?:^|[_\W])(?:id|uuid|guid|key|index|idx|nr|no)$|^(?:id|row)s?(?:[_\W]|$)", re.IGNORECASE)


def infer_variable(name: str, values: Any) -> Variable:
    """The variable that raw values suggest: bool -> Boolean, text -> Categorical, numbers -> Real.

    A column of pandas' type `category` is a Categorical whatever its categories are, an Ordinal if they are ordered.
    Dates are days since the first one, `Real(unit="days since 2020-01-31")`, durations are days. Images, vectors and
    narrower supports cannot be told from values, so they must be declared.

    Args:
        name: The column, for errors.
        values: Whatever `raw.read_raw` takes.

    Raises:
        DataError: The values have more than one dimension, are of several kinds, or of none that can be read; or text
            with missing values, a single category, or names of rows, or numbers or dates that may be read in two ways.

    Warns:
        CausalCFWarning: The values may be something else, such as codes, counts or row numbers.

    Example:
        >>> infer_variable("colour", ["red", "blue"])
        Categorical(unit='', categories=('blue', 'red'))
    """
    found = inferred(name, values)
    if found.doubt:
        warnings.warn(found.doubt, CausalCFWarning, stacklevel=callers_line())
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
    # An image or a vector need not be read to be refused.
    raw = None if getattr(values, "ndim", 1) > 1 else read_raw(name, values)
    if raw is None or len(raw.shape) != 1:
        shape = tuple(values.shape) if raw is None else raw.shape
        raise DataError(
            f"'{name}' has shape {shape}; its variable cannot be inferred."
            f" Declare it: SCM(graph, variables={{'{name}': ccf.Image(c, h, w)}}) or ccf.Vector(d)."
        )
    match raw.kind:
        case "truths":
            raw.require_whole(name)
            return Inferred(Boolean(), "true or false", _constant(name, raw, "ccf.Boolean()"))
        case "numbers":
            return _of_numbers(name, raw)
        case "text":
            return of_text(name, raw)
        case "dates" | "durations":
            return _of_days(name, raw)
    if not raw.missing.all() and raw.kind == "mixed":
        raise DataError(f"'{name}' is {raw.what}. {raw.remedy(name)} If these are categories, {line(name)}")
    if raw.missing.all():
        raw.require_whole(name)
    raise DataError(f"'{name}' holds {raw.what}; expected numbers, booleans, dates or text. {raw.remedy(name)}")


def _of_days(name: str, raw: Raw) -> Inferred:
    """Days: the length of a duration, or since the first date."""
    if raw.missing.all():
        raw.require_whole(name)
    return Inferred(Real(unit=unit_of_days(name, raw)), raw.kind)


def _constant(name: str, raw: Raw, variable: str) -> str:
    array = raw.array
    if len(array) < ENOUGH or (array != array[0]).any():
        return ""
    return (
        f"'{name}' is {array[0].item()!r} in every one of {len(array)} rows: nothing can be learned about it, nor from"
        f" it. Leave it out of the graph, or {line(name, variable)}"
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
    return Inferred(Real(), why, _doubt(name, raw, x))


def _doubt(name: str, raw: Raw, x: np.ndarray) -> str:
    constant = _constant(name, raw, "ccf.Real()")
    return constant or _calendar(name, x) or _row_number(name, x) or _whole_numbers(name, x)


def _calendar(name: str, x: np.ndarray) -> str:
    """Dates written as whole numbers, as 20200131."""
    year, month, day = x // 10_000, x // 100 % 100, x % 100
    dates = (x == np.round(x)) & (year >= 1800) & (year <= 2200) & (month >= 1) & (month <= 12) & (day >= 1)
    if not (dates & (day <= 31)).all():
        return ""
    return (
        f"'{name}' looks like dates written as numbers ({x[0]:.0f}): as the quantity it is taken for, a year has 10,000"
        f" days. Make dates of them: pd.to_datetime(df['{name}'].astype(str), format='%Y%m%d'). If they are no dates,"
        f" {line(name, 'ccf.Real()')}"
    )


def _row_number(name: str, x: np.ndarray) -> str:
    """Whole numbers, each once, without a gap or under the name of an identifier."""
    whole = bool((x == np.round(x)).all())
    if not whole or len(np.unique(x)) < len(x):
        return ""
    if x.max() - x.min() != len(x) - 1 and not NAMED_ID.search(name):
        return ""
    return (
        f"'{name}' has another whole number in each of {len(x)} rows ({x.min():.6g} .. {x.max():.6g}), as row numbers"
        f" and identifiers have; taken as a quantity. Leave it out of the graph, or {line(name, 'ccf.Real()')}"
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
            f" beyond. If these are two states, {line(name, what)} If not, ccf.Real() says so."
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
        f" with everything between. If they {'count something' if counted else 'are grades'}, {line(name, told)[:-1]};"
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
        alone = value == -1 and (least > 1 or (least >= 0 and (rest != np.round(rest)).any()))
        if gap > 3 * (most - least) or coded or alone:
            return float(value)
    return None


def pile(x: np.ndarray) -> float | None:
    """A value, 0 or one of the ends, that is there far more often than any other: no density has such a place.

    Example:
        >>> pile(np.concatenate([np.zeros(20), np.linspace(1, 2, 80)]))
        0.0
    """
    for value in dict.fromkeys((0.0, float(x.min()), float(x.max()))):
        share = float((x == value).mean())
        if share < PILE:
            continue
        found, counts = np.unique(x[x != value][:SEEN], return_counts=True)
        if len(found) > FEW and share > OFTEN * (1 - share) * counts.max() / counts.sum():
            return value
    return None


def warn_of(data: Any, variables: Mapping[str, Variable]) -> None:
    """Warn of columns of numbers, declared or not, in which a mark for "missing" hides, or many rows have one value.

    Warns:
        CausalCFWarning: Names the column, the value, and the line that makes it missing, or two nodes of it.
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
                stacklevel=callers_line(),
            )
            continue
        heap = pile(x) if len(x) >= ENOUGH and not isinstance(variable, Count | Interval) else None
        if heap is not None:
            rows = int((x == heap).sum())
            warnings.warn(
                f"'{name}' is exactly {heap:.10g} in {rows} of {len(x)} rows, and the rest are spread: a density has no"
                f" such place, so draws and counterfactuals lie beside it. Make two nodes of it, whether, df['{name}']"
                f" != {heap:.10g}, a ccf.Boolean(), and how much; or, if it counts something, ccf.Count().",
                CausalCFWarning,
                stacklevel=callers_line(),
            )
