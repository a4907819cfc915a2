"""How a result came about: seed, versions, device, command; written next to every result."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["lineage", "provenance"]

_PACKAGES = ("causalcf", "torch", "pyro-ppl", "zuko", "networkx", "numpy")


def provenance(*, seed: int | None, device: torch.device | str = "cpu", **facts: Any) -> dict[str, Any]:
    """The facts that make a result reproducible, JSON-able.

    Args:
        seed: Seed of the random draws.
        device: Where it ran.
        facts: Anything else worth keeping (data, settings, seconds).

    Example:
        >>> provenance(seed=0)["seed"]
        0
    """
    return {
        "seed": seed,
        "device": str(device),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),  # that torchrun has started
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }


def lineage(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A model's record and, under "made_from", that of the model it was made from, and so on: the latest first.

    Args:
        record: `scm.provenance`.

    Example:
        >>> [one["seconds"] for one in lineage({"seconds": 5, "made_from": {"seconds": 60}})]
        [5, 60]
    """
    while record:
        yield record
        record = record.get("made_from") or record.get("pretrained", {})  # as older files call it


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
