"""What a value means does not depend on the library it comes from."""

import datetime
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError
from causalcf.variables.raw import label, read_raw

NAN = float("nan")


def _same(found: list[Any], expected: list[Any]) -> bool:
    return len(found) == len(expected) and all(
        a == b or (a != a and b != b) for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2], "numbers", [1, 2]),
        ([1.0, None], "numbers", [1.0, NAN]),
        ([Decimal("1.5"), Decimal("NaN")], "numbers", [1.5, NAN]),
        ([Fraction(1, 2), 1], "numbers", [0.5, 1.0]),
        ([True, 2], "numbers", [1, 2]),
        ([1, pd.NA], "numbers", [1.0, NAN]),
        (pd.Series([1, None], dtype="Int64"), "numbers", [1.0, NAN]),
        (pd.Series([1, 2], dtype="Int64"), "numbers", [1, 2]),
        (pd.Series([0.5, None], dtype="Float64"), "numbers", [0.5, NAN]),
        (pd.Series([0, 1], dtype=pd.SparseDtype(int)), "numbers", [0, 1]),
        (np.ma.array([1, 2], mask=[0, 1]), "numbers", [1.0, NAN]),
        (np.array([1, 2], dtype=np.uint16), "numbers", [1, 2]),
        (torch.tensor([1.0, 2.0]), "numbers", [1.0, 2.0]),
        ([True, False], "truths", [True, False]),
        ([True, None], "truths", [True, None]),
        (pd.Series([True, None], dtype="boolean"), "truths", [True, None]),
        (pd.Series([True, False], dtype="boolean"), "truths", [True, False]),
        (np.ma.array([True, False], mask=[0, 1]), "truths", [True, None]),
        (["a", None], "text", ["a", None]),
        ([b"a", b"b"], "text", ["a", "b"]),
        (np.array([b"a", "\u00e9".encode()]), "text", ["a", "\u00e9"]),
        (pd.Series(["a", None], dtype="string"), "text", ["a", None]),
        (pd.Series([1, 2], dtype="category"), "text", ["1", "2"]),
        (pd.Series([1.0, None], dtype="category"), "text", ["1", None]),
        (np.ma.array(["a", "b"], mask=[0, 1]), "text", ["a", None]),
        ([datetime.date(2020, 1, 1)], "dates", [datetime.date(2020, 1, 1)]),
        ([1, "NA"], "mixed", [1, "NA"]),
        ([[1, 2], [3, 4]], "numbers", [[1, 2], [3, 4]]),
        (pd.Series([np.zeros(2), np.ones(2)]), "numbers", [[0, 0], [1, 1]]),
    ],
    ids=lambda value: repr(value)[:40].replace("\n", " "),
)
def test_values_keep_their_meaning(values: Any, kind: str, expected: list[Any]) -> None:
    raw = read_raw("x", values)
    assert raw.kind == kind
    assert _same(raw.values.tolist(), expected)


