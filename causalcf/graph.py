"""The causal hypothesis: a directed acyclic graph whose nodes are variables."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import networkx as nx

from causalcf.core.errors import GraphError, UnknownNodeError
from causalcf.variables import Variable, variable_from_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SCHEMA", "CausalGraph", "Description", "graph_names", "load_graph"]

SCHEMA = 1
"""Version of the graph file format."""

_INSIDE = Path(__file__).parent / "graphs"
GRAPHS = _INSIDE if _INSIDE.is_dir() else Path(__file__).parent.parent / "graphs"
"""The graph files: inside the package when installed from a wheel, else the checkout's folder."""


class Description(NamedTuple):
    """A graph in a table: one line a node.

    Args:
        lines: (node, variable, values it can take, causes, why) of each node, causes before effects.
    """

    lines: tuple[tuple[str, str, str, str, str], ...]

    def __str__(self) -> str:
        rows = [("node", "variable", "values", "causes", "why"), *self.lines]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        return "\n".join("  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows)

    def __repr__(self) -> str:
        return str(self)


class CausalGraph:
    """An immutable causal DAG with a variable for each node (or for some, before data are seen).

    Args:
        graph: A networkx DiGraph, or its edges as (cause, effect) pairs.
        variables: node -> Variable. Nodes without edges may be declared here alone.
        name: Short name, as in `graphs/<name>.json`.
        title: One line for people.
        reference: Where the hypothesis comes from.
        inferred: node -> what in the data its variable was told from, for those that were not declared.

    Raises:
        GraphError: A cycle, a self-loop, an undirected or multi-edge graph, or a bad node name.
        UnknownNodeError: A variable for a node the graph lacks.

    Example:
        >>> graph = CausalGraph([("thickness", "intensity")])
        >>> graph.nodes, graph.parents("intensity")
        (('thickness', 'intensity'), ('thickness',))
    """

    def __init__(
        self,
        graph: nx.DiGraph | Iterable[tuple[str, str]],
        variables: Mapping[str, Variable] | None = None,
        *,
        name: str = "",
        title: str = "",
        reference: str = "",
        inferred: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        given: Any = graph if isinstance(graph, nx.Graph) else nx.DiGraph(list(graph))
        variables = dict(variables or {})
        _check_names(given)
        _check_acyclic(given)
        unknown = [node for node in variables if node not in given]
        if unknown:
            raise UnknownNodeError(f"Variables are declared for {unknown}, which the graph lacks: {list(given)}.")
        self._graph: nx.DiGraph = nx.freeze(nx.DiGraph(given))
        order = {node: i for i, node in enumerate(given)}
        # Ties are broken by the order of declaration, so the order depends on the graph alone.
        self.nodes: tuple[str, ...] = tuple(nx.lexicographical_topological_sort(given, key=order.__getitem__))
        self.variables: Mapping[str, Variable] = MappingProxyType(
            {node: variables[node] for node in self.nodes if node in variables}
        )
        self.name, self.title, self.reference = name, title, reference
        self.inferred: Mapping[str, str] = MappingProxyType(
            {node: why for node, why in inferred.items() if node in self.variables}
        )

    # ------------------------------------------------------------------ relations

    @property
    def networkx(self) -> nx.DiGraph:
        """The frozen networkx graph."""
        return self._graph

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """(cause, effect) pairs, causes in topological order."""
        return tuple((cause, effect) for cause in self.nodes for effect in self.children(cause))

    def __contains__(self, node: object) -> bool:
        return node in self._graph

    @cached_property
    def _parents(self) -> dict[str, tuple[str, ...]]:
        return {node: self._ordered(self._graph.predecessors(node)) for node in self.nodes}

    def parents(self, node: str) -> tuple[str, ...]:
        """Direct causes of a node, in topological order."""
        self.require(node)
        return self._parents[node]

    def children(self, node: str) -> tuple[str, ...]:
        """Direct effects of a node, in topological order."""
        self.require(node)
        return self._ordered(self._graph.successors(node))

    def ancestors(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """All causes of the nodes, the nodes themselves left out unless one causes another."""
        return self._ordered(set().union(*(nx.ancestors(self._graph, self.require(node)) for node in nodes)))

    def descendants(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """All effects of the nodes, the nodes themselves left out unless one causes another."""
        return self._ordered(set().union(*(nx.descendants(self._graph, self.require(node)) for node in nodes)))

    def require(self, node: str) -> str:
        """The node itself; raises `UnknownNodeError` with the known names if there is none."""
        if node not in self._graph:
            raise UnknownNodeError(f"The graph has no node '{node}'. Its nodes are {list(self.nodes)}.")
        return node

    def _ordered(self, nodes: Iterable[str]) -> tuple[str, ...]:
        wanted: Collection[str] = set(nodes)
        return tuple(node for node in self.nodes if node in wanted)

    # ------------------------------------------------------------------ new graphs

    def mutilate(self, nodes: Iterable[str]) -> CausalGraph:
        """The graph after acting on the nodes: the edges into them are cut (Pearl 2009, section 3.2)."""
        cut = {self.require(node) for node in nodes}
        graph = nx.DiGraph(self._graph)
        graph.remove_edges_from([edge for edge in self.edges if edge[1] in cut])
        return self._like(graph, self.variables)

    def with_variables(
        self, variables: Mapping[str, Variable], inferred: Mapping[str, str] = MappingProxyType({})
    ) -> CausalGraph:
        """The same graph with more variables declared; new ones replace old ones.

        Args:
            variables: node -> Variable.
            inferred: Of those that were told from data, node -> why.
        """
        kept = {node: why for node, why in self.inferred.items() if node not in variables}
        return self._like(self._graph, {**self.variables, **variables}, {**kept, **inferred})

    def with_node(self, node: str, variable: Variable, parents: Iterable[str]) -> CausalGraph:
        """The graph with one more node below the given parents.

        Raises:
            GraphError: The node exists already.
        """
        if node in self:
            raise GraphError(f"The graph already has a node '{node}'. Choose another name.")
        graph = nx.DiGraph(self._graph)
        graph.add_node(node)
        graph.add_edges_from((self.require(parent), node) for parent in parents)
        return self._like(graph, {**self.variables, node: variable})

    def _like(
        self, graph: nx.DiGraph, variables: Mapping[str, Variable], inferred: Mapping[str, str] | None = None
    ) -> CausalGraph:
        facts = {"name": self.name, "title": self.title, "reference": self.reference}
        return CausalGraph(graph, variables, **facts, inferred=self.inferred if inferred is None else inferred)

    def describe(self) -> Description:
        """What each node is taken for, and why: a table that prints.

        Example:
            >>> from causalcf.variables import Real
            >>> print(CausalGraph([("age", "smoker")], {"age": Real(unit="years")}).describe())
            node    variable  values                causes  why
            age     Real      a real number, years          declared
            smoker  ?                               age     told from the data by fit
        """
        lines = []
        for node in self.nodes:
            variable = self.variables.get(node)
            why = "told from the data by fit" if variable is None else self.inferred.get(node, "declared")
            kind, values = ("?", "") if variable is None else (variable.kind, variable.words)
            lines.append((node, kind, values, ", ".join(self.parents(node)), why))
        return Description(tuple(lines))

    # ------------------------------------------------------------------ files and pictures

    def to_json(self) -> dict[str, Any]:
        """The node-link document a graph file holds."""
        return {
            "directed": True,
            "multigraph": False,
            "graph": {
                "schema": SCHEMA,
                "name": self.name,
                "title": self.title,
                "reference": self.reference,
                **({"inferred": dict(self.inferred)} if self.inferred else {}),
            },
            "nodes": [
                {"id": node, **(self.variables[node].to_json() if node in self.variables else {})}
                for node in self.nodes
            ],
            "edges": [{"source": cause, "target": effect} for cause, effect in self.edges],
        }

    def save(self, path: str | Path) -> None:
        """Write the graph file."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CausalGraph:
        """Read a node-link document; the inverse of `to_json`.

        Raises:
            GraphError: The document is not a node-link DAG of this schema, or names a variable kind
                that does not exist.
        """
        _check_document(document)
        header = document.get("graph", {})
        nodes = {node["id"]: {key: value for key, value in node.items() if key != "id"} for node in document["nodes"]}
        graph = nx.DiGraph()
        graph.add_nodes_from(nodes)
        graph.add_edges_from((edge["source"], edge["target"]) for edge in document["edges"])
        variables = {node: variable_from_json(node, fields) for node, fields in nodes.items() if fields}
        told = header.get("inferred", {})
        if not isinstance(told, Mapping) or not all(isinstance(why, str) for why in told.values()):
            raise GraphError(f'"inferred" in the header must be an object of texts, got {told!r:.80}.')
        facts = {key: header.get(key, "") for key in ("name", "title", "reference")}
        return cls(graph, variables, **facts, inferred=told)

    def draw(
        self,
        do: Iterable[str] = (),
        *,
        noise: bool = True,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the graph in layers, causes above effects.

        Args:
            do: Nodes acted on: filled, with the edges into them cut.
            noise: Draw each node's exogenous noise as a small dashed circle.
            ax: Where to draw; a new figure by default.
        """
        from causalcf.plots import draw_graph

        return draw_graph(self, do=[self.require(node) for node in do], noise=noise, ax=ax)

    def __eq__(self, other: object) -> bool:
        """Same nodes, edges and variables; names and titles do not count."""
        return (
            isinstance(other, CausalGraph)
            and set(self.nodes) == set(other.nodes)
            and set(self.edges) == set(other.edges)
            and dict(self.variables) == dict(other.variables)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy: what the graph was made from."""
        facts: dict[str, Any] = {"name": self.name, "title": self.title, "reference": self.reference}
        facts["inferred"] = dict(self.inferred)
        return partial(CausalGraph, **facts), (nx.DiGraph(self._graph), dict(self.variables))

    def __hash__(self) -> int:
        return hash((frozenset(self.nodes), frozenset(self.edges)))

    def __repr__(self) -> str:
        arrows = ", ".join(f"{cause} -> {effect}" for cause, effect in self.edges)
        return f"CausalGraph({self.name or len(self.nodes)}: {arrows or list(self.nodes)})"


def graph_names() -> tuple[str, ...]:
    """Names of the graphs that come with causalcf."""
    return tuple(sorted(path.stem for path in GRAPHS.glob("*.json")))


def load_graph(name_or_path: str | Path) -> CausalGraph:
    """Load a graph that comes with causalcf by its name, or any graph file by its path.

    Raises:
        GraphError: There is no such graph or file, or it is not a valid graph file.

    Example:
        >>> load_graph("morphomnist").parents("image")
        ('thickness', 'intensity', 'digit')
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = GRAPHS / f"{name_or_path}.json"
    if not path.is_file():
        raise GraphError(f"There is no graph '{name_or_path}' ({path}). Known graphs: {list(graph_names())}.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not even text
        raise GraphError(f"{path} is not JSON: {error}.") from None
    try:
        return CausalGraph.from_json(document)
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from None


def _check_names(graph: nx.Graph) -> None:
    if not graph.is_directed() or graph.is_multigraph():
        raise GraphError(f"Expected a networkx.DiGraph, got {type(graph).__name__}.")
    if not graph:
        raise GraphError("The graph has no nodes. Add at least one.")
    for node in graph:
        # Dots separate a node from its exogenous site ("image.z").
        if not isinstance(node, str) or not node.strip() or "." in node:
            raise GraphError(f"Bad node name {node!r}: expected a non-empty string without a dot.")


def _check_acyclic(graph: nx.DiGraph) -> None:
    loops = list(nx.nodes_with_selfloops(graph))
    if loops:
        raise GraphError(f"Nodes {loops} cause themselves. Remove these edges.")
    if not nx.is_directed_acyclic_graph(graph):
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        raise GraphError(f"The graph has a cycle: {' -> '.join([*cycle, cycle[0]])}. Remove one of its edges.")


def _check_document(document: Mapping[str, Any]) -> None:
    if not isinstance(document, Mapping) or not {"nodes", "edges"} <= document.keys():
        raise GraphError('A graph file is a node-link document with "nodes" and "edges".')
    header, nodes, edges = document.get("graph", {}), document["nodes"], document["edges"]
    if not isinstance(header, Mapping) or not all(
        isinstance(part, list) and all(isinstance(item, Mapping) for item in part) for part in (nodes, edges)
    ):
        raise GraphError('"graph" must be an object, "nodes" and "edges" lists of objects.')
    schema = header.get("schema")
    if schema != SCHEMA:
        raise GraphError(f"Graph schema {schema!r} is not supported; expected {SCHEMA}.")
    if document.get("directed") is not True or document.get("multigraph"):
        raise GraphError('A causal graph needs "directed": true and "multigraph": false.')
    ids = [node.get("id") for node in nodes]
    twice = sorted({str(name) for name in ids if ids.count(name) > 1})
    if twice:
        raise GraphError(f"Node ids occur twice: {twice}.")
    for edge in edges:
        lost = [end for end in (edge.get("source"), edge.get("target")) if end not in ids]
        if lost:
            raise GraphError(f"Edge {edge} names {lost}, not declared among the nodes {ids}.")


def site(node: str, suffix: str) -> str:
    """The name of a noise site: `image.z`."""
    return f"{node}.{suffix}"
