"""The frame of every explainer: read the question, search, and say what was found as an intervention.

z -> image -> label: the latent z of an image's mechanism is promoted to a cause that can be acted on, so that an
explanation is an ordinary intervention do(z) in the augmented graph; in the original one it is a backtracking
counterfactual (von Kuegelgen, Mohamed, Beckers, "Backtracking Counterfactuals", 2023).
"""

from __future__ import annotations

import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.checkpoint import read_file, write_file
from causalcf.core.errors import CheckpointError, DataError, ExplanationError, MechanismError, NotFittedError
from causalcf.core.provenance import provenance
from causalcf.data import Batch, columns
from causalcf.explainers.classifier import Explained
from causalcf.explainers.explanation import Explanation, assemble
from causalcf.explainers.query import Found, Query, read_target
from causalcf.explainers.saved import identity_of_classifier, identity_of_mechanism, known_classes, packed, unpacked
from causalcf.explainers.settings import require_types
from causalcf.mechanisms import Mechanism
from causalcf.mechanisms.base import Parents
from causalcf.scm.abduction import Noise
from causalcf.scm.model import StructuralCausalModel
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical

__all__ = ["Explainer"]

AGREEMENT = 0.9
"""Share of rows on which a parent and the classifier must agree to be taken for the same thing."""

