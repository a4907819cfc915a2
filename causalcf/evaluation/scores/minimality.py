"""Minimality: does no more change than must?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from causalcf import metrics
from causalcf.evaluation.inquiry import Inquiry, Measurement
from causalcf.metrics import METRICS

__all__ = ["cld"]


def cld(inquiry: Inquiry) -> Iterator[Measurement]:
    """Counterfactual latent divergence and its two probabilities: changed enough, and not too much."""
    real = inquiry.given("reference")
    factual, reference = inquiry.gaussians(inquiry.x[inquiry.image]), inquiry.real_gaussians
    for node in inquiry.nodes:
        labels: dict[str, Any] = {
            "labels": inquiry.x[node],
            "acted_labels": inquiry.actions[node],
            "reference_labels": real[node],
        }
        if not inquiry.variables[node].discrete:
            labels = {name: metrics.equal_width_bins(value, real[node]) for name, value in labels.items()}
        labels = {name: value.long() for name, value in labels.items()}
        for candidate in inquiry.candidates(node):
            asked = inquiry.gaussians(candidate.values[inquiry.image])
            found = metrics.cld(asked, factual, reference, **labels)
            scores = {
                "cld": found.value,
                "cld: closer than images of the new value": found.p_counterfactual,
                "cld: farther than images of the old value": found.p_factual,
            }
            for name, value in scores.items():
                yield Measurement(
                    name,
                    METRICS["cld"],
                    inquiry.image,
                    candidate.kind,
                    value,
                    do=node,
                    residual=candidate.residual,
                    judge="latents",
                )
