"""What moved, by how much, and for whom: all units of an answer at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.plots.protocols import Answer
from causalcf.plots.results import DrawnWorld, drawn_worlds, notes_of
from causalcf.plots.style import ACTED, GREY, INK, WORLDS, new_figure, styled
from causalcf.plots.words import describe_actions, show, three_digits
from causalcf.variables import Variable
from causalcf.variables.image import Image

__all__ = ["needs_factual", "plot_changes", "plot_pair", "world_legend"]

PANEL, A_LINE, FOOT = 2.35, 4, 0.13

MOST_CATEGORIES = 10
"""Rows and columns of a table of categories."""

ARROWED = 60
"""Units up to which a pair of numbers has arrows; more have thin lines."""


@styled
def plot_changes(cf: Answer, rows: int | None = None, nodes: Sequence[str] | None = None) -> Figure:
    """Draw what moved, by how much, and for whom: a panel a node that changed, over all units.

    Of a number, each unit is a dot: where it was (across) and where each world puts it (up); on the diagonal nothing
    changed. Of a category, how many units went from where to where, in the world that
    changes it most (the frame has its colour). Of an image, how much a pixel changed on average, the
    units in order. Several samples are shown by their mean, and a line over the middle 90 %.

    Args:
        cf: The result of a query.
        rows: How many units, the first ones; by default all.
        nodes: Which nodes to show; by default those that changed.

    Returns:
        A figure outside pyplot's registry.

    Raises:
        UnknownNodeError: There is no such node.
        DataError: Nothing was observed, so nothing can have changed; or nothing changed.
    """
    count, before = needs_factual(cf, rows)
    able = [
        n for n in cf.graph.nodes if isinstance(cf.graph.variables[n], Image) or not cf.graph.variables[n].event_shape
    ]
    asked = [node for node in able if node in set(map(cf.graph.require, nodes))] if nodes is not None else able
    worlds = drawn_worlds(cf, asked, count)
    was = {node: before[node][:count].detach().cpu() for node in asked}
    moved = [node for node in asked if nodes is not None or any(_moved(w, node, was[node]).any() for w in worlds)]
    if not moved:
        raise DataError(f"There is nothing to draw: no node changed for any of {count} units.")
    columns = min(A_LINE, len(moved))
    lines = -(-len(moved) // columns)
    notes = [f"{count:,} units. {_still(asked, moved)}".strip(), *notes_of(cf)]
    height = lines * (PANEL + 0.05 + 0.13 * len(worlds)) + 0.17 * (len(worlds) + 1) + FOOT * len(notes)
    figure = new_figure(max(3.6, 0.25 + PANEL * columns), height, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)
    for ax in panels.flat[len(moved) :]:
        ax.axis("off")
    for ax, node in zip(panels.flat, moved, strict=False):
        _draw_panel(ax, node, cf.graph.variables[node], was[node], worlds)
    world_legend(figure, cf, worlds)
    figure.supxlabel("\n".join(notes), size=6.5, color=GREY, x=0.01, ha="left")
    return figure


def needs_factual(cf: Answer, rows: int | None) -> tuple[int, Mapping[str, Tensor]]:
    """How many units to show, and what was observed of all.

    Raises:
        DataError: Nothing was observed, or there are no rows.
    """
    count = cf.rows if rows is None else min(rows, cf.rows)
    if cf.factual is None or count < 1:
        raise DataError(
            f"There is nothing to compare: {count} rows{'' if cf.factual else ', and nothing was observed'}."
            " Ask for a counterfactual of observed rows."
        )
    return count, cf.factual


def world_legend(figure: Figure, cf: Answer, worlds: Sequence[DrawnWorld]) -> None:
    """The worlds' colours, above all panels."""
    handles = [
        Line2D([], [], ls="", marker="o", ms=4.5, mew=0, color=WORLDS[k % len(WORLDS)], label=text)
        for k, text in enumerate(describe_actions(world.do, cf.graph) for world in worlds)
    ]
    figure.legend(handles=handles, loc="outside upper left", handletextpad=0.1, borderaxespad=0.2)


def _still(asked: Sequence[str], moved: Sequence[str]) -> str:
    rest = [node for node in asked if node not in moved]
    return f"The same for every unit: {', '.join(rest)}." if rest else ""


def _moved(world: DrawnWorld, node: str, was: Tensor) -> Tensor:
    """Which units changed, (N,)."""
    new = world.samples[node] if node in world.samples else world.values[node][None]
    return (new != was).reshape(new.shape[0], len(was), -1).any(-1).any(0)


