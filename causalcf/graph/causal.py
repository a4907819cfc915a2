"""The causal hypothesis: a directed acyclic graph whose nodes are variables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

import networkx as nx

from causalcf.core.atomic import write_atomically
from causalcf.core.errors import GraphError, UnknownNodeError
from causalcf.core.frozen import Frozen
from causalcf.core.signatures import checked
from causalcf.graph.document import SCHEMA, SCHEMA_HIDDEN, check_document, named
from causalcf.graph.forms import as_digraph, as_pairs
from causalcf.graph.identification import Identification, Mixed, identify
from causalcf.variables import Variable, variable_from_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CausalGraph", "Description", "site"]


class Description(NamedTuple):
    """A graph in a table: one line a node.

    Args:
        lines: (node, variable, values it can take, causes, why) of each node, causes before effects.
        confounded: Pairs of nodes that share a hidden cause.
    """

    lines: tuple[tuple[str, str, str, str, str], ...]
    confounded: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        rows = [("node", "variable", "values", "causes", "why"), *self.lines]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        table = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*table, *(f"{a} and {b} share a hidden cause" for a, b in self.confounded)])

    def __repr__(self) -> str:
        return str(self)


@checked
class CausalGraph:
    """An immutable causal DAG with a variable for each node (or for some, before data are seen).

    Args:
        graph: A networkx DiGraph, or its edges as (cause, effect) pairs. Other forms (a dict of lists, a matrix, a
            frame) are refused with the call that makes a DiGraph of them, as they do not say which is the cause.
        variables: node -> Variable. Nodes without edges may be declared here alone.
        name: Short name, as in `graphs/<name>.json`.
        title: One line for people.
        reference: Where the hypothesis comes from.
        inferred: node -> why its variable was inferred from the data, for those that were not declared.
        confounded: Pairs of nodes that share a cause which is not observed, and so is no node. Those of a `CausalGraph`
            that is handed over stay.

    Raises:
        GraphError: A cycle, a self-loop, an undirected or multi-edge graph, or a bad node name; a confounded pair that
            is not two nodes.
        UnknownNodeError: A variable, or a confounded pair, for a node the graph lacks.

    Example:
        >>> graph = CausalGraph([("thickness", "intensity")])
        >>> graph.nodes, graph.parents("intensity")
        (('thickness', 'intensity'), ('thickness',))
    """

    def __init__(
        self,
        graph: CausalGraph | nx.DiGraph | Iterable[tuple[str, str]],
        variables: Mapping[str, Variable] | None = None,
        *,
        name: str = "",
        title: str = "",
        reference: str = "",
        inferred: Mapping[str, str] = Frozen({}),
        confounded: Iterable[tuple[str, str]] = (),
    ) -> None:
        kept = graph.confounded if isinstance(graph, CausalGraph) else ()
        given = as_digraph(graph.networkx if isinstance(graph, CausalGraph) else graph)
        variables = _variables(variables)
        unknown = [node for node in variables if node not in given]
        if unknown:
            raise UnknownNodeError(f"Variables are declared for {unknown}, which the graph lacks: {named(given)}.")
        self._graph: nx.DiGraph = nx.freeze(nx.DiGraph(given))
        order = {node: i for i, node in enumerate(given)}
        # Ties are broken by the order of declaration, so the order depends on the graph alone.
        self.nodes: tuple[str, ...] = tuple(nx.lexicographical_topological_sort(given, key=order.__getitem__))
        self.variables: Mapping[str, Variable] = Frozen(
            {node: variables[node] for node in self.nodes if node in variables}
        )
        self.confounded: tuple[tuple[str, str], ...] = self._arcs([*kept, *as_pairs(confounded)])
        self.name, self.title, self.reference = name, title, reference
        self.inferred: Mapping[str, str] = Frozen(
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

    def _arcs(self, pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Confounded pairs in topological order, each once."""
        for pair in pairs:
            for node in pair:
                if node not in self._graph:
                    raise UnknownNodeError(
                        f"confounded names {pair}, but the graph has no node '{node}'. Its nodes are"
                        f" {named(self.nodes)}. A hidden cause itself is not named: give the two nodes that share it."
                    )
        order = self.nodes.index
        found = {(a, b) if order(a) < order(b) else (b, a) for a, b in pairs}
        return tuple(sorted(found, key=lambda pair: (order(pair[0]), order(pair[1]))))

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
        return self._ordered(set().union(*(self._effects[self.require(node)] for node in nodes)))

    @cached_property
    def _effects(self) -> dict[str, set[str]]:
        """All effects of each node, kept: every query asks for some."""
        effects: dict[str, set[str]] = {}
        for node in reversed(self.nodes):
            children = self._graph.successors(node)
            effects[node] = set().union(*(effects[child] | {child} for child in children))
        return effects

    def identify(
        self, y: str | Iterable[str], *, do: Iterable[str] = (), given: str | Iterable[str] = ()
    ) -> Identification:
        """Whether what y would be under actions follows from what is observed, though causes are hidden, and how.

        Args:
            y: The outcome, or several.
            do: The acted nodes.
            given: Nodes whose values are seen after acting, for an effect among such units.

        Returns:
            True where it does, with the `estimand` and in words `why`; False where it does not, with the reason.

        Raises:
            UnknownNodeError: There is no such node.
            GraphError: A node in two roles, or no outcome.

        References:
            Shpitser and Pearl, "Identification of Joint Interventional Distributions in Recursive Semi-Markovian Causal
            Models", 2006; "Identification of Conditional Interventional Distributions", 2006.

        Example:
            >>> CausalGraph([("x", "m"), ("m", "y")], confounded=[("x", "y")]).identify("y", do=["x"])
            P(y | do(x)) = Σ_{m} P(m | x) Σ_{x'} P(x') P(y | x', m)
            Go through m (front door): how x moves m, and how m moves y among rows with the same x.
            >>> bool(CausalGraph([("x", "y")], confounded=[("x", "y")]).identify("y", do=["x"]))
            False
        """
        roles = [[nodes] if isinstance(nodes, str) else list(nodes) for nodes in (y, do, given)]
        asked = [self.require(node) for nodes in roles for node in nodes]
        twice = sorted({node for node in asked if asked.count(node) > 1})
        if twice:
            raise GraphError(f"{twice} occur twice among outcome, do and given. Name each node in one role.")
        if not roles[0]:
            raise GraphError("There is no outcome to identify. Name a node, such as identify('y', do=['x']).")
        return identify(self.mixed, *(frozenset(nodes) for nodes in roles))

    @cached_property
    def mixed(self) -> Mixed:
        """The arrows and the hidden causes, as questions of identification and independence need them."""
        return Mixed(self._parents, frozenset(map(frozenset, self.confounded)))

    def require(self, node: str) -> str:
        """The node itself; raises `UnknownNodeError` with the known names if there is none."""
        if not isinstance(node, str) or node not in self._graph:
            raise UnknownNodeError(f"The graph has no node '{node}'. Its nodes are {named(self.nodes)}.")
        return node

    @cached_property
    def _position(self) -> dict[str, int]:
        return {node: i for i, node in enumerate(self.nodes)}

    def _ordered(self, nodes: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(set(nodes), key=self._position.__getitem__))

    # ------------------------------------------------------------------ new graphs

    def mutilate(self, nodes: Iterable[str]) -> CausalGraph:
        """The graph after acting on the nodes: edges and hidden causes into them are cut (Pearl 2009, section 3.2)."""
        cut = {self.require(node) for node in nodes}
        graph = nx.DiGraph(self._graph)
        graph.remove_edges_from([edge for edge in self.edges if edge[1] in cut])
        return self._like(graph, self.variables, confounded=[arc for arc in self.confounded if not cut & {*arc}])

    def with_variables(
        self, variables: Mapping[str, Variable], inferred: Mapping[str, str] = Frozen({})
    ) -> CausalGraph:
        """The same graph with more variables declared; new ones replace old ones.

        Args:
            variables: node -> Variable.
            inferred: Of those that were told from data, node -> why.
        """
        kept = {node: why for node, why in self.inferred.items() if node not in variables}
        return self._like(self._graph, {**self.variables, **variables}, inferred={**kept, **inferred})

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

    def _like(self, graph: nx.DiGraph, variables: Mapping[str, Variable], **changed: Any) -> CausalGraph:
        facts: dict[str, Any] = {"name": self.name, "title": self.title, "reference": self.reference}
        facts |= {"inferred": self.inferred, "confounded": self.confounded}
        return CausalGraph(graph, variables, **{**facts, **changed})

    def describe(self) -> Description:
        """A table that prints: the variable of each node, and why it was chosen.

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
        return Description(tuple(lines), self.confounded)

    # ------------------------------------------------------------------ files and pictures

    def to_json(self) -> dict[str, Any]:
        """The node-link document a graph file holds."""
        return {
            "directed": True,
            "multigraph": False,
            "graph": {
                "schema": SCHEMA_HIDDEN if self.confounded else SCHEMA,
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
            **({"confounded": [list(pair) for pair in self.confounded]} if self.confounded else {}),
        }

    def save(self, path: str | Path) -> None:
        """Write the graph file, atomically."""
        document = json.dumps(self.to_json(), indent=1, ensure_ascii=False)
        write_atomically(path, f"{document}\n".encode())

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CausalGraph:
        """Read a node-link document; the inverse of `to_json`.

        Raises:
            GraphError: The document is not a node-link DAG of this schema, or names a variable kind
                that does not exist.
        """
        check_document(document)
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
        return cls(graph, variables, **facts, inferred=told, confounded=document.get("confounded", ()))

    def draw(
        self,
        do: Iterable[str] = (),
        *,
        noise: bool = True,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the graph in layers, causes above effects; hidden causes are dashed arcs.

        Args:
            do: Nodes acted on: filled, with the edges and hidden causes into them cut.
            noise: Draw each node's exogenous noise as a small dashed circle.
            ax: Where to draw; a new figure by default.
        """
        from causalcf.plots import draw_graph

        return draw_graph(self, do=[self.require(node) for node in do], noise=noise, ax=ax)

    def __eq__(self, other: object) -> bool:
        """Same nodes, edges, hidden causes and variables; names and titles do not count."""
        return (
            isinstance(other, CausalGraph)
            and set(self.nodes) == set(other.nodes)
            and set(self.edges) == set(other.edges)
            and self.mixed.arcs == other.mixed.arcs
            and dict(self.variables) == dict(other.variables)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy: the arguments that make the graph again."""
        facts: dict[str, Any] = {"name": self.name, "title": self.title, "reference": self.reference}
        facts |= {"inferred": dict(self.inferred), "confounded": self.confounded}
        return partial(CausalGraph, **facts), (nx.DiGraph(self._graph), dict(self.variables))

    def __hash__(self) -> int:
        return hash((frozenset(self.nodes), frozenset(self.edges)))

    def _repr_html_(self) -> str:
        from causalcf.plots.cards import graph_html

        return graph_html(self)

    def __repr__(self) -> str:
        arrows = ", ".join(f"{cause} -> {effect}" for cause, effect in self.edges)
        arcs = "".join(f", {a} <-> {b}" for a, b in self.confounded)
        return f"CausalGraph({self.name or len(self.nodes)}: {arrows or list(self.nodes)}{arcs})"


def _variables(variables: Any) -> dict[str, Variable]:
    """The variables given, once it is seen that they are some."""
    if not isinstance(variables, Mapping | NoneType):
        raise GraphError(f"Variables are given as {{'node': causalcf.Real(), ...}}, got {type(variables).__name__}.")
    for node, variable in (variables or {}).items():
        if not isinstance(variable, Variable):
            what = f"the class {variable.__name__}" if isinstance(variable, type) else repr(variable)[:40]
            raise GraphError(f"The variable of '{node}' must be one such as causalcf.Real(), got {what}.")
    return dict(variables or {})


def site(node: str, suffix: str) -> str:
    """The name of a noise site: `image.z`."""
    return f"{node}.{suffix}"
