"""Identification, against two oracles: effects by enumeration of hidden causes, and hedges by their definition."""

import itertools
import random

import numpy as np
import pytest
from graph.enumerated import World, graph_of, random_graph

import causalcf as ccf
from causalcf.core.errors import GraphError, UnknownNodeError
from causalcf.graph.estimand import Product, Ratio, Seen, Sum

# ---------------------------------------------------------------------- oracles


def evaluated(formula, world: World, joint: np.ndarray, values: dict[str, int]) -> float:
    if isinstance(formula, Seen):
        given = {v: values[v] for v in formula.given}
        both = {**given, formula.node: values[formula.node]}
        return world.probability(joint, both) / world.probability(joint, given)
    if isinstance(formula, Product):
        return float(np.prod([evaluated(factor, world, joint, values) for factor in formula.factors]))
    if isinstance(formula, Ratio):
        return evaluated(formula.top, world, joint, values) / evaluated(formula.bottom, world, joint, values)
    assert isinstance(formula, Sum)
    return sum(
        evaluated(formula.body, world, joint, {**values, **dict(zip(formula.over, some, strict=True))})
        for some in itertools.product((0, 1), repeat=len(formula.over))
    )


def subsets(nodes):
    return (set(some) for k in range(1, len(nodes) + 1) for some in itertools.combinations(nodes, k))


def has_hedge(graph: ccf.CausalGraph, y: set[str], x: set[str]) -> bool:
    """Definition 6 of Shpitser and Pearl (2006), by trying all pairs of node sets."""
    parents = {v: set(graph.parents(v)) for v in graph.nodes}
    arcs = [set(arc) for arc in graph.confounded]

    def above(roots, nodes, cut=()):
        found = set(roots)
        while new := {p for v in found - set(cut) for p in parents[v] & nodes} - found:
            found |= new
        return found

    def tied(nodes):
        found = {next(iter(nodes))}
        while new := {v for arc in arcs if arc <= nodes and arc & found for v in arc} - found:
            found |= new
        return found == nodes

    everything = set(graph.nodes)
    for roots in subsets(sorted(above(y, everything, cut=x) - x)):
        forests = [s for s in subsets(graph.nodes) if roots <= s and tied(s) and above(roots, s) == s]
        if any(small < large and large & x and not small & x for large in forests for small in forests):
            return True
    return False


# ---------------------------------------------------------------------- known graphs

KNOWN = {
    "no arcs": ("Z>X Z>Y X>Y", "", "Σ_{Z} P(Z) P(Y | Z, X)", "Adjust for Z (back door)"),
    "front door": ("X>M M>Y", "X-Y", "Σ_{M} P(M | X) Σ_{X'} P(X') P(Y | X', M)", "Go through M (front door)"),
    "bow": ("X>Y", "X-Y", None, "tie {X, Y} together, and {Y} within (a hedge)"),
    "instrument": ("Z>X X>Y", "X-Y", None, "Hidden causes are shared by X and Y"),
    "mediator and outcome": ("X>M M>Y X>Y", "M-Y", "P(Y | X)", "Doing is as seeing"),
    "cause and mediator": ("X>M M>Y", "X-M", None, "tie {X, M} together"),
    # Pearl 2009, figure 3.8 (g): W1 > W2 > X > Y, the napkin (Pearl and Mackenzie 2018, figure 7.5).
    "napkin": (
        "W>R R>X X>Y",
        "W-X W-Y",
        "[Σ_{W} P(W) P(X | W, R) P(Y | W, R, X)] / [Σ_{W} P(W) P(X | W, R)]",
        "Any value of R gives the same number",
    ),
    "M": ("X>Y", "X-Z Z-Y", "P(Y | X)", "Doing is as seeing"),
    "a hidden cause upstream": ("Z>X X>Y Z>Y", "Z-Y", "Σ_{Z} P(Z) P(Y | Z, X)", "Adjust for Z"),
}


def made(arrows: str, arcs: str) -> ccf.CausalGraph:
    edges = [tuple(arrow.split(">")) for arrow in arrows.split()]
    pairs = [tuple(arc.split("-")) for arc in arcs.split()]
    names = dict.fromkeys(name for pair in (*edges, *pairs) for name in pair)
    return graph_of(list(names), edges, pairs)


@pytest.mark.parametrize(("arrows", "arcs", "formula", "words"), KNOWN.values(), ids=KNOWN)
def test_graphs_of_the_books(arrows, arcs, formula, words) -> None:
    found = made(arrows, arcs).identify("Y", do=["X"])
    assert bool(found) is found.identified is (formula is not None)
    assert words in found.why
    if formula is None:
        assert found.estimand is None
        assert str(found).startswith("P(Y | do(X)) is not identified. Hidden causes tie")
    else:
        assert str(found.estimand) == formula
        assert str(found).startswith(f"P(Y | do(X)) = {formula}\n")


