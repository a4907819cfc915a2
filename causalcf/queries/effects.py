"""Average, conditional and on-the-treated effects: two worlds of the same units, and the difference of an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import DataError
from causalcf.queries.asking import as_query
from causalcf.queries.estimate import Estimate, from_draws
from causalcf.queries.refits import with_refits
from causalcf.queries.worlds import BLOCK, Given, Outcome, Read, draw, holds, in_blocks, read_outcome, require_effect
from causalcf.scm import StructuralCausalModel

__all__ = ["effect", "effect_on_treated"]

ASSUMPTIONS = ("the graph is right", "no two nodes share a hidden cause that matters", "the mechanisms fit")


@as_query
def effect(
    scm: StructuralCausalModel,
    x: str,
    y: Outcome,
    *,
    treated: Any,
    control: Any,
    given: Given | None = None,
    draws: int = 10_000,
    refits: int = 0,
    data: Any = None,
    workers: int = 1,
    seed: seeding.Seed = 0,
) -> Estimate:
    r"""The effect of doing x on the mean of y: :math:`E[Y \mid do(x_1), z] - E[Y \mid do(x_0), z]`.

    Both worlds have the same units, so their noise cancels. With `given`, the mean is over units that are so without
    any action, which is the conditional effect where z are no effects of x.

    References:
        Pearl, "Causality", 2nd edition 2009, section 3.2 (average) and 4.2 (conditional).

    Args:
        scm: The fitted model.
        x: The cause.
        y: A numeric or Boolean node; (node, category) for a probability; or a function of the rows, such as a
            predictor of an image, that gives one number a row.
        treated: Value of x in the first world; anything that `do` takes.
        control: Value of x in the second.
        given: node -> value of a discrete node, (low, high) range of a number, or function of the values.
        draws: Units drawn.
        refits: How many times to fit the model to resampled rows of `data`: the interval is then that of fitting.
        data: The rows the model was fitted on; needed for refits.
        workers: Processes that refit.
        seed: Seed of the units and of the resampled rows.

    Returns:
        The effect in the outcome's unit, with its interval.

    Raises:
        UnknownNodeError: There is no such node.
        InterventionError: Cause and outcome are one node, or an action cannot be carried out.
        DataError: The outcome has no mean; conditions that no unit meets, or that are effects of x.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> round(effect(linear(), "x", "y", treated=1.0, control=0.0).value, 2)  # .5 + 2 * .6
        1.7
    """
    outcome, seed = read_outcome(scm, y), seeding.resolve(seed)
    require_effect(scm, x, outcome)
    _require_causes(scm, x, given or {})

    def of(model: StructuralCausalModel) -> Estimate:
        def ask(predict: Any) -> Mapping[str, Tensor]:
            found = {"difference": outcome.of(predict({x: treated})) - outcome.of(predict({x: control}))}
            return found | ({"met": holds(model, predict({}), given)} if given else {})

        found = in_blocks(model, draw(model, draws, seed), ask)
        each = found["difference"][found["met"]] if given else found["difference"]
        return from_draws(_name(x, outcome, given), each, seed, outcome.unit, ASSUMPTIONS)

    return with_refits(of, scm, refits, data, workers, seed)


@as_query
def effect_on_treated(
    scm: StructuralCausalModel,
    x: str,
    y: Outcome,
    data: Any,
    *,
    control: Any,
    seed: seeding.Seed = 0,
) -> Estimate:
    r"""The effect of x on the rows given: :math:`E[Y_{x} - Y_{x_0}]` over these very rows.

    Counterfactuals of observed rows, not draws: each row keeps its own noise.

    References:
        Shpitser and Pearl, "Effects of Treatment on the Treated: Identification and Generalization", 2009.

    Args:
        scm: The fitted model.
        x: The cause.
        y: The outcome, as for `effect`.
        data: The treated rows, every node observed.
        control: Value of x in the other world.
        seed: Seed of the noise that abduction draws.

    Returns:
        The mean difference between factual and counterfactual outcomes, with the interval over rows.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> scm = linear()
        >>> rows = scm.sample(1000, seed=0)
        >>> round(effect_on_treated(scm, "x", "y", rows, control=0.0).value / float(rows["x"].mean()), 2)
        1.7
    """
    outcome, seed = read_outcome(scm, y), seeding.resolve(seed)
    require_effect(scm, x, outcome)
    rows = scm.read(data)
    parts = []
    for part in rows.blocks(BLOCK):
        with torch.no_grad():
            other = scm.counterfactual(part, do={x: control}, seed=seed)
        parts.append(outcome.of(part) - outcome.of(other))
    return from_draws(
        f"effect of {x} on {outcome.name}, on these rows", torch.cat(parts), seed, outcome.unit, ASSUMPTIONS
    )


def _require_causes(scm: StructuralCausalModel, x: str, given: Given) -> None:
    """Raise if a condition is an effect of x: a difference among such units would not be the effect of x."""
    later = [node for node in given if node in (x, *scm.graph.descendants([x]))]
    if later:
        raise DataError(
            f"given names {later}, which follow from '{x}': a difference among such units is not an effect of '{x}'."
            f" Condition on nodes that '{x}' does not change, or ask mediation."
        )


def _name(x: str, outcome: Read, given: Given | None) -> str:
    where = ", ".join(f"{node} = {value}" if not callable(value) else node for node, value in (given or {}).items())
    return f"effect of {x} on {outcome.name}{f' given {where}' if where else ''}"
