"""REVISE: gradient search in the latent space of a generator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from causalcf.explainers.base import Explainer
from causalcf.explainers.query import Found, Query
from causalcf.explainers.search import Adam, Evaluation, search
from causalcf.explainers.targets import cross_entropy, l1

__all__ = ["REVISE"]


@dataclass(eq=False, kw_only=True)
class REVISE(Explainer):
    r"""Descends :math:`CE(f(G(z')), y') + \lambda\, |x - G(z')|_1` in z', from the abducted z, by Adam.

    With a list of classifiers the cross-entropy is their mean: REVISE-E. A row ends where the mean probability of
    the target is `gamma`.

    References:
        Joshi, Koyejo, Vijitbenjaronk, Kim, Ghosh, "Towards Realistic Individual Recourse and Actionable Explanations
        in Black-Box Decision Making Systems", 2019. Settings and REVISE-E: Theobald et al., "Clarity: an improved
        gradient method for producing quality visual counterfactual explanations", 2022, eq. 3 and 4.

    Args:
        distance_weight: Lambda, of the sum of absolute differences over pixels.
        gamma: Probability of the target at which a row ends.
        lr: Adam's step size; the paper names none.
        max_steps: After which a row fails.

    Example:
        >>> explainer = REVISE(scm, node="image", classifier=f)  # doctest: +SKIP
        >>> explainer.explain(x, target=9).reached  # doctest: +SKIP
        tensor([True, True])
    """

    distance_weight: float = 1e-3
    gamma: float = 0.99
    lr: float = 0.05
    max_steps: int = 500

    def _find(self, query: Query, *, stream: bool) -> Found:
        return search(query, self._evaluate, Adam(self.lr), max_steps=self.max_steps, stream=stream)

    def _evaluate(self, query: Query, z: Tensor) -> Evaluation:
        image = query.decode(z)
        members = query.explained.members(image)
        progress = query.progress(members)
        loss = cross_entropy(query, members) + self.distance_weight * l1(image, query.x)
        return Evaluation(loss, progress, query.met(progress, self.gamma))
