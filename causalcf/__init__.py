"""causalcf: counterfactual images and counterfactual explanations on structural causal models."""

from causalcf import datasets, mechanisms
from causalcf.action import given_factual, scale, shift
from causalcf.counterfactual import Counterfactual
from causalcf.data import Batch
from causalcf.errors import CausalCFError
from causalcf.graph import CausalGraph, graph_names, load_graph
from causalcf.scm import SCM, StructuralCausalModel
from causalcf.variables import Boolean, Categorical, Image, Interval, Positive, Real, Vector

__version__ = "0.1.0"

__all__ = [
    "SCM",
    "Batch",
    "Boolean",
    "Categorical",
    "CausalCFError",
    "CausalGraph",
    "Counterfactual",
    "Image",
    "Interval",
    "Positive",
    "Real",
    "StructuralCausalModel",
    "Vector",
    "datasets",
    "given_factual",
    "graph_names",
    "load_graph",
    "mechanisms",
    "scale",
    "shift",
]
