"""The caller's torch contexts, kept outside: autocast, a default device, a default type."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

__all__ = ["callers_line", "in_single", "kept_out", "reach_in"]


PACKAGE = str(Path(__file__).parents[1])

KINDS = ("cpu", "cuda", "mps")
"""Devices that autocast knows."""


def callers_line() -> int:
    """The `stacklevel` at which a warning points at the line that called causalcf, however deep it is given.

    Example:
        >>> callers_line()
        1
    """
    frame, depth, found = sys._getframe(1), 1, 1
    while frame.f_back is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            found = depth + 1
        frame, depth = frame.f_back, depth + 1
    return found


def reach_in() -> bool:
    """Whether the caller has a context that would reach in: autocast, or a default device."""
    return any(map(torch.is_autocast_enabled, KINDS)) or torch.empty(0).device.type != "cpu"


@contextmanager
def kept_out() -> Iterator[None]:
    """In this block neither autocast nor a default device of the caller's counts.

    Example:
        >>> with torch.device("meta"), kept_out():
        ...     torch.zeros(1).device
        device(type='cpu')
    """
    with ExitStack() as stack:
        for kind in KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def in_single() -> Iterator[None]:
    """In this block tensors are made in 32 bits: weights drawn under a seed are the same whatever the default type is.

    The default type is the whole process's, so the block is to be short.
    """
    before = torch.get_default_dtype()
    if before == torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
