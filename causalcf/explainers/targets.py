"""Target terms and distances of the searches: pure functions of tensors, one number a row."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.explainers.query import Query

__all__ = ["cross_entropy", "l1", "l2", "logit", "margin", "squared_error", "squared_l2"]


def cross_entropy(query: Query, members: Tensor) -> Tensor:
    """Mean over members of the cross-entropy of the target, (N,)."""
    return -_at(members.log_softmax(-1), query.target).mean(0)


def logit(query: Query, members: Tensor) -> Tensor:
    """Mean over members of the target's logit, (N,); of a regression, its value, positive towards the target."""
    if query.explained.regression:
        return query.side * members.mean(0)[:, 0]
    return _at(members, query.target).mean(0)


def squared_error(query: Query, members: Tensor, probability: float) -> Tensor:
    """(p - P(target))^2, (N,); of a regression, the squared distance to its target."""
    if query.explained.regression:
        return (members.mean(0)[:, 0] - query.target).square()
    return (query.progress(members) - probability).square()


def margin(query: Query, members: Tensor) -> Tensor:
    """By how much the target falls short, in logits, (N,), mean over members; negative once it is reached.

    The highest other logit minus the target's; where the target is any class but one, that one's logit minus the
    highest other.
    """
    target = query.target.expand(members.shape[0], -1)[..., None]
    others = members.scatter(-1, target, -torch.inf).amax(-1)
    return query.side * (others - members.gather(-1, target)[..., 0]).mean(0)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Sum of absolute differences, (N,)."""
    return (a - b).abs().flatten(1).sum(1)


def squared_l2(a: Tensor, b: Tensor) -> Tensor:
    """Sum of squared differences, (N,)."""
    return (a - b).square().flatten(1).sum(1)


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance, (N,); its gradient at a = b is 0."""
    return (squared_l2(a, b) + 1e-12).sqrt()


def _at(values: Tensor, target: Tensor) -> Tensor:
    """(M, N, K) at the target, (M, N)."""
    return values.gather(-1, target.expand(values.shape[0], -1)[..., None])[..., 0]
