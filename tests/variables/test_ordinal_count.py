"""Counts and ordered categories as variables."""

import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, SupportError

CPU = torch.device("cpu")


def _read(variable: ccf.Count, values: object) -> torch.Tensor:
    return variable.read("n", values, torch.float32, CPU)


def test_counts_are_whole_and_not_below_zero() -> None:
    assert _read(ccf.Count(), np.array([0, 3], dtype=np.uint8)).tolist() == [0.0, 3.0]
    for values, shown in (([0.5, 1.0], "0.5"), ([-1, 2], "-1")):
        with pytest.raises(SupportError, match=f"'n' must be a whole number of at least 0: 1 of 2.*example {shown}"):
            _read(ccf.Count(), values)
    x = torch.tensor([-2.0, 0.4, 2.6])
    assert ccf.Count().project(x).tolist() == [0.0, 0.0, 3.0]
    assert not ccf.Count().outside(ccf.Count().project(x)).any()


def test_ordered_categories_are_read_by_name_number_or_code() -> None:
    stars = ccf.Ordinal(range(1, 6))
    assert _read(stars, [5, 1, 3]).tolist() == [4, 0, 2]
    assert _read(stars, np.array([1.0, 2.0])).tolist() == [0, 1]
    assert _read(stars, ["5", "1"]).tolist() == [4, 0]
    assert _read(stars, torch.tensor([4, 0])).tolist() == [4, 0]
    assert _read(ccf.Ordinal([0.5, 1, 2]), [0.5, 2.0]).tolist() == [0, 2]
    with pytest.raises(SupportError, match="'n' has no category '6'"):
        _read(stars, [6])
    with pytest.raises(DataError, match="'n' has no value in 1 of 2 rows"):
        _read(stars, [1.0, None])
    pain = ccf.Ordinal(["none", "mild"])
    assert _read(pain, pd.Categorical(["mild", "none"])).tolist() == [1, 0]


def test_words_for_true_and_false_are_booleans() -> None:
    assert _read(ccf.Boolean(), ["yes", "No", "TRUE", " false", "1"]).tolist() == [True, False, True, False, True]
    with pytest.raises(SupportError, match="'n' is a Boolean: expected true or false, yes or no, 0 or 1, got 'maybe'"):
        _read(ccf.Boolean(), ["yes", "maybe"])


def test_truths_are_the_categories_of_their_names() -> None:
    assert _read(ccf.Categorical(["True", "False"]), [True, False]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ccf.Categorical("red"), "needs its categories, as a list of names, or how many they are; got 'red'"),
        (lambda: ccf.Ordinal(2.5), "An Ordinal needs its categories"),
        (lambda: ccf.Interval(0, float("inf")), "two finite numbers with low < high"),
        (lambda: ccf.Interval("a", "b"), "two finite numbers"),
        (lambda: ccf.Vector(2.5), r"whole number of at least 1, got d=2\.5"),
        (lambda: ccf.Image(1, 2.5, 2), "at least 1"),
        (lambda: ccf.Real(unit=5), "The unit of a Real is a text"),
    ],
)
def test_declarations_that_mean_nothing_are_refused(make: object, message: str) -> None:
    with pytest.raises(ccf.CausalCFError, match=message):
        make()  # type: ignore[operator]
