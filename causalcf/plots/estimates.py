"""Estimates as points with their intervals, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from matplotlib.figure import Figure

from causalcf.plots.style import ACTED, GREY, INK, WORLDS, new_figure, styled

__all__ = ["Shown", "plot_curve", "plot_estimates"]


class Shown(Protocol):
    """A number with its interval."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def draws(self) -> int: ...
    @property
    def seed(self) -> int: ...


@styled
def plot_estimates(title: str, estimates: Sequence[Shown]) -> Figure:
    """Draw estimates as points with 95 % intervals, the first on top, with a line at zero.

    Args:
        title: The question.
        estimates: The answers.

    Returns:
        A figure outside pyplot's registry.
    """
    figure = new_figure(5.2, 0.9 + 0.34 * len(estimates), layout="constrained")
    ax = figure.subplots()
    for i, one in enumerate(reversed(estimates)):
        ax.plot([one.low, one.high], [i, i], color=WORLDS[0], linewidth=1.4, solid_capstyle="butt")
        ax.plot(one.value, i, "o", color=WORLDS[0], markersize=4.5)
        ax.annotate(
            f"{one.value:.3g}", (one.value, i), (0, 5), textcoords="offset points", ha="center", color=INK, size=7
        )
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_yticks(range(len(estimates)), [one.name for one in reversed(estimates)])
    ax.set_ylim(-0.6, len(estimates) - 0.2)
    ax.set_title(title, loc="left")
    first = estimates[0]
    ax.set_xlabel(
        f"{first.unit}{', ' if first.unit else ''}95 % over {first.source}; n = {first.draws:,}, seed {first.seed}"
    )
    return figure


@styled
def plot_curve(
    x: Sequence[float], estimates: Sequence[Shown], *, xlabel: str, level: float, at: float | None
) -> Figure:
    """Draw an estimate as a curve with its 95 % band, a line at a level, and where the curve crosses it.

    Args:
        x: What the estimate was taken over.
        estimates: One for each x.
        xlabel: What x is.
        level: Where the line is drawn.
        at: Where the curve crosses it first; None if nowhere.

    Returns:
        A figure outside pyplot's registry.
    """
    figure = new_figure(4.6, 3.0, layout="constrained")
    ax = figure.subplots()
    ax.fill_between(x, [e.low for e in estimates], [e.high for e in estimates], color=WORLDS[0], alpha=0.2, linewidth=0)
    ax.plot(x, [e.value for e in estimates], color=WORLDS[0], linewidth=1.4)
    ax.axhline(level, color=GREY, linewidth=0.8)
    if at is not None:
        ax.axvline(at, color=ACTED, linewidth=1.0, linestyle=(0, (3, 2)))
        side = "left" if at < 0 else "right"
        ax.annotate(
            f"turns at {at:.2f}", (at, 0.97), (4 if side == "left" else -4, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha=side, va="top", color=INK, size=7,
        )  # fmt: skip
    first = estimates[0]
    ax.set_title(first.name, loc="left")
    ax.set_xlabel(f"{xlabel} (correlation of the noises)")
    ax.set_ylabel(first.unit)
    return figure
