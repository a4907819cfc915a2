"""Mediation: how much of an effect goes through a mediator, and how much past it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import InterventionError
from causalcf.queries.asking import as_query
from causalcf.queries.effects import ASSUMPTIONS
from causalcf.queries.estimate import Estimates, from_draws
from causalcf.queries.refits import with_refits
from causalcf.queries.worlds import Outcome, Read, draw, in_blocks, read_outcome, require_effect
from causalcf.scm import StructuralCausalModel

__all__ = ["mediation"]


@as_query
def mediation(
    scm: StructuralCausalModel,
    x: str,
    m: str | Sequence[str],
    y: Outcome,
    *,
    treated: Any = 1.0,
    control: Any = 0.0,
    mediator: Mapping[str, Any] | Any = None,
    draws: int = 10_000,
    refits: int = 0,
    data: Any = None,
    workers: int = 1,
    seed: seeding.Seed = 0,
) -> Estimates:
    r"""Natural direct and indirect effects of x on y, with m as mediator.

    .. math::
        NDE = E[Y_{x_1, M_{x_0}} - Y_{x_0}], \qquad NIE = E[Y_{x_0, M_{x_1}} - Y_{x_0}], \qquad
        TE = E[Y_{x_1} - Y_{x_0}] = NDE - NIE_{x_1 \to x_0}

    In linear models TE = NDE + NIE; elsewhere `interaction` = TE - NDE - NIE is the part that needs both at once. Each
    unit's mediator is carried from one of its worlds into the other: a question of the third rung.

    References:
        Pearl, "Direct and Indirect Effects", 2001, definitions 5-7 and theorem 3; "Causality", 2009, section 4.5.

    Args:
        scm: The fitted model.
        x: The cause.
        m: The mediator, or several; effects of x.
        y: The outcome, as for `effect`.
        treated: Value of x in the first world.
        control: Value of x in the second.
        mediator: A value of m (mediator -> value for several) adds `controlled`, the direct effect with m held there.
        draws: Units drawn.
        refits: As for `effect`.
        data: As for `effect`.
        workers: As for `effect`.
        seed: Seed of units.

    Returns:
        `total`, `direct`, `indirect`, `interaction` and, if asked for, `controlled`.

    Raises:
        InterventionError: A mediator is not an effect of x, or is the outcome.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> found = mediation(linear(), "x", "m", "y", treated=1.0, control=0.0)
        >>> round(found.direct.value, 2), round(found.indirect.value, 2), round(found.total.value, 2)
        (0.5, 1.2, 1.7)
    """
    outcome, seed = read_outcome(scm, y), seeding.resolve(seed)
    require_effect(scm, x, outcome)
    nodes = _mediators(scm, x, m, outcome)
    held = mediator if isinstance(mediator, Mapping) or mediator is None else {nodes[0]: mediator}

    def of(model: StructuralCausalModel) -> Estimates:
        ask = partial(_effects, outcome=outcome, nodes=nodes, on={x: treated}, off={x: control}, held=held)
        found = in_blocks(model, draw(model, draws, seed), ask)
        title = f"{x} on {outcome.name} through {', '.join(nodes)}"
        parts = {
            name: from_draws(f"{name} effect", each, seed, outcome.unit, ASSUMPTIONS) for name, each in found.items()
        }
        return Estimates(title, parts)

    return with_refits(of, scm, refits, data, workers, seed)


def _mediators(scm: StructuralCausalModel, x: str, m: str | Sequence[str], outcome: Read) -> list[str]:
    """The mediators by name; raise `InterventionError` for a node that is none."""
    nodes, effects = [m] if isinstance(m, str) else list(m), list(scm.graph.descendants([x]))
    for node in nodes:
        if node not in effects or node == outcome.node:
            raise InterventionError(
                f"'{node}' does not mediate '{x}': mediators are its effects, {effects}, other than the outcome"
                f" {outcome.name}."
            )
    return nodes


def _effects(
    predict: Callable[[Mapping[str, Any]], Mapping[str, Tensor]],
    *,
    outcome: Read,
    nodes: Sequence[str],
    on: Mapping[str, Any],
    off: Mapping[str, Any],
    held: Mapping[str, Any] | None,
) -> Mapping[str, Tensor]:
    """The effects on single units, each (N,): total, direct, indirect, their interaction, and with m held.

    Args:
        predict: do -> values of every node, of the same units in each world.
        outcome: The outcome, as `read_outcome` gives it.
        nodes: The mediators.
        on: The action of the first world.
        off: The action of the second world.
        held: Values of the mediators for the controlled effect.
    """
    treated, control = predict(on), predict(off)
    base = outcome.of(control)
    found = {
        "total": outcome.of(treated) - base,
        "direct": outcome.of(predict({**on, **{node: control[node] for node in nodes}})) - base,
        "indirect": outcome.of(predict({**off, **{node: treated[node] for node in nodes}})) - base,
    }
    found["interaction"] = found["total"] - found["direct"] - found["indirect"]
    if held is not None:
        found["controlled"] = outcome.of(predict({**on, **held})) - outcome.of(predict({**off, **held}))
    return found
