"""CFRL: an actor that moves latent codes, trained only on whether the classifier gives the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from causalcf.core.descent import Objective, descend
from causalcf.core.nn import mlp
from causalcf.core.settings import NATURAL
from causalcf.explainers.base import Explainer
from causalcf.explainers.found import Found
from causalcf.explainers.learned import Rows
from causalcf.explainers.networks import one_hot
from causalcf.explainers.path import verdict
from causalcf.explainers.query import Query

__all__ = ["CFRL"]


@dataclass(eq=False, kw_only=True)
class CFRL(Explainer):
    r"""Learns an actor :math:`z' = s \tanh(a(z, y, y'))` by policy gradient; the classifier is a black box.

    s is the largest size that a latent has in the training rows. A critic Q learns the reward
    :math:`R = 1[\arg\max f(G(z')) = y']` of codes with exploration noise, from a memory of past ones; the actor
    maximises Q less :math:`\lambda_s |G(z') - x|_1` (mean over features) and
    :math:`\lambda_c |E(G(z')) - z'|_2^2` (mean over latents). Targets are drawn uniformly from the other classes.

    References:
        Samoilescu, Van Looveren, Klaise, "Model-agnostic and Scalable Counterfactual Explanations via Reinforcement
        Learning", 2021, algorithm 1, with the settings of alibi.

    Args:
        hidden: Width of the two hidden layers of actor and critic.
        exploration: Standard deviation of the noise, as a share of s.
        warmup: Steps whose codes are drawn uniformly instead.
        sparsity_weight: Of the change in x.
        consistency_weight: Of the change that another round trip makes.
        memory: Rows that are remembered.
        fit_batch: Rows a step.
        lr: Adam's.
        steps: Steps of training.
        gamma: Probability of the target from which a row counts as reached.

    Example:
        >>> explainer = CFRL(scm, node="image", classifier=f).fit(train)  # doctest: +SKIP
        >>> explainer.explain(x, target=9).reached  # doctest: +SKIP
        tensor([True, True])
    """

    hidden: int = 256
    exploration: float = 0.1
    warmup: Annotated[int, NATURAL] = 100
    sparsity_weight: float = 0.5
    consistency_weight: float = 0.5
    memory: int = 100_000
    fit_batch: int = 100
    lr: float = 1e-3
    steps: int = 20_000
    gamma: float = 0.5

    trains: ClassVar[bool] = True

    def train(self, data: Any, seed: int) -> None:
        rows = Rows.observed(self, data)
        width, classes = rows.code.shape[1], self.explained.classes
        self.scale = rows.code.abs().amax(0)
        self.actor = mlp([width + 2 * classes, self.hidden, self.hidden, width], nn.ReLU).to(rows.code)
        self.critic = mlp([2 * width + 2 * classes, self.hidden, self.hidden, 1], nn.ReLU).to(rows.code)
        memory = _Memory(self, rows)

        def critic_loss(batch: Tensor) -> Tensor:
            with torch.no_grad():
                memory.experience(batch)
            past = memory.recall(len(batch))
            return (self._value(past.code, past.label, past.target, past.moved) - past.reward).square().mean()

        def actor_loss(batch: Tensor) -> Tensor:
            past = memory.recall(len(batch))
            moved = self.act(past.code, past.label, past.target)
            x = self.decode(moved, past.rows.pa)
            again = self.encode(x, past.rows.pa)
            return (
                -self._value(past.code, past.label, past.target, moved).mean()
                + self.sparsity_weight * (x - past.rows.x).abs().mean()
                + self.consistency_weight * (again - moved).square().mean()
            )

        size = min(self.fit_batch, len(rows))
        self.history = descend(
            {"critic": Objective([self.critic], critic_loss), "actor": Objective([self.actor], actor_loss)},
            len(rows), epochs=max(1, round(self.steps * size / len(rows))), batch_size=size, lr=self.lr,
            seed=seed, device=rows.code.device,
        )  # fmt: skip

    def act(self, code: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """The actor's codes, (N, D)."""
        return self.scale * torch.tanh(self.actor(torch.cat([code, *self._asked(code, source, target)], 1)))

    def _value(self, code: Tensor, source: Tensor, target: Tensor, moved: Tensor) -> Tensor:
        """The critic's guess of the reward, (N,)."""
        return self.critic(torch.cat([code, *self._asked(code, source, target), moved / self.scale], 1))[:, 0]

    def _asked(self, code: Tensor, source: Tensor, target: Tensor) -> list[Tensor]:
        return [one_hot(c, self.explained.classes, code) for c in (source, target)]

    def find(self, query: Query, *, stream: bool) -> Found:
        source = query.explained.predicted(query.members)
        return verdict(query, self.act(query.start, source, query.target), gamma=self.gamma, stream=stream)


@dataclass(frozen=True)
class _Past:
    """Remembered rows: questions, actions and rewards."""

    rows: Rows
    target: Tensor
    moved: Tensor
    reward: Tensor

    @property
    def code(self) -> Tensor:
        return self.rows.code

    @property
    def label(self) -> Tensor:
        return self.rows.label


class _Memory:
    """A ring of past experience."""

    def __init__(self, explainer: CFRL, rows: Rows) -> None:
        self.explainer, self.rows = explainer, rows
        n, device = explainer.memory, rows.code.device
        self.row = torch.zeros(n, dtype=torch.long, device=device)
        self.target = torch.zeros(n, dtype=torch.long, device=device)
        self.moved = torch.zeros(n, rows.code.shape[1], dtype=rows.code.dtype, device=device)
        self.reward = torch.zeros(n, dtype=rows.code.dtype, device=device)
        self.written, self.calls = 0, 0

    def experience(self, batch: Tensor) -> None:
        """Act on some rows, with noise, and remember the results."""
        explainer, rows = self.explainer, self.rows[batch]
        classes = explainer.explained.classes
        shift = torch.randint(1, classes, (len(batch),), device=batch.device)
        target = (rows.label + shift) % classes
        if self.calls < explainer.warmup:
            moved = explainer.scale * (2 * torch.rand_like(rows.code) - 1)
        else:
            moved = explainer.act(rows.code, rows.label, target)
            moved = moved + explainer.exploration * explainer.scale * torch.randn_like(moved)
            moved = moved.minimum(explainer.scale).maximum(-explainer.scale)
        x = explainer.mechanism.variable.project(explainer.decode(moved, rows.pa))
        reward = (explainer.explained.predicted(explainer.explained.members(x)) == target).to(moved)
        at = (self.written + torch.arange(len(batch), device=batch.device)) % len(self.row)
        self.row[at], self.target[at], self.moved[at], self.reward[at] = batch, target, moved, reward
        self.written += len(batch)
        self.calls += 1

    def recall(self, n: int) -> _Past:
        """n remembered rows, drawn at random."""
        at = torch.randint(min(self.written, len(self.row)), (n,), device=self.row.device)
        return _Past(self.rows[self.row[at]], self.target[at], self.moved[at], self.reward[at])
