"""Attribution: which mechanisms changed between two data sets, and which noises made a unit an outlier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import Any

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import DataError, GraphError
from causalcf.queries.asking import as_query
from causalcf.queries.effects import ASSUMPTIONS
from causalcf.queries.estimate import Estimate, Estimates, from_draws
from causalcf.queries.worlds import BLOCK, Outcome, read_outcome
from causalcf.scm import StructuralCausalModel
from causalcf.scm.abduction import Noise, sample_noise
from causalcf.scm.action import read_worlds
from causalcf.scm.counterfactual import predict_worlds
from causalcf.scm.rules import Rules

__all__ = ["attribute_change", "attribute_outlier", "shapley"]

MOST = 10
"""Most players that are shared out exactly: 2^10 coalitions."""


def shapley(players: Sequence[str], value: Callable[[frozenset[str]], Tensor]) -> dict[str, Tensor]:
    r"""Shapley values: the contribution of each player, averaged over all orders of joining.

    .. math::
        \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(k - |S| - 1)!}{k!} \left(v(S \cup i) - v(S)\right)

    References:
        Shapley, "A Value for n-Person Games", 1953.

    Args:
        players: Names.
        value: Coalition -> its value, a tensor of any shape; asked once for each of the 2^k coalitions.

    Raises:
        DataError: There are too many players to ask for every coalition.

    Example:
        >>> {p: float(v) for p, v in shapley("ab", lambda s: torch.tensor(float(len(s) == 2))).items()}
        {'a': 0.5, 'b': 0.5}
    """
    if len(players) > MOST:
        raise DataError(
            f"{len(players)} nodes have 2^{len(players)} coalitions. Ask about at most {MOST}: nodes=[...]."
        )
    k = len(players)
    coalitions = [frozenset(some) for size in range(k + 1) for some in combinations(players, size)]
    values = {coalition: value(coalition) for coalition in coalitions}
    shares: dict[str, Tensor] = {}
    for player in players:
        without = [coalition for coalition in coalitions if player not in coalition]
        weights = [factorial(len(s)) * factorial(k - len(s) - 1) / factorial(k) for s in without]
        gains = [values[s | {player}] - values[s] for s in without]
        shares[player] = torch.stack([w * gain for w, gain in zip(weights, gains, strict=True)]).sum(0)
    return shares


@as_query
def attribute_change(
    old: StructuralCausalModel,
    new: StructuralCausalModel,
    y: Outcome,
    *,
    draws: int = 10_000,
    seed: seeding.Seed = 0,
) -> Estimates:
    r"""Which mechanisms account for the change of an outcome's mean from one data set to another.

    A coalition of nodes has the new model's mechanisms, the others the old one's; the change is shared out by Shapley.
    The shares add up to the whole change.

    References:
        Budhathoki, Janzing, Bloebaum, Ng, "Why did the distribution change?", 2021, section 3.

    Args:
        old: Fitted to the first data set.
        new: The same graph, fitted to the second.
        y: The outcome, as for `effect`.
        draws: Units drawn; all coalitions share their noise.
        seed: Seed of the draws.

    Returns:
        The share of the outcome's node and of each of its causes, and `total`.

    Raises:
        GraphError: The models have different graphs.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> old, new = linear(), linear()
        >>> new.mechanisms["m"].intercept.data.fill_(1.0)
        tensor(1.)
        >>> found = attribute_change(old, new, "y")
        >>> round(found.m.value, 2), round(found.x.value, 2)
        (2.0, 0.0)
    """
    if set(old.graph.edges) != set(new.graph.edges) or set(old.graph.nodes) != set(new.graph.nodes):
        raise GraphError("The models have different graphs. Fit the same graph to both data sets.")
    outcome, seed = read_outcome(old, y), seeding.resolve(seed)
    last = [outcome.node] if outcome.node else list(old.graph.nodes)
    players = [node for node in old.graph.nodes if node in {*last, *old.graph.ancestors(last)}]
    noise = _noise(old, draws, seed)

    def value(coalition: frozenset[str]) -> Tensor:
        mechanisms = {node: (new if node in coalition else old).mechanisms[node] for node in old.graph.nodes}
        parts = []
        for start in range(0, draws, BLOCK):
            units = noise.of_rows(slice(start, start + BLOCK))
            with torch.no_grad():
                rows = predict_worlds(old.graph, mechanisms, units, read_worlds({}), rules=Rules(recompute="all"))
            parts.append(outcome.of(rows))
        return torch.cat(parts)

    shares = shapley(players, value)
    parts = {node: _share(f"share of {node}", each, seed, outcome.unit) for node, each in shares.items()}
    total = torch.stack(list(shares.values())).sum(0)
    return Estimates(f"change of {outcome.name}", {**parts, "total": _share("change", total, seed, outcome.unit)})


def _noise(scm: StructuralCausalModel, draws: int, seed: int) -> Noise:
    return sample_noise(scm.graph, scm.require_fitted(), draws, seed=seeding.derive(seed, "units") % 2**62)


def _share(name: str, each: Tensor, seed: int, unit: str) -> Estimate:
    return from_draws(name, each, seed, unit, ASSUMPTIONS)


@as_query
def attribute_outlier(
    scm: StructuralCausalModel,
    y: str,
    data: Any,
    *,
    draws: int = 2_000,
    seed: seeding.Seed = 0,
) -> dict[str, Tensor]:
    r"""Which noises made units outliers of y, in nats, (N,) for y and each of its causes.

    The score of a unit is :math:`S(y) = -\log P(|Y - m| \ge |y - m|)` with the median m. A coalition of nodes keeps the
    unit's abducted noise, the others draw theirs anew. The score is shared out among the noises
    by their Shapley values, which add up to it.

    References:
        Budhathoki, Minorics, Bloebaum, Janzing, "Causal structure-based root cause analysis of outliers", 2022,
        equations 5 and 8.

    Args:
        scm: The fitted model.
        y: A numeric node.
        data: The units, every node observed.
        draws: Draws of the noises that are not kept.
        seed: Seed of the draws.

    Returns:
        node -> share of the score, (N,); `"score"` -> the score itself, at most log(draws + 1).

    Raises:
        DataError: y is not a number.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> shares = attribute_outlier(linear(), "y", {"x": [0.0], "m": [4.0], "y": [8.0]})
        >>> max(("x", "m", "y"), key=lambda node: float(shares[node]))
        'm'
    """
    outcome, seed = read_outcome(scm, y), seeding.resolve(seed)
    if not outcome.node or scm.variables[y].discrete:
        raise DataError(f"'{y}' is not a number: only numeric nodes have outliers.")
    rows = scm.read(data)
    with torch.no_grad():
        kept = scm.abduct(rows, seed=seed)
    drawn = _noise(scm, draws, seed)
    with torch.no_grad():
        usual = outcome.of(scm.predict(drawn, {}))
    middle = usual.median()
    far = (outcome.of(rows) - middle).abs()
    players = [node for node in scm.graph.nodes if node in {y, *scm.graph.ancestors([y])}]

    def value(coalition: frozenset[str]) -> Tensor:
        found = []
        for i in range(0, rows.rows, max(1, BLOCK // draws)):
            part = slice(i, i + max(1, BLOCK // draws))
            found.append(_log_tail(scm, outcome.of, _mixed(kept, drawn, coalition, part), middle, far[part]))
        return torch.cat(found)

    shares = shapley(players, value)
    return {**shares, "score": torch.stack(list(shares.values())).sum(0)}


def _mixed(kept: Noise, drawn: Noise, coalition: frozenset[str], part: slice) -> Noise:
    """Each unit's kept noise beside every draw of the others', units first: (units * draws, ...)."""
    units = len(range(*part.indices(kept.rows)))
    values: dict[str, Tensor] = {}
    for name, value in drawn.items():
        if name.split(".")[0] in coalition:
            values[name] = kept[name][part].repeat_interleave(drawn.rows, 0)
        else:
            values[name] = value.repeat(units, *[1] * (value.ndim - 1))
    return Noise(values)


def _log_tail(
    scm: StructuralCausalModel, of: Callable[[Mapping[str, Tensor]], Tensor], noise: Noise, middle: Tensor, far: Tensor
) -> Tensor:
    """Log probability of being at least as far out, one a unit, of the draws and the unit itself; its sign reversed."""
    with torch.no_grad():
        out = (of(scm.predict(noise, {})) - middle).abs().unflatten(0, (len(far), -1))
    # A hair less: a unit computed again must not fall below itself by rounding.
    beyond = (out >= far[:, None] * (1 - 1e-6)).sum(1)
    share = (beyond + 1).double() / (out.shape[1] + 1)
    return share.log()
