"""CycleGAN: images of one class translated into another, whatever the classifier thinks; a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from causalcf.core.descent import Objective, descend
from causalcf.core.errors import ExplanationError
from causalcf.explainers.base import Explainer
from causalcf.explainers.found import Found
from causalcf.explainers.learned import Rows, paired
from causalcf.explainers.networks import Critic
from causalcf.explainers.path import verdict
from causalcf.explainers.query import Query

__all__ = ["CycleGAN"]


@dataclass(eq=False, kw_only=True)
class CycleGAN(Explainer):
    r"""Unpaired translation between the images of two classes, consistent there and back; it ignores the classifier.

    For each pair, generators :math:`G_{ab}, G_{ba}` and discriminators :math:`D_a, D_b` with least-squares losses:

    .. math::
        (D_b(G_{ab}(a)) - 1)^2 + \lambda\,|G_{ba}(G_{ab}(a)) - a|_1 + \tfrac{\lambda}{2}\,|G_{ab}(b) - b|_1
        + \text{the same with a and b exchanged.}

    The classifier only says which images are of which class, and is asked afterwards whether it agrees. It acts by
    do(image = x').

    References:
        Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
        2017; as a baseline in Khorram and Fuxin, 2022, supplement D. The generators are the paper's with fewer
        channels and blocks, for small images, and steps take `fit_batch` rows instead of one.

    Args:
        pairs: Pairs of classes to translate between, in both directions; None for all.
        cycle_weight: Lambda.
        width: Channels of the generators' first layer.
        blocks: Their residual blocks.
        epochs: Passes over the smaller class's rows.
        fit_batch: Rows of each class a step.
        lr: Adam's, with betas (.5, .999).
        gamma: Probability of the target from which a row counts as reached.

    Example:
        >>> explainer = CycleGAN(scm, node="image", classifier=f, pairs=[(4, 9)]).fit(train)  # doctest: +SKIP
        >>> explainer.explain(x, target=9).reached  # doctest: +SKIP
        tensor([True, True])
    """

    pairs: Sequence[tuple[int, int]] | None = None
    cycle_weight: float = 10.0
    width: int = 16
    blocks: int = 3
    epochs: int = 10
    fit_batch: int = 32
    lr: float = 2e-4
    gamma: float = 0.5

    acts_on: ClassVar[Literal["latents", "node"]] = "node"
    trains: ClassVar[bool] = True

    def train(self, data: Any, seed: int) -> None:
        self.learned, rows = paired(self, self.pairs, Rows.observed(self, data))
        channels = rows.x.shape[1]
        count = int(self.learned.table.max()) + 1
        self.generators = nn.ModuleList(
            _Translator(channels, self.width, self.blocks) if number in self.learned.table else nn.Identity()
            for number in range(count)
        ).to(rows.x)
        self.history: list[dict[str, float]] = []
        for a, b in self.pairs if self.pairs is not None else combinations(range(self.explained.classes), 2):
            self.history += self._fit_pair(rows.x[rows.label == a], rows.x[rows.label == b], a, b, seed)

    def _fit_pair(self, of_a: Tensor, of_b: Tensor, a: int, b: int, seed: int) -> list[dict[str, float]]:
        """Train the generators of one pair, on as many rows of the larger class as the smaller has."""
        if not (len(of_a) and len(of_b)):
            raise ExplanationError(f"CycleGAN needs images of both {a} and {b}: it has {len(of_a)} and {len(of_b)}.")
        there, back = (self.generators[int(self.learned.table[pair])] for pair in ((a, b), (b, a)))
        d_a, d_b = (Critic(of_a.shape[1:]).to(of_a) for _ in range(2))

        def draw(batch: Tensor) -> tuple[Tensor, Tensor]:
            return of_a[batch % len(of_a)], of_b[torch.randint(len(of_b), (len(batch),), device=batch.device)]

        def translators_loss(batch: Tensor) -> Tensor:
            x, y = draw(batch)
            fake_y, fake_x = there(x), back(y)
            cycle = (back(fake_y) - x).abs().mean() + (there(fake_x) - y).abs().mean()
            same = (there(y) - y).abs().mean() + (back(x) - x).abs().mean()
            fooled = (d_b(fake_y) - 1).square().mean() + (d_a(fake_x) - 1).square().mean()
            return fooled + self.cycle_weight * (cycle + 0.5 * same)

        def discriminators_loss(batch: Tensor) -> Tensor:
            x, y = draw(batch)
            with torch.no_grad():
                fake_y, fake_x = there(x), back(y)
            losses = [
                (d(real) - 1).square().mean() + d(fake).square().mean()
                for d, real, fake in ((d_a, x, fake_x), (d_b, y, fake_y))
            ]
            return 0.5 * torch.stack(losses).sum()

        objectives = {
            "translators": Objective([there, back], translators_loss),
            "discriminators": Objective([d_a, d_b], discriminators_loss),
        }
        return descend(
            objectives, min(len(of_a), len(of_b)), epochs=self.epochs, batch_size=self.fit_batch, lr=self.lr,
            betas=(0.5, 0.999), decay=True, seed=seed, device=of_a.device,
        )  # fmt: skip

    def find(self, query: Query, *, stream: bool) -> Found:
        source = query.explained.predicted(query.members)
        self.learned.require(source, query.target, "CycleGAN")
        number = self.learned.table[source, query.target]
        image = query.x.clone()
        for k in number.unique().tolist():  # by pair, not by row
            image[number == k] = self.generators[k](query.x[number == k])
        return verdict(query, image, gamma=self.gamma, stream=stream)


class _Translator(nn.Module):
    """Images to images in (0, 1): down, residual blocks with instance normalisation, up."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(channels, width, 7, padding=3), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.InstanceNorm2d(2 * width), nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(_residual(2 * width) for _ in range(blocks))
        self.up = nn.Sequential(
            nn.Conv2d(2 * width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, channels, 7, padding=3), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(x)
        for block in self.blocks:
            h = h + block(h)
        return self.up(h)[..., : x.shape[-2], : x.shape[-1]]


def _residual(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.InstanceNorm2d(width),
    )  # fmt: skip
