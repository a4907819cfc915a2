"""Where the nodes of a drawn graph go: layers, causes above effects, few crossings.

The classical four steps: layers by longest path, dummy nodes where an edge passes a layer, an order
within layers by barycentres, and coordinates by least squares under the order.

K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system
structures", 1981.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np

__all__ = ["Extent", "Layers", "Layout", "isotonic", "layered", "ordered", "placed"]

Node = Any
"""A node's name; a tuple (cause, effect, layer) for a dummy."""
Edge = tuple[Node, Node]
Point = tuple[float, float]

PULL = (1.0, 2.0, 8.0)
"""How strongly a piece of an edge pulls its ends together, by how many of them are dummies: long edges run straight."""

SETTLED = 1e-5
"""Coordinates that no round moves further than this are taken as found, in."""


@dataclass(frozen=True)
class Extent:
    """Room a node takes around its centre."""

    left: float
    right: float
    height: float


DUMMY = Extent(0.1, 0.1, 0.0)
"""Room for an edge that passes a layer."""

FREE = 1e-3
"""Weight of a node that nothing pulls at."""


@dataclass(frozen=True)
class Layout:
    """Coordinates of nodes and of the points where edges pass a layer; y grows upwards.

    Args:
        nodes: node -> (x, y) of its centre.
        waypoints: edge -> where it passes the layers between its ends, from cause to effect.
    """

    nodes: Mapping[Node, Point]
    waypoints: Mapping[Edge, tuple[Point, ...]]


def layers_of(graph: nx.DiGraph) -> dict[Node, int]:
    """node -> layer, counted from the top: longest path from a root, roots pulled down to their effects.

    Example:
        >>> layers_of(nx.DiGraph([("a", "b"), ("b", "c"), ("d", "c")]))
        {'a': 0, 'd': 1, 'b': 1, 'c': 2}
    """
    layer = {node: i for i, nodes in enumerate(nx.topological_generations(graph)) for node in nodes}
    for node in graph:
        if graph.in_degree(node) == 0 and graph.out_degree(node) > 0:
            layer[node] = min(layer[child] for child in graph.successors(node)) - 1
    return layer


@dataclass(frozen=True)
class Layers:
    """A graph in layers, each in the order from left to right; `placed` gives it coordinates.

    Args:
        rows: Nodes and dummies of each layer.
        above: Node or dummy -> its neighbours in the layer above.
        below: Node or dummy -> its neighbours in the layer below.
        chains: Edge -> its dummies, from cause to effect.
    """

    rows: Sequence[Sequence[Node]]
    above: Mapping[Node, Sequence[Node]]
    below: Mapping[Node, Sequence[Node]]
    chains: Mapping[Edge, tuple[Node, ...]]


def layered(graph: nx.DiGraph, extents: Mapping[Node, Extent], *, gap: float = 0.2, layer_gap: float = 0.5) -> Layout:
    """Lay a DAG out in layers, causes above effects.

    Args:
        graph: The DAG; ties are broken by the order of its nodes.
        extents: Room each node takes.
        gap: Least room between neighbours of a layer.
        layer_gap: Room between layers.

    Example:
        >>> box = Extent(0.5, 0.5, 0.4)
        >>> layout = layered(nx.DiGraph([("a", "b"), ("a", "c")]), dict.fromkeys("abc", box))
        >>> layout.nodes["a"][0] == (layout.nodes["b"][0] + layout.nodes["c"][0]) / 2
        True
    """
    return placed(ordered(graph), extents, gap=gap, layer_gap=layer_gap)


# ---------------------------------------------------------------------- layers and the order within them


