"""Devices by name: one that this machine has, or an error that says so."""

from __future__ import annotations

import torch

from causalcf.core.errors import DataError

__all__ = ["as_device"]


def as_device(device: torch.device | str) -> torch.device:
    """A device that this machine has.

    Args:
        device: Its name, such as "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        DataError: It has none of this name.

    Example:
        >>> as_device("cpu")
        device(type='cpu')
        >>> as_device("gpu")
        Traceback (most recent call last):
        ...
        causalcf.core.errors.DataError: gpu: this machine has no such device. Name one it has: cpu, cuda, cuda:1, mps.
    """
    found, there = torch.device("cpu"), False
    try:
        found = torch.device(device)
        there = found.type in ("cpu", "meta") or (found.index or 0) < torch.get_device_module(found).device_count()
    except (RuntimeError, TypeError, AttributeError):  # torch knows no such name
        there = False
    if not there:
        raise DataError(f"{device}: this machine has no such device. Name one it has: cpu, cuda, cuda:1, mps.")
    return found
