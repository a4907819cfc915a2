"""Does an explanation keep who it was: distances between units before and after, and telling pairs from strangers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core import seeding
from causalcf.core.descent import Objective, descend
from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_pair, check_rows, check_shapes

__all__ = ["Siamese", "SiameseScore", "distance_ratio", "siamese_pairs", "siamese_similarity"]


@checked
def distance_ratio(after: Tensor, before: Tensor) -> Tensor:
    """Mean distance of two units' latents after the explanation over that before; a number from 0.

    Neither is better by itself: 1 keeps the units apart as they were, 0 sends all to one place. The distances
    themselves depend on the autoencoder's scale. (Kehe, Rooryck, Coffel, LoSoCs, 2024, section 3.3.)

    Args:
        after: Latents of the counterfactuals, shape (N, D).
        before: Those of the factuals, shape (N, D).

    Raises:
        DataError: The shapes differ, fewer than two rows, NaN, or factuals that are all alike.

    Example:
        >>> z = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
        >>> distance_ratio(3 * z, z)
        tensor(3.)
    """
    check_pair(after, before)
    check_rows(2, "A distance between units", after=after)
    whole = F.pdist(before.flatten(1)).mean()
    if not bool(whole > 0):
        raise DataError("All factuals have one latent: there is no distance to compare with.")
    return F.pdist(after.flatten(1)).mean() / whole


class Siamese(nn.Module):
    """LeNet features whose distance says whether two images belong together; the logit is a - b * distance.

    Args:
        channels: Of the images.
        features: Width of the feature space.
    """

    def __init__(self, channels: int = 1, features: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AdaptiveMaxPool2d(5), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, features),
        )  # fmt: skip
        self.bias = nn.Parameter(torch.ones(()))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logit that the images belong together, (N,)."""
        apart = (self.features(a) - self.features(b)).square().sum(1).add(1e-8).sqrt()
        return self.bias - self.log_scale.exp() * apart


@dataclass(frozen=True)
class SiameseScore:
    """How well pairs are told from strangers on rows not trained on; .5 is chance.

    Args:
        accuracy: Mean over folds.
        precision: Likewise.
        recall: Likewise.
        std: Standard deviation of the accuracy between folds.
    """

    accuracy: float
    precision: float
    recall: float
    std: float


@checked
def siamese_pairs(source: Tensor, target: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows and, for each, a stranger with the same source and target class: (rows, strangers), both (M,).

    Strangers of another class would be told apart by their digit. The members of each group are shuffled and each
    is given the next; rows that are alone in their group are left out.

    Args:
        source: The factuals' classes, (N,).
        target: The classes asked for, (N,).
        seed: Seed of the shuffle.

    Raises:
        DataError: The shapes differ, or no two rows share both classes.

    Example:
        >>> siamese_pairs(torch.tensor([4, 4, 4]), torch.tensor([7, 7, 1]))
        (tensor([0, 1]), tensor([1, 0]))
    """
    check_shapes(source, target)
    group = source.long() * (int(target.max()) + 1) + target.long()
    shuffled = torch.randperm(len(group), generator=torch.Generator().manual_seed(seed)).to(group.device)
    order = shuffled[group[shuffled].argsort(stable=True)]
    of = group[order]
    starts = torch.searchsorted(of, of)
    ends = torch.searchsorted(of, of, right=True)
    place = torch.arange(len(order), device=group.device) + 1
    following = order[torch.where(place < ends, place, starts)]
    kept = ends - starts > 1
    if not bool(kept.any()):
        raise DataError("No two rows share source and target class: there are no strangers to compare with.")
    rows, strangers = order[kept], following[kept]
    by_row = rows.argsort()
    return rows[by_row], strangers[by_row]


@checked
def siamese_similarity(
    x: Tensor, factual: Tensor, source: Tensor, target: Tensor, *, folds: int = 5, epochs: int = 15, seed: int = 0
) -> SiameseScore:
    """Can a network tell which factual a counterfactual came from: accuracy on balanced pairs, .5..1; higher is better.

    A Siamese network is trained on each fold's complement, and asked about pairs of the fold: half of them a
    factual with its own counterfactual, half with that of a stranger with the same classes, from the same fold.

    References:
        Kehe, Rooryck, Coffel, LoSoCs, 2024, section 2.2, whose strangers are any others.

    Args:
        x: Counterfactual images, shape (N, C, H, W).
        factual: Their factuals.
        source: The factuals' classes, (N,).
        target: The classes asked for, (N,).
        folds: Number of folds.
        epochs: Passes over the pairs.
        seed: Seed of every random choice.

    Raises:
        DataError: The shapes differ, or a fold has no pairs.
    """
    check_pair(x, factual)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    scores = []
    for k, held_out in enumerate(order.chunk(folds)):
        rest = torch.cat([part for i, part in enumerate(order.chunk(folds)) if i != k])
        with seeding.seeded(seeding.derive(seed, "siamese", k), x.device):
            network = Siamese(x.shape[1]).to(x.device)
        train = _pairs(x, factual, source, target, rest, seed)
        _train(network, *train, epochs=epochs, seed=seed)
        scores.append(_score(network, *_pairs(x, factual, source, target, held_out, seed)))
    by_fold = torch.tensor(scores)
    accuracy, precision, recall = by_fold.mean(0).tolist()
    return SiameseScore(accuracy, precision, recall, float(by_fold[:, 0].std(unbiased=False)))


def _pairs(
    x: Tensor, factual: Tensor, source: Tensor, target: Tensor, rows: Tensor, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Factuals, counterfactuals and whether they belong together, of some rows."""
    own, stranger = (rows[index] for index in siamese_pairs(source[rows], target[rows], seed))
    same = torch.cat([torch.ones(len(own)), torch.zeros(len(own))]).to(x)
    return factual[torch.cat([own, own])], x[torch.cat([own, stranger])], same


def _train(network: Siamese, a: Tensor, b: Tensor, same: Tensor, *, epochs: int, seed: int) -> None:
    def loss(rows: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(network(a[rows], b[rows]), same[rows])

    descend(
        {"siamese": Objective([network], loss)},
        len(a), epochs=epochs, batch_size=64, decay=True, seed=seed, device=a.device,
    )  # fmt: skip


@torch.no_grad()
def _score(network: Siamese, a: Tensor, b: Tensor, same: Tensor) -> tuple[float, float, float]:
    """Accuracy, precision, recall."""
    predicted, true = network(a, b) > 0, same > 0.5
    hits = (predicted & true).sum().double()
    precision, recall = hits / predicted.sum().clamp_min(1), hits / true.sum()
    return float((predicted == true).double().mean()), float(precision), float(recall)
