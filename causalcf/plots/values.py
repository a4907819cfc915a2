"""The figure of scalar counterfactuals: a panel per node, a row per unit, a colour per world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from causalcf.plots.protocols import Graph
from causalcf.plots.results import DrawnWorld
from causalcf.plots.style import ACTED, GREY, INK, PAPER, WORLDS, new_figure, text_width
from causalcf.plots.words import describe_actions, show
from causalcf.variables import Variable

__all__ = ["plot_values"]

PANELS_A_LINE, WORD_FONT = 4, 6.8


def plot_values(
    graph: Graph,
    worlds: Sequence[DrawnWorld],
    factual: Mapping[str, Tensor] | None,
    *,
    nodes: Sequence[str],
    labels: Sequence[str],
    notes: Sequence[str],
) -> Figure:
    """Draw scalar nodes: numbers as dots joined to where they were, categories in words.

    Args:
        graph: The causal graph.
        worlds: Values in each world, of the units shown.
        factual: Observed values of these units, if there are any.
        nodes: Scalars to show.
        labels: The units' names.
        notes: Lines for the foot.
    """
    lines = -(-len(nodes) // PANELS_A_LINE)
    columns = -(-len(nodes) // lines)
    units = len(labels) * max(0.2, 0.15 * len(worlds) + 0.06)
    margin = 0.2 + max(text_width(label, 7) for label in labels)
    words = {
        node: _words(graph.variables[node], factual, worlds, node) for node in nodes if graph.variables[node].discrete
    }
    widths = [max(_panel_width(node, words.get(node)) for node in nodes[k::columns]) for k in range(columns)]
    height = lines * (units + 0.62) + 0.35 + 0.16 * len(worlds) + 0.12 * len(notes)
    figure = new_figure(margin + sum(widths) + 0.2 * columns, height, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)  # type: ignore[union-attr]
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False, width_ratios=widths)
    for ax, node in zip(panels.flat, nodes, strict=False):
        for k in range(0, len(labels), 2):
            ax.axhspan(k - 0.5, k + 0.5, color=PAPER, lw=0, zorder=0)
        if node in words:
            _write_words(ax, words[node])
        else:
            _draw_numbers(ax, None if factual is None else factual[node], worlds, node)
        acted = any(node in world.acted for world in worlds)
        ax.set_title(node, color=ACTED if acted else INK, weight="bold" if acted else "normal", loc="left")
        ax.set_xlabel(graph.variables[node].unit, size=7)
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.set_yticks(range(len(labels)), labels=labels)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    for ax in panels.flat[len(nodes) :]:
        ax.axis("off")
    _write_legend(figure, graph, worlds, factual is not None)
    if notes:
        figure.supxlabel("\n".join(notes), size=6.5, color=GREY, x=0.01, ha="left")
    return figure


def _heights(units: int, worlds: int) -> list[np.ndarray]:
    """For each world the ordinates of the units."""
    step = min(0.3, 0.8 / worlds)
    return [np.arange(units) + step * (k - (worlds - 1) / 2) for k in range(worlds)]


def _draw_numbers(ax: Axes, before: Tensor | None, worlds: Sequence[DrawnWorld], node: str) -> None:
    """Where each unit was (open), and where each world puts it."""
    for k, (world, y) in enumerate(zip(worlds, _heights(len(worlds[0].values[node]), len(worlds)), strict=True)):
        colour, samples = WORLDS[k % len(WORLDS)], world.samples.get(node)
        after = world.values[node].numpy() if samples is None else samples.mean(0).numpy()
        if samples is not None:
            many = np.broadcast_to(y, samples.shape)
            ax.scatter(samples.numpy(), many, s=5, color=colour, alpha=0.25, lw=0, zorder=2)
        if before is not None:
            ax.hlines(y, before.numpy(), after, color=colour, lw=1.2, zorder=2)
            ax.scatter(before.numpy(), y, s=17, facecolor="white", edgecolor=GREY, lw=0.9, zorder=4)
        moved = np.full(len(after), True) if before is None else after != before.numpy()
        ax.scatter(after[moved], y[moved], s=15, color=colour, lw=0, zorder=3)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.tick_params(axis="x", length=2)
    ax.margins(x=0.08)


class Word(NamedTuple):
    """The text for one unit in one world, and its colour."""

    text: str
    colour: str


def _words(
    variable: Variable, factual: Mapping[str, Tensor] | None, worlds: Sequence[DrawnWorld], node: str
) -> list[list[Word]]:
    """The values of each unit before and in each world, in words; one world is enough if no world changes a unit."""
    before = None if factual is None else factual[node]
    words = [
        [_word(variable, before, world, node, i, k) for i in range(len(world.values[node]))]
        for k, world in enumerate(worlds)
    ]
    unchanged = all(word.colour == GREY for of_world in words for word in of_world)
    return words[:1] if unchanged else words


def _word(variable: Variable, before: Tensor | None, world: DrawnWorld, node: str, i: int, k: int) -> Word:
    new, share = world.values[node][i], ""
    if node in world.samples:
        samples = world.samples[node][:, i]
        new = samples.mode().values
        agree = float((samples == new).double().mean())
        share = f" ({agree:.0%} of samples)" if agree < 1 else ""
    text, colour = show(variable, new) + share, WORLDS[k % len(WORLDS)]
    if before is None:
        return Word(text, colour)
    if bool(before[i] == new):
        return Word(text, colour if share else GREY)
    return Word(f"{show(variable, before[i])} → {text}", colour)


def _write_words(ax: Axes, words: Sequence[Sequence[Word]]) -> None:
    for of_world, y in zip(words, _heights(len(words[0]), len(words)), strict=True):
        for (text, colour), at in zip(of_world, y, strict=True):
            ax.text(0.02, at, text, size=WORD_FONT, color=colour, va="center", transform=ax.get_yaxis_transform())
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)


def _panel_width(node: str, words: Sequence[Sequence[Word]] | None) -> float:
    """Width of a panel in inches: of its title and words, or of an axis."""
    if words is None:
        return max(1.5, text_width(node, 8.5, bold=True))
    texts = [text_width(word.text, WORD_FONT) for of_world in words for word in of_world]
    return 0.12 + max(0.6, text_width(node, 8.5, bold=True), *texts)


def _write_legend(figure: Figure, graph: Graph, worlds: Sequence[DrawnWorld], observed: bool) -> None:
    mark = partial(Line2D, [], [], ls="", marker="o")
    handles = [mark(mfc="white", mec=GREY, mew=0.9, ms=4, label="factual")] if observed else []
    for k, world in enumerate(worlds):
        handles.append(mark(color=WORLDS[k % len(WORLDS)], mew=0, ms=4.5, label=describe_actions(world.do, graph)))
    figure.legend(handles=handles, loc="outside upper left", handletextpad=0.1, borderaxespad=0.2)
