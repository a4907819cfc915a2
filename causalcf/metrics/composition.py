"""Axioms on images: does the image come back after no action, and after an action and its undoing?"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_shapes
from causalcf.metrics.error import grey_level_error

__all__ = ["Distance", "composition", "reversibility"]

Distance = Callable[[Tensor, Tensor], Tensor]
"""Maps two batches of images to one distance per row: `grey_level_error`, or a partial of
`embedding_distance` or `lpips`."""


@checked
def composition(x: Tensor, cycled: Tensor, distance: Distance = grey_level_error) -> Tensor:
    """Distance of images to themselves after m null interventions, in grey levels or the distance's unit: 0 and up;
    lower is better.

    Monteiro et al., "Measuring axiomatic soundness of counterfactual image models", 2023, Def. 1;
    Melistas et al., "Benchmarking Counterfactual Image Generation", 2024, eq. 7. A residual of 1
    makes it 0 for any amortised model, trained or not: report the residual beside it.

    Args:
        x: Factual images in [0, 1], shape (N, C, H, W).
        cycled: The images after m times abduction and prediction, same shape.
        distance: One distance per row.

    Returns:
        Shape (N,).

    Raises:
        DataError: The shapes differ, or NaN.

    Example:
        >>> import torch
        >>> composition(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.5))
        tensor([127.5000])
    """
    check_shapes(x, cycled)
    return distance(cycled, x)


@checked
def reversibility(x: Tensor, returned: Tensor, distance: Distance = grey_level_error) -> Tensor:
    """Distance of images to themselves after do(a = a*), then do(a = a), in grey levels or the distance's unit: 0 and
    up; lower is better.

    Monteiro et al., "Measuring axiomatic soundness of counterfactual image models", 2023, Def. 2. Not
    every intervention can be undone: the second abduction cannot recover details that the acted image no longer shows.

    Args:
        x: Factual images in [0, 1], shape (N, C, H, W).
        returned: The images after both actions, same shape.
        distance: One distance per row.

    Returns:
        Shape (N,).

    Example:
        >>> import torch
        >>> reversibility(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
        tensor([0.])
    """
    check_shapes(x, returned)
    return distance(returned, x)
