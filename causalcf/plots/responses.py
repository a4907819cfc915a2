"""Mechanisms as pictures: a row a child, a panel for each of its causes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from causalcf.plots.protocols import Graph, Response
from causalcf.plots.style import FAINT, GREY, INK, PALE, WORLDS, new_figure, styled
from causalcf.plots.words import show
from causalcf.variables import Variable
from causalcf.variables.image import Image

__all__ = ["plot_responses"]

THIN = 12
"""How many units are drawn as lines of their own."""

CATEGORIES = 6
"""Categories of a child that have a line, the most frequent ones."""

ROW, PANEL, A_LINE = 1.75, 2.5, 4


@styled
def plot_responses(
    responses: Sequence[Response], graph: Graph, *, seed: int, nodes: Sequence[str] | None = None, drawn: bool = False
) -> Figure:
    """Draw how each child answers to each of its causes.

    Dots are rows. A thin line is one unit: the cause moves, its noise and its other causes stay, so each point of
    it is a counterfactual. The thick line is the mean over units. Of a category, lines are shares of the units, and
    rings shares among the rows as they are: where ring and line differ, other causes differ, too. Of an image, one
    unit is shown.

    Args:
        responses: What `causalcf.scm.responses.responses` gives.
        graph: Knows units and names of categories.
        seed: What noise was drawn with, where abduction draws.
        nodes: Which children to show; by default all.
        drawn: Whether the rows were drawn from the model.

    Returns:
        A figure outside pyplot's registry.

    Raises:
        UnknownNodeError: There is no such node.
    """
    asked = set(graph.nodes if nodes is None else map(graph.require, nodes))
    lines: dict[str, list[Response]] = {}
    for response in responses:
        if response.child in asked:
            lines.setdefault(response.child, []).append(response)
    columns = min(max(map(len, lines.values()), default=1), A_LINE)
    rows = [(child, group[i : i + columns]) for child, group in lines.items() for i in range(0, len(group), columns)]
    heights = [_height(graph.variables[child], group, graph) for child, group in rows]
    figure = new_figure(max(3.4, 0.5 + PANEL * columns), 0.3 + sum(heights), layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for line, (child, group) in zip(panels, rows, strict=True):
        for ax in line[len(group) :]:
            ax.axis("off")
        for ax, response in zip(line, group, strict=False):
            _draw(ax, response, graph.variables[response.cause], graph.variables[child], first=ax is line[0])
    dots = "draws of the model" if drawn else "rows of the data"
    note = (
        f"Dots: {dots}; rings: shares among them.\nThin lines: single units, their noise and other causes held."
        f"\nThick lines: all units. Seed {seed}."
    )
    figure.supxlabel(note, size=6.5, color=GREY, x=0.01, ha="left")
    return figure


def _height(child: Variable, group: Sequence[Response], graph: Graph) -> float:
    """Height of a line of panels, in: room for names on their side, and for a legend."""
    if isinstance(child, Image):
        return 0.72 * ROW
    labels = [_places(response.grid, graph.variables[response.cause])[1] for response in group]
    return ROW + 0.7 * any(_upright(names) for names in labels) + 0.14 * (child.discrete and 3)


def _upright(labels: Sequence[str]) -> bool:
    """Whether names stand on their side, as they have no room to lie."""
    return len(labels) > 3 and max(map(len, labels)) > 3


def _draw(ax: Axes, response: Response, cause: Variable, child: Variable, *, first: bool) -> None:
    if isinstance(child, Image):
        _draw_strip(ax, response, cause, first=first)
        return
    x, labels = _places(response.grid, cause)
    if child.discrete:
        _draw_shares(ax, response, x, cause, child, named=first)
    else:
        _draw_numbers(ax, response, x, cause)
    if labels:
        ax.set_xticks(x, labels, rotation=90 if _upright(labels) else 0)
        ax.set_xlim(-0.6, len(labels) - 0.4)
    ax.set_xlabel(_with_unit(response.cause, cause), labelpad=1.5)
    ax.tick_params(length=2)
    if first:
        text = f"share of {response.child}" if child.discrete else _with_unit(response.child, child)
        ax.set_ylabel(text, color=INK)


def _with_unit(node: str, variable: Variable) -> str:
    return f"{node} ({variable.unit})" if variable.unit else node


def _places(grid: Tensor, cause: Variable) -> tuple[NDArray[np.float64], list[str]]:
    """Where the values of a cause stand, and their names if it is a category."""
    if not cause.discrete:
        return grid.double().numpy(), []
    names = [show(cause, value) for value in grid]
    return np.arange(len(grid), dtype=float), [_cut(name) for name in names]


def _cut(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _places_of_rows(response: Response, cause: Variable) -> tuple[np.ndarray, np.ndarray]:
    """Where the rows stand, categories spread a little, and which of them have a value on the grid."""
    values = response.rows[response.cause]
    if not cause.discrete:
        x = values.double().numpy()
        low, high = float(response.grid[0]), float(response.grid[-1])
        return x, (x >= low) & (x <= high)
    hit = values[:, None].long() == response.grid[None].long()
    spread = 0.5 * ((np.arange(len(values)) * 0.6180339887) % 1 - 0.5)  # the golden ratio fills a stripe evenly
    return hit.long().argmax(1).numpy() + spread, hit.any(1).numpy()


def _draw_numbers(ax: Axes, response: Response, x: NDArray[np.float64], cause: Variable) -> None:
    at, on = _places_of_rows(response, cause)
    seen = response.rows[response.child].double().numpy()
    ax.scatter(at[on], seen[on], s=5, color=PALE, alpha=0.45, lw=0, zorder=1)
    curves = response.curves.double().numpy()
    units = np.linspace(0, curves.shape[1] - 1, min(THIN, curves.shape[1])).round().astype(int)
    marker = "o" if cause.discrete else None
    ax.plot(x, curves[:, units], color=WORLDS[0], lw=0.5, alpha=0.45, zorder=2)
    ax.plot(x, curves.mean(1), color=WORLDS[0], lw=2.0, marker=marker, ms=4, zorder=3)


def _draw_shares(
    ax: Axes, response: Response, x: NDArray[np.float64], cause: Variable, child: Variable, *, named: bool
) -> None:
    """The share of units in each category as the cause moves; dots are the shares among the rows, in bins."""
    codes, seen = response.curves.long(), response.rows[response.child].long()
    k = int(max(codes.max(), seen.max())) + 1
    kinds = torch.tensor([1]) if k == 2 else torch.bincount(seen, minlength=k).argsort(descending=True)[:CATEGORIES]
    at, on = _places_of_rows(response, cause)
    places = np.round(at) if cause.discrete else _binned(at, x)
    marker = "o" if cause.discrete else None
    for j, kind in enumerate(kinds.tolist()):
        colour = WORLDS[j % len(WORLDS)]
        name = _cut(show(child, torch.tensor(kind)))
        ax.plot(x, (codes == kind).double().mean(1).numpy(), color=colour, marker=marker, ms=4, label=name)
        for place in np.unique(places[on]):
            here = on & (places == place)
            if here.sum() >= 5:
                share = float((seen.numpy()[here] == kind).mean())
                ax.plot(place, share, "o", ms=3.2, mfc="white", mec=colour, mew=0.8, zorder=4)
    ax.set_ylim(-0.05, 1.05)
    if named:
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=2,
            fontsize=6.3,
            borderpad=0,
            borderaxespad=0.2,
            handlelength=1.1,
            columnspacing=0.9,
        )


def _binned(at: NDArray[np.float64], x: NDArray[np.float64], bins: int = 8) -> NDArray[np.float64]:
    """The middle of the bin each value lies in."""
    edges = np.linspace(x[0], x[-1], bins + 1)
    which = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, bins - 1)
    return (edges[:-1] + edges[1:])[which] / 2


def _draw_strip(ax: Axes, response: Response, cause: Variable, *, first: bool) -> None:
    """One unit's image at each value of the cause, side by side."""
    frames = response.curves[:, 0]
    step = max(1, -(-len(frames) // 10))
    frames, grid = frames[::step], response.grid[::step]
    strip = torch.cat(list(frames), -1).clamp(0, 1)
    width = frames.shape[-1]
    picture = strip.movedim(0, -1).numpy() if strip.shape[0] == 3 else strip.mean(0).numpy()
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    labels = [show(cause, value) for value in grid]
    ax.set_xticks([width * (i + 0.5) - 0.5 for i in range(len(frames))], labels, fontsize=6)
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set(visible=True, color=FAINT, linewidth=0.5)
    ax.set_xlabel(_with_unit(response.cause, cause), labelpad=1.5)
    if first:
        ax.set_ylabel(response.child, color=INK)
