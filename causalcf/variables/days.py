"""Dates and durations as numbers of days; where they are counted from stands in the variable's unit."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.variables.raw import Raw

__all__ = ["DAYS", "ISO", "is_of_days", "origin", "read_days", "unit_of_days"]

DAYS = "days"
"""The unit of a duration."""

ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?(?:Z|[+-]\d{2}:?\d{2}))?)?")
"""Dates as ISO 8601 writes them: no other way of writing is the same for all readers."""

SINCE = re.compile(r"days since (\d{4}-\d{2}-\d{2})( UTC)?")


def unit_of_days(name: str, raw: Raw) -> str:
    """The unit in which dates or durations are held: `days`, or `days since 2020-01-31`, the first day there is.

    Args:
        name: The column, for errors.
        raw: Dates, durations, or dates as ISO 8601 writes them.

    Raises:
        DataError: They are times of day, or some have a time zone and others none.
    """
    if raw.kind == "durations":
        return DAYS
    times, zoned = _times(name, raw)
    there = times[~np.isnat(times)]
    first = there.min().astype("datetime64[D]") if len(there) else np.datetime64("1970-01-01")
    return f"days since {first}{' UTC' if zoned else ''}"


def is_of_days(unit: str) -> bool:
    """Whether a unit is one of days: dates or durations can be read in it."""
    return unit == DAYS or SINCE.fullmatch(unit) is not None


def origin(unit: str) -> np.datetime64 | None:
    """The day that a unit counts from; None if it counts from none.

    Example:
        >>> origin("days since 2020-01-31"), origin("days")
        (np.datetime64('2020-01-31'), None)
    """
    found = SINCE.fullmatch(unit)
    return np.datetime64(found[1]) if found else None


def read_days(name: str, raw: Raw, unit: str) -> Tensor:
    """Dates or durations as days in this unit, float64, NaN where there is none.

    Args:
        name: The column, for errors.
        raw: Dates, durations, or text that writes dates.
        unit: `days`, or `days since 2020-01-31`.

    Raises:
        DataError: They do not fit the unit, or are written in another way than ISO 8601.

    Example:
        >>> from causalcf.variables.raw import read_raw
        >>> read_days("visit", read_raw("visit", ["2020-02-01", "2020-02-02T12:00"]), "days since 2020-01-31")
        tensor([1.0000, 2.5000], dtype=torch.float64)
    """
    if (raw.kind == "durations") != (unit == DAYS):
        raise DataError(f"'{name}' is in {unit}: expected {'durations' if unit == DAYS else 'dates'}, got {raw.what}.")
    if raw.kind == "durations":
        spans = [np.timedelta64("NaT", "us") if gone else _span(value) for value, gone in _pairs(raw)]
        days = np.array(spans, dtype="timedelta64[us]") / np.timedelta64(1, "D")
        return torch.from_numpy(days.reshape(raw.shape))
    times, zoned = _times(name, raw)
    if zoned != unit.endswith(" UTC"):
        here, there = ("a time zone", "none") if zoned else ("no time zone", "one")
        raise DataError(
            f"'{name}' is in {unit}: its dates have {here}, those it was fitted on have {there}. Give them alike,"
            f" df['{name}'].dt.tz_localize('UTC') or .dt.tz_convert('UTC').dt.tz_localize(None)."
        )
    return torch.from_numpy(((times - origin(unit)) / np.timedelta64(1, "D")).reshape(raw.shape))


def _pairs(raw: Raw) -> Any:
    return zip(raw.array.reshape(-1), raw.missing.reshape(-1), strict=True)


def _span(value: Any) -> np.timedelta64:
    if isinstance(value, datetime.timedelta):  # pandas' own is one, too
        return np.timedelta64(round(value / datetime.timedelta(microseconds=1)), "us")
    return np.timedelta64(value).astype("timedelta64[us]")


def _times(name: str, raw: Raw) -> tuple[np.ndarray, bool]:
    """Points in time, in microseconds, of UTC where they have a zone; and whether they have one."""
    if raw.array.dtype.kind == "M":
        return raw.array.reshape(-1).astype("datetime64[us]"), False
    found = [None if gone else _time(name, value) for value, gone in _pairs(raw)]
    zones = {time.tzinfo is not None for time in found if time is not None}
    if len(zones) > 1:
        raise DataError(f"'{name}' has dates with a time zone and others without. Give all of them one.")
    zoned = zones == {True}
    plain = [time.astimezone(datetime.UTC).replace(tzinfo=None) if time and zoned else time for time in found]
    return np.array(plain, dtype="datetime64[us]"), zoned


def _time(name: str, value: Any) -> datetime.datetime:
    if isinstance(value, str):
        if not ISO.fullmatch(value.strip()):
            raise DataError(
                f"'{name}' holds {str(value)!r:.40}: expected a date as ISO 8601 writes them, 2020-01-31. Say how"
                f" yours are written: pd.to_datetime(df['{name}'], format='%d.%m.%Y')."
            )
        value = _parsed(name, value.strip())
    if type(value).__name__ == "Period":
        value = value.to_timestamp()
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    if isinstance(value, datetime.datetime):  # pandas' own is one, too
        return value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    raise DataError(
        f"'{name}' holds times of day (for example {value!s:.20}), which begin again every day. Give hours as numbers,"
        " or their sine and cosine."
    )


def _parsed(name: str, text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text.replace(" Z", "Z").replace(" +", "+").replace(" -", "-"))
    except ValueError as error:
        raise DataError(f"'{name}' holds {text!r}, which is no date: {error}.") from None
