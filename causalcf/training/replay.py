"""Training steps as CUDA graphs: hundreds of launches become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from causalcf.training import processes

__all__ = ["ROWS", "Replay", "replays"]

WARM_UP = 3
"""Steps before the capture, in which libraries choose their kernels and optimisers make their moments."""

ROWS = ""
"""The name of the row numbers among the tensors of a batch."""

Step = Callable[[Mapping[str, Tensor]], Sequence[Tensor]]
"""A batch: the numbers of its rows, (B,), and what was read of them, by name -> its losses."""


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

    def __call__(self, batch: Mapping[str, Tensor]) -> Sequence[Tensor]:
        if len(batch[ROWS]) != self.size:
            return self.step(batch)
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._aside(batch)
        if self.graph is None:
            self._capture(batch)
        for name, values in batch.items():
            self.batch[name].copy_(values)
        self.graph.replay()  # type: ignore[union-attr]
        return self.losses

    def _aside(self, batch: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """The step on a stream of its own, as in the capture: its one-time set-up then fits such a stream."""
        device = batch[ROWS].device
        stream, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
        aside.wait_stream(stream)
        with torch.cuda.stream(aside):
            losses = self.step(batch)
        stream.wait_stream(aside)
        return losses

    def _capture(self, batch: Mapping[str, Tensor]) -> None:
        """Record the step without taking it."""
        self.batch = {name: values.clone() for name, values in batch.items()}
        graph = torch.cuda.CUDAGraph()
        # The thread that reads the next minibatch may ask for memory meanwhile.
        with torch.cuda.device(batch[ROWS].device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.losses = self.step(self.batch)
        self.graph = graph
