"""Reproducible randomness that leaves the process's own random state alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch

from causalcf.core.errors import SeedError

__all__ = ["Seed", "derive", "resolve", "seeded"]

Seed = int | torch.Generator | None


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
    return int(torch.randint(2**31 - 1, (), generator=seed))


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
    """Run a block under a seed and put torch's random state back afterwards; None changes nothing."""
    if seed is None:
        yield
        return
    device = torch.device(device)
    devices = [device] if device.type != "cpu" else []
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(seed)
        yield
