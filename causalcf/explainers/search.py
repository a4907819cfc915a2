"""The search engine: batched descent on one code per row, in latent or image space.

Rows are independent of each other: the gradient is that of the sum of their losses, the optimiser's state is a plain
tensor per row, and rows that have ended leave the batch. The stop is tested before the update. So a row gives
what it gives alone, and the cost is that of the steps actually needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from causalcf.core.errors import ExplanationError
from causalcf.core.nn import column
from causalcf.explainers.found import REASONS, Found, Trajectory
from causalcf.explainers.query import Query

__all__ = ["Adam", "Descent", "Evaluate", "Evaluation", "GreedyCoordinate", "Proximal", "Sign", "Update", "search"]

REACHED, MAX_STEPS, NAN, STUCK = (REASONS.index(r) for r in ("reached", "max steps", "nan gradient", "stuck"))
RUNNING = -1

Keep = Literal["first", "best", "last"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good one code per row is, to the method that searches.

    Args:
        loss: (N,) what the search descends.
        progress: (N,) probability of the target; the best attempt of a failed row is where it is highest.
        met: (N,) bool, whether the target is reached.
        cost: (N,) what the best of several that reach the target has least of.
    """

    loss: Tensor
    progress: Tensor
    met: Tensor
    cost: Tensor | None = None


Evaluate = Callable[[Query, Tensor], Evaluation]
State = dict[str, Tensor]


class Update(ABC):
    """The rule by which a code moves along its gradient. `state` holds its memory, a tensor per row."""

    def start(self, code: Tensor) -> State:
        """The state before the first step."""
        return {}

    def candidate(self, code: Tensor, state: State) -> Tensor:
        """The code that may be an answer; under momentum it differs from `code`, where the gradient is taken."""
        return code

    @abstractmethod
    def step(self, query: Query, code: Tensor, gradient: Tensor, state: State, t: int) -> tuple[Tensor, State]:
        """Code and state after step t, counted from 1. A state `"stuck"` (N,) ends rows that cannot move."""


@dataclass(frozen=True)
class Adam(Update):
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015.

    Args:
        lr: Step size.
        betas: Decay of the two moments.
        eps: Added to the root of the second moment.
        supported: Whether codes are the node's values, which stay in its support.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    supported: bool = False

    def start(self, code: Tensor) -> State:
        return {"m": torch.zeros_like(code), "v": torch.zeros_like(code)}

    def step(self, query: Query, code: Tensor, gradient: Tensor, state: State, t: int) -> tuple[Tensor, State]:
        b1, b2 = self.betas
        m = torch.lerp(gradient, state["m"], b1)
        v = torch.lerp(gradient.square(), state["v"], b2)
        moved = code - self.lr / (1 - b1**t) * m / ((v / (1 - b2**t)).sqrt() + self.eps)
        return query.project(moved) if self.supported else moved, {"m": m, "v": v}


@dataclass(frozen=True)
class Descent(Update):
    """Plain gradient descent.

    Args:
        lr: Step size.
        supported: Whether codes are the node's values, which stay in its support.
    """

    lr: float
    supported: bool = False

    def step(self, query: Query, code: Tensor, gradient: Tensor, state: State, t: int) -> tuple[Tensor, State]:
        moved = code - self.lr * gradient
        return query.project(moved) if self.supported else moved, state


@dataclass(frozen=True)
class Sign(Update):
    """Steps along the sign of the gradient, inside a ball around the start and the node's support.

    Args:
        lr: Step size.
        radius: Largest change of a pixel.
    """

    lr: float
    radius: float

    def step(self, query: Query, code: Tensor, gradient: Tensor, state: State, t: int) -> tuple[Tensor, State]:
        change = (code - query.start - self.lr * gradient.sign()).clamp_(-self.radius, self.radius)
        return query.project(change.add_(query.start)), state


