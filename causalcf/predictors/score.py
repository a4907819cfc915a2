"""A predictor's own error on real images, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from causalcf.metrics.effectiveness import f1

__all__ = ["ClassScore", "Score", "class_scores"]


@dataclass(frozen=True)
class ClassScore:
    """How a class is told on real images.

    Args:
        name: The class.
        share: Of the rows that are of it.
        recall: Share of these that are read as it.
        f1: Harmonic mean of that and of the share of what is read as it that is it.
        base: F1 of reading every row as it: what a predictor must beat.
    """

    name: str
    share: float
    recall: float
    f1: float
    base: float

    def __str__(self) -> str:
        return f"{self.name} ({100 * self.share:.3g} % of rows): F1 {self.f1:.3f}, {self.base:.3f} by always saying so"


@dataclass(frozen=True)
class Score:
    """A predictor's own error on real images.

    Args:
        metric: "accuracy" (higher is better) or "mae" (lower is better, in `unit`).
        value: Over all rows.
        bias: Mean of prediction minus truth; for classes, mean confidence minus accuracy.
        worst: The error that 95 % of the rows stay below; for classes, the lowest accuracy of a class.
        unit: Of a mean absolute error.
        n: Number of rows.
        data: Which rows.
        base: What the best constant scores: the share of the commonest class, or the error of the median. Not known of
            predictors that were measured before it was.
        classes: Of a category, its classes that occur.
    """

    metric: str
    value: float
    bias: float
    worst: float
    unit: str
    n: int
    data: str = ""
    base: float | None = None
    classes: tuple[ClassScore, ...] = ()

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        beside = "" if self.base is None else f" (the best constant: {self.base:.4g})"
        return f"{self.metric} {self.value:.4g}{unit}{beside} on {self.data or 'data'}, n={self.n}"


def class_scores(read: Tensor, true: Tensor, names: Sequence[str]) -> tuple[ClassScore, ...]:
    """The scores of every class that occurs.

    Args:
        read: Codes or booleans as read, (N,).
        true: As they are, (N,).
        names: Of the classes, by code.

    Example:
        >>> import torch
        >>> [str(c) for c in class_scores(torch.tensor([0, 1]), torch.tensor([0, 1]), ["no", "yes"])][1]
        'yes (50 % of rows): F1 1.000, 0.667 by always saying so'
    """
    found = []
    for code in true.long().unique().tolist():
        is_it, said = true.long() == code, read.long() == code
        share = float(is_it.double().mean())
        recall = float(said[is_it].double().mean())
        found.append(ClassScore(names[code], share, recall, float(f1(said, is_it)), 2 * share / (1 + share)))
    return tuple(found)
