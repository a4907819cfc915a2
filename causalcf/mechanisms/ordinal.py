"""Categories in an order, by thresholds on one noise; and the common part of thresholded mechanisms."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from causalcf import variables
from causalcf.core import draws
from causalcf.core.errors import CausalCFWarning
from causalcf.core.surroundings import callers_line
from causalcf.mechanisms.base import Parents
from causalcf.mechanisms.categorical import MARGIN, DiscreteMechanism

__all__ = ["Ordinal", "logistic_between", "thresholds_around", "warn_of_impossible"]

SAME = 8.0
"""Roundings that two thresholds may lie apart and still be the same."""


def logistic_between(low: Tensor, high: Tensor) -> Tensor:
    """A draw of logistic noise truncated to (low, high), exact in both tails.

    It keeps a margin from both ends, or a quarter of the interval where that is narrower: rounding of the thresholds,
    which changes with the batch size, could else move the value under the null intervention.

    Args:
        low: Thresholds below, (N,); minus infinity where there is none.
        high: Thresholds above, (N,); infinity where there is none.
    """
    # Seen from the side on which the interval lies, where its probabilities are small, and their logarithms exact.
    flipped = low + high > 0
    a, b = torch.where(flipped, -high, low), torch.where(flipped, -low, high)
    w = draws.uniform(a.shape, a)
    log_p = torch.logaddexp(torch.log1p(-w) + logsigmoid(a), w.log() + logsigmoid(b))
    u = log_p - torch.log(-torch.expm1(log_p))
    u = torch.where(flipped, -u, u)
    width = high - low
    least = low + torch.minimum(MARGIN * (1 + 0.1 * low.abs()), width / 4)
    most = high - torch.minimum(MARGIN * (1 + 0.1 * high.abs()), width / 4)
    least = torch.where(low.isinf(), low, least)
    most = torch.where(high.isinf(), high, most)
    return torch.minimum(torch.maximum(u, least), most)


def warn_of_impossible(node: str, x: Tensor, low: Tensor, high: Tensor, dtype: torch.dtype) -> None:
    """Warn of values between thresholds that are the same number, so that no noise stands for them.

    Args:
        node: The node, for the warning.
        x: Observed values, (N,).
        low: Thresholds below them, (N,).
        high: Thresholds above them, (N,).
        dtype: The type that noise is held in.

    Warns:
        CausalCFWarning: Names the node, how many rows, and an example.
    """
    nearest = torch.where(low.isinf(), high, low).abs()
    lost = high - low <= SAME * torch.finfo(dtype).eps * nearest
    if bool(lost.any()):
        warnings.warn(
            f"'{node}' has values that its mechanism holds to be impossible in {int(lost.sum())} of {len(x)} rows, for"
            f" example {x[lost][0].item():g}: no noise of {torch.finfo(dtype).bits} bits stands for them. Where these"
            " rows' causes are acted on, the answer is that of a value nearby. Correct the rows, or fit on rows like"
            " them.",
            CausalCFWarning,
            stacklevel=callers_line(),
        )


@dataclass(eq=False, repr=False)
class Ordinal(DiscreteMechanism):
    r"""x := the number of thresholds below u, :math:`\#\{k : u > \theta_k(pa)\}`, with logistic noise.

    The thresholds are increasing, so the category is monotone in the noise: of two people with the same causes, who is
    above the other stays so in every world. :math:`P(x \le k \mid pa) = \sigma(\theta_k(pa))`; the first threshold and
    the logarithms of the steps between them are free functions of the parents, which covers every law of ordered
    categories. The noise's posterior is a logistic between two thresholds, in closed form.

    References:
        McCullagh, "Regression models for ordinal data", 1980 (cumulative logits; there with parallel thresholds).

    Args:
        hidden: Widths of the hidden layers of the network that gives the thresholds.

    Example:
        >>> pain = Ordinal().bind("pain", variables.Ordinal(["none", "mild", "severe"]), {"dose": variables.Real()})
        >>> pa, x = {"dose": torch.zeros(4)}, torch.tensor([2, 0, 1, 1])
        >>> pain.predict(pain.abduct(x, pa), pa)
        tensor([2, 0, 1, 1])
    """

    def validate(self) -> None:
        super().validate()
        if not isinstance(self.variable, variables.Ordinal):
            raise self.reject("an Ordinal")

    @property
    def num_logits(self) -> int:
        return self.variable.num_features - 1

    @torch.no_grad()
    def solve(self, x: Tensor, pa: Parents) -> bool:
        if pa:
            return False
        counts = torch.bincount(x, minlength=self.num_logits + 1).double() + 1e-6
        below = (counts.cumsum(0)[:-1] / counts.sum()).logit()
        steps = below.diff().clamp_min(1e-6)
        # The inverse of softplus, which keeps the steps positive.
        self.bias.copy_(torch.cat([below[:1], steps + torch.log(-torch.expm1(-steps))]))
        return True

    def logits(self, pa: Parents) -> Tensor:
        """The thresholds, increasing, (*batch, k - 1)."""
        raw = super().logits(pa)
        return torch.cat([raw[..., :1], softplus(raw[..., 1:])], -1).cumsum(-1)

    def law(self, logits: Tensor, validate_args: bool | None = None) -> dist.Categorical:
        low, high = thresholds_around(logits)
        # log(sigma(high) - sigma(low)), without a difference of numbers that are close.
        log_p = logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(low - high))
        return dist.Categorical(logits=log_p, validate_args=validate_args)

    def prior_noise(self, n: int) -> Tensor:
        return torch.logit(draws.uniform((n,), self._anchor))

    def posterior_noise(self, x: Tensor, logits: Tensor) -> Tensor:
        low, high = thresholds_around(logits)
        at = x[..., None]
        low, high = (ends.expand(*x.shape, -1).gather(-1, at)[..., 0] for ends in (low, high))
        warn_of_impossible(self.node, x, low, high, low.dtype)
        return logistic_between(low, high)

    def decide(self, logits: Tensor, u: Tensor) -> Tensor:
        return (u[..., None] > logits).sum(-1)


def thresholds_around(thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """The thresholds below and above each category, (*batch, k); infinite at the ends.

    Args:
        thresholds: Increasing, (*batch, k - 1).
    """
    end = torch.full_like(thresholds[..., :1], torch.inf)
    return torch.cat([-end, thresholds], -1), torch.cat([thresholds, end], -1)
