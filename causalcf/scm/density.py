"""Log densities by node: exact for explicit mechanisms, a flagged lower bound for amortised ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import log
from typing import Any

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution

from causalcf.core import draws, laws
from causalcf.core.errors import InterventionError
from causalcf.core.nn import column
from causalcf.data import Batch
from causalcf.do import Do
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.scm.action import Action, Actions, Affine, SetTo, read_actions

__all__ = ["LogDensity", "log_density"]


@dataclass(frozen=True, eq=False)
class LogDensity(Mapping[str, Tensor]):
    """Log density by node, each (N,), in data units.

    Args:
        nodes: node -> its term log p(x | pa).
        lower_bounds: Nodes whose term is a lower bound.
    """

    nodes: Mapping[str, Tensor]
    lower_bounds: tuple[str, ...] = field(default=())

    def __getitem__(self, node: str) -> Tensor:
        return self.nodes[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def total(self) -> Tensor:
        """The joint log density, (N,)."""
        return torch.stack(list(self.nodes.values())).sum(0)


def log_density(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], x: Batch, do: Do, particles: int, seed: int = 0
) -> LogDensity:
    """Log density of observed rows under a set of actions, by node (Pearl 2009, eq. 1.37).

    Args:
        graph: The causal graph.
        mechanisms: node -> fitted mechanism.
        x: Observed rows of every node, in data units.
        do: Actions on nodes; none for the observational density.
        particles: Latent draws per row of importance-weighted bounds.
        seed: Seed of the draws, by row.

    Raises:
        InterventionError: An action on a latent site, which leaves no density in closed form; or a node scaled by 0,
            which is a point mass.
        DensityError: A node has no density.
    """
    actions = read_actions(graph, mechanisms, do, x.rows, seed=seed, index=x.index, labels=x.labels)
    _refuse_point_masses(actions)
    latent = [target for target in actions if target not in graph]
    if latent:
        raise InterventionError(f"log_prob cannot act on the latent sites {latent}. Act on the nodes themselves.")
    terms: dict[str, Tensor] = {}
    keys: Tensor | None = None
    for node, mechanism in mechanisms.items():
        pa = {parent: x[parent] for parent in graph.parents(node)}
        if mechanism.latents and keys is None:
            keys = draws.row_keys(np.tile(x.index, particles), seed, "density", device=x[node].device)
        with nullcontext() if keys is None else draws.by_row(keys, node):
            terms[node] = _acted_log_prob(mechanism, actions.get(node), do.get(node), x, node, pa, particles)
    set_by_action = {node for node, action in actions.items() if not action.keeps_causes}
    bounds = tuple(node for node, mechanism in mechanisms.items() if mechanism.latents and node not in set_by_action)
    return LogDensity(terms, bounds)


def _refuse_point_masses(actions: Actions) -> None:
    """A node scaled by 0 is 0 in every row: it has no density, though a node set to a value counts as given."""
    flat = [node for node, action in actions.items() if isinstance(action, Affine) and bool((action.factor == 0).any())]
    if flat:
        raise InterventionError(
            f"do scales {flat} by 0, which leaves a point mass without a density. Set the node instead:"
            f" do={{'{flat[0]}': 0.0}} counts as given, with log density 0 where the row has that value."
        )


def _acted_log_prob(
    mechanism: Mechanism,
    action: Action | None,
    asked: Any,
    batch: Batch,
    node: str,
    pa: Mapping[str, Tensor],
    particles: int,
) -> Tensor:
    x = batch[node]
    if isinstance(action, Affine):
        natural = (x - action.amount) / action.factor
        impossible = mechanism.variable.outside(natural)
        natural = torch.where(column(impossible, x), x, natural)
        stretch = action.factor.abs().log().expand_as(x).reshape(x.shape[0], -1).sum(1)
        return (_log_prob(mechanism, natural, pa, particles) - stretch).masked_fill(impossible, -torch.inf)
    if isinstance(action, SetTo) and action.drawn:
        value = x.to(mechanism.dtype) if x.dtype == torch.bool else x
        return _law_log_prob(asked, value, action.value.to(value))
    if action is not None:
        value = action.apply(lambda: x, pa, batch)
        same = (value == x).reshape(x.shape[0], -1).all(1)
        return torch.zeros_like(same, dtype=mechanism.dtype).masked_fill(~same, -torch.inf)
    return _log_prob(mechanism, x, pa, particles)


def _law_log_prob(law: Distribution, x: Tensor, drawn: Tensor) -> Tensor:
    """log density of rows under an action's own distribution; minus infinity outside its support.

    The draws lie inside, and stand in for values that do not.
    """
    rows = x.shape[0]
    inside = law.support.check(x)  # type: ignore[union-attr]
    safe = torch.where(inside.reshape(*inside.shape, *[1] * (x.ndim - inside.ndim)), x, drawn)
    return law.log_prob(safe).masked_fill(~inside, -torch.inf).reshape(rows, -1).sum(1)


def _log_prob(mechanism: Mechanism, x: Tensor, pa: Mapping[str, Tensor], particles: int) -> Tensor:
    """log p(x | pa), exact or as an importance-weighted bound over latent draws."""
    if not mechanism.latents:
        law = mechanism.dist(pa)
        return law.log_prob(x).expand(x.shape[0])
    rows = x.shape[0]
    x = x.repeat(particles, *[1] * (x.ndim - 1))
    pa = {name: value.repeat(particles, *[1] * (value.ndim - 1)) for name, value in pa.items()}
    prior = mechanism.prior(pa)
    ratios: list[Tensor] = []

    def draw(suffix: str, law: TorchDistribution) -> Tensor:
        z = laws.drawn(law)
        ratios.append(prior[suffix].log_prob(z) - law.log_prob(z))
        return z

    latents = mechanism.propose(x, pa, draw)
    weight = mechanism.dist(pa, latents).log_prob(x) + torch.stack(ratios).sum(0)
    return weight.unflatten(0, (particles, rows)).logsumexp(0) - log(particles)
