"""How much fine detail images have."""

from __future__ import annotations

from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_floating, check_rows
from causalcf.metrics.error import GREY_LEVELS

__all__ = ["sharpness"]


@checked
def sharpness(images: Tensor) -> Tensor:
    """Variance of the Laplacian, in squared grey levels: 0 and up; neither is better, compare with real images.

    Blurred images score below real ones, noise far above. Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy: a comparative study", 2000 (LAPV).

    Args:
        images: In [0, 1], shape (N, C, H, W), at least 3 x 3.

    Returns:
        Shape (N,), the mean over channels.

    Raises:
        DataError: Integers, NaN, or images too small.

    Example:
        >>> import torch
        >>> sharpness(torch.full((2, 1, 8, 8), 0.5))
        tensor([0., 0.])
    """
    check_rows(1, "Sharpness", images=images)
    check_floating(images=images)
    check_finite(images=images)
    if images.ndim != 4 or min(images.shape[-2:]) < 3:
        raise DataError(f"Sharpness needs images (N, C, H, W) of at least 3 x 3, got {tuple(images.shape)}.")
    x = GREY_LEVELS * images
    neighbours = x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
    return (neighbours - 4 * x[..., 1:-1, 1:-1]).flatten(2).var(2, unbiased=False).mean(1)
