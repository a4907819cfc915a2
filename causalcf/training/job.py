"""The record of a fit: the mechanisms, how to train each, and how far each has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from causalcf.core.errors import TrainingError
from causalcf.mechanisms import Recipe, Stage, Trainable

__all__ = ["PRECISIONS", "Fit", "Recipes", "dtype_of"]

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.float32, "64-true": torch.float64}
"""The precisions of a fit, by the names of Lightning -> the dtype of the weights."""


Recipes = Recipe | Mapping[str, Recipe]
"""Settings for the stages that have none of their own, or for stages by name."""


@dataclass
class Fit:
    """The mechanisms of a fit, how to train each, and how far each has come.

    Args:
        mechanisms: node -> mechanism, bound.
        parents: node -> names of its parents, for each of them.
        stages: node -> its stages, each with its recipe, as `plan` gives them.
        graph: The graph's JSON document: a run goes on only under the graph that it began with.
        seed: Seed of initial weights, row order and objective noise.
        precision: "32-true", "bf16-mixed" or "64-true".
        checkpoint: File to write after every epoch.
        compile: Whether steps are captured as CUDA graphs; where they cannot be, `torch.compile` works on objectives.
        progress: Whether to show progress bars.
        history: One record per node, stage and epoch.

    Raises:
        TrainingError: There is no such precision.
    """

    mechanisms: Mapping[str, Trainable]
    parents: Mapping[str, tuple[str, ...]]
    stages: Mapping[str, tuple[Stage, ...]]
    graph: Mapping[str, Any]
    seed: int
    precision: str = "32-true"
    checkpoint: Path | None = None
    compile: bool = False
    progress: bool = True
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        dtype_of(self.precision)


def dtype_of(precision: str) -> torch.dtype:
    """The type of the weights under a precision.

    Raises:
        TrainingError: There is no such precision.

    Example:
        >>> dtype_of("bf16-mixed")
        torch.float32
    """
    if precision not in PRECISIONS:
        raise TrainingError(f"There is no precision {precision!r}. Choose one of {list(PRECISIONS)}.")
    return PRECISIONS[precision]
