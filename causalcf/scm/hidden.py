"""Hidden causes: which mechanisms the data cannot tell, and the warnings that say so."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping

from causalcf.core.errors import CausalCFWarning
from causalcf.core.surroundings import callers_line
from causalcf.do import Do, Scale, Shift
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism

__all__ = ["answers", "mistaken", "warn_of_answer", "warn_of_effect", "warn_of_fit"]

REMEDY = "Ask how far it matters: ccf.queries.sensitivity."


def mistaken(graph: CausalGraph, nodes: Iterable[str]) -> list[str]:
    """The nodes whose law given their parents is not what the parents do to them: a hidden cause is in it, too.

    References:
        Pearl, "Causality", 2nd edition 2009, theorem 3.4.1, rule 2.

    Args:
        graph: The graph.
        nodes: The nodes to look at.
    """
    found = []
    for node in nodes:
        parents = graph.parents(node)
        if parents and not graph.mixed.silent(parents).separated([node], parents, ()):
            found.append(node)
    return found


def answers(graph: CausalGraph, acted: Collection[str], outcome: Collection[str]) -> bool:
    """Whether a model of this graph, which multiplies its mechanisms, gives the law of the outcome under actions.

    It does where, for each node on the way, seeing its parents says as much as doing what came before it, given the
    earlier nodes that hidden causes tie it to.

    References:
        Tian and Pearl, "A General Identification Condition for Causal Effects", 2002, equation 10 (the factors).

    Args:
        graph: The graph.
        acted: The acted nodes.
        outcome: The nodes that are read.
    """
    mixed = graph.mixed
    way = mixed.acted(acted).causes(outcome) - set(acted)
    district = {node: part for part in mixed.within(way).districts() for node in part}
    before: list[str] = []
    for node in graph.nodes:
        if node in way:
            parents = set(graph.parents(node))
            tied = [v for v in before if v in district[node]]
            done = [v for v in before if v not in district[node]]
            if done and not mixed.silent(done).separated([node], done, tied):
                return False
            if set(before) - parents and not mixed.separated([node], set(before) - parents, parents):
                return False
        if node in way or node in acted:
            before.append(node)
    return True


def _sharing(graph: CausalGraph, nodes: Collection[str]) -> str:
    """The pairs with a hidden cause that touch some nodes, in words."""
    return "; ".join(f"'{a}' and '{b}'" for a, b in graph.confounded if {a, b} & set(nodes))


def warn_of_fit(graph: CausalGraph, nodes: Iterable[str]) -> None:
    """Warn of nodes whose mechanism will be fitted to what goes together, not to what causes do.

    Warns:
        CausalCFWarning: Names the nodes, who shares a hidden cause, and what to ask.
    """
    if not graph.confounded:
        return
    found = mistaken(graph, nodes)
    if found:
        node, parents = found[-1], graph.parents(found[-1])
        warnings.warn(
            f"The mechanisms of {found} are fitted to how these nodes go together with their causes, which is not what"
            f" the causes do to them: hidden causes are shared by {_sharing(graph, found)}. Before you act, see"
            f" graph.identify('{node}', do={list(parents)}). {REMEDY}",
            CausalCFWarning,
            stacklevel=callers_line(),
        )


def warn_of_effect(graph: CausalGraph, acted: Collection[str], outcome: Collection[str]) -> None:
    """Warn where the law of an outcome under actions is not what the model's mechanisms, multiplied, give.

    Args:
        graph: The graph.
        acted: The acted nodes.
        outcome: The nodes that are read.

    Warns:
        CausalCFWarning: Names what stands in the way, or the formula that would serve.
    """
    acted = graph.mixed.causes(outcome) & set(acted)
    if not graph.confounded or not acted or answers(graph, acted, outcome):
        return
    found = graph.identify(sorted(set(outcome) - set(acted)), do=list(acted))
    text = (
        f"{found.question} is identified, but not by this model, which multiplies its mechanisms as if there were no"
        f" hidden causes. The formula is {found.estimand}. {found.why}"
        if found
        else str(found)
    )
    warnings.warn(text, CausalCFWarning, stacklevel=callers_line())


def warn_of_answer(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], worlds: Iterable[Do]) -> None:
    """Warn where counterfactuals are computed by mechanisms, or with noise, that hidden causes are in.

    The noise of a number follows from its value and its parents' whatever shares a cause with it; that of a category
    or an image is drawn, as if it were independent of all else.

    Args:
        graph: The graph.
        mechanisms: node -> mechanism.
        worlds: The actions of each world.

    Warns:
        CausalCFWarning: Names the nodes.
    """
    if not graph.confounded:
        return
    computed: set[str] = set()
    for do in worlds:
        acted = {target.split(".")[0] for target in do}
        outright = {target for target, action in do.items() if not isinstance(action, Shift | Scale)}
        computed |= set(graph.descendants(acted & set(graph.nodes))) - outright
    nodes = [node for node in graph.nodes if node in computed]
    drawn = [node for node in nodes if mechanisms[node].is_random(sample=True)]
    shared = {node for arc in graph.confounded for node in arc}
    found = sorted({*mistaken(graph, nodes), *(node for node in drawn if node in shared)}, key=graph.nodes.index)
    if found:
        warnings.warn(
            f"The counterfactual values of {found} are not identified: hidden causes are shared by"
            f" {_sharing(graph, found)}, and their mechanisms know only what goes together. {REMEDY}",
            CausalCFWarning,
            stacklevel=callers_line(),
        )
