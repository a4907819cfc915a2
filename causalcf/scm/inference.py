"""Incomplete evidence: missing values, inferred from the observed ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import log, prod
from typing import Any

import torch
from torch import Tensor

from causalcf.core.draws import by_row, label_keys, normal, row_keys, uniform
from causalcf.core.errors import DataError
from causalcf.core.nn import column
from causalcf.core.surroundings import callers_line
from causalcf.data import Batch
from causalcf.graph import CausalGraph
from causalcf.mechanisms import LinearGaussian, Mechanism
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["FEW", "Posterior", "infer"]

CELLS = 512
"""Most combinations of missing categories that are summed over one by one."""

FEW = 10.0
"""Effective draws below which a row's posterior is too poor to be used."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """The law of whole rows given their observed values, as weighted draws.

    Args:
        draws: node -> values (S, N, *event_shape); observed values are the same in every draw.
        weights: (S, N), each column sums to 1.
        missing: node -> which rows lacked it, (N,), bool; nodes that no row lacked are left out.
        exact: Whether the draws follow the posterior itself: categories summed out, or a linear Gaussian model.
        seed: Seed of the draws.
        index: Row labels.
    """

    draws: Mapping[str, Tensor]
    weights: Tensor
    missing: Mapping[str, Tensor]
    exact: bool
    seed: int
    index: Any

    @property
    def effective(self) -> Tensor:
        r"""Effective sample size of every row, (N,): :math:`1 / \sum_s w_s^2` (Kong, Liu, Wong 1994)."""
        return 1 / self.weights.square().sum(0)

    def mean(self, node: str) -> Tensor:
        """Posterior mean of a number, or probabilities of a category's codes, (N, ...) or (N, K)."""
        value = self.draws[node]
        if not value.is_floating_point():
            value = torch.nn.functional.one_hot(value.long()).to(self.weights.dtype)
        return (self.weights.reshape(*self.weights.shape, *[1] * (value.ndim - 2)).to(value) * value).sum(0)

    def resampled(self, n: int) -> dict[str, Tensor]:
        """n equally likely draws of every row: node -> (n, N, ...), drawn by their weights."""
        cumulative = self.weights.T.cumsum(1).contiguous()
        with by_row(row_keys(self.index, self.seed, "resample", device=cumulative.device)):
            drawn = uniform((len(cumulative), n), cumulative)
        picks = torch.searchsorted(cumulative, drawn).clamp_(max=len(self.weights) - 1).T
        rows = torch.arange(self.weights.shape[1], device=picks.device)
        return {node: value[picks, rows] for node, value in self.draws.items()}

    def __repr__(self) -> str:
        lacks = ", ".join(f"{node} in {int(rows.sum())}" for node, rows in self.missing.items()) or "nothing"
        kind = "exact" if self.exact else f"importance sampling, at least {float(self.effective.min()):.0f} effective"
        return f"Posterior({self.weights.shape[0]} draws of {self.weights.shape[1]} rows; missing: {lacks}; {kind})"


def infer(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    x: Batch,
    missing: Mapping[str, Tensor],
    *,
    num_samples: int,
    seed: int,
) -> Posterior:
    r"""Draws of the missing values, given the observed ones.

    Categories alone are summed out, one by one; a linear Gaussian model is conditioned in closed form; all else is
    importance sampling: missing values are drawn from their own mechanisms given the parents, and weighted by the
    density of the values observed below them. A row's draws do not depend on the rows beside it.

    References:
        Fung and Chang, "Weighing and Integrating Evidence for Stochastic Simulation in Bayesian Networks", 1989
        (likelihood weighting). Kong, Liu, Wong, "Sequential Imputations and Bayesian Missing Data Problems", 1994.

    Args:
        graph: The causal graph.
        mechanisms: node -> fitted mechanism.
        x: Rows of every node; any number may stand for a missing value.
        missing: node -> which rows lack it, (N,), bool.
        num_samples: Draws of every row.
        seed: Seed of the draws.

    Raises:
        DataError: A node with missing values or below them has no density, or the evidence has none.
    """
    missing = {node: rows for node, rows in missing.items() if bool(rows.any())}
    if num_samples < 1:
        raise DataError(f"num_samples must be at least 1, got {num_samples}.")
    with by_row(row_keys(label_keys(x.index).repeat(num_samples), seed, "infer")):
        found = _exact(graph, mechanisms, x, missing, num_samples)
        draws, log_weights = found or _weighted(graph, mechanisms, x, missing, num_samples)
    weights = _normalised(log_weights, missing)
    posterior = Posterior(draws, weights, missing, found is not None, seed, x.index)
    _warn_of_few(posterior)
    return posterior


