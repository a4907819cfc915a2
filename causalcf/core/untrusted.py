"""Checks of the claims that a file makes about itself: its content must confirm them.

A digest tells damage; it does not tell malice, as whoever edits a file can write a new one. So nothing in a file is
imported or run, sizes are held against the weights that are there before anything is made of them, and whatever a
wrong document makes fail is said in one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from causalcf.core.errors import CausalCFError, CheckpointError

__all__ = ["Budget", "doubting", "read_json", "require_sizes"]

LONGEST = 900
"""Characters of an error: a file may hold names of any length."""

ALWAYS = 4096
"""Sizes of layers that need no weights to bear them out: what they cost is small."""

SPARE = 2**26
"""Numbers that may be made beyond those of the file: what only training needs, such as discriminators."""

FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""The errors that a malformed document raises when it is read: a recursion too deep is a RuntimeError."""


def read_json(text: str | bytes) -> Any:
    """A JSON document.

    Raises:
        ValueError: It is none, is nested too deep, or holds numbers of thousands of digits.

    Example:
        >>> read_json("[" * 100_000)
        Traceback (most recent call last):
        ...
        ValueError: nested too deep
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


@contextmanager
def doubting(path: str | Path) -> Iterator[None]:
    """Turn the errors of reading a wrong document into one sentence that names the file.

    Raises:
        CheckpointError: In place of the error that was raised.

    Example:
        >>> with doubting("model.safetensors"):
        ...     {}["graph"]
        Traceback (most recent call last):
        ...
        causalcf.core.errors.CheckpointError: model.safetensors is not what such a file must be (KeyError: 'graph'). \
Write it again, or take another copy.
    """
    try:
        yield
    except CheckpointError as error:
        if len(str(error)) > LONGEST:
            raise CheckpointError(_short(str(error))) from None
        raise
    except CausalCFError as error:
        raise CheckpointError(_short(f"{path}: {error}")) from error
    except FAULTS as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} is not what such a file must be ({type(error).__name__}: {reason})."
            " Write it again, or take another copy."
        ) from error


def _short(text: str) -> str:
    """A sentence that quotes a file, cut in the middle if it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 3 :]}"


def require_sizes(config: Mapping[str, Any], tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise `CheckpointError` unless the whole numbers of some settings are borne out by weights.

    A whole number is a width, a number of bins, of steps, ...: no larger than the longest side of a tensor, or small.
    Two widths after each other have a layer of their product between them, no larger than the largest tensor.

    Args:
        config: Setting -> value, JSON.
        tensors: Name -> weights.
        what: The object with these settings.

    Example:
        >>> require_sizes({"bins": 10**9}, {"weight": torch.zeros(3)}, "the Flow of 'x'")
        Traceback (most recent call last):
        ...
        causalcf.core.errors.CheckpointError: the Flow of 'x' has bins = 1000000000, which its weights do not bear out.
    """
    there = [tensor for tensor in tensors.values() if tensor.numel()]
    longest = max([ALWAYS, *(max(tensor.shape, default=1) for tensor in there)])
    largest = max([ALWAYS**2, *(tensor.numel() for tensor in there)])
    for name, value in config.items():
        numbers = list(_whole_numbers(value))
        layers = [abs(a * b) for a, b in pairwise(numbers)]
        if any(abs(number) > longest for number in numbers) or any(layer > largest for layer in layers):
            raise CheckpointError(f"{what} has {name} = {str(value)[:80]}, which its weights do not bear out.")


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _whole_numbers(item)
    elif isinstance(value, int):
        yield value


_SIZED = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full, torch.eye}
_METHODS = {torch.Tensor.new_empty, torch.Tensor.new_zeros, torch.Tensor.new_ones, torch.Tensor.new_full}
_COUNTED = {torch.arange, torch.randperm, torch.linspace}


class Budget(TorchFunctionMode):
    """Within it, new tensors may have so many numbers together; more are refused before they are made.

    Args:
        tensors: Weights of the file that something is made for.
        path: The file, for the error.

    Raises:
        CheckpointError: From the call that asks for more.

    Example:
        >>> with Budget({"weight": torch.zeros(3)}, "model.safetensors"):
        ...     torch.nn.Linear(10**6, 10**6)
        Traceback (most recent call last):
        ...
        causalcf.core.errors.CheckpointError: model.safetensors claims networks that are larger than the weights it \
holds. Write it again, or take another copy.
    """

    def __init__(self, tensors: Mapping[str, Tensor], path: str | Path) -> None:
        super().__init__()
        self.path = path
        self.left = SPARE + 8 * sum(tensor.numel() for tensor in tensors.values())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.left -= _asked(func, args, kwargs)
        if self.left < 0:
            raise CheckpointError(
                f"{self.path} claims networks that are larger than the weights it holds."
                " Write it again, or take another copy."
            )
        return func(*args, **kwargs)


def _asked(func: Any, args: Any, kwargs: Mapping[str, Any]) -> int:
    """How many numbers a call of torch makes, where it says so."""
    if func in _COUNTED:
        return int(max([abs(value) for value in args if isinstance(value, int | float)], default=0))
    if func not in _SIZED and func not in _METHODS:
        return 0
    sizes = args[1:] if func in _METHODS else args
    size = kwargs.get("size", sizes[0] if sizes and isinstance(sizes[0], list | tuple) else sizes)
    if func is torch.eye and len(sizes) == 1:
        size = (*sizes, *sizes)
    return prod(size) if all(isinstance(side, int) for side in size) else 0
