"""Gradient search on the pixels themselves: the baseline that every paper has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from causalcf.explainers.gradient import GradientSearch
from causalcf.explainers.query import Outputs, Query
from causalcf.explainers.search import Adam, Update
from causalcf.explainers.targets import cross_entropy, l1

__all__ = ["ImageGradient"]


@dataclass(eq=False, kw_only=True)
class ImageGradient(GradientSearch):
    r"""Descends :math:`CE(f(x'), y') + \lambda\, |x - x'|_1` in the pixels, by Adam, within [0, 1].

    The result is mostly an adversarial example, less so of an adversarially trained f. It acts by
    do(image = x'), which cuts the image from all of its causes.

    References:
        Wachter, Mittelstadt, Russell, "Counterfactual Explanations without Opening the Black Box", 2017. Settings:
        Theobald et al., "Clarity: an improved gradient method for producing quality visual counterfactual
        explanations", 2022, eq. 1.

    Args:
        distance_weight: Lambda, of the sum of absolute differences over pixels.
        lr: Adam's step size; the paper names none.

    Example:
        >>> explainer = ImageGradient(scm, node="image", classifier=f)
        >>> explanation = explainer.explain(x, target=2, seed=0)
        >>> explanation.reached, explanation.do["image"].shape
        (tensor([True, True]), torch.Size([2, 1, 8, 8]))
    """

    distance_weight: float = 1e-3
    lr: float = 0.01

    acts_on: ClassVar[Literal["latents", "node"]] = "node"

    def update(self) -> Update:
        return Adam(self.lr, supported=True)

    def loss(self, query: Query, code: Tensor, values: Tensor, outputs: Outputs) -> Tensor:
        return cross_entropy(outputs) + self.distance_weight * l1(values, query.x)
