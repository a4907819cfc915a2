"""The figure of image counterfactuals: a row per unit, a group of panels per world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from causalcf.plots.protocols import Graph
from causalcf.plots.results import DrawnWorld
from causalcf.plots.style import ACTED, FAINT, GREY, INK, PALE, new_figure, text_width
from causalcf.plots.words import action_pieces, show, signed, three_digits
from causalcf.variables import Variable

__all__ = ["plot_images"]

PANEL, PANEL_GAP, GROUP_GAP, LEFT = 1.12, 0.07, 0.24, 0.3
LINE, CAPTION_FONT, HEADER_LINE, HEADER_FONT = 0.128, 6.8, 0.15, 8.2
DIFFERENCES = "RdBu_r"

MAX_LINES = 8
"""How many attributes a caption names."""


class CaptionLine(NamedTuple):
    """A line of a caption."""

    node: str
    text: str
    colour: str


class Panel(NamedTuple):
    """A column of images."""

    title: str
    pixels: Tensor
    """(N, c, h, w) in [0, 1], or (N, h, w) in grey levels for a signed difference."""


@dataclass(frozen=True)
class Group:
    """Columns that share a title and a caption: the factual, or one world."""

    title: Sequence[str]
    panels: Sequence[Panel]
    captions: Sequence[Sequence[CaptionLine]]

    @property
    def panels_width(self) -> float:
        """Width of the panels alone, in."""
        return len(self.panels) * (PANEL + PANEL_GAP) - PANEL_GAP

    def width(self, names: float) -> float:
        """Width with title and captions, in; `names` is the width of the captions' first column."""
        texts = [text_width(line.text, CAPTION_FONT) for lines in self.captions for line in lines]
        return max(self.panels_width, names + max(texts, default=0.0), *map(_title_width, self.title))


def plot_images(
    graph: Graph,
    worlds: Sequence[DrawnWorld],
    factual: Mapping[str, Tensor] | None,
    *,
    nodes: Sequence[str],
    labels: Sequence[str],
    notes: Sequence[str],
) -> Figure:
    """Draw the image nodes among `nodes`, with the scalar ones as captions.

    Args:
        graph: The causal graph.
        worlds: Values in each world, of the units shown.
        factual: Observed values of these units, if there are any.
        nodes: Images and scalars to show.
        labels: The units' names.
        notes: Lines for the foot.
    """
    images = [node for node in nodes if graph.variables[node].event_shape]
    scalars = _most_telling(worlds, factual, [node for node in nodes if node not in images])
    groups = []
    if factual is not None:
        panels = [Panel(node if len(images) > 1 else "", factual[node]) for node in images]
        captions = [
            [CaptionLine(node, _with_unit(graph.variables[node], factual[node][i]), INK) for node in scalars]
            for i in range(len(labels))
        ]
        groups.append(Group(["factual"], panels, captions))
    for world in worlds:
        panels = _panels(world, factual, images)
        captions = [_caption(graph, world, factual, scalars, i) for i in range(len(labels))]
        width = len(panels) * (PANEL + PANEL_GAP) - PANEL_GAP
        groups.append(Group(_wrapped(action_pieces(world.do, graph), width), panels, captions))
    colour = any(graph.variables[node].event_shape[0] == 3 for node in images)
    aspect = max(graph.variables[node].event_shape[1] / graph.variables[node].event_shape[2] for node in images)
    return _draw(groups, labels, notes, names=scalars, panel_height=PANEL * aspect, colour=colour)


def _most_telling(
    worlds: Sequence[DrawnWorld], factual: Mapping[str, Tensor] | None, scalars: Sequence[str]
) -> list[str]:
    """All scalars; of more than `MAX_LINES`, those that changed, then others, in the order of the graph."""
    before = factual or {}
    changed = {node for node in before for world in worlds if not torch.equal(world.values[node], before[node])}
    chosen = sorted(scalars, key=lambda node: node not in changed)[:MAX_LINES]
    return [node for node in scalars if node in chosen]


def _panels(world: DrawnWorld, factual: Mapping[str, Tensor] | None, images: Sequence[str]) -> list[Panel]:
    panels = []
    for node in images:
        prefix = f"{node} " if len(images) > 1 else ""
        if factual is None:
            panels.append(Panel(prefix.strip(), world.values[node]))
            continue
        change = 255 * (world.values[node] - factual[node]).mean(1)
        panels += [Panel(f"{prefix}counterfactual", world.values[node])]
        panels += [Panel(f"{prefix}truth", world.truth[node])] if node in world.truth else []
        panels += [Panel(f"{prefix}difference", change)]
    return panels


def _caption(
    graph: Graph, world: DrawnWorld, factual: Mapping[str, Tensor] | None, scalars: Sequence[str], i: int
) -> list[CaptionLine]:
    """The lines below one unit in one world: old -> new, pale where nothing changed."""
    lines = []
    for node in scalars:
        variable = graph.variables[node]
        spread = float(world.spread[node][i]) if node in world.spread else 0.0
        new = _with_unit(variable, world.values[node][i])
        text = new
        if spread > 0:
            text = f"{show(variable, world.values[node][i])} ± {three_digits(spread)} {variable.unit}".rstrip()
        changed = factual is None or spread > 0 or _with_unit(variable, factual[node][i]) != new
        if factual is not None and changed:
            text = f"{show(variable, factual[node][i])} → {text}"
        lines.append(CaptionLine(node, text, ACTED if node in world.acted else INK if changed else PALE))
    return lines


