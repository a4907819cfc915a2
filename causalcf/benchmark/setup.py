"""The setup of a benchmark: its models, data and judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from causalcf.core.digests import digest, named
from causalcf.data import Batch
from causalcf.predictors import Predictors
from causalcf.scm.model import StructuralCausalModel
from causalcf.scm.residual import Residual

__all__ = ["Benchmark", "data_digest"]


@dataclass
class Benchmark:
    """The models, data and judges of a comparison.

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
        residuals: Scales of the residual noise to score, or how it fades; pictures of differences show the first.
        files: Name -> digest of the Python file that defines the model, where one does.
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
    residuals: Sequence[Residual] = (1.0, 0.0)
    files: Mapping[str, str] = field(default_factory=dict)


def data_digest(data: Batch) -> str:
    """Identify a data set: its class, its rows, and a digest of all scalars and of the first images."""
    shown = {node: data[node] if first.ndim == 1 else first for node, first in data[:100].items()}
    return f"{type(data).__name__}, {data.rows} rows, {digest(*named(shown), digits=12)}"
