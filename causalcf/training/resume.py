"""The checkpoint of a run: the finished stages, and the state of the current trainer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from causalcf.core.checkpoint import load_tensors, read_file, write_file
from causalcf.core.digests import digest, named
from causalcf.core.errors import CheckpointError
from causalcf.core.untrusted import doubting
from causalcf.data import Batch
from causalcf.training import processes
from causalcf.training.trainer import Trainer, prefixed, stripped

if TYPE_CHECKING:
    from causalcf.training.job import Fit

__all__ = ["State", "check", "read_state", "run_facts", "take_up", "write_state"]


@dataclass(frozen=True)
class State:
    """How far a run has come: nodes done, and the trainer of the node under way."""

    done: tuple[str, ...] = ()
    trainer: Mapping[str, Tensor] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)


LATER: Mapping[str, Any] = {"average": False, "sparsity": 0.0, "balance": []}
"""Settings that came after the first checkpoints, with the value that means "as before": it is not recorded."""


def run_facts(job: Fit, train: Batch, validation: Batch) -> dict[str, Any]:
    """The settings and data that must be equal if one run is to continue another."""
    return {
        "graph": job.graph,
        "mechanisms": {
            node: [type(mechanism).__name__, _as_json(mechanism.config)] for node, mechanism in job.mechanisms.items()
        },
        "recipes": {node: [_as_json(asdict(stage)) for stage in job.stages[node]] for node in job.mechanisms},
        "seed": job.seed,
        "precision": job.precision,
        "data": [digest(*named(data.held)) for data in (train, validation)],
    }


def write_state(job: Fit, facts: dict[str, Any], done: tuple[str, ...], trainer: Trainer | None) -> None:
    """Write the checkpoint, if there is to be one."""
    if job.checkpoint is None or not processes.first():
        return
    tensors: dict[str, Tensor] = {}
    for node in done if trainer is None else (*done, trainer.node):
        tensors |= prefixed(f"node.{node}", job.mechanisms[node].state_dict())
    header = {
        "kind": "training",
        "fingerprint": facts,
        "done": list(done),
        "trainer": trainer.header() if trainer else {},
        "history": job.history,
    }
    write_file(job.checkpoint, header, tensors | (prefixed("trainer", trainer.tensors()) if trainer else {}))


def read_state(job: Fit, facts: dict[str, Any], *, resume: bool) -> State:
    """Put the checkpoint's weights and history into the job.

    Raises:
        CheckpointError: It belongs to another run, or exists and `resume` is false.
    """
    path = job.checkpoint
    if path is None or not path.exists():
        return State()
    header, tensors = _read(path, facts, resume=resume)
    with doubting(path):
        job.history[:] = [dict(record) for record in header["history"]]
        for node in dict.fromkeys(name.split(".")[1] for name in tensors if name.startswith("node.")):
            load_tensors(job.mechanisms[node], stripped(f"node.{node}", tensors), path, f"node '{node}'")
            if node in header["done"]:
                job.mechanisms[node].requires_grad_(False).eval()
        held = {name.split(".")[1] for name in tensors if name.startswith("node.")}
        lost = [node for node in header["done"] if job.mechanisms[node].state_dict() and node not in held]
        if lost:
            raise CheckpointError(
                f"{path} holds no weights of {lost}, which it says are done. Remove it and fit again."
            )
        return State(tuple(header["done"]), stripped("trainer", tensors), dict(header["trainer"]))


def take_up(job: Fit, trainer: Trainer, state: State) -> None:
    """Put the checkpoint's state of the trainer under way into a new trainer.

    Raises:
        CheckpointError: It is not the state of such a trainer.
    """
    path = job.checkpoint or Path("the checkpoint")
    with doubting(path):
        own, header = trainer.tensors(), state.header
        theirs = {
            name: tensor for name, tensor in state.trainer.items() if not name.startswith(("best.", "optimizer."))
        }
        expected = {name: tensor for name, tensor in own.items() if not name.startswith(("best.", "optimizer."))}
        weights = stripped("weights", own)
        best = stripped("best", state.trainer)
        fits = _layout(theirs) == _layout(expected) and (not best or _layout(best) == _layout(weights))
        counts = [header[name] for name in ("epoch", "stale", "skipped", "averaged")]
        fits &= all(type(count) is int and 0 <= count < 2**53 for count in counts) and type(header["best"]) is float
        if not fits:
            raise CheckpointError(
                f"{path} holds no state of the training of '{trainer.name}'. Remove it and fit again."
            )
        trainer.load(state.trainer, header)


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}


def check(job: Fit, train: Batch, validation: Batch, *, resume: bool) -> None:
    """Refuse a checkpoint that is not this run's, before anything is touched.

    Args:
        job: The fit to come.
        train: Training rows.
        validation: Validation rows.
        resume: Whether the run is to go on from the checkpoint.

    Raises:
        CheckpointError: It belongs to another run, or exists and `resume` is false.
    """
    if job.checkpoint is not None and job.checkpoint.exists():
        _read(job.checkpoint, run_facts(job, train, validation) if resume else {}, resume=resume)


def _read(path: Path, facts: Mapping[str, Any], *, resume: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not resume:
        raise CheckpointError(f"{path} exists already. Pass resume=True to go on from it (--resume), or remove it.")
    header, tensors = read_file(path)
    if header.get("kind") != "training":
        raise CheckpointError(f"{path} is not the checkpoint of a training run. Load models with SCM.load.")
    with doubting(path):
        different = [key for key, value in facts.items() if header["fingerprint"].get(key) != value]
        done, trainer = header["done"], header["trainer"]
        whole = isinstance(done, list) and isinstance(trainer, dict) and isinstance(header["history"], list)
        if not whole or not all(isinstance(node, str) for node in done):
            raise CheckpointError(f"{path} does not say what is done. Remove it and fit again.")
    if different:
        raise CheckpointError(
            f"{path} belongs to another run: its {', '.join(different)} differ. Use the settings it was"
            " started with, or another checkpoint file."
        )
    return header, tensors


def _as_json(settings: Any) -> Any:
    """Settings as they come back from a JSON file; values that JSON cannot hold become the name of their type."""

    def without_later(found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in found.items() if name not in LATER or value != LATER[name]}

    text = json.dumps(settings, default=lambda thing: type(thing).__name__)
    return json.loads(text, object_hook=without_later)
