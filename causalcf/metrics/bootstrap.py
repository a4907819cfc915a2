"""Confidence intervals of any statistic of per-row scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_rows

__all__ = ["Estimate", "bootstrap_interval", "row_mean"]

CHUNK = 2**22
"""Resampled rows held at a time."""

Statistic = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Estimate:
    """A statistic of n rows with its confidence interval."""

    value: float
    low: float
    high: float
    level: float
    n: int


def row_mean(scores: Tensor) -> Tensor:
    """Mean over the last dimension: the default statistic."""
    return scores.mean(-1)


@checked
def bootstrap_interval(
    scores: Tensor, statistic: Statistic = row_mean, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Percentile bootstrap over rows: all resamples at once, the same for a seed on every device.

    B. Efron, "Bootstrap methods: another look at the jackknife", 1979.

    Args:
        scores: One score per row, shape (N,); or (N, k), where a statistic needs k numbers of a row.
        statistic: Takes (..., N), or (..., N, k), and gives (...). Resamples for which it is NaN
            (F1 without positives) are left out.
        level: Coverage of the interval.
        resamples: How many times N rows are drawn with replacement.
        seed: Decides the draws.

    Raises:
        DataError: Fewer than two rows, NaN, or a statistic undefined for them.

    Example:
        >>> estimate = bootstrap_interval(torch.arange(100.0))
        >>> estimate.value, round(estimate.low), round(estimate.high)
        (49.5, 44, 55)
    """
    check_rows(2, "A confidence interval", scores=scores)
    check_finite(scores=scores)
    if not 0 < level < 1:
        raise DataError(f"The level of a confidence interval lies between 0 and 1, got {level}.")
    scores = scores.double() if scores.is_floating_point() or scores.dtype == torch.bool else scores
    value = statistic(scores)
    if not bool(torch.isfinite(value)):
        raise DataError(f"The statistic of these {scores.shape[0]} rows is {float(value)}: it has no interval.")
    drawn = _resampled(scores, statistic, resamples, seed)
    tail = (1 - level) / 2
    low, high = torch.nanquantile(drawn.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Estimate(float(value), low, high, level, scores.shape[0])


def _resampled(scores: Tensor, statistic: Statistic, resamples: int, seed: int) -> Tensor:
    """The statistic of each resample, on the CPU, in chunks of bounded memory."""
    n = scores.shape[0]
    generator = torch.Generator().manual_seed(seed)
    step = max(1, CHUNK // n)
    values = []
    for start in range(0, resamples, step):
        rows = torch.randint(n, (min(step, resamples - start), n), generator=generator)
        values.append(statistic(scores[rows.to(scores.device)]).cpu())
    return torch.cat(values)
