"""Distances between the values of a model and the true ones, row by row."""

from __future__ import annotations

from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_pair, check_rows, check_shapes

__all__ = ["GREY_LEVELS", "absolute_error", "grey_level_error", "rmse", "zero_one_error"]

GREY_LEVELS = 255


@checked
def grey_level_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference per pixel and channel, in grey levels; lower is better, 0..255.

    With y the true counterfactual this is the ground-truth error; with y the factual and x its
    reconstruction after m null interventions it is composition(m) (Monteiro et al., "Measuring
    axiomatic soundness of counterfactual image models", 2023).

    Args:
        x: Images in [0, 1], shape (N, C, H, W).
        y: Images of the same shape.

    Returns:
        One error per image, shape (N,).

    Raises:
        DataError: The shapes differ, the images are integers, or hold NaN.

    Example:
        >>> import torch
        >>> grey_level_error(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
        tensor([255., 255.])
    """
    check_pair(x, y)
    return GREY_LEVELS * (x - y).abs().flatten(1).mean(1)


@checked
def absolute_error(x: Tensor, y: Tensor) -> Tensor:
    """|x - y| per row, in the variable's unit; for vectors the mean over components. Lower is better, 0 and up.

    With x a predictor's reading of the counterfactual and y the acted value this is the effectiveness
    of a continuous attribute (Melistas et al., "Benchmarking Counterfactual Image Generation", 2024, eq. 8).

    Args:
        x: Values (N,) or (N, d).
        y: Values of the same shape.

    Raises:
        DataError: The shapes differ, the values are integers, or hold NaN.

    Example:
        >>> import torch
        >>> absolute_error(torch.tensor([1.0]), torch.tensor([3.0]))
        tensor([2.])
    """
    check_pair(x, y)
    return (x - y).abs().reshape(x.shape[0], -1).mean(1)


@checked
def zero_one_error(x: Tensor, y: Tensor) -> Tensor:
    """1 where two categories differ, else 0: a share wrong, 0..1, lower is better.

    T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2009, sec. 2.4 (the 0-1 loss).

    Args:
        x: Codes or booleans, shape (N,).
        y: The true ones, of the same shape.

    Returns:
        One error per row, shape (N,).

    Raises:
        DataError: The shapes differ, there are no rows, or the values are not codes.

    Example:
        >>> import torch
        >>> zero_one_error(torch.tensor([1, 2]), torch.tensor([1, 3]))
        tensor([0., 1.])
    """
    check_shapes(x, y)
    check_rows(1, "A score", x=x)
    if x.is_floating_point() or y.is_floating_point():
        raise DataError(f"Expected category codes or booleans, got {x.dtype} and {y.dtype}.")
    return (x != y).float()


@checked
def rmse(x: Tensor, y: Tensor) -> Tensor:
    """Root of the mean squared difference over all rows, in the variable's unit; a scalar. Lower is better, 0 and up.

    Example:
        >>> import torch
        >>> rmse(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]))
        tensor(3.5355)
    """
    check_pair(x, y)
    return (x - y).square().mean().sqrt()
