"""The frame of every explainer: read the question, search, and say what was found as an intervention.

z -> image -> label: the latent z of an image's mechanism is promoted to a cause that can be acted on, so that an
explanation is an ordinary intervention do(z) in the augmented graph; in the original one it is a backtracking
counterfactual (von Kuegelgen, Mohamed, Beckers, "Backtracking Counterfactuals", 2023).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from causalcf import seeding
from causalcf.abduction import Noise
from causalcf.errors import DataError, ExplanationError, MechanismError, NotFittedError
from causalcf.explainers.classifier import Explained
from causalcf.explainers.explanation import Explanation, assemble
from causalcf.explainers.query import Found, Query, read_target
from causalcf.mechanisms import Mechanism
from causalcf.scm import StructuralCausalModel
from causalcf.variables import Categorical, Variable

__all__ = ["Explainer"]

AGREEMENT = 0.9
"""Share of rows on which a parent and the classifier must agree to be taken for the same thing."""


@dataclass(eq=False, kw_only=True)
class Explainer(ABC):
    """Asks what would have to change in an image for a classifier to call it something else.

    A subclass is a dataclass whose fields are its hyperparameters, with the paper's settings as defaults, and
    which says how to search: `_find`, and `_fit` where something is trained.

    Args:
        scm: A fitted model. Of one node, an unconditional generator; otherwise the node's parents stay at their
            factual values.
        node: What is explained: an image, a table's row, ... whose mechanism has latent sites.
        classifier: Torch module or function of what the node holds, giving logits; a list is an ensemble.
            Modules are copied, as they are when the explainer is made.
        variable: What the classifier gives, as for `scm.attach`: by default a Categorical with as many categories
            as there are logits, a Boolean for one; a Real (or Positive, Interval) for a regression.
        carry_residual: Keep what the model cannot explain of the image (`"image.eps"`) as abducted, instead of
            setting it to 0.
        batch_size: Rows that are searched at once.

    Raises:
        UnknownNodeError: The model has no such node.
        MechanismError: The node's mechanism has no latent site to act on.
        ExplanationError: `classifier` is none.
    """

    scm: StructuralCausalModel = field(kw_only=False, repr=False)
    node: str = "image"
    classifier: Any = field(default=None, repr=False)
    variable: Variable | None = None
    carry_residual: bool = False
    batch_size: int = 1024

    acts_on: ClassVar[Literal["latents", "node"]] = "latents"
    """Whether it moves the node's latent sites, or sets the node itself and so cuts it from all its causes."""
    trains: ClassVar[bool] = False
    """Whether `fit` has to be called first."""
    regression: ClassVar[bool] = False
    """Whether it can explain a number too."""

    def __post_init__(self) -> None:
        self.scm.graph.require(self.node)
        if self.acts_on == "latents" and not self.sites:
            raise MechanismError(
                f"{type(self).__name__} moves latent sites, and the {type(self.mechanism).__name__} of '{self.node}'"
                f" has none. Name an image's node, node=..., of {list(self.scm.graph.nodes)}."
            )
        self.fitted = not self.trains
        self._explained = self._what()

    def _what(self) -> Explained:
        """What is explained; by default the classifier given."""
        if self.classifier is None:
            raise ExplanationError(f"{type(self).__name__} needs a classifier to explain: classifier=f.")
        explained = Explained(self.classifier, self.variable, device=self.scm.device, dtype=self.scm.dtype)
        if explained.regression and not self.regression:
            raise ExplanationError(f"{type(self).__name__} explains classes, not {self.variable}. LoSoCs and GDL do.")
        return explained

    # ------------------------------------------------------------------ what a subclass says

    @property
    def mechanism(self) -> Mechanism:
        """The mechanism of the node."""
        return self.scm.mechanisms[self.node]

    @property
    def sites(self) -> tuple[str, ...]:
        """Noise sites the search moves: all but the residual."""
        residual = self.mechanism.residual_sites
        return tuple(suffix for suffix in self.mechanism.sites if suffix not in residual)

    def _fit(self, data: Any, seed: int, **options: Any) -> None:
        """Train what the method needs; runs under the seed. Methods that only search have nothing to do."""
        return

    @abstractmethod
    def _find(self, query: Query, *, stream: bool) -> Found:
        """Search; runs without gradients, under the seed, in batches of at most `batch_size` rows."""

    # ------------------------------------------------------------------ the verbs

    def fit(self, data: Any, *, seed: seeding.Seed = None, **options: Any) -> Self:
        """Train what the method needs; methods that only search have nothing to do.

        Args:
            data: Rows of the model, in data units.
            seed: What weights and the order of rows follow from.
            options: The method's own.

        Returns:
            The explainer itself, fitted.
        """
        seed = seeding.resolve(seed)
        with seeding.seeded(seed, self.scm.device):
            self._fit(data, seed, **options)
        self.fitted = True
        return self

    @torch.no_grad()
    def explain(self, x: Any, target: Any, *, seed: seeding.Seed = None, stream: bool = False) -> Explanation:
        """Explanations of some rows.

        Args:
            x: Observed rows of the model, in data units; for a model of one node, its tensor will do.
            target: A class (its code or name), or the value a regression should reach; one for all rows, or
                one per row.
            seed: What random parts are drawn with; recorded in the result.
            stream: Keep every step.

        Returns:
            The explanations; rows that failed say so, and why.

        Raises:
            NotFittedError: The method has to be fitted first.
            SupportError, DataError: Bad rows, such as an image outside [0, 1]; a class that does not exist.
            MechanismError: The classifier does not fit the node.
            ExplanationError: It gives probabilities instead of logits; rows are in their target already.
        """
        if not self.fitted:
            raise NotFittedError(f"{type(self).__name__} is not fitted. Call explainer.fit(data) first.")
        seed = seeding.resolve(seed)
        noise = self.scm.abduct(self._rows(x), seed=seeding.derive(seed, "abduction"))
        query = self._query(noise, target)
        with seeding.seeded(seeding.derive(seed, "search"), self.scm.device):
            parts = [
                self._find(query[start : start + self.batch_size], stream=stream)
                for start in range(0, query.rows, self.batch_size)
            ]
        found = _joined(parts, self.batch_size)
        factual = noise.factual
        assert factual is not None
        return assemble(self.scm, factual, query, found, method=type(self).__name__, seed=seed, stream=stream)

    # ------------------------------------------------------------------ the question

    def _rows(self, x: Any) -> Any:
        if not isinstance(x, Tensor | np.ndarray):
            return x
        observed = [node for node, mechanism in self.scm.mechanisms.items() if mechanism.sites]
        if observed != [self.node]:
            raise DataError(f"x is a tensor, and the model has the nodes {observed}. Give a mapping of node -> values.")
        return {self.node: x}

    def _query(self, noise: Noise, target: Any) -> Query:
        factual, mechanism = noise.factual, self.mechanism
        assert factual is not None
        x = factual[self.node]
        u = noise.of(self.node, mechanism)
        latent = self.acts_on == "latents"
        zeroed = () if self.carry_residual or not latent else mechanism.residual_sites
        u |= {suffix: torch.zeros_like(u[suffix]) for suffix in zeroed}
        start = torch.cat([u[suffix].flatten(1) for suffix in self.sites], 1) if latent else x
        members = self._explained.check(self.node, self._read_by_classifier(x, start))
        wanted, side = read_target(self._explained, target, members)
        pa = {parent: factual[parent] for parent in self.scm.graph.parents(self.node)}
        self._warn_of_meaning(pa, members)
        return Query(
            self.node,
            mechanism,
            self._explained,
            x,
            pa,
            u,
            self.sites if latent else (),
            start,
            wanted,
            side,
            members,
            zeroed,
            latent=self.reads_codes,
        )

    reads_codes: ClassVar[bool] = False
    """Whether the explained classifier reads latent codes instead of the node's values."""

    def _read_by_classifier(self, x: Tensor, start: Tensor) -> Tensor:
        return start if self.reads_codes else x

    def _warn_of_meaning(self, pa: dict[str, Tensor], members: Tensor) -> None:
        """A parent that says what the classifier says holds the image to its class, whatever the latents."""
        if self.acts_on == "node":
            return
        predicted = self._explained.predicted(members)
        for parent, value in pa.items():
            variable, classes = self.scm.variables[parent], self._explained.variable
            if not (isinstance(variable, Categorical) and isinstance(classes, Categorical) and variable.k == classes.k):
                continue
            agreement = (value == predicted).float().mean().item()
            if agreement >= AGREEMENT:
                warnings.warn(
                    f"The parent '{parent}' of '{self.node}' means what the classifier says (they agree in"
                    f" {agreement:.0%} of the rows), and an explanation holds it at its factual value: the latents can"
                    f" hardly reach the target. Use a generator without that parent, or ask the causal question,"
                    f" scm.counterfactual(x, do={{'{parent}': target}}).",
                    stacklevel=4,
                )


def _joined(parts: list[Found], size: int) -> Found:
    """The results of consecutive batches as one."""
    if len(parts) == 1:
        return parts[0]
    trail = []
    for t in range(max(len(part.trail) for part in parts)):
        there = [(i * size + part.trail[t][0], part.trail[t][1]) for i, part in enumerate(parts) if t < len(part.trail)]
        trail.append((torch.cat([rows for rows, _ in there]), torch.cat([codes for _, codes in there])))
    code, steps, reason = (torch.cat([getattr(part, name) for part in parts]) for name in ("code", "steps", "reason"))
    return Found(code, steps, reason, trail)
