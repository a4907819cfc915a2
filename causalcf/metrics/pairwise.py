"""Mean distance of all pairs without looking at pairs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mean_pairwise_difference"]


def mean_pairwise_difference(x: Tensor) -> Tensor:
    """Mean of |x_i - x_j| over pairs i < j of the first dimension, element by element.

    After sorting, the k-th of n values (from 0) is added 2k - n + 1 times: n log n, not n squared.

    Args:
        x: Shape (n, ...), n of at least 2.

    Returns:
        Shape (...).

    Example:
        >>> mean_pairwise_difference(torch.tensor([0.0, 1.0, 3.0]))
        tensor(2.)
    """
    n = x.shape[0]
    times = 2 * torch.arange(n, dtype=x.dtype, device=x.device) - (n - 1)
    ordered = x.movedim(0, -1).contiguous().sort(-1).values  # sorting along the last dimension is the fast way
    return (ordered @ times) / (n * (n - 1) / 2)
