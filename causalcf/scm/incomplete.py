"""Fit a model to rows with gaps: what is missing is drawn by the model itself, given what was observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, Protocol

import torch
from torch import Tensor

from causalcf import training
from causalcf.core import seeding
from causalcf.core.errors import TrainingError
from causalcf.data import Batch
from causalcf.data.frames import open_table
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.scm.gaps import filled, read_gaps
from causalcf.scm.inference import infer

__all__ = ["check_missing", "fit_incomplete", "without_gaps"]

ROUNDS = 8
"""Times that gaps are drawn and the mechanisms fitted again; each leaves about the missing share of the error."""

COPIES = 4
"""Completions of each row that the mechanisms are fitted to."""

DRAWS = 200
"""Weighted draws of each row, from which its completions are taken."""

BLOCK = 2_000
"""Rows whose gaps are drawn at a time."""

ENOUGH = 100
"""Whole rows from which the first fit can start; with fewer, gaps are first filled from other rows."""


class Fittable(Protocol):
    """A structural causal model, as far as it is fitted here."""

    graph: CausalGraph
    provenance: dict[str, Any]

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def mechanisms(self) -> Mapping[str, Mechanism]: ...
    @property
    def fit(self) -> Callable[..., Any]: ...


def without_gaps(graph: CausalGraph, data: Any) -> dict[str, Any]:
    """The columns of the nodes with gaps filled by a value that was observed: enough to tell what the columns are.

    Raises:
        DataError: A node was never observed.
    """
    table = open_table(data).values
    return {node: filled(node, table[node])[0] for node in graph.nodes if node in table}


def check_missing(missing: str, validation: Any, **unfit: Any) -> bool:
    """Whether the model is to learn from incomplete rows.

    Args:
        missing: "refuse" or "model".
        validation: A share of the rows; other data do not go with it.
        unfit: Other options that do not go with it, as they were given, or None.

    Raises:
        TrainingError: There is no such treatment, or an option does not go with it.
    """
    if missing not in ("refuse", "model"):
        raise TrainingError(f'missing must be "refuse" or "model", got {missing!r}.')
    if missing == "refuse":
        return False
    wrong = {name: value is not None for name, value in unfit.items()}
    wrong["validation"] = not isinstance(validation, Real)
    for name, given in wrong.items():
        if given:
            remedy = "Give a share of the rows." if name == "validation" else f"Leave {name} out."
            raise TrainingError(f'missing="model" fits all nodes several times, which {name} does not fit. {remedy}')
    return True


def fit_incomplete(scm: Fittable, data: Any, validation: float, seed: int, **options: Any) -> None:
    r"""Fit by Monte Carlo expectation maximisation.

    E-step: draw the missing values of each row given its observed ones, :math:`x_{mis} \sim p_\theta(\cdot \mid
    x_{obs})`, as `scm.infer` does. M-step: fit the mechanisms to the completed rows. This maximises the likelihood of
    what was observed where values are missing at random: where it depends on observed values alone which are missing.

    References:
        Dempster, Laird, Rubin, "Maximum Likelihood from Incomplete Data via the EM Algorithm", 1977. Wei and Tanner,
        "A Monte Carlo Implementation of the EM Algorithm and the Poor Man's Data Augmentation Algorithms", 1990.

    Args:
        scm: The model, its graph declared and its mechanisms bound.
        data: Rows with gaps; every node was observed in some.
        validation: Share of the rows to validate on; a row and its completions lie on one side.
        seed: Seed of weights, split and draws.
        options: What else `scm.fit` takes: epochs, recipes, device, precision, compile, progress.
    """
    rows, gaps = read_gaps(scm.graph, scm.mechanisms, data, {}, scm.dtype, "cpu")
    sides = training.split(Batch({"row": torch.arange(rows.rows)}), validation, seed)
    train, held_out = (_part(rows, gaps, side["row"]) for side in sides)
    first = [_start(part, lacks, seed, enough) for (part, lacks), enough in ((train, ENOUGH), (held_out, 1))]
    scm.fit(first[0], validation=first[1], seed=seed, **options)
    made = scm.provenance
    moved = {node for node in scm.graph.nodes if {node, *scm.graph.parents(node)} & set(gaps)}
    moved = [node for node in moved if scm.mechanisms[node].sites]
    for round_number in range(ROUNDS if gaps else 0):
        drawn = seeding.derive(seed, "gaps", str(round_number))
        whole = [_completed(scm, part, lacks, drawn) for part, lacks in (train, held_out)]
        scm.fit(whole[0], validation=whole[1], nodes=moved, seed=seed, **options)
    counts = {node: int(gap.sum()) for node, gap in gaps.items()}
    scm.provenance = {**made, "gaps": counts, "rounds": ROUNDS}


def _part(rows: Batch, gaps: Mapping[str, Tensor], chosen: Tensor) -> tuple[Batch, dict[str, Tensor]]:
    """Some of the rows, and which of them lack what."""
    return rows.select(chosen), {node: gap[chosen] for node, gap in gaps.items()}


def _lacking(rows: Batch, gaps: Mapping[str, Tensor]) -> Tensor:
    """Which rows lack anything, (N,), bool."""
    return torch.stack([torch.zeros(rows.rows, dtype=torch.bool), *gaps.values()]).any(0)


def _start(rows: Batch, gaps: Mapping[str, Tensor], seed: int, enough: int) -> Batch:
    """The whole rows, or, where they are few, all of them with gaps filled by values of other rows."""
    whole = ~_lacking(rows, gaps)
    if int(whole.sum()) >= enough:
        return rows.select(whole)
    values = {node: rows[node].clone() for node in rows}
    for node, gap in gaps.items():
        generator = torch.Generator().manual_seed(seeding.derive(seed, "start", node))
        donors = (~gap).nonzero()[:, 0]
        picked = torch.randint(len(donors), (int(gap.sum()),), generator=generator)
        values[node][gap] = values[node][donors[picked]]
    return rows.like(values)


def _completed(scm: Fittable, rows: Batch, gaps: Mapping[str, Tensor], seed: int) -> Batch:
    """`COPIES` of each row, gaps drawn given what was observed."""
    lacking = _lacking(rows, gaps).nonzero()[:, 0]
    whole = torch.ones(rows.rows, dtype=torch.bool).index_fill(0, lacking, value=False).nonzero()[:, 0]
    parts = [rows.select(whole.repeat(COPIES))] if len(whole) else []
    for chosen in lacking.split(BLOCK):
        part, lacks = _part(rows, gaps, chosen)
        moved = part.like({node: part[node].to(scm.device) for node in part})
        posterior = infer(scm.graph, scm.mechanisms, moved, lacks, num_samples=DRAWS, seed=seed)
        drawn = {node: value.flatten(0, 1).cpu() for node, value in posterior.resampled(COPIES).items()}
        parts.append(part.select(torch.arange(part.rows).repeat(COPIES)).like(drawn))
    return Batch.join(parts)
