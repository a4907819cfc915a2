"""Metrics for the nodes that an action must not change: those that do not descend from it."""

from __future__ import annotations

from torch import Tensor

from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_rows, check_shapes

__all__ = ["max_change", "unchanged"]


@checked
def unchanged(x: Tensor, y: Tensor) -> Tensor:
    """1 where a row of a non-descendant keeps its value, bit for bit, else 0; a share, 0..1, higher is better.

    Non-descendants of an action keep their values in every counterfactual (J. Pearl, "Causality", 2009,
    sec. 7.1); the mean over rows should be exactly 1.

    Args:
        x: Values before, shape (N, ...); any type.
        y: Values after, of the same shape.

    Returns:
        Shape (N,).

    Raises:
        DataError: The shapes differ, or NaN.

    Example:
        >>> import torch
        >>> unchanged(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]))
        tensor([1., 0.])
    """
    _check(x, y)
    return (x == y).reshape(x.shape[0], -1).all(1).float()


@checked
def max_change(x: Tensor, y: Tensor) -> Tensor:
    """Greatest absolute change within each row, in the variable's unit; 0 and up, lower is better.

    By how much a row that `unchanged` counts is off (J. Pearl, "Causality", 2009, sec. 7.1).

    Args:
        x: Values before, shape (N, ...).
        y: Values after, of the same shape.

    Returns:
        Shape (N,).

    Example:
        >>> import torch
        >>> max_change(torch.zeros(2, 3), torch.tensor([[0.0, 0, 0], [0, -2, 1]]))
        tensor([0., 2.])
    """
    _check(x, y)
    if not x.is_floating_point():
        x, y = x.double(), y.double()
    return (x - y).abs().reshape(x.shape[0], -1).amax(1)


def _check(x: Tensor, y: Tensor) -> None:
    check_shapes(x, y)
    check_rows(1, "A score", x=x)
    check_finite(x=x, y=y)
