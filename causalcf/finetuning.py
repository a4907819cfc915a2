"""Counterfactual fine-tuning: a fitted image mechanism learns to obey the actions it ignores.

Predictors read the parents back from counterfactual images, and their loss is minimised while the mechanism's
own objective is held at the level that it was pretrained to. They must not be those that judge the result.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf, log
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from causalcf import training
from causalcf.core import seeding
from causalcf.core.digests import weights_digest
from causalcf.core.errors import (
    DataError,
    GraphError,
    InterventionError,
    MechanismError,
    NotFittedError,
    UnknownNodeError,
)
from causalcf.core.nn import column
from causalcf.core.provenance import provenance
from causalcf.core.settings import POSITIVE, WEIGHT
from causalcf.data import Batch
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism, Recipe, Stage, Trainable, Turn
from causalcf.predictors import Predictor, Predictors
from causalcf.scm import StructuralCausalModel
from causalcf.scm.check import summarise
from causalcf.scm.learning import read_split
from causalcf.scm.residual import Fading, Residual, check_residual
from causalcf.scm.rows import fill_noiseless
from causalcf.variables import Variable
from causalcf.variables.image import Image

__all__ = ["Settings", "Tuning", "finetune", "tuned_node"]

LEVEL_ROWS = 6000
"""Most rows that the pretrained level is measured on."""

PENALTY = 10.0
"""Penalty of one slack beyond the level on the validation rows, in units of the predictors' loss."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a mechanism is fine-tuned; see `finetune` for what each setting does.

    Raises:
        DataError: A number is out of its range.
    """

    slack: float = 0.03
    actions: Mapping[str, float] | None = None
    start: float = 0.3
    ascent: float = 1e-2
    residual: Residual | None = None
    recipe: Recipe | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        ranges = (("slack", self.slack, POSITIVE), ("start", self.start, POSITIVE), ("ascent", self.ascent, WEIGHT))
        for name, value, allowed in ranges:
            if value not in allowed or isinf(value):
                raise DataError(f"{name} must be {allowed} and finite, got {value!r}.")


class Tuning(Trainable):
    r"""A mechanism, the predictors that tune it, and the multiplier that holds its own objective.

    .. math::
        \min_\theta \max_{\lambda > 0}\; \mathbb{E}\left[-\log q(pa^* \mid x^*)\right]
        + \lambda\, \left(\mathbb{E}\left[\ell(x, pa)\right] - c\right) / s

    with counterfactual images :math:`x^*`, the mechanism's own objective :math:`\ell`, and :math:`c` its pretrained
    level plus the slack :math:`s`. One ancestor of the image at a time takes the value that another row of the
    batch has, and its effects on the other parents follow by the model's own mechanisms, which stay as they are.
    The multiplier rises by gradient ascent on its logarithm, from a small value: what ignores an action has to be
    unlearned first, and that raises the objective for a while.

    References:
        De Sousa Ribeiro, Xia, Monteiro, Pawlowski, Glocker, "High Fidelity Image Counterfactuals with Probabilistic
        Causal Models", 2023, section 3.3.

    Args:
        mechanism: The fitted mechanism of an image.
        ancestors: ancestor -> (its mechanism, its parents), causes first.
        predictors: node -> predictor.
        settings: How it is tuned.
    """

    mixed_precision: ClassVar[bool] = True
    default_recipe: ClassVar[Recipe] = Recipe(
        epochs=1, batch_size=64, lr=3e-4, warmup=50, clip=10.0, ema=0.995, patience=1000
    )
    level: Tensor
    sums: Tensor
    chances: Tensor

    def __init__(
        self,
        mechanism: Mechanism,
        ancestors: Mapping[str, tuple[Mechanism, tuple[str, ...]]],
        predictors: Predictors,
        settings: Settings,
    ) -> None:
        super().__init__()
        self.mechanism, self.takes_columns = mechanism, mechanism.takes_columns  # type: ignore[misc]
        # As they are now: preparing the mechanism may change it, and a run goes on only from where it began.
        self._as_given = [type(mechanism).__name__, mechanism.config]
        known = {mechanism.node: mechanism, **{node: of for node, (of, _) in ancestors.items()}}
        self._weights = {node: weights_digest(of.state_dict()) for node, of in known.items()}
        at: dict[str, Any] = {"device": mechanism.device, "dtype": mechanism.dtype}
        self.log_multiplier = nn.Parameter(torch.tensor(log(settings.start), **at))
        # Two levels before fine-tuning: of rows that are trained on and of rows that are not.
        self.register_buffer("level", torch.zeros(2, **at))
        self.register_buffer("sums", torch.zeros(3, **at), persistent=False)
        # In plain mappings, what does not move is no part of the module: neither averaged nor written.
        self._ancestors, self._predictors = dict(ancestors), dict(predictors)
        self.settings = settings
        actions = dict.fromkeys(predictors, 1.0) if settings.actions is None else settings.actions
        self.actions = {node: actions.get(node, 0.0) for node in ancestors}
        chances = torch.tensor([*self.actions.values()], device=mechanism.device)
        self.register_buffer("chances", chances, persistent=False)
        self._excesses: list[Tensor] = []  # of the parts of the batch that have descended, but not yet ascended

    @property
    def config(self) -> dict[str, Any]:
        return {
            "mechanism": self._as_given,
            "weights": self._weights,
            "predictors": [predictor.signature for predictor in self._predictors.values()],
            "slack": self.settings.slack,
            "actions": self.actions,
            "start": self.settings.start,
            "ascent": self.settings.ascent,
            "residual": str(self.settings.residual),
        }

    @property
    def stages(self) -> tuple[Stage, ...]:
        turns = (
            Turn("descend", ("mechanism",)),
            Turn("ascend", ("log_multiplier",), lr=self.settings.ascent, betas=(0.9, 0.9)),
        )
        return (Stage("counterfactual", turns, validation="held"),)

    @torch.no_grad()
    def measure(self, train: Batch, validation: Batch, node: str, seed: int) -> None:
        """Take the mechanism's own objective, as it is now, for the level to hold."""
        with seeding.seeded(seeding.derive(seed, node, "level"), self.device):
            for i, data in enumerate((train, validation)):
                rows = min(data.rows, LEVEL_ROWS)
                for part in torch.arange(rows, device=self.device).split(4 * self.default_recipe.batch_size):
                    loss = self.mechanism.loss(*training.rows_of(data, node, self.mechanism.parents, part))
                    self.level[i] += loss * (len(part) / rows)

    @torch.no_grad()
    def imagine(self, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Other worlds' ancestors: in each row one takes another row's value, and its effects follow.

        Args:
            known: ancestor -> observed values, shape (N, ...).
        """
        first = next(iter(known.values()))
        acted = torch.multinomial(self.chances, len(first), replacement=True)
        other = torch.randperm(len(first), device=first.device)
        values: dict[str, Tensor] = {}
        for i, (node, (mechanism, parents)) in enumerate(self._ancestors.items()):
            u = mechanism.abduct_known(known[node], {parent: known[parent] for parent in parents})
            natural = mechanism.variable.project(mechanism.predict(u, {parent: values[parent] for parent in parents}))
            here = column(acted == i, natural)
            values[node] = torch.where(here, known[node][other], natural)
        return values

    def weighed(self, x: Tensor, pa: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """How far the objective is above the level, in slacks; and the predictors' loss on counterfactuals."""
        for predictor in self._predictors.values():
            predictor.train(self.training)  # images are moved and brightened in training: harder to fool
        own_parents = {parent: pa[parent] for parent in self.mechanism.parents}
        pa_star = self.imagine(pa)
        carried = self._carried(own_parents, pa_star, len(x)).to(x)
        own, surprise = self.mechanism.finetune_loss(x, own_parents, pa_star, self._predictors, carried)
        return (own - self.level[0 if self.training else 1]) / self.settings.slack - 1, surprise

    def _carried(self, pa: Mapping[str, Tensor], pa_star: Mapping[str, Tensor], rows: int) -> Tensor:
        """The share of each row's residual that is carried into the other world, (N,)."""
        residual, device = self.settings.residual, self.level.device
        if isinstance(residual, Fading):
            return residual.share(self.mechanism.parents, pa, pa_star)
        if residual is None:
            return (torch.rand(rows, device=device) < 0.5).to(self.level)
        return torch.full((rows,), residual, device=device)

    def settle(self, x: Tensor, pa: Mapping[str, Tensor]) -> None:
        self.mechanism.settle(x, {parent: pa[parent] for parent in self.mechanism.parents})

    def descend(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """The mechanism's loss."""
        excess, surprise = self.weighed(x, pa)
        self._excesses.append(excess.detach())
        self.sums += torch.stack([excess, surprise, torch.ones_like(excess)]).detach()
        return surprise + self.log_multiplier.exp() * excess

    def ascend(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """The multiplier's loss: minus its logarithm times the excess of the same rows."""
        return -self.log_multiplier * self._excesses.pop(0)

    def held(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """The criterion that selects the weights: the predictors' loss, and a penalty beyond the slack."""
        excess, surprise = self.weighed(x, pa)
        return surprise + PENALTY * excess.clamp_min(0)

    def facts(self) -> dict[str, float]:
        excess, surprise, steps = self.sums.tolist()
        self.sums.zero_()
        return {
            "surprise": surprise / max(steps, 1),
            "objective": float(self.level[0]) + self.settings.slack * (1 + excess / max(steps, 1)),
            "multiplier": float(self.log_multiplier.detach().exp()),
        }


def tuned_node(variables: Mapping[str, Variable], node: str | None) -> str:
    """The node to fine-tune: the one given, or the only image.

    Raises:
        GraphError: None is given, and there is not exactly one image.
        UnknownNodeError: There is no such node.
    """
    if node is not None and node not in variables:
        raise UnknownNodeError(f"There is no node '{node}'. There are: {list(variables)}.")
    images = [name for name, variable in variables.items() if isinstance(variable, Image)]
    if node is None and len(images) != 1:
        raise GraphError(f"The graph has the images {images}. Say which one to fine-tune: node='...'.")
    return images[0] if node is None else node


@torch.inference_mode(False)
def finetune(
    scm: StructuralCausalModel,
    data: Any,
    predictors: Mapping[str, Predictor] | Sequence[Predictor],
    *,
    node: str | None = None,
    slack: float = Settings.slack,
    actions: Mapping[str, float] | None = None,
    start: float = Settings.start,
    ascent: float = Settings.ascent,
    residual: Residual | None = None,
    recipe: Recipe | None = None,
    epochs: int | None = None,
    validation: float | Any = 0.1,
    seed: seeding.Seed = None,
    device: torch.device | str = "cpu",
    precision: str = "32-true",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    compile: bool = False,
    progress: bool = True,
) -> StructuralCausalModel:
    """Teach an image's fitted mechanism to obey actions that it ignores.

    Predictors read causes back from counterfactual images, and their loss is minimised while the mechanism's own
    objective is held near the level it had before by a Lagrange multiplier (De Sousa Ribeiro et al., "High Fidelity
    Image Counterfactuals with Probabilistic Causal Models", 2023). The other mechanisms stay as they are. If it
    fails or is interrupted, the model is unchanged. Runs under `torchrun` as `fit` does.

    Args:
        scm: The fitted model; it is tuned in place.
        data: Mapping of arrays or tensors, data set or data frame, in data units.
        predictors: Fitted on the part "tune" of the data, which no judge has seen. They cannot judge the
            result: `ccf.evaluate` refuses them.
        node: The image to fine-tune; by default the only one.
        slack: How far the mechanism's own objective may end above the level it had before, in its own unit: nats
            per pixel of VAEs. Too small a slack is used up by the first steps: the weights lie where annealing left
            them, any step raises the objective a little, and the multiplier then drowns the predictors.
        actions: Ancestor of the image -> how often it is acted on in training, in proportion; by default those
            that are predicted, equally often.
        start: First value of the multiplier, for an excess counted in slacks: a small one lets the mechanism
            unlearn first.
        ascent: Peak learning rate of the multiplier's logarithm.
        residual: Scale of the residual in the counterfactuals: tune with the scale of later queries, such as
            `Fading(thickness=1.0)`. By default half of the rows carry all of it, and half nothing.
        recipe: Training settings instead of `Tuning.default_recipe`.
        epochs: Passes over the data instead of the recipe's.
        validation: Share of the rows to validate on, or other data.
        seed: Seed of the split, row order, actions and noise.
        device: Where to train; the model stays there.
        precision: "32-true", "bf16-mixed" or "64-true".
        checkpoint: File written after every epoch, from which a killed run can resume.
        resume: Go on from `checkpoint` if it exists.
        compile: Make steps cheaper, as `fit` does.
        progress: Show a progress bar.

    Returns:
        The model itself; `history` has a record per epoch of the stage "counterfactual", with the multiplier, the
        predictors' loss and the objective that is held.

    Raises:
        NotFittedError: The model, or a predictor, is not fitted.
        GraphError: Predictors for another graph, or it is not clear which image.
        MechanismError: The node has neither encoder nor generator, or no objective that could be held.
        DataError: Bad data, or predictors that saw what judges see.
        TrainingError: Losses are not finite, or there is no such precision.
        CheckpointError: The checkpoint belongs to another run.
    """
    settings = Settings(
        slack=slack, actions=actions, start=start, ascent=ascent, residual=residual, recipe=recipe, epochs=epochs
    )
    scm.require_fitted()
    node = tuned_node(scm.variables, node)
    members = Predictors(list(predictors.values() if isinstance(predictors, Mapping) else predictors))
    device = training.join(device)
    seed = training.agree(seeding.resolve(seed), device)
    dtype = training.dtype_of(precision)
    # A copy is tuned and takes the place of this model's mechanisms in the end: all of it happens, or nothing.
    twin = copy.deepcopy(scm).to(device=device, dtype=dtype)
    parts = read_split(twin.graph, twin.mechanisms, data, validation, seed, dtype, device, progress=progress)
    train, held_out = (fill_noiseless(twin.graph, twin.mechanisms, part) for part in parts)
    _check(scm.graph, twin.mechanisms[node], members, node, settings)
    started = time.perf_counter()
    tuning = _tuning(scm.graph, twin.mechanisms, members, node, settings)
    job = training.Fit(
        {node: tuning},
        {node: scm.graph.ancestors([node])},
        {node: training.plan(tuning, settings.recipe, settings.epochs)},
        _document(scm.graph, node),
        seed,
        precision=precision,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        compile=compile,
        progress=progress,
    )
    facts = _run(job, tuning, train, held_out, node, resume=resume)
    made = provenance(
        seed=seed,
        device=twin.device,
        precision=precision,
        rows=train.rows,
        seconds=round(time.perf_counter() - started, 1),
        tuned=facts | {"predictors": list(members.signatures)},
        made_from=scm.provenance,
    )
    scm.take(twin, node, summarise(scm.graph, twin.mechanisms, train, held_out), made, job.history)
    return scm


def _tuning(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], predictors: Predictors, node: str, settings: Settings
) -> Tuning:
    ancestors = {name: (mechanisms[name], graph.parents(name)) for name in graph.ancestors([node])}
    return Tuning(mechanisms[node], ancestors, _moved(predictors, mechanisms[node]), settings)


def _document(graph: CausalGraph, node: str) -> dict[str, Any]:
    """The graph that a resumed run must agree on: the image below all its causes, which `Tuning` is handed at once."""
    ancestors = graph.ancestors([node])
    variables = {name: graph.variables[name] for name in (*ancestors, node)}
    return CausalGraph([(ancestor, node) for ancestor in ancestors], variables).to_json()


def _run(
    job: training.Fit, tuning: Tuning, train: Batch, validation: Batch, node: str, *, resume: bool
) -> dict[str, Any]:
    """Tune in place; gives its record for the model's provenance, JSON-able."""
    mechanism = tuning.mechanism
    training.check(job, train, validation, resume=resume)
    mechanism.prepare_finetuning(*training.all_rows(train, node, mechanism.parents, mechanism))
    tuning.measure(train, validation, node, job.seed)
    started = time.perf_counter()
    training.fit(job, train, validation, resume=resume)
    mechanism.requires_grad_(False).eval()
    return {
        "node": node,
        "slack": tuning.settings.slack,
        "level": tuning.level.tolist(),
        "multiplier": float(tuning.log_multiplier.detach().exp()),
        "actions": tuning.actions,
        "residual": str(tuning.settings.residual),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _check(graph: CausalGraph, mechanism: Mechanism, predictors: Predictors, node: str, settings: Settings) -> None:
    """Check that the mechanism can be tuned by these predictors, before anything is changed."""
    if mechanism.kind not in ("amortised", "implicit"):
        raise MechanismError(
            f"'{node}' has the {mechanism.kind} mechanism {type(mechanism).__name__}: fine-tuning is for encoders and"
            " generators, such as VAE and HVAE. Invertible mechanisms are fitted exactly."
        )
    if mechanism.kind == "implicit" and type(mechanism).loss is Mechanism.loss:
        raise MechanismError(
            f"The {type(mechanism).__name__} of '{node}' has no objective that could be held while it is fine-tuned."
            " Give its class a `loss(x, pa)`."
        )
    if not predictors:
        raise DataError("There are no predictors to fine-tune with. Train some: causalcf predictors --part tune.")
    predictors.check(graph.variables)
    causes = graph.ancestors([node])
    for predictor in predictors.values():
        stray = [name for name in (predictor.target, *predictor.given) if name not in causes]
        if predictor.node != node or stray:
            raise GraphError(
                f"{predictor.name} cannot tune '{node}': from it, it must read one of its causes, {list(causes)}."
            )
    for member in predictors.members:
        if not member.fitted:
            raise NotFittedError(f"{member.name} is not fitted. Call causalcf.predictors.fit.")
        part = member.trained_on.get("part")
        if part != "tune":
            raise DataError(
                f"{member.signature} was trained on the part '{part}' of its data, which judges are trained on: what it"
                " tunes could not be judged. Train it on the part kept for this: causalcf predictors --part tune."
            )
    actions = settings.actions
    wrong = [name for name, often in (actions or {}).items() if name not in causes or not 0 <= often < inf]
    if wrong or (actions is not None and not sum(actions.values()) > 0):
        raise DataError(
            f"actions={dict(actions or {})}: give weights >= 0, not all 0, of causes of '{node}': {list(causes)}."
        )
    _check_residual(graph, mechanism, node, settings.residual)


def _check_residual(graph: CausalGraph, mechanism: Mechanism, node: str, residual: Residual | None) -> None:
    if residual is None:
        return
    check_residual(residual, graph, {node: mechanism})
    if not mechanism.residual_sites:
        kind = type(mechanism).__name__
        raise InterventionError(f"residual={residual!r}: the {kind} of '{node}' has no residual. Leave it out.")


def _moved(predictors: Predictors, mechanism: Mechanism) -> Predictors:
    """Copies where the mechanism is and in its precision, which nothing moves and which may go into training mode."""
    members = [
        copy.deepcopy(predictor).to(mechanism.device, mechanism.dtype).requires_grad_(False)
        for predictor in predictors.values()
    ]
    return Predictors(members)
