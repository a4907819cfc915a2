"""Helpers that all steps of a run on a device share: the job, clocks, captured calls, and the device's best rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from causalcf.costs.counting import asked

__all__ = ["Job", "captured", "clock", "floor", "kernels", "moved", "rates", "synchronise", "tried"]

STRETCH, REPEATS = 0.06, 5
"""Seconds of a stretch of calls that is timed, and how many stretches."""


@dataclass
class Job:
    """The settings of a step, and its results so far.

    Args:
        out: Folder of everything that is written.
        device: "cpu" or "cuda".
        small: Toy sizes, for a rehearsal.
        eager: Do without captured steps in training.
        batch: Rows of a training step.
        seconds: Time that the step has.
        found: Results of the step so far, kept if it fails.
    """

    out: Path
    device: str
    small: bool = False
    eager: bool = False
    batch: int = 128
    seconds: float = 60.0
    found: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started = time.perf_counter()

    @property
    def left(self) -> float:
        """Seconds that the step still has."""
        return self.seconds - (time.perf_counter() - self.started)

    def pick(self, large: Any, small: Any) -> Any:
        """A size: that of the run, or that of the rehearsal."""
        return small if self.small else large


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def clock(f: Callable[[], object], job: Job) -> float:
    """Seconds a call, wall-clock: the median of some stretches of calls, after the first calls."""
    start = time.perf_counter()
    f()
    synchronise(job.device)
    if job.small:
        return time.perf_counter() - start
    f()
    synchronise(job.device)
    start = time.perf_counter()
    f()
    synchronise(job.device)
    calls = max(1, round(STRETCH / max(time.perf_counter() - start, 1e-6)))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(calls):
            f()
        synchronise(job.device)
        times.append((time.perf_counter() - start) / calls)
    return median(times)


def captured(f: Callable[[], object], device: str) -> Callable[[], object]:
    """The call as one launch, by a CUDA graph; on a CPU the call as it is."""
    if device != "cuda":
        return f
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            f()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        held = f()

    def replay() -> object:
        graph.replay()
        return held

    return replay


def kernels(f: Callable[[], object], device: str) -> int | None:
    """How many kernels, copies and graphs a call launches on a GPU; None elsewhere."""
    if device != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    f()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        f()
        torch.cuda.synchronize()
    launching = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaGraphLaunch")
    return sum(event.count for event in trace.key_averages() if event.key.startswith(launching))


def rates(job: Job) -> dict[str, float]:
    """The best rates of the device: matrix products in FLOP/s by type, and bytes/s copied (read and written)."""
    side, length = job.pick(8192, 256), job.pick(2**29, 2**20)
    found = {}
    for name, dtype, tf32 in (
        ("bfloat16", torch.bfloat16, False),
        ("tfloat32", torch.float32, True),
        ("float32", torch.float32, False),
    ):
        a, b = (torch.randn(side, side, device=job.device, dtype=dtype) for _ in range(2))
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            found[name] = 2 * side**3 / clock(lambda a=a, b=b: a @ b, job)  # type: ignore[misc]
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
    one, other = torch.randn(length, device=job.device), torch.empty(length, device=job.device)
    found["copy"] = 2 * one.nbytes / clock(lambda: other.copy_(one), job)
    return found


def floor(f: Callable[[], object], rate: dict[str, float], dtype: str = "bfloat16") -> dict[str, Any]:
    """Lower bounds on the time of a call: its arithmetic at the best rate, and its operations' traffic at the copy's.

    The second is the floor of operations that run one after the other; one that fuses them can go below it.
    """
    counted = asked(f)
    arithmetic, traffic = counted.flops / rate[dtype], counted.traffic / rate["copy"]
    return {**dict(counted.as_json()), "arithmetic_s": arithmetic, "traffic_s": traffic}


def tried(f: Callable[[], Any]) -> Any:
    """Return the result of a call, or its error as text: a failure in one cell must not stop the table."""
    try:
        return f()
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error)[:300]}"


def moved(values: dict[str, Tensor], device: str) -> dict[str, Tensor]:
    """Tensors by name, on the device."""
    return {name: value.to(device) for name, value in values.items()}
