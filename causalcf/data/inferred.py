"""What is inferred of a column, and the words in which it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalcf.variables import Variable
from causalcf.variables.codes import shortened

__all__ = ["ENOUGH", "FEW", "Inferred", "categories", "first", "line", "share"]

ENOUGH = 30
"""Rows from which on a column's values say something about what it is."""

FEW = 20
"""Different whole numbers up to which a column may hold counts, grades or codes."""


@dataclass(frozen=True)
class Inferred:
    """The variable that was inferred for a column, and why.

    Args:
        variable: The variable.
        why: The reason, found in the column.
        doubt: The reason against it, and the line that settles it; empty if there is none.
    """

    variable: Variable
    why: str
    doubt: str = ""


def line(name: str, variable: str = "ccf.Categorical([...])") -> str:
    """The line of code that settles a column's variable."""
    return f"declare it: SCM(graph, variables={{'{name}': {variable}}})."


def categories(found: list[str]) -> str:
    """A Categorical of these names, as code."""
    return f"ccf.Categorical({shortened(found)})"


def share(labels: np.ndarray, found: list[str], fits: Callable[[str], Any]) -> tuple[float, list[str]]:
    """Share of the rows whose text fits, and the different texts that do."""
    fitting = [text for text in found if fits(text.strip())]
    return float(np.isin(labels, fitting).mean()) if fitting else 0.0, fitting


def first(labels: np.ndarray, texts: list[str]) -> str:
    """Where one of some texts is first, and which."""
    at = int(np.flatnonzero(np.isin(labels, texts))[0])
    return f"row {at}: {labels[at].item()!r:.40}"
