"""Text that writes numbers: with units, groups of thousands, decimal commas."""

from __future__ import annotations

import re

import numpy as np

from causalcf.core.errors import DataError
from causalcf.data.inferred import FEW, categories, first, line, share

__all__ = ["as_numbers"]

BLANKS = " \u00a0\u2009\u202f"
"""The blanks with which thousands are grouped."""

NUMBER = re.compile(
    rf"[^\w+\-.]{{0,2}}[-+]?[^\w+\-.]{{0,2}}\d[\d.,'{BLANKS}]*(?:[ed][-+]?\d+)?\s*"
    r"(?:[%$€£¥)-]|(?!st$|nd$|rd$|th$)[a-zA-Zµ°]{1,4})?",
    re.IGNORECASE,
)
STRANGE = re.compile(r"\(.*\)|.*-|[<>~≤≥±].*|.*\dd[-+]?\d+", re.IGNORECASE)
"""Numbers that are more than their digits: negative in brackets, below a limit, with Fortran's exponent."""


def as_numbers(name: str, labels: np.ndarray, found: list[str]) -> str:
    """What speaks against text as categories: numbers as text are names if they are few; if many, they are numbers.

    Args:
        name: The column.
        labels: Its values.
        found: Its different values.

    Raises:
        DataError: They are many numbers, or numbers and marks; the message says how to make numbers of them.
    """
    numbers = share(labels, found, _is_plain)[1]
    part, alike = share(labels, found, lambda text: _is_plain(text) or NUMBER.fullmatch(text))
    marks = [text for text in found if text not in alike]
    written = [text for text in alike if text not in numbers]
    if len(numbers) <= FEW and len(alike) <= FEW:
        if written and part == 1:
            return (
                f"'{name}' is text that looks like numbers ({first(labels, written)}): taken as {len(found)}"
                f" categories. If they are numbers, {_plainly(name, written)} If not, {line(name, categories(found))}"
            )
        return ""
    if part < 0.5 or len(marks) > FEW:
        return ""
    if marks:
        rows = int(np.isin(labels, marks).sum())
        raise DataError(
            f"'{name}' is text in {rows} of {len(labels)} rows ({first(labels, marks)}), numbers in the others. If"
            " that stands for a missing value, say so: read_csv(path, missing=[...]), --missing, or"
            f" pd.to_numeric(df['{name}'], errors='coerce'); then drop or impute it. If these are categories,"
            f" {line(name)}"
        )
    if written:
        raise DataError(
            f"'{name}' is text that looks like numbers ({first(labels, written)}): {_plainly(name, written)}"
            f" If these are categories, {line(name)}"
        )
    codes = [text for text in found if re.fullmatch(r"0\d+", text)]
    if codes:
        raise DataError(
            f"'{name}' is text with {len(found)} different values, of which some are codes ({first(labels, codes)}): as"
            f" numbers they lose their zeros. If these are categories, {line(name)} If they are numbers, convert them:"
            f" pd.to_numeric(df['{name}'])."
        )
    grouped = [text for text in found if "." in text]
    if grouped and all(re.fullmatch(r"[-+]?[1-9]\d{0,2}(\.\d{3})+", text) for text in grouped):
        raise DataError(
            f"'{name}' is text whose points may begin decimals or group thousands ({first(labels, grouped)}). Say"
            f" which: pd.to_numeric(df['{name}']), or pd.to_numeric(df['{name}'].str.replace('.', '', regex=False))."
        )
    raise DataError(
        f"'{name}' is text, but all of its {len(found)} different values are numbers ({first(labels, found)})."
        f" Convert them: pd.to_numeric(df['{name}']). If these are categories, {line(name)}"
    )


def _is_plain(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _plainly(name: str, written: list[str]) -> str:
    """How to write numbers as Python does: a sentence with the code, if there is code that can do it."""
    strange = [text for text in written if STRANGE.fullmatch(text.strip())]
    if strange:
        return f"decide which number {strange[0]!r} stands for, and write it plainly, as -1234.5."
    steps = f"df['{name}']"
    if any("\u2212" in text for text in written):
        steps += ".str.replace('\u2212', '-')"
    if any(re.match(r"[-+\u2212][^\d.]", text) for text in written):  # -$5
        steps += ".str.replace(r'(?<=[-+])[^0-9.]+', '', regex=True)"
    group = _grouping(written)
    if group is None:
        return "write them plainly, as 1234.5: points and commas mean more than one thing here."
    if group:
        steps += f".str.replace({group!r}, '', regex=False)"
    if group != "," and any("," in text for text in written):
        steps += ".str.replace(',', '.')"
    if any(re.search(rf"\d['{BLANKS}]\d", text) for text in written):
        steps += ".str.replace(r\"(?<=\\d)['\\s](?=\\d)\", '', regex=True)"
    return (
        f"write them plainly, as 1234.5: {steps}.str.extract(r'([-+]?\\d+(?:\\.\\d*)?(?:[eE][-+]?\\d+)?)')[0]"
        ".astype(float)."
    )


def _grouping(written: list[str]) -> str | None:
    """The mark that groups thousands, "" for none; None where texts differ, or one alone does not tell."""
    marks = set()
    for text in written:
        digits = re.sub(r"[^\d.,]", "", text).rstrip(".,")
        points, commas = digits.count("."), digits.count(",")
        if points and commas:
            marks.add("." if digits.rindex(",") > digits.rindex(".") else ",")
        elif points > 1 or commas > 1:
            marks.add("." if points else ",")
        elif commas and not re.fullmatch(r"[1-9]\d{0,2},\d{3}", digits):
            marks.add(".")  # a decimal comma
        elif commas:
            marks.add("?")
        elif points:
            marks.add("," if not re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", digits) else "!")
    if "?" in marks:  # 1,234
        marks = (marks - {"?"}) or {","}
    if "!" in marks:  # 1.234
        marks = (marks - {"!"}) or {""}
    if len(marks) > 1:
        return None
    group = marks.pop() if marks else ""
    return group if any(group in text for text in written) else ""
