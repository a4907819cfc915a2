"""The distance to the true counterfactual, and how much stays where nothing may change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from causalcf import metrics
from causalcf.evaluation.inquiry import Inquiry, Measurement, error_of
from causalcf.metrics import METRICS

__all__ = ["truth_error", "unchanged"]


def truth_error(inquiry: Inquiry) -> Iterator[Measurement]:
    """Distance to the true counterfactual, of the image and of every other node the action changes."""
    for node in inquiry.nodes:
        truth = inquiry.truths[node]
        if truth is None:
            continue
        for candidate in inquiry.candidates(node):
            for name in inquiry.scm.graph.descendants([node]):
                if name in truth:
                    measure = error_of(inquiry.variables[name])
                    yield Measurement(
                        "truth error",
                        measure,
                        name,
                        candidate.kind,
                        measure.function(candidate.values[name], truth[name]),
                        do=node,
                        residual=candidate.residual,
                    )


def unchanged(inquiry: Inquiry) -> Iterator[Measurement]:
    """Share of rows in which a node that the action cannot reach keeps its value, bit for bit."""
    for node in inquiry.nodes:
        reached = {node, *inquiry.scm.graph.descendants([node])}
        for candidate in inquiry.candidates(node):
            if candidate.kind == "model":
                for name in inquiry.scm.graph.nodes:
                    if name not in reached:
                        same = metrics.unchanged(inquiry.x[name], candidate.values[name])
                        options: dict[str, Any] = {"do": node, "residual": candidate.residual}
                        yield Measurement("unchanged", METRICS["unchanged"], name, "model", same, **options)