def _exact(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], x: Batch, missing: Mapping[str, Tensor], num_samples: int
) -> tuple[dict[str, Tensor], Tensor] | None:
    """Draws and log weights that follow the posterior itself, where it is known; None elsewhere."""
    if not missing:
        return _whole(x, num_samples)
    if all(isinstance(mechanism, LinearGaussian) for mechanism in mechanisms.values()):
        return _gaussian(graph, mechanisms, x, missing, num_samples)
    if prod(_cells(mechanisms[node]) for node in missing) <= CELLS:
        return _summed(graph, mechanisms, x, missing)
    return None


def _cells(mechanism: Mechanism) -> float:
    """How many values a node can take; infinite for numbers."""
    variable = mechanism.variable
    if isinstance(variable, Categorical):
        return variable.k
    return 2 if isinstance(variable, Boolean) else float("inf")


def _whole(x: Batch, num_samples: int) -> tuple[dict[str, Tensor], Tensor]:
    draws = {node: value.expand(num_samples, *value.shape) for node, value in x.items()}
    return draws, torch.zeros(num_samples, x.rows)


# ---------------------------------------------------------------------- exact


def _gaussian(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], x: Batch, missing: Mapping[str, Tensor], num_samples: int
) -> tuple[dict[str, Tensor], Tensor]:
    """The normal law of the missing values given the observed ones, each pattern of gaps by itself."""
    place = {node: i for i, node in enumerate(graph.nodes)}
    mean, covariance = _joint(graph, mechanisms, place)
    values = torch.stack([x[node].double() for node in graph.nodes], 1)
    gaps = torch.stack([missing.get(node, torch.zeros(x.rows, dtype=torch.bool)) for node in graph.nodes], 1)
    drawn = values.expand(num_samples, *values.shape).clone()
    white = normal((num_samples * x.rows, len(place)), values).unflatten(0, (num_samples, x.rows))
    for pattern in gaps.unique(dim=0):
        if not bool(pattern.any()):
            continue
        rows = (gaps == pattern).all(1).nonzero()[:, 0]
        hidden, observed = pattern.nonzero()[:, 0], (~pattern).nonzero()[:, 0]
        gain = torch.linalg.lstsq(covariance[observed][:, observed], covariance[observed][:, hidden]).solution.T
        middle = mean[hidden] + (values[rows][:, observed] - mean[observed]) @ gain.T
        left = covariance[hidden][:, hidden] - gain @ covariance[observed][:, hidden]
        scale = torch.linalg.cholesky(left + 1e-12 * torch.eye(len(hidden), dtype=left.dtype))
        noise = white[:, rows][:, :, hidden] @ scale.T
        drawn[:, rows[:, None], hidden] = middle + noise
    draws = {node: drawn[:, :, i].to(x[node]) for node, i in place.items()}
    return draws, torch.zeros(num_samples, x.rows)


def _joint(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], place: Mapping[str, int]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of all nodes, from the mechanisms' values for noise of zeros and units."""
    k = len(place)
    weights, mean = torch.zeros(k, k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)
    scales = torch.zeros(k, dtype=torch.float64)
    with torch.no_grad():
        for node, j in place.items():
            mechanism, parents = mechanisms[node], graph.parents(node)
            # One row of zeros, then one a parent with that parent at 1, then noise of 1: differences are the weights.
            rows = torch.eye(len(parents) + 2)[:, 1:].to(mechanism.device, mechanism.dtype)
            pa = {parent: rows[:, i] for i, parent in enumerate(parents)}
            at = mechanism.predict(dict.fromkeys(mechanism.sites, rows[:, -1]), pa).double()
            weights[j, [place[parent] for parent in parents]] = at[1:-1] - at[0]
            mean[j], scales[j] = at[0], at[-1] - at[0]
    total = torch.linalg.inv(torch.eye(k, dtype=torch.float64) - weights)
    return total @ mean, total @ torch.diag(scales.square()) @ total.T


def _summed(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], x: Batch, missing: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """Every combination of the missing categories, with its probability."""
    choices = list(product(*(range(int(_cells(mechanisms[node]))) for node in missing)))
    draws = {node: value.expand(len(choices), *value.shape).clone() for node, value in x.items()}
    for place, node in enumerate(missing):
        codes = torch.tensor([choice[place] for choice in choices], device=x[node].device).to(x[node].dtype)
        draws[node] = torch.where(missing[node].to(codes.device), codes[:, None], draws[node])
    touched = _touched(graph, mechanisms, missing)
    for node in graph.nodes:  # what has no noise of its own follows
        if node in touched and not mechanisms[node].sites:
            pa = {parent: draws[parent].flatten(0, 1) for parent in graph.parents(node)}
            draws[node] = mechanisms[node].predict({}, pa).unflatten(0, (len(choices), x.rows))
    return draws, _log_joint(graph, mechanisms, draws, missing, x.rows)


# ---------------------------------------------------------------------- importance sampling