def ordered(graph: nx.DiGraph) -> Layers:
    """The layers of a DAG, ordered so that few edges cross; ties are broken by the order of its nodes.

    Example:
        >>> ordered(nx.DiGraph([("a", "q"), ("b", "p")])).rows
        [['a', 'b'], ['q', 'p']]
    """
    layer = layers_of(graph)
    above: dict[Node, list[Node]] = {node: [] for node in graph}
    below: dict[Node, list[Node]] = {node: [] for node in graph}
    rows: list[list[Node]] = [[] for _ in range(max(layer.values()) + 1)]
    for node in graph:
        rows[layer[node]].append(node)
    chains: dict[Edge, tuple[Node, ...]] = {}
    for cause, effect in graph.edges:
        chain = tuple((cause, effect, i) for i in range(layer[cause] + 1, layer[effect]))
        for dummy in chain:
            rows[dummy[2]].append(dummy)
            above[dummy], below[dummy] = [], []
        for a, b in pairwise((cause, *chain, effect)):
            below[a].append(b)
            above[b].append(a)
        chains[cause, effect] = chain
    return Layers(_fewest_crossings(rows, above, below), above, below, chains)


Ties = Mapping[Node, Sequence[Node]]


def _fewest_crossings(rows: list[list[Node]], above: Ties, below: Ties, sweeps: int = 12) -> list[list[Node]]:
    """The order within layers that cost least while sweeping down and up by barycentres."""
    best, least = [list(row) for row in rows], _cost(rows, below)
    for sweep in range(2 * sweeps):
        down = sweep % 2 == 0
        for i in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            place = _places(rows[i - 1 if down else i + 1])
            ties = above if down else below
            centre = {}
            for j, node in enumerate(rows[i]):
                places = [place[other] for other in ties[node]]
                centre[node] = (sum(places) / len(places) if places else j, j)
            rows[i] = sorted(rows[i], key=centre.__getitem__)
        for i, row in enumerate(rows):
            around = [(rows[k], ties) for k, ties in ((i - 1, above), (i + 1, below)) if 0 <= k < len(rows)]
            _swap_neighbours(row, around)
        cost = _cost(rows, below)
        if cost < least:
            best, least = [list(row) for row in rows], cost
    return best


def _places(row: Sequence[Node]) -> dict[Node, int]:
    return {node: j for j, node in enumerate(row)}


def _swap_neighbours(row: list[Node], around: Sequence[tuple[Sequence[Node], Ties]]) -> None:
    """Swap neighbours of a layer wherever that costs less.

    Only edges of the two nodes can come to cross, or cease to, so only those are looked at.

    Args:
        row: The layer, changed in place.
        around: The layers beside it, with the ties to each.
    """
    ends: list[dict[Node, list[int]]] = []
    for other, ties in around:
        place = _places(other)
        ends.append({node: sorted(place[tied] for tied in ties[node]) for node in row})
    shifts = [(len(other) - len(row)) / 2 for other, _ in around]
    for j in range(len(row) - 1):
        a, b = row[j], row[j + 1]
        crossings, run = 0, 0.0
        for of, shift in zip(ends, shifts, strict=True):
            crossings += _crossings(of[b], of[a]) - _crossings(of[a], of[b])
            for node, before, after in ((a, j, j + 1), (b, j + 1, j)):
                run += sum(abs(after + shift - end) - abs(before + shift - end) for end in of[node])
        if (crossings, run) < (0, 0.0):
            row[j], row[j + 1] = b, a


def _crossings(left: Sequence[int], right: Sequence[int]) -> int:
    """How many edges cross of a node and its neighbour to the right, whose ends in another layer are sorted."""
    return sum(bisect_left(right, end) for end in left) if right else 0


def _cost(rows: Sequence[Sequence[Node]], below: Ties) -> tuple[int, float]:
    """How many edges cross; between equals, how far they run sideways."""
    crossings, run = 0, 0.0
    for upper, lower in pairwise(rows):
        place, shift = _places(lower), (len(lower) - len(upper)) / 2
        passed: list[int] = []
        for i, node in enumerate(upper):
            for end in sorted(place[child] for child in below[node]):
                crossings += len(passed) - bisect_right(passed, end)
                run += abs(i + shift - end)
                insort(passed, end)
    return crossings, run


