"""The facts that a metric declares about itself, so that reports need no table of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ARROWS", "Better", "Metric", "Need"]

Better = Literal["higher", "lower", ""]
"""Which way is better; empty where neither is."""

ARROWS: dict[str, str] = {"higher": "↑", "lower": "↓", "": ""}
"""How reports print it."""

OWN = "the variable's"
"""How a unit begins that is that of the variable which is scored."""

Need = Literal[
    "factual",
    "truth",
    "cycled",
    "returned",
    "predictors",
    "features",
    "perception",
    "latents",
    "reference",
    "samples",
    "classifier",
    "ensemble",
    "autoencoder",
    "stream",
    "density",
]
"""Inputs that a metric needs besides the counterfactuals.

factual: the observed images or values; truth: the true counterfactuals; cycled: images after null
interventions; returned: images after acting and acting back; predictors: predictions and the acted
values; features: a feature extractor; perception: a perceptual network; latents: Gaussians of an
unconditional VAE; reference: real images; samples: several abductions, or a set of images; classifier: the
classifier that is explained; ensemble: several of them; autoencoder: judges trained on real images; stream: the
frames on the way to a counterfactual; density: a model that has one.
"""


@dataclass(frozen=True)
class Metric:
    """A metric and the facts a report needs.

    Args:
        function: Pure function of tensors.
        unit: Unit of its values; empty for pure numbers. "the variable's" is that of the variable which is scored.
        range: Least and greatest value.
        higher_is_better: None where neither is: compare with the same score of real images.
        needs: Inputs that must be at hand.
        per_row: One score per row; otherwise one for the whole set, which is not a mean over rows.
    """

    function: Callable[..., Any]
    unit: str
    range: tuple[float, float]
    higher_is_better: bool | None
    needs: tuple[Need, ...]
    per_row: bool = True

    @property
    def better(self) -> Better:
        """The direction of better, as records keep it."""
        return "" if self.higher_is_better is None else "higher" if self.higher_is_better else "lower"

    @property
    def arrow(self) -> str:
        """The direction of better, as reports print it.

        Example:
            >>> Metric(abs, "px", (0, 1), higher_is_better=False, needs=("truth",)).arrow
            '↓'
        """
        return ARROWS[self.better]

    @property
    def heading(self) -> str:
        """Unit and direction of better, for the head of a column.

        Example:
            >>> Metric(abs, "grey levels", (0, 255), higher_is_better=False, needs=("truth",)).heading
            'grey levels ↓'
        """
        return f"{self.unit} {self.arrow}".strip()

    def unit_for(self, variable: str) -> str:
        """The unit of its values where the variable that is scored has this unit.

        Args:
            variable: The variable's unit; empty if it has none.

        Example:
            >>> Metric(abs, "the variable's²", (0, 9), higher_is_better=False, needs=()).unit_for("px")
            'px²'
        """
        if not self.unit.startswith(OWN):
            return self.unit
        return variable and self.unit.replace(OWN, variable)
