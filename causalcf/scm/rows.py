"""Rows as a model holds them: checked, in its type, on its device, and whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from causalcf.core.columns import BLOCK, Column
from causalcf.core.errors import DataError
from causalcf.core.nn import column
from causalcf.data import Batch, read
from causalcf.do import Do, GivenFactual, Scale, Shift
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.variables.codes import Boolean

__all__ = ["fill_noiseless", "read_rows", "unneeded"]


def read_rows(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    x: Any,
    dtype: torch.dtype,
    device: torch.device | str,
    gaps: Collection[str] = (),
) -> Batch:
    """Observed rows, checked; nodes without noise of their own may be missing.

    Args:
        graph: The causal graph.
        mechanisms: node -> mechanism.
        x: The rows, as people have them.
        dtype: Floating type of the numbers.
        device: Where they go.
        gaps: Nodes that may have no value in some rows.

    Raises:
        DataError: A node is missing, a value is not of its kind, or there are no rows.
        SupportError: A value lies outside its variable's support.
    """
    noiseless = frozenset(node for node, mechanism in mechanisms.items() if not mechanism.sites)
    rows = read(x, graph.variables, optional=noiseless, gaps=gaps, dtype=dtype, device=device)
    if not rows.rows:
        raise DataError("The data have no rows. Give at least one.")
    return rows


def unneeded(graph: CausalGraph, worlds: Iterable[Do]) -> frozenset[str]:
    """Nodes whose observed values do not affect any answer.

    Answers are computed for the acted nodes and their descendants: from the observed noise of these nodes, which
    follows from their own values and their parents'. A node that is set to a value needs neither.

    Args:
        graph: The causal graph.
        worlds: The actions of each world.
    """
    needed: set[str] = set()
    for do in worlds:
        acted = {target.split(".")[0] for target in do}
        outright = {target for target, action in do.items() if not isinstance(action, Shift | Scale)}
        others = [do[target] for target in outright if not isinstance(do[target], Distribution)]
        if any(callable(action) or isinstance(action, GivenFactual) for action in others):
            return frozenset()  # a function may look at any value
        for node in {*acted, *graph.descendants(acted & set(graph.nodes))} - outright:
            needed |= {node, *graph.parents(node)} & set(graph.nodes)
    return frozenset(graph.nodes) - needed


def fill_noiseless(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], rows: Batch) -> Batch:
    """The rows with every node: those that follow from their parents alone are computed where they are missing."""
    values: dict[str, Tensor | Column] = dict(rows.held)
    for node in graph.nodes:
        if node not in values:
            values[node] = _computed(mechanisms[node], {parent: values[parent] for parent in graph.parents(node)})
    return rows.like({node: values[node] for node in graph.nodes})


def _computed(mechanism: Mechanism, pa: Mapping[str, Tensor | Column]) -> Tensor:
    """What follows from the parents alone; by blocks of rows where a parent is yet to be read."""
    whole = {name: value for name, value in pa.items() if isinstance(value, Tensor)}
    coded = {name: value for name, value in whole.items() if mechanism.parents[name].has_gaps(value)}
    if coded:  # any code stands in for those that are missing, and what follows from it is missing, too
        gone = torch.stack([value.isnan() for value in coded.values()]).any(0)
        codes = {name: value.nan_to_num(0.0) for name, value in coded.items()}
        kinds = {name: torch.bool if isinstance(mechanism.parents[name], Boolean) else torch.long for name in coded}
        x = _computed(mechanism, {**pa, **{name: value.to(kinds[name]) for name, value in codes.items()}})
        return x.to(mechanism.dtype).masked_fill(column(gone, x), torch.nan)
    if len(whole) == len(pa):
        return mechanism.predict({}, whole)
    return Batch(pa).walk(BLOCK, lambda part: mechanism.predict({}, dict(part)))
