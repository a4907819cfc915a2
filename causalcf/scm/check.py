"""Does a question extrapolate? The noise of its rows against the prior, its actions against the data.

A counterfactual is an answer even where the data have nothing to say. Five things are looked at, row by
row: whether each value that an action set or moved was seen in training, within the data's range and in no
gap of them; whether the causes of its consequences were seen together; whether the acted value is one the
node's own mechanism could give under the acted parents; how far out in its prior the abducted noise lies;
and how large the residual is, next to that of held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from causalcf.core import draws
from causalcf.core.errors import InterventionError
from causalcf.core.surroundings import kept_out
from causalcf.data import Batch
from causalcf.graph import CausalGraph, site
from causalcf.mechanisms import Mechanism
from causalcf.scm.abduction import Noise, abduct
from causalcf.scm.counterfactual import Counterfactual
from causalcf.scm.scorecard import Check, Finding
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical
from causalcf.variables.image import Image

__all__ = ["Origin", "summarise"]

RARE = 1e-3
"""Probability below which something counts as extrapolation: one row in a thousand is a false alarm."""

DRAWS = 4096
"""Prior draws that noise is compared with; 512 held-out rows that residuals are compared with."""

LEVELS = (0.0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)
"""Quantiles of the training data that a model keeps."""


GRID = 0.2
"""Share of the middle half of the data over which a step of a grid counts as a gap."""

REPEATS = 10
"""Rows a value from which on the data lie on a grid."""

MOST_GAPS = 64
"""Gaps of a node that a model keeps, the widest ones."""

NUGGET = 1e-6
"""Added to the variances of causes: a cause that repeats another to a thousandth counts as its copy."""


@dataclass(frozen=True)
class Origin:
    """The mechanisms that gave an answer, and facts about their data; `check` compares the answer with both."""

    mechanisms: Mapping[str, Mechanism] = field(repr=False)
    seen: Mapping[str, Mapping[str, Any]] = field(repr=False)

    @torch.no_grad()
    @kept_out()
    def check(self, cf: Counterfactual) -> Check:
        """The scorecard of one world of an answer. See `Counterfactual.check`."""
        if cf.listed:
            raise InterventionError("The answer has several worlds. Check one: cf.world(0).check().")
        if cf.num_samples is not None:
            raise InterventionError("The answer has several samples. Check one: cf.sample(0).check().")
        values, noise = cf.worlds[0].values, cf.flat_noise
        asked = cf.do if isinstance(cf.do, Mapping) else {}
        acted = [target for target in asked if target in cf.graph]
        touched = [node for node in cf.graph.nodes if node in {*acted, *cf.graph.descendants(acted)}]
        findings = []
        for node in touched:
            findings += _support(node, cf.graph.variables[node], values[node], self.seen.get(node, {}))
            if node not in acted:
                findings += _together(node, cf.graph, values, self.seen.get(node, {}))
            else:
                findings += _plausible(node, cf.graph, self.mechanisms[node], values)
        for node, mechanism in self.mechanisms.items():
            findings += _noise(node, mechanism, noise, self.seen.get(node, {}))
        return Check(tuple(findings), noise.rows)


# ---------------------------------------------------------------------- what a model keeps of its data


def summarise(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], train: Batch, held_out: Batch
) -> dict[str, dict[str, Any]]:
    """node -> quantiles or counts of the training data, and the size of held-out rows' noise; JSON-able."""
    seen: dict[str, dict[str, Any]] = {}
    for node, variable in graph.variables.items():
        if isinstance(variable, Image):
            continue
        values = train[node]
        if variable.discrete:
            k = variable.k if isinstance(variable, Categorical) else 2
            seen[node] = {"counts": torch.bincount(values.long(), minlength=k).tolist()}
        else:
            ranked = values.double().reshape(train.rows, -1).sort(0).values
            at = [round(level * (train.rows - 1)) for level in LEVELS]
            seen[node] = {"quantiles": ranked[at].T.tolist()}
            if ranked.shape[1] == 1:
                seen[node]["gaps"] = gaps(ranked[:, 0])
    for node in graph.nodes:
        features = _causes(node, graph, train)
        if features is not None:
            seen.setdefault(node, {})["causes"] = _joint_law(features)
    amortised = {node: mechanism for node, mechanism in mechanisms.items() if mechanism.kind == "amortised"}
    if amortised:
        with torch.no_grad():
            noise = abduct(graph, mechanisms, held_out[: DRAWS // 8], seed=0)
        for node, mechanism in amortised.items():
            for suffix in mechanism.sites:
                sizes = _size(noise[site(node, suffix)]).double()
                seen.setdefault(node, {})[f"size.{suffix}"] = [float(sizes.median()), float(sizes.max())]
    return seen


# ---------------------------------------------------------------------- the check


def _support(node: str, variable: Variable, value: Tensor, seen: Mapping[str, Any]) -> list[Finding]:
    """Compare acted values, and their consequences, with the training data."""
    if "counts" in seen:
        counts = torch.tensor(seen["counts"], device=value.device)
        share = counts.double()[value.long()] / counts.sum()
        return [Finding(node, "share of the data with this value", f"above {RARE:g}", share, share < RARE)]
    if "quantiles" not in seen:
        return []
    quantiles = torch.tensor(seen["quantiles"], dtype=torch.float64, device=value.device)
    flat = value.double().reshape(len(value), -1)
    outside = ((flat < quantiles[:, 0]) | (flat > quantiles[:, -1])).any(1)
    found, typical = flat[:, 0], f"{quantiles[0, 0]:.4g} .. {quantiles[0, -1]:.4g}"
    if flat.shape[1] > 1:
        found, typical = (flat < quantiles[:, 0]).double().sum(1) + (flat > quantiles[:, -1]).sum(1), "0"
        return [Finding(node, "components outside the data's range", typical, found, outside)]
    unit = f", {variable.unit}" if variable.unit else ""
    findings = [Finding(node, f"value, in the data's range{unit}", typical, found, outside)]
    if seen.get("gaps"):
        low, high = torch.tensor(seen["gaps"], dtype=torch.float64, device=value.device).T
        unseen = ((found[:, None] > low) & (found[:, None] < high)).any(1)
        widest = max(seen["gaps"], key=lambda gap: gap[1] - gap[0])
        what, where = (
            f"value, in a gap of the data{unit}",
            f"not in {len(low)} gaps, as {widest[0]:.4g} .. {widest[1]:.4g}",
        )
        findings.append(Finding(node, what, where, found, unseen))
    return findings


def gaps(ranked: Tensor) -> list[list[float]]:
    """The wide stretches between neighbouring values, as [low, high]: the data have no values there.

    Wide is a stretch over the middle half of the data, as a mark for missing leaves it; where values repeat, as on a
    grid, one over a fifth of that half.

    Args:
        ranked: The values in order, (N,), in 64 bits.

    Example:
        >>> gaps(torch.tensor([0.0, 10.0, 20.0]).double().repeat_interleave(20))
        [[0.0, 10.0], [10.0, 20.0]]
    """
    n = len(ranked)
    values = ranked.unique_consecutive()
    half = float(ranked[round(0.75 * (n - 1))] - ranked[round(0.25 * (n - 1))]) or float(ranked.std(unbiased=False))
    widths = values.diff()
    share = GRID if len(values) * REPEATS <= n else 1.0
    wide = (widths > share * half).nonzero()[:, 0]
    wide = wide[widths[wide].argsort(descending=True)[:MOST_GAPS]].sort().values
    return torch.stack([values[wide], values[wide + 1]], 1).tolist()


# ---------------------------------------------------------------------- causes taken together


def _causes(node: str, graph: CausalGraph, values: Mapping[str, Tensor]) -> Tensor | None:
    """The node's causes as features side by side, (N, d), in 64 bits; None for a single one, or with images."""
    parents = graph.parents(node)
    if len(parents) < 2 or any(isinstance(graph.variables[parent], Image) for parent in parents):
        return None
    return torch.cat([graph.variables[parent].features(values[parent]).double() for parent in parents], 1)


def _joint_law(features: Tensor) -> dict[str, Any]:
    """Mean, precision and the usual distances of causes seen together; JSON-able."""
    mean = features.mean(0)
    spread = features.std(0, unbiased=False)
    scale = torch.where(spread > 0, spread, torch.ones_like(spread))
    standard = (features - mean) / scale
    covariance = standard.T @ standard / len(standard) + NUGGET * torch.eye(len(scale)).to(standard)
    precision = torch.linalg.inv(covariance) / scale[:, None] / scale
    law = {"mean": mean.tolist(), "precision": precision.tolist()}
    distances = _distance(features, law).sort().values
    return law | {"middle": float(distances[len(distances) // 2]), "most": float(distances[-1])}


def _distance(features: Tensor, law: Mapping[str, Any]) -> Tensor:
    """Mahalanobis distance of each row, (N,)."""
    mean, precision = (torch.tensor(law[name]).to(features) for name in ("mean", "precision"))
    away = features - mean
    return ((away @ precision) * away).sum(1).clamp_min(0).sqrt()


def _together(node: str, graph: CausalGraph, values: Mapping[str, Tensor], seen: Mapping[str, Any]) -> list[Finding]:
    """Whether a node's causes were seen together: each may be usual, and the pair of them never seen."""
    features = _causes(node, graph, values)
    if features is None or "causes" not in seen:
        return []
    law = seen["causes"]
    distance = _distance(features, law)
    what, typical = (
        f"{', '.join(graph.parents(node))} together, distance",
        f"{law['middle']:.3g}, at most {law['most']:.3g}",
    )
    return [Finding(node, what, typical, distance, distance > law["most"])]


def _plausible(node: str, graph: CausalGraph, mechanism: Mechanism, values: Mapping[str, Tensor]) -> list[Finding]:
    """Compare an acted value with the draws of its own mechanism under the acted parents: a joint question."""
    pa = {parent: values[parent] for parent in graph.parents(node)}
    gaps = any(mechanism.parents[parent].has_gaps(value) for parent, value in pa.items())
    if not pa or gaps or isinstance(mechanism.variable, Image) or mechanism.kind != "invertible":
        return []
    given = f"given {', '.join(pa)}"
    if mechanism.variable.discrete:
        probability = mechanism.dist(pa).log_prob(values[node]).exp()
        return [Finding(node, f"probability {given}", f"above {RARE:g}", probability, probability < RARE)]
    noise = mechanism.abduct(values[node], pa)
    return [
        Finding(node, f"tail probability {given}", f"above {RARE:g}", tail, tail < RARE)
        for tail in (_tail(mechanism, suffix, u) for suffix, u in noise.items())
    ]


def _noise(node: str, mechanism: Mechanism, noise: Noise, seen: Mapping[str, Any]) -> list[Finding]:
    """Abducted noise against its prior, and residuals against those of held-out rows."""
    findings = []
    sites = {site(node, suffix) for suffix in mechanism.sites}
    if mechanism.variable.discrete or noise.observed is None or not sites <= noise.keys():
        return findings
    for suffix in mechanism.sites:
        u, name = noise[site(node, suffix)], site(node, suffix)
        size, (middle, most) = _size(u).double(), seen.get(f"size.{suffix}", (0.0, 0.0))
        if suffix not in mechanism.residual_sites:
            # An encoder need not fill its prior: a gap that held-out rows show too is not an extrapolation.
            tail = _tail(mechanism, suffix, u)
            unusual = (tail < RARE) & (size > most)
            findings.append(Finding(name, "tail probability under the prior", f"above {RARE:g}", tail, unusual))
        elif f"size.{suffix}" in seen:
            typical = f"{middle:.3g}, at most {most:.3g}"
            findings.append(Finding(name, "size, of held-out rows", typical, size, size > 1.1 * most))
    return findings


def _tail(mechanism: Mechanism, suffix: str, u: Tensor) -> Tensor:
    """How probable noise at least as large is under the prior, (N,); of 4096 draws, so at least 1/4097."""
    # The same draws every time, of whatever law the mechanism has.
    keys = draws.row_keys(torch.arange(DRAWS), 0, "tail", device=u.device)
    drawn = _size(mechanism.noise_of(keys)[suffix]).sort().values
    beyond = DRAWS - torch.searchsorted(drawn, _size(u).to(drawn.dtype).contiguous())
    return (beyond + 1).double() / (DRAWS + 1)


def _size(u: Tensor) -> Tensor:
    """Root mean square of each row, (N,)."""
    return u.reshape(len(u), -1).square().mean(1).sqrt()
