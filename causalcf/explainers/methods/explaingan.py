"""ExplainGAN: a generator paints the evidence of the target class, and a mask says where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core.descent import Objective, descend
from causalcf.core.settings import Range
from causalcf.explainers.base import Explainer
from causalcf.explainers.found import Found
from causalcf.explainers.learned import Rows, paired
from causalcf.explainers.networks import Critic, fool, one_hot, tell_apart, unevenness, vagueness
from causalcf.explainers.path import verdict
from causalcf.explainers.query import Query

__all__ = ["ExplainGAN"]


@dataclass(eq=False, kw_only=True)
class ExplainGAN(Explainer):
    r"""Learns :math:`x' = (1 - m)\, x + m\, G(z)` with z, m and G(z) read off x by networks of its own.

    One encoder gives z; a decoder told the target gives the painting G and the mask m. Training minimises

    .. math::
        \text{GAN}(x'; y') + CE(f(x'), y') + |G_y(z) - x|^2 + |(1 - m)(G - x)|_1
        + 100 \max(\bar m - \kappa, 0)^2 + \text{smoothness}(m) + \text{entropy}(m),

    where the decoder told the row's own class rebuilds it, and a discriminator for every class tells real images
    from composed ones. It acts by do(image = x'). The square and the 100 are ours. The published count loss is an
    excess times 1000: that shuts the masks, and keeps the image from changing by more than kappa, .05, where the
    published change is .074. On the pairs of C3LT's study, after about 1,000 steps, 1000 times the square still keeps
    it at .03, and one query in three fails; 100 times lets it change by .05, and one in ten does.

    References:
        Samangouei, Saeedi, Nakagawa, Silberman, "ExplainGAN: Model Explanation via Decision Boundary Crossing
        Transformations", 2018, section 3. The other weights are those found by Khorram and Fuxin, 2022,
        supplement A.

    Args:
        pairs: Pairs of classes to learn, in both directions; None for all.
        kappa: Share of the image that the mask may have for free: .05 for MNIST, .1 for Fashion-MNIST.
        count_weight: Of the pixels it has beyond.
        latent: Dimensions of z.
        width: Channels of the networks.
        epochs: Passes over the rows of the classes concerned.
        fit_batch: Rows a step.
        lr: Adam's.
        gamma: Probability of the target from which a row counts as reached.

    Raises:
        MechanismError: The node is not an image.

    Example:
        >>> explainer = ExplainGAN(scm, node="image", classifier=f, pairs=[(4, 9)]).fit(train)  # doctest: +SKIP
        >>> explainer.explain(x, target=9).reached  # doctest: +SKIP
        tensor([True, True])
    """

    pairs: Sequence[tuple[int, int]] | None = None
    kappa: Annotated[float, Range(0, 1, above=True, below=True)] = 0.05
    count_weight: float = 100.0
    latent: int = 64
    width: int = 32
    epochs: int = 10
    fit_batch: int = 128
    lr: float = 1e-3
    gamma: float = 0.5

    acts_on: ClassVar[Literal["latents", "node"]] = "node"
    trains: ClassVar[bool] = True

    def train(self, data: Any, seed: int) -> None:
        self.learned, rows = paired(self, self.pairs, Rows.observed(self, data))
        self.explained.check_gradient(rows.x[:1])
        classes, shape = self.explained.classes, rows.x.shape[1:]
        self.painter = _Painter(shape, classes, self.latent, self.width, self.kappa).to(rows.x)
        critic = Critic(shape, classes).to(rows.x)

        def painter_loss(batch: Tensor) -> Tensor:
            part = rows[batch]
            return self._painter_loss(part, self.learned.draw(part.label), critic)

        def critic_loss(batch: Tensor) -> Tensor:
            part = rows[batch]
            target = self.learned.draw(part.label)
            with torch.no_grad():
                fake = self.compose(part.x, target)
            return tell_apart(_of(critic(part.x), part.label), _of(critic(fake), target))

        self.history = descend(
            {"painter": Objective([self.painter], painter_loss), "discriminator": Objective([critic], critic_loss)},
            len(rows), epochs=self.epochs, batch_size=self.fit_batch, lr=self.lr, betas=(0.5, 0.999), decay=True,
            seed=seed, device=rows.x.device,
        )  # fmt: skip

    def _painter_loss(self, part: Rows, target: Tensor, critic: nn.Module) -> Tensor:
        paint, mask = self.painter(part.x, target)
        own, _ = self.painter(part.x, part.label)
        composed = torch.lerp(part.x, paint, mask)
        members = self.explained.members(composed)
        crossed = -members.log_softmax(-1).gather(2, target.expand(len(members), -1)[..., None]).mean()
        outside = ((1 - mask) * (paint - part.x)).abs().mean()
        count = F.relu(mask.flatten(1).mean(1) - self.kappa).square().mean()
        prior = outside + self.count_weight * count + (unevenness(mask) + vagueness(mask)).mean()
        return fool(_of(critic(composed), target)) + crossed + (own - part.x).square().mean() + prior

    def compose(self, x: Tensor, target: Tensor) -> Tensor:
        """x' (N, C, H, W) of images and targets."""
        return torch.lerp(x, *self.painter(x, target))

    def find(self, query: Query, *, stream: bool) -> Found:
        self.learned.require(query.explained.predicted(query.members), query.target, "ExplainGAN")
        return verdict(query, self.compose(query.x, query.target), gamma=self.gamma, stream=stream)


class _Painter(nn.Module):
    """Image and target to a painting (N, C, H, W) in (0, 1) and a mask (N, 1, H, W)."""

    def __init__(self, shape: Sequence[int], classes: int, latent: int, width: int, kappa: float) -> None:
        super().__init__()
        channels, height, breadth = shape
        self.size, self.grid, self.classes, self.channels = (
            (height, breadth),
            (-(-height // 4), -(-breadth // 4)),
            classes,
            channels,
        )
        cells = self.grid[0] * self.grid[1]
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(self.grid),
            nn.Flatten(), nn.Linear(width * cells, latent), nn.SiLU(),
        )  # fmt: skip
        self.stem = nn.Linear(latent + classes, width * cells)
        self.decoder = nn.Sequential(
            nn.SiLU(), nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.SiLU(),
            nn.Conv2d(width, 4 * (channels + 1), 3, padding=1), nn.PixelShuffle(2), nn.Sigmoid(),
        )  # fmt: skip
        # Masks begin as large as they may be for free: the count's steep price would shut wider ones for good.
        last = self.decoder[4]
        nn.init.constant_(last.bias[-4:], log(kappa / (1 - kappa)))  # type: ignore[index,arg-type]

    def forward(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x)
        h = self.stem(torch.cat([z, one_hot(target, self.classes, z)], 1)).unflatten(1, (-1, *self.grid))
        drawn = self.decoder(h)[..., : self.size[0], : self.size[1]]
        return drawn[:, : self.channels], drawn[:, self.channels :]


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    """Each row's logit of its class, (N,)."""
    return logits.gather(1, classes[:, None])[:, 0]
