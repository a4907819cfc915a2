"""How a cost is measured: both sides in one process, in turns, on one thread, in CPU seconds.

Other work on the machine then falls on both alike; the medians are compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

__all__ = ["Cost", "compare", "one_thread", "python", "require_same"]


@dataclass(frozen=True)
class Cost:
    """One measurement of both sides.

    Args:
        name: Of the measurement.
        ours: Time of causalcf.
        reference: Time of the other side.
        unit: Of both.
        ratio: `ours / reference`.
        promise: The promise in design.md, in words; empty if there is none.
        kept: Whether the promise was kept; None without one.
    """

    name: str
    ours: float
    reference: float
    unit: str
    ratio: float
    promise: str
    kept: bool | None


def compare(
    name: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    repeats: int,
    limit: float | None = None,
    promise: str = "",
) -> Cost:
    """Run both sides in turns, and compare the medians of their CPU milliseconds."""
    with one_thread():
        ours(), reference()
        pairs = [(_milliseconds(ours), _milliseconds(reference)) for _ in range(repeats)]
    mine, other = (median(side) for side in zip(*pairs, strict=True))
    ratio = mine / other
    return Cost(name, mine, other, "ms", ratio, promise, None if limit is None else ratio <= limit)


def _milliseconds(f: Callable[[], object]) -> float:
    start = time.process_time()
    f()
    return 1e3 * (time.process_time() - start)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def require_same(a: Tensor, b: Tensor) -> None:
    """Raise `RuntimeError` unless both sides have computed the same thing."""
    if not torch.allclose(a, b, atol=1e-4):
        raise RuntimeError(f"The two sides differ by up to {float((a - b).abs().max()):g}.")


def python(script: str, *arguments: object) -> str:
    """The output of a fresh Python process."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    # glibc then gives large freed blocks back at once, so that peaks are the program's own.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"A benchmark's process failed: {done.stderr.strip()[-500:]}")
    return done.stdout
