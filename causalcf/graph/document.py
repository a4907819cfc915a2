"""The node-link document of a graph file: its required content, checked before a graph is made from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from causalcf.core.errors import GraphError

__all__ = ["SCHEMA", "SCHEMA_HIDDEN", "check_document", "named", "reader_of"]

SCHEMA = 1
"""Version of the graph file format."""

SCHEMA_HIDDEN = 2
"""Version of files with hidden causes: a program that knows nothing of them must not read such a file without them."""

SHOWN = 10
"""Names that an error lists."""

_OTHERS = (
    ({"nodes", "links"}, 'nx.node_link_graph(document, edges="links")'),
    ({"nodes", "adjacency"}, "nx.adjacency_graph(document)"),
    ({"elements", "directed"}, "nx.cytoscape_graph(document)"),
    ({"id", "children"}, "nx.tree_graph(document)"),
)
"""Keys of networkx's other JSON documents -> the function that reads them."""


def named(names: Any) -> str:
    """Names for an error: the first ones, and how many there are of many.

    Example:
        >>> named(["a", "b"]), named(map(str, range(100_000)))[-20:]
        ("['a', 'b']", '... (100000 of them)')
    """
    names = list(names)
    more = f" ... ({len(names)} of them)" if len(names) > SHOWN else ""
    return f"{names[:SHOWN]}{more}"


def reader_of(document: Any) -> str | None:
    """The call that reads another JSON document of networkx; None for any other object."""
    if not isinstance(document, Mapping) or "edges" in document:
        return None
    return next((call for keys, call in _OTHERS if keys <= document.keys()), None)


def check_document(document: Any) -> None:
    """Raise `GraphError` unless a JSON document is a node-link DAG of this schema."""
    other = reader_of(document)
    if other:
        raise GraphError(
            f"This is a JSON document of networkx, which says nothing of variables: make a graph of it,"
            f" causalcf.CausalGraph(nx.DiGraph({other}), variables)."
        )
    if not isinstance(document, Mapping) or not {"nodes", "edges"} <= document.keys():
        raise GraphError('A graph file is a node-link document with "nodes" and "edges".')
    header, nodes, edges = document.get("graph", {}), document["nodes"], document["edges"]
    if not isinstance(header, Mapping) or not all(
        isinstance(part, list) and all(isinstance(item, Mapping) for item in part) for part in (nodes, edges)
    ):
        raise GraphError('"graph" must be an object, "nodes" and "edges" lists of objects.')
    schema = header.get("schema")
    if type(schema) is not int or schema not in (SCHEMA, SCHEMA_HIDDEN):
        raise GraphError(
            f"Graph schema {str(schema)[:20]} is not supported; expected {SCHEMA}, or {SCHEMA_HIDDEN} with"
            " hidden causes. A document that networkx has written"
            ' becomes a graph by causalcf.CausalGraph(nx.node_link_graph(document, edges="edges"), variables).'
        )
    if document.get("directed") is not True or document.get("multigraph"):
        raise GraphError('A causal graph needs "directed": true and "multigraph": false.')
    for key in ("name", "title", "reference"):
        if not isinstance(header.get(key, ""), str):
            raise GraphError(f'"{key}" of the graph must be text, got {str(header[key])[:40]}.')
    _check_ends([node.get("id") for node in nodes], edges)


def _check_ends(ids: list[Any], edges: list[Mapping[str, Any]]) -> None:
    """Raise unless nodes are named by text, once each, and edges lie between them."""
    for name in ids:
        if name is not None and not isinstance(name, str):
            raise GraphError(f"Node ids must be text, got {str(name)[:40]}.")
    twice = sorted(name or "none" for name, count in Counter(ids).items() if count > 1)
    if twice:
        raise GraphError(f"Node ids occur twice: {named(twice)}.")
    known = set(ids)
    for edge in edges:
        ends = [edge.get("source"), edge.get("target")]
        lost = [end for end in ends if not isinstance(end, str) or end not in known]
        if lost:
            raise GraphError(
                f"Edge {str(dict(edge))[:80]} names {str(lost)[:80]}, not declared among the nodes {named(ids)}."
            )
    if None in known:
        raise GraphError(f'A node has no "id". Nodes are {named(ids)}.')
