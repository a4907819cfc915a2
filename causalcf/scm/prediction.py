"""Step 3 of a counterfactual: push the noise through the acted mechanisms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from causalcf.core.errors import DataError, InterventionError
from causalcf.core.nn import column
from causalcf.graph import CausalGraph, site
from causalcf.mechanisms import Classifier, Mechanism
from causalcf.scm.abduction import Noise
from causalcf.scm.action import Action, Actions
from causalcf.scm.residual import Fading, Residual
from causalcf.scm.rules import OutOfSupport, Rules
from causalcf.variables import Variable

__all__ = ["World", "predict"]


@dataclass(frozen=True)
class World:
    """The values that one set of actions gives, for the same noise.

    Args:
        values: node -> tensor (N, ...), in data units.
        logits: Classifier node -> its logits.
        draws: `"node.do"` -> the draw of a stochastic action.
        clipped: Acted node -> how many rows were clipped to its support.
    """

    values: Mapping[str, Tensor]
    logits: Mapping[str, Tensor] = field(default_factory=dict)
    draws: Mapping[str, Tensor] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)


def predict(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    noise: Noise,
    actions: Actions,
    rules: Rules,
) -> World:
    """Run the mechanisms that the actions reach; give the rest from the factual, bit for bit.

    Args:
        graph: The causal graph.
        mechanisms: node -> fitted mechanism.
        noise: Abducted or sampled noise.
        actions: The actions, read for `noise.rows` rows.
        rules: How to carry it out. Noise without a factual needs every mechanism, whatever `recompute` says.

    Raises:
        InterventionError: An action needs a factual and there is none.
        SupportError: A generated action leaves the support in some rows.
    """
    if actions.needs_factual and noise.observed is None:
        raise InterventionError(
            "given_factual needs an observed row, and this noise was not abducted from one."
            " Use counterfactual(x, do=...), or a function of the parents alone."
        )
    # Values that no action can reach, which stay as observed.
    kept: Mapping[str, Tensor] = {}
    if rules.recompute == "descendants" and noise.observed is not None:
        touched = {*actions.nodes, *graph.descendants(actions.nodes)}
        kept = {node: value for node, value in noise.observed.items() if node not in touched}
    values: dict[str, Tensor] = {}
    logits: dict[str, Tensor] = {}
    clipped: dict[str, int] = {}
    for node in graph.nodes:
        if node in kept:
            values[node] = kept[node]
            continue
        mechanism = mechanisms[node]
        pa = {parent: values[parent] for parent in graph.parents(node)}

        action = actions.get(node)
        if action is None and isinstance(mechanism, Classifier):
            logits[node] = mechanism.logits(pa)
            values[node] = mechanism.decide(logits[node])
            continue

        def natural(node: str = node, mechanism: Mechanism = mechanism, pa: Mapping[str, Tensor] = pa) -> Tensor:
            x = mechanism.predict(_acted_noise(node, mechanism, noise, actions, pa, rules.residual), pa)
            if not rules.project:
                return x
            x = mechanism.variable.project(x)
            return _or_observed(node, mechanism, x, pa, noise, actions) if rules.recompute == "descendants" else x

        if action is None:
            values[node] = natural()
        else:
            value = action.apply(natural, pa, noise.observed)
            values[node], clipped[node] = _inside(node, mechanism.variable, value, rules.out_of_support)
    if rules.project:
        computed = {node: values[node] for node in graph.nodes if node not in kept} | logits
        _refuse_not_finite(computed, graph, mechanisms, noise, values)
    clipped = {node: rows for node, rows in clipped.items() if rows}
    return World(values, logits, actions.draws, clipped)


def _or_observed(
    node: str, mechanism: Mechanism, x: Tensor, pa: Mapping[str, Tensor], noise: Noise, actions: Actions
) -> Tensor:
    """Return x, but in rows with unchanged causes the observed value: a bijection would only add rounding errors."""
    sites = [site(node, suffix) for suffix in mechanism.sites]
    own = noise.replaced.isdisjoint(sites) and not any(name in actions for name in sites)
    if noise.observed is None or mechanism.kind != "invertible" or not own or x.requires_grad:
        return x
    changed = [
        _differs(value, noise.observed[parent]) for parent, value in pa.items() if value is not noise.observed[parent]
    ]
    if not changed:
        return noise.observed[node]
    moved = reduce(torch.logical_or, changed)
    return torch.where(column(moved, x), x, noise.observed[node])


def _differs(value: Tensor, other: Tensor) -> Tensor:
    """Which rows are not equal, shape (N,), bool."""
    differs = value != other
    return differs if differs.ndim == 1 else differs.flatten(1).any(1)


def _acted_noise(
    node: str,
    mechanism: Mechanism,
    noise: Noise,
    actions: Actions,
    pa: Mapping[str, Tensor],
    residual: Residual,
) -> dict[str, Tensor]:
    """The node's noise, with actions on its latent sites carried out and the residual scaled."""
    u = noise.of(node, mechanism)
    if residual != 1.0:
        scale = _residual_scale(mechanism, noise, pa, residual)
        u |= {suffix: column(scale, u[suffix]) * u[suffix] for suffix in mechanism.residual_sites}
    for suffix, value in u.items():
        action: Action | None = actions.get(site(node, suffix))
        if action is not None:
            acted = action.apply(lambda value=value: value, pa, noise.observed)
            u[suffix], _ = _inside(site(node, suffix), action.variable, acted, "raise")
    return u


