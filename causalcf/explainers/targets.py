"""Target terms and distances of the searches: pure functions of tensors, one number a row."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.explainers.query import Outputs

__all__ = ["cross_entropy", "l1", "log_odds", "logit", "margin", "squared_error", "squared_l2"]


def cross_entropy(outputs: Outputs) -> Tensor:
    """Mean over members of the cross-entropy of the target, (N,)."""
    return -outputs.log_p.mean(0)


def logit(outputs: Outputs) -> Tensor:
    """Mean over members of the target's logit, (N,); of a regression, its value, positive towards the target."""
    query, mean = outputs.query, outputs.members.mean(0)
    if query.explained.regression:
        return query.side * mean[:, 0]
    return mean.gather(1, query.target[:, None])[:, 0]


def squared_error(outputs: Outputs, probability: float) -> Tensor:
    """(p - P(target))^2, (N,); of a regression, the squared distance to its target."""
    return (outputs.progress - (0.0 if outputs.query.explained.regression else probability)).square()


def margin(outputs: Outputs) -> Tensor:
    """Distance to the target in logits, (N,), mean over members; negative once it is reached.

    The highest other logit minus the target's; where the target is any class but one, that one's logit minus the
    highest other.
    """
    target = outputs.query.target.expand(outputs.members.shape[0], -1)[..., None]
    others = outputs.members.scatter(-1, target, -torch.inf).amax(-1)
    return outputs.query.side * (others - outputs.members.gather(-1, target)[..., 0]).mean(0)


def log_odds(outputs: Outputs) -> Tensor:
    """Mean over members of the target's log odds, log p - log(1 - p), (N,)."""
    target = outputs.query.target.expand(outputs.members.shape[0], -1)[..., None]
    others = outputs.members.scatter(-1, target, -torch.inf).logsumexp(-1)
    return (outputs.members.gather(-1, target)[..., 0] - others).mean(0)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Sum of absolute differences, (N,)."""
    return (a - b).abs().flatten(1).sum(1)


def squared_l2(a: Tensor, b: Tensor) -> Tensor:
    """Sum of squared differences, (N,)."""
    return (a - b).square().flatten(1).sum(1)
