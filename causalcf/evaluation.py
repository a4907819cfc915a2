"""Model x data x metrics -> records: how far counterfactuals are from the true ones.

Every record carries what a reader needs to believe it: the number of rows, the seed, the residual,
and the score of doing nothing to the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from causalcf.data import Batch
from causalcf.errors import DataError
from causalcf.metrics import absolute_error, draw_other_bin, grey_level_error
from causalcf.scm import StructuralCausalModel
from causalcf.variables import Image, Variable

__all__ = ["TrueWorld", "composition", "select_rows", "truth_error"]

BATCH = 250
"""Rows per call of the model: bounds the memory of an evaluation of any size."""


class TrueWorld(Protocol):
    """A data set that knows its true counterfactuals."""

    @property
    def variables(self) -> Mapping[str, Variable]:
        """node -> variable."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    def __getitem__(self, key: Any) -> Any:
        """A column by its name, or some rows."""

    def truth(self, x: Batch, do: Mapping[str, Any]) -> Batch:
        """The true counterfactual of some rows."""


def select_rows(data: TrueWorld, n: int, seed: int) -> Batch:
    """n different rows, drawn by seed.

    Raises:
        DataError: The data have fewer.
    """
    if not 0 < n <= data.rows:
        raise DataError(f"Cannot select {n} of {data.rows} rows.")
    order = torch.randperm(data.rows, generator=torch.Generator().manual_seed(seed))
    return data[order[:n]]


def truth_error(
    scm: StructuralCausalModel,
    data: TrueWorld,
    nodes: Sequence[str],
    *,
    n: int = 1000,
    residuals: Sequence[float] = (1.0, 0.0),
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Error against the true counterfactual, for an intervention on each of some nodes.

    Each row's value is drawn from the node's marginal in the data, in another of 10 bins. Every
    node that the intervention changes is scored: images in grey levels, numbers in their unit.

    Args:
        scm: A fitted model.
        data: Data with a known truth, from which rows and marginals are taken.
        nodes: Nodes to act on, one at a time.
        n: Number of rows.
        residuals: Scales of the residual noise to score.
        seed: Selects rows and values.

    Returns:
        One record per intervention, residual and scored node: mean and standard error over rows,
        beside the error of doing nothing.
    """
    x = select_rows(data, n, seed)
    records = []
    for node in nodes:
        do = {node: draw_other_bin(x[node], data[node], seed=seed)}
        truth = data.truth(x, do)
        scored = [name for name in scm.graph.descendants([node]) if name in truth]
        doing_nothing = {name: _error(scm.variables[name], x[name], truth[name]) for name in scored}
        for residual in residuals:
            answer = _in_batches(scm, x, do, residual)
            for name in scored:
                error = _error(scm.variables[name], answer[name].cpu(), truth[name])
                records.append(
                    {
                        "metric": "truth error",
                        "do": node,
                        "node": name,
                        "unit": _unit(scm.variables[name]),
                        "residual": residual,
                        **_mean(error),
                        "doing_nothing": float(doing_nothing[name].mean()),
                        "n": n,
                        "seed": seed,
                    }
                )
    return records


def composition(
    scm: StructuralCausalModel,
    x: Batch,
    *,
    cycles: Sequence[int] = (1, 10),
    residuals: Sequence[float] = (1.0, 0.0),
) -> list[dict[str, Any]]:
    """How far images drift under null interventions with every mechanism recomputed.

    With residual 1 the composition of any amortised model is perfect, trained or not; residual 0
    shows what its latents hold. Read both beside the truth error.

    Args:
        scm: A fitted model.
        x: Observed rows.
        cycles: Numbers of null interventions after which to look.
        residuals: Scales of the residual noise.
    """
    images = [node for node, variable in scm.variables.items() if isinstance(variable, Image)]
    records = []
    for residual in residuals:
        current: Mapping[str, Tensor] = x
        for cycle in range(1, max(cycles) + 1):
            current = _in_batches(scm, Batch(dict(current), x.index), {}, residual, recompute="all")
            if cycle not in cycles:
                continue
            records += [
                {
                    "metric": f"composition({cycle})",
                    "do": "",
                    "node": node,
                    "unit": _unit(scm.variables[node]),
                    "residual": residual,
                    **_mean(grey_level_error(current[node].cpu(), x[node].cpu())),
                    "doing_nothing": 0.0,
                    "n": x.rows,
                }
                for node in images
            ]
    return records


def _in_batches(
    scm: StructuralCausalModel, x: Batch, do: Mapping[str, Tensor], residual: float, **options: Any
) -> dict[str, Tensor]:
    """One counterfactual in pieces of bounded size."""
    parts = []
    for start in range(0, x.rows, BATCH):
        rows = slice(start, start + BATCH)
        acted = {node: value[rows] for node, value in do.items()}
        parts.append(scm.counterfactual(x[rows], acted, residual=residual, seed=0, **options))
    return {node: torch.cat([part[node] for part in parts]) for node in scm.graph.nodes}


def _error(variable: Variable, x: Tensor, y: Tensor) -> Tensor:
    """The error that suits a variable, one per row."""
    if isinstance(variable, Image):
        return grey_level_error(x, y)
    return (x != y).float() if variable.discrete else absolute_error(x, y)


def _unit(variable: Variable) -> str:
    if isinstance(variable, Image):
        return "grey levels"
    return "share wrong" if variable.discrete else variable.unit


def _mean(error: Tensor) -> dict[str, float]:
    standard_error = float(error.double().std() / error.numel() ** 0.5) if error.numel() > 1 else float("nan")
    return {"value": float(error.double().mean()), "standard_error": standard_error}
