"""Did the action take effect? A predictor's reading of the counterfactual, against the acted value.

Melistas et al., "Benchmarking Counterfactual Image Generation", 2024, eq. 8; Monteiro et al.,
"Measuring axiomatic soundness of counterfactual image models", 2023. Continuous attributes take
`absolute_error`. Scores are of single images, or of the whole set; never means of batch means.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.bootstrap import Estimate, bootstrap_interval
from causalcf.metrics.checks import check_rows, check_shapes

__all__ = ["Average", "accuracy", "confusion", "f1", "f1_interval"]

Average = Literal["binary", "macro"]


@checked
def accuracy(predicted: Tensor, target: Tensor) -> Tensor:
    """Accuracy: 1 where the predicted category is the target's, else 0; 0..1, higher is better.

    Melistas et al., "Benchmarking Counterfactual Image Generation", 2024, eq. 8, for a category.

    Args:
        predicted: Codes or booleans, shape (N,).
        target: The acted values, shape (N,).

    Returns:
        One score per row, shape (N,).

    Raises:
        DataError: The shapes differ, or there are no rows.

    Example:
        >>> accuracy(torch.tensor([1, 2]), torch.tensor([1, 3]))
        tensor([1., 0.])
    """
    _check(predicted, target)
    return (predicted == target).float()


@checked
def f1(predicted: Tensor, target: Tensor, *, classes: int = 2, average: Average = "binary") -> Tensor:
    """F1 pooled over all rows: 2 TP / (2 TP + FP + FN); a share, 0..1, higher is better.

    `binary` scores category 1 alone; `macro` is the mean over the categories that occur among targets
    or predictions. (C. J. van Rijsbergen, "Information Retrieval", 1979.)

    Args:
        predicted: Codes 0..classes-1 or booleans, shape (..., N).
        target: The acted values, same shape.
        classes: Number of categories.
        average: `"binary"` or `"macro"`.

    Returns:
        Shape (...): NaN where it is 0/0, binary and without any positive.

    Raises:
        DataError: The shapes differ, codes outside the range, or no positive anywhere.

    Example:
        >>> f1(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0]))
        tensor(0.6667, dtype=torch.float64)
    """
    _check(predicted, target)
    if average == "binary" and classes != 2:
        raise DataError(f"Binary F1 is for two categories, got {classes}. Use average='macro'.")
    counts = confusion(predicted, target, classes).double()
    hits = counts.diagonal(dim1=-2, dim2=-1)
    among = counts.sum(-1) + counts.sum(-2)
    scores = 2 * hits / among
    score = scores[..., 1] if average == "binary" else scores.nanmean(-1)
    if bool(score.isnan().all()):
        raise DataError("F1 is undefined: category 1 occurs neither among the targets nor the predictions.")
    return score


@checked
def f1_interval(
    predicted: Tensor,
    target: Tensor,
    *,
    classes: int = 2,
    average: Average = "binary",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """F1 with a bootstrap interval over rows.

    Example:
        >>> target = torch.arange(200) % 2
        >>> f1_interval(target, target).low
        1.0
    """
    _check(predicted, target)
    pairs = torch.stack([predicted.long(), target.long()], -1)

    def statistic(pairs: Tensor) -> Tensor:
        return f1(pairs[..., 0], pairs[..., 1], classes=classes, average=average)

    return bootstrap_interval(pairs, statistic, level=level, resamples=resamples, seed=seed)


@checked
def confusion(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """How often target i was read as j, shape (..., classes, classes).

    Raises:
        DataError: Codes outside 0..classes-1.

    Example:
        >>> confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2)
        tensor([[1, 1],
                [0, 1]])
    """
    check_rows(1, "A score", predicted=predicted, target=target)
    for name, codes in (("predicted", predicted), ("target", target)):
        low, high = codes.long().aminmax()
        if low < 0 or high >= classes:
            raise DataError(f"'{name}' holds codes {int(low)}..{int(high)}; expected 0..{classes - 1}.")
    cell = target.long() * classes + predicted.long()
    *batch, n = cell.shape
    cells = cell.reshape(-1, n)
    offset = torch.arange(cells.shape[0], device=cell.device)[:, None] * classes**2
    counts = torch.bincount((cells + offset).flatten(), minlength=cells.shape[0] * classes**2)
    return counts.reshape(*batch, classes, classes)


def _check(predicted: Tensor, target: Tensor) -> None:
    check_shapes(predicted, target)
    check_rows(1, "A score", predicted=predicted)
    if predicted.is_floating_point() or target.is_floating_point():
        raise DataError(f"Expected category codes or booleans, got {predicted.dtype} and {target.dtype}.")
