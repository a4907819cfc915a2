"""Elastic-net search, for CEM and CFProto: a small, sparse change of pixels, the classifier's weight by bisection."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar, Literal

import torch
from torch import Tensor

from causalcf.core.nn import column
from causalcf.explainers.base import Explainer
from causalcf.explainers.found import Found, Trajectory
from causalcf.explainers.query import Query
from causalcf.explainers.search import Evaluation, Proximal, search
from causalcf.explainers.targets import l1, margin, squared_l2

__all__ = ["ElasticSearch"]


@dataclass(eq=False, kw_only=True)
class ElasticSearch(Explainer):
    r"""Minimises :math:`c\,\max(\text{margin}, -\kappa) + \beta |\delta|_1 + |\delta|_2^2 + \dots` by FISTA.

    The margin is by how much the highest other logit exceeds the target's. The constant c is raised tenfold while no
    change reaches the target, and halved towards the last failure once one does, for each row by itself. Of all
    that reach the target, the one with the smallest elastic-net distance is kept.

    Args:
        c: Weight of the classifier at the start.
        c_steps: Rounds of bisection.
        max_steps: Steps of each.
        lr: Step size at the start of a round; it falls to 0 by a root.
        beta: Weight of the L1 norm, and threshold below which a change is set to 0.
        kappa: By how much the target's logit has to exceed the others.
        autoencoder_weight: Of the squared error of the changed image under the model's own autoencoder.
    """

    c: float = 10.0
    c_steps: int = 9
    max_steps: int = 1000
    lr: float = 0.01
    beta: float = 0.1
    kappa: float = 0.0
    autoencoder_weight: float = 100.0

    acts_on: ClassVar[Literal["latents", "node"]] = "node"
    gradients: ClassVar[bool] = True
    untargeted: ClassVar[bool] = True
    sign: ClassVar[Literal[-1, 0, 1]] = 0

    def find(self, query: Query, *, stream: bool) -> Found:
        c = query.start.new_full((query.rows,), self.c)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        found = best = self._round(query.given(c=c), stream=stream)
        for _ in range(1, self.c_steps):
            low, high = torch.where(found.reached, low, c), torch.where(found.reached, c, high)
            c = torch.where(high.isfinite(), (low + high) / 2, 10 * c)
            found = self._round(query.given(c=c), stream=stream)
            best = self._better(query, best, found)
        return best

    def _better(self, query: Query, a: Found, b: Found) -> Found:
        """For each row, the cheaper result that reaches the target, or the attempt that comes closer to it."""
        cheaper = self._cost(query, b.code) < self._cost(query, a.code)
        closer = query.progress(query.ask(b.code)) > query.progress(query.ask(a.code))
        second = torch.where(a.reached, b.reached & cheaper, b.reached | closer)
        return Found(
            code=torch.where(column(second, a.code), b.code, a.code),
            steps=a.steps + b.steps,
            reason=torch.where(second, b.reason, a.reason),
            trajectory=_either(a.trajectory, b.trajectory, second),
        )

    def _round(self, query: Query, *, stream: bool) -> Found:
        update = Proximal(self.lr, self.beta, self.max_steps, sign=self.sign)
        return search(query, self.evaluate, update, max_steps=self.max_steps, keep="best", stream=stream)

    def evaluate(self, query: Query, x: Tensor) -> Evaluation:
        outputs = query.outputs(query.explained.members(x))
        short = margin(outputs)
        hinge = (short + self.kappa).clamp_min(0)
        loss = query.constants["c"] * hinge + squared_l2(x, query.x)
        if x.requires_grad:  # only the loss needs the rest
            loss = loss + self.penalty(query, x)
        met = (short < 0) & (hinge <= 0)
        return Evaluation(loss=loss, progress=outputs.progress, met=met, cost=self._cost(query, x))

    def _cost(self, query: Query, x: Tensor) -> Tensor:
        """Elastic-net distance to the factual, (N,)."""
        return squared_l2(x, query.x) + self.beta * l1(x, query.x)

    @abstractmethod
    def penalty(self, query: Query, x: Tensor) -> Tensor:
        """(N,) further terms of the loss."""

    def autoencoding_error(self, query: Query, x: Tensor, code: Tensor) -> Tensor:
        """Weighted squared error of the image under the model's autoencoder, (N,)."""
        return self.autoencoder_weight * squared_l2(self.decode(code, query.pa), x)


def _either(a: Trajectory, b: Trajectory, second: Tensor) -> Trajectory:
    """For each row, the first trajectory or, where `second` (N,), the second."""
    trajectory = []
    for one, other in zip_longest(a, b):
        parts = [(step, keep[step[0]]) for step, keep in ((one, ~second), (other, second)) if step is not None]
        rows, codes = (torch.cat([step[i][there] for step, there in parts]) for i in (0, 1))
        if len(rows):
            trajectory.append((rows, codes))
    return trajectory
