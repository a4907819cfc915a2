"""Several processes that train one model, each on its share of every batch.

`torchrun --nproc-per-node 2 program.py` starts them. Gradients are added up after the backward pass, in one
message a turn, instead of being hooked into it by DistributedDataParallel: adversarial turns, losses that leave
weights out and losses that are not a module's `forward` then need no special care.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor, distributed

from causalcf.core.devices import as_device

__all__ = ["add_up", "agree", "first", "join", "number", "own", "share", "wait"]

LINGER = 0.2
"""Seconds between leaving the others and the end of the process."""


def join(device: torch.device | str) -> torch.device:
    """Take part in the run that torchrun has started, if it has, and say which device is this process's own.

    Args:
        device: Where to train; "cuda" becomes the GPU of this process.

    Raises:
        DataError: This machine has no such device.
    """
    device = own(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(_leave)
    return device


def own(device: torch.device | str) -> torch.device:
    """The device of this process, of those that torchrun has started: "cuda" becomes its own GPU.

    Raises:
        DataError: This machine has no such device.

    Example:
        >>> own("cpu")
        device(type='cpu')
    """
    device = as_device(device)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def _leave() -> None:
    """Wait for all processes, then leave: a message to a process that has left would kill its sender."""
    with suppress(RuntimeError):  # the others may have been killed
        distributed.barrier()
    distributed.destroy_process_group()
    # gloo's threads drop their last message a moment later, which takes the interpreter: once that is going down,
    # a thread that asks for it aborts the process (github.com/pytorch/pytorch/pull/179291).
    time.sleep(LINGER)


def number() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return distributed.get_rank() if number() > 1 else 0


def first() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return rank() == 0


def share(rows: Tensor) -> Tensor:
    """The rows of a batch that this process works on."""
    return rows[rank() :: number()] if number() > 1 else rows


def agree(value: int, device: torch.device) -> int:
    """The first process's value."""
    if number() == 1:
        return value
    told = torch.tensor(value, device=device)
    distributed.broadcast(told, 0)
    return int(told)


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace every tensor by its sum over processes, in one message."""
    if number() == 1 or not tensors:
        return
    message = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(message)
    for tensor, part in zip(tensors, message.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def wait() -> None:
    """Until every process is here."""
    if number() > 1:
        distributed.barrier()
