"""What a fit needs before the first step: variables, the nodes chosen, their stages, rows and initial weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from causalcf import training
from causalcf.core import seeding
from causalcf.core.errors import DataError
from causalcf.data import Batch, infer_variables
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism, Stage
from causalcf.scm.rows import read_rows

__all__ = ["choose", "declare", "initialise", "plan_stages", "read_split"]


def declare(graph: CausalGraph, data: Any) -> CausalGraph:
    """The graph with the variables that were not declared told from the data.

    Raises:
        DataError: The data lack a node.
    """
    undeclared = [node for node in graph.nodes if node not in graph.variables]
    if not undeclared:
        return graph
    graph = graph.with_variables(infer_variables(data, undeclared))
    missing = [node for node in undeclared if node not in graph.variables]
    if missing:
        raise DataError(f"The data lack {missing}. The graph's nodes are {list(graph.nodes)}.")
    return graph


def choose(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], nodes: Collection[str] | None
) -> dict[str, Mechanism]:
    """Mechanisms to fit, in topological order.

    Raises:
        UnknownNodeError: There is no such node.
    """
    for node in nodes or ():
        graph.require(node)
    return {node: mechanism for node, mechanism in mechanisms.items() if nodes is None or node in nodes}


def plan_stages(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    epochs: int | Mapping[str, int] | None,
    recipes: Mapping[str, training.Recipes],
) -> dict[str, tuple[Stage, ...]]:
    """node -> its stages, each with the recipe it is trained by.

    Raises:
        UnknownNodeError: Settings for a node that the graph lacks.
        MechanismError: A mechanism has no such stage.
    """
    by_node = epochs if isinstance(epochs, Mapping) else dict.fromkeys(mechanisms, epochs)
    for node in (*by_node, *recipes):
        graph.require(node)
    return {
        node: training.plan(mechanism, recipes.get(node), by_node.get(node)) for node, mechanism in mechanisms.items()
    }


def read_split(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    data: Any,
    validation: float | Any,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Batch, Batch]:
    """Training and validation rows: a share of the data, or other data."""
    train = read_rows(graph, mechanisms, data, dtype, device)
    if isinstance(validation, float | int):
        return training.split(train, validation, seed)
    return train, read_rows(graph, mechanisms, validation, dtype, device)


def initialise(mechanisms: Mapping[str, Mechanism], seed: int) -> None:
    """Draw the initial weights from the seed, on the CPU, so that they do not depend on the device."""
    for node, mechanism in mechanisms.items():
        with seeding.seeded(seeding.derive(seed, node, "weights")):
            mechanism.to("cpu").build()
        mechanism.fitted = not mechanism.sites
