"""Composition and reversibility: does the image come back after no action, or after an action and its undoing?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from causalcf import metrics
from causalcf.evaluation.inquiry import Inquiry, Kind, Measurement, pooled
from causalcf.metrics import METRICS
from causalcf.predictors import Predictor
from causalcf.scm.residual import Residual

__all__ = ["CYCLES", "composition", "reversibility"]

CYCLES = (1, 10)
"""Numbers of null interventions after which composition is measured."""


def composition(inquiry: Inquiry) -> Iterator[Measurement]:
    """How far images drift under null interventions: grey levels, the judges' features, LPIPS."""
    image = inquiry.image
    for residual in inquiry.residuals:
        for cycle, rows in enumerate(inquiry.cycled(residual, max(CYCLES)), 1):
            if cycle in CYCLES:
                yield from _drift(inquiry, f"composition({cycle})", "model", residual, rows[image])
    for cycle in CYCLES:
        yield from _drift(inquiry, f"composition({cycle})", "identity", None, inquiry.x[image])
        yield from _drift(inquiry, f"composition({cycle})", "noise", None, inquiry.noise[image])


def _drift(inquiry: Inquiry, name: str, kind: Kind, residual: Residual | None, images: Tensor) -> Iterator[Measurement]:
    image, x = inquiry.image, inquiry.x[inquiry.image]
    yield Measurement(name, METRICS["composition"], image, kind, metrics.composition(x, images), residual=residual)
    if inquiry.predictors:
        judges = inquiry.predictors.values()
        read = inquiry.pooled if kind != "model" else pooled  # a cycle's images are asked about once
        parts = [
            _embedded(judge, inquiry.x, read(judge, images)) - _embedded(judge, inquiry.x, inquiry.pooled(judge, x))
            for judge in judges
        ]
        named = " + ".join(judge.signature for judge in judges)
        distance = torch.cat(parts, 1).abs().mean(1)
        measure = METRICS["embedding distance"]
        yield Measurement(f"{name} embedding", measure, image, kind, distance, residual=residual, judge=named)
    if inquiry.perception is not None:
        distance = metrics.lpips(images, x, inquiry.perception)
        named = inquiry.perception.name
        yield Measurement(f"{name} lpips", METRICS["lpips"], image, kind, distance, residual=residual, judge=named)


def _embedded(judge: Predictor, given: Mapping[str, Tensor], images: Tensor) -> Tensor:
    told = {name: given[name].to(judge.device) for name in judge.given}
    return judge.features(images.to(judge.device), told).cpu()


def reversibility(inquiry: Inquiry) -> Iterator[Measurement]:
    """Distance to the factual image after acting, and acting back."""
    x = inquiry.x[inquiry.image]
    for node in inquiry.nodes:
        back = {("model", r): inquiry.undone(node, r)[inquiry.image] for r in inquiry.residuals}
        images = {**back, ("identity", None): x, ("noise", None): inquiry.noise[inquiry.image]}
        for (kind, residual), image in images.items():
            error, measure = metrics.reversibility(x, image), METRICS["reversibility"]
            yield Measurement("reversibility", measure, inquiry.image, kind, error, do=node, residual=residual)  # type: ignore[arg-type]
