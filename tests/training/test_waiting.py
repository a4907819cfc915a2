"""No training step waits for the device: what reads a number off it or copies to it is counted by mechanism."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from contracts.test_mechanisms import CASES, Row, _id, _observed, _ready
from torch import Tensor

import causalcf as ccf
from causalcf import predictors, training
from causalcf.costs.counting import Watch
from causalcf.data import Batch
from causalcf.finetuning import Tuning
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Recipe, Trainable

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WAITS: dict[str, dict[str, int]] = {}
"""Mechanism -> what still waits in a step, and how often: nothing may be added."""
ROWS = 32


def _trainers(mechanism: Trainable, parents: dict[str, Any], rows: Batch) -> list[training.Trainer]:
    variables = {**parents, "node": mechanism.variable}
    graph = CausalGraph([(parent, "node") for parent in parents], variables) if parents else _alone(variables)
    recipe = Recipe(epochs=1, batch_size=ROWS, ema=0.9)
    stages = tuple(replace(stage, recipe=recipe) for stage in training.plan(mechanism))
    job = training.Fit(graph, {"node": mechanism}, {"node": stages}, 0, progress=False)
    return [training.Trainer(job, "node", index, rows, rows) for index in range(len(stages))]


def _alone(variables: dict[str, Any]) -> CausalGraph:
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_node("node")
    return CausalGraph(graph, variables)


def _waits(trainer: training.Trainer, rows: Tensor) -> dict[str, int]:
    trainer._training_mode()
    trainer.step(0, rows)
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        with Watch() as watch:
            trainer.step(1, rows)
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
    for trainer in _trainers(mechanism.to(DEVICE), dict(row.parents), rows):
        assert _waits(trainer, torch.arange(ROWS, device=DEVICE)) == WAITS.get(name, {}), trainer.name


def test_no_step_of_fine_tuning_waits() -> None:
    scm = ccf.pretrained("morphomnist-vae").to(DEVICE)
    rows = scm.sample(ROWS, seed=0)
    judges = predictors.pretrained("morphomnist", which="tune", device=DEVICE)
    ancestors = {name: (scm.mechanisms[name], scm.graph.parents(name)) for name in scm.graph.ancestors(["image"])}
    tuning = Tuning(
        scm.mechanisms["image"], ancestors, judges, slack=0.1, actions={"digit": 1.0}, start=0.1, ascent=0.1
    )
    stages = tuple(replace(s, recipe=Recipe(epochs=1, batch_size=ROWS, ema=0.9)) for s in training.plan(tuning))
    variables = {name: scm.variables[name] for name in (*ancestors, "image")}
    graph = CausalGraph([(ancestor, "image") for ancestor in ancestors], variables)
    job = training.Fit(graph, {"image": tuning}, {"image": stages}, 0, progress=False)
    batch = Batch(dict(rows))
    trainer = training.Trainer(job, "image", 0, batch, batch)
    assert _waits(trainer, torch.arange(ROWS, device=DEVICE)) == {}


def test_what_waits_is_seen() -> None:
    x = torch.randn(8)
    with Watch() as watch:
        float(x.sum())
        x[x > 0]
        torch.tensor([1.0])
        torch.nonzero(x)
    assert watch.waits == {"_local_scalar_dense": 1, "index": 1, "lift_fresh": 1, "nonzero": 1}