def _residual_scale(mechanism: Mechanism, noise: Noise, pa: Mapping[str, Tensor], residual: Residual) -> Tensor:
    """The factor of the residual: one for all rows, or one a row."""
    if not isinstance(residual, Fading):
        return torch.tensor(residual, dtype=mechanism.dtype, device=mechanism.device)
    if noise.observed is None:  # drawn from the prior: it was observed nowhere else
        return torch.ones((), dtype=mechanism.dtype, device=mechanism.device)
    return residual.share(mechanism.parents, noise.observed, pa).to(mechanism.device, mechanism.dtype)


def _inside(node: str, variable: Variable, value: Tensor, out_of_support: OutOfSupport) -> tuple[Tensor, int]:
    """The acted value checked against its support, or clipped to it with a count of the rows."""
    outside = variable.outside(value)
    if out_of_support == "clip" and bool(torch.isfinite(value).all()):
        return torch.where(column(outside, value), variable.project(value), value), int(outside.sum())
    variable.check(node, value, remedy='Change the action, or pass out_of_support="clip".')
    return value, 0


def _refuse_not_finite(
    computed: Mapping[str, Tensor],
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    noise: Noise,
    values: Mapping[str, Tensor],
) -> None:
    """Raise `DataError` for the first node whose mechanism gave NaN or infinity, and name the cause."""
    numbers = {node: value for node, value in computed.items() if value.is_floating_point()}
    whole = [torch.isfinite(value).all() for value in numbers.values()]
    if not whole or bool(torch.stack(whole).all()):
        return
    node = next(node for node, fine in zip(numbers, whole, strict=True) if not fine)
    wrong = ~torch.isfinite(numbers[node]).reshape(noise.rows, -1).all(1)
    told = f"'{node}' comes out NaN or infinite in {int(wrong.sum())} of {noise.rows} rows"
    weights = [name for name, weight in mechanisms[node].state_dict().items() if not torch.isfinite(weight).all()]
    if weights:
        raise DataError(f"{told}: the {type(mechanisms[node]).__name__}'s own {weights} are not finite. Fit it again.")
    sites = [site(node, suffix) for suffix in mechanisms[node].sites]
    bad = [name for name in sites if not torch.isfinite(noise[name][wrong]).all()]
    if bad:
        raise DataError(f"{told}: the noise {bad} is not finite there. Abduct it again, or correct it.")
    row = int(wrong.nonzero()[0, 0])
    parents = {p: values[p][row].item() for p in graph.parents(node) if values[p].ndim == 1}
    given = "".join(f" {parent} = {value:.6g}" for parent, value in parents.items())
    raise DataError(
        f"{told}: they lie too far from what the model was fitted on{', for example' * bool(given)}{given}."
        " Correct or drop these rows, or act less far away."
    )
