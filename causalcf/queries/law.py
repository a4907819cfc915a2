"""The law of an outcome after acting: its quantiles and its density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import DataError
from causalcf.do import Do
from causalcf.queries.asking import as_query
from causalcf.queries.effects import ASSUMPTIONS
from causalcf.queries.estimate import NORMAL, Estimate, Estimates
from causalcf.queries.worlds import Outcome, draw, in_blocks, read_outcome
from causalcf.scm import StructuralCausalModel
from causalcf.scm.action import read_one
from causalcf.scm.hidden import warn_of_effect

__all__ = ["density", "quantiles"]


@as_query
def quantiles(
    scm: StructuralCausalModel,
    y: Outcome,
    *,
    do: Do | None = None,
    at: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    draws: int = 10_000,
    seed: seeding.Seed = 0,
) -> Estimates:
    """Quantiles of an outcome after acting.

    The interval of each is that of order statistics: the ranks that a quantile may take among the draws.

    References:
        David and Nagaraja, "Order Statistics", 3rd edition 2003, section 7.1.

    Args:
        scm: The fitted model.
        y: The outcome, as for `effect`.
        do: Actions; none for the law as it is observed.
        at: Which quantiles, each in (0, 1).
        draws: Units drawn.
        seed: Seed of the draws.

    Raises:
        DataError: A level that is not in (0, 1).

    Example:
        >>> from causalcf.queries.examples import linear
        >>> found = quantiles(linear(), "y", do={"x": 0.0}, at=[0.5])
        >>> 0.0 in found["0.5"]
        True
    """
    wrong = [level for level in at if not 0 < level < 1]
    if wrong or not at:
        raise DataError(f"at={list(at)}: quantiles are asked at levels between 0 and 1, such as at=[0.05, 0.5, 0.95].")
    outcome, seed = read_outcome(scm, y), seeding.resolve(seed)
    _warn(scm, do, outcome.node)
    values = _values(scm, outcome.of, do, draws, seed).sort().values
    n, parts = len(values), {}
    for level in at:
        spread = NORMAL * (n * level * (1 - level)) ** 0.5
        low, high = max(0, int(n * level - spread)), min(n - 1, int(n * level + spread + 1))
        parts[f"{level:g}"] = Estimate(
            f"quantile {level:g}",
            float(values.quantile(level)),
            float(values[low]),
            float(values[high]),
            "draws",
            n,
            seed,
            outcome.unit,
            ASSUMPTIONS,
        )
    return Estimates(f"quantiles of {outcome.name}{f' under do({_words(do)})' if do else ''}", parts)


@as_query
def density(
    scm: StructuralCausalModel,
    y: Outcome,
    grid: Tensor,
    *,
    do: Do | None = None,
    draws: int = 10_000,
    seed: seeding.Seed = 0,
) -> Tensor:
    r"""The density of a numeric outcome after acting, on a grid, (G,), in one over the outcome's unit.

    Where y is a node with an explicit law, the mean over draws of its parents of the mechanism's own density (Rao and
    Blackwell: no smoothing); for a function of the rows, a Gaussian kernel of Silverman's width.

    References:
        Silverman, "Density Estimation for Statistics and Data Analysis", 1986, equation 3.31.

    Args:
        scm: The fitted model.
        y: The outcome, as for `effect`.
        grid: Where, (G,), in the outcome's unit.
        do: Actions; none for the law as it is observed.
        draws: Units drawn.
        seed: Seed of the draws.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> p = density(linear(), "y", torch.linspace(-8, 8, 401), do={"x": 0.0})
        >>> round(float(p.sum() * 16 / 400), 2)
        1.0
    """
    outcome, seed = read_outcome(scm, y), seeding.resolve(seed)
    _warn(scm, do, outcome.node)
    if not grid.numel():
        raise DataError("grid is empty: give the points at which the density is asked for.")
    mechanism = scm.mechanisms.get(outcome.node)
    if mechanism is None or mechanism.kind != "invertible" or outcome.node in (do or {}):
        values = _values(scm, outcome.of, do, draws, seed)
        width = 1.06 * float(values.std()) * len(values) ** -0.2
        law = torch.distributions.Normal(values[:, None], max(width, 1e-12))
        return law.log_prob(grid.double()).exp().mean(0)
    parents = scm.graph.parents(outcome.node)
    rows = in_blocks(
        scm,
        draw(scm, draws, seed),
        lambda predict: {name: predict(dict(do or {}))[name] for name in (*parents, outcome.node)},
    )
    found = torch.zeros(len(grid), dtype=torch.float64)
    with torch.no_grad():
        law = mechanism.dist({name: rows[name] for name in parents})
        for i, point in enumerate(grid.to(rows[outcome.node].dtype)):
            found[i] = law.log_prob(point.expand(draws)).double().exp().mean()
    return found


def _warn(scm: StructuralCausalModel, do: Do | None, node: str) -> None:
    """Warn where hidden causes are in the law that is asked for."""
    read_one(do)
    acted = {target.split(".")[0] for target in do or ()} & set(scm.graph.nodes)
    warn_of_effect(scm.graph, acted, {node} - acted if node else set(scm.graph.descendants(acted)) - acted)


def _values(scm: StructuralCausalModel, of: Any, do: Do | None, draws: int, seed: int) -> Tensor:
    return in_blocks(scm, draw(scm, draws, seed), lambda predict: {"y": of(predict(dict(do or {})))})["y"]


def _words(do: Do) -> str:
    return ", ".join(f"{node} = {value}" for node, value in do.items())
