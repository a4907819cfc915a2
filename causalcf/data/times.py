"""Text that writes dates, times or durations: dates as ISO 8601 has them are read, all others refused by name."""

from __future__ import annotations

import re

import numpy as np

from causalcf.core.errors import DataError
from causalcf.data.inferred import FEW, Inferred, first, line, share
from causalcf.variables.days import ISO, unit_of_days
from causalcf.variables.raw import MARKS, Raw
from causalcf.variables.scalar import Real

__all__ = ["as_times"]

CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[ap]m)?"

_WRITTEN = (
    (
        r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})(?:[T ].*)?"
        r"|\d{1,2}(?:st|nd|rd|th)?\.?[- /][^\W\d_]{3,9}\.?,?[- /]\d{2,4}(?: .*)?"
        r"|[^\W\d_]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?, ?\d{4}(?: .*)?",
        "dates",
        "pd.to_datetime(df['{0}'], format='%d.%m.%Y'), with the format in which they are written",
    ),
    (
        r"\d{4}[-/.]\d{2}|\d{4}-?W\d{1,2}|\d{4}[- ]?Q[1-4]|Q[1-4][- /]\d{4}|[^\W\d_]{3,9}\.?[- ]\d{4}",
        "months, quarters or weeks",
        "pd.PeriodIndex(df['{0}'], freq='M').to_timestamp()",
    ),
    (CLOCK, "times", "pd.to_timedelta(df['{0}'] + ':00') / pd.Timedelta('1h')"),
    (
        rf"-?\d+ days?,? [+-]?{CLOCK}|-?\d+ days|P(?:\d+[YMWD])*(?:T(?:[\d.]+[HMS])+)?|(?:\d+ ?[dhms] ?){{2,}}",
        "durations",
        "pd.to_timedelta(df['{0}']) / pd.Timedelta('1D')",
    ),
)
"""How text writes times, what they are, and the code that reads them."""


def as_times(name: str, labels: np.ndarray, found: list[str]) -> Inferred | None:
    """Days since the first date, if all are dates as ISO 8601 writes them; None if they are none.

    Args:
        name: The column.
        labels: Its values.
        found: Its different values.

    Raises:
        DataError: Dates that different readers read in different ways, times, durations, or a mark for missing among
            dates.
    """
    marks = [text for text in found if text.strip().lower() in MARKS]
    there = ~np.isin(labels, marks)
    if not there.any():
        return None
    part, dates = share(labels[there], found, ISO.fullmatch)
    others = [text for text in found if text not in dates]
    if part == 1 and not marks:
        raw = Raw("dates", labels.astype(object), "text")
        return Inferred(Real(unit=unit_of_days(name, raw)), "dates, as text")
    if part >= 0.9 and len(others) <= FEW and not _is_written(others[0]):
        rows = int(np.isin(labels, others).sum())
        raise DataError(
            f"'{name}' is {others[0]!r:.40} in {rows} of {len(labels)} rows ({first(labels, others)}), dates in the"
            f" others. If that stands for a missing value, say so: read_csv(path, missing={others[:3]}), --missing, or"
            f" pd.to_datetime(df['{name}'], errors='coerce'); then drop or impute it."
        )
    for pattern, what, remedy in _WRITTEN:
        part, fitting = share(labels[there], found, re.compile(pattern, re.IGNORECASE).fullmatch)
        if part >= 0.9:
            raise DataError(
                f"'{name}' holds {what} as text ({first(labels, fitting)}): {len(fitting)} different ones, which are no"
                f" categories. Give them as {'dates, ' if what == 'dates' else ''}{remedy.format(name)}. If they are"
                f" categories, {line(name)}"
            )
    return None


def _is_written(text: str) -> bool:
    return any(re.fullmatch(pattern, text.strip(), re.IGNORECASE) for pattern, _, _ in _WRITTEN)
