"""Draws of a model in several worlds that share their noise, and outcomes read off them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import DataError, InterventionError
from causalcf.data import Batch
from causalcf.do import Do
from causalcf.scm import StructuralCausalModel
from causalcf.scm.abduction import Noise, sample_noise
from causalcf.scm.hidden import warn_of_effect
from causalcf.variables.codes import Boolean, Categorical

__all__ = [
    "BLOCK",
    "Given",
    "Outcome",
    "Read",
    "draw",
    "holds",
    "in_blocks",
    "read_event",
    "read_outcome",
    "require_effect",
]

BLOCK = 2000
"""Rows that are computed at once."""

Outcome = str | tuple[str, Any] | Callable[[Batch], Tensor]
"""A numeric node; a node and one of its categories; or what a function, such as a predictor, reads off the rows."""

Predict = Callable[[Do], Mapping[str, Tensor]]
"""Actions -> the units of one block, acted on."""

Given = Mapping[str, Any]
"""node -> value, (low, high) range, or function of the node's values that gives a mask."""


@dataclass(frozen=True)
class Read:
    """An outcome, ready to be read off rows.

    Args:
        name: In words.
        unit: Of its numbers.
        of: Rows -> numbers (N,).
        node: The node it is read off; empty for a function.
    """

    name: str
    unit: str
    of: Callable[[Mapping[str, Tensor]], Tensor]
    node: str = ""


def read_outcome(scm: StructuralCausalModel, y: Outcome) -> Read:
    """An outcome as one number a row.

    Raises:
        UnknownNodeError: There is no such node.
        DataError: The node holds no single number, and no category or function turns it into one.
    """
    if callable(y):
        return Read(getattr(y, "__name__", "outcome"), "", lambda rows: _as_numbers(y(_batch(rows)), "the function"))
    node, category = y if isinstance(y, tuple) else (y, None)
    variable = scm.variables[scm.graph.require(node)]
    if category is not None:
        if not isinstance(variable, Categorical | Boolean):
            raise DataError(f"'{node}' is {variable.article}: it has no categories. Ask for the node itself.")
        code = variable.code(node, str(category)) if isinstance(variable, Categorical) else int(bool(category))
        return Read(f"P({node} = {category})", "", lambda rows: (rows[node].long() == code).double(), node)
    if isinstance(variable, Categorical):
        raise DataError(
            f"'{node}' is {variable.article}, which has no mean. Say of which category the probability is asked:"
            f" ('{node}', {variable.categories[0]!r})."
        )
    if variable.event_shape:
        raise DataError(
            f"'{node}' is {variable.article}: say what to read off it, a function of the rows such as"
            f" lambda rows: rows['{node}'].flatten(1).mean(1), or a predictor."
        )
    return Read(node, variable.unit, lambda rows: rows[node].double(), node)


def read_event(scm: StructuralCausalModel, x: str, y: Outcome, above: float | None) -> Read:
    """An event that x may cause, as 0 or 1 a row.

    Raises:
        UnknownNodeError: There is no such node.
        InterventionError: Cause and outcome are one node.
        DataError: When rows are read, and the outcome is not an event.
    """
    outcome = read_outcome(scm, y)
    _require_other(scm, x, outcome)

    def of(rows: Mapping[str, Tensor]) -> Tensor:
        value = outcome.of(rows)
        if above is not None:
            return (value > above).double()
        if not bool(((value == 0) | (value == 1)).all()):
            raise DataError(f"{outcome.name} is not an event, true or false. Say when it has happened: above=...")
        return value

    name = outcome.name if above is None else f"P({outcome.name} > {above:g})"
    return Read(name, "", of, outcome.node)


def _batch(rows: Mapping[str, Tensor]) -> Batch:
    return rows if isinstance(rows, Batch) else Batch(dict(rows))


def _as_numbers(values: Any, what: str) -> Tensor:
    values = torch.as_tensor(values)
    if values.ndim != 1:
        raise DataError(f"The outcome, {what} of the rows, has shape {tuple(values.shape)}: expected one number a row.")
    return values.double()


def require_effect(scm: StructuralCausalModel, x: str, outcome: Read) -> None:
    """Refuse a cause that does not exist, or that is the outcome itself; warn where hidden causes are in the answer.

    Where the outcome is a function, it may read whatever the cause changes.

    Raises:
        UnknownNodeError: There is no such node.
        InterventionError: Cause and outcome are one node.

    Warns:
        CausalCFWarning: What is asked is not identified, or not by this model.
    """
    _require_other(scm, x, outcome)
    warn_of_effect(scm.graph, [x], [outcome.node] if outcome.node else scm.graph.descendants([x]))


def _require_other(scm: StructuralCausalModel, x: str, outcome: Read) -> None:
    scm.graph.require(x)
    if outcome.node == x:
        raise InterventionError(f"'{x}' is cause and outcome at once. Ask for the effect on one of its descendants.")


def draw(scm: StructuralCausalModel, n: int, seed: int) -> Noise:
    """The exogenous noise of n units, which every world of a query shares.

    Raises:
        DataError: n is below 2.
    """
    if n < 2:
        raise DataError(f"draws must be at least 2, got {n}.")
    return sample_noise(scm.graph, scm.require_fitted(), n, seed=seeding.derive(seed, "units") % 2**62)


def in_blocks(
    scm: StructuralCausalModel,
    noise: Noise,
    ask: Callable[[Callable[[Do], Mapping[str, Tensor]]], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Apply `ask` to blocks of units and join the results, so that images of many units never exist at once.

    Args:
        scm: The model.
        noise: Of all units.
        ask: Gets a function that predicts the units of one block under actions, and gives name -> (n, ...).
    """
    parts: list[Mapping[str, Tensor]] = []
    for start in range(0, noise.rows, BLOCK):
        units = noise.of_rows(slice(start, start + BLOCK))
        with torch.no_grad():
            parts.append(ask(lambda do, units=units: scm.predict(units, do, recompute="all")))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def holds(scm: StructuralCausalModel, rows: Mapping[str, Tensor], given: Given) -> Tensor:
    """Which rows are as `given` says, (N,), bool.

    Raises:
        UnknownNodeError: There is no such node.
        DataError: One value of a continuous node, which no draw has exactly.
    """
    mask = torch.ones(len(next(iter(rows.values()))), dtype=torch.bool)
    for node, wanted in given.items():
        variable, value = scm.variables[scm.graph.require(node)], rows[node]
        if callable(wanted):
            met = torch.as_tensor(wanted(value), dtype=torch.bool)
        elif variable.discrete:
            codes = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
            if isinstance(variable, Categorical):
                codes = [variable.code(node, str(code)) if isinstance(code, str) else int(code) for code in codes]
            met = torch.isin(value.long(), torch.tensor([int(code) for code in codes]))
        elif isinstance(wanted, tuple) and len(wanted) == 2:
            met = (value >= wanted[0]) & (value <= wanted[1])
        else:
            raise DataError(
                f"given {node} = {wanted!r}: '{node}' is {variable.article}, and no draw has exactly this value."
                f" Give a range: given={{'{node}': (low, high)}}."
            )
        mask &= met.cpu()
    return mask
