"""How an object is trained: the settings, stages and turns that `training` carries out, and the methods it calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from causalcf.core.errors import TrainingError
from causalcf.core.settings import COUNT, NATURAL, POSITIVE, WEIGHT, Range, plain, require_settings
from causalcf.core.signatures import checked
from causalcf.variables import Variable

__all__ = ["Parents", "Recipe", "Stage", "Trainable", "Turn"]

Parents = Mapping[str, Tensor]


@checked
@dataclass(frozen=True)
class Recipe:
    """How a mechanism is trained unless `fit` is told otherwise.

    Args:
        epochs: Passes over the training split.
        min_steps: Small data get more passes, to reach at least this many steps.
        batch_size: Rows per step, over all processes.
        lr: Peak learning rate of AdamW, reached after `warmup` steps, then decayed by a cosine to 0.
        warmup: Steps of linear warm-up.
        betas: AdamW's moment decays.
        weight_decay: AdamW's decoupled weight decay.
        clip: Largest gradient norm.
        ema: Decay of the exponential moving average of the weights, which is kept; 0 for none.
        patience: Epochs without a better validation loss before training stops.
        slack: Differences in validation loss below slack / sqrt(validation rows) count as chance: the
            latest weights that are no worse than the best by more are kept. The standard deviation of
            one row's loss makes it the one-standard-error rule (Breiman et al. 1984, section 3.4.3).
        accumulate: Parts a batch is worked through in, one after the other, to save memory. Gradients are
            those of the whole batch, as long as the loss is a mean over rows.
        balance: Attributes whose values are drawn equally often, such as ("eyeglasses",): rows come with replacement.
            Parents of a mechanism; what a predictor reads or is told.

    Raises:
        TrainingError: A setting that nothing could be trained with.
    """

    epochs: int = 30
    min_steps: int = 0
    batch_size: int = 256
    lr: float = 1e-3
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 10.0
    ema: float = 0.0
    patience: int = 10
    slack: float = 0.0
    accumulate: int = 1
    balance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for setting in fields(self):
            object.__setattr__(self, setting.name, plain(getattr(self, setting.name)))
        if isinstance(self.balance, str):
            raise TrainingError(f"The training recipe: balance names attributes, balance=['{self.balance}'].")
        whole = {"batch_size": COUNT, "accumulate": COUNT, "patience": COUNT}
        whole |= dict.fromkeys(("epochs", "min_steps", "warmup"), NATURAL)
        share = Range(0, 1, below=True)
        numbers = {"clip": POSITIVE, "ema": share, "betas": share.each(2)}
        numbers |= dict.fromkeys(("lr", "weight_decay", "slack"), WEIGHT)
        require_settings(self, "The training recipe", TrainingError, **whole, **numbers)


@checked
@dataclass(frozen=True)
class Turn:
    """One player's move in a training step: a loss, and the weights that it may change.

    Args:
        loss: Method (x, pa) -> scalar tensor of the mechanism, averaged over rows.
        parts: Submodules and parameters to move, by attribute name ("generator", "decoder.head"); empty for
            all. While the turn lasts, no other weight needs a gradient.
        lr: Peak learning rate instead of the recipe's.
        betas: Moment decays instead of the recipe's.
    """

    loss: str = "loss"
    parts: tuple[str, ...] = ()
    lr: float | None = None
    betas: tuple[float, float] | None = None


@checked
@dataclass(frozen=True)
class Stage:
    """A stretch of training with its own turns, settings and criterion; its best weights begin the next stage.

    Args:
        name: In history and progress.
        turns: Moves of one step, in this order, on the same rows. Each different turn has an optimiser of its
            own; one that is listed several times moves several times.
        recipe: Training settings; None for the mechanism's, which `fit` may replace.
        validation: Method (x, pa) -> scalar tensor that judges the weights on the validation rows; None keeps
            the last (averaged) weights and never stops early, as adversarial losses need.
    """

    name: str = ""
    turns: tuple[Turn, ...] = (Turn(),)
    recipe: Recipe | None = None
    validation: str | None = "loss"


class Trainable(nn.Module):
    """A module that `training.fit` can train as a node of a graph: a mechanism, a predictor, or one that wraps them.

    A subclass has the losses that its stages name, each a method (x, pa) -> scalar tensor: x holds the node's
    values in a batch of rows, shape (N, *event_shape), and pa those of its parents.
    """

    recipe: Recipe | None = None
    """Training settings that replace its own."""
    fitted: bool = False
    default_recipe: ClassVar[Recipe] = Recipe()
    mixed_precision: ClassVar[bool] = False
    """Whether training may run in half precision where `fit` is asked to; a spline needs all its digits."""
    takes_columns: ClassVar[bool] = False
    """Whether `calibrate` and `settle` read rows of x and pa alone, as `x[rows]`: then they are given columns that are
    yet to be read (`core.columns`), and tensors otherwise."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """A state dict says of its weights whether they are fitted, beside them, where torch keeps versions."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]]["fitted"] = self.fitted

    def _load_from_state_dict(
        self, state_dict: Any, prefix: Any, local_metadata: Any, *rest: Any, **named: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest, **named)
        self.fitted = bool(local_metadata.get("fitted", self.fitted))

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return next(self.parameters()).device

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, besides its weights; a run that is resumed must have the same."""
        return {}

    @property
    def balances(self) -> Mapping[str, Variable]:
        """Attributes that its training rows may be balanced by."""
        return {}

    @property
    def sites(self) -> tuple[str, ...]:
        """Noise sites; a mechanism without any is not trained."""
        return ("u",)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """How it is trained, stage after stage: by default one, which minimises `loss` over all weights."""
        return (Stage(),)

    def calibrate(self, x: Tensor, pa: Parents) -> None:
        """Take scales from the training data, before the first step."""

    def solve(self, x: Tensor, pa: Parents) -> bool:
        """Fit in closed form and return True, where that is possible."""
        return False

    def settle(self, x: Tensor, pa: Parents) -> None:
        """Compute the values that depend on the trained weights from the training data; once, after the last step."""

    def facts(self) -> dict[str, float]:
        """Further entries of an epoch's record, besides its losses; asked once an epoch."""
        return {}

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        """The training objective, averaged over rows."""
        raise NotImplementedError(f"{type(self).__name__} has no loss of its own.")
