"""Images a second of every image mechanism, on the CPU and on a GPU where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from causalcf.costs.measure import one_thread
from causalcf.costs.models import IMAGES, first_trainer, unfitted
from causalcf.mechanisms import Mechanism
from causalcf.training.progress import Report

__all__ = ["Speed", "speed", "speeds"]


@dataclass(frozen=True)
class Speed:
    """How fast an image mechanism is on one device.

    Args:
        name: The mechanism.
        device: The device it ran on.
        parameters: How many weights it has.
        training: Images a second that its first stage trains on.
        counterfactuals: Counterfactual images a second, from abduction to prediction.
    """

    name: str
    device: str
    parameters: int
    training: float
    counterfactuals: float


def speed(name: str, mechanism: Mechanism, device: str, *, rows: int | None = None, batch_size: int = 64) -> Speed:
    """Images a second of one mechanism of the MorphoMNIST graph, in training and in answers.

    On a GPU training is in bf16 mixed precision where the mechanism bears it, as one would.
    """
    rows = rows or (1024 if device == "cuda" else 256)  # what keeps it busy
    trainer, _, x = first_trainer(mechanism, rows, batch_size, device)
    scm = unfitted("morphomnist", {"image": mechanism}).to(device)
    weights = sum(parameter.numel() for parameter in trainer.mechanism.parameters())
    trained = _per_second(lambda: trainer.train_epoch(Report()), rows, device)
    answered = _per_second(lambda: scm.counterfactual(x, do={"thickness": 4.0}), rows, device)
    return Speed(name, torch.cuda.get_device_name() if device == "cuda" else device, weights, trained, answered)


def speeds(*, quick: bool = False) -> list[Speed]:
    """Images a second of every image mechanism, on one thread of the CPU, and on the GPU where there is one."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    options = {"rows": 8, "batch_size": 4} if quick else {}
    with one_thread():
        return [speed(name, kinds[quick], device, **options) for name, kinds in IMAGES.items() for device in devices]


def _per_second(f: Callable[[], object], rows: int, device: str, repeats: int = 3) -> float:
    """Rows a second, by the median of some runs after the first; wall-clock time, as a GPU has no other."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        f()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return rows / median(times[1:])
