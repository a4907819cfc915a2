"""Scores of explanations: every score of the papers for each row, and the same scores of references."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from causalcf import metrics
from causalcf.core.errors import ExplanationError
from causalcf.explainers.explanation import Explanation
from causalcf.metrics.autoencoders import ClassAutoencoders
from causalcf.metrics.features import evaluating

__all__ = ["image_scores", "scores", "summary"]

Classifier = Callable[[Tensor], Tensor]

BATCH = 500
"""Rows that are judged at once."""


def scores(
    explanation: Explanation, *, judge: Classifier | None = None, autoencoders: ClassAutoencoders | None = None
) -> dict[str, Tensor]:
    """Scores of an explanation by name, each (N,); NaN where a row has none.

    Args:
        explanation: Of classes, not of a number.
        judge: Another classifier than the one explained, to ask whether it sees the target too.
        autoencoders: Judges of IM1, IM2 and the reconstruction error; see `metrics.fit_autoencoders`.

    Raises:
        ExplanationError: A regression was explained, which has no classes.

    Example:
        >>> scores(explanation)["proximity"].mean()  # doctest: +SKIP
    """
    query = explanation.query
    if query.explained.regression:
        raise ExplanationError("These are scores of classes, and a regression was explained. See metrics.linearity.")
    # Where any other class would do, the one that came out is the one that is judged.
    target = torch.where(query.side > 0, explanation.target, explanation.predicted)
    result = image_scores(
        explanation.counterfactual,
        query.x,
        explanation.factual_predicted,
        target,
        None if query.reads_codes else lambda x: query.explained.members(x).softmax(-1).mean(0).log(),
        judge=judge,
        autoencoders=autoencoders,
    )
    result["valid"] = metrics.validity(explanation.predicted, target, failed=~explanation.reached)
    result["changed"] = metrics.class_changed(explanation.predicted, explanation.factual_predicted)
    result["probability"], result["steps"] = explanation.probability, explanation.steps.float()
    result["proximity to reconstruction"] = metrics.proximity(
        explanation.counterfactual, explanation.reconstruction.to(explanation.counterfactual)
    )
    return result | _stream_scores(explanation, target)


def image_scores(
    x: Tensor,
    factual: Tensor,
    source: Tensor,
    target: Tensor,
    classifier: Classifier | None,
    *,
    judge: Classifier | None = None,
    autoencoders: ClassAutoencoders | None = None,
) -> dict[str, Tensor]:
    """Scores of images taken for counterfactuals: of an explainer's, and of references such as real images.

    Args:
        x: Shape (N, ...).
        factual: The images they are compared with, of the same shape.
        source: The factuals' classes, (N,).
        target: The classes asked for, (N,).
        classifier: The one explained, giving logits (N, K); None if it does not read images.
        judge: Another classifier.
        autoencoders: Judges of IM1, IM2 and the reconstruction error.
    """
    result = {
        "proximity": metrics.proximity(x, factual),
        "distance": metrics.distance(x, factual),
        "sparsity": metrics.total_change(x, factual),
        "changed features": metrics.changed_features(x, factual).to(x),
    }
    if classifier is not None:
        predicted = _predicted(classifier, x)
        result["valid"] = metrics.validity(predicted, target)
        result["changed"] = metrics.class_changed(predicted, source)
        if x.ndim == 4:
            curves = metrics.transition_curves(x, factual, classifier)
            result["AUPC target"] = metrics.aupc(curves, target)
            result["AUPC source"] = metrics.aupc(curves, source)
            result["COUT"] = result["AUPC target"] - result["AUPC source"]
    if judge is not None:
        result["valid to the judge"] = metrics.validity(_predicted(judge, x), target)
    if autoencoders is not None:
        result |= _judged_by(autoencoders, x, source, target)
    return result


def _judged_by(autoencoders: ClassAutoencoders, x: Tensor, source: Tensor, target: Tensor) -> dict[str, Tensor]:
    """IM1, IM2 and the reconstruction error, batch by batch: K + 1 reconstructions a row take room."""
    parts = []
    with evaluating(autoencoders):
        for images, a, b in zip(x.split(BATCH), source.split(BATCH), target.split(BATCH), strict=True):
            again = autoencoders(images)
            error = metrics.reconstruction_error(images, lambda _, again=again: again[:, -1])
            parts.append((metrics.im1(again, images, a, b), metrics.im2(again, images, b), error))
    names = ("IM1", "IM2", "reconstruction error")
    return {name: torch.cat(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}


def summary(scores: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Name -> mean and standard deviation over the rows that have the score; NaN where none has.

    Example:
        >>> summary({"IM1": torch.tensor([1.0, 3.0, torch.nan])})
        {'IM1': (2.0, 1.0)}
    """
    means = {name: values.double().nanmean() for name, values in scores.items()}
    spreads = {name: (values.double() - means[name]).square().nanmean().sqrt() for name, values in scores.items()}
    return {name: (float(means[name]), float(spreads[name])) for name in scores}


def _predicted(classifier: Classifier, x: Tensor) -> Tensor:
    with evaluating(classifier):
        return torch.cat([classifier(part).argmax(-1) for part in x.split(BATCH)])


def _stream_scores(explanation: Explanation, target: Tensor) -> dict[str, Tensor]:
    """Scores of the way from the factual to the counterfactual in its target (N,), if it was kept."""
    stream = explanation.stream
    if stream is None:
        return {}
    logit = stream.logits.gather(2, target[:, None, None].expand(-1, stream.logits.shape[1], 1)).squeeze(2)
    result = {
        "linearity": metrics.linearity(logit, stream.lengths),
        "path linearity": metrics.path_linearity(stream.code, stream.lengths),
        "chord share": metrics.chord_share(stream.code, stream.lengths),
    }
    if stream.image.ndim == 5:
        result["continuity per frame"] = metrics.continuity(stream.image, stream.lengths)
        result["continuity per pixel"] = metrics.continuity(stream.image, stream.lengths, per="pixel")
    return result
