"""The preparations of a fit: variables, the nodes chosen, their stages, rows and initial weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from numbers import Real
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from causalcf import training
from causalcf.core import seeding
from causalcf.core.errors import CausalCFWarning, DataError
from causalcf.core.provenance import provenance
from causalcf.core.settings import plain
from causalcf.core.surroundings import callers_line, in_single, kept_out
from causalcf.data import Batch, columns, infer
from causalcf.data.inference import warn_of
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism, Stage
from causalcf.scm.check import summarise
from causalcf.scm.doubts import warn_of_rounding
from causalcf.scm.rows import read_rows

__all__ = ["choose", "declare", "initialise", "note", "plan_stages", "read_split", "whole_or_not"]

P = ParamSpec("P")
T = TypeVar("T")


def whole_or_not(fit: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Let a model's `fit` happen whole or not at all: one that fails, or is stopped, leaves the model as it was.

    The weights of a model that is fitted are copied first. The caller's contexts do not reach in: nothing can be
    trained in inference mode, and weights must follow from the seed alone.
    """

    @wraps(fit)
    def fitted(scm: Any, *args: P.args, **options: P.kwargs) -> T:
        names = ("graph", "history", "provenance", "seen", "_order")
        before = {name: getattr(scm, name) for name in names}
        was_fitted = any(mechanism.fitted and mechanism.sites for mechanism in scm.mechanisms.values())
        modules = copy.deepcopy(scm._modules_in_order) if was_fitted else None
        try:
            with torch.inference_mode(False), kept_out():
                return fit(scm, *args, **options)
        except BaseException:
            for name, value in before.items():
                setattr(scm, name, value)
            if modules is not None:
                scm._modules_in_order = modules
            elif scm._order:
                scm._bind()
            else:
                scm._modules_in_order = torch.nn.ModuleList()
            raise

    return fitted


def declare(graph: CausalGraph, data: Any) -> CausalGraph:
    """The graph with undeclared variables inferred from the data; `graph.describe()` lists them.

    Raises:
        DataError: The data lack a node, or a column suggests no variable.

    Warns:
        CausalCFWarning: A column may be something else than it is taken for, or a mark for "missing" hides in it.
    """
    # A data set knows its variables; its codes of categories could be told from no numbers.
    known = getattr(data, "variables", {})
    given = {node: known[node] for node in graph.nodes if node in known and node not in graph.variables}
    graph = graph.with_variables(given, dict.fromkeys(given, "as the data set says"))
    undeclared = [node for node in graph.nodes if node not in graph.variables]
    table = columns(data)[0]
    if undeclared:
        missing = [node for node in undeclared if node not in table]
        if missing:
            raise DataError(
                f"The data lack {missing}. The graph's nodes are {list(graph.nodes)}; the data have {list(table)}."
            )
        found = infer(table, undeclared)
        for inferred in found.values():
            if inferred.doubt:
                warnings.warn(inferred.doubt, CausalCFWarning, stacklevel=callers_line())
        graph = graph.with_variables(
            {node: inferred.variable for node, inferred in found.items()},
            {node: inferred.why for node, inferred in found.items()},
        )
    warn_of(table, graph.variables)
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
    *,
    progress: bool = False,
) -> tuple[Batch, Batch]:
    """Training and validation rows: a share of the data, or other data; read from files where they have to be."""
    warn_of_rounding(graph, data, dtype)
    train = read_rows(graph, mechanisms, data, dtype, device).prepare(progress=progress)
    if isinstance(validation, Real):
        return training.split(train, plain(validation), seed)
    return train, read_rows(graph, mechanisms, validation, dtype, device).prepare(progress=progress)


def note(scm: Any, job: training.Fit, train: Batch, held_out: Batch, seconds: float) -> None:
    """Write into a model how the mechanisms of a fit were made: history, a summary of their data, provenance."""
    scm.history = [record for record in scm.history if record["node"] not in job.mechanisms] + job.history
    scm.seen = summarise(scm.graph, scm.mechanisms, train, held_out)
    # The record of how the other mechanisms were made, and tuned, still counts.
    partly = len(job.mechanisms) < len(scm.mechanisms)
    before = {"made_from": scm.provenance} if scm.provenance and partly else {}
    scm.provenance = provenance(
        seed=job.seed,
        device=scm.device,
        precision=job.precision,
        rows=train.rows,
        seconds=round(seconds, 1),
        **before,
    )


def initialise(mechanisms: Mapping[str, Mechanism], seed: int) -> None:
    """Draw the initial weights from the seed, on the CPU, so that they do not depend on the device."""
    for node, mechanism in mechanisms.items():
        with seeding.seeded(seeding.derive(seed, node, "weights")), in_single():
            mechanism.to("cpu").build()
        mechanism.fitted = not mechanism.sites
