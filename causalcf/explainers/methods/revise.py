"""REVISE: gradient search in the latent space of a generator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from causalcf.explainers.gradient import GradientSearch
from causalcf.explainers.query import Outputs, Query
from causalcf.explainers.search import Adam, Update
from causalcf.explainers.targets import cross_entropy, l1

__all__ = ["REVISE"]


@dataclass(eq=False, kw_only=True)
class REVISE(GradientSearch):
    r"""Descends :math:`CE(f(G(z')), y') + \lambda\, |x - G(z')|_1` in z', from the abducted z, by Adam.

    With a list of classifiers the cross-entropy is their mean: REVISE-E. A row ends where the mean probability of
    the target is `gamma`.

    References:
        Joshi, Koyejo, Vijitbenjaronk, Kim, Ghosh, "Towards Realistic Individual Recourse and Actionable Explanations
        in Black-Box Decision Making Systems", 2019. Settings and REVISE-E: Theobald et al., "Clarity: an improved
        gradient method for producing quality visual counterfactual explanations", 2022, eq. 3 and 4.

    Args:
        distance_weight: Lambda, of the sum of absolute differences over pixels.
        lr: Adam's step size; the paper names none.

    Example:
        >>> explainer = REVISE(scm, node="image", classifier=f)
        >>> explainer.explain(x, target=2, seed=0)
        Explanation(REVISE, 2 rows, 2 reached)
    """

    distance_weight: float = 1e-3
    lr: float = 0.1

    def update(self) -> Update:
        return Adam(self.lr)

    def loss(self, query: Query, code: Tensor, values: Tensor, outputs: Outputs) -> Tensor:
        return cross_entropy(outputs) + self.distance_weight * l1(values, query.x)
