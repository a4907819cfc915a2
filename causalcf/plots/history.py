"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from causalcf.core.errors import DataError
from causalcf.plots.style import FAINT, GREY, WORLDS, new_figure, styled
from causalcf.plots.words import signed, three_digits

__all__ = ["plot_history"]


@styled
def plot_history(history: Sequence[Mapping[str, Any]], fig: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw the training and validation loss of each node, by epoch; a panel for each stage of its training.

    Nodes fitted in closed form have no curve; they are named below. The dot marks the best validation
    loss; the model keeps the weights of that epoch, or later ones that are no worse by more than
    `Recipe.slack` allows. Where several losses are minimised in turn, each has its curve.

    Args:
        history: `scm.history`, one record per node, stage and epoch.
        fig: Figure or subfigure to draw into; a new figure by default.

    Raises:
        DataError: The history is empty.
    """
    if not history:
        raise DataError("The history is empty: fit the model first.")
    solved = {record["node"]: record for record in history if record["epoch"] == 0}
    trained: dict[str, list[Mapping[str, Any]]] = {}
    for record in history:
        if record["epoch"]:
            name = ", ".join(filter(None, (record["node"], record.get("stage"))))
            trained.setdefault(name, []).append(record)
    columns = min(max(len(trained), 1), 3)
    lines = -(-len(trained) // columns)
    note = ", ".join(f"{node} ({three_digits(record['validation'])})" for node, record in solved.items())
    if fig is None:
        fig = new_figure(0.3 + 2.5 * columns, max(1.9 * lines, 0.3) + (0.25 if note else 0.0), layout="constrained")
    if note:
        fig.supxlabel(f"Solved in closed form (validation loss): {note}.", size=6.5, color=GREY, x=0.01, ha="left")
    if trained:
        panels = fig.subplots(lines, columns, squeeze=False)
        for ax in panels.flat[len(trained) :]:
            ax.axis("off")
        for k, (name, records) in enumerate(trained.items()):
            _draw_curves(panels.flat[k], name, records, first=k == 0)
    return fig


def _draw_curves(ax: Axes, name: str, records: Sequence[Mapping[str, Any]], *, first: bool) -> None:
    epochs = np.array([record["epoch"] for record in records])
    validation = np.array([record["validation"] for record in records], dtype=float)  # None becomes NaN
    losses = [record.get("losses") or {"loss": record["train"]} for record in records]
    train = np.array([list(each.values()) for each in losses], dtype=float)
    several = len(losses[0]) > 1
    for k, turn in enumerate(losses[0]):
        colour = WORLDS[(k + 1) % len(WORLDS)] if several else FAINT
        ax.plot(epochs, train[:, k], color=colour, label=turn.replace("_", " ") if several else "train")
    if np.isfinite(validation).any():
        ax.plot(epochs, validation, color=WORLDS[0], label="validation")
        best = int(np.nanargmin(validation))
        ax.plot(epochs[best], validation[best], "o", ms=3.8, color=WORLDS[0])
        at_right = epochs[best] > epochs.mean()
        ax.annotate(
            signed(f"{validation[best]:.4g}"),
            (epochs[best], validation[best]),
            xytext=(-2 if at_right else 2, 5),
            textcoords="offset points",
            ha="right" if at_right else "left",
            size=6.8,
            color=WORLDS[0],
        )
    _limit(ax, train, validation)
    skipped = records[-1].get("skipped", 0)
    ax.set_title(name + (f" ({skipped} steps skipped)" if skipped else ""), loc="left", pad=15)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if first:
        ax.set_ylabel("loss")
    if first or several:
        # Between title and axes, so that it never lies on a curve, wherever that runs.
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0, borderpad=0, columnspacing=1.2)


def _limit(ax: Axes, train: NDArray[np.float64], validation: NDArray[np.float64]) -> None:
    """Leave out the steep start of a long run, which would flatten the rest."""
    start = len(train) // 20 + 1 if len(train) >= 10 else 0
    everything = np.column_stack([train, validation])
    later = everything[start:]
    if not np.isfinite(later).any():
        return
    low, high = np.min(everything[np.isfinite(everything)]), np.max(later[np.isfinite(later)])
    margin = 0.08 * (high - low) or 0.1
    ax.set_ylim(low - margin, high + margin)
