"""Fitting: each mechanism by its own objective, on one split of the data that all nodes share.

The order of the rows, and the noise of stochastic objectives, follow from (seed, node, epoch)
alone, so a run that is killed and resumed gives the same bits as one that is not.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from math import ceil, cos, pi
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from causalcf import seeding
from causalcf.checkpoint import load_tensors, read_file, write_file
from causalcf.data import Batch
from causalcf.errors import CheckpointError, DataError, TrainingError
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism, Recipe

__all__ = ["Fit", "fit", "split"]

MAX_SKIPPED = 5
"""Steps with a non-finite loss or gradient that one node may skip before training stops."""

REPORT_EVERY = 20
"""Steps between looks at the loss: a look makes the host wait for the device."""


@dataclass
class Fit:
    """What is being fitted, and how far it has come.

    Args:
        graph: The causal graph.
        mechanisms: node -> mechanism, bound.
        recipes: node -> training settings.
        seed: What initial weights, row order and objective noise follow from.
        precision: Lightning Fabric's name of the precision, for example "32-true" or "bf16-mixed".
        checkpoint: File to write after every epoch.
        history: One record per node and epoch.
    """

    graph: CausalGraph
    mechanisms: Mapping[str, Mechanism]
    recipes: Mapping[str, Recipe]
    seed: int
    precision: str = "32-true"
    checkpoint: Path | None = None
    progress: bool = True
    history: list[dict[str, Any]] = field(default_factory=list)

    def fingerprint(self, train: Batch, validation: Batch) -> dict[str, Any]:
        """What must be equal for a run to be the continuation of another."""
        return {
            "graph": self.graph.to_json(),
            "mechanisms": {
                node: [type(mechanism).__name__, _as_json(mechanism.config)]
                for node, mechanism in self.mechanisms.items()
            },
            "recipes": {node: _as_json(asdict(recipe)) for node, recipe in self.recipes.items()},
            "seed": self.seed,
            "precision": self.precision,
            "data": [_digest(train), _digest(validation)],
        }


def split(data: Batch, share: float, seed: int) -> tuple[Batch, Batch]:
    """Training and validation rows, the same for every node.

    Args:
        data: All rows.
        share: Part of the rows to validate on, in (0, 1).
        seed: What the split follows from.

    Raises:
        DataError: The share is not in (0, 1), or leaves one side empty.
    """
    held_out = round(data.rows * share)
    if not 0 < share < 1 or not 0 < held_out < data.rows:
        raise DataError(f"validation={share} of {data.rows} rows leaves a side empty. Give a share in (0, 1) or data.")
    order = torch.randperm(data.rows, generator=torch.Generator().manual_seed(seeding.derive(seed, "split")))
    return data[order[held_out:]], data[order[:held_out]]


@torch.enable_grad()  # whatever the caller has switched off
def fit(job: Fit, train: Batch, validation: Batch, *, resume: bool = False) -> None:
    """Fit every mechanism that is given, in their order, in place.

    Args:
        job: What to fit.
        train: Training rows, on the device to train on.
        validation: Rows that decide about early stopping and which weights are kept.
        resume: Go on from `job.checkpoint` if it is there.

    Raises:
        TrainingError: Losses are not finite.
        CheckpointError: The checkpoint belongs to another run, or exists and `resume` is false.
    """
    fingerprint = job.fingerprint(train, validation)
    state = _read_checkpoint(job, fingerprint, resume=resume)
    with _progress(job.progress) as report:
        for node, mechanism in job.mechanisms.items():
            if node in state.done or not mechanism.sites:
                mechanism.fitted = True
                continue
            started = time.perf_counter()
            pa = {parent: train[parent] for parent in job.graph.parents(node)}
            if not state.trainer:
                mechanism.calibrate(train[node], pa)
            with seeding.seeded(seeding.derive(job.seed, node, "solve"), mechanism.device):
                solved = mechanism.solve(train[node], pa)
            if solved:
                job.history.append(_solved(job, node, mechanism, train, validation, started))
            else:
                trainer = Trainer(job, node, train, validation)
                trainer.load(state.trainer, state.trainer_header)
                for record in trainer.epochs(report):
                    job.history.append(record)
                    _write_checkpoint(job, fingerprint, state.done, trainer)
                trainer.finish()
            mechanism.fitted = True
            state = _State(done=(*state.done, node))
            _write_checkpoint(job, fingerprint, state.done, None)


class Trainer:
    """Gradient descent on one mechanism's loss, an epoch at a time."""

    def __init__(self, job: Fit, node: str, train: Batch, validation: Batch) -> None:
        from lightning_fabric import Fabric

        self.job, self.node = job, node
        self.mechanism = job.mechanisms[node]
        self.recipe = job.recipes[node]
        self.parents = job.graph.parents(node)
        self.train, self.validation = train, validation
        self.steps_per_epoch = ceil(train.rows / self.recipe.batch_size)
        self.num_epochs = max(self.recipe.epochs, ceil(self.recipe.min_steps / self.steps_per_epoch))
        device = self.mechanism.device
        self.fabric = Fabric(
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
            precision=_precision(job.precision, self.mechanism),  # type: ignore[arg-type]
        )
        self.mechanism.requires_grad_(True)
        optimizer = torch.optim.AdamW(
            self.mechanism.parameters(),
            lr=self.recipe.lr,
            betas=self.recipe.betas,
            weight_decay=self.recipe.weight_decay,
        )
        self.objective, self.optimizer = self.fabric.setup(Objective(self.mechanism), optimizer)
        self.average = AveragedModel(self.mechanism, multi_avg_fn=_ramped_average(self.recipe.ema))
        self.epoch, self.stale, self.best = 0, 0, float("inf")
        self.best_weights = _copy(self.mechanism.state_dict())
        self.skipped = torch.zeros((), dtype=torch.long, device=device)

    def epochs(self, report: Report) -> Iterator[dict[str, Any]]:
        """Train to the end, giving one record an epoch."""
        report.start(self.node, self.num_epochs * self.steps_per_epoch, done=self.epoch * self.steps_per_epoch)
        while self.epoch < self.num_epochs and self.stale < self.recipe.patience:
            started = time.perf_counter()
            loss = self._train_epoch(report)
            validation = self._validate()
            self.epoch += 1
            self.stale += 1
            if validation < self.best + self.recipe.slack / self.validation.rows**0.5:
                self.stale = 0
                self.best_weights = _copy(self.average.module.state_dict())
            self.best = min(self.best, validation)
            yield {
                "node": self.node,
                "epoch": self.epoch,
                "train": loss,
                "validation": validation,
                "lr": self.optimizer.param_groups[0]["lr"],
                "skipped": int(self.skipped),
                "seconds": time.perf_counter() - started,
            }
        report.stop(self.best)

    def finish(self) -> None:
        """Leave the best weights in the mechanism, frozen and ready for queries.

        Raises:
            TrainingError: No epoch had a finite validation loss, so no weights are better than others.
        """
        if self.epoch and self.best == float("inf"):
            raise TrainingError(
                f"'{self.node}': the validation loss was NaN or infinite after each of {self.epoch} epochs."
                " Look for outliers in the validation rows, or lower the learning rate."
            )
        self.mechanism.load_state_dict(self.best_weights)
        self.mechanism.requires_grad_(False).eval()

    def _train_epoch(self, report: Report) -> float:
        self.mechanism.train()
        total = torch.zeros((), device=self.mechanism.device)
        seed = seeding.derive(self.job.seed, self.node, "epoch", self.epoch)
        with seeding.seeded(seed, self.mechanism.device):
            order = torch.randperm(self.train.rows, device=self.mechanism.device)
            for i, rows in enumerate(order.split(self.recipe.batch_size)):
                loss = self._step(self.epoch * self.steps_per_epoch + i, rows)
                total += loss
                if i % REPORT_EVERY == 0 or i == self.steps_per_epoch - 1:
                    report.advance(min(i + 1, REPORT_EVERY), float(loss))
                    self._check_skipped()
        return float(total) / self.steps_per_epoch

    def _step(self, step: int, rows: Tensor) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * schedule(step, self.recipe.warmup, self.num_epochs * self.steps_per_epoch)
        self.optimizer.zero_grad()
        loss = self.objective(*_rows(self.train, self.node, self.parents, rows))
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.objective, self.optimizer, max_norm=self.recipe.clip, error_if_nonfinite=False
        )
        finite = torch.isfinite(loss.detach()) & torch.isfinite(norm)  # type: ignore[arg-type]
        self.skipped += ~finite
        # A step that is not finite becomes a step along nothing, decided on the device.
        for parameter in self.mechanism.parameters():
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0).mul_(finite)
        self.optimizer.step()
        self.average.update_parameters(self.mechanism)
        return torch.where(finite, loss.detach(), 0.0)

    def _check_skipped(self) -> None:
        if int(self.skipped) > MAX_SKIPPED:
            raise TrainingError(
                f"'{self.node}': the loss or its gradient was NaN or infinite in {int(self.skipped)} steps"
                f" (epoch {self.epoch + 1}). Lower the learning rate or look at the data; the last checkpoint is kept."
            )

    @torch.no_grad()
    def _validate(self) -> float:
        mechanism: Mechanism = self.average.module.eval()  # type: ignore[assignment]
        total, rows = 0.0, torch.arange(self.validation.rows, device=mechanism.device)
        with seeding.seeded(seeding.derive(self.job.seed, self.node, "validation"), mechanism.device):
            for batch in rows.split(4 * self.recipe.batch_size):
                with self.fabric.autocast():
                    loss = mechanism.loss(*_rows(self.validation, self.node, self.parents, batch))
                total += float(loss) * len(batch)
        return total / self.validation.rows

    # ------------------------------------------------------------------ state, for checkpoints

    def header(self) -> dict[str, Any]:
        """The numbers of the state."""
        return {"epoch": self.epoch, "stale": self.stale, "best": self.best, "skipped": int(self.skipped)}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the state: weights, their average, the best so far, the optimiser's moments."""
        moments = {
            f"optimizer.{i}.{name}": torch.as_tensor(value)
            for i, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        return {
            **_prefixed("weights", self.mechanism.state_dict()),
            **_prefixed("average", self.average.state_dict()),
            **_prefixed("best", self.best_weights),
            **moments,
        }

    def load(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Take up a state again; an empty one changes nothing."""
        if not tensors:
            return
        self.epoch, self.stale, self.best = header["epoch"], header["stale"], header["best"]
        self.skipped += header["skipped"]
        self.mechanism.load_state_dict(_stripped("weights", tensors))
        self.average.load_state_dict(_stripped("average", tensors))
        self.best_weights = _stripped("best", tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _stripped("optimizer", tensors).items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})


class Objective(nn.Module):
    """A mechanism's loss as a module's forward, which is what distributed wrappers see."""

    def __init__(self, mechanism: Mechanism) -> None:
        super().__init__()
        self.mechanism = mechanism

    def forward(self, x: Tensor, pa: dict[str, Tensor]) -> Tensor:
        return self.mechanism.loss(x, pa)


def schedule(step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate: linear warm-up by step, then a cosine to zero.

    The warm-up takes at most a tenth of all steps, and its first step is not zero.

    Example:
        >>> schedule(0, 10, 1000), schedule(9, 10, 1000), round(schedule(999, 10, 1000), 4)
        (0.1, 1.0, 0.0)
    """
    warmup = max(1, min(warmup, total // 10))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + cos(pi * (step + 1 - warmup) / (total + 1 - warmup)))


def _precision(asked: str, mechanism: Mechanism) -> str:
    """The precision asked for, or full precision where a mechanism does not bear a mixed one."""
    return "32-true" if asked.endswith("-mixed") and not mechanism.mixed_precision else asked


def _ramped_average(decay: float) -> Any:
    """Exponential average whose decay grows from 0, so that short runs are not ruled by their start."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        share = (1 + count) / (10 + count)
        weight = 1 - torch.clamp(share, max=decay)
        torch._foreach_lerp_(averaged, current, [weight.to(p) for p in averaged])

    return average


def _rows(data: Batch, node: str, parents: tuple[str, ...], rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    return data[node][rows], {parent: data[parent][rows] for parent in parents}


def _solved(
    job: Fit, node: str, mechanism: Mechanism, train: Batch, validation: Batch, started: float
) -> dict[str, Any]:
    """The record of a node fitted in closed form."""
    with torch.no_grad():
        losses = {
            name: float(mechanism.loss(data[node], {p: data[p] for p in job.graph.parents(node)}))
            for name, data in (("train", train), ("validation", validation))
        }
    mechanism.requires_grad_(False).eval()
    seconds = time.perf_counter() - started
    return {"node": node, "epoch": 0, **losses, "lr": 0.0, "skipped": 0, "seconds": seconds}


# ---------------------------------------------------------------------- checkpoints of a run


@dataclass(frozen=True)
class _State:
    """How far a run has come: nodes done, and the trainer of the node under way."""

    done: tuple[str, ...] = ()
    trainer: Mapping[str, Tensor] = field(default_factory=dict)
    trainer_header: Mapping[str, Any] = field(default_factory=dict)


def _write_checkpoint(job: Fit, fingerprint: dict[str, Any], done: tuple[str, ...], trainer: Trainer | None) -> None:
    if job.checkpoint is None:
        return
    tensors: dict[str, Tensor] = {}
    for node in done if trainer is None else (*done, trainer.node):
        tensors |= _prefixed(f"node.{node}", job.mechanisms[node].state_dict())
    header = {
        "kind": "training",
        "fingerprint": fingerprint,
        "done": list(done),
        "trainer": trainer.header() if trainer else {},
        "history": job.history,
    }
    write_file(job.checkpoint, header, tensors | (_prefixed("trainer", trainer.tensors()) if trainer else {}))


def _read_checkpoint(job: Fit, fingerprint: dict[str, Any], *, resume: bool) -> _State:
    path = job.checkpoint
    if path is None or not path.exists():
        return _State()
    if not resume:
        raise CheckpointError(f"{path} exists already. Pass resume=True to go on from it, or remove it.")
    header, tensors = read_file(path)
    if header.get("kind") != "training":
        raise CheckpointError(f"{path} is not the checkpoint of a training run. Load models with SCM.load.")
    different = [key for key, value in fingerprint.items() if header["fingerprint"].get(key) != value]
    if different:
        raise CheckpointError(
            f"{path} belongs to another run: its {', '.join(different)} differ. Use the settings it was"
            " started with, or another checkpoint file."
        )
    job.history[:] = header["history"]
    for node in {name.split(".")[1] for name in tensors if name.startswith("node.")}:
        load_tensors(job.mechanisms[node], _stripped(f"node.{node}", tensors), path, f"node '{node}'")
        if node in header["done"]:
            job.mechanisms[node].requires_grad_(False).eval()
    return _State(tuple(header["done"]), _stripped("trainer", tensors), header["trainer"])


def _as_json(value: Any) -> Any:
    """A value as it comes back from a JSON file; what JSON cannot hold, by its type."""
    return json.loads(json.dumps(value, default=lambda thing: type(thing).__name__))


def _digest(data: Batch) -> str:
    digest = hashlib.sha256()
    for name, value in data.items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _stripped(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


# ---------------------------------------------------------------------- progress


class Report:
    """Says nothing; the base of a progress display."""

    def start(self, node: str, total: int, done: int) -> None:
        """A node begins, some of its steps done already."""

    def advance(self, steps: int, loss: float) -> None:
        """Some more steps are done, the last with this loss."""

    def stop(self, best: float) -> None:
        """The node is done; its best validation loss."""


class _Bar(Report):
    """A rich progress bar per node, with the loss."""

    def __init__(self, bars: Any) -> None:
        self.bars = bars

    def start(self, node: str, total: int, done: int) -> None:
        self.task = self.bars.add_task(node, total=total, completed=done, loss="")

    def advance(self, steps: int, loss: float) -> None:
        self.bars.update(self.task, advance=steps, loss=f"loss {loss:.4g}")

    def stop(self, best: float) -> None:
        total = self.bars.tasks[self.task].total
        self.bars.update(self.task, completed=total, loss=f"validation {best:.4g}")


@contextmanager
def _progress(show: bool) -> Iterator[Report]:
    if not show:
        yield Report()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("fit {task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Bar(bars)


def recipe_of(mechanism: Mechanism, epochs: int | None) -> Recipe:
    """A mechanism's training settings, with the number of epochs replaced if one is given."""
    recipe = mechanism.recipe or mechanism.default_recipe
    return recipe if epochs is None else replace(recipe, epochs=epochs, min_steps=0)
