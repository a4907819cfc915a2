"""Where the nodes of a drawn graph go: layers, causes above effects, few crossings.

The classical four steps: layers by longest path, dummy nodes where an edge passes a layer, an order
within layers by barycentres, and coordinates by least squares under the order.

K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system
structures", 1981.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import networkx as nx
import numpy as np
from scipy.optimize import isotonic_regression

__all__ = ["Extent", "Layout", "layered"]

Node = Any
"""A node's name; a tuple (cause, effect, layer) for a dummy."""
Edge = tuple[Node, Node]
Point = tuple[float, float]

DUMMY_WIDTH = 0.1
"""Room, on either side, for an edge that passes a layer."""

PULL = (1.0, 2.0, 8.0)
"""How strongly a piece of an edge pulls its ends together, by how many of them are dummies: long edges run straight."""


@dataclass(frozen=True)
class Extent:
    """Room a node takes around its centre."""

    left: float
    right: float
    height: float


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
    layer = layers_of(graph)
    proper, chains = _with_dummies(graph, layer)
    rows: list[list[Node]] = [[] for _ in range(max(layer.values()) + 1)]
    for node in proper:
        rows[layer[node]].append(node)
    rows = _ordered(proper, rows)
    x = _abscissas(
        proper, rows, {node: extents.get(node, Extent(DUMMY_WIDTH, DUMMY_WIDTH, 0.0)) for node in proper}, gap
    )
    heights = [max(extents[node].height for node in row if node in extents) for row in rows]
    y = -np.cumsum([0.0, *(layer_gap + (a + b) / 2 for a, b in pairwise(heights))])
    at = {node: (x[node], float(y[i])) for i, row in enumerate(rows) for node in row}
    return Layout(
        {node: at[node] for node in graph},
        {edge: tuple(at[dummy] for dummy in chain) for edge, chain in chains.items()},
    )


def _with_dummies(graph: nx.DiGraph, layer: dict[Node, int]) -> tuple[nx.DiGraph, dict[Edge, tuple[Node, ...]]]:
    """The graph with every edge cut at the layers it passes; edge -> its dummies. Adds them to `layer`."""
    proper = nx.DiGraph()
    proper.add_nodes_from(graph)
    chains: dict[Edge, tuple[Node, ...]] = {}
    for cause, effect in graph.edges:
        chain = tuple((cause, effect, i) for i in range(layer[cause] + 1, layer[effect]))
        layer |= {dummy: dummy[2] for dummy in chain}
        for a, b in pairwise((cause, *chain, effect)):
            proper.add_edge(a, b, pull=PULL[(a in chain) + (b in chain)])
        chains[cause, effect] = chain
    return proper, chains


def _ordered(proper: nx.DiGraph, rows: list[list[Node]], sweeps: int = 12) -> list[list[Node]]:
    """The order within layers that cost least while sweeping down and up by barycentres."""
    best, least = [list(row) for row in rows], _cost(proper, rows)
    for sweep in range(2 * sweeps):
        down = sweep % 2 == 0
        for i in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            neighbours = proper.predecessors if down else proper.successors
            place = {node: j for j, node in enumerate(rows[i - 1 if down else i + 1])}
            centre = {}
            for j, node in enumerate(rows[i]):
                places = [place[other] for other in neighbours(node)]
                centre[node] = (np.mean(places) if places else j, j)
            rows[i] = sorted(rows[i], key=centre.__getitem__)
        _swap_neighbours(proper, rows)
        cost = _cost(proper, rows)
        if cost < least:
            best, least = [list(row) for row in rows], cost
    return best


def _swap_neighbours(proper: nx.DiGraph, rows: list[list[Node]]) -> None:
    """Swap neighbours of a layer wherever that costs less."""
    for i, row in enumerate(rows):
        around = rows[max(i - 1, 0) : i + 2]
        for j in range(len(row) - 1):
            before = _cost(proper, around)
            row[j], row[j + 1] = row[j + 1], row[j]
            if _cost(proper, around) >= before:
                row[j], row[j + 1] = row[j + 1], row[j]


def _cost(proper: nx.DiGraph, rows: Sequence[Sequence[Node]]) -> tuple[int, float]:
    """How many edges cross; between equals, how far they run sideways."""
    crossings, run = 0, 0.0
    for upper, lower in pairwise(rows):
        place = {node: j for j, node in enumerate(lower)}
        ends = [(i, place[child]) for i, node in enumerate(upper) for child in proper.successors(node)]
        crossings += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(ends, 2))
        run += sum(abs((a - (len(upper) - 1) / 2) - (b - (len(lower) - 1) / 2)) for a, b in ends)
    return crossings, run


def _abscissas(
    proper: nx.DiGraph,
    rows: Sequence[Sequence[Node]],
    extents: Mapping[Node, Extent],
    gap: float,
    sweeps: int = 100,
) -> dict[Node, float]:
    """Least squares of the edges' horizontal runs, order and room within layers kept.

    A layer's best coordinates, its neighbours fixed, are an isotonic regression once the room that
    nodes need is subtracted; going over the layers again and again descends to the optimum.
    """
    offsets: list[np.ndarray] = []
    for row in rows:
        steps = [extents[a].right + gap + extents[b].left for a, b in pairwise(row)]
        offset = np.cumsum([0.0, *steps])
        offsets.append(offset - offset[-1] / 2)
    x = {
        node: float(at) for row, offset in zip(rows, offsets, strict=True) for node, at in zip(row, offset, strict=True)
    }
    edges = proper.to_undirected(as_view=True)
    order = [*range(len(rows)), *range(len(rows) - 2, -1, -1)]
    for _ in range(sweeps):
        for i in order:
            pulls = [{other: edge["pull"] for other, edge in edges[node].items()} for node in rows[i]]
            weights = np.array([sum(pull.values()) or 1e-3 for pull in pulls])
            wanted = np.array(
                [
                    sum(p * x[other] for other, p in pull.items()) / sum(pull.values()) if pull else x[node]
                    for node, pull in zip(rows[i], pulls, strict=True)
                ]
            )
            placed = isotonic_regression(wanted - offsets[i], weights=weights).x + offsets[i]
            x |= dict(zip(rows[i], placed.tolist(), strict=True))
    return x
