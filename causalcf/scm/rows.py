"""Rows as a model holds them: checked, in its type, on its device, and whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from causalcf.core.errors import DataError
from causalcf.data import Batch, read
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism

__all__ = ["fill_noiseless", "read_rows"]


def read_rows(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], x: Any, dtype: torch.dtype, device: torch.device | str
) -> Batch:
    """Observed rows, checked; nodes without noise of their own may be missing.

    Raises:
        DataError: A node is missing, a value is not of its kind, or there are no rows.
        SupportError: A value lies outside its variable's support.
    """
    noiseless = frozenset(node for node, mechanism in mechanisms.items() if not mechanism.sites)
    rows = read(x, graph.variables, optional=noiseless, dtype=dtype, device=device)
    if not rows.rows:
        raise DataError("The data have no rows. Give at least one.")
    return rows


def fill_noiseless(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], rows: Batch) -> Batch:
    """The rows with every node: those that follow from their parents alone are computed where they are missing."""
    values = dict(rows)
    for node in graph.nodes:
        if node not in values:
            values[node] = mechanisms[node].predict({}, {parent: values[parent] for parent in graph.parents(node)})
    return Batch({node: values[node] for node in graph.nodes}, rows.index)
