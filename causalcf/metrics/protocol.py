"""How counterfactual values are drawn for an evaluation.

The protocol of the counterfactual image benchmark (Melistas et al. 2024), made explicit: each unit
gets a value from the marginal of the test split, forced to differ from its own: into another bin if
continuous, another category if discrete.
"""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_rows

__all__ = ["draw_other_bin", "draw_other_category"]


@checked
def draw_other_bin(values: Tensor, marginal: Tensor, *, bins: int = 10, seed: int = 0) -> Tensor:
    """Draw for each value one from the marginal that lies in another bin.

    The range of the marginal is cut into `bins` bins of equal width. Each draw is a value that
    occurs in the marginal, with the marginal's frequencies given that the bin is another one.

    Args:
        values: Factual values, shape (N,).
        marginal: Sample to draw from, shape (M,), in the same unit.
        bins: Number of bins.
        seed: Decides the draws.

    Returns:
        Drawn values, shape (N,).

    Raises:
        DataError: Fewer than two bins have values, so that there is no other bin.

    Example:
        >>> marginal = torch.linspace(0, 1, 101)
        >>> drawn = draw_other_bin(torch.full((1000,), 0.55), marginal, bins=2)
        >>> bool((drawn < 0.5).all())
        True
    """
    check_finite(values=values, marginal=marginal)
    check_rows(1, "A draw", values=values, marginal=marginal)
    low, high = marginal.aminmax()
    edges = torch.linspace(float(low), float(high), bins + 1, dtype=marginal.dtype, device=marginal.device)[1:-1]
    own, groups = (torch.bucketize(x, edges, right=True) for x in (values, marginal))
    return _draw_elsewhere(own, marginal, groups, bins, seed)


@checked
def draw_other_category(values: Tensor, marginal: Tensor, *, categories: int, seed: int = 0) -> Tensor:
    """Draw for each category code another one, with the frequencies it has in the marginal.

    Args:
        values: Factual codes 0..categories-1 (long, or bool with two categories), shape (N,).
        marginal: Codes to draw from, shape (M,).
        categories: Number of categories.
        seed: Decides the draws.

    Returns:
        Drawn codes, shape (N,), of the dtype of `marginal`.

    Raises:
        DataError: The marginal has one category only.

    Example:
        >>> draw_other_category(torch.tensor([0, 1]), torch.tensor([0, 1, 1]), categories=2)
        tensor([1, 0])
    """
    check_rows(1, "A draw", values=values, marginal=marginal)
    return _draw_elsewhere(values.long(), marginal, marginal.long(), categories, seed)


def _draw_elsewhere(own: Tensor, marginal: Tensor, groups: Tensor, count: int, seed: int) -> Tensor:
    """Draw from the members of the marginal outside each row's own group, uniformly.

    With the marginal sorted by group, each row's own group is one run to be skipped: a draw among
    the others is a uniform rank, moved past that run.
    """
    sizes = torch.bincount(groups, minlength=count)
    if int((sizes > 0).sum()) < 2:
        raise DataError(
            f"The {len(marginal)} values of the marginal are all in one bin or category: there is no other."
        )
    starts = sizes.cumsum(0) - sizes
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(own), generator=generator, dtype=torch.float64).to(own.device)
    others = len(marginal) - sizes[own]
    rank = (uniform * others).long().clamp_max(others - 1)
    rank = rank + torch.where(rank >= starts[own], sizes[own], 0)
    return marginal[groups.argsort(stable=True)][rank]
