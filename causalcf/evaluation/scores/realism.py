"""Realism: are the answers, and draws, like the data?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from causalcf import metrics
from causalcf.core import seeding
from causalcf.core.errors import DataError
from causalcf.evaluation.inquiry import Inquiry, Kind, Measurement, blocks
from causalcf.metrics import METRICS
from causalcf.scm.residual import Residual

__all__ = ["LEAST", "fid", "kid", "sample_fid", "sharpness"]

LEAST = 50
"""Fewest images for a distance between sets of images."""


def fid(inquiry: Inquiry) -> Iterator[Measurement]:
    """Fréchet distance of counterfactual images to real ones, per action and with an action drawn per row."""
    yield from _set_distances(inquiry, "fid", lambda real, found: float(metrics.fid(real, found)))


def kid(inquiry: Inquiry) -> Iterator[Measurement]:
    """Kernel distance of counterfactual images to real ones, per action and with an action drawn per row."""

    own = inquiry.features is None  # a judge's hidden layer, which is on no scale that the kernel was made for

    def distance(real: Tensor, found: Tensor) -> float:
        size = min(1000, len(real), len(found))
        return metrics.kid(real, found, subset_size=size, subsets=20, standardise=own, seed=inquiry.seed).value

    yield from _set_distances(inquiry, "kid", distance)


def _set_distances(inquiry: Inquiry, metric: str, distance: Callable[[Tensor, Tensor], float]) -> Iterator[Measurement]:
    if not inquiry.nodes:
        return
    _check_images(inquiry, metric)
    name, measure, image = metrics.metric_name(metric, inquiry.extractor), METRICS[metric], inquiry.image
    generator = torch.Generator().manual_seed(seeding.derive(inquiry.seed, "which action"))
    chosen = torch.randint(len(inquiry.nodes), (inquiry.x.rows,), generator=generator)
    mixed: dict[tuple[Kind, Residual | None], list[Tensor]] = {}
    for node in inquiry.nodes:
        for candidate in inquiry.candidates(node):
            found = inquiry.featured(candidate.values[image])
            mixed.setdefault((candidate.kind, candidate.residual), []).append(found)
            value = distance(inquiry.real, found)
            options = {"do": node, "residual": candidate.residual, "judge": inquiry.extractor.name}
            yield Measurement(name, measure, image, candidate.kind, value, **options)  # type: ignore[arg-type]
    for (kind, residual), found in mixed.items():
        if len(found) == len(inquiry.nodes) > 1:
            rows = torch.stack(found)[chosen, torch.arange(inquiry.x.rows)]
            do, value = "one at random", distance(inquiry.real, rows)
            yield Measurement(name, measure, image, kind, value, do=do, residual=residual, judge=inquiry.extractor.name)


def sample_fid(inquiry: Inquiry) -> Iterator[Measurement]:
    """Fréchet distance of samples of the model to real images."""
    _check_images(inquiry, "sample fid")
    name, image = metrics.metric_name("sample fid", inquiry.extractor), inquiry.image
    judge = inquiry.extractor.name
    sets: dict[tuple[Kind, Residual | None], Tensor] = {
        ("identity", None): inquiry.featured(inquiry.x[image]),
        ("noise", None): inquiry.featured(inquiry.noise[image]),
    }
    for residual in inquiry.residuals:
        seed = seeding.derive(inquiry.seed, "samples") % 2**62
        parts = [
            inquiry.scm.sample(rows.rows, residual=residual, seed=seed + start)[image].cpu()
            for start, rows in blocks(inquiry.x)
        ]
        sets["model", residual] = torch.cat([metrics.extract(part, inquiry.extractor) for part in parts])
    for (kind, residual), found in sets.items():
        value = float(metrics.fid(inquiry.real, found))
        yield Measurement(name, METRICS["fid"], image, kind, value, residual=residual, judge=judge)


def _check_images(inquiry: Inquiry, metric: str) -> None:
    fewest = min(inquiry.x.rows, inquiry.given("reference").rows)
    width = metrics.extract(inquiry.x[inquiry.image][:1], inquiry.extractor).shape[1]
    least = LEAST if metric == "kid" else max(LEAST, width + 1)
    if fewest < least:
        raise DataError(
            f"{metric} needs at least {least} images in this feature space, got {fewest}. Raise n=, or leave it out."
        )


def sharpness(inquiry: Inquiry) -> Iterator[Measurement]:
    """Fine detail in counterfactual images; compare with the truth."""
    for node in inquiry.nodes:
        for candidate in inquiry.candidates(node):
            value = metrics.sharpness(candidate.values[inquiry.image])
            options: dict[str, Any] = {"do": node, "residual": candidate.residual}
            yield Measurement("sharpness", METRICS["sharpness"], inquiry.image, candidate.kind, value, **options)
