"""The axes of an answer: its worlds side by side (W), and its samples (S)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.plots.changes import needs_factual
from causalcf.plots.protocols import Answer, Graph
from causalcf.plots.results import DrawnWorld, drawn_worlds, notes_of, row_labels
from causalcf.plots.style import ACTED, FAINT, GREY, INK, PALE, WORLDS, new_figure, styled
from causalcf.plots.words import describe_actions, show
from causalcf.variables.image import Image

__all__ = ["plot_samples", "plot_worlds"]

SIDE, PANEL, A_LINE, FOOT = 0.72, 2.3, 3, 0.13

UNITS, FRAMES, LINES = 4, 10, 40
"""Units and worlds whose images are shown, and units with a line of their own."""


@styled
def plot_worlds(cf: Answer, rows: int | None = None, nodes: Sequence[str] | None = None) -> Figure:
    """Draw how the answer changes from world to world: along the values that one node is set to, where it is one.

    Images of the first units stand in a row a unit; below, each number that changes has a panel, with a thin line a
    unit, the median thick and the middle half shaded. Of categories, lines are shares of the units.

    Args:
        cf: The result of a query whose `do` was a list.
        rows: How many units, the first ones; by default all.
        nodes: Which nodes to show; by default images and what changes.

    Returns:
        A figure outside pyplot's registry.

    Raises:
        UnknownNodeError: There is no such node.
        DataError: There is one world only, or nothing to draw.
    """
    if not cf.listed:
        raise DataError("There is one world only. Ask for several, do=[{...}, {...}], or plot kind='changes'.")
    asked = list(map(cf.graph.require, cf.graph.nodes if nodes is None else nodes))
    count = cf.rows if rows is None else min(rows, cf.rows)
    variables = cf.graph.variables
    images = [node for node in asked if isinstance(variables[node], Image)]
    scalars = [node for node in asked if not variables[node].event_shape]
    worlds = drawn_worlds(cf, [*images, *scalars], count)
    swept, at = _swept(worlds, cf.graph)
    scalars = [node for node in scalars if nodes is not None or (node != swept and _varies(worlds, node))]
    if not images + scalars or count < 1:
        raise DataError(f"There is nothing to draw: no image, and no node that differs between {len(worlds)} worlds.")
    seen = {} if cf.factual is None else {node: cf.factual[node][:count].detach().cpu() for node in asked}
    order = np.argsort(at, kind="stable")
    names = [_short_name(world, cf.graph, swept) for world in worlds]
    units = min(UNITS, count) if images else 0
    aspect = max((variables[node].event_shape[1] / variables[node].event_shape[2] for node in images), default=1)
    picked = order[np.linspace(0, len(order) - 1, min(FRAMES, len(order))).round().astype(int)]
    lines = -(-len(scalars) // A_LINE)
    columns = min(A_LINE, len(scalars))
    notes = [f"{count:,} units.", *notes_of(cf)]
    heights = [units * len(images) * (SIDE * aspect + 0.06) + 0.4, lines * PANEL * 0.82]
    width = max(0.6 + (len(picked) + bool(seen)) * (SIDE + 0.06), 0.4 + PANEL * columns, 3.4)
    used = [h for h, on in zip(heights, (bool(images), bool(scalars)), strict=True) if on]
    figure = new_figure(width, sum(used) + FOOT * len(notes) + 0.1, layout="constrained")
    parts = iter(np.atleast_1d(figure.subfigures(len(used), 1, height_ratios=used, squeeze=False)[:, 0]))
    if images:
        _draw_strips(next(parts), [(n, i) for n in images for i in range(units)], worlds, seen, picked, names,
                     row_labels(cf, count), _title(swept, cf.graph))  # fmt: skip
    if scalars:
        panels = next(parts).subplots(lines, columns, squeeze=False)
        for ax in panels.flat[len(scalars) :]:
            ax.axis("off")
        for ax, node in zip(panels.flat, scalars, strict=False):
            _draw_sweep(ax, node, cf.graph, worlds, at, order)
            _label_worlds(ax, swept, cf.graph, at, names)
    figure.supxlabel("\n".join(notes), size=6.5, color=GREY, x=0.01, ha="left")
    return figure


def _swept(worlds: Sequence[DrawnWorld], graph: Graph) -> tuple[str | None, np.ndarray]:
    """The one node that every world sets to a number, and the numbers; else none, and the worlds' places."""
    targets = {tuple(world.do) for world in worlds}
    only = next(iter(targets)) if len(targets) == 1 else ()
    if len(only) == 1 and only[0] in graph and not graph.variables[only[0]].discrete:
        try:
            values = np.array([float(world.do[only[0]]) for world in worlds])
        except (TypeError, ValueError, RuntimeError):  # a distribution, a function, a value a row
            pass
        else:
            return only[0], values
    return None, np.arange(len(worlds), dtype=float)


