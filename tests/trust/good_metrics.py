"""A good call, and those of every metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from explainers.models import linear_classifier

import causalcf as ccf


@dataclass(frozen=True)
class Good:
    """A call that works: what is called, by which name, and with what."""

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Any]


def metrics() -> list[Good]:
    m, x, y = ccf.metrics, torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)
    codes, others, logits = torch.arange(6) % 3, (torch.arange(6) + 1) % 3, torch.randn(4, 6, 3)
    f = linear_classifier().float()
    pair, named = {"x": x, "y": y}, {"predicted": codes, "target": others}
    interval = {"level": 0.9, "resamples": 5, "seed": 0}
    return [
        *(
            Good(f"metrics.{n}", getattr(m, n), pair)
            for n in ("absolute_error", "grey_level_error", "max_change", "rmse", "unchanged")
        ),
        *(
            Good(f"metrics.{n}", getattr(m, n), {"x": x, "reference": y})
            for n in ("distance", "proximity", "total_change")
        ),
        *(Good(f"metrics.{n}", getattr(m, n), {"logits": logits}) for n in ("aleatoric", "epistemic", "doubt")),
        *(
            Good(f"metrics.{n}", getattr(m, n), {"samples": torch.rand(3, 6, 1, 8, 8)})
            for n in ("abduction_spread", "abduction_std", "abduction_std_map")
        ),
        Good("metrics.zero_one_error", m.zero_one_error, {"x": codes, "y": others}),
        Good("metrics.accuracy", m.accuracy, named),
        Good("metrics.confusion", m.confusion, {**named, "classes": 3}),
        Good("metrics.f1", m.f1, {**named, "classes": 3, "average": "macro"}),
        Good("metrics.f1_interval", m.f1_interval, {**named, "classes": 3, "average": "macro", **interval}),
        Good("metrics.validity", m.validity, {**named, "failed": None}),
        Good("metrics.class_changed", m.class_changed, {"predicted": codes, "factual": others}),
        Good("metrics.bootstrap_interval", m.bootstrap_interval, {"scores": torch.rand(6), **interval}),
        Good("metrics.changed_features", m.changed_features, {"x": x, "reference": y, "threshold": 0.1}),
        Good("metrics.composition", m.composition, {"x": x, "cycled": y, "distance": m.absolute_error}),
        Good("metrics.reversibility", m.reversibility, {"x": x, "returned": y, "distance": m.absolute_error}),
        Good("metrics.diversity", m.diversity, {"images": x}),
        Good("metrics.sharpness", m.sharpness, {"images": x}),
        Good("metrics.distance_ratio", m.distance_ratio, {"after": x, "before": y}),
        Good(
            "metrics.cout",
            m.cout,
            {"x": x, "factual": y, "source": codes, "target": others, "classifier": f, "steps": 2, "batch_size": 4},
        ),
        Good(
            "metrics.transition_curves",
            m.transition_curves,
            {"x": x, "factual": y, "classifier": f, "steps": 2, "batch_size": 4},
        ),
        Good(
            "metrics.draw_other_bin",
            m.draw_other_bin,
            {"values": torch.rand(6), "marginal": torch.rand(20), "bins": 3, "seed": 0},
        ),
        Good(
            "metrics.draw_other_category",
            m.draw_other_category,
            {"values": codes, "marginal": codes, "categories": 3, "seed": 0},
        ),
        Good(
            "metrics.equal_width_bins",
            m.equal_width_bins,
            {"values": torch.rand(6), "reference": torch.rand(6), "bins": 3},
        ),
        Good("metrics.extract", m.extract, {"images": x, "features": lambda x: x.flatten(1), "batch_size": 4}),
        Good(
            "metrics.embedding_distance",
            m.embedding_distance,
            {**pair, "features": lambda x: x.flatten(1), "batch_size": 4},
        ),
        Good("metrics.fid", m.fid, {"real": torch.rand(9, 2), "generated": torch.rand(9, 2)}),
        Good(
            "metrics.kid",
            m.kid,
            {
                "real": torch.rand(9, 2),
                "generated": torch.rand(9, 2),
                "subsets": 2,
                "subset_size": 4,
                "degree": 3,
                "gamma": None,
                "coef": 1.0,
                "standardise": False,
                "seed": 0,
            },
        ),
        Good("metrics.linearity", m.linearity, {"values": torch.rand(6, 4), "lengths": None}),
        Good("metrics.path_linearity", m.path_linearity, {"path": torch.rand(6, 4, 2), "lengths": None}),
        Good(
            "metrics.continuity", m.continuity, {"frames": torch.rand(6, 4, 1, 8, 8), "lengths": None, "per": "frame"}
        ),
        Good("metrics.reconstruction_error", m.reconstruction_error, {"x": x, "autoencoder": lambda x: x}),
    ]
