"""How much images of a set differ from one another."""

from __future__ import annotations

from torch import Tensor

from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_floating, check_rows
from causalcf.metrics.error import GREY_LEVELS
from causalcf.metrics.pairwise import mean_pairwise_difference

__all__ = ["diversity"]


@checked
def diversity(images: Tensor) -> Tensor:
    """Mean distance per pixel over all pairs of images, in grey levels: 0..255; neither is better.

    Compare with real images: a collapsed generator scores below, noise above. All pairs are counted, at the
    cost of a sort. Zhu et al., "Toward Multimodal Image-to-Image Translation", 2017, sec. 5, with the
    distance of pixels in place of a network's.

    Args:
        images: In [0, 1], shape (N, C, H, W).

    Returns:
        A scalar.

    Raises:
        DataError: Fewer than two images, integers, or NaN.

    Example:
        >>> import torch
        >>> diversity(torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]))
        tensor(255.)
    """
    check_rows(2, "Diversity", images=images)
    check_floating(images=images)
    check_finite(images=images)
    return GREY_LEVELS * mean_pairwise_difference(images).mean()
