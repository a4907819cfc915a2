"""The answer of a query: a number with its interval, its assumptions, and how it was computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from causalcf.core.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Estimate", "Estimates", "from_draws", "from_refits"]

LEVEL = 0.95
"""Coverage of the intervals."""

NORMAL = 1.959964
"""The standard normal's quantile at (1 + LEVEL) / 2."""


@dataclass(frozen=True)
class Estimate:
    """One number that a query gives.

    Args:
        name: In words.
        value: The number, in the outcome's unit.
        low: Lower end of the 95 % interval.
        high: Upper end.
        source: Of the interval: "draws", the Monte Carlo error of this very model; or "refits", how much
            the answer moves when the model is fitted to other samples of the data.
        draws: How many rows the number was computed from.
        seed: Seed of the draws.
        unit: The outcome's unit.
        assumptions: Conditions under which the number is the causal quantity that it names.

    Example:
        >>> Estimate("effect of x on y", 2.0, 1.9, 2.1, "draws", 1000, 0)
        effect of x on y: 2 (95 % interval over draws 1.9 .. 2.1)
    """

    name: str
    value: float
    low: float
    high: float
    source: Literal["draws", "refits"]
    draws: int
    seed: int
    unit: str = ""
    assumptions: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.value

    def __contains__(self, value: float) -> bool:
        """Whether a number lies within the interval."""
        return self.low <= value <= self.high

    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{self.name}: {self.value:.4g}{unit} (95 % interval over {self.source} {self.low:.4g} .. {self.high:.4g})"
        )


@dataclass(frozen=True)
class Estimates(Mapping[str, Estimate]):
    """Several numbers of one query, by name; each is an attribute, too.

    Args:
        title: The question, in words.
        parts: name -> estimate.

    Example:
        >>> parts = {"total": Estimate("total", 2.0, 1.9, 2.1, "draws", 1000, 0)}
        >>> Estimates("x on y", parts).total.value
        2.0
    """

    title: str
    parts: Mapping[str, Estimate] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Estimate:
        return self.parts[name]

    def __iter__(self):
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getattr__(self, name: str) -> Estimate:
        parts = self.__dict__.get("parts", {})
        if name in parts:
            return parts[name]
        raise AttributeError(f"{self.__dict__.get('title', 'This')} has {list(parts)}, and no {name!r}.")

    def plot(self) -> Figure:
        """The estimates as points with their intervals."""
        from causalcf.plots import plot_estimates

        return plot_estimates(self.title, list(self.parts.values()))

    def __repr__(self) -> str:
        return "\n".join([f"{self.title}:", *(f"  {part!r}" for part in self.parts.values())])


def from_draws(name: str, each: Tensor, seed: int, unit: str = "", assumptions: Sequence[str] = ()) -> Estimate:
    """The mean of independent draws, with its Monte Carlo interval.

    Args:
        name: In words.
        each: One number a draw, (N,).
        seed: Seed of the draws.
        unit: Their unit.
        assumptions: That must hold.

    Raises:
        DataError: There are fewer than two draws, or one is not finite.
    """
    if len(each) < 2:
        raise DataError(
            f"{name}: {len(each)} rows are left, too few to estimate from. Ask for more draws, or condition on less."
        )
    each = each.double()
    if not bool(torch.isfinite(each).all()):
        bad = int((~torch.isfinite(each)).sum())
        raise DataError(
            f"{name}: {bad} of {len(each)} draws are not finite. See scm.check, or act inside the data's range."
        )
    mean, error = float(each.mean()), float(each.std() / len(each) ** 0.5)
    return Estimate(
        name, mean, mean - NORMAL * error, mean + NORMAL * error, "draws", len(each), seed, unit, tuple(assumptions)
    )


def from_refits(estimate: Estimate, values: Sequence[float]) -> Estimate:
    """The same number with the interval that refits give: percentiles of the bootstrap.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        estimate: Of the model itself.
        values: The same query of models fitted to resampled data.
    """
    ends = torch.tensor(list(values), dtype=torch.float64).quantile(
        torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    )
    return Estimate(
        estimate.name,
        estimate.value,
        float(ends[0]),
        float(ends[1]),
        "refits",
        estimate.draws,
        estimate.seed,
        estimate.unit,
        estimate.assumptions,
    )
