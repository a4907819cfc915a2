"""Checks that every metric makes of its tensors: one shape, floating images, no NaN."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.core.errors import DataError

__all__ = ["check_finite", "check_floating", "check_pair", "check_rows", "check_shapes"]


def check_shapes(x: Tensor, y: Tensor) -> None:
    """Refuse two tensors of different shapes, which would broadcast into a wrong answer.

    Raises:
        DataError: The shapes differ.
    """
    if x.shape != y.shape:
        raise DataError(f"Expected two tensors of one shape, got {tuple(x.shape)} and {tuple(y.shape)}.")


def check_finite(**tensors: Tensor) -> None:
    """Refuse NaN and infinite values: a mean would hide or spread them.

    Raises:
        DataError: Names the tensor and counts the rows.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        if not bool(torch.isfinite(torch.stack(tensor.aminmax())).all()):
            rows = int((~torch.isfinite(tensor)).reshape(tensor.shape[0], -1).any(1).sum())
            raise DataError(
                f"'{name}' holds NaN or infinite values in {rows} of {tensor.shape[0]} rows. Drop them first."
            )


def check_floating(**tensors: Tensor) -> None:
    """Refuse integer tensors, whose differences overflow.

    Raises:
        DataError: Names the tensor and its type.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DataError(
                f"'{name}' is {tensor.dtype}: expected floating values (images in [0, 1]). Convert it first."
            )


def check_rows(least: int, purpose: str, **tensors: Tensor) -> None:
    """Refuse too few rows.

    Raises:
        DataError: There are fewer; the message names the metric and the number it needs.
    """
    for name, tensor in tensors.items():
        rows = tensor.shape[0] if tensor.ndim else 0
        if rows < least:
            raise DataError(f"{purpose} needs at least {least} rows, '{name}' has {rows}.")


def check_pair(x: Tensor, y: Tensor) -> None:
    """Two floating tensors of one shape, with rows and without NaN.

    Raises:
        DataError: One of these fails.
    """
    check_shapes(x, y)
    check_floating(x=x, y=y)
    check_rows(1, "A score", x=x)
    check_finite(x=x, y=y)
