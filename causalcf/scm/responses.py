"""How each child answers to each of its causes: one cause moves, the other causes and the noise stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.data import Batch
from causalcf.graph import CausalGraph, site
from causalcf.mechanisms import Mechanism
from causalcf.scm.abduction import Noise, abduct
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.image import Image

__all__ = ["Response", "evenly", "in_words", "responses"]

STEPS, FRAMES, KINDS = 25, 8, 12
"""Values of a number that are tried, of an image's cause, and categories at most: the most frequent ones."""

UNITS = 200
"""Rows whose answers are computed; of an image, one."""


@dataclass(frozen=True, eq=False)
class Response:
    """How a child answers to one cause.

    Args:
        child: The effect.
        cause: The cause that moves.
        grid: Values of the cause, (K,).
        curves: The child's value of N units at each of them, (K, N, *event_shape).
        rows: Observed values of both, (M,) or images.
    """

    child: str
    cause: str
    grid: Tensor
    curves: Tensor
    rows: Mapping[str, Tensor]


def evenly(data: Any, n: int) -> Any:
    """At most n rows of a batch, from its first to its last; other data as they are."""
    if not isinstance(data, Batch) or data.rows <= n:
        return data
    return data[torch.linspace(0, data.rows - 1, n).round().long()]


@torch.no_grad()
def responses(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], rows: Batch, seed: int) -> list[Response]:
    """The answers of every child to every cause that is a number or a category.

    Args:
        graph: The causal graph.
        mechanisms: node -> fitted mechanism.
        rows: Observed rows.
        seed: What noise is drawn with where abduction draws.

    Raises:
        DataError: There is no such pair.
    """
    pairs = [(cause, child) for child in graph.nodes for cause in graph.parents(child)]
    pairs = [(cause, child) for cause, child in pairs if not graph.variables[cause].event_shape]
    pairs = [(cause, child) for cause, child in pairs if _drawable(graph.variables[child])]
    if not pairs:
        raise DataError("There is nothing to draw: no node has a cause that is a number or a category.")
    units = evenly(rows, UNITS)
    noise = abduct(graph, mechanisms, units, seed=seed)
    return [_response(graph, mechanisms[child], units, noise, rows, cause, child) for cause, child in pairs]


def _drawable(variable: Variable) -> bool:
    return isinstance(variable, Image) or not variable.event_shape


def _response(
    graph: CausalGraph, mechanism: Mechanism, units: Batch, noise: Noise, rows: Batch, cause: str, child: str
) -> Response:
    image = isinstance(mechanism.variable, Image)
    if image:
        units, noise = units[:1], noise.of_rows(slice(1))
    grid = _grid(graph.variables[cause], rows[cause], FRAMES if image else STEPS)
    steps, n = len(grid), units.rows
    pa = {p: _repeated(units[p], steps) for p in graph.parents(child)} | {cause: grid.repeat_interleave(n)}
    u = {suffix: _repeated(noise[site(child, suffix)], steps) for suffix in mechanism.sites}
    answer = mechanism.variable.project(mechanism.predict(u, pa)).unflatten(0, (steps, n))
    return Response(child, cause, grid.cpu(), answer.cpu(), {name: rows[name].cpu() for name in (cause, child)})


def _repeated(x: Tensor, steps: int) -> Tensor:
    return x.repeat(steps, *[1] * (x.ndim - 1))


def _grid(variable: Variable, values: Tensor, steps: int) -> Tensor:
    """Values to try: categories as they are, of numbers those between the first and the last per cent."""
    if isinstance(variable, Boolean):
        return torch.tensor([False, True], device=values.device)
    if isinstance(variable, Categorical):
        counts = torch.bincount(values, minlength=variable.k)
        return counts.argsort(descending=True, stable=True)[:KINDS].sort().values
    low, high = (values.double().quantile(q) for q in (0.01, 0.99))
    return variable.project(torch.linspace(float(low), float(high), steps, device=values.device, dtype=values.dtype))


def in_words(graph: CausalGraph, mechanisms: Mapping[str, Mechanism]) -> dict[str, tuple[str, str]]:
    """node -> its mechanism's name, and its noise sites or that it is not fitted yet."""
    words: dict[str, tuple[str, str]] = {}
    for node in graph.nodes:
        mechanism = mechanisms.get(node)
        if mechanism is None:
            words[node] = ("chosen by fit", "")
            continue
        sites = ", ".join(site(node, suffix) for suffix in mechanism.sites) if mechanism.node else ""
        words[node] = (type(mechanism).__name__, (sites or "none") if mechanism.fitted else "not fitted")
    return words
