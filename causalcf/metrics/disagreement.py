"""The uncertainty of an ensemble of classifiers, and its kind: noise in the data, or lack of knowledge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_floating, check_rows

__all__ = ["Doubt", "aleatoric", "doubt", "epistemic"]


@dataclass(frozen=True)
class Doubt:
    """Entropies in nats, each (N,); total = aleatoric + epistemic.

    Args:
        total: Entropy of the mean probability.
        aleatoric: Mean entropy of the members: the classes overlap here.
        epistemic: The rest, the mutual information: the members disagree.
    """

    total: Tensor
    aleatoric: Tensor
    epistemic: Tensor


@checked
def doubt(logits: Tensor) -> Doubt:
    """Predictive entropy of an ensemble, split into its two kinds; from 0 to log K nats, lower is better.

    Epistemic doubt tells an implausible image from an ambiguous one. (Depeweg et al., "Decomposition of
    Uncertainty in Bayesian Deep Learning for Efficient and Risk-Sensitive Learning", 2018; Schut et al.,
    "Generating Interpretable Counterfactual Explanations By Implicit Minimisation of Epistemic and Aleatoric
    Uncertainties", 2021.)

    Args:
        logits: Of M members, shape (M, N, K).

    Raises:
        DataError: Another shape, integers, NaN, or fewer than two members.

    Example:
        >>> sure = torch.tensor([[[9.0, -9.0]], [[-9.0, 9.0]]])
        >>> split = doubt(sure)
        >>> round(split.total.item(), 3), round(split.aleatoric.item(), 3), round(split.epistemic.item(), 3)
        (0.693, 0.0, 0.693)
    """
    check_floating(logits=logits)
    if logits.ndim != 3:
        raise DataError(f"Expected logits (M, N, K) of an ensemble, got {tuple(logits.shape)}.")
    check_rows(2, "Disagreement", members=logits)
    check_rows(1, "A score", logits=logits[0])
    check_finite(logits=logits)
    total = torch.special.entr(logits.softmax(-1).mean(0)).sum(-1)
    aleatoric = torch.special.entr(logits.softmax(-1)).sum(-1).mean(0)
    return Doubt(total, aleatoric, (total - aleatoric).clamp_min(0))


@checked
def epistemic(logits: Tensor) -> Tensor:
    """How much the members disagree, in nats, (N,), from 0; lower is better: see `doubt`. (Schut et al., 2021.)

    Args:
        logits: Of M members, shape (M, N, K).

    Example:
        >>> epistemic(torch.zeros(3, 2, 5))
        tensor([0., 0.])
    """
    return doubt(logits).epistemic


@checked
def aleatoric(logits: Tensor) -> Tensor:
    """How ambiguous the members find it, in nats, (N,), from 0; lower is better: see `doubt`. (Schut et al., 2021.)

    Args:
        logits: Of M members, shape (M, N, K).

    Example:
        >>> aleatoric(torch.zeros(3, 1, 2))
        tensor([0.6931])
    """
    return doubt(logits).aleatoric
