"""Is an effect identified where nodes share hidden causes: the ID and IDC algorithms of Shpitser and Pearl."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import networkx as nx

from causalcf.graph.estimand import Expression, Seen, product, ratio, summed

__all__ = ["Identification", "Mixed", "identify"]

Nodes = frozenset[str]


@dataclass(frozen=True)
class Identification:
    """Whether the law of y under do(x) follows from what is observed, for every model with this graph.

    Args:
        question: What was asked, as P(y | do(x), given).
        identified: Whether it follows.
        estimand: How, as a formula over the law of the observed nodes; None where it does not.
        why: In words: how to compute it, or what stands in the way.
        hedge: Of an effect that is not identified, the two sets of nodes that stand in the way; empty otherwise.
    """

    question: str
    identified: bool
    estimand: Expression | None
    why: str
    hedge: tuple[Nodes, ...] = ()

    def __bool__(self) -> bool:
        return self.identified

    def __str__(self) -> str:
        if self.estimand is None:
            return f"{self.question} is not identified. {self.why}"
        return f"{self.question} = {self.estimand}\n{self.why}"

    def __repr__(self) -> str:
        return str(self)


class _HedgeError(Exception):
    """No estimand: two sets of nodes, all joined by hidden causes, the larger with an acted node."""

    def __init__(self, larger: Nodes, smaller: Nodes) -> None:
        super().__init__(larger, smaller)
        self.sets = (larger, smaller)


@dataclass(frozen=True)
class Mixed:
    """A causal graph with hidden causes: parents of each node, and pairs whose noises go together.

    Args:
        parents: node -> its direct causes; the nodes in topological order.
        arcs: Pairs of nodes with a hidden cause.
    """

    parents: Mapping[str, tuple[str, ...]]
    arcs: frozenset[frozenset[str]]

    def within(self, nodes: Collection[str]) -> Mixed:
        """The part of the graph on some of its nodes."""
        kept = {v: tuple(p for p in pa if p in nodes) for v, pa in self.parents.items() if v in nodes}
        return Mixed(kept, frozenset(arc for arc in self.arcs if arc <= set(nodes)))

    def acted(self, nodes: Collection[str]) -> Mixed:
        """The graph without the arrows and arcs into some nodes."""
        kept = {v: () if v in nodes else pa for v, pa in self.parents.items()}
        return Mixed(kept, frozenset(arc for arc in self.arcs if not arc & set(nodes)))

    def silent(self, nodes: Collection[str]) -> Mixed:
        """The graph without the arrows out of some nodes."""
        return Mixed({v: tuple(p for p in pa if p not in nodes) for v, pa in self.parents.items()}, self.arcs)

    def causes(self, nodes: Iterable[str]) -> Nodes:
        """The nodes and all their causes."""
        found, new = set(), set(nodes)
        while new:
            found |= new
            new = {p for v in new for p in self.parents[v]} - found
        return frozenset(found)

    def districts(self) -> list[Nodes]:
        """The nodes, grouped with those they are joined to by hidden causes."""
        graph = nx.Graph()
        graph.add_nodes_from(self.parents)
        for a, b in self.arcs:
            graph.add_edge(a, b)
        return [frozenset(part) for part in nx.connected_components(graph)]

    def separated(self, a: Iterable[str], b: Iterable[str], given: Iterable[str]) -> bool:
        """Whether two sets of nodes are independent given a third, in every model with this graph (d-separation)."""
        graph: nx.DiGraph = nx.DiGraph()
        graph.add_nodes_from(self.parents)
        for node, parents in self.parents.items():
            graph.add_edges_from((parent, node) for parent in parents)
        for arc in self.arcs:  # a hidden cause is a node with a name that no node can have
            for node in arc:
                graph.add_edge(arc, node)
        return nx.is_d_separator(graph, set(a), set(b), set(given))


@dataclass(frozen=True)
class _Law:
    """The law of the nodes of a graph: as the data show it, or a formula.

    Args:
        graph: Whose nodes.
        formula: None for the law that the data show.
    """

    graph: Mixed
    formula: Expression | None = None

    def of(self, nodes: Collection[str]) -> _Law:
        """The law of an ancestral set of the nodes."""
        over = [v for v in self.graph.parents if v not in nodes]
        return _Law(self.graph.within(nodes), None if self.formula is None else summed(over, self.formula))

    def conditional(self, node: str) -> Expression:
        """The law of a node given all nodes before it; of the data's law, given those that matter."""
        order = list(self.graph.parents)
        before = order[: order.index(node)]
        if self.formula is not None:
            after = order[order.index(node) + 1 :]
            return ratio(summed(after, self.formula), summed([node, *after], self.formula))
        earlier = self.graph.within([*before, node])
        district = next(part for part in earlier.districts() if node in part)
        matter = {p for v in district for p in self.graph.parents[v]} | district - {node}
        return Seen(node, tuple(v for v in before if v in matter))

    def factor(self, nodes: Collection[str]) -> Expression:
        """The product of the conditional laws of some nodes."""
        return product(self.conditional(v) for v in self.graph.parents if v in nodes)