@dataclass(frozen=True)
class GreedyCoordinate(Update):
    """Move only the pixel with the largest gradient, by a fixed amount, each a few times at most.

    A pixel that the step would not change, as it is at the edge of the support already, is passed over.

    Args:
        delta: How far it moves.
        times: How often one pixel may move.
    """

    delta: float
    times: int

    def start(self, code: Tensor) -> State:
        none = torch.zeros(len(code), dtype=torch.bool, device=code.device)
        return {"count": torch.zeros_like(code).flatten(1), "stuck": none}

    def step(self, query: Query, code: Tensor, gradient: Tensor, state: State, t: int) -> tuple[Tensor, State]:
        flat, count = code.flatten(1), state["count"]
        moved = query.project(code - self.delta * gradient.sign()).flatten(1)
        saliency = gradient.flatten(1).abs().masked_fill_((moved == flat) | (count >= self.times), -1.0)
        largest, pixel = saliency.max(1, keepdim=True)
        free = largest >= 0
        there = torch.where(free, moved.gather(1, pixel), flat.gather(1, pixel))
        count = count.scatter_add(1, pixel, free.to(count))
        return flat.scatter(1, pixel, there).view_as(code), {"count": count, "stuck": ~free[:, 0]}


@dataclass(frozen=True)
class Proximal(Update):
    """FISTA for a smooth loss + beta * L1 of the change from the factual, in the node's support.

    Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems", 2009, with the
    momentum t / (t + 3) and the step size's root decay of CEM (Dhurandhar et al. 2018, IBM's code).

    Args:
        lr: Step size at the start.
        beta: Weight of the L1 norm.
        max_steps: Over which the step size falls to 0.
        sign: +1 lets values only grow, -1 only shrink, 0 both.
    """

    lr: float
    beta: float
    max_steps: int
    sign: Literal[-1, 0, 1] = 0

    def start(self, code: Tensor) -> State:
        return {"x": code}

    def candidate(self, code: Tensor, state: State) -> Tensor:
        return state["x"]

    def step(self, query: Query, code: Tensor, gradient: Tensor, state: State, t: int) -> tuple[Tensor, State]:
        lr = self.lr * (1 - (t - 1) / self.max_steps) ** 0.5
        change = torch.nn.functional.softshrink(code - lr * gradient - query.start, self.beta)
        x = self._allowed(query, query.start + change)
        y = x + (t - 1) / (t + 2) * (x - state["x"])
        return self._allowed(query, y), {"x": x}

    def _allowed(self, query: Query, x: Tensor) -> Tensor:
        if self.sign > 0:
            x = x.maximum(query.start)
        elif self.sign < 0:
            x = x.minimum(query.start)
        return query.project(x)


def search(
    query: Query,
    evaluate: Evaluate,
    update: Update,
    *,
    max_steps: int,
    keep: Keep = "first",
    stream: bool = False,
    check_every: int | None = None,
) -> Found:
    """Search one code per row, from `query.start`.

    Args:
        query: The rows.
        evaluate: Loss and verdict of one code per row, for any of the rows.
        update: The optimiser.
        max_steps: After which a row ends.
        keep: "first" ends a row where it reaches the target; "best" goes on for all steps and keeps what reaches
            the target at the least cost; "last" keeps where the last step ends.
        stream: Keep every step up to the one that a row keeps.
        check_every: Steps between checks of which rows have ended; each check makes the host wait for the device. By
            default 1 on a CPU and 10 elsewhere. The result does not depend on it.

    Returns:
        Where each row ended; see `Found`.
    """
    check_every = check_every or (1 if query.start.device.type == "cpu" else 10)
    check_every = 1 if stream else check_every
    rows = torch.arange(query.rows, device=query.start.device)
    run = _Run(query, query.start, update.start(query.start))
    ended = Found(code=query.start.clone(), steps=torch.zeros_like(rows), reason=torch.full_like(rows, RUNNING))
    kept_at = torch.zeros_like(rows)
    for t in range(max_steps + 1):
        gradient = run.evaluate(evaluate, update, keep, t, last=t == max_steps)
        if stream:
            ended.trajectory.append((rows, run.point))
            kept_at[rows] = run.kept_at
        if t == max_steps or t % check_every == 0:
            going = run.reason == RUNNING
            if not bool(going.all()):
                run.write(rows, ended)
                rows, gradient = rows[going], gradient[going]
                run.select(going)
            if not len(rows):
                break
        run.step(update, gradient, t + 1)
    return replace(ended, trajectory=_until(ended.trajectory, kept_at)) if stream else ended