@pytest.mark.parametrize(("arrows", "arcs", "formula", "words"), KNOWN.values(), ids=KNOWN)
def test_estimands_give_the_effect(arrows, arcs, formula, words) -> None:
    graph = made(arrows, arcs)
    found = graph.identify("Y", do=["X"])
    world = World(graph, 0)
    seen = world.law({})
    naive = world.probability(seen, {"X": 1, "Y": 1}) / world.probability(seen, {"X": 1})
    truth = world.probability(world.law({"X": 1}), {"Y": 1})
    if found.estimand is not None:
        for other in (0, 1):  # of nodes that the formula does not fix, any value
            values = {**dict.fromkeys(graph.nodes, other), "X": 1, "Y": 1}
            assert evaluated(found.estimand, world, seen, values) == pytest.approx(truth, abs=1e-12)
    if "Doing is as seeing" not in words:
        assert abs(naive - truth) > 1e-4, "the case would not tell"


def test_random_graphs_against_both_oracles() -> None:
    """Every pair of nodes of 24 random graphs: formulas give the effect; where there is none, there is a hedge."""
    outcomes = []
    for seed in range(24):
        graph = random_graph(4 + seed % 2, seed)
        world = World(graph, seed)
        seen = world.law({})
        for x, y in itertools.permutations(graph.nodes, 2):
            found = graph.identify(y, do=[x])
            if seed < 12 and len(graph.nodes) == 4:
                assert found.identified is not has_hedge(graph, {y}, {x}), (graph, x, y)
            if found.estimand is None:
                larger, smaller = found.hedge
                assert smaller < larger
                assert x in larger - smaller
            else:
                values = {**dict.fromkeys(graph.nodes, 0), x: 1, y: 1}
                truth = world.probability(world.law({x: 1}), {y: 1})
                assert evaluated(found.estimand, world, seen, values) == pytest.approx(truth, abs=1e-10), (graph, found)
            outcomes.append(found.identified and "Σ" in str(found.estimand))
    assert 15 < sum(outcomes) < len(outcomes) - 15


def test_conditional_and_joint_effects_by_enumeration() -> None:
    """IDC: P(y | do(x), z) of random graphs; and several outcomes or actions at once."""
    answered = 0
    for seed in range(36):
        graph = random_graph(5, 1000 + seed)
        names = list(graph.nodes)
        random.Random(seed).shuffle(names)
        y, x, z, w = names[:4]
        joint = seed % 3 == 0
        do = [x, w] if seed % 3 == 1 else [x]
        found = graph.identify([y, w] if joint else y, do=do, given=[z])
        if found.estimand is None:
            continue
        answered += 1
        world = World(graph, seed)
        values = {**dict.fromkeys(graph.nodes, 1), x: 0}
        law = world.law({v: values[v] for v in do})
        event = dict.fromkeys([y, w] if joint else [y], 1)
        truth = world.probability(law, {**event, z: 1}) / world.probability(law, {z: 1})
        assert evaluated(found.estimand, world, world.law({}), values) == pytest.approx(truth, abs=1e-10), (
            graph,
            found,
        )
    assert answered > 15


def test_conditioning_can_undo_an_effect_that_is_identified() -> None:
    graph = made("X>Y X>Z", "Z-Y")
    assert graph.identify("Y", do=["X"])
    found = graph.identify("Y", do=["X"], given="Z")
    assert str(found).startswith("P(Y | do(X), Z) = P(Y | X, Z)")
    assert not made("X>Z Z>Y", "X-Y X-Z").identify("Y", do=["X"], given=["Z"])


def test_nothing_acted_on_is_what_is_seen() -> None:
    assert str(made("X>Y", "X-Y").identify("X", do=["Y"])) == (
        "P(X | do(Y)) = P(X)\nThere is nothing to adjust for: Y does not change X."
    )
    assert str(made("X>Y", "X-Y").identify("Y").estimand) == "P(Y)"


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda g: g.identify("W", do=["X"]), UnknownNodeError, "no node 'W'"),
        (lambda g: g.identify("Y", do=["W"]), UnknownNodeError, "no node 'W'"),
        (lambda g: g.identify("Y", do=["Y"]), GraphError, r"\['Y'\] occur twice among outcome, do and given"),
        (lambda g: g.identify("Y", do=["X"], given=["X"]), GraphError, r"\['X'\] occur twice"),
        (lambda g: g.identify([], do=["X"]), GraphError, "no outcome"),
    ],
)
def test_what_cannot_be_asked_is_refused(ask, error, message) -> None:
    with pytest.raises(error, match=message):
        ask(made("X>Y", "X-Y"))