def identify(graph: Mixed, y: Nodes, x: Nodes, given: Nodes = frozenset()) -> Identification:
    """The law of y under do(x), among units that are found to be as `given` says, from what is observed.

    References:
        Shpitser and Pearl, "Identification of Joint Interventional Distributions in Recursive Semi-Markovian Causal
        Models", 2006, figure 3 (ID); "Identification of Conditional Interventional Distributions", 2006 (IDC).

    Args:
        graph: The graph.
        y: The outcomes.
        x: The acted nodes.
        given: The nodes that are conditioned on after acting.
    """
    question = _question(graph, y, x, given)
    simple = _simple(graph, y, x, given)
    if simple is not None:
        return Identification(question, True, simple, _method(graph, y, x, given, simple))
    acted, left = x, given
    try:
        moved = True
        while moved:  # rule 2 of the do-calculus: seeing z is as good as doing it
            moved = False
            for z in left:
                if graph.acted(acted).silent([z]).separated(y, [z], (acted | left) - {z}):
                    acted, left, moved = acted | {z}, left - {z}, True
                    break
        found = _id(y | left, acted, _Law(graph))
        if left:
            found = ratio(found, summed([v for v in graph.parents if v in y], found))
    except _HedgeError as hedge:
        return Identification(question, False, None, _obstacle(graph, *hedge.sets), hedge.sets)
    return Identification(question, True, found, _method(graph, y, x, given, found))


def _simple(graph: Mixed, y: Nodes, x: Nodes, given: Nodes) -> Expression | None:
    """The formula where doing is as seeing, or a back-door adjustment serves; None elsewhere."""
    order, outcome = list(graph.parents), min(y)
    if len(y) > 1 or not (graph.acted(x).causes(y) >= x > set()):
        return None
    if graph.silent(x).separated(y, x, given):
        return Seen(outcome, tuple(v for v in order if v in x | given))
    adjusted = None if given else _back_door(graph, y, x)
    if adjusted is None:
        return None
    law = Seen(outcome, tuple(v for v in order if v in x | adjusted))
    return summed([v for v in order if v in adjusted], product([_marginal(adjusted, _Law(graph)), law]))


def _id(y: Nodes, x: Nodes, law: _Law) -> Expression:
    """The ID algorithm; its lines are numbered as in figure 3 of Shpitser and Pearl (2006)."""
    graph = law.graph
    nodes = frozenset(graph.parents)
    if not x:  # 1
        return _marginal(y, law)
    if (causes := graph.causes(y)) != nodes:  # 2
        return _id(y, x & causes, law.of(causes))
    if without := nodes - x - graph.acted(x).causes(y):  # 3
        return _id(y, x | without, law)
    parts = graph.within(nodes - x).districts()
    if len(parts) > 1:  # 4
        order = list(graph.parents)
        parts.sort(key=lambda part: min(order.index(v) for v in part))
        return summed([v for v in order if v not in y | x], product(_id(s, nodes - s, law) for s in parts))
    (part,) = parts
    districts = graph.districts()
    if len(districts) == 1:  # 5
        raise _HedgeError(nodes, part)
    if part in districts:  # 6
        return summed([v for v in graph.parents if v in part - y], law.factor(part))
    larger = next(district for district in districts if part < district)  # 7
    return _id(y, x & larger, _Law(graph.within(larger), law.factor(larger)))


