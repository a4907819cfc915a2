"""How much a counterfactual changes: how far, and in how many features.

Give the factual as the reference, and its reconstruction G(E(x)) as well: with an autoencoder about half of the
distance to the factual is reconstruction error, which the search has no part in.
"""

from __future__ import annotations

from torch import Tensor

from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_pair

__all__ = ["changed_features", "distance", "proximity", "total_change"]


@checked
def proximity(x: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute change per feature, (N,), in the variable's unit (pixels: [0, 1]); lower is better, from 0.

    (Khorram and Fuxin, "Cycle-Consistent Counterfactuals by Latent Transformations", 2022, eq. 10.)

    Args:
        x: Counterfactuals, shape (N, ...).
        reference: Factuals, or their reconstructions, of the same shape.

    Raises:
        DataError: The shapes differ, integers, or NaN.

    Example:
        >>> import torch
        >>> proximity(torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5))
        tensor([0.5000, 0.5000])
    """
    return _change(x, reference).mean(1)


@checked
def distance(x: Tensor, reference: Tensor) -> Tensor:
    """Euclidean length of the change, (N,), in the variable's unit; lower is better, from 0.

    (Zhao, Broelemann, Kasneci, "Counterfactual Explanation via Search in Gaussian Mixture Distributed Latent
    Space", 2023, appendix 1, where it is called proximity.)

    Args:
        x: Counterfactuals, shape (N, ...).
        reference: Factuals, or their reconstructions, of the same shape.

    Example:
        >>> import torch
        >>> distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([5.])
    """
    return _change(x, reference).square().sum(1).sqrt()


@checked
def total_change(x: Tensor, reference: Tensor) -> Tensor:
    """Sum of absolute changes, (N,), in the variable's unit; lower is better, from 0.

    (Zhao, Broelemann, Kasneci, 2023, appendix 1, where it is called sparsity.)

    Args:
        x: Counterfactuals, shape (N, ...).
        reference: Factuals, or their reconstructions, of the same shape.

    Example:
        >>> import torch
        >>> total_change(torch.zeros(1, 2), torch.tensor([[3.0, -4.0]]))
        tensor([7.])
    """
    return _change(x, reference).sum(1)


@checked
def changed_features(x: Tensor, reference: Tensor, *, threshold: float = 0.1) -> Tensor:
    """Share of features that change by more than a threshold, (N,), 0..1; lower is better.

    The L0 norm proper counts every pixel that a decoder touches by a thousandth. (Verma, Dickerson, Hines,
    "Counterfactual Explanations for Machine Learning: A Review", 2020, on sparsity.)

    Args:
        x: Counterfactuals, shape (N, ...).
        reference: Factuals, or their reconstructions, of the same shape.
        threshold: Largest change that counts as none, in the features' unit.

    Example:
        >>> import torch
        >>> changed_features(torch.zeros(1, 4), torch.tensor([[0.0, 0.05, 0.5, 1.0]]))
        tensor([0.5000])
    """
    change = _change(x, reference)
    return (change > threshold).to(change.dtype).mean(1)


def _change(x: Tensor, reference: Tensor) -> Tensor:
    """Absolute changes, (N, F)."""
    check_pair(x, reference)
    return (x - reference).abs().reshape(x.shape[0], -1)
