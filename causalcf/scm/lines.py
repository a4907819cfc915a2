"""An answer as lines of a table: one for each world, sample and row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from causalcf.data import scalar_columns
from causalcf.scm.counterfactual import Counterfactual
from causalcf.variables import Variable

__all__ = ["beside", "keys", "lines", "worlds_of"]


def worlds_of(cf: Counterfactual) -> list[Counterfactual]:
    """An answer's worlds, one by one."""
    return [cf.world(i) for i in range(len(cf.worlds))] if cf.listed else [cf]


def keys(labels: Any) -> dict[str, list[str]]:
    """The columns that name the rows, as they were in the data; none where the labels have no names."""
    if labels is None:
        return {}
    names = [(i, str(name)) for i, name in enumerate(labels.names) if name is not None]
    return {name: [str(value) for value in labels.get_level_values(i)] for i, name in names}


def beside(columns: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Columns with others before them, under another heading where theirs is taken.

    Example:
        >>> beside({"row": [1.5]}, {"row": [0], "sample": [0]})
        {'row (label)': [0], 'sample': [0], 'row': [1.5]}
    """
    found: dict[str, Any] = {}
    for name, values in added.items():
        heading = name
        while heading in columns or heading in found:
            heading += " (label)"
        found[heading] = values
    return {**found, **columns}


def lines(
    cf: Counterfactual, named: Mapping[str, Any], variables: Mapping[str, Variable] | None = None
) -> dict[str, np.ndarray]:
    """Scalar nodes as they were and as they would have been, a line for each world, sample and row, in this order.

    Args:
        cf: The answer.
        named: Columns that name its rows, (N,) each.
        variables: Those of the nodes to write; by default of all, images being left out.

    Returns:
        `world`, `sample`, the columns that name the rows, factual values, counterfactual values; headings that a node
        has are changed, as `beside` does it.
    """
    variables = cf.graph.variables if variables is None else variables
    parts: list[dict[str, Any]] = []
    for i, world in enumerate(worlds_of(cf)):
        for j in range(cf.num_samples or 1):
            answer = world.sample(j) if cf.num_samples else world
            part: dict[str, Any] = dict(scalar_columns(answer, variables))
            if answer.factual is not None:
                before = scalar_columns(answer.factual, variables)
                part = beside(part, {f"{name} (factual)": values for name, values in before.items()})
            where = {"world": np.full(cf.rows, i), "sample": np.full(cf.rows, j)}
            parts.append(beside(part, {**where, **named}))
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
