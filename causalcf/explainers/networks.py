"""Small networks that learned explainers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core.nn import mlp

__all__ = ["Critic", "PairMaps", "fool", "one_hot", "tell_apart", "unevenness", "vagueness"]


class Critic(nn.Module):
    """Realness of images (or vectors) of a class: a logit for each of K classes, (N, K).

    Args:
        shape: Of one image (C, H, W), or vector (D,).
        classes: K.
        width: Channels after the first convolution.

    Example:
        >>> Critic((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, shape: Sequence[int], classes: int = 1, width: int = 16) -> None:
        super().__init__()
        if len(shape) == 1:
            self.layers = mlp([shape[0], 128, 128, classes], nn.ReLU)
            return
        self.layers = nn.Sequential(
            nn.Conv2d(shape[0], width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.AdaptiveAvgPool2d((4, 4)),
            nn.Flatten(), nn.Linear(2 * width * 16, 64), nn.LeakyReLU(0.2), nn.Linear(64, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class PairMaps(nn.Module):
    """A two-layer network for each ordered pair of classes, each row through its own.

    Args:
        width: D, of the codes.
        hidden: Width of the hidden layer.
        table: (K, K) number of the network for source (row) and target (column); -1 where there is none.

    Example:
        >>> maps = PairMaps(4, 8, torch.tensor([[-1, 0], [1, -1]]))
        >>> maps(torch.zeros(3, 4), torch.tensor([0, 1, 0]), torch.tensor([1, 0, 1])).shape
        torch.Size([3, 4])
    """

    table: Tensor

    def __init__(self, width: int, hidden: int, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)
        count = int(table.max()) + 1
        self.first = nn.Parameter(torch.randn(count, width, hidden) * (2 / width) ** 0.5)
        self.first_bias = nn.Parameter(torch.zeros(count, hidden))
        self.second = nn.Parameter(torch.randn(count, hidden, width) * 0.1 * hidden**-0.5)
        self.second_bias = nn.Parameter(torch.zeros(count, width))

    def forward(self, code: Tensor, source: Tensor, target: Tensor) -> Tensor:
        which = self.table[source, target]
        hidden = torch.einsum("nd,ndh->nh", code, self.first[which]) + self.first_bias[which]
        return torch.einsum("nh,nhd->nd", F.relu(hidden), self.second[which]) + self.second_bias[which]


def one_hot(classes: Tensor, k: int, like: Tensor) -> Tensor:
    """(N, K) in the type of another tensor."""
    return F.one_hot(classes, k).to(like)


def tell_apart(real: Tensor, fake: Tensor) -> Tensor:
    """A discriminator's loss: cross-entropy of real and fake logits (Goodfellow et al. 2014)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def fool(fake: Tensor) -> Tensor:
    """A generator's loss: minus the log probability of being taken for real, which does not saturate."""
    return F.softplus(-fake).mean()


def vagueness(mask: Tensor) -> Tensor:
    """Mean entropy of a mask's values in [0, 1], in nats, (N,): 0 where each is 0 or 1 (ExplainGAN's entropy prior)."""
    p = mask.clamp(1e-6, 1 - 1e-6).flatten(1)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean(1)


def unevenness(mask: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, down and across, (N,) (ExplainGAN's smoothness prior); 0 for vectors."""
    if mask.ndim != 4:
        return mask.new_zeros(len(mask))
    down, across = (mask.diff(dim=side).abs().flatten(1).mean(1) for side in (-2, -1))
    return down + across
