"""What can be said of an effect whatever hidden causes there are: bounds for events."""

from __future__ import annotations

from typing import Any

import torch

from causalcf.core import seeding
from causalcf.queries.asking import as_query
from causalcf.queries.estimate import Estimates, from_draws
from causalcf.queries.worlds import BLOCK, Outcome, draw, holds, in_blocks, read_event
from causalcf.scm import StructuralCausalModel

__all__ = ["bounds"]

ASSUMPTIONS = ("the law of the observed nodes is right; hidden causes may be any",)


@as_query
def bounds(
    scm: StructuralCausalModel,
    x: str,
    y: Outcome,
    *,
    treated: Any = True,
    control: Any = False,
    above: float | None = None,
    data: Any = None,
    draws: int = 20_000,
    seed: seeding.Seed = 0,
) -> Estimates:
    r"""Bounds of the probability of an event under action, without any assumption on hidden causes.

    .. math::
        P(x, y) \le P(y \mid do(x)) \le 1 - P(x, \neg y)

    Rows with another x say nothing of y under x, so the event may happen for none of them, or for all. The bounds of
    the effect are one apart, and so never tell its sign.

    References:
        Tian and Pearl, "Probabilities of Causation: Bounds and Identification", 2000, equation 5. Manski,
        "Nonparametric Bounds on Treatment Effects", 1990.

    Args:
        scm: The fitted model, of which the law of x and y is taken.
        x: The cause, discrete.
        y: A Boolean node, or (node, category), or a number with `above`.
        treated: One value of the cause.
        control: Another.
        above: The event is that the outcome is above this number.
        data: Rows to take the law of x and y from, instead of the model.
        draws: Units drawn.
        seed: What they follow from.

    Returns:
        `treated_low`, `treated_high`, `control_low`, `control_high`, `effect_low`, `effect_high`.

    Raises:
        UnknownNodeError: There is no such node.
        InterventionError: Cause and outcome are one node.
        DataError: The outcome is not an event, or x is a number.

    Example:
        >>> from causalcf.queries.examples import switch
        >>> found = bounds(switch(), "x", "y")
        >>> found.effect_low.value < 0.5 < found.effect_high.value  # .5 without hidden causes
        True
    """
    event, seed = read_event(scm, x, y, above), seeding.resolve(seed)

    def look(rows: Any) -> dict[str, torch.Tensor]:
        return {
            "treated": holds(scm, rows, {x: treated}),
            "control": holds(scm, rows, {x: control}),
            "y": event.of(rows) == 1,
        }

    if data is None:
        w = in_blocks(scm, draw(scm, draws, seed), lambda predict: look(predict({})))
    else:
        parts = [look(part) for part in scm.read(data).blocks(BLOCK)]
        w = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    ends: dict[str, torch.Tensor] = {}
    for arm in ("treated", "control"):
        ends[f"{arm}_low"] = (w[arm] & w["y"]).double()
        ends[f"{arm}_high"] = 1 - (w[arm] & ~w["y"]).double()
    ends["effect_low"] = ends["treated_low"] - ends["control_high"]
    ends["effect_high"] = ends["treated_high"] - ends["control_low"]
    title = f"{event.name} under do({x}), whatever the hidden causes"
    return Estimates(
        title, {name: from_draws(name.replace("_", ", "), each, seed, "", ASSUMPTIONS) for name, each in ends.items()}
    )
