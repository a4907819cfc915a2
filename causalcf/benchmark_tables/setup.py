"""What a benchmark compares on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from causalcf.data import Batch
from causalcf.metrics import draw_other_bin, draw_other_category
from causalcf.predictors import Predictors
from causalcf.scm import StructuralCausalModel
from causalcf.variables import Categorical

__all__ = ["Benchmark", "other_values"]


@dataclass
class Benchmark:
    """What is compared on what.

    Args:
        name: Of the data set; the key of its published numbers.
        train: Training split: the real images of FID and CLD.
        test: Test split, whose rows are asked about.
        nodes: Nodes to act on.
        models: Name -> how to get the fitted model.
        predictors: Judges.
        latents: Latent space of CLD.
        perception: Network of LPIPS, if its weights are at hand.
    """

    name: str
    train: Any
    test: Any
    nodes: Sequence[str]
    models: Mapping[str, Callable[[], StructuralCausalModel]]
    predictors: Predictors
    latents: StructuralCausalModel | None = None
    perception: Any = None
    settings: dict[str, Any] = field(default_factory=dict)


def other_values(data: Any, x: Batch, node: str, seed: int) -> Tensor:
    """A value per row from the marginal of the data, in another bin or category."""
    variable = data.variables[node]
    if isinstance(variable, Categorical):
        return draw_other_category(x[node], data[node], categories=variable.k, seed=seed)
    return draw_other_bin(x[node], data[node], seed=seed)