# ---------------------------------------------------------------------- coordinates


def placed(layers: Layers, extents: Mapping[Node, Extent], *, gap: float = 0.2, layer_gap: float = 0.5) -> Layout:
    """Coordinates for layers whose order is settled; the arguments are those of `layered`."""
    rows = layers.rows
    x = _abscissas(layers, extents, gap)
    heights = [max(extents[node].height for node in row if node in extents) for row in rows]
    y = -np.cumsum([0.0, *(layer_gap + (a + b) / 2 for a, b in pairwise(heights))])
    at = {node: (x[node], float(y[i])) for i, row in enumerate(rows) for node in row}
    return Layout(
        {node: at[node] for node in layers.above if node in extents},
        {edge: tuple(at[dummy] for dummy in chain) for edge, chain in layers.chains.items()},
    )


def _abscissas(layers: Layers, extents: Mapping[Node, Extent], gap: float, rounds: int = 100) -> dict[Node, float]:
    """Least squares of the edges' horizontal runs, order and room within layers kept.

    A layer's best coordinates, its neighbours fixed, are an isotonic regression once the room that
    nodes need is subtracted; going over the layers again and again descends to the optimum.
    """
    nodes = [node for row in layers.rows for node in row]
    number = _places(nodes)
    springs = [_springs(layers, row, number, extents) for row in layers.rows]
    offsets = [_offsets([extents.get(node, DUMMY) for node in row], gap) for row in layers.rows]
    starts = np.cumsum([0, *(len(row) for row in layers.rows)])
    x = np.concatenate(offsets)
    for _ in range(rounds):
        before = x.copy()
        for i in [*range(len(springs)), *range(len(springs) - 2, -1, -1)]:
            own = slice(starts[i], starts[i + 1])
            owner, other, pull, weight = springs[i]
            drawn = np.bincount(owner, pull * x[other], minlength=len(weight))
            wanted = np.where(weight > 0, drawn / np.maximum(weight, FREE), x[own])
            x[own] = isotonic(wanted - offsets[i], np.maximum(weight, FREE)) + offsets[i]
        if np.abs(x - before).max() < SETTLED:
            break
    return dict(zip(nodes, x.tolist(), strict=True))


def isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The rising sequence with the least weighted squared distance to some values: adjacent violators are pooled.

    Importing scipy's costs more than drawing a graph of 60 nodes.

    R. E. Barlow et al., "Statistical Inference under Order Restrictions", 1972.

    Example:
        >>> isotonic(np.array([1.0, 3.0, 2.0]), np.ones(3)).tolist()
        [1.0, 2.5, 2.5]
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, number of values
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pool = (value, weight, 1)
        while pools and pools[-1][0] >= pool[0]:
            mean, total, count = pools.pop()
            both = total + pool[1]
            pool = ((total * mean + pool[1] * pool[0]) / both, both, count + pool[2])
        pools.append(pool)
    return np.repeat([mean for mean, _, _ in pools], [count for _, _, count in pools])


def _springs(
    layers: Layers, row: Sequence[Node], number: Mapping[Node, int], extents: Mapping[Node, Extent]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The ties of a layer: node, position of the other end, and strength of each; the total strength per node."""
    ties = [
        (j, number[other], PULL[(node not in extents) + (other not in extents)])
        for j, node in enumerate(row)
        for other in (*layers.above[node], *layers.below[node])
    ]
    owner, other, pull = (np.array([tie[k] for tie in ties], kind) for k, kind in enumerate((int, int, float)))
    return owner, other, pull, np.bincount(owner, pull, minlength=len(row))


def _offsets(extents: Sequence[Extent], gap: float) -> np.ndarray:
    """Where neighbours lie when they are as close as their room allows, around zero."""
    steps = [a.right + gap + b.left for a, b in pairwise(extents)]
    offsets = np.cumsum([0.0, *steps])
    return offsets - offsets[-1] / 2
