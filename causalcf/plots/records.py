"""Scores as points: a panel a metric, a line a question, beside the truth and doing nothing."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from causalcf.core.errors import DataError
from causalcf.plots.protocols import Scored
from causalcf.plots.style import CUT, GREY, INK, WORLDS, new_figure, styled
from causalcf.plots.words import score

__all__ = ["plot_records"]

A_LINE, PANEL = 2, 3.3

HINTS = {"lower": "lower is better", "higher": "higher is better", "": "compare with the truth"}


@styled
def plot_records(records: Sequence[Scored]) -> Figure:
    """Draw scores with their 95 % intervals: a panel a metric, a line for what was done and scored.

    Args:
        records: The scores.

    Returns:
        A figure outside pyplot's registry.

    Raises:
        DataError: There are no scores.
    """
    if not records:
        raise DataError("There are no scores to draw.")
    groups: dict[tuple[str, str], list[Scored]] = {}
    for record in records:
        groups.setdefault((record.metric, record.unit), []).append(record)
    residuals = list(dict.fromkeys(r.residual for r in records))
    columns = min(A_LINE, len(groups))
    keys = list(groups)
    lines = [keys[i : i + columns] for i in range(0, len(keys), columns)]
    heights = [
        0.62 + (0.12 + 0.14 * len(residuals)) * max(len(_questions(groups[key])) for key in line) for line in lines
    ]
    figure = new_figure(0.3 + PANEL * columns, 0.5 + sum(heights), layout="constrained")
    panels = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for line, axes in zip(lines, panels, strict=True):
        for ax in axes[len(line) :]:
            ax.axis("off")
        for ax, key in zip(axes, line, strict=False):
            _draw(ax, key, groups[key], residuals)
    _legend(figure, records, residuals)
    note = f"n = {records[0].n:,}, seed {records[0].seed}; bars: 95 % over rows. The same score of noise is left out."
    figure.supxlabel(note, size=6.5, color=GREY, x=0.01, ha="left")
    return figure


def _questions(records: Sequence[Scored]) -> list[tuple[str, str]]:
    """What was done and what was scored, each once."""
    return list(dict.fromkeys((r.do, r.node) for r in records))


def _draw(ax: Axes, key: tuple[str, str], records: Sequence[Scored], residuals: Sequence[float | str | None]) -> None:
    asked = _questions(records)
    for r in records:
        k = residuals.index(r.residual)
        y = asked.index((r.do, r.node)) + 0.8 / (len(residuals) + 1) * (k - (len(residuals) - 1) / 2)
        colour = WORLDS[k % len(WORLDS)]
        if r.low is not None and r.high is not None:
            ax.plot([r.low, r.high], [y, y], color=colour, lw=1.2, solid_capstyle="butt", zorder=2)
        ax.plot(r.value, y, "o", color=colour, ms=4.2, zorder=4)
        ax.annotate(
            score(r.value),
            (1, y),
            (3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            size=6.3,
            color=colour,
        )  # in a column of their own, so that they lie on no mark
        if r.truth is not None:
            ax.plot(r.truth, y, "|", color=INK, ms=8, mew=1.1, zorder=3)
        if r.identity is not None:
            ax.plot(r.identity, y, "x", color=CUT, ms=4, mew=1.1, zorder=3)
    ax.set_yticks(range(len(asked)), [f"do({do}): {node}" if do else node for do, node in asked])
    ax.set_ylim(len(asked) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", length=2)
    ax.margins(x=0.06)
    ax.locator_params(axis="x", nbins=5)
    ax.set_title(key[0], loc="left")
    ax.set_xlabel(", ".join(filter(None, [key[1], HINTS[records[0].better]])), size=7, labelpad=1.5)


def _legend(figure: Figure, records: Sequence[Scored], residuals: Sequence[float | str | None]) -> None:
    handles = [
        Line2D([], [], ls="", marker="o", ms=4.2, color=WORLDS[k % len(WORLDS)], label=_model(residual))
        for k, residual in enumerate(residuals)
    ]
    if any(r.truth is not None for r in records):
        handles.append(Line2D([], [], ls="", marker="|", ms=8, mew=1.1, color=INK, label="the truth"))
    if any(r.identity is not None for r in records):
        handles.append(Line2D([], [], ls="", marker="x", ms=4, mew=1.1, color=CUT, label="doing nothing"))
    figure.legend(handles=handles, loc="outside upper left", ncols=2, handletextpad=0.2, borderaxespad=0.2)


def _model(residual: float | str | None) -> str:
    if residual is None:
        return "the model"
    return f"the model, residual {residual:g}" if isinstance(residual, int | float) else f"the model, {residual}"
