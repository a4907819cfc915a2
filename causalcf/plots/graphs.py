"""Causal graphs as pictures."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Polygon
from numpy.typing import NDArray

from causalcf.plots.layout import Extent, ordered, placed
from causalcf.plots.protocols import Graph
from causalcf.plots.style import ACTED, ACTED_FILL, CUT, FAINT, GREY, INK, PAPER, new_figure, styled, text_width
from causalcf.variables import Variable
from causalcf.variables.image import Image

__all__ = ["draw_graph", "monotone"]

NODE_HEIGHT, NODE_PAD, IMAGE_SIDE = 0.34, 0.24, 0.62
NOISE_RADIUS, NOISE_GAP = 0.105, 0.2
GRAPH_FONT, GRAPH_MARGIN = 9.0, 0.06
LARGEST = 40.0
"""A picture's longer side at most, in: of graphs of hundreds of nodes, all is drawn smaller."""

HEAD = 0.085
"""Length of an arrow's head, in."""


@dataclass(frozen=True)
class _Box:
    """A rounded rectangle: centre, half sizes, radius of its corners."""

    x: float
    y: float
    half_width: float
    half_height: float
    radius: float


class _Outlines:
    """Many boxes at once, to measure distances to.

    Args:
        boxes: name -> box.
    """

    def __init__(self, boxes: Mapping[Hashable, _Box]) -> None:
        self.number = {name: i for i, name in enumerate(boxes)}
        table = np.array([[b.x, b.y, b.half_width, b.half_height, b.radius] for b in boxes.values()])
        self.centre, self.half, self.radius = table[:, :2], table[:, 2:4], table[:, 4:]

    def distance(self, names: Sequence[Hashable], points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Signed distances of points (n, 2) to the outlines of k boxes, negative inside: (k, n)."""
        return self._distance([self.number[name] for name in names], points)

    def free(self, curve: NDArray[np.float64], but: Sequence[Hashable], room: float = 0.08) -> bool:
        """Whether a curve (n, 2) keeps that far from all boxes but some."""
        low, high = self.centre - self.half - room, self.centre + self.half + room
        near = ((low <= curve.max(0)) & (high >= curve.min(0))).all(1)
        near[[self.number[name] for name in but]] = False
        return bool((self._distance(np.flatnonzero(near), curve) > room).all())

    def _distance(self, rows: Sequence[int] | NDArray[np.intp], points: NDArray[np.float64]) -> NDArray[np.float64]:
        centre, half, radius = self.centre[rows], self.half[rows], self.radius[rows]
        x, y = np.moveaxis(np.abs(points - centre[:, None]) - (half - radius)[:, None], -1, 0)
        return np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0) - radius


@styled
def draw_graph(graph: Graph, do: Iterable[str] = (), *, noise: bool = True, ax: Axes | None = None) -> Axes:
    """Draw a causal graph in layers, causes above effects; images are squares, hidden causes dashed arcs.

    Args:
        graph: The graph; all of it is drawn, whatever is acted on.
        do: Nodes acted on: filled, with the edges into them, their hidden causes and their noise cut.
        noise: Draw each node's exogenous noise as a small dashed circle.
        ax: Where to draw, at the size it has now; by default a new figure of the size the graph needs
            (`draw_graph(graph).figure`).
    """
    acted = set(do)
    boxes, waypoints, sides = _place(graph, noise=noise)
    noises = {node: _noise_box(box, sides[node]) for node, box in boxes.items()} if noise else {}
    outlines = _Outlines({**boxes, **{(node, "noise"): box for node, box in noises.items()}})
    curves = {
        edge: _route(edge, outlines, waypoints[edge], _ends(graph, edge, waypoints, boxes)) for edge in graph.edges
    }
    arcs = {pair: _arc(pair, boxes, outlines, list(curves.values())) for pair in graph.confounded}
    corners = [outlines.centre - outlines.half, outlines.centre + outlines.half, *curves.values(), *arcs.values()]
    low, high = np.min([c.min(0) for c in corners], 0), np.max([c.max(0) for c in corners], 0)
    width, height = high - low + 2 * GRAPH_MARGIN
    if ax is None:
        figure = new_figure(*min(1.0, LARGEST / max(width, height)) * np.array([width, height]))
        ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    scale = _fit(ax, (low + high) / 2, width, height)
    ax.update_datalim([low, high])  # at once: asking every artist for its size takes long
    for (cause, effect), curve in curves.items():
        _draw_edge(ax, curve, outlines, (cause, effect), scale, cut=effect in acted)
    for pair, curve in arcs.items():
        _draw_edge(ax, curve, outlines, pair, scale, cut=bool(acted & {*pair}), hidden=True)
    for node, box in noises.items():
        line = np.linspace([box.x, box.y], [boxes[node].x, boxes[node].y], 200)
        _draw_edge(ax, line, outlines, ((node, "noise"), node), scale, cut=node in acted, dashed=True)
        _draw_noise(ax, box, scale, cut=node in acted)
    for node, box in boxes.items():
        _draw_node(ax, node, box, scale, acted=node in acted)
    return ax


def _place(
    graph: Graph, *, noise: bool
) -> tuple[dict[str, _Box], dict[tuple[str, str], tuple[tuple[float, float], ...]], dict[str, int]]:
    """Nodes as boxes, the points edges pass by, and on which side (-1, 1) each node's noise is."""
    halves = {node: _half_size(node, graph.variables.get(node)) for node in graph.nodes}
    room = NOISE_GAP + 2 * NOISE_RADIUS if noise else 0.0
    layers, layer_gap = ordered(graph.networkx), min(0.42 + 0.016 * len(graph.edges), 0.9)
    # Noise goes to the outer side, which the order within layers decides.
    leftmost = {row[0] for row in layers.rows if len(row) > 1}
    sides = {node: -1 if node in leftmost else 1 for node in graph.nodes}
    extents = {}
    for node, (w, h) in halves.items():
        left = room if sides[node] < 0 else 0.0
        extents[node] = Extent(w + left, w + room - left, 2 * h)
    layout = placed(layers, extents, layer_gap=layer_gap)
    boxes = {}
    for node, (x, y) in layout.nodes.items():
        w, h = halves[node]
        boxes[node] = _Box(x, y, w, h, 0.06 if isinstance(graph.variables.get(node), Image) else h)
    return boxes, dict(layout.waypoints), sides


def _half_size(node: str, variable: Variable | None) -> tuple[float, float]:
    width = text_width(node, GRAPH_FONT) + NODE_PAD
    if isinstance(variable, Image):
        side = max(IMAGE_SIDE, width)
        return side / 2, side / 2
    return max(NODE_HEIGHT, width) / 2, NODE_HEIGHT / 2


def _noise_box(box: _Box, side: int) -> _Box:
    x = box.x + side * (box.half_width + NOISE_GAP + NOISE_RADIUS)
    return _Box(x, box.y, NOISE_RADIUS, NOISE_RADIUS, NOISE_RADIUS)


def _ends(
    graph: Graph,
    edge: tuple[str, str],
    waypoints: Mapping[tuple[str, str], Sequence[tuple[float, float]]],
    boxes: Mapping[str, _Box],
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an edge starts and ends: the centres, or spread over a node's side where many meet."""
    cause, effect = edge
    out = sorted(graph.children(cause), key=lambda n: (*waypoints[cause, n], (boxes[n].x, 0.0))[0][0])
    into = sorted(graph.parents(effect), key=lambda n: ((boxes[n].x, 0.0), *waypoints[n, effect])[-1][0])
    ends = []
    for others, other, box, side in ((out, effect, boxes[cause], -1), (into, cause, boxes[effect], 1)):
        if len(others) < 4:
            ends.append((box.x, box.y))
            continue
        span = min(1.6 * box.half_width, 0.13 * (len(others) - 1))
        offset = span * (others.index(other) / (len(others) - 1) - 0.5)
        ends.append((box.x + offset, box.y + 0.8 * side * box.half_height))
    return ends[0], ends[1]


def _route(
    edge: tuple[str, str],
    outlines: _Outlines,
    waypoints: Sequence[tuple[float, float]],
    ends: tuple[tuple[float, float], tuple[float, float]],
) -> NDArray[np.float64]:
    """An edge as a curve (n, 2): straight if nothing is in the way, else around it."""
    start, end = ends
    reach = 0.5 * NODE_HEIGHT
    upright = [(x, y + dy) for x, y in waypoints for dy in (reach, -reach)]
    curve = np.empty((0, 2))
    for between in ([], *([point] for point in waypoints), waypoints, upright):
        curve = _curve([start, *between, end])
        if outlines.free(curve, but=edge):
            break
    return curve


def _arc(
    pair: tuple[str, str],
    boxes: Mapping[str, _Box],
    outlines: _Outlines,
    edges: Sequence[NDArray[np.float64]],
    n: int = 240,
) -> NDArray[np.float64]:
    """A hidden cause as a bow (n, 2) between two nodes: the flattest of some that meets no box and few edges."""
    a, b = (np.array([boxes[node].x, boxes[node].y]) for node in pair)
    across = np.array([a[1] - b[1], b[0] - a[0]]) / np.hypot(*(a - b))
    t = np.linspace(0, 1, n)[:, None]
    lines = np.concatenate(edges) if edges else np.empty((0, 2))
    best, least = np.empty((0, 2)), np.inf
    for bulge in (0.55, -0.55, 0.9, -0.9, 1.4, -1.4, 2.0, -2.0):
        control = (a + b) / 2 + across * bulge
        curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b
        middle = curve[n // 4 : -n // 4]
        near = np.hypot(*(middle[:, None] - lines).T).min(initial=1.0) < 0.06 if len(lines) else False
        cost = abs(bulge) + (0.0 if outlines.free(curve, but=pair) else 10.0) + 2.0 * bool(near)
        if cost < least:
            best, least = curve, cost
    return best


def _curve(points: Sequence[tuple[float, float]], n: int = 240) -> NDArray[np.float64]:
    """A smooth curve down through points, without overshoot."""
    x, y = np.array(points).T
    down = np.linspace(y[0], y[-1], n)
    if len(points) == 2:
        return np.column_stack([np.linspace(x[0], x[1], n), down])
    return np.column_stack([monotone(-y, x, -down), down])


def monotone(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A cubic through points (x rising) that is monotone between them, at other places: scipy's takes long to import.

    F. N. Fritsch, J. Butland, "A method for constructing local monotone piecewise cubic interpolants", 1984.

    Example:
        >>> monotone(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.5])).tolist()
        [0.0, 1.0, 1.0]
    """
    step, rise = np.diff(x), np.diff(y) / np.diff(x)
    before, after = step[:-1] + 2 * step[1:], 2 * step[:-1] + step[1:]
    level = rise[:-1] * rise[1:] <= 0  # an extremum: flat there
    inner = (before + after) / (before / np.where(level, 1, rise[:-1]) + after / np.where(level, 1, rise[1:]))
    slope = np.concatenate([rise[:1], np.where(level, 0, inner), rise[-1:]])
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(step) - 1)
    h, t = step[i], (at - x[i]) / step[i]
    # Hermite's basis, from the left end.
    bend = (3 - 2 * t) * t**2
    return (1 - bend) * y[i] + bend * y[i + 1] + h * t * (1 - t) * ((1 - t) * slope[i] - t * slope[i + 1])


def _dense(curve: NDArray[np.float64], step: float = 0.03) -> NDArray[np.float64]:
    """A curve with points close enough for an arrow's head, however flat it runs."""
    along = np.concatenate([[0.0], np.hypot(*np.diff(curve, axis=0).T).cumsum()])
    if np.diff(along).max() <= step:
        return curve
    even = np.linspace(0, along[-1], int(along[-1] / step) + 2)
    return np.column_stack([np.interp(even, along, axis) for axis in curve.T])


def _fit(ax: Axes, middle: NDArray[np.float64], width: float, height: float) -> float:
    """Limits that show a drawing of this size in inches, at most at full size; its scale."""
    x, y = middle
    window = ax.get_window_extent()
    inch = ax.figure.dpi
    scale = min(window.width / inch / width, window.height / inch / height, 1.25)
    shown = (window.width / inch / scale, window.height / inch / scale)
    ax.set_xlim(x - shown[0] / 2, x + shown[0] / 2)
    ax.set_ylim(y - shown[1] / 2, y + shown[1] / 2)
    ax.set_aspect("equal", adjustable="datalim")
    ax.axis("off")
    return scale


def _draw_edge(
    ax: Axes,
    curve: NDArray[np.float64],
    outlines: _Outlines,
    ends: tuple[Hashable, Hashable],
    scale: float,
    *,
    cut: bool,
    dashed: bool = False,
    hidden: bool = False,
) -> None:
    """An arrow along a curve, between the outlines of two boxes; faint, with a cross, where it is cut.

    That of a hidden cause is dashed and has a head at each end.
    """
    curve = _dense(curve)
    cause, effect = outlines.distance(ends, curve)
    curve = curve[(cause > (0.02 if hidden else 0.0)) & (effect > 0.02)]
    colour = FAINT if cut else GREY if dashed else INK
    head = HEAD * (0.75 if dashed else 1.0)
    shaft = curve
    for way in (1, -1) if hidden else (1,):
        end = curve[::way][-1]
        shaft = shaft[np.hypot(*(shaft - end).T) > 0.8 * head]
        base = curve[::way][np.hypot(*(curve[::way] - end).T) > head][-1]
        along = (end - base) / np.hypot(*(end - base))
        across = 0.38 * head * np.array([-along[1], along[0]])
        ax.add_artist(Polygon([end, base + across, base - across], closed=True, fc=colour, ec="none", zorder=2))
    style = (0, (2.2, 1.6)) if dashed or hidden or cut else "-"
    width = (0.8 if dashed or hidden else 1.1) * scale
    ax.add_artist(Line2D(*shaft.T, color=colour, lw=width, ls=style, solid_capstyle="butt", zorder=1))
    if cut:
        middle, size = curve[len(curve) // 2], (3.6 if dashed else 4.5) * scale
        ax.add_artist(Line2D(*middle[:, None], marker="x", ms=size, mew=1.2 * scale, color=CUT, zorder=4))


def _draw_noise(ax: Axes, box: _Box, scale: float, *, cut: bool) -> None:
    colour = FAINT if cut else GREY
    circle = Circle((box.x, box.y), box.radius, fc="white", ec=colour, lw=0.8 * scale, ls=(0, (2.2, 1.6)), zorder=3)
    ax.add_artist(circle)
    ax.text(
        box.x, box.y, "u", ha="center", va="center_baseline", color=colour, fontsize=7 * scale, style="italic", zorder=5
    )


def _draw_node(ax: Axes, node: str, box: _Box, scale: float, *, acted: bool) -> None:
    patch = FancyBboxPatch(
        (box.x - box.half_width, box.y - box.half_height),
        2 * box.half_width,
        2 * box.half_height,
        boxstyle=f"round,pad=0,rounding_size={box.radius}",
        fc=ACTED_FILL if acted else PAPER,
        ec=ACTED if acted else INK,
        lw=(1.6 if acted else 1.0) * scale,
        zorder=3,
    )
    ax.add_artist(patch)
    ax.text(box.x, box.y, node, ha="center", va="center_baseline", fontsize=GRAPH_FONT * scale, zorder=5)