OUTSIDE = ("scm", "classifier", "fitted")
"""Attributes that no file holds."""


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
        ExplanationError: `classifier` is none, or a setting is none of its choices or out of its range.
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

    def __post_init__(self) -> None:
        require_types(self)
        self.scm.graph.require(self.node)
        if self.acts_on == "latents" and not self.sites:
            raise MechanismError(
                f"{type(self).__name__} moves latent sites, and the {type(self.mechanism).__name__} of '{self.node}'"
                f" has none. Name an image's node, node=..., of {list(self.scm.graph.nodes)}."
            )
        self.fitted = not self.trains
        self._explained = self._what()
        self._identity = identity_of_classifier(self.classifier)
        if self.classifier is not None:
            self.classifier = self._explained.f  # the copy: the caller may train on

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

    def _fit(self, data: Any, seed: int) -> None:
        """Train what the method needs; runs under the seed. Methods that only search have nothing to do.

        Options of `fit` are keyword-only arguments of the method's own.
        What it learns goes into public attributes, which `save` writes; private ones are made again by `_restored`.
        """
        return

    def _restored(self) -> None:
        """Make what follows from what was learned, after `load`; most methods need nothing more."""
        return

    @abstractmethod
    def _find(self, query: Query, *, stream: bool) -> Found:
        """Search; runs without gradients, under the seed, in batches of at most `batch_size` rows."""

    # ------------------------------------------------------------------ the mechanism as an autoencoder

    def encode(self, x: Tensor, pa: Parents) -> Tensor:
        """Codes of values of the node, (N, D): its abducted sites, flattened and joined."""
        laws = self.mechanism.posterior(x, pa)
        if set(self.sites) <= laws.keys():  # without the residual, which would cost a decode
            return self._joined({suffix: laws[suffix].mean for suffix in self.sites})
        return self._joined(self.mechanism.abduct(x, pa))

    def _joined(self, u: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([u[suffix].flatten(1) for suffix in self.sites], 1)

    def decode(self, code: Tensor, pa: Parents) -> Tensor:
        """Values of the node for codes (N, D), without residual; not projected onto the support."""
        drawn = self.mechanism.sample_noise(1)
        u = {suffix: torch.zeros_like(drawn[suffix]).expand(len(code), *drawn[suffix].shape[1:]) for suffix in drawn}
        shapes = [u[suffix].shape[1:] for suffix in self.sites]
        parts = code.split([shape.numel() for shape in shapes], 1)
        u |= {s: part.unflatten(1, shape) for s, part, shape in zip(self.sites, parts, shapes, strict=True)}
        return self.mechanism.predict(u, pa)

    def _encoded(self, data: Any, label: str | None = None) -> tuple[Tensor, Tensor]:
        """Codes (N, D) of training rows, and their classes (N,): a column of the data, or what the classifier says.

        Raises:
            DataError: The data have no such column, or it holds no classes.
        """
        values, _ = columns(data)
        if label is not None and label not in values:
            raise DataError(f"The training data have no column '{label}'. They have {list(values)}.")
        classes = None if label is None else self._classes(label, values[label])
        rows = {name: value for name, value in values.items() if name in self.scm.graph}
        codes, said = [], []
        for start in range(0, len(rows[self.node]), self.batch_size):
            part = {name: value[start : start + self.batch_size] for name, value in rows.items()}
            noise, factual = self._abducted(part, start)
            codes.append(self._joined(noise.of(self.node, self.mechanism)))
            if classes is None:
                said.append(self._explained.predicted(self._explained.check(self.node, factual[self.node])))
        return torch.cat(codes), torch.cat(said) if classes is None else classes

    def _classes(self, label: str, values: Any) -> Tensor:
        """Class codes (N,) of a column: as the variable reads it or, without one, whole numbers."""
        if self.variable is not None:
            return self.variable.read(label, values, self.scm.dtype, self.scm.device).long()
        try:
            codes = torch.as_tensor(values, device=self.scm.device)
        except (TypeError, ValueError):  # text is no tensor
            codes = torch.full((1,), -1)
        if bool(((codes == codes.long()) & (codes >= 0)).all()):
            return codes.long()
        raise DataError(
            f"The column '{label}' holds no class codes 0, 1, 2, ...: it begins with {values[:3]}. Say which categories"
            f" it has: {type(self).__name__}(..., variable=ccf.Categorical([...]))."
        )

    # ------------------------------------------------------------------ the verbs

    def fit(self, data: Any, *, seed: seeding.Seed = None, **options: Any) -> Self:
        """Train what the method needs; methods that only search have nothing to do.

        Args:
            data: Rows of the model, in data units.
            seed: What weights and the order of rows follow from.
            options: The method's own, such as C3LT's `rows`; most have none.

        Returns:
            The explainer itself, fitted.

        Raises:
            ExplanationError: It has no such option.
        """
        self._require_options(options)
        seed = seeding.resolve(seed)
        with seeding.seeded(seed, self.scm.device):
            self._fit(data, seed, **options)
        self.fitted = True
        if self.trains:
            self._fitted_on = self._identities()
            self.provenance = provenance(seed=seed, device=self.scm.device)
        return self

    def save(self, path: str | Path) -> None:
        """Write settings, what `fit` learned and how (`provenance`) to one safetensors file, atomically.

        Model and classifier stay outside: the file has their digests only.

        Args:
            path: Where.

        Raises:
            NotFittedError: Nothing was learned yet.
            ExplanationError: The method only searches: its settings are all there is to it.
            CheckpointError: It learned something that a file cannot hold.
        """
        if not self.trains:
            raise ExplanationError(
                f"{type(self).__name__} learns nothing that could be saved: make it again, with the same settings."
            )
        self._require_fit()
        tensors: dict[str, Tensor] = {}
        known = known_classes(sys.modules[type(self).__module__])
        state = {name: value for name, value in vars(self).items() if name not in OUTSIDE and name[0] != "_"}
        code = [f.name for f in fields(self) if callable(state.get(f.name))]
        header = {
            "kind": "explainer",
            "type": type(self).__name__,
            "of": self._fitted_on,
            "code": code,
            "state": {name: packed(value, tensors, name, known) for name, value in state.items() if name not in code},
        }
        write_file(path, header, tensors)

    @classmethod
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
        header, tensors = read_file(path)
        if header.get("kind") != "explainer":
            raise CheckpointError(f"{path} holds a {header.get('kind')}, not an explainer.")
        made = {method.__name__: method for method in cls._methods()}.get(header["type"])
        if made is None:
            raise CheckpointError(f"{path} holds a {header['type']}, not a {cls.__name__}. Explainer.load reads any.")
        if code.keys() != set(header["code"]):
            raise CheckpointError(
                f"{path} needs the settings {header['code']}, which it cannot hold, and no others; got {sorted(code)}."
            )
        tensors = {name: t.to(scm.device, scm.dtype if t.is_floating_point() else None) for name, t in tensors.items()}
        known = known_classes(sys.modules[made.__module__])
        state = {name: unpacked(value, tensors, known) for name, value in header["state"].items()}
        settings = {f.name: state.pop(f.name) for f in fields(made) if f.name in state}
        explainer = made(scm, classifier=classifier, **settings, **code)
        explainer._require_same(header["of"], path)
        vars(explainer).update(state)
        explainer._restored()
        explainer.fitted = True
        return explainer

    @classmethod
    def _methods(cls) -> Iterator[type[Self]]:
        """The class itself and all that derive from it."""
        yield cls
        for other in cls.__subclasses__():
            yield from other._methods()

    def _identities(self) -> dict[str, str]:
        """What was learned holds for these alone."""
        return {"model": identity_of_mechanism(self.mechanism), "classifier": self._identity}

    def _require_same(self, fitted_on: Mapping[str, str], path: str | Path) -> None:
        self._fitted_on = self._identities()
        for what, identity in self._fitted_on.items():
            if identity != fitted_on[what]:
                raise CheckpointError(
                    f"{path} was fitted on another {what}, {fitted_on[what] or 'none'}; this is {identity or 'none'}."
                    f" Give the {what} that it was fitted on, or fit it anew."
                )

    @torch.no_grad()
    def predict(self, x: Any) -> Tensor:
        """What the explained classifier says of observed rows: classes (N,), or the values of a regression.

        Args:
            x: As for `explain`.
        """
        self._require_fit()
        _, factual = self._abducted(x, 0)
        return self._explained.predicted(self._explained.check(self.node, self._seen(factual), self.batch_size))

    @torch.no_grad()
    def explain(self, x: Any, target: Any, *, seed: seeding.Seed = None, stream: bool = False) -> Explanation:
        """Explanations of some rows.

        Args:
            x: Observed rows of the model, in data units; for a model of one node, its tensor will do.
            target: A class (its code or name), or the value a regression should reach; one for all rows, or
                one per row. None is any class but the predicted one, for the methods that take it.
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
        self._require_fit()
        if target is None and not self.untargeted:
            raise ExplanationError(f"{type(self).__name__} needs a target: explain(x, target=3).")
        seed = seeding.resolve(seed)
        noise, factual = self._abducted(x, seeding.derive(seed, "abduction"))
        query = self._query(noise, factual, target)
        with seeding.seeded(seeding.derive(seed, "search"), self.scm.device):
            parts = [
                self._find(query[start : start + self.batch_size], stream=stream)
                for start in range(0, query.rows, self.batch_size)
            ]
        found = _joined(parts, self.batch_size)
        return assemble(self.scm, factual, query, found, method=type(self).__name__, seed=seed, stream=stream)

    # ------------------------------------------------------------------ the question

    def _require_options(self, options: Mapping[str, Any]) -> None:
        taken = [name for name, its in signature(self._fit).parameters.items() if its.kind is its.KEYWORD_ONLY]
        unknown = [name for name in options if name not in taken]
        if unknown:
            raise ExplanationError(
                f"{type(self).__name__}.fit takes the options {taken}, got {unknown}. Settings are given when the"
                f" explainer is made: {type(self).__name__}(scm, ...)."
            )

    def _require_fit(self) -> None:
        if not self.fitted:
            raise NotFittedError(f"{type(self).__name__} is not fitted. Call explainer.fit(data) first.")

    def _seen(self, factual: Batch) -> Tensor:
        """What the explained classifier looks at: the node, or its codes."""
        if not self.reads_codes:
            return factual[self.node]
        parts = [factual[start : start + self.batch_size] for start in range(0, factual.rows, self.batch_size)]
        return torch.cat([self.encode(part[self.node], self._parents(part)) for part in parts])

    def _abducted(self, x: Any, seed: int) -> tuple[Noise, Batch]:
        """The noise of observed rows, batch by batch, and the rows, whole."""
        whole = self.scm.read(self._rows(x))
        starts = range(0, max(whole.rows, 1), self.batch_size)
        parts = [self.scm.abduct(whole[start : start + self.batch_size], seed=seed) for start in starts]
        factuals = [part.factual for part in parts if part.factual is not None]
        if len(parts) == 1:
            return parts[0], factuals[0]
        factual = Batch({name: torch.cat([part[name] for part in factuals]) for name in factuals[0]}, whole.index)
        sites = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return parts[0].like(sites, factual), factual

    def _parents(self, factual: Batch) -> dict[str, Tensor]:
        return {parent: factual[parent] for parent in self.scm.graph.parents(self.node)}

    def _rows(self, x: Any) -> Any:
        if not isinstance(x, Tensor | np.ndarray):
            return x
        observed = [node for node, mechanism in self.scm.mechanisms.items() if mechanism.sites]
        if observed != [self.node]:
            raise DataError(f"x is a tensor, and the model has the nodes {observed}. Give a mapping of node -> values.")
        return {self.node: x}

    def _query(self, noise: Noise, factual: Batch, target: Any) -> Query:
        mechanism, x = self.mechanism, factual[self.node]
        u = noise.of(self.node, mechanism)
        latent = self.acts_on == "latents"
        zeroed = () if self.carry_residual or not latent else mechanism.residual_sites
        u |= {suffix: torch.zeros_like(u[suffix]) for suffix in zeroed}
        start = self._joined(u) if latent else x
        members = self._explained.check(self.node, start if self.reads_codes else x, self.batch_size)
        if self.gradients:
            self._explained.check_gradient(start if self.reads_codes else x)
        wanted, side = read_target(self._explained, target, members)
        pa = self._parents(factual)
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
            batch_size=self.batch_size,
        )

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
