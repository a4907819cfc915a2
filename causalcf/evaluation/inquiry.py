"""The inputs of scores: rows, questions about them, and the answers of a model.

Scores, an open set, stand in `causalcf.evaluation.scores`. One is given for the model, and in the same way for the
true counterfactuals, for doing nothing and for noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from causalcf import metrics
from causalcf.catalogue import DATASETS
from causalcf.core import seeding
from causalcf.core.errors import DataError, GraphError
from causalcf.data import Batch
from causalcf.metrics import METRICS, Estimate, Metric
from causalcf.metrics.features import Extractor
from causalcf.predictors import Predictor, Predictors
from causalcf.scm.counterfactual import Abduction
from causalcf.scm.model import StructuralCausalModel
from causalcf.scm.residual import Residual, read_residual
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.image import Image

__all__ = ["NEEDS", "Candidate", "Inquiry", "Measurement", "error_of", "other_values", "residuals_of"]

BATCH = 500
"""Rows per call of the model."""


NEEDS = {
    "predictors": "predictors= (causalcf.predictors.pretrained, or causalcf predictors)",
    "truth": "data whose true counterfactuals are known (a truth method: "
    f"{', '.join(source.name for source in DATASETS.values() if source.truth)})",
    "reference": "reference= (real images: the training split)",
    "latents": "latents= (an SCM with the image as its one node and a VAE)",
    "image": "a graph with an image",
    "features": "features=, or predictors= with a classifier that is told the image alone",
    "density": "mechanisms that all have a density, which GANs and diffusion models lack",
}
"""Inputs that some scores need, and how the caller gives them."""

Kind = Literal["model", "truth", "identity", "noise"]


@dataclass(frozen=True)
class Measurement:
    """One score of one candidate.

    Args:
        metric: Its name in reports.
        measure: Its row in `METRICS`: unit, and direction of better.
        node: The node scored.
        kind: Whose score: the model's, the truth's, that of doing nothing, of noise.
        value: One number per row, or one for all, with or without an interval.
        do: The node acted upon.
        residual: Scale of the residual noise, or how it fades.
        judge: The predictor, extractor or latent space it depends on.
    """

    metric: str
    measure: Metric
    node: str
    kind: Kind
    value: Tensor | Estimate | float
    do: str = ""
    residual: Residual | None = None
    judge: str = ""


@dataclass(frozen=True)
class Candidate:
    """An answer to one question: the model's, the true one, the factual rows, or noise.

    Args:
        kind: Whose answer.
        residual: Scale of the residual noise, or how it fades, of the model's answers.
        values: node -> tensor (N, ...).
        asked: The values that the image should show: the acted one, and its consequences.
    """

    kind: Kind
    residual: Residual | None
    values: Mapping[str, Tensor]
    asked: Mapping[str, Tensor]


@dataclass
class Inquiry:
    """Rows, questions about them, and the answers: everything scores are computed from.

    Args:
        scm: The model.
        x: The rows.
        data: The data they come from, for marginals and the truth.
        nodes: Nodes to act on, one at a time.
        seed: Decides the values asked for.
        residuals: Scales of the residual noise, or how it fades.
        abduction: Of amortised posteriors.
        predictors: Judges of effectiveness.
        features: Extractor of FID and KID; by default the features of a classifier among the judges.
        reference: Real images for FID, KID and CLD.
        latents: A one-node SCM over the image: the latent space of CLD.
        perception: A perceptual network for LPIPS.
        true_answer: node, values -> the true counterfactual; None where it is not known.
    """

    scm: StructuralCausalModel
    x: Batch
    data: Mapping[str, Tensor]
    nodes: Sequence[str]
    seed: int
    residuals: Sequence[Residual]
    abduction: Abduction = "mean"
    predictors: Predictors | None = None
    features: Any = None
    reference: Batch | None = None
    latents: StructuralCausalModel | None = None
    perception: Any = None
    true_answer: Callable[[str, Tensor], Mapping[str, Tensor] | None] = field(default=lambda _node, _values: None)
    _kept: dict[tuple[str, int], tuple[Tensor, Any]] = field(default_factory=dict, repr=False)

    # ------------------------------------------------------------------ what is asked

    @property
    def variables(self) -> Mapping[str, Variable]:
        """node -> variable."""
        return self.scm.variables

    @cached_property
    def image(self) -> str:
        """The image node.

        Raises:
            GraphError: There is not exactly one.
        """
        images = [node for node, variable in self.variables.items() if isinstance(variable, Image)]
        if len(images) != 1:
            raise GraphError(f"These scores need a graph with one image, this one has {images}.")
        return images[0]

    @cached_property
    def actions(self) -> dict[str, Tensor]:
        """Node acted upon -> a value per row from the marginal of the data, forced to be another."""
        actions = {}
        for node in self.nodes:
            seed = seeding.derive(self.seed, "values", node) % 2**62
            try:
                actions[node] = other_values(self.variables[node], self.x[node], self.data[node], seed)
            except DataError as error:
                raise DataError(f"do({node}): {error} Leave '{node}' out of do=, or give other data.") from None
        return actions

    # ------------------------------------------------------------------ the answers

    @cached_property
    def answers(self) -> dict[tuple[str, Residual], dict[str, Tensor]]:
        """(node acted upon, residual) -> the model's answer; every row is abducted once."""
        parts: dict[tuple[str, Residual], list[Mapping[str, Tensor]]] = {
            (node, residual): [] for node in self.nodes for residual in self.residuals
        }
        for start, rows in blocks(self.x):
            noise = self.abduct(rows, "rows")
            for node, residual in parts:
                do = {node: self.actions[node][start : start + rows.rows]}
                parts[node, residual].append(dict(self.scm.predict(noise, do, residual=residual)))
        return {question: self._joined(answer) for question, answer in parts.items()}

    def abduct(self, x: Batch, *labels: object) -> Any:
        """Noise of some rows; their purpose is part of the seed."""
        return self.scm.abduct(x, abduction=self.abduction, seed=seeding.derive(self.seed, *labels) % 2**62)

    def _joined(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {node: torch.cat([part[node].cpu() for part in parts]) for node in self.scm.graph.nodes}

    def cycled(self, residual: Residual, cycles: int) -> Iterator[dict[str, Tensor]]:
        """The rows after 1, 2, ... null interventions, every mechanism recomputed."""
        current: Mapping[str, Tensor] = self.x
        for cycle in range(cycles):
            parts = []
            for _, rows in blocks(Batch(current, self.x.index)):
                noise = self.abduct(rows, "cycle", cycle)
                parts.append(dict(self.scm.predict(noise, {}, recompute="all", residual=residual)))
            current = self._joined(parts)
            yield dict(current)

    def undone(self, node: str, residual: Residual) -> dict[str, Tensor]:
        """The rows after acting on a node, and acting back."""
        parts = []
        for start, rows in blocks(Batch(self.answers[node, residual], self.x.index)):
            noise = self.abduct(rows, "back", node)
            back = {node: self.x[node][start : start + rows.rows]}
            parts.append(dict(self.scm.predict(noise, back, residual=residual)))
        return self._joined(parts)

    @cached_property
    def noise(self) -> dict[str, Tensor]:
        """Images of noise, and the values of other rows."""
        generator = torch.Generator().manual_seed(seeding.derive(self.seed, "noise images"))
        other = torch.randperm(self.x.rows, generator=generator)
        return {
            node: torch.rand(value.shape, generator=generator)
            if isinstance(self.variables[node], Image)
            else value[other]
            for node, value in self.x.items()
            if node in self.variables  # rows may have columns that are no nodes of this model
        }

    @cached_property
    def truths(self) -> dict[str, Mapping[str, Tensor] | None]:
        """Node acted upon -> the true answer, None where it is not known."""
        return {node: self.true_answer(node, values) for node, values in self.actions.items()}

    def candidates(self, node: str) -> Iterator[Candidate]:
        """All answers to do(node)."""
        first = self.answers[node, self.residuals[0]]
        for residual in self.residuals:
            answer = self.answers[node, residual]
            yield Candidate("model", residual, answer, answer)
        truth = self.truths[node]
        if truth is not None:
            yield Candidate("truth", None, truth, truth)
        yield Candidate("identity", None, self.x, first)
        yield Candidate("noise", None, self.noise, first)

    # ------------------------------------------------------------------ judges

    def given(self, name: str) -> Any:
        """Return an input by name; raises `DataError` with the remedy if the caller did not give it."""
        value = getattr(self, name)
        if value is None:
            raise DataError(f"This score needs {NEEDS[name]}.")
        return value

    def once(self, what: str, images: Tensor, function: Callable[[Tensor], Any]) -> Any:
        """A function of a set of images, computed once however many scores and actions ask for it."""
        key = what, id(images)
        if key not in self._kept:
            self._kept[key] = images, function(images)  # holding the images keeps others from their id
        return self._kept[key][1]

    def pooled(self, judge: Predictor, images: Tensor) -> Tensor:
        """A judge's pooled images (see `Predictor.pooled`), computed once and kept."""
        return self.once(f"pooled by {judge.target}", images, lambda images: pooled(judge, images))

    @cached_property
    def classifier(self) -> Predictor:
        """The judge whose last hidden layer serves where no feature extractor is given."""
        found = classifier_of(self.predictors)
        if found is None:
            raise DataError(f"This score needs {NEEDS['features']}.")
        return found

    @cached_property
    def extractor(self) -> Any:
        """The feature extractor of distances between sets of images."""
        if self.features is not None:
            return self.features
        judge = self.classifier
        return Extractor(judge.signature, lambda images: judge.features(images.to(judge.device)).to(images.device))

    def featured(self, images: Tensor) -> Tensor:
        """Features of a set of images that is asked about again."""
        if self.features is None:  # a judge, which has looked at the images already, or will
            return self.classifier.features(self.pooled(self.classifier, images).to(self.classifier.device)).cpu()
        return self.once("features", images, lambda images: metrics.extract(images, self.features, batch_size=BATCH))

    def real_images(self) -> Iterator[Tensor]:
        """The reference images in batches: as floats, a large data set may not fit into memory at once."""
        return (rows[self.image] for rows in self.given("reference").prepare().blocks(BATCH))

    @cached_property
    def real(self) -> Tensor:
        """Features of the reference images."""
        return torch.cat([metrics.extract(images, self.extractor) for images in self.real_images()])

    def gaussians(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of images in the latent space of CLD."""
        return self.once("latents", images, lambda images: self._gaussians(images.split(BATCH)))

    @cached_property
    def real_gaussians(self) -> tuple[Tensor, Tensor]:
        """Those of the reference images."""
        return self._gaussians(self.real_images())

    def _gaussians(self, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        mechanism = self.given("latents").mechanisms[self.image]
        found = [mechanism.posterior(batch.to(mechanism.device), {})["z"] for batch in batches]
        return (
            torch.cat([law.mean.cpu() for law in found]),
            torch.cat([law.variance.log().cpu() for law in found]),
        )


def blocks(x: Batch, passes: int = 1) -> Iterator[tuple[int, Batch]]:
    """Rows in blocks that a model is asked at once, each with the row it begins at: its seed follows from that.

    Args:
        x: The rows.
        passes: Of the model for each row, all at once: a block has so many times fewer rows.
    """
    size = BATCH // passes
    return zip(range(0, max(x.rows, 1), size), x.blocks(size), strict=True)


def pooled(judge: Predictor, images: Tensor) -> Tensor:
    """A judge's pooled images (see `Predictor.pooled`), batch by batch, on the CPU."""
    return torch.cat([judge.pooled(batch.to(judge.device)).cpu() for batch in images.split(BATCH)])


def classifier_of(judges: Mapping[str, Predictor] | None) -> Predictor | None:
    """The first classifier that is told the image alone."""
    return next((judge for judge in (judges or {}).values() if judge.classes and not judge.given), None)


# ---------------------------------------------------------------------- scores


def other_values(variable: Variable, own: Tensor, marginal: Tensor, seed: int) -> Tensor:
    """A value per row from a marginal, in another of ten bins, or another category."""
    if isinstance(variable, Categorical | Boolean):
        k = variable.k if isinstance(variable, Categorical) else 2
        return metrics.draw_other_category(own, marginal, categories=k, seed=seed)
    return metrics.draw_other_bin(own, marginal, seed=seed)


def residuals_of(scm: StructuralCausalModel, residuals: Sequence[Residual]) -> tuple[Residual, ...]:
    """The residuals to ask about, each once; only 1 where a model has none, since nothing would differ.

    Raises:
        DataError: There is none, or it is not a sequence.
        InterventionError: One is neither a number >= 0 nor a `Fading`.
    """
    if not isinstance(residuals, Sequence) or isinstance(residuals, str) or not residuals:
        raise DataError(f"residuals={residuals!r}: give a sequence, such as (1.0,) for plain abduction.")
    read = dict.fromkeys(read_residual(residual) for residual in residuals)
    return tuple(read) if any(m.residual_sites for m in scm.mechanisms.values()) else (1.0,)


def error_of(variable: Variable) -> Metric:
    """The error that suits a variable, one per row: grey levels, share wrong, or distance in its unit."""
    if isinstance(variable, Image):
        return METRICS["truth error"]
    return METRICS["zero-one error" if variable.discrete else "absolute error"]
