"""A run: every mechanism through its stages, with a checkpoint after every epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from causalcf.core import seeding
from causalcf.core.errors import CheckpointError, DataError, MechanismError
from causalcf.data import Batch
from causalcf.mechanisms import Recipe, Stage, Trainable
from causalcf.training import processes
from causalcf.training.feeding import all_rows, rows_of, settled_on
from causalcf.training.job import Fit, Recipes
from causalcf.training.progress import progress
from causalcf.training.resume import State, read_state, run_facts, take_up, write_state
from causalcf.training.trainer import Trainer

__all__ = ["Fit", "Recipes", "fit", "plan", "recipe_of", "split"]


def split(data: Batch, share: float, seed: int) -> tuple[Batch, Batch]:
    """Training and validation rows, the same for every node.

    Args:
        data: All rows.
        share: Part of the rows to validate on, in (0, 1).
        seed: Seed of the split.

    Raises:
        DataError: The share is not in (0, 1), or leaves one side empty.
    """
    held_out = round(data.rows * share) if 0 < share < 1 else 0
    if not 0 < held_out < data.rows:
        raise DataError(f"validation={share} of {data.rows} rows leaves a side empty. Give a share in (0, 1) or data.")
    order = torch.randperm(data.rows, generator=torch.Generator().manual_seed(seeding.derive(seed, "split")))
    return data.select(order[held_out:]), data.select(order[:held_out])


def recipe_of(mechanism: Trainable, epochs: int | None = None) -> Recipe:
    """A mechanism's training settings, with the number of epochs replaced if one is given."""
    recipe = mechanism.recipe or mechanism.default_recipe
    return recipe if epochs is None else replace(recipe, epochs=epochs, min_steps=0)


def plan(mechanism: Trainable, recipes: Recipes | None = None, epochs: int | None = None) -> tuple[Stage, ...]:
    """A mechanism's stages, each with the recipe it will be trained by.

    Args:
        mechanism: The mechanism to train.
        recipes: Settings for the stages that have none of their own, or for stages by name; taken as they are.
        epochs: Passes over the data of the first stage, if `recipes` does not set them; those of the others
            change in proportion.

    Raises:
        MechanismError: There is no stage of that name.

    Example:
        >>> from causalcf.mechanisms import VAE
        >>> [stage.recipe.epochs for stage in plan(VAE(), epochs=5)]
        [5]
    """
    stages = mechanism.stages
    given = recipes if isinstance(recipes, Mapping) else {s.name: recipes for s in stages if recipes and not s.recipe}
    unknown = [name for name in given if name not in [stage.name for stage in stages]]
    if unknown:
        raise MechanismError(
            f"{type(mechanism).__name__} has no stages {unknown}. Its stages are {[stage.name for stage in stages]}."
        )
    own = [stage.recipe or recipe_of(mechanism) for stage in stages]
    if epochs is not None and own:
        first = max(own[0].epochs, 1)
        own = [replace(own[0], epochs=epochs, min_steps=0)] + [
            replace(recipe, epochs=-(-recipe.epochs * epochs // first), min_steps=0) for recipe in own[1:]
        ]
    return tuple(
        replace(stage, recipe=given.get(stage.name) or recipe) for stage, recipe in zip(stages, own, strict=True)
    )


@torch.enable_grad()  # whatever the caller has switched off
def fit(job: Fit, train: Batch, validation: Batch, *, resume: bool = False) -> None:
    """Fit every mechanism that is given, in their order, in place.

    Args:
        job: The mechanisms, their parents and settings.
        train: Training rows, on the device to train on; in a run of several processes, all rows in each of them.
        validation: Rows that decide about early stopping and which weights are kept.
        resume: Go on from `job.checkpoint` if it is there.

    Raises:
        TrainingError: Losses are not finite.
        CheckpointError: The checkpoint belongs to another run, or exists and `resume` is false.
    """
    facts = {} if job.checkpoint is None else run_facts(job, train, validation)  # which reads all rows
    state = read_state(job, facts, resume=resume)
    processes.wait()  # none writes the file while another looks for it
    device = next(iter(job.mechanisms.values())).device if job.mechanisms else torch.device("cpu")
    train, validation = settled_on(train, device), settled_on(validation, device)
    with progress(job.progress and processes.first()) as report:
        for node, mechanism in job.mechanisms.items():
            if node in state.done or not mechanism.sites:
                mechanism.fitted = True
                continue
            started = time.perf_counter()
            x, pa = all_rows(train, node, job.parents[node], mechanism)
            if not state.trainer:
                mechanism.calibrate(x, pa)
            with seeding.seeded(seeding.derive(job.seed, node, "solve"), mechanism.device):
                solved = mechanism.solve(x, pa)
            if solved:
                job.history.append(_solved(job, node, train, validation, started))
            else:
                for trainer in _trainers(job, node, train, validation, state):
                    for record in trainer.epochs(report):
                        job.history.append(record)
                        write_state(job, facts, state.done, trainer)
                    trainer.finish()
                with torch.no_grad():
                    mechanism.settle(x, pa)
            mechanism.fitted = True
            state = State(done=(*state.done, node))
            write_state(job, facts, state.done, None)


def _trainers(job: Fit, node: str, train: Batch, validation: Batch, state: State) -> Iterator[Trainer]:
    """A trainer for each stage that is not behind yet; made when its turn comes."""
    begun = state.header.get("stage", 0)
    if begun not in range(len(job.stages[node]) + 1):
        raise CheckpointError(f"{job.checkpoint} is at stage {begun!r} of '{node}', which has {len(job.stages[node])}.")
    for index in range(begun, len(job.stages[node])):
        trainer = Trainer(job, node, index, train, validation)
        if state.trainer and index == begun:
            take_up(job, trainer, state)
        yield trainer


def _solved(job: Fit, node: str, train: Batch, validation: Batch, started: float) -> dict[str, Any]:
    """The record of a node fitted in closed form."""
    mechanism, parents = job.mechanisms[node], job.parents[node]
    with torch.no_grad():
        whole = [rows_of(data, node, parents, slice(None)) for data in (train, validation)]
        losses = [float(mechanism.loss(x, pa)) for x, pa in whole]
    mechanism.requires_grad_(False).eval()
    return {
        "node": node,
        "stage": "",
        "epoch": 0,
        "train": losses[0],
        "losses": {"loss": losses[0]},
        "validation": losses[1],
        "lr": 0.0,
        "skipped": 0,
        "seconds": time.perf_counter() - started,
    }
