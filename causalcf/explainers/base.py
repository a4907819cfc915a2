"""The frame of every explainer: read the question, search, and return the result as an intervention.

z -> image -> label: the latent z of an image's mechanism is promoted to a cause that can be acted on, so that an
explanation is an ordinary intervention do(z) in the augmented graph; in the original one it is a backtracking
counterfactual (von Kuegelgen, Mohamed, Beckers, "Backtracking Counterfactuals", 2023).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import DataError, ExplanationError, MechanismError, NotFittedError
from causalcf.core.provenance import provenance
from causalcf.core.settings import plain
from causalcf.core.signatures import checked
from causalcf.data import Batch
from causalcf.explainers import saved
from causalcf.explainers.classifier import Explained
from causalcf.explainers.explanation import Explanation, assemble
from causalcf.explainers.found import Found
from causalcf.explainers.query import Query, make_query, parted
from causalcf.explainers.settings import require_types
from causalcf.mechanisms import Mechanism
from causalcf.mechanisms.base import Parents
from causalcf.scm.abduction import Noise
from causalcf.scm.model import StructuralCausalModel
from causalcf.variables import Variable

__all__ = ["Explainer"]


@dataclass(eq=False, kw_only=True)
class Explainer(ABC):
    """Asks what would have to change in an image for a classifier to call it something else.

    A subclass is a dataclass whose fields are its hyperparameters, with the paper's settings as defaults. It says how
    to search: `find`, and `train` where something is trained.

    Args:
        scm: A fitted model. Of one node, an unconditional generator; otherwise the node's parents stay at their
            factual values.
        node: The node explained: an image, a table's row, ... whose mechanism has latent sites.
        classifier: Torch module or function of the node's values, giving logits; a list is an ensemble.
            Modules are copied, as they are when the explainer is made.
        variable: Of the classifier's output, as for `scm.attach`: by default a Categorical with as many categories
            as there are logits, a Boolean for one; a Real (or Positive, Interval) for a regression.
        carry_residual: Keep the abducted residual of the image (`"image.eps"`), instead of
            setting it to 0.
        batch_size: Rows that are searched at once.

    Attributes:
        explained: The classifier, as explainers ask it.
        classifier_digest: Digest of the classifier given.
        fitted: Whether it can be asked.
        fitted_on: "model" and "classifier" -> digest, once it has learned something, which holds for these alone.

    Raises:
        UnknownNodeError: The model has no such node.
        MechanismError: The node's mechanism has no latent site to act on.
        ExplanationError: `classifier` is not a classifier, or a setting is not among its choices or not in its range.
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
    gradients: ClassVar[bool] = False
    """Whether it differentiates the classifier; otherwise that may be a black box."""
    untargeted: ClassVar[bool] = False
    """Whether it can be asked for any class but the predicted one: `target=None`."""
    reads_codes: ClassVar[bool] = False
    """Whether the explained classifier reads latent codes instead of the node's values."""

    @torch.inference_mode(False)
    def __post_init__(self) -> None:
        for setting in fields(self):
            setattr(self, setting.name, plain(getattr(self, setting.name)))
        require_types(self)
        self.scm.graph.require(self.node)
        if self.acts_on == "latents" and not self.sites:
            raise MechanismError(
                f"{type(self).__name__} moves latent sites, and the {type(self.mechanism).__name__} of '{self.node}'"
                f" has none. Name an image's node, node=..., of {list(self.scm.graph.nodes)}."
            )
        self.fitted = not self.trains
        self.fitted_on: dict[str, str] = {}
        self.explained = self.wrap_classifier()
        self.classifier_digest = saved.digest_of_classifier(self.classifier)
        if self.classifier is not None:
            self.classifier = self.explained.f  # the copy: the caller may train on

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

    @abstractmethod
    def find(self, query: Query, *, stream: bool) -> Found:
        """Search. It runs without gradients and under the seed of `explain`.

        Args:
            query: At most `batch_size` rows.
            stream: Whether to keep every step, in `Found.trajectory`.
        """

    def train(self, data: Any, seed: int) -> None:
        """Train the parts of the method; it runs under the seed. Methods that only search have nothing to do.

        It puts its results into public attributes, which `save` writes; private ones are made again by `restore`.
        Options of `fit` are keyword-only arguments of the method's own.

        Args:
            data: Rows of the model, in data units.
            seed: Seed of weights and the order of rows.
        """
        return

    def restore(self) -> None:
        """Rebuild, after `load`, the attributes that depend on learned ones; most methods have none."""
        return

    def wrap_classifier(self) -> Explained:
        """Make the classifier to explain ready to be asked; by default it is the one given.

        Raises:
            ExplanationError: There is no classifier, or a number would be explained by a method for classes.
        """
        if self.classifier is None:
            raise ExplanationError(f"{type(self).__name__} needs a classifier to explain: classifier=f.")
        explained = Explained(self.classifier, self.variable, device=self.scm.device, dtype=self.scm.dtype)
        if explained.regression and not self.regression:
            raise ExplanationError(f"{type(self).__name__} explains classes, not {self.variable}. LoSoCs and GDL do.")
        return explained

    # ------------------------------------------------------------------ the mechanism as an autoencoder

    def encode(self, x: Tensor, pa: Parents) -> Tensor:
        """Codes of values of the node, (N, D): its abducted sites, flattened and joined."""
        laws = self.mechanism.posterior(x, pa)
        if set(self.sites) <= laws.keys():  # without the residual, which would cost a decode
            return self.joined({suffix: laws[suffix].mean for suffix in self.sites})
        return self.joined(self.mechanism.abduct(x, pa))

    def joined(self, u: Mapping[str, Tensor]) -> Tensor:
        """Codes (N, D) of noise: the sites that the search moves, flattened and joined."""
        return torch.cat([u[suffix].flatten(1) for suffix in self.sites], 1)

    def decode(self, code: Tensor, pa: Parents) -> Tensor:
        """Values of the node for codes (N, D), without residual; not projected onto the support."""
        zero = code.new_zeros(())
        one_row = self.mechanism.noise_of(torch.zeros(1, dtype=torch.int64, device=code.device))
        u = {site: zero.expand(len(code), *one.shape[1:]) for site, one in one_row.items()}
        return self.mechanism.predict(u | parted(code, u, self.sites), pa)

    # ------------------------------------------------------------------ the verbs

    @checked
    @torch.inference_mode(False)
    def fit(self, data: Any, *, seed: seeding.Seed = None, **options: Any) -> Self:
        """Train the parts of the method; methods that only search have nothing to do.

        Args:
            data: Rows of the model, in data units.
            seed: Seed of weights and the order of rows.
            options: The method's own, such as C3LT's `rows`; most have none.

        Returns:
            The explainer itself, fitted.

        Raises:
            ExplanationError: It has no such option.
        """
        self._require_options(options)
        seed = seeding.resolve(seed)
        with seeding.seeded(seed, self.scm.device):
            self.train(data, seed, **options)
        self.fitted = True
        if self.trains:
            self.fitted_on = saved.digests(self)
            self.provenance = provenance(seed=seed, device=self.scm.device)
        return self

    def save(self, path: str | Path) -> None:
        """Write settings, the results of `fit` and their `provenance` to one safetensors file, atomically.

        Model and classifier stay outside: the file has their digests only.

        Args:
            path: Where.

        Raises:
            NotFittedError: Nothing was learned yet.
            ExplanationError: The method only searches: its settings are all there is to it.
            CheckpointError: It learned something that a file cannot hold.
        """
        if self.trains:
            self._require_fit()
        saved.save(self, path)

    @classmethod
    @torch.inference_mode(False)
    def load(cls, path: str | Path, scm: StructuralCausalModel, *, classifier: Any = None, **code: Any) -> Self:
        """Read an explainer written by `save`, for the model and the classifier that it was fitted on.

        Args:
            path: The file.
            scm: The model.
            classifier: The classifier.
            code: Settings that a file cannot hold: functions, such as C3LT's `perception`.

        Returns:
            A fitted explainer, of the method that the file names: `Explainer.load` reads any.

        Raises:
            CheckpointError: The file is damaged or holds something else, or is of another model or classifier; or
                a setting is missing.

        Example:
            >>> from causalcf.explainers import CFProto
            >>> explainer = CFProto(scm, classifier=f, max_steps=50).fit({"image": train["image"]})
            >>> explainer.save(folder / "prototypes.safetensors")
            >>> Explainer.load(folder / "prototypes.safetensors", scm, classifier=f).explain(x, target=2, seed=0)
            Explanation(CFProto, 2 rows, 2 reached)
        """
        return saved.load(cls, path, scm, classifier, code)

    @checked
    @torch.inference_mode(False)
    @torch.no_grad()
    def predict(self, x: Any) -> Tensor:
        """The explained classifier's classes of observed rows, (N,), or the values of a regression.

        Args:
            x: As for `explain`.
        """
        self._require_fit()
        _, factual = self.abduct(x)
        return self.explained.predicted(self.explained.check(self.node, self._classified(factual), self.batch_size))

    @checked
    @torch.inference_mode(False)
    @torch.no_grad()
    def explain(self, x: Any, target: Any, *, seed: seeding.Seed = None, stream: bool = False) -> Explanation:
        """Explanations of some rows.

        Args:
            x: Observed rows of the model, in data units; for a model of one node, its tensor will do.
            target: A class (its code or name), or the value a regression should reach; one for all rows, or
                one per row. None is any class but the predicted one, for the methods that take it.
            seed: Seed of random parts; recorded in the result.
            stream: Keep every step.

        Returns:
            The explanations; rows that failed say so, and why.

        Raises:
            NotFittedError: The method has to be fitted first.
            SupportError, DataError: Bad rows, such as an image outside [0, 1]; a class that does not exist.
            MechanismError: The classifier does not fit the node.
            ExplanationError: It gives probabilities instead of logits; rows are in their target already.
        """
        self._require_fit()
        if target is None and not self.untargeted:
            raise ExplanationError(f"{type(self).__name__} needs a target: explain(x, target=3).")
        seed = seeding.resolve(seed)
        noise, factual = self.abduct(x, seed=seeding.derive(seed, "abduction"))
        query = make_query(self, noise, factual, target)
        with seeding.seeded(seeding.derive(seed, "search"), self.scm.device):
            found = Found.join([self.find(part, stream=stream) for part in query.blocks()])
        return assemble(self.scm, factual, query, found, method=type(self).__name__, seed=seed, stream=stream)

    # ------------------------------------------------------------------ the question

    @torch.no_grad()
    def query(self, x: Any, target: Any, *, seed: int = 0) -> Query:
        """The question that `explain` gives to `find`.

        Args:
            x: As for `explain`.
            target: As for `explain`.
            seed: Seed of noise, where abduction draws any.

        Raises:
            NotFittedError, SupportError, DataError, MechanismError, ExplanationError: As `explain` does.
        """
        self._require_fit()
        return make_query(self, *self.abduct(x, seed=seed), target)

    def abduct(self, x: Any, *, seed: int = 0) -> tuple[Noise, Batch]:
        """The noise of observed rows, abducted batch by batch, and the rows, both whole.

        Args:
            x: As for `explain`.
            seed: Seed of noise, where abduction draws any.
        """
        parts = [self.scm.abduct(part, seed=seed) for part in self.scm.read(self._rows(x)).blocks(self.batch_size)]
        factual = Batch.join(part.factual for part in parts if part.factual is not None)
        sites = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return parts[0].like(sites, factual), factual

    def parents_of(self, rows: Batch) -> dict[str, Tensor]:
        """The values of the node's parents in some rows."""
        return {parent: rows[parent] for parent in self.scm.graph.parents(self.node)}

    def _rows(self, x: Any) -> Any:
        if not isinstance(x, Tensor | np.ndarray):
            return x
        observed = [node for node, mechanism in self.scm.mechanisms.items() if mechanism.sites]
        if observed != [self.node]:
            raise DataError(f"x is a tensor, and the model has the nodes {observed}. Give a mapping of node -> values.")
        return {self.node: x}

    def _classified(self, factual: Batch) -> Tensor:
        """The explained classifier's inputs for rows: the node's values, or their codes."""
        if not self.reads_codes:
            return factual[self.node]
        return factual.walk(self.batch_size, lambda part: self.encode(part[self.node], self.parents_of(part)))

    def _require_options(self, options: Mapping[str, Any]) -> None:
        taken = [name for name, its in signature(self.train).parameters.items() if its.kind is its.KEYWORD_ONLY]
        unknown = [name for name in options if name not in taken]
        if unknown:
            raise ExplanationError(
                f"{type(self).__name__}.fit takes the options {taken}, got {unknown}. Settings are given when the"
                f" explainer is made: {type(self).__name__}(scm, ...)."
            )

    def _require_fit(self) -> None:
        if not self.fitted:
            raise NotFittedError(f"{type(self).__name__} is not fitted. Call explainer.fit(data) first.")
