"""Does a classifier see the class that was asked for: the first thing a counterfactual explanation owes."""

from __future__ import annotations

from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_rows, check_shapes

__all__ = ["class_changed", "validity"]


@checked
def validity(predicted: Tensor, target: Tensor, *, failed: Tensor | None = None) -> Tensor:
    """1 where the counterfactual is classified as the target, else 0; a share, 0..1, higher is better.

    A row that the method reports as failed counts as 0, whatever its last image looks like. (Khorram and Fuxin,
    "Cycle-Consistent Counterfactuals by Latent Transformations", 2022, eq. 9.)

    Args:
        predicted: Classes of the counterfactuals, shape (N,).
        target: Classes asked for, shape (N,).
        failed: Rows that the method gave up, (N,) bool.

    Raises:
        DataError: The shapes differ, or the values are not codes.

    Example:
        >>> import torch
        >>> validity(torch.tensor([7, 7, 1]), torch.tensor([7, 7, 7]), failed=torch.tensor([False, True, False]))
        tensor([1., 0., 0.])
    """
    _check(predicted, target)
    reached = predicted == target
    if failed is not None:
        check_shapes(reached, failed)
        reached = reached & ~failed
    return reached.float()


@checked
def class_changed(predicted: Tensor, factual: Tensor) -> Tensor:
    """1 where the class differs from the factual's, else 0; a share, 0..1, higher is better.

    Weaker than `validity`: any other class will do. Mind that an autoencoder's reconstruction alone changes
    some classes. (Verma, Dickerson, Hines, "Counterfactual Explanations for Machine Learning: A Review", 2020.)

    Args:
        predicted: Classes of the counterfactuals, shape (N,).
        factual: Classes of the factuals, shape (N,).

    Example:
        >>> import torch
        >>> class_changed(torch.tensor([7, 1]), torch.tensor([1, 1]))
        tensor([1., 0.])
    """
    _check(predicted, factual)
    return (predicted != factual).float()


def _check(predicted: Tensor, other: Tensor) -> None:
    check_shapes(predicted, other)
    check_rows(1, "A score", predicted=predicted)
    if predicted.is_floating_point() or other.is_floating_point():
        raise DataError(f"Expected category codes, got {predicted.dtype} and {other.dtype}. Take the argmax first.")
