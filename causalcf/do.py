"""Actions on a node besides setting it: shift it, scale it, compute it from the observed row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

__all__ = ["Do", "GivenFactual", "Scale", "Shift", "given_factual", "is_stochastic", "scale", "shift"]

Do = Mapping[str, Any]


@dataclass(frozen=True)
class Shift:
    """Add `amount` to the mechanism's value in the acted world; the edges stay."""

    amount: Any


@dataclass(frozen=True)
class Scale:
    """Multiply the mechanism's value in the acted world by `factor`; the edges stay."""

    factor: Any


@dataclass(frozen=True)
class GivenFactual:
    """Set the node to `fn(parents, factual)`: acted values of its parents, and the observed row."""

    fn: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Any]


def shift(amount: float | Tensor) -> Shift:
    """Action: move a node by `amount` (number or one per row, in data units) and keep its causes.

    Example:
        >>> shift(0.5)
        Shift(amount=0.5)
    """
    return Shift(amount)


def scale(factor: float | Tensor) -> Scale:
    """Action: multiply a node by `factor` (number or one per row) and keep its causes.

    Example:
        >>> scale(2.0)
        Scale(factor=2.0)
    """
    return Scale(factor)


def given_factual(fn: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Any]) -> GivenFactual:
    """Action: set a node to a function of its acted parents and of the observed row.

    Exists only for counterfactuals: without an observation there is no factual.

    Example:
        >>> action = given_factual(lambda parents, factual: factual["thickness"] + 1)
    """
    return GivenFactual(fn)


def is_stochastic(do: Do) -> bool:
    """Whether a `do` draws anything at random."""
    return any(isinstance(action, Distribution) for action in do.values())
