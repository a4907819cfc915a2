"""Distance of images in a feature space."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_pair
from causalcf.metrics.features import extract

__all__ = ["embedding_distance"]


@checked
def embedding_distance(x: Tensor, y: Tensor, features: Callable[[Tensor], Tensor], *, batch_size: int = 250) -> Tensor:
    """Mean absolute difference of features, in the features' unit; lower is better, 0 and up.

    The l1 distance of embeddings in Melistas et al., "Benchmarking Counterfactual Image Generation",
    2024, Tables 1 and 2, divided by the number of features. The extractor runs in evaluation mode.

    Args:
        x: Images in [0, 1], shape (N, C, H, W).
        y: Images of the same shape.
        features: The extractor: (N, C, H, W) -> (N, d).
        batch_size: Images per call of it.

    Returns:
        Shape (N,).

    Raises:
        DataError: The shapes differ, or NaN in images or features.

    Example:
        >>> import torch
        >>> embedding_distance(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4), lambda x: x.flatten(1))
        tensor([1., 1.])
    """
    check_pair(x, y)
    found = extract(x, features, batch_size=batch_size), extract(y, features, batch_size=batch_size)
    check_finite(features_of_x=found[0], features_of_y=found[1])
    return (found[0] - found[1]).abs().mean(1)
