"""How far counterfactuals differ between several abductions of one image."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_floating, check_rows
from causalcf.metrics.error import GREY_LEVELS
from causalcf.metrics.pairwise import mean_pairwise_difference

__all__ = ["abduction_spread", "abduction_std", "abduction_std_map"]


@checked
def abduction_std(samples: Tensor) -> Tensor:
    """Standard deviation over abductions, root mean square over pixels, in grey levels; 0..~180, neither is better.

    The spread that latent uncertainty leaves in each counterfactual: 0 for point abduction, and honest if as
    large as the errors that are made. (Pawlowski et al., "Deep Structural Causal Models for Tractable
    Counterfactual Inference", 2020, sec. 3, on Monte Carlo abduction.)

    Args:
        samples: Counterfactual images in [0, 1], shape (S, N, C, H, W), from S abductions.

    Returns:
        Shape (N,).

    Raises:
        DataError: Fewer than two samples, integers, or NaN.

    Example:
        >>> import torch
        >>> abduction_std(torch.stack([torch.zeros(3, 1, 4, 4), torch.ones(3, 1, 4, 4)]))
        tensor([180.3122, 180.3122, 180.3122])
    """
    _check(samples)
    return GREY_LEVELS * _variance(samples).flatten(1).mean(1).sqrt()


@checked
def abduction_std_map(samples: Tensor) -> Tensor:
    """Standard deviation over abductions of every pixel, in grey levels: the picture of `abduction_std`.

    Args:
        samples: Shape (S, N, C, H, W).

    Returns:
        Shape (N, C, H, W).

    Example:
        >>> import torch
        >>> abduction_std_map(torch.zeros(4, 2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """
    _check(samples)
    return GREY_LEVELS * _variance(samples).sqrt()


@checked
def abduction_spread(samples: Tensor) -> Tensor:
    """Mean distance between the counterfactuals of two abductions, in grey levels; 0..255, neither is better.

    The same scale as `grey_level_error`, with which it compares: the distance to expect between two
    answers to one question. (Pawlowski et al., 2020, as for `abduction_std`.)

    Args:
        samples: Counterfactual images in [0, 1], shape (S, N, C, H, W), from S abductions.

    Returns:
        Shape (N,).

    Raises:
        DataError: Fewer than two samples, integers, or NaN.

    Example:
        >>> import torch
        >>> abduction_spread(torch.stack([torch.zeros(3, 1, 4, 4), torch.ones(3, 1, 4, 4)]))
        tensor([255., 255., 255.])
    """
    _check(samples)
    return GREY_LEVELS * mean_pairwise_difference(samples).flatten(1).mean(1)


def _variance(samples: Tensor) -> Tensor:
    """Unbiased, over the first dimension; torch's own is ten times slower along a short one."""
    mean = samples.mean(0)
    total = torch.zeros_like(mean)
    for sample in samples:
        total += (sample - mean).square()
    return total / (samples.shape[0] - 1)


def _check(samples: Tensor) -> None:
    check_rows(2, "Uncertainty over abductions", samples=samples)
    check_rows(1, "Uncertainty over abductions", images=samples[0])
    check_floating(samples=samples)
    check_finite(samples=samples)
