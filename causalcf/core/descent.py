"""Gradient descent on a few losses in turn: how small networks beside the graph are trained.

Classifiers, the autoencoders of metrics and learned explainers use it. Mechanisms are trained by `training`,
which also averages weights, validates and resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil, cos, isfinite, pi

import torch
from torch import Tensor, nn

from causalcf.core import seeding
from causalcf.core.errors import DataError, TrainingError

__all__ = ["Objective", "descend", "frozen"]


@dataclass(frozen=True)
class Objective:
    """A loss, and the tensors that may change to make it small.

    Args:
        modules: Networks whose parameters it moves.
        loss: Row numbers of a batch, (B,), to a scalar.
    """

    modules: Sequence[nn.Module]
    loss: Callable[[Tensor], Tensor]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters of the modules."""
        return list(chain.from_iterable(module.parameters() for module in self.modules))


@torch.enable_grad()  # whatever the caller has switched off
def descend(
    objectives: Mapping[str, Objective],
    rows: int,
    *,
    epochs: int,
    batch_size: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    decay: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Minimise losses in turn by Adam, in place: every step takes one step of each, in the order given.

    Every objective has its own optimiser, and its gradients touch its own modules only. The modules end frozen and in
    evaluation mode.

    Args:
        objectives: name -> objective.
        rows: Number of training rows; each epoch visits all of them in a new order.
        epochs: Passes over the rows.
        batch_size: Rows a step.
        lr: Learning rate of Adam.
        betas: Its moment decays.
        decay: Whether the rate falls to 0 by a cosine.
        seed: Seed of the order of rows, and of random losses.
        device: Where the row numbers are needed.
        report: Called after every epoch with its record.

    Returns:
        One record an epoch: its number, and each objective's mean loss.

    Raises:
        DataError: There are no rows.
        TrainingError: A loss is not finite.

    Example:
        >>> line, x = nn.Linear(1, 1), torch.linspace(-1, 1, 50)[:, None]
        >>> objective = Objective([line], lambda rows: (line(x[rows]) - 3 * x[rows]).square().mean())
        >>> history = descend({"fit": objective}, 50, epochs=60, batch_size=10, lr=0.05)
        >>> round(float(line.weight), 1), history[-1]["fit"] < 1e-3
        (3.0, True)
    """
    if rows < 1:
        raise DataError("There are no rows to train on.")
    steps = epochs * ceil(rows / batch_size)
    for objective in objectives.values():
        for module in objective.modules:
            module.requires_grad_(True).train()
    parameters = {name: objective.parameters for name, objective in objectives.items()}
    optimizers = {name: torch.optim.Adam(own, lr=lr, betas=betas) for name, own in parameters.items()}
    history: list[dict[str, float]] = []
    step = 0
    for epoch in range(epochs):
        totals = {name: torch.zeros((), device=device) for name in objectives}
        with seeding.seeded(seeding.derive(seed, "epoch", epoch), device):
            batches = torch.randperm(rows, device=device).split(batch_size)
            for batch in batches:
                rate = lr * 0.5 * (1 + cos(pi * step / steps)) if decay else lr
                for name, objective in objectives.items():
                    loss = objective.loss(batch)
                    _move(optimizers[name], parameters[name], loss, rate)
                    totals[name] += loss.detach()
                step += 1
        record = {"epoch": float(epoch + 1)} | {name: float(total) / len(batches) for name, total in totals.items()}
        wrong = [name for name, value in record.items() if not isfinite(value)]
        if wrong:
            raise TrainingError(
                f"The loss of {wrong} was NaN or infinite in epoch {epoch + 1}. Lower the learning rate ({lr:g})"
                " or look at the data."
            )
        history.append(record)
        if report is not None:
            report(record)
    for objective in objectives.values():
        frozen(*objective.modules)
    return history


def frozen(*modules: nn.Module) -> None:
    """Put modules into evaluation mode and switch their parameters' gradients off."""
    for module in modules:
        module.requires_grad_(False).eval()


def _move(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: Tensor, rate: float) -> None:
    """One step along the gradient with respect to these parameters alone."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()