def _until(trajectory: Trajectory, last: Tensor) -> Trajectory:
    """A trajectory in which each row ends at its step `last`, (N,)."""
    cut = [(rows, codes, last[rows] >= t) for t, (rows, codes) in enumerate(trajectory)]
    return [(rows[there], codes[there]) for rows, codes, there in cut if bool(there.any())]


class _Run:
    """The rows that are still searching."""

    def __init__(self, query: Query, code: Tensor, state: State) -> None:
        self.query, self.code, self.state, self.point = query, code, state, code
        n, device = query.rows, code.device
        self.reason = torch.full((n,), RUNNING, device=device)
        self.steps = torch.zeros(n, dtype=torch.long, device=device)
        self.kept, self.kept_at = code, torch.zeros_like(self.steps)
        self.highest = torch.full((n,), -torch.inf, dtype=code.dtype, device=device)
        self.cheapest = torch.full((n,), torch.inf, dtype=code.dtype, device=device)

    def evaluate(self, evaluate: Evaluate, update: Update, keep: Keep, t: int, *, last: bool) -> Tensor:
        """Gradient at the current codes; records the targets reached, and the best codes so far."""
        with torch.enable_grad():
            code = self.code.detach().requires_grad_(True)
            evaluation = evaluate(self.query, code)
            (gradient,) = torch.autograd.grad(evaluation.loss.sum(), code)
        self.point = update.candidate(self.code, self.state)
        if self.point is not self.code:
            evaluation = evaluate(self.query, self.point)
        going = self.reason == RUNNING
        self.steps = torch.where(going, t, self.steps)
        better = self._better(evaluation, going, keep, last=last)
        self.kept = torch.where(column(better, self.kept), self.point.detach(), self.kept)
        self.kept_at = torch.where(better, t, self.kept_at)
        if keep == "first":
            self.reason = torch.where(going & evaluation.met, REACHED, self.reason)
        finite = gradient.flatten(1).sum(1).isfinite()  # of a sum: one test is cheaper than one per pixel
        self.reason = torch.where((self.reason == RUNNING) & ~finite, NAN, self.reason)
        if "stuck" in self.state:
            self.reason = torch.where((self.reason == RUNNING) & self.state["stuck"], STUCK, self.reason)
        if last:
            self.reason = torch.where(self.reason == RUNNING, MAX_STEPS, self.reason)
        if keep != "first":  # a row has reached its target if what it keeps does
            self.reason = torch.where((self.reason != RUNNING) & self.cheapest.isfinite(), REACHED, self.reason)
        return gradient

    def _better(self, evaluation: Evaluation, going: Tensor, keep: Keep, *, last: bool) -> Tensor:
        """Rows to keep: the cheapest code that reaches the target; until one does, the one that comes closest."""
        better = going & (evaluation.progress > self.highest)
        self.highest = torch.where(better, evaluation.progress.detach(), self.highest)
        if keep == "first":
            better |= going & evaluation.met
        elif keep == "best":
            if evaluation.cost is None:
                raise ExplanationError('keep="best" keeps the cheapest code: give its cost, Evaluation(..., cost=...).')
            cheaper = going & evaluation.met & (evaluation.cost < self.cheapest)
            better = cheaper | (better & ~self.cheapest.isfinite())
            self.cheapest = torch.where(cheaper, evaluation.cost.detach(), self.cheapest)
        elif last:
            better = going
            self.cheapest = torch.where(going & evaluation.met, 0.0, torch.inf)
        return better

    def write(self, rows: Tensor, ended: Found) -> None:
        """Put down the rows that have ended."""
        done = self.reason != RUNNING
        ended.code[rows[done]] = self.kept[done]
        ended.reason[rows[done]] = self.reason[done]
        ended.steps[rows[done]] = self.steps[done]

    def select(self, going: Tensor) -> None:
        """Go on with some rows only."""
        self.query = self.query[going]
        self.state = {name: value[going] for name, value in self.state.items()}
        for name in ("code", "reason", "steps", "kept", "kept_at", "highest", "cheapest"):
            setattr(self, name, getattr(self, name)[going])

    def step(self, update: Update, gradient: Tensor, t: int) -> None:
        self.code, self.state = update.step(self.query, self.code, gradient, self.state, t)
