"""The parts of a printed table: cells, lines, and numbers as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor, log10

from causalcf.metrics import METRICS

__all__ = ["DASH", "SHARES", "Cell", "ScoreTable", "TableLine", "number", "quoted", "shown"]

DASH = "–"
"""The text for an unknown value."""

SHARES = {measure.unit for measure in METRICS.values() if measure.unit and measure.range == (0, 1)}
"""Units of scores that lie between 0 and 1."""


@dataclass
class Cell:
    """A printed number, and the small print beside it: an interval, or why there is no number."""

    text: str
    interval: str = ""


@dataclass
class TableLine:
    """A line of a table: a model of ours, a baseline, or published numbers.

    Args:
        name: Text of the first column.
        cells: The other columns.
        kind: "ours", "beside" or "published".
        first: Whether a line is drawn above it.
    """

    name: str
    cells: list[Cell]
    kind: str = ""
    first: bool = False


@dataclass
class ScoreTable:
    """A table as the page and the Markdown show it.

    Args:
        title: Its heading.
        text: Paragraphs above it.
        header: Names of its columns, that of the models first.
        rows: Its lines.
        groups: Names over runs of columns after the first, with their lengths.
    """

    title: str
    text: list[str]
    header: list[str]
    rows: list[TableLine]
    groups: list[tuple[str, int]] = field(default_factory=list)


def shown(value: float, unit: str) -> str:
    """A score: shares of rows with three decimals, all else with three digits."""
    return f"{value:.3f}" if unit in SHARES else number(value)


def number(value: float) -> str:
    """Three significant digits, no exponent, nothing below a ten-thousandth."""
    if abs(value) < 5e-5:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{max(0, 2 - _order(value))}f}"


def quoted(value: float | None) -> str:
    """A published number, with no more digits than were published."""
    if value is None:
        return DASH
    return f"{value:.3f}" if abs(value) < 0.1 else number(value)


def _order(value: float) -> int:
    return max(-2, floor(log10(abs(value))))