def _marginal(y: Nodes, law: _Law) -> Expression:
    """The law of some nodes, nothing acted on."""
    if law.formula is not None:
        return summed([v for v in law.graph.parents if v not in y], law.formula)
    if len(y) == 1:
        return Seen(min(y))
    above = law.of(law.graph.causes(y))
    return summed([v for v in above.graph.parents if v not in y], above.factor(above.graph.parents))


# ---------------------------------------------------------------------- in words


def _named(graph: Mixed, nodes: Collection[str]) -> str:
    return ", ".join(v for v in graph.parents if v in nodes)


def _question(graph: Mixed, y: Nodes, x: Nodes, given: Nodes) -> str:
    conditions = [f"do({_named(graph, x)})"] if x else []
    conditions += [_named(graph, given)] if given else []
    return f"P({_named(graph, y)}{' | ' if conditions else ''}{', '.join(conditions)})"


def _obstacle(graph: Mixed, larger: Nodes, smaller: Nodes) -> str:
    order = list(graph.parents)
    arcs = sorted(sorted(order.index(v) for v in arc) for arc in graph.arcs if arc <= larger)
    shared = "; ".join(" and ".join(order[i] for i in arc) for arc in arcs)
    return (
        f"Hidden causes tie {{{_named(graph, larger)}}} together, and {{{_named(graph, smaller)}}} within (a hedge):"
        f" two models can agree on all that is observed and differ here. Hidden causes are shared by {shared}. Observe"
        " one of them, or a node on the way; or ask how far it matters: ccf.queries.sensitivity."
    )


def _method(graph: Mixed, y: Nodes, x: Nodes, given: Nodes, found: Expression) -> str:
    """How to compute an estimand, in words."""
    do, outcome = _named(graph, x), _named(graph, y)
    if not graph.acted(x).causes(y) & x:
        return f"There is nothing to adjust for: {do or 'no action'} does not change {outcome}."
    where = f", among rows with the same {_named(graph, given)}" if given else ""
    if isinstance(found, Seen):
        return f"Doing is as seeing: compare rows by their {do}{where}."
    adjusted = None if given else _back_door(graph, y, x)
    if adjusted:
        names = _named(graph, adjusted)
        return f"Adjust for {names} (back door): compare rows with the same {names}, then average over all the rows."
    between = None if given else _front_door(graph, y, x)
    if between:
        names = _named(graph, between)
        return (
            f"Go through {names} (front door): how {do} moves {names}, and how {names} moves {outcome} among rows with"
            f" the same {do}."
        )
    unknown = found.free() - y - x - given
    free = f" Any value of {_named(graph, unknown)} gives the same number." if unknown else ""
    return f"No simple adjustment serves: compute the formula from the law of the data.{free}"


def _back_door(graph: Mixed, y: Nodes, x: Nodes) -> Nodes | None:
    """Nodes to adjust for (Pearl 2009, definition 3.3.1): causes of x or y that no arrow from x leads to."""
    effects = {v for v in graph.parents if graph.causes([v]) & x}
    candidates = graph.causes(x | y) - x - y - effects
    if not graph.silent(x).separated(x, y, candidates):
        return None
    for v in sorted(candidates, key=list(graph.parents).index):  # as few as will do
        if graph.silent(x).separated(x, y, candidates - {v}):
            candidates -= {v}
    return candidates


def _front_door(graph: Mixed, y: Nodes, x: Nodes) -> Nodes | None:
    """Nodes that carry all of x's effect (Pearl 2009, definition 3.3.3), with no back door but through x."""
    effects = {v for v in graph.parents if graph.causes([v]) & x} - x
    between = frozenset(effects & (graph.causes(y) - y))
    if not between or graph.within(frozenset(graph.parents) - between).causes(y) & x:
        return None
    into = graph.silent(x).separated(x, between, set())
    return between if into and graph.silent(between).separated(between, y, x) else None