def _weighted(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    x: Batch,
    missing: Mapping[str, Tensor],
    num_samples: int,
) -> tuple[dict[str, Tensor], Tensor]:
    """Draws of the missing values, causes first, and the log weight of every draw."""
    flat = {node: value.repeat(num_samples, *[1] * (value.ndim - 1)) for node, value in x.items()}
    touched = _touched(graph, mechanisms, missing)
    log_weights = torch.zeros(num_samples * x.rows, dtype=torch.float64)
    with torch.no_grad():
        for node in graph.nodes:
            mechanism = mechanisms[node]
            pa = {parent: flat[parent] for parent in graph.parents(node)}
            gap = missing.get(node)
            if gap is not None:
                everywhere = gap.repeat(num_samples).to(flat[node].device)
                drawn = mechanism.predict(mechanism.sample_noise(num_samples * x.rows), pa)
                drawn = mechanism.variable.project(drawn)
                flat[node] = torch.where(column(everywhere, drawn), drawn, flat[node])
            if node in touched and mechanism.sites and not (gap is not None and bool(gap.all())):
                each = _log_prob(mechanism, flat[node], pa).cpu()
                here = torch.ones_like(each, dtype=torch.bool) if gap is None else ~gap.repeat(num_samples)
                log_weights += torch.where(here, each, 0.0)
            elif node in touched and not mechanism.sites and gap is None:
                flat[node] = mechanism.predict({}, pa)
    draws = {node: value.unflatten(0, (num_samples, x.rows)) for node, value in flat.items()}
    return draws, log_weights.unflatten(0, (num_samples, x.rows))


def _touched(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], missing: Mapping[str, Tensor]) -> set[str]:
    """Nodes whose own term depends on missing values: these, their children, and theirs where a child has no noise."""
    moved = set(missing)
    for node in graph.nodes:
        if not mechanisms[node].sites and moved & set(graph.parents(node)):
            moved.add(node)
    return moved | {child for node in moved for child in graph.children(node)}


def _log_prob(mechanism: Mechanism, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
    """log p(x | pa) of every row; for amortised mechanisms the ratio of one draw of their latents."""
    if mechanism.kind in ("implicit", "deterministic"):
        raise DataError(
            f"'{mechanism.node}' has no density ({type(mechanism).__name__}), so what is missing above it cannot be"
            " weighed by it. Infer with a model whose mechanism there is explicit, or drop these rows."
        )
    if not mechanism.latents:
        return mechanism.dist(pa).log_prob(x).double().expand(x.shape[0])
    ratios: list[Tensor] = []
    prior = mechanism.prior(pa)

    def draw(suffix: str, law: Any) -> Tensor:
        z = law.sample()
        ratios.append(prior[suffix].log_prob(z) - law.log_prob(z))
        return z

    latents = mechanism.propose(x, pa, draw)
    return (mechanism.dist(pa, latents).log_prob(x) + torch.stack(ratios).sum(0)).double()


def _log_joint(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    draws: Mapping[str, Tensor],
    missing: Mapping[str, Tensor],
    rows: int,
) -> Tensor:
    """log p of every draw, as far as it depends on missing values, (S, N)."""
    samples = next(iter(draws.values())).shape[0]
    flat = {node: value.flatten(0, 1) for node, value in draws.items()}
    total = torch.zeros(samples * rows, dtype=torch.float64)
    with torch.no_grad():
        for node in graph.nodes:
            mechanism = mechanisms[node]
            if node in _touched(graph, mechanisms, missing) and mechanism.sites:
                pa = {parent: flat[parent] for parent in graph.parents(node)}
                total += _log_prob(mechanism, flat[node], pa).cpu()
    return total.unflatten(0, (samples, rows))


def _normalised(log_weights: Tensor, missing: Mapping[str, Tensor]) -> Tensor:
    """Weights that sum to 1 in every row.

    Raises:
        DataError: The evidence of a row has probability zero.
    """
    bad = ~torch.isfinite(log_weights).any(0) | torch.isnan(log_weights).any(0)
    if bool(bad.any()):
        rows = bad.nonzero()[:, 0].tolist()
        raise DataError(
            f"The evidence of {len(rows)} rows, first row {rows[0]}, has probability zero under the model, whatever"
            f" {list(missing)} are. Look at these rows, or fit the model to data like them."
        )
    return (log_weights - log_weights.logsumexp(0)).exp()


def _warn_of_few(posterior: Posterior) -> None:
    least, rows = posterior.effective, posterior.effective < FEW
    if posterior.exact or posterior.weights.shape[0] < FEW or not bool(rows.any()):
        return
    warnings.warn(
        f"The posterior of {int(rows.sum())} of {len(rows)} rows rests on fewer than {FEW:g} effective draws (least:"
        f" {float(least.min()):.1f} of {posterior.weights.shape[0]}, log weights differ by up to"
        f" {log(max(float(posterior.weights.max()), 1e-300)) - log(1 / posterior.weights.shape[0]):.0f} nats):"
        " it is too poor to be used. Draw more, num_samples=..., or give predictors as proposals.",
        stacklevel=callers_line(),
    )
