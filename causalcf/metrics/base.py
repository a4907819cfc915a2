"""What a metric declares about itself, so that reports need no table of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Metric", "Need"]

Need = Literal[
    "factual",
    "truth",
    "cycled",
    "returned",
    "predictor",
    "features",
    "perception",
    "latents",
    "real",
    "samples",
    "classifier",
    "ensemble",
    "autoencoder",
    "stream",
]
"""What must be at hand beside the counterfactuals.

factual: the observed images or values; truth: the true counterfactuals; cycled: images after null
interventions; returned: images after acting and acting back; predictor: predictions and the acted
values; features: a feature extractor; perception: a perceptual network; latents: Gaussians of an
unconditional VAE; real: real images; samples: several abductions, or a set of images; classifier: the
classifier that is explained; ensemble: several of them; autoencoder: judges trained on real images; stream: the
frames on the way to a counterfactual.
"""


@dataclass(frozen=True)
class Metric:
    """A metric and the facts a report needs.

    Args:
        function: Pure function of tensors.
        unit: Unit of its values; empty for pure numbers.
        range: Least and greatest value.
        higher_is_better: None where neither is: compare with the same score of real images.
        needs: What must be at hand.
        per_row: One score per row; otherwise one for the whole set, which is no mean over rows.
    """

    function: Callable[..., Any]
    unit: str
    range: tuple[float, float]
    higher_is_better: bool | None
    needs: tuple[Need, ...]
    per_row: bool = True

    @property
    def arrow(self) -> str:
        """The direction of better, as reports print it.

        Example:
            >>> Metric(abs, "px", (0, 1), higher_is_better=False, needs=("truth",)).arrow
            '↓'
        """
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]