def _with_unit(variable: Variable, value: Tensor) -> str:
    return f"{show(variable, value)} {variable.unit}".rstrip()


def _title_width(text: str) -> float:
    return text_width(text, HEADER_FONT, bold=True)


def _wrapped(pieces: Sequence[str], width: float) -> list[str]:
    """Pieces of a title as lines, broken between pieces where a width in inches is full."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if _title_width(f"{lines[-1]}, {piece}") <= width:
            lines[-1] += f", {piece}"
        else:
            lines[-1] += ","
            lines.append(f"      {piece}")
    return lines


# ---------------------------------------------------------------------- drawing


class Page:
    """A new figure with coordinates in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = new_figure(width, height)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes whose upper left corner is at (x, y)."""
        bottom = 1 - (y + height) / self.height
        return self.figure.add_axes((x / self.width, bottom, width / self.width, height / self.height))

    def write(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        """Text at (x, y)."""
        self.figure.text(x / self.width, 1 - y / self.height, text, size=size, **style)


def _draw(
    groups: Sequence[Group],
    labels: Sequence[str],
    notes: Sequence[str],
    *,
    names: Sequence[str],
    panel_height: float,
    colour: bool,
) -> Figure:
    """Lay out by hand, as every size is known, and draw."""
    changes = [panel.pixels for group in groups for panel in group.panels if panel.pixels.ndim == 3]
    limit = max([1.0, *(float(change.abs().max()) for change in changes)])
    names_width = max((text_width(name, CAPTION_FONT) for name in names), default=0.0) + 0.1
    widths = [group.width(names_width) for group in groups]
    header = 0.26 + HEADER_LINE * max(len(group.title) for group in groups)
    row = panel_height + 0.18 + LINE * len(names)
    foot = 0.02 + 0.13 * len(notes)
    inside = LEFT + sum(widths) + GROUP_GAP * (len(groups) - 1)
    page = Page(inside + (0.7 + 0.12 * colour if changes else 0.12), header + row * len(labels) + foot)
    for i, label in enumerate(labels):
        middle = header + row * i + panel_height / 2
        page.write(LEFT - 0.1, middle, label, 7, color=GREY, rotation=90, ha="center", va="center")
    x = LEFT
    for group, width in zip(groups, widths, strict=True):
        _draw_titles(page, group, x, header)
        for i, caption in enumerate(group.captions):
            y = header + row * i
            for k, panel in enumerate(group.panels):
                ax = page.axes(x + k * (PANEL + PANEL_GAP), y, PANEL, panel_height)
                _draw_image(ax, panel.pixels[i], limit)
            _write_caption(page, caption, x, y + panel_height + 0.05, names_width)
        x += width + GROUP_GAP
    if changes:
        _draw_colorbar(page, inside + 0.12, header, panel_height, limit, colour=colour)
    for k, note in enumerate(notes):
        page.write(LEFT, page.height - foot + 0.13 * k, note, 6.5, color=GREY, va="top")
    return page.figure


def _draw_titles(page: Page, group: Group, x: float, header: float) -> None:
    for k, line in enumerate(reversed(group.title)):
        page.write(x, header - 0.2 - HEADER_LINE * k, line, HEADER_FONT, weight="bold", va="bottom")
    for k, panel in enumerate(group.panels):
        page.write(x + k * (PANEL + PANEL_GAP), header - 0.04, panel.title, CAPTION_FONT, color=GREY, va="bottom")


def _draw_image(ax: Axes, pixels: Tensor, limit: float) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(visible=True, color=FAINT, linewidth=0.5)
    if pixels.ndim == 2:
        ax.imshow(pixels.numpy(), cmap=DIFFERENCES, norm=Normalize(-limit, limit))
    elif pixels.shape[0] == 3:
        ax.imshow(pixels.clamp(0, 1).movedim(0, -1).numpy())
    else:
        ax.imshow(pixels.mean(0).numpy(), cmap="gray", vmin=0, vmax=1)


def _write_caption(page: Page, caption: Sequence[CaptionLine], x: float, y: float, names_width: float) -> None:
    for k, (node, text, colour) in enumerate(caption):
        page.write(x, y + LINE * k, node, CAPTION_FONT, color=PALE if colour == PALE else GREY, va="top")
        page.write(x + names_width, y + LINE * k, text, CAPTION_FONT, color=colour, va="top")


def _draw_colorbar(page: Page, x: float, y: float, height: float, limit: float, *, colour: bool) -> None:
    ax = page.axes(x, y, 0.08, height)
    bar = page.figure.colorbar(ScalarMappable(Normalize(-limit, limit), DIFFERENCES), cax=ax)
    bar.outline.set(edgecolor=FAINT, linewidth=0.5)  # type: ignore[operator]
    power = 10.0 ** np.floor(np.log10(limit))
    step = max(k * power for k in (1, 2, 5) if k * power <= limit)
    bar.set_ticks([-step, 0, step], labels=[signed(f"{-step:g}"), "0", f"+{step:g}"])
    ax.tick_params(length=2, pad=1.5, labelsize=6.5)
    label = "grey levels,\nmean of channels" if colour else "grey levels"
    page.write(x + 0.5 + 0.06 * colour, y + height / 2, label, 6.5, color=GREY, rotation=90, ha="center", va="center")
