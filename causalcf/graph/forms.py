"""Graphs in other forms: accepted if they say which node is the cause, else refused with the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import networkx as nx

from causalcf.core.errors import GraphError
from causalcf.graph.document import named, reader_of

__all__ = ["as_digraph", "as_pairs"]

EXPECTED = "Expected a networkx.DiGraph or (cause, effect) pairs"


def as_digraph(graph: Any) -> nx.DiGraph:
    """A graph as networkx's, with its names checked.

    Args:
        graph: A DiGraph, or (cause, effect) pairs.

    Raises:
        GraphError: It is something else (the message says how to convert it), is empty, has a cycle or a bad name.

    Example:
        >>> as_digraph({"smoking": ["cancer"]})
        Traceback (most recent call last):
        ...
        causalcf.core.errors.GraphError: Expected a networkx.DiGraph or (cause, effect) pairs, got dict: \
nx.DiGraph({...}) reads node -> its effects; if yours lists causes, nx.DiGraph({...}).reverse().
    """
    given: Any = graph if isinstance(graph, nx.Graph) else nx.DiGraph(_pairs(graph))
    _check_names(given)
    _check_acyclic(given)
    return given


def _pairs(graph: Any) -> list[tuple[Any, Any]]:
    """(cause, effect) pairs, as they were given."""
    remedy = _remedy(graph)
    if remedy:
        raise GraphError(f"{EXPECTED}, got {type(graph).__name__}: {remedy}.")
    pairs = list(graph)
    for pair in pairs:
        if isinstance(pair, str | bytes | Set | Mapping) or not isinstance(pair, Iterable):
            raise GraphError(
                f"{EXPECTED}, got {type(pair).__name__} {str(pair)[:40]!r} among them: write ('cause', 'effect')."
                " Nodes without edges are declared by variables={'node': ...}."
            )
    pairs = [tuple(pair) for pair in pairs]
    if (
        pairs
        and all(entry in (0, 1) for pair in pairs for entry in pair)
        and {len(pair) for pair in pairs} == {len(pairs)}
    ):
        raise GraphError(f"{EXPECTED}, got a matrix: {_MATRIX}.")
    for pair in pairs:
        if len(pair) != 2:
            raise GraphError(f"{EXPECTED}, got {str(pair)[:80]} with {len(pair)} entries: write ('cause', 'effect').")
        for name in pair:
            _check_name(name)
    return [(str(cause), str(effect)) for cause, effect in pairs]  # NumPy's texts as Python's


def as_pairs(confounded: Any) -> list[tuple[str, str]]:
    """The confounded pairs that someone gives, each of two names.

    Raises:
        GraphError: They are not pairs, or a node is confounded with itself.
    """
    wanted = "confounded is a list of pairs of nodes that share a hidden cause, confounded=[('x', 'y')]"
    if isinstance(confounded, str | bytes | Mapping) or not isinstance(confounded, Iterable):
        raise GraphError(f"{wanted}, got {type(confounded).__name__} {str(confounded)[:40]!r}.")
    pairs = []
    for pair in confounded:
        names = [pair] if isinstance(pair, str | bytes) or not isinstance(pair, Iterable) else list(pair)
        if len(names) != 2 or not all(isinstance(name, str) for name in names):
            raise GraphError(f"{wanted}, got {str(pair)[:80]!r} among them.")
        first, second = map(str, names)
        if first == second:
            raise GraphError(f"{wanted}, got '{first}' twice in one pair. Every node has noise of its own already.")
        pairs.append((first, second))
    return pairs


_MATRIX = (
    "nx.relabel_nodes(nx.from_numpy_array(matrix, create_using=nx.DiGraph), dict(enumerate(names)))"
    " reads row -> column as cause -> effect; if yours means the opposite, give matrix.T"
)


def _remedy(graph: Any) -> str:
    """The code that makes a graph of this object, or "" if the object may hold pairs."""
    if isinstance(graph, Mapping):
        return _remedy_of_mapping(graph)
    if hasattr(graph, "columns") and hasattr(graph, "to_pandas"):  # of polars, pyarrow
        return "nx.from_pandas_edgelist(frame.to_pandas(), 'cause', 'effect', create_using=nx.DiGraph)"
    if isinstance(graph, str | bytes) or hasattr(graph, "__fspath__"):
        return "causalcf.load_graph(...) reads a name or a file"
    if hasattr(graph, "columns") and hasattr(graph, "index"):
        if graph.shape[0] == graph.shape[1] and set(graph.index) == set(graph.columns):
            return (
                "nx.from_pandas_adjacency(frame, create_using=nx.DiGraph) reads row -> column as cause -> effect;"
                " if yours means the opposite, give frame.T"
            )
        return "nx.from_pandas_edgelist(frame, 'cause', 'effect', create_using=nx.DiGraph) takes its columns' names"
    if hasattr(graph, "tocoo"):
        return "nx.from_scipy_sparse_array(matrix, create_using=nx.DiGraph), and nx.relabel_nodes for the names"
    if hasattr(graph, "shape"):
        words = getattr(getattr(graph, "dtype", None), "kind", "f") in "UO"
        return "" if words and len(graph.shape) == 2 and graph.shape[1] == 2 else _MATRIX
    if hasattr(graph, "to_networkx"):
        return "give its networkx form, nx.DiGraph(graph.to_networkx())"
    if isinstance(graph, type) or not isinstance(graph, Iterable):
        return "write [('cause', 'effect'), ...]"
    return ""


def _remedy_of_mapping(graph: Mapping[Any, Any]) -> str:
    if {"nodes", "edges"} <= graph.keys() or {"nodes", "links"} <= graph.keys():
        edges = "edges" if "edges" in graph else "links"
        return (
            f'CausalGraph.from_json(document) reads a graph file, nx.node_link_graph(document, edges="{edges}") others'
        )
    other = reader_of(graph)
    if other:
        return f"nx.DiGraph({other}) reads this document of networkx"
    if any(isinstance(effects, str) for effects in graph.values()):
        return "write {'cause': ['effect', ...]} in nx.DiGraph({...}), since it reads text letter by letter"
    return "nx.DiGraph({...}) reads node -> its effects; if yours lists causes, nx.DiGraph({...}).reverse()"


def _check_names(graph: nx.Graph) -> None:
    if not graph.is_directed():
        raise GraphError(
            f"Expected a networkx.DiGraph, got {type(graph).__name__}, whose edges have no direction: say which is"
            " the cause, [('cause', 'effect'), ...]."
        )
    if graph.is_multigraph():
        raise GraphError(
            f"Expected a networkx.DiGraph, got {type(graph).__name__}: nx.DiGraph(graph) makes one edge of several."
        )
    if not graph:
        raise GraphError("The graph has no nodes. Add at least one.")
    for node in graph:
        _check_name(node)


def _check_name(node: Any) -> None:
    # Dots separate a node from its exogenous site ("image.z").
    if not isinstance(node, str) or not node.strip() or "." in node:
        number = isinstance(node, int) or hasattr(node, "dtype")
        remedy = " nx.relabel_nodes(graph, str) makes text of numbers." if number else ""
        raise GraphError(f"Bad node name {repr(node)[:80]}: expected a non-empty string without a dot.{remedy}")
    if not node.isprintable():
        raise GraphError(f"Bad node name {node[:80]!r}: it has characters that cannot be printed. Rename the node.")


def _check_acyclic(graph: nx.DiGraph) -> None:
    loops = list(nx.nodes_with_selfloops(graph))
    if loops:
        raise GraphError(f"Nodes {named(loops)} cause themselves. Remove these edges.")
    if not nx.is_directed_acyclic_graph(graph):
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        shown = [*cycle[:10], "..."] if len(cycle) > 10 else cycle
        raise GraphError(f"The graph has a cycle: {' -> '.join([*shown, cycle[0]])}. Remove one of its edges.")
