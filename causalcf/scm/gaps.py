"""Rows with gaps: read with missing values marked, and filled by predictors that read an observed image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from causalcf.core import draws
from causalcf.core.errors import DataError
from causalcf.data import Batch
from causalcf.data.frames import open_table
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.scm.inference import Posterior
from causalcf.scm.rows import read_rows
from causalcf.variables.raw import Raw, read_raw

__all__ = ["Reader", "read_gaps", "read_off"]

SPREAD = 1.2533
"""Standard deviation of a normal law over its mean absolute deviation, sqrt(pi / 2)."""


class Reader(Protocol):
    """An anti-causal predictor, as far as gaps are filled by it."""

    target: str
    node: str
    classes: int
    score: Any

    @property
    def parents(self) -> tuple[str, ...]: ...
    def predict(self, image: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor: ...
    def probabilities(self, image: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor: ...


def read_gaps(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    x: Any,
    example: Mapping[str, Tensor],
    dtype: torch.dtype,
    device: torch.device | str,
) -> tuple[Batch, dict[str, Tensor]]:
    """Rows of every node, with a stand-in for each missing value, and a mask of the missing rows of each node.

    Args:
        graph: The causal graph.
        mechanisms: node -> mechanism.
        x: The rows, as people have them; nodes may be absent, values missing.
        example: One row of every node, which stands where nothing was observed.
        dtype: Floating type of the numbers.
        device: Where they go.

    Raises:
        DataError: Nothing was observed.
    """
    table = open_table(x)
    known = [node for node in graph.nodes if node in table.values]
    if not known:
        raise DataError(f"Nothing was observed: the data have none of the nodes {list(graph.nodes)}. Use scm.sample.")
    alone = [node for node in known if np.ndim(table.values[node]) == 0]
    if alone:
        raise DataError(f"'{alone[0]}' is a single value. Give one a row, first: {{'{alone[0]}': [...]}}.")
    rows, values, missing = len(table.values[known[0]]), {}, {}
    for node in graph.nodes:
        if node in table.values:
            values[node], gone = filled(node, table.values[node], example.get(node))
        elif mechanisms[node].sites:
            gone, values[node] = (
                torch.ones(rows, dtype=torch.bool),
                example[node].expand(rows, *example[node].shape[1:]),
            )
        else:
            continue
        if bool(gone.any()):
            missing[node] = gone
    if all(node in missing and bool(missing[node].all()) for node in known):
        raise DataError("Nothing was observed: every value of every node is missing. Use scm.sample.")
    batch = read_rows(graph, mechanisms, values, dtype, device).loaded()
    return Batch(dict(batch), table.index, table.labels), missing


def filled(node: str, values: Any, example: Tensor | None = None) -> tuple[Any, Tensor]:
    """A column whose gaps hold the first value that was observed, and which rows had gaps, (N,), bool.

    Args:
        node: Whose column.
        values: As people have them.
        example: What stands where nothing was observed, (1, *event_shape).

    Raises:
        DataError: Nothing was observed, and there is no example.
    """
    raw = read_raw(node, values)
    gone = torch.from_numpy(raw.incomplete)
    if bool(gone.all()) and example is None:
        raise DataError(f"'{node}' was never observed: all {len(gone)} rows lack it. Leave it out of the graph.")
    return (_filled(raw, gone, example) if bool(gone.any()) else values), gone


def _filled(raw: Raw, gone: Tensor, example: Tensor | None) -> Any:
    if example is not None and bool(gone.all()):
        return example.expand(len(gone), *example.shape[1:])
    first = int((~gone).nonzero()[0])
    if isinstance(raw.values, Tensor):
        values = raw.values.clone()
        values[gone] = values[first]
        return values
    array = raw.values.copy()
    array[gone.numpy()] = array[first]
    return array if array.dtype != object else np.array(array.tolist())


def read_off(
    mechanisms: Mapping[str, Mechanism],
    x: Batch,
    missing: Mapping[str, Tensor],
    predictors: Mapping[str, Reader],
    num_samples: int,
    seed: int,
) -> Posterior:
    """Draws of missing values as predictors read them in an image: from their probabilities, or around their reading.

    They stand for the posterior themselves, each given the image and what it was trained to be told; a number is drawn
    from a normal law as wide as the predictor's own error. It is an approximation, and `exact` says so.

    Raises:
        DataError: A missing node has no predictor, or its image is missing, too.
    """
    unread = [node for node in missing if node not in predictors]
    if unread:
        raise DataError(f"No predictor reads {unread}, which are missing. Give one each, or leave predictors out.")
    flat = {node: value.repeat(num_samples, *[1] * (value.ndim - 1)) for node, value in x.items()}
    index = torch.as_tensor(draws.label_keys(x.index)).repeat(num_samples)
    waiting = list(missing)
    while waiting:
        ready = [node for node in waiting if not set(predictors[node].parents) & set(waiting)]
        if not ready:
            raise DataError(f"Predictors of {waiting} read each other's targets, or an image that is missing.")
        for node in ready:
            with draws.by_row(draws.row_keys(index, seed, "gap", node)), torch.no_grad():
                drawn = _reading(predictors[node], mechanisms[node], flat)
            gap = missing[node].repeat(num_samples).to(drawn.device)
            flat[node] = torch.where(gap, drawn.to(flat[node]), flat[node])
            waiting.remove(node)
    rows = {node: value.unflatten(0, (num_samples, x.rows)) for node, value in flat.items()}
    weights = torch.full((num_samples, x.rows), 1 / num_samples, dtype=torch.float64)
    return Posterior(rows, weights, missing, False, seed, x.index)


def _reading(predictor: Reader, mechanism: Mechanism, rows: Mapping[str, Tensor]) -> Tensor:
    """One draw a row from a predictor's reading."""
    image, like = rows[predictor.node], mechanism.dtype
    if predictor.classes:
        p = predictor.probabilities(image, rows).to(like)
        u = draws.uniform((len(p), 1), p)
        return (p.cumsum(1) < u).sum(1).clamp(max=p.shape[1] - 1)
    error = SPREAD * (0.0 if predictor.score is None else float(predictor.score.value))
    value = predictor.predict(image, rows).to(like)
    return mechanism.variable.project(value + error * draws.normal(value.shape, value))