def _short_name(world: DrawnWorld, graph: Graph, swept: str | None) -> str:
    if swept is not None:
        return f"{float(world.do[swept]):.4g}".replace("-", "−")
    return describe_actions(world.do, graph).removeprefix("do(").removesuffix(")")


def _title(swept: str | None, graph: Graph) -> str:
    if swept is None:
        return ""
    unit = graph.variables[swept].unit
    return f"do({swept} = …){f', {unit}' if unit else ''}"


def _varies(worlds: Sequence[DrawnWorld], node: str) -> bool:
    return any(not torch.equal(world.values[node], worlds[0].values[node]) for world in worlds)


def _draw_strips(
    figure: Figure,
    lines: Sequence[tuple[str, int]],
    worlds: Sequence[DrawnWorld],
    seen: Mapping[str, Tensor],
    picked: np.ndarray,
    names: Sequence[str],
    labels: Sequence[str],
    title: str,
) -> None:
    """A row of images a unit: as observed, then in each world."""
    columns = len(picked) + bool(seen)
    # As many columns as there is room for, so that few images do not stand far apart.
    room = max(columns, int(figure.bbox.width / figure.dpi / (SIDE + 0.06)))
    axes = figure.subplots(len(lines), room, squeeze=False)
    for ax in axes[:, columns:].flat:
        ax.axis("off")
    for line, (node, i) in zip(axes[:, :columns], lines, strict=True):
        shown = [seen[node][i]] if seen else []
        shown += [worlds[k].values[node][i] for k in picked]
        for ax, pixels in zip(line, shown, strict=True):
            show_image(ax, pixels)
        line[0].set_ylabel(labels[i], size=7, color=GREY)
    if seen:
        axes[0, 0].set_title("factual", size=7, color=INK)
    for ax, k in zip(axes[0, bool(seen) : columns], picked, strict=True):
        ax.set_title(names[k].replace(", ", ",\n"), size=7, color=ACTED)
    if title:
        figure.suptitle(title, size=8.2, weight="bold", x=0.01, ha="left")


