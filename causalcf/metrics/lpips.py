"""Learned perceptual distance, for any network and weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat

import torch
from torch import Tensor, nn

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_pair
from causalcf.metrics.features import evaluating

__all__ = ["PerceptualNetwork", "lpips"]


class PerceptualNetwork(nn.Module):
    """Layers to compare and how much each channel counts, under a name that results carry.

    Args:
        name: How results name it.
        layers: Maps images (N, C, H, W) in [0, 1] to activations (N, C_l, H_l, W_l) of each layer.
        weights: Weight of each channel, shape (C_l,) per layer; None counts all alike, 1/C_l each.

    Example:
        >>> PerceptualNetwork("pixels", lambda x: [x]).name
        'pixels'
    """

    def __init__(
        self, name: str, layers: Callable[[Tensor], Sequence[Tensor]], weights: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.layers = layers
        self.learned = nn.ParameterList([nn.Parameter(w.flatten(), requires_grad=False) for w in weights or ()])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each pair, shape (N,)."""
        ours, theirs = self.layers(x), self.layers(y)
        weights = list(self.learned) or list(repeat(None, len(ours)))
        if len(weights) != len(ours):
            raise DataError(f"'{self.name}' has {len(ours)} layers and weights for {len(weights)}.")
        return torch.stack([_layer_distance(*layer) for layer in zip(ours, theirs, weights, strict=True)]).sum(0)


@checked
def lpips(x: Tensor, y: Tensor, network: PerceptualNetwork, *, batch_size: int = 100) -> Tensor:
    r"""Learned perceptual image patch similarity (LPIPS): no unit, 0 and up (mostly below 1), lower is better.

    Squared differences of activations, scaled to unit length per position, weighted by channel, averaged
    over positions and summed over layers. Zhang et al., "The Unreasonable Effectiveness of Deep Features
    as a Perceptual Metric", 2018, eq. 1. Grey images count as colour images with equal channels.

    Args:
        x: Images in [0, 1], shape (N, C, H, W).
        y: Images of the same shape.
        network: `vgg_perception()`, or any layers; it runs in evaluation mode.
        batch_size: Pairs per call of it.

    Returns:
        Shape (N,).

    Raises:
        DataError: The shapes differ, or NaN.

    Example:
        >>> network = PerceptualNetwork("edges", lambda x: [x.diff(dim=-1), x.diff(dim=-2)])
        >>> x = torch.rand(2, 3, 8, 8)
        >>> lpips(x, x, network)
        tensor([0., 0.])
    """
    check_pair(x, y)
    with evaluating(network):
        pairs = zip(x.split(batch_size), y.split(batch_size), strict=True)
        distances = torch.cat([network(a, b) for a, b in pairs])
    check_finite(distances=distances)
    return distances


def _layer_distance(x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    squared = (_unit_length(x) - _unit_length(y)).square()
    weighted = squared.mean(1) if weight is None else torch.einsum("nchw,c->nhw", squared, weight)
    return weighted.mean((1, 2))


def _unit_length(activations: Tensor, eps: float = 1e-10) -> Tensor:
    return activations / (activations.square().sum(1, keepdim=True).sqrt() + eps)
