"""The pictures there are of an answer, by name."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from matplotlib.figure import Figure

from causalcf.core.errors import DataError
from causalcf.plots.axes import plot_samples, plot_worlds
from causalcf.plots.changes import plot_changes, plot_pair
from causalcf.plots.counterfactuals import plot_counterfactual
from causalcf.plots.protocols import Answer

__all__ = ["PLOTS", "plot_answer"]

PLOTS: dict[str, Callable[..., Figure]] = {
    "units": plot_counterfactual,
    "changes": plot_changes,
    "pair": plot_pair,
    "worlds": plot_worlds,
    "samples": plot_samples,
}


def plot_answer(cf: Answer, kind: str = "units", **options: Any) -> Figure:
    """Draw an answer.

    Args:
        cf: The result of a query.
        kind: "units", a row each; "changes", what moved, by how much and for whom, over all units; "pair", two numbers
            against each other; "worlds", along the worlds asked for; "samples", how draws of an image differ.
        options: Passed to the function of that kind.

    Raises:
        DataError: There is no such kind, or nothing to draw.
    """
    if kind not in PLOTS:
        raise DataError(f"There is no picture kind={kind!r} of an answer. There are {list(PLOTS)}.")
    known = [name for name in signature(PLOTS[kind]).parameters if name not in ("cf", "answer")]
    strange = [name for name in options if name not in known]
    if strange:
        raise DataError(f"The picture kind={kind!r} has no option {strange}. It has {known}.")
    return PLOTS[kind](cf, **options)
