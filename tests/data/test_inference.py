"""No guess in silence: each column is read as what it is, refused, or warned of with the line that settles it."""

import re
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import CausalCFWarning, DataError
from causalcf.data import infer_variable
from causalcf.data.inference import pile
from causalcf.scm.learning import declare

RNG = np.random.default_rng(0)
N = 200


@pytest.mark.parametrize(
    ("values", "variable"),
    [
        (pd.Categorical(RNG.integers(1, 4, N)), ccf.Categorical(["1", "2", "3"])),
        (pd.Categorical([2, 10, 1] * 20), ccf.Categorical(["1", "2", "10"])),
        (pd.Categorical(["b", "a"] * 20, ["b", "a"], ordered=True), ccf.Ordinal(["b", "a"])),
        ([Decimal("1.25") * i for i in range(N)], ccf.Real()),
        (pd.Series(RNG.normal(size=N)).astype("Float64"), ccf.Real()),
        ([b"yes", b"no"] * 20, ccf.Categorical(["no", "yes"])),
        (pd.array([True, False] * 20, dtype="boolean"), ccf.Boolean()),
        (["1", "2", "3"] * 20, ccf.Categorical(["1", "2", "3"])),
        (RNG.integers(18, 80, N), ccf.Real()),
        (RNG.normal(size=N), ccf.Real()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_types_keep_their_meaning_without_a_word(values: Any, variable: ccf.Real) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert infer_variable("x", values) == variable


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (RNG.integers(0, 2, N), r"'x' holds only 0 and 1.*variables={'x': ccf\.Boolean\(\)}"),
        (RNG.integers(0, 2, N) + 1.0, r"'x' holds only 1 and 2.*ccf\.Ordinal\(\[1, 2\]\)"),
        (RNG.integers(1, 6, N), r"'x' holds 5 different whole numbers \(1 .. 5\).*Ordinal\(\[1, 2, 3, 4, 5\]\)"),
        (RNG.poisson(2, N), r"'x' holds \d+ different whole numbers.*ccf\.Count\(\)"),
        (RNG.integers(-2, 3, N), r"If they are grades, declare it: .*ccf\.Ordinal\(\[-2, -1, 0, 1, 2\]\)"),
        (np.full(N, 3.0), r"'x' is 3\.0 in every one of 200 rows"),
        ([True] * N, "'x' is True in every one"),
        (np.arange(N), r"another whole number in each of 200 rows \(0 .. 199\), as row numbers"),
        (
            ["a", "b", "NA"] * 20,
            r"'x' holds \['NA'\] in 20 of 60 rows \(row 2: 'NA'\).*read_csv\(path, missing=\['NA'\]\)",
        ),
        (["a", "b", "?"] * 20, r"'x' holds \['\?'\]"),
        (["a", "b", "-9999"] * 20, r"'x' holds \['-9999'\]"),
        (["yes", "true", "no"] * 20, "'x' holds several words for true and false"),
        (
            [20200100 + i % 28 + 1 for i in range(N)],
            r"dates written as numbers \(20200101\).*pd\.to_datetime\(df\['x'\]\.astype\(str\), format='%Y%m%d'\)",
        ),
        (["Male", "male ", "female"] * 20, r"differ in capitals or blanks alone, \['Male', 'male '\]"),
        (["10 mg", "20 mg"] * 20, r"text that looks like numbers \(row 0: '10 mg'\): taken as 2 categories"),
        ([f"c{i}" for i in range(150)] * 4, "'x' is text with 150 different values"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_what_may_be_something_else_is_warned_of_with_the_line(values: Any, said: str) -> None:
    with pytest.warns(CausalCFWarning, match=said):
        infer_variable("x", values)


def test_identifiers_are_told_by_their_names_too() -> None:
    ids = RNG.permutation(10_000)[:N]
    with pytest.warns(CausalCFWarning, match="as row numbers and identifiers have"):
        infer_variable("patient_id", ids)
    assert infer_variable("income", ids) == ccf.Real()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [*map(str, range(100)), "NA"],
            r"'x' is text in 1 of 101 rows \(row 100: 'NA'\), numbers in the others.*--missing",
        ),
        ([1.0, "NA", 2.0], r"'x' is text in 1 of 3 rows \(row 1: 'NA'\), numbers in the others"),
        ([f"{i},5" for i in range(100)], r"looks like numbers \(row 0: '0,5'\).*str\.replace\(',', '\.'\)"),
        ([f"{i} %" for i in range(100)], r"text that looks like numbers \(row 0: '0 %'\)"),
        ([f"{i}.5" for i in range(100)], r"all of its 100 different values are numbers \(row 0: '0\.5'\)"),
        ([f"p{i}" for i in range(N)], r"another value in each of 200 rows \(row 0: 'p0'\): it names the rows"),
        ([f"p{i % 150}" for i in range(N)], "too many to learn anything about"),
        ([{}, {}], r"'x' holds object values \(dict\)"),
        ([None, None], "'x' has no value in 2 of 2 rows"),
        (pd.array(["a", None, "b"], dtype="string"), "'x' has no value in 1 of 3 rows"),
        (torch.ones(3, dtype=torch.complex64), "complex"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_what_is_no_variable_is_refused_with_the_line(values: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        infer_variable("x", values)


@pytest.mark.parametrize("mark", [-9999.0, -999.0, 99999.0, 1e20])
@pytest.mark.parametrize("declared", [False, True])
def test_a_mark_for_missing_among_numbers_is_said(mark: float, declared: bool) -> None:
    x = RNG.normal(size=N)
    x[:4] = mark
    graph = ccf.CausalGraph([("x", "y")], {"x": ccf.Real()} if declared else {})
    with pytest.warns(
        CausalCFWarning, match=re.escape(f"'x' is {mark:.10g} in 4 of 200 rows, far from all other values")
    ):
        declare(graph, {"x": x, "y": RNG.normal(size=N)})


def test_minus_one_among_ages_is_a_mark_and_among_grades_is_none() -> None:
    ages = RNG.integers(18, 90, N)
    ages[::20] = -1
    with pytest.warns(CausalCFWarning, match="'x' is -1 in 10 of 200 rows, far from all other values"):
        declare(ccf.CausalGraph([("x", "y")], {"x": ccf.Real()}), {"x": ages, "y": RNG.normal(size=N)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grades = {"x": RNG.integers(-1, 4, N), "y": RNG.normal(size=N)}
        declare(ccf.CausalGraph([("x", "y")], {"x": ccf.Real()}), grades)


def test_heavy_tails_and_single_outliers_are_no_marks() -> None:
    heavy = RNG.standard_cauchy(5000)
    single = np.append(RNG.normal(size=N - 1), 1e6)
    censored, y = np.minimum(RNG.normal(size=N), 0.5), RNG.normal(size=N)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (heavy, single):
            declare(ccf.CausalGraph([("x", "y")]), {"x": x, "y": RNG.normal(size=len(x))})
    with pytest.warns(CausalCFWarning, match=r"'x' is exactly 0\.5 in \d+ of 200 rows, and the rest are spread"):
        declare(ccf.CausalGraph([("x", "y")]), {"x": censored, "y": y})


def test_the_graph_says_what_was_inferred_and_why() -> None:
    data = {"x": [0.5, 2.5], "c": ["a", "b"], "y": [1.0, 2.0]}
    graph = declare(ccf.CausalGraph([("x", "y"), ("c", "y")], {"y": ccf.Positive(unit="kg")}), data)
    assert str(graph.describe()).splitlines() == [
        "node  variable     values         causes  why",
        "x     Real         a real number          numbers, 0.5 .. 2.5",
        "c     Categorical  a, b                   text, 2 different",
        "y     Positive     above 0, kg    x, c    declared",
    ]
    again = ccf.CausalGraph.from_json(graph.to_json())
    assert again.describe() == graph.describe()
    assert again.with_variables({"x": ccf.Positive()}).inferred == {"c": "text, 2 different"}


def test_a_model_names_the_columns_that_there_are() -> None:
    with pytest.raises(
        DataError, match=r"lack \['age'\]. The graph's nodes are \['age', 'y'\]; the data have \['Age', 'y'\]"
    ):
        ccf.SCM([("age", "y")]).fit({"Age": [1.0], "y": [1.0]}, progress=False)


def test_numbers_that_are_zero_for_many_are_told() -> None:
    """Money spent, cigarettes smoked: a spike and a spread, which no density has."""
    generator = torch.Generator().manual_seed(0)
    spent = torch.randn(1000, generator=generator).exp()
    spent[torch.rand(1000, generator=generator) < 0.4] = 0.0
    rows, x = int((spent == 0).sum()), torch.randn(1000, generator=generator)
    scm = ccf.SCM([("x", "spent")], {"x": ccf.Real(), "spent": ccf.Real()}, {"spent": ccf.mechanisms.LinearGaussian()})
    with pytest.warns(CausalCFWarning, match=rf"'spent' is exactly 0 in {rows} of 1000 rows.*Make two nodes"):
        scm.fit({"x": x, "spent": spent}, nodes=["spent"], seed=0, progress=False)


@pytest.mark.parametrize("kind", ["normal", "ratings", "rounded", "uniform"])
def test_other_numbers_have_no_place_of_their_own(kind: str) -> None:
    x = np.random.default_rng(0).normal(size=2000)
    columns = {
        "normal": x,
        "ratings": np.clip(np.round(x + 3), 1, 5),
        "rounded": np.round(x, 1),
        "uniform": np.linspace(0, 1, 2000),
    }
    assert pile(columns[kind]) is None
    assert pile(np.where(x > 1, 1.0, x)) == 1.0  # cut off at the top
