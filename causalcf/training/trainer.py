"""Gradient descent on one stage of one mechanism."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, cos, inf, pi
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from causalcf.core import seeding
from causalcf.core.errors import CheckpointError, MechanismError, TrainingError
from causalcf.data import Batch
from causalcf.mechanisms import Recipe, Trainable, Turn
from causalcf.training import processes
from causalcf.training.balancing import drawn_order, row_weights
from causalcf.training.feeding import feed, rows_of
from causalcf.training.progress import Report
from causalcf.training.replay import ROWS, Replay, replays

if TYPE_CHECKING:
    from causalcf.training.job import Fit

__all__ = ["MAX_SKIPPED", "Trainer", "compiled_objective", "prefixed", "schedule", "stripped"]

MAX_SKIPPED = 5
"""Turns with a non-finite loss or gradient that one stage may skip before training stops."""

WITH_GRADIENTS = 3.5
"""A training step takes about so many times as long as its losses alone."""

REPORT_EVERY = 20
"""Steps between looks at the loss: a look makes the host wait for the device."""


class Trainer:
    """Gradient descent through one stage of a mechanism's training, an epoch at a time."""

    def __init__(self, job: Fit, node: str, index: int, train: Batch, validation: Batch) -> None:
        self.job, self.node, self.index = job, node, index
        self.mechanism = job.mechanisms[node]
        self.stage = job.stages[node][index]
        self.recipe: Recipe = self.stage.recipe or self.mechanism.default_recipe
        self.parents = job.parents[node]
        self.train, self.validation = train, validation
        self.steps_per_epoch = ceil(train.rows / self.recipe.batch_size)
        self.num_epochs = max(self.recipe.epochs, ceil(self.recipe.min_steps / self.steps_per_epoch))
        replay = job.compile and replays(self.mechanism.device)
        compiled = job.compile and not replay
        self.optimizers = {
            turn: TurnOptimizer(turn, self.mechanism, self.recipe, compiled, replay) for turn in self.stage.turns
        }
        self.turns = Replay(self._turns, self.recipe.batch_size) if replay else self._turns
        self.moved = {parameter for optimizer in self.optimizers.values() for parameter in optimizer.parameters}
        self.mechanism.requires_grad_(False)
        for parameter in self.moved:
            parameter.requires_grad_(True)
        self.average = Average(self.mechanism, self.recipe.ema)
        self.weights = row_weights(train, self.recipe.balance, self.mechanism.balances, self.name)
        self.epoch, self.stale, self.best = 0, 0, inf
        self.best_weights: dict[str, Tensor] = {}
        self.skipped = torch.zeros((), dtype=torch.long, device=self.mechanism.device)

    @property
    def name(self) -> str:
        """The node, and the stage if it has a name."""
        return f"{self.node} {self.stage.name}".strip()

    def epochs(self, report: Report) -> Iterator[dict[str, Any]]:
        """Train to the end, giving one record an epoch."""
        if report.shown:
            report.expect(self.name, self._seconds())
        report.start(self.name, self.num_epochs * self.steps_per_epoch, done=self.epoch * self.steps_per_epoch)
        while self.epoch < self.num_epochs and self.stale < self.recipe.patience:
            started = time.perf_counter()
            losses = self.train_epoch(report)
            self.epoch += 1
            yield {
                "node": self.node,
                "stage": self.stage.name,
                "epoch": self.epoch,
                "train": sum(losses.values()),
                "losses": losses,
                "validation": self._judge(),
                "lr": next(iter(self.optimizers.values())).rate,
                "skipped": int(self.skipped),
                "seconds": time.perf_counter() - started,
                **self.mechanism.facts(),
            }
        report.stop(self.best if self.stage.validation else None)

    def _seconds(self) -> float:
        """About how long all epochs that are left will take, by a copy's losses of one batch."""
        probe = copy.deepcopy(self.mechanism)
        batch = torch.arange(min(self.recipe.batch_size, self.train.rows), device=self.mechanism.device)
        with seeding.seeded(0, self.mechanism.device):
            for _ in range(2):  # the first pays for what only first calls pay for
                started = time.perf_counter()
                for turn in self.stage.turns:
                    with self._autocast():
                        loss = getattr(probe, turn.loss)(*rows_of(self.train, self.node, self.parents, batch))
                        float(loss.detach())
        steps = (self.num_epochs - self.epoch) * self.steps_per_epoch
        return WITH_GRADIENTS * (time.perf_counter() - started) * steps / processes.number()

    def finish(self) -> None:
        """Leave the weights that are kept in the mechanism, frozen and ready for queries or the next stage.

        Raises:
            TrainingError: No epoch had a finite validation loss, so no weights are better than others.
        """
        if self.stage.validation and self.epoch and not self.best_weights:
            raise TrainingError(
                f"'{self.name}': the validation loss was NaN or infinite after each of {self.epoch} epochs."
                " Look for outliers in the validation rows, or lower the learning rate."
            )
        self.mechanism.load_state_dict(self.best_weights or self.average.updated().state_dict())
        self.mechanism.requires_grad_(False).eval()

    # ------------------------------------------------------------------ steps

    def train_epoch(self, report: Report) -> dict[str, float]:
        """One pass over the rows: turn's loss, by name -> its mean."""
        self._training_mode()
        device = self.mechanism.device
        names = [turn.loss for turn in self.stage.turns]
        totals = {name: torch.zeros((), device=device) for name in names}
        seed = seeding.derive(self.job.seed, self.node, *self._labels(), "epoch", self.epoch)
        with seeding.seeded(seed, device):
            order = drawn_order(self.train.rows, self.weights, device)
            if processes.number() > 1:  # the same rows in all processes, but other noise
                torch.manual_seed(seeding.derive(seed, processes.rank()))
            for i, batch in enumerate(self._batches(order)):
                losses = self.step(self.epoch * self.steps_per_epoch + i, batch)
                for name, loss in zip(names, losses, strict=True):
                    totals[name] += loss
                if i % REPORT_EVERY == 0 or i == self.steps_per_epoch - 1:
                    report.advance(min(i + 1, REPORT_EVERY), float(sum(losses)))
                    self._check_skipped()
        return {name: float(total) / (self.steps_per_epoch * names.count(name)) for name, total in totals.items()}

    def _labels(self) -> tuple[int, ...]:
        """Labels that separate the random numbers of this stage from those of the first."""
        return (self.index,) if self.index else ()

    def _training_mode(self) -> None:
        """Set training mode, except for children whose weights are all fixed."""
        self.mechanism.train()
        for child in self.mechanism.children():
            weights = list(child.parameters())
            if weights and self.moved.isdisjoint(weights):
                child.eval()

    def _batches(self, order: Tensor) -> Iterator[dict[str, Tensor]]:
        """Minibatches: the numbers of their rows, and what has been read of this process's share of these."""
        parts = order.split(self.recipe.batch_size)
        shares = [processes.share(part) for part in parts]
        for rows, given in zip(parts, feed(self.train, (self.node, *self.parents), shares), strict=True):
            yield {ROWS: rows, **given}

    def step(self, step: int, batch: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Each turn once: their losses. It never waits for the device.

        Args:
            step: How many came before.
            batch: Numbers of the rows to learn from, (B,), on the device, named `ROWS`; and by name the values of this
                process's share of them that do not lie on the device.
        """
        share = schedule(step, self.recipe.warmup, self.num_epochs * self.steps_per_epoch)
        for optimizer in self.optimizers.values():
            optimizer.slow_to(share)
        losses = self.turns(batch)
        self.average.update()
        return losses

    def _turns(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        return [self._turn(self.optimizers[turn], batch) for turn in self.stage.turns]

    def _turn(self, optimizer: TurnOptimizer, batch: Mapping[str, Tensor]) -> Tensor:
        """Move the weights of one turn along the gradient of its loss on these rows."""
        if len(self.optimizers) > 1:
            for parameter in self.moved:
                parameter.requires_grad_(parameter in optimizer.own)
        optimizer.adamw.zero_grad()
        loss = self._gradients(optimizer, batch)
        finite = optimizer.move(loss, self.recipe.clip)
        self.skipped += ~finite
        return torch.where(finite, loss, 0.0)

    def _gradients(self, optimizer: TurnOptimizer, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch; its gradients, over all parts and processes, are left in the parameters."""
        rows = batch[ROWS]
        mine = processes.share(rows)
        given = {name: values.chunk(self.recipe.accumulate) for name, values in batch.items() if name != ROWS}
        loss = torch.zeros((), device=rows.device, dtype=optimizer.parameters[0].dtype)
        for i, part in enumerate(mine.chunk(self.recipe.accumulate) if len(mine) else ()):
            here = {name: parts[i] for name, parts in given.items()}
            with self._autocast():
                value = optimizer.objective(*rows_of(self.train, self.node, self.parents, part, here))
            if len(part) < len(rows):
                value = value * (len(part) / len(rows))
            value.backward()
            loss += value.detach()
        if processes.number() > 1:
            for parameter in optimizer.parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            processes.add_up([*(parameter.grad for parameter in optimizer.parameters), loss])  # type: ignore[list-item]
        return loss

    def _autocast(self) -> torch.autocast:
        """Half precision where it is asked for and the mechanism bears it."""
        mixed = self.job.precision == "bf16-mixed" and self.mechanism.mixed_precision
        return torch.autocast(self.mechanism.device.type, torch.bfloat16, enabled=mixed)

    def _check_skipped(self) -> None:
        if int(self.skipped) > MAX_SKIPPED:
            path = self.job.checkpoint
            kept = f" {path} holds the epochs before." if path is not None and path.exists() else ""
            raise TrainingError(
                f"'{self.name}': the loss or its gradient was NaN or infinite in {int(self.skipped)} steps"
                f" (epoch {self.epoch + 1}). Lower the learning rate or look at the data.{kept}"
            )

    # ------------------------------------------------------------------ validation

    def _judge(self) -> float | None:
        """The validation loss of the averaged weights, which are kept if it is no worse than the best."""
        if self.stage.validation is None:
            return None
        validation = self._validate(self.stage.validation)
        self.stale += 1
        if validation < self.best + self.recipe.slack / self.validation.rows**0.5:
            self.stale = 0
            self.best_weights = _copy(self.average.module.state_dict())
        self.best = min(self.best, validation)
        return validation

    @torch.no_grad()
    def _validate(self, loss: str) -> float:
        mechanism = self.average.updated().eval()
        objective, rows = getattr(mechanism, loss), torch.arange(self.validation.rows, device=mechanism.device)
        total = torch.zeros((), dtype=torch.float64, device=mechanism.device)
        with seeding.seeded(seeding.derive(self.job.seed, self.node, "validation"), mechanism.device):
            parts = rows.split(4 * self.recipe.batch_size)[processes.rank() :: processes.number()]
            given = feed(self.validation, (self.node, *self.parents), parts)
            for part, here in zip(parts, given, strict=True):
                with self._autocast():
                    value = objective(*rows_of(self.validation, self.node, self.parents, part, here))
                total += value.double() * len(part)
        processes.add_up([total])
        return float(total) / self.validation.rows

    # ------------------------------------------------------------------ state, for checkpoints

    def header(self) -> dict[str, Any]:
        """The numbers of the state."""
        return {
            "stage": self.index,
            "epoch": self.epoch,
            "stale": self.stale,
            "best": self.best,
            "skipped": int(self.skipped),
            "averaged": self.average.count,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the state: weights, their average, the best so far, the optimisers' moments."""
        state = {
            **prefixed("weights", self.mechanism.state_dict()),
            **prefixed("average", self.average.module.state_dict()),
            **prefixed("best", self.best_weights),
        }
        for k, optimizer in enumerate(self.optimizers.values()):
            state |= prefixed(f"optimizer.{k}", optimizer.state())
        return state

    def load(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Take up a state again."""
        self.epoch, self.stale, self.best = header["epoch"], header["stale"], header["best"]
        self.skipped += header["skipped"]
        self.average.count = header["averaged"]
        self.average.module.load_state_dict(stripped("average", tensors))
        self.mechanism.load_state_dict(stripped("weights", tensors))
        self.best_weights = stripped("best", tensors)
        for k, optimizer in enumerate(self.optimizers.values()):
            optimizer.load(stripped(f"optimizer.{k}", tensors))


class TurnOptimizer:
    """A turn's objective, the weights it moves, and their optimiser."""

    def __init__(self, turn: Turn, mechanism: Trainable, recipe: Recipe, compiled: bool, replayed: bool) -> None:
        self.parameters = _weights(mechanism, turn)
        self.own = set(self.parameters)
        self.lr = recipe.lr if turn.lr is None else turn.lr
        self.objective = getattr(mechanism, turn.loss)
        if compiled:
            self.objective = compiled_objective(self.objective)
        self.adamw = torch.optim.AdamW(
            self.parameters,
            # A captured step reads its rate from where it is written before each replay.
            lr=torch.tensor(self.lr, device=mechanism.device) if replayed else self.lr,
            capturable=replayed,
            betas=recipe.betas if turn.betas is None else turn.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.adamw.param_groups[0]["lr"])

    def slow_to(self, share: float) -> None:
        """Go on at a share of the peak rate."""
        for group in self.adamw.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self.lr * share)
            else:
                group["lr"] = self.lr * share

    def move(self, loss: Tensor, clip: float) -> Tensor:
        """One step, unless loss or gradient is not finite: whether it was, ()."""
        norm = nn.utils.clip_grad_norm_(self.parameters, clip)
        finite = torch.isfinite(loss) & torch.isfinite(norm)
        # What torch's gradient scaler tells a fused optimiser, so that the step is skipped on the device.
        self.adamw.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self.adamw.step()
        return finite

    def state(self) -> dict[str, Tensor]:
        """The optimiser's moments and step counts: number of the parameter, dot, name -> tensor."""
        states = self.adamw.state_dict()["state"]
        return {f"{i}.{name}": value for i, state in states.items() for name, value in state.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the optimiser's state again."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            # A file forgets memory formats, and a fused step walks weight and moments by address.
            weights = self.parameters[int(index)]
            fits = {"step": value.shape == (), "exp_avg": value.shape == weights.shape}
            if not fits.get(key.removesuffix("_sq"), False) or not value.is_floating_point():
                raise CheckpointError(f"The optimiser's '{name}' is {value.dtype} {tuple(value.shape)}. Fit again.")
            own = value if key == "step" else torch.empty_like(weights).copy_(value)
            state.setdefault(int(index), {})[key] = own
        if any(len(moments) != 3 for moments in state.values()):
            raise CheckpointError("Moments of the optimiser are missing. Fit again.")
        self.adamw.load_state_dict(self.adamw.state_dict() | {"state": state})


def compiled_objective(objective: Callable[..., Tensor], backend: str = "inductor") -> Callable[..., Tensor]:
    """The objective by `torch.compile`, which switches off the checks of all distributions: they are put back."""
    checks = Distribution._validate_args
    try:
        return torch.compile(objective, backend=backend)
    finally:
        Distribution.set_default_validate_args(checks)


class Average:
    """Exponential moving average of a module's weights, whose decay grows from 0, so that short runs are not ruled
    by their start. With a decay of 0 it is the module itself.
    """

    def __init__(self, module: Trainable, decay: float) -> None:
        self.source, self.decay, self.count = module, decay, 0
        self.module = copy.deepcopy(module).requires_grad_(False) if decay else module
        self.weights: list[Tensor] = [*self.module.parameters()]
        self.current: list[Tensor] = [*module.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's weights as they are now."""
        if self.decay:
            decay = min((1 + self.count) / (10 + self.count), self.decay) if self.count else 0.0
            torch._foreach_lerp_(self.weights, self.current, 1 - decay)
            self.count += 1

    @torch.no_grad()
    def updated(self) -> Trainable:
        """The averaged module, with the buffers as they are now."""
        for buffer, current in zip(self.module.buffers(), self.source.buffers(), strict=True):
            buffer.copy_(current)
        return self.module


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


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names that begin with a prefix and a dot."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def stripped(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix and a dot, without them."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _weights(mechanism: Trainable, turn: Turn) -> list[nn.Parameter]:
    """The parameters that a turn moves, each once."""
    what = f"The turn '{turn.loss}' of {type(mechanism).__name__} moves {list(turn.parts)}"
    try:
        parts = [attrgetter(part)(mechanism) for part in turn.parts] or [mechanism]
    except AttributeError as error:
        raise MechanismError(f"{what}: {error}.") from None
    if not all(isinstance(part, nn.Module | nn.Parameter) for part in parts):
        raise MechanismError(f"{what}, but only modules and parameters can be moved.")
    lists = [[part] if isinstance(part, nn.Parameter) else list(part.parameters()) for part in parts]
    weights = list(dict.fromkeys(parameter for part in lists for parameter in part))
    if not weights:
        raise MechanismError(f"{what}, which hold no weights.")
    return weights


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
