"""Text that writes numbers is refused with code, and the code gives the numbers."""

import re

import numpy as np
import pandas as pd
import pytest

from causalcf.core.errors import DataError
from causalcf.data import infer_variable

N = 100
X = np.arange(N) * 37 + 1000.25


def _with(form) -> list[str]:
    return [form(x) for x in X]


def _point(x: float) -> str:
    return f"{x:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


@pytest.mark.parametrize(
    "form",
    [
        lambda x: f"{x:,.2f}",  # 1,000.25
        _point,  # 1.000,25
        lambda x: f"{x:.2f}".replace(".", ","),
        lambda x: f"{x:,.2f}".replace(",", " "),
        lambda x: f"{x:,.2f}".replace(",", "\u202f"),
        lambda x: f"{x:,.2f}".replace(",", "'"),
        lambda x: f"{x} %",
        lambda x: f"${x:,.2f}",
        lambda x: f"{x:.2f} EUR".replace(".", ","),
        lambda x: f"{_point(x)} \u20ac",
        lambda x: f"{x}kg",
        lambda x: f"{x:e} m",
    ],
    ids=lambda form: form(X[0]),
)
@pytest.mark.parametrize("sign", ["", "-", "\u2212"])
def test_the_remedy_gives_the_numbers(form, sign: str) -> None:
    texts = [sign + text for text in _with(form)]
    with pytest.raises(DataError, match="'x' is text that looks like numbers") as told:
        infer_variable("x", texts)
    code = re.search(r"as 1234\.5: (.*astype\(float\))", str(told.value))
    assert code is not None
    read = eval(code[1], {"df": pd.DataFrame({"x": texts}, dtype=object), "pd": pd})
    assert np.allclose(read, -X if sign else X)


@pytest.mark.parametrize("text", ["({x})", "{x}-", "<{x}", "{x}D3"])
def test_what_is_more_than_its_digits_is_for_the_reader_to_decide(text: str) -> None:
    with pytest.raises(DataError, match=r"looks like numbers.*decide which number '.*' stands for"):
        infer_variable("x", [text.format(x=i) for i in range(N)])


def test_two_decimal_marks_in_one_column_have_no_code() -> None:
    mixed = [f"{i},5" if i % 2 else f"1,{i:03d}.5" for i in range(N)]
    with pytest.raises(DataError, match="points and commas mean more than one thing here"):
        infer_variable("x", mixed)


def test_codes_keep_their_zeros() -> None:
    with pytest.raises(DataError, match=r"some are codes \(row 0: '00501'\): as numbers they lose their zeros"):
        infer_variable("x", [f"{501 + 100 * i:05d}" for i in range(N)])
