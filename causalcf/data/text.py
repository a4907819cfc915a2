"""What a column of text suggests: categories, unless it writes numbers, dates, or names of rows."""

from __future__ import annotations

import re

import numpy as np

from causalcf.core.errors import DataError
from causalcf.data.inferred import ENOUGH, Inferred, categories, first, line
from causalcf.data.numerals import as_numbers
from causalcf.data.times import as_times
from causalcf.variables.codes import WORDS, Categorical
from causalcf.variables.ordinal import Ordinal
from causalcf.variables.raw import MARKS, Raw

__all__ = ["of_text"]

MANY = 100
"""Categories from which on one asks whether they are categories."""

NINES = re.compile(r"-9+|9{3,}")
"""The numbers that stand for no value in many data bases."""


def of_text(name: str, raw: Raw) -> Inferred:
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
    times = as_times(name, labels, found)
    if times is not None:
        return times
    doubts = [
        as_numbers(name, labels, found),
        _many(name, labels, found),
        _marked(name, labels, found),
        _alike(name, found),
    ]
    return Inferred(Categorical(found), f"text, {len(found)} different", " ".join(filter(None, doubts)))


def _many(name: str, labels: np.ndarray, found: list[str]) -> str:
    """Raise if a text column names rows, or has hundreds of categories, which are rarely meant."""
    there = len(np.unique(labels))
    if len(labels) >= ENOUGH and there == len(labels):
        raise DataError(
            f"'{name}' is text with another value in each of {len(labels)} rows (row 0: {labels[0].item()!r:.40}): it"
            f" names the rows and does not cause anything. Leave it out of the graph, or {line(name)}"
        )
    if len(labels) >= 2 * ENOUGH and there > len(labels) / 2:
        raise DataError(
            f"'{name}' is text with {there} different values in {len(labels)} rows (row 0: {labels[0].item()!r:.40}):"
            f" too many to learn anything about. Leave it out of the graph, group them, or {line(name)}"
        )
    if len(found) <= MANY:
        return ""
    return (
        f"'{name}' is text with {len(found)} different values (row 0: {labels[0].item()!r:.40}), taken as as many"
        f" categories. If that is not meant, convert it; if it is, {line(name)}"
    )


def _marked(name: str, labels: np.ndarray, found: list[str]) -> str:
    """Text in which a spreadsheet's word for nothing stands among the categories."""
    marks = [text for text in found if text.strip().lower() in MARKS or NINES.fullmatch(text.strip())]
    if not marks:
        return ""
    rows = int(np.isin(labels, marks).sum())
    return (
        f"'{name}' holds {marks} in {rows} of {len(labels)} rows ({first(labels, marks)}), taken as a category. If"
        f" that stands for a missing value, say so: read_csv(path, missing={marks}), --missing, or"
        f" df['{name}'].replace({marks}, None); if not, {line(name, categories(found))}"
    )


def _alike(name: str, found: list[str]) -> str:
    """Categories that differ in capitals or blanks alone, or that are several words for true and false."""
    groups: dict[str, list[str]] = {}
    for text in found:
        groups.setdefault(" ".join(text.lower().split()), []).append(text)
    twins = [group for group in groups.values() if len(group) > 1]
    if groups.keys() <= WORDS.keys() and len(groups) > 2:
        return (
            f"'{name}' holds several words for true and false, {found}. Declare it: SCM(graph, variables={{'{name}':"
            f" ccf.Boolean()}}), which reads them; if they are categories, {line(name, categories(found))}"
        )
    if not twins:
        return ""
    return (
        f"'{name}' has categories that differ in capitals or blanks alone, {twins[0]}. If they are one, write them"
        f" alike: df['{name}'].str.strip().str.lower(); if not, {line(name, categories(found))}"
    )