def _draw_panel(ax: Axes, node: str, variable: Variable, was: Tensor, worlds: Sequence[DrawnWorld]) -> None:
    acted = any(node in world.acted for world in worlds)
    if isinstance(variable, Image):
        said = _draw_images(ax, node, was, worlds)
    elif variable.discrete:
        said = _draw_flows(ax, variable, was, worlds, node)
    else:
        said = _draw_numbers(ax, node, variable, was, worlds)
    colour, weight = (ACTED, "bold") if acted else (INK, "normal")
    ax.annotate(node, (0, 1), (0, 5 + 9 * len(said)), size=8.5, weight=weight, color=colour, **_corner())
    for k, text in enumerate(reversed(said)):
        ax.annotate(text, (0, 1), (0, 4 + 9 * k), size=6.3, color=GREY, **_corner())


def _corner() -> dict[str, Any]:
    """How text is placed above a panel's left corner."""
    return {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}


def _draw_numbers(ax: Axes, node: str, variable: Variable, was: Tensor, worlds: Sequence[DrawnWorld]) -> list[str]:
    x, said = was.double().numpy(), []
    for k, world in enumerate(worlds):
        colour, samples = WORLDS[k % len(WORLDS)], world.samples.get(node)
        y = (world.values[node] if samples is None else samples.double().mean(0)).double().numpy()
        if samples is not None:
            low, high = (samples.double().quantile(q, 0).numpy() for q in (0.05, 0.95))
            ax.vlines(x, low, high, color=colour, lw=0.7, alpha=0.4)
        ax.scatter(x, y, s=11 if len(x) <= 200 else 4, color=colour, alpha=0.75 if len(x) <= 200 else 0.35, lw=0)
        said.append(_in_short(x, y, variable.unit))
    ends = np.array([min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])])
    ax.plot(ends, ends, color=GREY, lw=0.7, ls=(0, (4, 3)), zorder=0)
    ax.set(xlim=tuple(ends), ylim=tuple(ends))
    ax.set_box_aspect(1)
    ax.locator_params(nbins=5)
    ax.tick_params(length=2)
    unit = f" ({variable.unit})" if variable.unit else ""
    ax.set_xlabel(f"was{unit}", labelpad=1.5)
    ax.set_ylabel(f"would have been{unit}", labelpad=1.5)
    return said


def _in_short(x: NDArray[np.float64], y: NDArray[np.float64], unit: str) -> str:
    """How many moved, and by how much."""
    moved = x != y
    if not moved.any():
        return "nobody moved"
    low, middle, high = np.quantile((y - x)[moved], [0.05, 0.5, 0.95])
    by = f"{_plus(middle)} ({_plus(low)} .. {_plus(high)})"
    return f"{int(moved.sum()):,} moved by {by} {unit}".rstrip()


def _plus(value: float) -> str:
    text = three_digits(value)
    return text if text.startswith("−") else f"+{text}"


def _draw_flows(ax: Axes, variable: Variable, was: Tensor, worlds: Sequence[DrawnWorld], node: str) -> list[str]:
    """How many units went from which category (up) to which (across), in the world that changes most."""
    k_world = max(range(len(worlds)), key=lambda k: int(_moved(worlds[k], node, was).sum()))
    world = worlds[k_world]
    new = world.samples[node] if node in world.samples else world.values[node][None]
    old = was.long().expand(new.shape[0], -1).flatten()
    new = new.long().flatten()
    k = int(max(old.max(), new.max())) + 1
    counts = torch.zeros(k, k).index_put_((old, new), torch.ones(len(old)), accumulate=True) / (len(old) / len(was))
    kept = (counts.sum(0) + counts.sum(1)).argsort(descending=True)[:MOST_CATEGORIES].sort().values
    table = counts[kept][:, kept]
    moved = table.clone().fill_diagonal_(0)
    ax.imshow(moved.numpy(), cmap="Blues", vmin=0, vmax=max(1.0, 1.6 * float(moved.max())), aspect="auto")
    for i in range(len(kept)):
        for j in range(len(kept)):
            if table[i, j] > 0:
                ax.text(j, i, f"{table[i, j]:.0f}", ha="center", va="center", size=6.3, color=GREY if i == j else INK)
    names = [show(variable, value) for value in kept]
    names = [name if len(name) <= 12 else f"{name[:11]}…" for name in names]
    ax.set_xticks(range(len(kept)), names, rotation=90 if max(map(len, names)) > 2 and len(names) > 2 else 0)
    ax.set_yticks(range(len(kept)), names)
    ax.tick_params(length=0, labelsize=6.3)
    ax.set_box_aspect(1)
    ax.set_xlabel("would have been", labelpad=1.5)
    ax.set_ylabel("was", labelpad=1.5)
    ax.tick_params(axis="x", pad=1.5)
    if len(worlds) > 1:
        ax.spines[:].set(visible=True, color=WORLDS[k_world % len(WORLDS)], linewidth=1.2)
    cut = [f"{len(kept)} of {k} categories are shown"] if k > len(kept) else []
    return [f"{int(_moved(w, node, was).sum()):,} of {len(was):,} changed" for w in worlds] + cut


