"""Warnings before and after a fit: numbers that rounding merges, outliers, draws far from the data."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causalcf.core.errors import CausalCFWarning
from causalcf.core.nn import RULED, quartiles
from causalcf.core.surroundings import callers_line
from causalcf.data import Batch, columns
from causalcf.data.inference import sentinel
from causalcf.graph import CausalGraph
from causalcf.variables import Variable
from causalcf.variables.image import Image
from causalcf.variables.scalar import Positive

__all__ = ["warn_of_far_draws", "warn_of_outliers", "warn_of_rounding"]

BLURRED = 1e-3
"""Share of a column's spread that rounding may move a value by."""

FAR = 50.0
"""Interquartile ranges from the middle half at which a value counts as an outlier."""


def _numbers(graph: CausalGraph) -> dict[str, Variable]:
    """The nodes that hold numbers, other than images."""
    return {n: v for n, v in graph.variables.items() if not v.discrete and not isinstance(v, Image)}


def warn_of_rounding(graph: CausalGraph, data: Any, dtype: torch.dtype) -> None:
    """Warn of columns whose numbers 32 bits cannot hold apart: identifiers merge, a spread vanishes.

    Args:
        graph: The graph, all variables declared.
        data: As it was given to `fit`.
        dtype: The type that the model computes in.

    Warns:
        CausalCFWarning: Names the column, how coarse its numbers become, and the remedy.
    """
    if dtype == torch.float64:
        return
    values, _ = columns(data)
    for node in _numbers(graph):
        exact = _doubles(values[node]) if node in values else None
        if exact is None or not len(exact):
            continue
        with np.errstate(over="ignore", under="ignore"):
            moved = np.abs(exact - exact.astype(np.float32))
        low, high = np.quantile(exact, [0.25, 0.75], axis=0)
        spread = (high - low) / 1.349 + (high == low) * exact.std(axis=0)
        merged = (exact == np.round(exact)).all() and moved.max() > 0
        if merged or ((moved.max(axis=0) > BLURRED * spread).any() and np.ptp(exact, axis=0).max() > 0):
            largest = float(np.abs(exact).max())
            warnings.warn(
                f"'{node}': 32 bits cannot hold its numbers apart. Near {largest:.6g} they stand"
                f" {_spacing(largest):.2g} apart, while the middle half of the values spans"
                f' {float((high - low).max()):.2g}. Keep all digits: scm.fit(data, precision="64-true").',
                CausalCFWarning,
                stacklevel=callers_line(),
            )


def _doubles(values: Any) -> np.ndarray | None:
    """A column of numbers wider than 32 bits, in 64; None for any other."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "iufO" or (array.dtype.kind == "f" and array.dtype.itemsize <= 4):
        return None
    try:
        exact = array.astype(np.float64)
    except (TypeError, ValueError):  # the reader of the data refuses values that are not numbers
        return None
    return exact if exact.ndim and np.isfinite(exact).all() else None


def _spacing(largest: float) -> float:
    """How far apart 32-bit numbers of this size stand."""
    return float(np.spacing(np.float32(min(largest, np.finfo(np.float32).max))))


def warn_of_outliers(graph: CausalGraph, train: Batch) -> None:
    """Warn of columns in which a few values lie so far out that a mean and a standard deviation would be theirs.

    Args:
        graph: The graph, all variables declared.
        train: The training rows.

    Warns:
        CausalCFWarning: Names the column, the share, an example, and the remedy.
    """
    for node, variable in _numbers(graph).items():
        x = train[node].double().reshape(train.rows, -1)
        y = x.log() if isinstance(variable, Positive) else x
        low, middle, high = quartiles(y)
        gap = high - low
        ruled = (gap > 0) & (y.std(0, unbiased=False) > RULED * gap / 1.349)
        distance = torch.where(ruled, (y - middle).abs() / gap, 0.0).amax(1)
        far = distance > FAR
        mark = sentinel(x[:, 0].cpu().numpy()) if x.shape[1] == 1 and bool(far.any()) else None
        if mark is not None:  # the reader has named it
            far &= x[:, 0] != mark
        if bool(far.any()):
            row = int(torch.where(far, distance, 0.0).argmax())
            example = float(x[row][(y[row] - middle).abs().argmax()])
            warnings.warn(
                f"'{node}': {float(far.double().mean()):.2g} of the values lie over {FAR:g} interquartile ranges from"
                f" the rest, {example:.6g} for example. Scales are taken from the middle half; if such a value means"
                " something else, as a mark for missing does, drop or correct these rows first.",
                CausalCFWarning,
                stacklevel=callers_line(),
            )


def warn_of_far_draws(drawn: Batch, seen: Mapping[str, Mapping[str, Any]], nodes: Collection[str]) -> None:
    """Warn of draws that lie further outside the data than the data are wide.

    Args:
        drawn: Draws from the model.
        seen: Summary of the training data, `scm.seen`.
        nodes: The nodes to look at.

    Warns:
        CausalCFWarning: Names node and count.
    """
    for node in nodes:
        if "quantiles" not in seen.get(node, {}):
            continue
        levels = torch.tensor(seen[node]["quantiles"], dtype=torch.float64, device=drawn[node].device)
        low, high = levels[:, 0], levels[:, -1]
        x = drawn[node].double().reshape(drawn.rows, -1)
        width = high - low
        beyond = torch.maximum(low - x, x - high) - width
        rows = int(((beyond > 0) & (width > 0)).any(1).sum())
        if rows:
            worst = float(x.flatten()[(beyond / width).flatten().argmax()])
            warnings.warn(
                f"{rows} of {drawn.rows} draws of '{node}' lie far outside its data, {float(low.min()):.4g} .."
                f" {float(high.max()):.4g}; the furthest is {worst:.4g}. Means are theirs: take medians,"
                f" declare the limits as ccf.Interval(low, high), or fit '{node}' for longer.",
                CausalCFWarning,
                stacklevel=callers_line(),
            )
