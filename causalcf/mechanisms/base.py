"""The contract every mechanism keeps: a structural assignment x := f(pa, u) and its inversion.

A mechanism sees its own variable and its parents', never a graph. Inputs and outputs are in data
units; whatever scaling a network needs happens inside. Three kinds exist (Pawlowski, Castro and
Glocker, "Deep Structural Causal Models for Tractable Counterfactual Inference", 2020):

- *invertible explicit*: u is a function of (x, pa); flows and Gumbel-max categories;
- *amortised explicit*: u = (z, eps) with an encoder q(z | x, pa); VAEs;
- *amortised implicit*: as before without a density; GANs. Deterministic nodes have no noise at all.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from causalcf.core import draws, seeding
from causalcf.core.errors import DensityError, MechanismError
from causalcf.core.nn import column
from causalcf.core.settings import Range, plain, require_settings
from causalcf.mechanisms.learning import Parents, Recipe, Stage, Trainable, Turn
from causalcf.variables import Variable

__all__ = ["Draw", "Kind", "Mechanism", "Parents", "Recipe", "Stage", "Turn"]

Kind = Literal["invertible", "amortised", "implicit", "deterministic"]
Draw = Callable[[str, TorchDistribution], Tensor]
"""(latent, its law) -> a draw from it."""


@dataclass(eq=False, repr=False)
class Mechanism(Trainable, ABC):
    """p(x | pa) as a structural assignment, with its abduction.

    A subclass is a dataclass whose fields are its hyperparameters. It is made without knowing its
    variable (`ccf.mechanisms.VAE(latent=32)`); the SCM binds a copy of it to a node.

    Tensors: x has shape (N, *event_shape), every parent (N, *its event_shape), every noise site
    (N, ...), all on one device.
    """

    recipe: Recipe | None = field(default=None, kw_only=True)
    """Training settings that replace the mechanism's own."""

    kind: ClassVar[Kind]
    latents: ClassVar[tuple[str, ...]] = ()
    """Noise sites with a prior of their own in the Pyro program (amortised mechanisms)."""
    temperature = 1.0
    """Standard deviation of drawn latents as a share of the model's own."""
    training_only: ClassVar[tuple[str, ...]] = ()
    """Children that only training needs, such as a discriminator: a saved model leaves them out."""
    draws_by_row: ClassVar[bool] = False
    """Whether all its draws are those of `causalcf.core.draws`, which belong to their rows. Those of others come from
    torch's own state, borrowed under a seed by one thread at a time, and follow from a row's place in its batch."""
    holds_code: ClassVar[bool] = False
    """Whether it is made with functions or networks of the caller's, which a file cannot hold."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        # Set up nn.Module before the dataclass's __init__, so that a field may itself be a module.
        mechanism = super().__new__(cls)
        nn.Module.__init__(mechanism)
        return mechanism

    def __post_init__(self) -> None:
        for name, value in self.config.items():
            if isinstance(value, np.generic | tuple | list):
                setattr(self, name, plain(value))
        self.node: str = ""
        self.parents: Mapping[str, Variable] = {}
        self.fitted: bool = False
        # Where noise is drawn: follows `.to(device, dtype)` even in a mechanism without parameters.
        self.register_buffer("_anchor", torch.empty(0, device="cpu"), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the mechanism lives."""
        return self._anchor.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating type the mechanism computes in."""
        return self._anchor.dtype

    # ------------------------------------------------------------------ binding

    def bind(self, node: str, variable: Variable, parents: Mapping[str, Variable]) -> Self:
        """Tie the mechanism to its node and build its networks.

        Raises:
            MechanismError: The variable or a parent is of a kind the mechanism cannot take.
        """
        self.node, self.variable, self.parents = node, variable, dict(parents)
        self.validate()
        self.build()
        return self

    def validate(self) -> None:
        """Raise `MechanismError` unless the mechanism can model its variable given its parents."""

    def build(self) -> None:
        """Create the networks; called once, when variable and parents are known."""

    def saved_state(self) -> dict[str, Tensor]:
        """The weights and buffers that a file holds: all except those that only training needs."""
        return {name: t for name, t in self.state_dict().items() if name.split(".")[0] not in self.training_only}

    def require(self, **ranges: Range) -> None:
        """Raise `MechanismError` unless every setting has an allowed value."""
        require_settings(self, f"{type(self).__name__} of '{self.node}'", MechanismError, **ranges)

    def reject(self, expected: str) -> MechanismError:
        """The error for a variable this mechanism cannot model."""
        return MechanismError(
            f"{type(self).__name__} cannot model '{self.node}', {self.variable.article}: it takes {expected}."
        )

    @property
    def config(self) -> dict[str, Any]:
        """Hyperparameters, as written in a checkpoint."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "recipe"}

    # ------------------------------------------------------------------ learning

    @property
    def balances(self) -> Mapping[str, Variable]:
        return {name: variable for name, variable in self.parents.items() if variable.discrete}

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        """The training objective, averaged over rows: by default minus the log-likelihood."""
        return -self.dist(pa).log_prob(x).mean()

    def prepare_finetuning(self, x: Tensor, pa: Parents) -> None:
        """Correct weights that have a closed form, before fine-tuning; by default none."""

    def finetune_loss(
        self, x: Tensor, pa: Parents, pa_star: Parents, predictors: Mapping[str, Trainable], carried: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The two losses that counterfactual fine-tuning weighs: the mechanism's own objective, and the predictors'.

        A mechanism that passes through its networks twice by this can override it.

        Args:
            x: Observed values.
            pa: Observed parents.
            pa_star: Parents in another world, with whatever else the predictors read.
            predictors: target -> predictor, whose `loss(target, {node: x, ...})` is taken.
            carried: Factor of the residual in the other world, one number a row.

        Returns:
            `loss(x, pa)`, and the sum of the predictors' losses on f(abduct(x, pa), pa_star); two scalars.
        """
        return self.loss(x, pa), self.disobedience(self.abduct(x, pa, sample=True), pa_star, predictors, carried)

    def disobedience(
        self, u: Mapping[str, Tensor], pa_star: Parents, predictors: Mapping[str, Trainable], carried: Tensor
    ) -> Tensor:
        """The sum of the predictors' losses on counterfactual values, a scalar.

        No gradient passes through the residual: it belongs to the row, and an easier one is not to be learned.

        Args:
            u: Noise, as `abduct` gives it.
            pa_star: Parents in another world, with whatever else the predictors read.
            predictors: target -> predictor.
            carried: Factor of the residual, one number a row.
        """
        u = dict(u)
        for suffix in self.residual_sites:
            u[suffix] = u[suffix].detach() * column(carried, u[suffix])
        shown = {**pa_star, self.node: self.predict(u, pa_star)}
        losses = [predictor.loss(pa_star[target], shown) for target, predictor in predictors.items()]
        return torch.stack(losses).sum()

    # ------------------------------------------------------------------ the structural assignment

    def prior(self, pa: Parents) -> dict[str, TorchDistribution]:
        """Distributions of the latents given the parents; empty for invertible mechanisms."""
        return {}

    def posterior(self, x: Tensor, pa: Parents) -> dict[str, TorchDistribution]:
        """Amortised q(latents | x, pa), as the guide uses it; empty for invertible mechanisms."""
        return {}

    def propose(self, x: Tensor, pa: Parents, draw: Draw) -> dict[str, Tensor]:
        """Draw the latents from q(latents | x, pa) one by one; in a hierarchy each law depends on the draws before.

        Args:
            x: Observed values.
            pa: Observed parents.
            draw: Draws a latent from its law, such as `pyro.sample`.
        """
        return {suffix: draw(suffix, law) for suffix, law in self.posterior(x, pa).items()}

    def dist(self, pa: Parents, latents: Mapping[str, Tensor] = MappingProxyType({})) -> TorchDistribution:
        """p(x | pa, latents) in data units, batch shape (N,).

        Raises:
            DensityError: The mechanism has no explicit density.
        """
        raise DensityError(
            f"'{self.node}' has no density: {type(self).__name__} is {self.kind}. Use sample, abduct or counterfactual."
        )

    @abstractmethod
    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        """p(u | x, pa): suffix -> noise.

        Args:
            x: Observed values.
            pa: Observed parents.
            sample: Draw amortised latents from their posterior instead of taking its mean.
        """

    def abduct_known(self, x: Tensor, pa: Parents) -> dict[str, Tensor]:
        """`abduct` for rows that the mechanism has seen before: nothing is checked again, so the host need not wait."""
        return self.abduct(x, pa)

    @abstractmethod
    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        """x := f(pa, u), not yet projected onto the support."""

    @abstractmethod
    def sample_noise(self, n: int) -> dict[str, Tensor]:
        """n draws of the exogenous noise from its prior: suffix -> (n, ...)."""

    def noise_of(self, keys: Tensor) -> dict[str, Tensor]:
        """One draw of the noise for each key: the same every time, and torch's own state stays as it is.

        Args:
            keys: From `causalcf.core.draws.row_keys`, (N,).
        """
        with draws.by_row(keys) if self.draws_by_row else seeding.seeded(0, self.device):
            return self.sample_noise(len(keys))

    def is_random(self, *, sample: bool) -> bool:
        """Whether `abduct` draws at random."""
        return False

    @property
    def sites(self) -> tuple[str, ...]:
        """Suffixes of the noise sites, in the order `abduct` gives them."""
        return ("u",)

    @property
    def residual_sites(self) -> tuple[str, ...]:
        """Sites scaled by `residual` at prediction: the part that an amortised mechanism could not explain."""
        return ()
