"""C3LT: a learned step in latent space that turns one class into another, and one that turns it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from causalcf.core.descent import Objective, descend
from causalcf.core.errors import ExplanationError
from causalcf.core.nn import mlp
from causalcf.explainers.base import Explainer
from causalcf.explainers.found import Found
from causalcf.explainers.learned import Rows, paired
from causalcf.explainers.networks import Critic, PairMaps, one_hot, tell_apart, unevenness, vagueness
from causalcf.explainers.path import verdict
from causalcf.explainers.query import Query
from causalcf.explainers.search import Adam, Evaluation, search
from causalcf.explainers.targets import cross_entropy

__all__ = ["C3LT"]

DRAWN = 20_000
"""Number of codes to draw for training without data."""

IMAGE = 10.0
"""Factor of proximity's means over pixels."""

Perception = Callable[[Tensor], Sequence[Tensor]]


@dataclass(eq=False, kw_only=True)
class C3LT(Explainer):
    r"""Learns :math:`z' = g^n(z)` with :math:`G(z')` in the target class, and h that leads back: no search when asked.

    One step is :math:`g(z) = z + (\bar z_{y'} - \bar z_y) / n + \text{net}(z)`: it starts from the difference of the
    classes' mean codes. There is a network of two layers for each ordered pair of classes, so that h is the g of the
    opposite pair; or, with `pairs=None`, one network for all pairs that reads source and target too. With
    :math:`x' = G(g^n(z))` and :math:`\bar x = G(h^n(g^n(z)))`, training minimises

    .. math::
        CE(f(x'), y') &+ \alpha\,\big(|x - x'| + \text{entropy} + \text{smoothness of } |x - x'|\big) \\
        &+ \beta\,\Big(\sum_l |\phi_l(\bar x) - \phi_l(x)| + |\bar x - x| + |\bar z - z|\Big)
        + \gamma\,\big(\log(1 - D(x')) + \log(1 - D(\bar x))\big)

    over g and h, and D on real rows against counterfactuals. The paper does not say what its norms are summed over.
    They are means here, as in the authors' program (github.com/khorrams/c3lt), and the cycle's are averaged as there:
    the image's with those of the features, these with the code's. Proximity is `IMAGE` times its means: with a third
    of that a short training ends further from the image, at no better COUT. The model, f and the features :math:`\phi`
    stay frozen. Without data, `fit(None)` takes codes from the model's prior, as the paper does for generators without
    an encoder.

    References:
        Khorram and Fuxin, "Cycle-Consistent Counterfactuals by Latent Transformations", 2022, eq. 2 to 7 and 11.

    Args:
        pairs: Pairs of classes to learn maps between, in both directions; None for one map of all.
        steps: n.
        proximity_weight: Alpha.
        cycle_weight: Beta.
        adversarial_weight: Gamma; 0 for no discriminator.
        hidden: Width of the maps' hidden layer.
        perception: Images to features :math:`\phi_l`, for the cycle; by default the classifier's logits.
        epochs: Passes over the rows of the classes concerned.
        fit_batch: Rows a step.
        lr: Adam's.
        gamma: Probability of the target from which a row counts as reached.
        refine: Steps of Adam, on its own classification and proximity, that every row goes on from where its map leads;
            the cheapest that reaches the target is kept. The paper has none.
        refine_lr: Their size.
        stretch: Multiples of the whole change, z' - z, that rows which miss are given one after the other; the paper
            has none.

    Raises:
        MechanismError: The node is not an image.

    Example:
        >>> explainer = C3LT(scm, node="image", classifier=f, pairs=[(4, 9)]).fit(train)  # doctest: +SKIP
        >>> explainer.explain(x, target=9).reached  # doctest: +SKIP
        tensor([True, True])
    """

    pairs: Sequence[tuple[int, int]] | None = None
    steps: int = 1
    proximity_weight: float = 0.1
    cycle_weight: float = 0.1
    adversarial_weight: float = 0.001
    hidden: int = 128
    perception: Perception | None = None
    epochs: int = 10
    fit_batch: int = 64
    lr: float = 1e-3
    gamma: float = 0.5
    refine: int = 0
    refine_lr: float = 0.05
    stretch: Sequence[float] = ()

    trains: ClassVar[bool] = True

    # ------------------------------------------------------------------ learning

    def train(self, data: Any, seed: int, *, rows: int | None = None) -> None:
        """Train the maps.

        Args:
            data: Rows of the model; None for draws from its prior.
            seed: Seed of the maps' first weights and the order of rows.
            rows: How many codes to draw without data, 20,000 by default.
        """
        if data is not None and rows is not None:
            raise ExplanationError(
                f"C3LT: rows={rows} is the number of codes to draw without data, and data are given: leave one out."
            )
        drawn = DRAWN if rows is None else rows
        everything = Rows.drawn(self, drawn) if data is None else Rows.observed(self, data)
        self.pairs_learned, training = paired(self, self.pairs, everything)
        self.explained.check_gradient(training.x[:1])
        self.maps = self._maps(training.code.shape[1]).to(training.code)
        member = one_hot(training.label, self.explained.classes, training.code)
        self.centres = member.T @ training.code / member.sum(0).clamp_min(1)[:, None]
        critic = Critic(training.x.shape[1:]).to(training.code) if self.adversarial_weight else None

        def maps_loss(batch: Tensor) -> Tensor:
            part = training[batch]
            return self._maps_loss(part, self.pairs_learned.draw(part.label), critic)

        objectives = {"maps": Objective([self.maps], maps_loss)}
        if critic is not None:
            objectives["discriminator"] = self._discriminator(critic, training)
        self.history = descend(
            objectives, len(training), epochs=self.epochs, batch_size=self.fit_batch, lr=self.lr, decay=True, seed=seed,
            device=training.code.device,
        )  # fmt: skip

    def _discriminator(self, critic: Critic, training: Rows) -> Objective:
        """D, which tells training images from the ends of ways."""

        def critic_loss(batch: Tensor) -> Tensor:
            part = training[batch]
            with torch.no_grad():
                way = self.walk(part.code, part.label, self.pairs_learned.draw(part.label))
                fake = self.decode(way[-1], part.pa)
            return tell_apart(critic(part.x), critic(fake))

        return Objective([critic], critic_loss)

    def _maps(self, width: int) -> nn.Module:
        table = self.pairs_learned.table
        if self.pairs is not None:
            return PairMaps(width, self.hidden, table)
        return _Conditional(width, self.hidden, len(table))

    def _maps_loss(self, part: Rows, target: Tensor, critic: Critic | None) -> Tensor:
        there = self.walk(part.code, part.label, target)[-1]
        back = self.walk(there, target, part.label)[-1]
        both = self.decode(torch.cat([there, back]), {name: torch.cat([v, v]) for name, v in part.pa.items()})
        counterfactual, cycled = both.chunk(2)
        members = self.explained.members(counterfactual)
        classification = -members.log_softmax(-1).gather(2, target.expand(len(members), -1)[..., None]).mean()
        proximity = _proximity(counterfactual, part.x).mean()
        compared = [(cycled, part.x), *zip(self._features(cycled), self._features(part.x), strict=True)]
        cycle = (sum(_gap(*pair) for pair in compared) / len(compared) + _gap(back, part.code)) / 2
        loss = classification + self.proximity_weight * proximity + self.cycle_weight * cycle
        if critic is None:
            return loss
        return loss - self.adversarial_weight * nn.functional.softplus(critic(both)).mean() * 2

    def _features(self, x: Tensor) -> Sequence[Tensor]:
        return self.perception(x) if self.perception is not None else [self.explained.members(x)]

    # ------------------------------------------------------------------ asking

    def step(self, code: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """g(z), (N, D)."""
        shift = (self.centres[target] - self.centres[source]) / self.steps
        return code + shift + self.maps(code, source, target)

    def walk(self, code: Tensor, source: Tensor, target: Tensor) -> list[Tensor]:
        """g(z), g(g(z)), ... n of them, each (N, D)."""
        way = []
        for _ in range(self.steps):
            code = self.step(code, source, target)
            way.append(code)
        return way

    def find(self, query: Query, *, stream: bool) -> Found:
        source = query.explained.predicted(query.members)
        self.pairs_learned.require(source, query.target, "C3LT")
        way = self.walk(query.start, source, query.target)
        found = verdict(query, way[-1].clone(), gamma=self.gamma, steps=self.steps)
        if stream:
            rows = torch.arange(query.rows, device=source.device)
            found.trajectory.extend((rows, code) for code in [query.start, *way])
        if self.refine:
            found = self._refined(query, found, stream=stream)
        return self._stretched(query, found, stream=stream)

    def _refined(self, query: Query, found: Found, *, stream: bool) -> Found:
        """Continue the search from the results of the maps, with the objective that they were trained on."""

        def evaluate(part: Query, code: Tensor) -> Evaluation:
            values = part.decode(code)
            outputs = part.outputs(part.explained.members(values))
            progress = outputs.progress
            cost = cross_entropy(outputs) + self.proximity_weight * _proximity(values, part.x)
            return Evaluation(loss=cost, progress=progress, met=part.met(progress, self.gamma), cost=cost)

        there, update = replace(query, start=found.code), Adam(self.refine_lr)
        better = search(there, evaluate, update, max_steps=self.refine, keep="best", stream=stream)
        return replace(better, steps=better.steps + self.steps, trajectory=found.trajectory + better.trajectory[1:])

    def _stretched(self, query: Query, found: Found, *, stream: bool) -> Found:
        """Go further along the same change where that leads to the target."""
        change = found.code - query.start
        for times in self.stretch:
            rows = torch.nonzero(~found.reached)[:, 0]
            if not len(rows):
                break
            code = query.start[rows] + times * change[rows]
            further = verdict(query[rows], code, gamma=self.gamma, steps=self.steps + 1)
            there, code = rows[further.reached], code[further.reached]
            found.code[there] = code
            found.steps[there] += 1
            found.reason[there] = further.reason[further.reached]
            if stream and len(there):
                found.trajectory.append((there, code))
        return found


def _proximity(x: Tensor, factual: Tensor) -> Tensor:
    """Cost of a change, (N,): its size, its entropy and its unevenness."""
    change = (x - factual).abs()
    mask = change.clamp(0, 1)
    return IMAGE * (change.flatten(1).mean(1) + vagueness(mask) + unevenness(mask))


def _gap(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (a - b).abs().mean()


class _Conditional(nn.Module):
    """One network for all pairs, which reads source and target besides the code."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.layers = mlp([width + 2 * classes, hidden, width], nn.ReLU)

    def forward(self, code: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return self.layers(torch.cat([code, *(one_hot(c, self.classes, code) for c in (source, target))], 1))
