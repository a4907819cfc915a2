"""Effectiveness: do predictors find the acted value in the image?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from causalcf import metrics
from causalcf.evaluation.inquiry import Inquiry, Measurement
from causalcf.metrics import METRICS

__all__ = ["effectiveness"]


def effectiveness(inquiry: Inquiry) -> Iterator[Measurement]:
    """Compare the values that predictors read in the image with the acted values; predictors see the acted parents."""
    predictors = inquiry.given("predictors")
    for node in inquiry.nodes:
        for candidate in inquiry.candidates(node):
            for target, predictor in predictors.items():
                pooled = {inquiry.image: inquiry.pooled(predictor, candidate.values[inquiry.image])}
                predicted, wanted = predictor.read({**candidate.asked, **pooled}), candidate.asked[target]
                options: dict[str, Any] = {
                    "do": node,
                    "residual": candidate.residual,
                    "judge": predictor.signature,
                    "kind": candidate.kind,
                    "node": target,
                }
                measure = METRICS["accuracy" if predictor.classes else "absolute error"]
                yield Measurement("effectiveness", measure, value=measure.function(predicted, wanted), **options)
                if predictor.classes == 2 and bool((predicted.bool() | wanted.bool()).any()):
                    f1 = metrics.f1_interval(predicted, wanted, seed=inquiry.seed)
                    yield Measurement("effectiveness (F1)", METRICS["f1"], value=f1, **options)
