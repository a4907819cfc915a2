"""Two small models whose effects are known by hand; the examples of the queries speak of them."""

from __future__ import annotations

import torch

from causalcf.mechanisms import LinearGaussian
from causalcf.scm import StructuralCausalModel
from causalcf.variables.codes import Boolean
from causalcf.variables.scalar import Real

__all__ = ["linear", "switch"]


def linear() -> StructuralCausalModel:
    """x -> m -> y and x -> y with m := .6 x + u and y := .5 x + 2 m + u: direct effect .5, indirect 1.2, total 1.7."""
    edges = [("x", "m"), ("x", "y"), ("m", "y")]
    scm = StructuralCausalModel(edges, dict.fromkeys("xmy", Real()), {node: LinearGaussian() for node in "xmy"})
    for node, weight in {"x": [], "m": [0.6], "y": [0.5, 2.0]}.items():
        mechanism = scm.mechanisms[node]
        mechanism.load_state_dict({"weight": torch.tensor(weight)}, strict=False)
        mechanism.fitted = True
    return scm


def switch() -> StructuralCausalModel:
    """A Boolean x -> y, fitted to 4,000 rows in which y is true for 80 % with x and 30 % without."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4000, generator=generator) < 0.5
    y = torch.rand(4000, generator=generator) < torch.where(x, 0.8, 0.3)
    scm = StructuralCausalModel([("x", "y")], {"x": Boolean(), "y": Boolean()})
    return scm.fit({"x": x, "y": y}, seed=0, progress=False)