def show_image(ax: Axes, pixels: Tensor, *, spread: float | None = None) -> None:
    """One image (c, h, w) without axes; with `spread`, a map of standard deviations up to that value."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(visible=True, color=FAINT, linewidth=0.5)
    if spread is not None:
        ax.imshow(pixels.mean(0).numpy(), cmap="magma", vmin=0, vmax=spread, interpolation="nearest")
    elif pixels.shape[0] == 3:
        ax.imshow(pixels.clamp(0, 1).movedim(0, -1).numpy(), interpolation="nearest")
    else:
        ax.imshow(pixels.mean(0).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _draw_sweep(
    ax: Axes, node: str, graph: Graph, worlds: Sequence[DrawnWorld], at: np.ndarray, order: np.ndarray
) -> None:
    variable, x = graph.variables[node], at[order]
    acted = any(node in world.acted for world in worlds)
    ax.set_title(node, loc="left", color=ACTED if acted else INK, weight="bold" if acted else "normal")
    if variable.discrete:
        values = torch.stack([worlds[k].values[node] for k in order]).long()
        kinds = torch.bincount(values.flatten()).argsort(descending=True)[:6].tolist()
        kinds = [1] if int(values.max()) <= 1 else kinds
        for j, kind in enumerate(kinds):
            share = (values == kind).double().mean(1).numpy()
            ax.plot(x, share, marker="o", ms=3, color=WORLDS[j % len(WORLDS)], label=show(variable, torch.tensor(kind)))
        ax.set_ylim(-0.05, 1.05)
        ax.set_ylabel("share of units", labelpad=1.5)
        ax.legend(fontsize=6.3, ncols=2, loc="best")
        return
    middle = [worlds[k].samples.get(node) for k in order]
    values = np.stack(
        [
            (worlds[k].values[node] if s is None else s.mean(0)).double().numpy()
            for k, s in zip(order, middle, strict=True)
        ]
    )
    few = np.linspace(0, values.shape[1] - 1, min(LINES, values.shape[1])).round().astype(int)
    ax.plot(x, values[:, few], color=PALE, lw=0.5, alpha=0.7)
    low, half, high = np.quantile(values, [0.25, 0.5, 0.75], axis=1)
    ax.fill_between(x, low, high, color=WORLDS[0], alpha=0.15, lw=0)
    ax.plot(x, half, color=WORLDS[0], lw=2, marker="o", ms=3.5)
    ax.set_ylabel(variable.unit, labelpad=1.5)
    ax.tick_params(length=2)


def _label_worlds(ax: Axes, swept: str | None, graph: Graph, at: np.ndarray, names: Sequence[str]) -> None:
    if swept is None:
        ax.set_xticks(at, names, rotation=20 if max(map(len, names)) > 8 else 0, ha="right", fontsize=6.3)
        return
    ax.set_xlabel(_title(swept, graph), labelpad=1.5)
    ax.xaxis.set_major_locator(MaxNLocator(5))


@styled
def plot_samples(cf: Answer, rows: int | None = None, nodes: Sequence[str] | None = None) -> Figure:
    """Draw several samples of image counterfactuals: a row a unit, and where they differ.

    Args:
        cf: The result of a query with `num_samples`, of one world.
        rows: How many units, the first ones; by default four.
        nodes: Which image; by default the first one.

    Returns:
        A figure outside pyplot's registry.

    Raises:
        UnknownNodeError: There is no such node.
        DataError: There are no samples, several worlds, or no image.
    """
    if cf.num_samples is None or cf.listed:
        raise DataError(
            "Samples are drawn of one world, asked for with num_samples=...; of several, cf.world(0).plot()."
        )
    count, before = needs_factual(cf, UNITS if rows is None else rows)
    asked = list(map(cf.graph.require, cf.graph.nodes if nodes is None else nodes))
    images = [node for node in asked if isinstance(cf.graph.variables[node], Image)]
    if not images:
        raise DataError(f"None of {asked} is an image. Samples of numbers are dots in cf.plot().")
    draws = cf[images[0]][:, :count].detach().cpu()
    factual = before[images[0]][:count].detach().cpu()
    few = min(5, cf.num_samples)
    spread = draws.std(0, correction=0)
    most = max(float(spread.mean(1).max()), 1 / 255)
    notes = [f"{few} of {cf.num_samples} samples. The spread is a pixel's standard deviation over all, white: "
             f"{255 * most:.0f} grey levels.", *notes_of(cf)]  # fmt: skip
    aspect = draws.shape[-2] / draws.shape[-1]
    figure = new_figure(
        0.4 + (few + 2) * 0.95, 0.5 + count * (0.9 * aspect + 0.06) + FOOT * len(notes), layout="constrained"
    )
    axes = figure.subplots(count, few + 2, squeeze=False)
    for i, line in enumerate(axes):
        show_image(line[0], factual[i])
        for j in range(few):
            show_image(line[1 + j], draws[j, i])
        show_image(line[-1], spread[i], spread=most)
        line[0].set_ylabel(row_labels(cf, count)[i], size=7, color=GREY)
    for ax, title in zip(axes[0], ("factual", *(f"sample {j + 1}" for j in range(few)), "spread"), strict=True):
        ax.set_title(title, size=7)
    figure.suptitle(describe_actions(cf.do, cf.graph), size=8.2, weight="bold", x=0.01, ha="left")
    figure.supxlabel("\n".join(notes), size=6.5, color=GREY, x=0.01, ha="left")
    return figure