def _draw_images(ax: Axes, node: str, was: Tensor, worlds: Sequence[DrawnWorld]) -> list[str]:
    """Mean absolute change of a pixel, the units from the least changed to the most."""
    said = []
    for k, world in enumerate(worlds):
        size = 255 * (world.values[node] - was).abs().flatten(1).mean(1).double().numpy()
        share = 100 * (np.arange(len(size)) + 0.5) / len(size)
        ax.plot(share, np.sort(size), color=WORLDS[k % len(WORLDS)], marker="o" if len(size) < 30 else None, ms=2.5)
        said.append(f"a pixel by {three_digits(float(np.median(size)))} grey levels (median unit)")
    ax.set_xlim(0, 100)
    ax.set_ylim(bottom=0)
    ax.set_box_aspect(1)
    ax.tick_params(length=2)
    ax.set_xlabel("units, in order (%)", labelpad=1.5)
    ax.set_ylabel("mean change of a pixel (grey levels)", labelpad=1.5)
    return said


@styled
def plot_pair(cf: Answer, rows: int | None = None, nodes: Sequence[str] = ()) -> Figure:
    """Draw two numbers against each other: every unit where it was, and an arrow to where each world puts it.

    Args:
        cf: The result of a query.
        rows: How many units, the first ones; by default all.
        nodes: The two nodes: across, and up.

    Returns:
        A figure outside pyplot's registry.

    Raises:
        UnknownNodeError: There is no such node.
        DataError: There are not two of them, one is not a number, or nothing was observed.
    """
    pair = [cf.graph.require(node) for node in nodes]
    variables = cf.graph.variables
    if len(pair) != 2 or any(variables[node].event_shape or variables[node].discrete for node in pair):
        raise DataError(
            f"A pair is two nodes that are numbers, got {pair}. Ask cf.plot(kind='pair', nodes=('x', 'y'))."
        )
    count, before = needs_factual(cf, rows)
    worlds = drawn_worlds(cf, pair, count)
    was = np.stack([before[node][:count].detach().cpu().double().numpy() for node in pair])
    notes = [f"{count:,} units: open where they were, filled where they would have been.", *notes_of(cf)]
    figure = new_figure(3.9, 3.5 + 0.17 * len(worlds) + FOOT * len(notes), layout="constrained")
    ax = figure.subplots()
    many = count > ARROWED
    for k, world in enumerate(worlds):
        colour = WORLDS[k % len(WORLDS)]
        new = np.stack([_centre(world, node) for node in pair])
        moved = (new != was).any(0)
        ends = np.stack([was, new], 1)[:, :, moved]
        ax.plot(*ends, color=colour, lw=0.35 if many else 0.8, alpha=0.35 if many else 0.6, zorder=2)
        ax.scatter(*new[:, moved], s=5 if many else 14, color=colour, lw=0, alpha=0.6 if many else 1, zorder=4)
    ax.scatter(*was, s=7 if many else 18, facecolor="white", edgecolor=GREY, lw=0.6, alpha=0.7 if many else 1, zorder=3)
    labels = [f"{node} ({variables[node].unit})" if variables[node].unit else node for node in pair]
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    world_legend(figure, cf, worlds)
    figure.supxlabel("\n".join(notes), size=6.5, color=GREY, x=0.01, ha="left")
    return figure


def _centre(world: DrawnWorld, node: str) -> NDArray[np.float64]:
    """A number's value in a world, the mean of its samples if there are several."""
    samples = world.samples.get(node)
    return (world.values[node] if samples is None else samples.mean(0)).double().numpy()
