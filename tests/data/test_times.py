"""Dates are days since the first one; what may be read in two ways is refused by name."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError
from causalcf.data import infer_variable

DATES = pd.date_range("2019-12-30", periods=60, freq="6h")
DAYS = torch.arange(60) * 0.25


@pytest.fixture(scope="module")
def scm() -> ccf.SCM:
    frame = pd.DataFrame({"seen": DATES, "y": 3 * DAYS.numpy() + np.sin(np.arange(60.0))})
    linear = {name: ccf.mechanisms.LinearGaussian() for name in frame}
    return ccf.SCM([("seen", "y")], mechanisms=linear).fit(frame, seed=0, progress=False)


def _read(values: object, unit: str) -> torch.Tensor:
    return ccf.Real(unit=unit).read("seen", values, torch.float64, torch.device("cpu"))


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (DATES, "days since 2019-12-30"),
        (DATES.to_numpy(), "days since 2019-12-30"),
        (DATES.to_pydatetime().tolist(), "days since 2019-12-30"),
        ([date.isoformat() for date in DATES], "days since 2019-12-30"),
        ([f"{date:%Y-%m-%d %H:%M}" for date in DATES], "days since 2019-12-30"),
        (DATES.tz_localize("UTC"), "days since 2019-12-30 UTC"),
        (DATES.tz_localize("UTC").tz_convert("Asia/Tokyo"), "days since 2019-12-30 UTC"),
        ([f"{date.isoformat()}Z" for date in DATES], "days since 2019-12-30 UTC"),
        (DATES - DATES[0], "days"),
        ((DATES - DATES[0]).to_pytimedelta().tolist(), "days"),
    ],
)
def test_dates_and_durations_of_every_kind_are_days(values: object, unit: str) -> None:
    assert infer_variable("seen", values) == ccf.Real(unit=unit)
    assert torch.allclose(_read(values, unit), DAYS.double())


def test_months_begin_with_their_first_day() -> None:
    months = pd.period_range("2020-01", periods=3, freq="M")
    assert _read(months, str(infer_variable("seen", months).unit)).tolist() == [0, 31, 60]


def test_tables_of_other_libraries_hold_dates_too() -> None:
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    times = DATES.to_pydatetime().tolist()
    for column in (pl.Series(times), pa.array(times), pd.Series(DATES).astype("timestamp[us][pyarrow]")):
        assert torch.allclose(_read(column, infer_variable("seen", column).unit), DAYS.double())


@pytest.mark.parametrize(
    "date",
    [
        "2020-01-05",
        datetime.date(2020, 1, 5),
        np.datetime64("2020-01-05"),
        pd.Timestamp("2020-01-05"),
        ["2020-01-05", "2020-01-05"],
        6.0,
    ],
    ids=repr,
)
def test_one_acts_with_dates(scm: ccf.SCM, date: object, tmp_path: Path) -> None:
    rows = {"seen": ["2020-01-01", "2020-01-02"], "y": [1.0, 2.0]}
    answer = scm.counterfactual(rows, do={"seen": date})
    assert answer["seen"].tolist() == [6.0, 6.0]
    assert torch.equal(scm.counterfactual({**rows, "seen": [2.0, 3.0]}, do={"seen": 6.0})["y"], answer["y"])


def test_one_shifts_dates_by_durations(scm: ccf.SCM) -> None:
    rows = {"seen": ["2020-01-01"], "y": [1.0]}
    for week in (pd.Timedelta("7D"), datetime.timedelta(days=7), 7):
        assert scm.counterfactual(rows, do={"seen": ccf.shift(week)})["seen"].item() == 9.0
    with pytest.raises(DataError, match=r"in days since 2019-12-30: expected dates, got .*durations"):
        scm.counterfactual(rows, do={"seen": pd.Timedelta("7D")})


def test_the_day_that_is_counted_from_is_said_and_saved(scm: ccf.SCM, tmp_path: Path) -> None:
    assert "days since 2019-12-30" in str(scm.graph.describe())
    scm.save(tmp_path / "m.safetensors")
    rows = {"seen": ["2020-01-01"], "y": [1.0]}
    again = ccf.SCM.load(tmp_path / "m.safetensors").counterfactual(rows, do={"seen": "2020-01-05"})
    assert torch.equal(again["y"], scm.counterfactual(rows, do={"seen": "2020-01-05"})["y"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([f"{d}.1.2020" for d in range(1, 29)], r"holds dates as text \(row 0: '1\.1\.2020'\).*format="),
        ([f"1/{d}/2020" for d in range(1, 29)], "holds dates as text"),
        ([f"{d}. M\u00e4rz 2020" for d in range(1, 29)], "holds dates as text"),
        ([f"March {d}, 2020" for d in range(1, 29)], "holds dates as text"),
        (["2020-01-01", "5.1.2020"] * 9, "holds dates as text"),
        ([f"2020-{m:02d}" for m in range(1, 13)], r"months, quarters or weeks as text.*pd\.PeriodIndex"),
        ([f"{y}Q{q}" for y in (2020, 2021) for q in (1, 2)], "months, quarters or weeks"),
        ([f"{h}:30" for h in range(24)], "holds times as text"),
        ([f"{d} days 01:00:00" for d in range(9)], r"holds durations as text.*pd\.to_timedelta"),
        ([f"P{d}D" for d in range(1, 9)], "holds durations as text"),
        (["2020-01-01", "2020-01-02", "NA"] * 9, r"'NA' in 9 of 27 rows \(row 2: 'NA'\), dates in the others"),
        ([f"2020-01-{d:02d}" for d in range(1, 29)] + ["soon"], r"'soon' in 1 of 29 rows \(row 28"),
        (["2020-01-01", "2020-01-02T00:00Z"], "dates with a time zone and others without"),
        ([datetime.time(1, 30)] * 3, "times of day"),
        ([None, pd.NaT], "no value in 2 of 2 rows"),
    ],
)
def test_what_is_read_in_two_ways_is_refused_by_name(values: list, said: str) -> None:
    with pytest.raises(DataError, match=said):
        infer_variable("seen", values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["5.1.2020"], "'seen' holds '5.1.2020': expected a date as ISO 8601 writes them"),
        (["2020-02-30"], "which is no date"),
        (["2020-01-01T00:00Z"], "its dates have a time zone, those it was fitted on have none"),
        (["2020-01-01", None], "NaN or infinite values in 1 of 2 rows"),
    ],
)
def test_dates_that_do_not_fit_are_refused_by_name(values: list, said: str) -> None:
    with pytest.raises(DataError, match=said):
        _read(values, "days since 2020-01-01")
