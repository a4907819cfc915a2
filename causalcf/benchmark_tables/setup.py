"""What a benchmark compares on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from causalcf.predictors import Predictors
from causalcf.scm import StructuralCausalModel

__all__ = ["Benchmark"]


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
        features: Extractor of FID; by default the last hidden layer of a classifier among the judges.
    """

    name: str
    train: Any
    test: Any
    nodes: Sequence[str]
    models: Mapping[str, Callable[[], StructuralCausalModel]]
    predictors: Predictors
    latents: StructuralCausalModel | None = None
    perception: Any = None
    features: Any = None
