"""Training of predictors, and which rows they may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from causalcf import training
from causalcf.core import seeding
from causalcf.core.errors import DataError
from causalcf.core.provenance import provenance
from causalcf.core.signatures import checked
from causalcf.data import Batch, read
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Recipe
from causalcf.predictors.network import Predictor

__all__ = ["Part", "fit", "part"]

TUNE_EVERY = 6
"""Every sixth row is kept from the judges, for predictors that guide fine-tuning."""

Part = Literal["judge", "tune", "all"]
"""Which rows a predictor may see. A judge and a predictor that guides fine-tuning share none."""


@checked
def part(rows: int, which: Part) -> Tensor:
    """Row numbers of a part of a data set: `tune` has every sixth row, `judge` the others.

    Example:
        >>> part(8, "judge"), part(8, "tune")
        (tensor([0, 1, 2, 3, 4, 6, 7]), tensor([5]))
    """
    index = torch.arange(rows)
    if which == "all":
        return index
    if which not in ("judge", "tune"):
        raise DataError(f"There is no part {which!r}. Choose one of ['judge', 'tune', 'all'].")
    tune = index % TUNE_EVERY == TUNE_EVERY - 1
    return index[tune if which == "tune" else ~tune]


@checked
@torch.inference_mode(False)
def fit(
    predictor: Predictor,
    data: Mapping[str, Any],
    *,
    which: Part = "judge",
    test: Mapping[str, Any] | None = None,
    name: str = "",
    validation: float = 0.1,
    recipe: Recipe | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    precision: str = "32-true",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Predictor:
    """Train a predictor in place, as mechanisms are trained: the arrow image -> target is one more node.

    Args:
        predictor: The predictor to train.
        data: The training split: image, target and given nodes, in data units.
        which: The part of its rows to use; what fine-tuned models are judged by must not have seen
            what tuned them.
        test: Rows to measure the predictor's own error on; by default the validation rows.
        name: Of the data, for the record.
        validation: Share of the rows to validate on.
        recipe: Training settings instead of the predictor's own.
        seed: Seed of weights, order and jitter.
        device: Where to train.
        precision: "32-true" or "bf16-mixed".
        checkpoint: File written after every epoch.
        resume: Go on from it.
        progress: Show a progress bar.

    Returns:
        The predictor, fitted, with `score`, `trained_on` and `provenance`.

    Raises:
        DataError: Missing columns, bad values, or a target that is constant.
        CheckpointError: The checkpoint belongs to another run, or exists and `resume` is false. The predictor is
            then what it was.
        TrainingError: The loss is not finite.
    """
    wanted = [predictor.target, *predictor.parents]
    lacks = [node for node in wanted if node not in data]
    if lacks:
        raise DataError(f"The data lack {lacks}, which {predictor.name} is trained on.")
    device = training.join(device)
    variables = {predictor.target: predictor.variable, predictor.node: predictor.image, **predictor.given}
    values = data.held if isinstance(data, Batch) else data  # pictures are yet to be read
    table = read({node: values[node] for node in wanted}, variables, device=device)
    if isinstance(test, Batch):
        test.prepare(progress=progress)
    index = part(table.rows, which)
    train, held_out = training.split(table.select(index).prepare(progress=progress), validation, seed)
    job = training.Fit(
        {predictor.target: predictor},
        {predictor.target: tuple(predictor.parents)},
        {predictor.target: training.plan(predictor, recipe)},
        CausalGraph([(cause, predictor.target) for cause in predictor.parents], variables).to_json(),
        seed,
        precision=precision,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        progress=progress,
    )
    predictor.balanced = any(predictor.target in stage.recipe.balance for stage in job.stages[predictor.target])  # type: ignore[union-attr]
    training.check(job, train, held_out, resume=resume)
    with seeding.seeded(seeding.derive(seed, predictor.target, "weights")):
        predictor.to("cpu").build()
    predictor.to(device)
    training.fit(job, train, held_out, resume=resume)
    mask = torch.zeros(table.rows, dtype=torch.bool)
    mask[index] = True
    predictor.trained_on = {"data": name, "part": which, "n": len(index), "mask": mask}
    predictor.history = job.history
    score = predictor.measure(held_out if test is None else test, "validation rows" if test is None else "test")
    predictor.score = replace(score, data=f"{name} {score.data}".strip())
    predictor.provenance = provenance(seed=seed, device=device, precision=precision)
    return predictor
