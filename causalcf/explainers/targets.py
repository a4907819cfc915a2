"""Target terms and distances of the searches: pure functions of tensors, one number a row."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.explainers.query import Said

__all__ = ["cross_entropy", "l1", "log_odds", "logit", "margin", "squared_error", "squared_l2"]


def cross_entropy(said: Said) -> Tensor:
    """Mean over members of the cross-entropy of the target, (N,)."""
    return -said.log_p.mean(0)


def logit(said: Said) -> Tensor:
    """Mean over members of the target's logit, (N,); of a regression, its value, positive towards the target."""
    query, mean = said.query, said.members.mean(0)
    if query.explained.regression:
        return query.side * mean[:, 0]
    return mean.gather(1, query.target[:, None])[:, 0]


def squared_error(said: Said, probability: float) -> Tensor:
    """(p - P(target))^2, (N,); of a regression, the squared distance to its target."""
    return (said.progress - (0.0 if said.query.explained.regression else probability)).square()


def margin(said: Said) -> Tensor:
    """By how much the target falls short, in logits, (N,), mean over members; negative once it is reached.

    The highest other logit minus the target's; where the target is any class but one, that one's logit minus the
    highest other.
    """
    target = said.query.target.expand(said.members.shape[0], -1)[..., None]
    others = said.members.scatter(-1, target, -torch.inf).amax(-1)
    return said.query.side * (others - said.members.gather(-1, target)[..., 0]).mean(0)


def log_odds(said: Said) -> Tensor:
    """Mean over members of the target's log odds, log p - log(1 - p), (N,)."""
    target = said.query.target.expand(said.members.shape[0], -1)[..., None]
    others = said.members.scatter(-1, target, -torch.inf).logsumexp(-1)
    return (said.members.gather(-1, target)[..., 0] - others).mean(0)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Sum of absolute differences, (N,)."""
    return (a - b).abs().flatten(1).sum(1)


def squared_l2(a: Tensor, b: Tensor) -> Tensor:
    """Sum of squared differences, (N,)."""
    return (a - b).square().flatten(1).sum(1)