@pytest.mark.parametrize(
    ("values", "kind", "unit"),
    [
        (pd.to_datetime(pd.Series(["2020-01-01", None])), "dates", "days since"),
        (pd.to_datetime(pd.Series(["2020-01-01"])).dt.tz_localize("UTC"), "dates", "days since"),
        (pd.Series(pd.period_range("2020", "2021", freq="Y")), "dates", "days since"),
        (pd.to_timedelta(pd.Series([1, 2]), unit="D"), "durations", "days'"),
        ([datetime.timedelta(days=1)], "durations", "days'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_dates_need_a_unit_of_days_and_the_error_says_so(values: Any, kind: str, unit: str) -> None:
    assert read_raw("seen", values).kind == kind
    with pytest.raises(DataError, match=rf"'seen' is a Real: expected numbers, got .*{kind}.*ccf\.Real\(unit='{unit}"):
        ccf.Real().read("seen", values, torch.float32, torch.device("cpu"))


def test_columns_of_arrow_mean_what_they_say() -> None:
    pa = pytest.importorskip("pyarrow")
    for values, kind, expected in [
        (pa.array([1, None]), "numbers", [1.0, NAN]),
        (pa.array(["a", None]), "text", ["a", None]),
        (pa.array([1, 2]).dictionary_encode(), "text", ["1", "2"]),
        (pa.chunked_array([pa.array([True]), pa.array([False])]), "truths", [True, False]),
        (pd.Series([1, None], dtype="int64[pyarrow]"), "numbers", [1.0, NAN]),
        (pd.Series([True, None], dtype="bool[pyarrow]"), "truths", [True, None]),
        (pd.Series([Decimal("1.5")], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), "numbers", [1.5]),
        (pd.Series(pd.arrays.ArrowExtensionArray(pa.array([1, 2]).dictionary_encode())), "text", ["1", "2"]),
    ]:
        raw = read_raw("x", values)
        assert raw.kind == kind, values
        assert _same(raw.values.tolist(), expected), values
    assert read_raw("x", pd.Series([datetime.date(2020, 1, 1)], dtype=pd.ArrowDtype(pa.date32()))).kind == "dates"


def test_columns_of_polars_mean_what_they_say() -> None:
    pl = pytest.importorskip("polars")
    for values, kind, expected in [
        (pl.Series([1, None]), "numbers", [1.0, NAN]),
        (pl.Series([True, None]), "truths", [True, None]),
        (pl.Series(["a", None]), "text", ["a", None]),
        (pl.Series(["a"], dtype=pl.Categorical), "text", ["a"]),
        (pl.Series([Decimal("1.5")]), "numbers", [1.5]),
        (pl.Series([[1, 2], [3, 4]]), "numbers", [[1, 2], [3, 4]]),
    ]:
        raw = read_raw("x", values)
        assert raw.kind == kind, values
        assert _same(raw.values.tolist(), expected), values
    assert read_raw("x", pl.Series(["a"], dtype=pl.Enum(["b", "a"]))).categories == ("b", "a")


def test_an_ordered_column_says_so_with_its_categories() -> None:
    raw = read_raw("pain", pd.Series(pd.Categorical(["mild"], ["none", "mild", "severe"], ordered=True)))
    assert (raw.categories, raw.ordered) == (("none", "mild", "severe"), True)


def test_numbers_are_passed_on_and_not_copied() -> None:
    x = torch.rand(5)
    assert read_raw("x", x).values is x
    array = np.arange(5.0)
    tensor = read_raw("x", array).numbers("x", "a Real")
    assert tensor.data_ptr() == array.ctypes.data


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.ones(2, dtype=torch.complex64), "'x' holds complex numbers"),
        (np.array([1 + 2j]), "'x' holds complex numbers"),
        (torch.eye(2).to_sparse(), r"'x' is a sparse tensor. Give a plain one: x.to_dense\(\)"),
        ([1, [2]], "'x' is not an array"),
        ([b"\xe9"], r"'x' holds bytes that are not UTF-8 .*str.decode\('cp1252'\)"),
        ([10**400], "too large a number"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_read_is_refused(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_raw("x", values)


@pytest.mark.parametrize(
    "values",
    [
        pd.array([True, None], dtype="boolean"),
        pd.array(["yes", None], dtype="string"),
        ["yes", float("nan")],
        ["yes", " "],
        np.ma.array([True, False], mask=[0, 1]),
        pd.Series([None, "no"], dtype="category"),
    ],
    ids=repr,
)
def test_every_word_for_nothing_is_missing(values: Any) -> None:
    for variable in (ccf.Boolean(), ccf.Categorical(["yes", "no"])):
        if isinstance(variable, ccf.Boolean) or read_raw("smoker", values).kind == "text":
            with pytest.raises(DataError, match=r"'smoker' has no value in 1 of 2 rows \(the first is row [01]\)"):
                variable.read("smoker", values, torch.float32, torch.device("cpu"))


def test_text_among_numbers_is_named_with_its_row() -> None:
    values = [*range(5), "NA", *range(5)]
    with pytest.raises(DataError, match=r"got text in 1 of 11 rows \(row 5: 'NA'\), numbers in the others"):
        ccf.Real().read("income", values, torch.float32, torch.device("cpu"))


def test_the_name_of_a_value_is_that_of_its_number() -> None:
    assert [label(value) for value in (3, np.int64(3), 3.0, torch.tensor(3), Decimal(3))] == ["3"] * 5
    assert [label(value) for value in (0.5, True, np.True_, "a", b"a")] == ["0.5", "True", "True", "a", "a"]


# ---------------------------------------------------------------------- settings of NumPy


@pytest.mark.parametrize(
    ("variable", "plain"),
    [
        (ccf.Interval(np.int64(1), np.float32(2.5)), ccf.Interval(1, 2.5)),
        (ccf.Interval(torch.tensor(1.0), np.array(2)), ccf.Interval(1.0, 2)),
        (ccf.Vector(np.int64(3)), ccf.Vector(3)),
        (ccf.Image(*np.array([1, 8, 8])), ccf.Image(1, 8, 8)),
        (ccf.Categorical(np.int64(3)), ccf.Categorical(3)),
        (ccf.Categorical(np.array([1, 2])), ccf.Categorical(["1", "2"])),
        (ccf.Real(unit=np.str_("kg")), ccf.Real(unit="kg")),
    ],
    ids=lambda value: str(value),
)
def test_settings_computed_with_numpy_are_plain(variable: ccf.Real, plain: ccf.Real) -> None:
    assert variable == plain
    kinds = {type(value) for value in variable.to_json().values()}
    assert kinds <= {str, int, float, list}


def test_settings_of_mechanisms_and_recipes_are_plain() -> None:
    flow = ccf.mechanisms.Flow(bins=np.int64(4), hidden=(np.int64(8),))
    assert [type(value) for value in (flow.bins, *flow.hidden)] == [int, int]
    recipe = ccf.mechanisms.Recipe(epochs=np.int64(3), lr=np.float32(0.5))
    assert (type(recipe.epochs), type(recipe.lr)) == (int, float)


def test_reading_warns_of_nothing() -> None:
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in (frozen, frozen.astype(int), frozen.astype(np.longdouble), pd.Series(frozen), frozen[::-1]):
            ccf.Real().read("x", values, torch.float32, torch.device("cpu"))
