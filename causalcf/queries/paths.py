"""Path-specific effects and counterfactual fairness: the effect along some arrows, and not along others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import GraphError
from causalcf.data import Batch
from causalcf.queries.asking import as_query
from causalcf.queries.effects import ASSUMPTIONS
from causalcf.queries.estimate import Estimate, from_draws
from causalcf.queries.worlds import BLOCK, Outcome, read_outcome, require_effect
from causalcf.scm import StructuralCausalModel
from causalcf.scm.abduction import Noise

__all__ = ["counterfactual_fairness", "path_effect"]

Edge = tuple[str, str]


@as_query
def path_effect(
    scm: StructuralCausalModel,
    x: str,
    y: Outcome,
    data: Any,
    *,
    along: Collection[Edge],
    to: Any,
    seed: seeding.Seed = 0,
) -> Estimate:
    r"""How an outcome of these rows would move if x's change to another value were felt along some arrows only.

    Every node has two values: as observed, and as it is where the change arrives. A child reads the second of a parent
    along the arrows named, the first along all others. With all arrows, it is the effect on these rows; with those of
    the direct path alone, the natural direct effect.

    References:
        Avin, Shpitser, Pearl, "Identifiability of Path-Specific Effects", 2005. Chiappa, "Path-Specific Counterfactual
        Fairness", 2019, section 3.

    Args:
        scm: The fitted model.
        x: The cause, such as a protected attribute.
        y: The outcome, as for `effect`; a function reads the values that the change arrives at.
        data: The rows, every node observed.
        along: Arrows (cause, effect) that carry the change.
        to: The value that x changes to, one for all rows or one a row.
        seed: Seed of the noise that abduction draws.

    Returns:
        The mean change over the rows, with its interval.

    Raises:
        GraphError: An arrow that the graph lacks, or none that starts at x.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> scm = linear()
        >>> rows = {"x": [0.0, 0.0], "m": [0.0, 1.0], "y": [0.0, 3.0]}
        >>> round(path_effect(scm, "x", "y", rows, along=[("x", "y")], to=1.0).value, 3)
        0.5
        >>> round(path_effect(scm, "x", "y", rows, along=[("x", "m"), ("m", "y")], to=1.0).value, 3)
        1.2
    """
    outcome, seed = read_outcome(scm, y), seeding.resolve(seed)
    require_effect(scm, x, outcome)
    edges = {tuple(edge) for edge in along}
    unknown = sorted(edges - set(scm.graph.edges))
    if unknown or not any(cause == x for cause, _ in edges):
        raise GraphError(
            f"along={sorted(edges)}: {f'the graph has no {unknown}' if unknown else f'no arrow starts at {x!r}'}."
            f" Its arrows are {list(scm.graph.edges)}."
        )
    pairs = _pairs(scm, scm.read(data), x, to, edges, seed)
    changes = [outcome.of(moved) - outcome.of(part) for part, moved in pairs]
    arrows = ", ".join(f"{cause} -> {effect}" for cause, effect in sorted(edges))
    name = f"effect of {x} on {outcome.name} along {arrows}"
    return from_draws(name, torch.cat(changes), seed, outcome.unit, ASSUMPTIONS)


def _pairs(
    scm: StructuralCausalModel, rows: Batch, x: str, to: Any, edges: Collection[Any], seed: int
) -> Iterator[tuple[Batch, Batch]]:
    """The rows as observed and as the change along the arrows makes them, block by block."""
    for part in rows.blocks(BLOCK):
        with torch.no_grad():
            noise = scm.abduct(part, seed=seed)
            start = scm.predict(noise, {x: to})[x]
            yield part, _carried(scm, noise, part, x, start, edges)


def _carried(
    scm: StructuralCausalModel, noise: Noise, rows: Batch, x: str, start: Tensor, edges: Collection[Any]
) -> Batch:
    """The rows where the change arrives along the arrows; nodes that it does not reach stay as observed."""
    moved = {x: start}
    for node in scm.graph.nodes:
        parents = scm.graph.parents(node)
        if node == x or not any(parent in moved and (parent, node) in edges for parent in parents):
            continue
        mechanism = scm.mechanisms[node]
        pa = {p: moved[p] if p in moved and (p, node) in edges else rows[p] for p in parents}
        moved[node] = mechanism.variable.project(mechanism.predict(noise.of(node, mechanism), pa))
    return Batch({**rows, **moved}, rows.index)


@as_query
def counterfactual_fairness(
    scm: StructuralCausalModel,
    decide: Callable[[Batch], Tensor],
    data: Any,
    *,
    protected: str,
    to: Any,
    fair: Collection[Edge] = (),
    seed: seeding.Seed = 0,
) -> dict[str, Estimate]:
    r"""Would a decision about these rows be another, had a protected attribute been other?

    A decision is fair to a unit if :math:`\hat Y_{A \leftarrow a'} = \hat Y_{A \leftarrow a}` for its own noise. Arrows
    held to be fair carry nothing: an effect along them is not unfair.

    References:
        Kusner, Loftus, Russell, Silva, "Counterfactual Fairness", 2017, definition 5. Chiappa, "Path-Specific
        Counterfactual Fairness", 2019.

    Args:
        scm: The fitted model of the decision's inputs.
        decide: Rows -> decisions (N,): 0 or 1, or a score.
        data: The rows, every node observed.
        protected: The protected attribute.
        to: The value that it would have had.
        fair: Arrows (cause, effect) whose influence counts as fair.
        seed: Seed of the noise that abduction draws.

    Returns:
        `"changed"`, the share of rows with another decision; `"moved"`, the mean change of the decision.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> rows = linear().sample(500, seed=0)
        >>> found = counterfactual_fairness(linear(), lambda rows: (rows["m"] > 0).float(), rows, protected="x", to=1.0)
        >>> found["changed"].value > 0.1
        True
    """
    edges = {edge for edge in scm.graph.edges if edge not in {tuple(arrow) for arrow in fair}}
    decision, seed = read_outcome(scm, decide), seeding.resolve(seed)
    scm.graph.require(protected)
    pairs = _pairs(scm, scm.read(data), protected, to, edges, seed)
    changes = torch.cat([decision.of(moved) - decision.of(part) for part, moved in pairs])
    name = f"share of decisions that {protected} changes"
    return {
        "changed": from_draws(name, (changes != 0).double(), seed, "", ASSUMPTIONS),
        "moved": from_draws(f"change of the decision with {protected}", changes, seed, "", ASSUMPTIONS),
    }
