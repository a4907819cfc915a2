"""Probabilities of causation: was x needed for y, would it have been enough, both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import DataError
from causalcf.queries.effects import ASSUMPTIONS
from causalcf.queries.estimate import Estimates, from_draws
from causalcf.queries.worlds import Outcome, draw, holds, in_blocks, read_outcome, require_effect
from causalcf.scm import StructuralCausalModel

__all__ = ["necessity"]

DISCRETE = "categories of effects: their noise is as the mechanism has it (Gumbel, logistic); data cannot tell"


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
    outcome, seed = read_outcome(scm, y), seeding.resolve(seed)
    require_effect(scm, x, outcome)

    def event(rows: Mapping[str, Tensor]) -> Tensor:
        value = outcome.of(rows)
        if above is not None:
            return value > above
        if not bool(((value == 0) | (value == 1)).all()):
            raise DataError(f"{outcome.name} is not an event, true or false. Say when it has happened: above=...")
        return value == 1

    def ask(predict: Any) -> Mapping[str, Tensor]:
        factual = predict({})
        return {
            "treated": holds(scm, factual, {x: treated}),
            "control": holds(scm, factual, {x: control}),
            "event": event(factual),
            "on": event(predict({x: treated})),
            "off": event(predict({x: control})),
        }

    w = in_blocks(scm, draw(scm, draws, seed), ask)
    needed = (~w["off"])[w["treated"] & w["event"]].double()
    enough = w["on"][w["control"] & ~w["event"]].double()
    both = (w["on"] & ~w["off"]).double()
    on, off = float(w["on"].double().mean()), float(w["off"].double().mean())
    ends = {"both_low": torch.tensor(max(0.0, on - off)), "both_high": torch.tensor(min(on, 1 - off))}
    own = {"necessity": needed, "sufficiency": enough, "both": both}
    assumed = (*ASSUMPTIONS, DISCRETE)
    parts = {name: from_draws(f"probability of {name}", each, seed, "", assumed) for name, each in own.items()}
    bounds = {
        name: from_draws(f"{name.replace('_', ', ')} (Tian and Pearl)", end.expand(len(both)), seed, "", ASSUMPTIONS)
        for name, end in ends.items()
    }
    return Estimates(f"{x} = {treated} as a cause of {outcome.name}", {**parts, **bounds})
