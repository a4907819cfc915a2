"""No training step waits for the device, or makes anything off it: what reads a number off it is counted."""

from dataclasses import replace

import pytest
import torch
from contracts.elsewhere import off
from contracts.test_mechanisms import CASES, Row, _id, _observed, _ready
from torch import Tensor

import causalcf as ccf
from causalcf import predictors, training
from causalcf.costs.counting import Watch
from causalcf.data import Batch
from causalcf.finetuning import Settings, Tuning
from causalcf.mechanisms import Recipe, Trainable
from causalcf.training.replay import ROWS as BATCH

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WAITS: dict[str, dict[str, int]] = {}
"""Mechanism -> what still waits in a step, and how often: nothing may be added."""
ROWS = 32


def _trainers(
    mechanism: Trainable, parents: tuple[str, ...], rows: Batch, node: str = "node"
) -> list[training.Trainer]:
    recipe = Recipe(epochs=1, batch_size=ROWS, ema=0.9)
    stages = tuple(replace(stage, recipe=recipe) for stage in training.plan(mechanism))
    job = training.Fit({node: mechanism}, {node: parents}, {node: stages}, {}, 0, progress=False)
    return [training.Trainer(job, node, index, rows, rows) for index in range(len(stages))]


def _waits(trainer: training.Trainer, rows: Tensor) -> dict[str, int]:
    trainer._training_mode()
    with off(DEVICE):
        trainer.step(0, {BATCH: rows})
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        with Watch() as watch:
            trainer.step(1, {BATCH: rows})
    finally:
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert watch.launches > 10
    return dict(watch.waits)


@pytest.mark.parametrize(("name", "row"), CASES, ids=_id)
def test_no_step_of_a_mechanism_waits(name: str, row: Row) -> None:
    mechanism = _ready(row, torch.float32)
    if not mechanism.sites or not mechanism.stages:
        assert name in ("Deterministic", "Classifier", "Generator"), "what has nothing to learn has no step"
        return
    x, pa = _observed(row, mechanism, ROWS)
    rows = Batch({name: value.to(DEVICE) for name, value in {**pa, "node": x}.items()})
    for trainer in _trainers(mechanism.to(DEVICE), tuple(pa), rows):
        assert _waits(trainer, torch.arange(ROWS, device=DEVICE)) == WAITS.get(name, {}), trainer.name


def test_no_step_of_fine_tuning_waits() -> None:
    scm = ccf.pretrained("morphomnist-vae").to(DEVICE)
    rows = scm.sample(ROWS, seed=0)
    judges = predictors.pretrained("morphomnist", which="tune", device=DEVICE)
    ancestors = {name: (scm.mechanisms[name], scm.graph.parents(name)) for name in scm.graph.ancestors(["image"])}
    tuning = Tuning(scm.mechanisms["image"], ancestors, judges, Settings(slack=0.1, actions={"digit": 1.0}))
    [trainer] = _trainers(tuning, tuple(ancestors), Batch(dict(rows)), "image")
    assert _waits(trainer, torch.arange(ROWS, device=DEVICE)) == {}


def test_what_waits_is_seen() -> None:
    x = torch.randn(8)
    with Watch() as watch:
        float(x.sum())
        x[x > 0]
        torch.tensor([1.0])
        torch.nonzero(x)
    assert watch.waits == {"_local_scalar_dense": 1, "index": 1, "lift_fresh": 1, "nonzero": 1}
