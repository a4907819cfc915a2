"""The model as a Pyro program, and its guide: the only callers of `pyro.sample`."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from pyro.distributions import Delta
from torch import Tensor

from causalcf.core.errors import DataError, DensityError
from causalcf.graph import CausalGraph, site
from causalcf.mechanisms import Mechanism
from causalcf.variables import Variable

__all__ = ["guide", "model"]


def model(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], n: int) -> dict[str, Tensor]:
    """Sample n rows in one plate; see `StructuralCausalModel.model`."""
    values: dict[str, Tensor] = {}
    with pyro.plate(_plate(graph), n, dim=-1):
        for node, mechanism in mechanisms.items():
            pa = {parent: values[parent] for parent in graph.parents(node)}
            latents = {suffix: pyro.sample(site(node, suffix), law) for suffix, law in mechanism.prior(pa).items()}
            if mechanism.kind in ("deterministic", "implicit"):
                law = GivenNoise(mechanism.predict(latents, pa), mechanism)
            else:
                law = mechanism.dist(pa, latents)
            values[node] = _as_rows(pyro.sample(node, law), mechanism.variable, n)
    return values


def guide(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], x: Mapping[str, Tensor]) -> None:
    """Sample the latents from their amortised posteriors; see `StructuralCausalModel.guide`."""
    if not x:
        raise DataError(f"x has no rows: the guide needs observed rows of the nodes {list(graph.nodes)}.")
    n = next(iter(x.values())).shape[0]
    with pyro.plate(_plate(graph), n, dim=-1):
        for node, mechanism in mechanisms.items():
            pa = {parent: x[parent] for parent in graph.parents(node)}
            mechanism.propose(x[node], pa, lambda suffix, law, node=node: pyro.sample(site(node, suffix), law))


class GivenNoise(Delta):
    """A value fixed by its noise: a point mass that cannot be conditioned on elsewhere."""

    def __init__(self, value: Tensor, mechanism: Mechanism) -> None:
        super().__init__(value, event_dim=len(mechanism.variable.event_shape))
        self.mechanism = mechanism

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> GivenNoise:
        event = self.mechanism.variable.event_shape
        return GivenNoise(self.v.expand(*batch_shape, *event), self.mechanism)

    def log_prob(self, x: Tensor) -> Tensor:
        if not torch.equal(x, self.v):
            raise DensityError(
                f"'{self.mechanism.node}' is deterministic given its noise, so the program cannot be"
                " conditioned on it. Abduct its noise instead: scm.abduct or scm.counterfactual."
            )
        return super().log_prob(x)  # type: ignore[return-value]


def _plate(graph: CausalGraph) -> str:
    """The name of the plate of rows, which no node has: with a dot, as no node's name, if one is called so."""
    return "rows" if "rows" not in graph else ".rows"


def _as_rows(value: Tensor | float, variable: Variable, n: int) -> Tensor:
    """The value that a handler set at a site, with the batch dimension that mechanisms expect."""
    x = torch.as_tensor(value)
    return x.expand(n, *variable.event_shape) if x.ndim <= len(variable.event_shape) else x
