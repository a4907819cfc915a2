"""Reproducible randomness that leaves the process's own random state alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch

from causalcf.core.errors import SeedError

__all__ = ["Seed", "derive", "resolve", "seeded"]

Seed = int | torch.Generator | None

_state = threading.RLock()
"""Held while torch's own state is borrowed, so that blocks of several threads wait for each other."""


def _renew() -> None:
    """A lock of its own for a forked process: another thread may have held the parent's."""
    global _state
    _state = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def resolve(seed: Seed) -> int:
    """A definite seed: the number itself, or one drawn from the generator or from torch's global state.

    Raises:
        SeedError: It is neither a whole number, NumPy's included, nor a generator.

    Example:
        >>> resolve(7)
        7
    """
    if isinstance(seed, Integral) and not isinstance(seed, bool):
        return int(seed)
    if seed is not None and not isinstance(seed, torch.Generator):
        raise SeedError(f"seed must be a whole number, a torch.Generator or None, got {type(seed).__name__} {seed!r}.")
    device = "cpu" if seed is None else seed.device
    return int(torch.randint(2**31 - 1, (), generator=seed, device=device))


def derive(seed: int, *labels: object) -> int:
    """A seed for one part of a larger run, the same in every process and Python version.

    Example:
        >>> derive(0, "image", 3) == derive(0, "image", 3) != derive(0, "image", 4)
        True
    """
    from hashlib import blake2b

    digest = blake2b(repr((seed, *labels)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


@contextmanager
def seeded(seed: int | None, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block under a seed and put torch's random state back afterwards; None changes nothing.

    The state is the process's: one thread at a time borrows it. What is drawn for rows of data needs none of it; see
    `draws`.
    """
    if seed is None:
        yield
        return
    device = torch.device(device)
    if device.type == "cpu":
        with _state, torch.random.fork_rng([]):
            # torch.manual_seed would seed the accelerators too, and note where it was called from, which takes longer.
            torch.default_generator.manual_seed(seed % 2**63)
            yield
        return
    with _state, torch.random.fork_rng([device], device_type=device.type):
        torch.manual_seed(seed % 2**63)
        yield
