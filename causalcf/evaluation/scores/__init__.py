"""Scores of an evaluation, an open set: one file a family, one row of `SCORES` a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from causalcf.evaluation.inquiry import NEEDS, Inquiry, Measurement
from causalcf.evaluation.scores.composition import composition, reversibility
from causalcf.evaluation.scores.effectiveness import effectiveness
from causalcf.evaluation.scores.minimality import cld
from causalcf.evaluation.scores.realism import fid, kid, sample_fid, sharpness
from causalcf.evaluation.scores.truth import truth_error, unchanged
from causalcf.evaluation.scores.uncertainty import LOG_DENSITY, log_density, uncertainty
from causalcf.metrics import METRICS, Metric

__all__ = ["SCORES", "Entry"]


@dataclass(frozen=True)
class Entry:
    """A score, and when it is computed.

    Args:
        function: The generator.
        measure: Its metric: the row in `METRICS` says which inputs it needs.
        image: Whether it needs an image too.
        default: Whether it is computed unless told otherwise.
        acts: Whether it looks at counterfactuals.
    """

    function: Callable[[Inquiry], Iterator[Measurement]]
    measure: Metric
    image: bool = True
    default: bool = True
    acts: bool = True

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of `NEEDS` that the caller has to give; the inquiry has everything else that the metric needs."""
        return (*["image"][: self.image], *(need for need in self.measure.needs if need in NEEDS))


SCORES: dict[str, Entry] = {
    "effectiveness": Entry(effectiveness, METRICS["accuracy"]),
    "truth error": Entry(truth_error, METRICS["truth error"], image=False),
    "composition": Entry(composition, METRICS["composition"], acts=False),
    "reversibility": Entry(reversibility, METRICS["reversibility"]),
    "fid": Entry(fid, METRICS["fid"]),
    "kid": Entry(kid, METRICS["kid"], default=False),
    "sample fid": Entry(sample_fid, METRICS["fid"], acts=False),
    "cld": Entry(cld, METRICS["cld"]),
    "unchanged": Entry(unchanged, METRICS["unchanged"], image=False),
    "sharpness": Entry(sharpness, METRICS["sharpness"], default=False),
    "uncertainty": Entry(uncertainty, METRICS["abduction std"], default=False),
    "log density": Entry(log_density, LOG_DENSITY, default=False, acts=False),
}
"""Scores by name, in the order of reports."""
