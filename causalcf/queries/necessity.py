"""Probabilities of causation: was x needed for y, would it have been enough, both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.queries.asking import as_query
from causalcf.queries.effects import ASSUMPTIONS
from causalcf.queries.estimate import Estimate, Estimates, from_draws
from causalcf.queries.worlds import Outcome, draw, holds, in_blocks, read_event, require_effect
from causalcf.scm import StructuralCausalModel

__all__ = ["necessity"]

DISCRETE = "categories of effects: their noise is as the mechanism has it (Gumbel, logistic); data cannot tell"


@as_query
def necessity(
    scm: StructuralCausalModel,
    x: str,
    y: Outcome,
    *,
    treated: Any = True,
    control: Any = False,
    above: float | None = None,
    draws: int = 20_000,
    seed: seeding.Seed = 0,
) -> Estimates:
    r"""Probability of necessity, of sufficiency, of both, and the probability that x disables y.

    .. math::
        PN = P(\neg y_{x_0} \mid x_1, y), \qquad PS = P(y_{x_1} \mid x_0, \neg y), \qquad
        PNS = P(y_{x_1}, \neg y_{x_0})

    They are facts about single units, so they need more than the model's distribution: how one unit's noise is shared
    by two worlds. `necessity_low` ... give the bounds of Tian and Pearl, which hold without it, from the
    experimental probabilities alone, for PNS.

    References:
        Pearl, "Causality", 2nd edition 2009, chapter 9. Tian and Pearl, "Probabilities of Causation: Bounds and
        Identification", 2000, equation 14.

    Args:
        scm: The fitted model.
        x: The cause, with two discrete values of interest.
        y: A Boolean node, or (node, category), or a number with `above`.
        treated: Value x1 of the cause.
        control: Value x0.
        above: The event is that the outcome is above this number.
        draws: Units drawn.
        seed: Seed of the draws.

    Returns:
        `necessity`, `sufficiency`, `both`, `both_low`, `both_high` (the bounds of Tian and Pearl).

    Raises:
        DataError: The outcome is not an event; too few units are treated with the event, or untreated without it.

    Example:
        >>> from causalcf.queries.examples import switch
        >>> found = necessity(switch(), "x", "y", treated=True, control=False)
        >>> found.both.value <= found.both_high.value + 0.02
        True
    """
    event, seed = read_event(scm, x, y, above), seeding.resolve(seed)
    require_effect(scm, x, event)

    def ask(predict: Any) -> Mapping[str, Tensor]:
        factual = predict({})
        return {
            "treated": holds(scm, factual, {x: treated}),
            "control": holds(scm, factual, {x: control}),
            "event": event.of(factual) == 1,
            "on": event.of(predict({x: treated})) == 1,
            "off": event.of(predict({x: control})) == 1,
        }

    w = in_blocks(scm, draw(scm, draws, seed), ask)
    needed = (~w["off"])[w["treated"] & w["event"]].double()
    enough = w["on"][w["control"] & ~w["event"]].double()
    both = (w["on"] & ~w["off"]).double()
    own = {"necessity": needed, "sufficiency": enough, "both": both}
    assumed = (*ASSUMPTIONS, DISCRETE)
    parts = {name: from_draws(f"probability of {name}", each, seed, "", assumed) for name, each in own.items()}
    return Estimates(f"{x} = {treated} as a cause of {event.name}", parts | _bounds(w["on"], w["off"], seed))


def _bounds(on: Tensor, off: Tensor, seed: int) -> dict[str, Estimate]:
    """The bounds of Tian and Pearl on PNS, from the event's share in either world."""
    p, q = float(on.double().mean()), float(off.double().mean())
    ends = {"both_low": torch.tensor(max(0.0, p - q)), "both_high": torch.tensor(min(p, 1 - q))}
    return {
        name: from_draws(f"{name.replace('_', ', ')} (Tian and Pearl)", end.expand(len(on)), seed, "", ASSUMPTIONS)
        for name, end in ends.items()
    }
