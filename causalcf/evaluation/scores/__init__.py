"""Scores of an evaluation, an open set: one file a family, one row of `SCORES` a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from causalcf.evaluation.inquiry import Inquiry, Score
from causalcf.evaluation.scores.composition import composition, reversibility
from causalcf.evaluation.scores.effectiveness import effectiveness
from causalcf.evaluation.scores.minimality import cld
from causalcf.evaluation.scores.realism import fid, kid, sample_fid, sharpness
from causalcf.evaluation.scores.truth import truth_error, unchanged
from causalcf.evaluation.scores.uncertainty import log_density, uncertainty

__all__ = ["SCORES", "Entry"]


@dataclass(frozen=True)
class Entry:
    """A score and what it needs.

    Args:
        function: The generator.
        needs: Of "predictors", "truth", "reference", "latents", "features", "image", "density".
        default: Whether it is computed unless told otherwise.
        acts: Whether it looks at counterfactuals.
    """

    function: Callable[[Inquiry], Iterator[Score]]
    needs: tuple[str, ...] = ()
    default: bool = True
    acts: bool = True


SCORES: dict[str, Entry] = {
    "effectiveness": Entry(effectiveness, ("image", "predictors")),
    "truth error": Entry(truth_error, ("truth",)),
    "composition": Entry(composition, ("image",), acts=False),
    "reversibility": Entry(reversibility, ("image",)),
    "fid": Entry(fid, ("image", "reference", "features")),
    "kid": Entry(kid, ("image", "reference", "features"), default=False),
    "sample fid": Entry(sample_fid, ("image", "reference", "features"), acts=False),
    "cld": Entry(cld, ("image", "reference", "latents")),
    "unchanged": Entry(unchanged),
    "sharpness": Entry(sharpness, ("image",), default=False),
    "uncertainty": Entry(uncertainty, ("image",), default=False),
    "log density": Entry(log_density, ("image", "density"), default=False, acts=False),
}
"""Scores by name, in the order of reports."""
