"""Training steps as CUDA graphs: hundreds of launches become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from causalcf.training import processes

__all__ = ["Replay", "replays"]

WARM_UP = 3
"""Steps before the capture, in which libraries choose their kernels and optimisers make their moments."""

Step = Callable[[Tensor], Sequence[Tensor]]
"""Rows of a batch, (B,) -> its losses."""


def replays(device: torch.device) -> bool:
    """Whether steps can be captured here: on a CUDA device, in one process."""
    return device.type == "cuda" and processes.number() == 1


class Replay:
    """A step that is captured after its first calls, and replayed from then on.

    A replay writes weights, moments and losses where the capture did. Batches of another size, as the last of an
    epoch may be, take the step as it is.

    Args:
        step: The function to capture. It must not wait for the device, nor do anything on the host that changes from
            call to call; numbers that change, such as a learning rate, it reads from tensors.
        size: Rows of a full batch.
    """

    def __init__(self, step: Step, size: int) -> None:
        self.step, self.size = step, size
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, rows: Tensor) -> Sequence[Tensor]:
        if len(rows) != self.size:
            return self.step(rows)
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._aside(rows)
        if self.graph is None:
            self._capture(rows)
        self.rows.copy_(rows)
        self.graph.replay()  # type: ignore[union-attr]
        return self.losses

    def _aside(self, rows: Tensor) -> Sequence[Tensor]:
        """The step on a stream of its own, as in the capture: its one-time set-up then fits such a stream."""
        stream, aside = torch.cuda.current_stream(rows.device), torch.cuda.Stream(rows.device)
        aside.wait_stream(stream)
        with torch.cuda.stream(aside):
            losses = self.step(rows)
        stream.wait_stream(aside)
        return losses

    def _capture(self, rows: Tensor) -> None:
        """Record the step without taking it."""
        self.rows = rows.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(rows.device), torch.cuda.graph(graph):
            self.losses = self.step(self.rows)
        self.graph = graph
