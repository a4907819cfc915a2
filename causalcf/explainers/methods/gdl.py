"""GDL, or Latent-CF: gradient search for the decision boundary in latent space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from causalcf.explainers.gradient import GradientSearch
from causalcf.explainers.query import Outputs, Query
from causalcf.explainers.search import Adam, Descent, Evaluation, Update
from causalcf.explainers.settings import Share
from causalcf.explainers.targets import squared_error

__all__ = ["GDL"]


@dataclass(eq=False, kw_only=True)
class GDL(GradientSearch):
    r"""Descends :math:`(T - p(y' | G(z')))^2` in z', from the abducted z, to just beyond the decision boundary.

    A row ends where the probability is within `tolerance` of T and above `gamma`. For a regression T is the target
    value itself, and the tolerance is in its unit.

    Plain gradient descent, as published, stands still where a confident classifier's softmax is flat (GDL's 77.9 %
    in Zhao et al.): the default is Adam, whose steps do not depend on the gradient's size.

    References:
        Balasubramanian, Sharpe, Barr, Wittenbach, Bruss, "Latent-CF: A Simple Baseline for Reverse Counterfactual
        Explanations", 2020; as the baseline GDL in Zhao, Broelemann, Kasneci, "Counterfactual Explanation via Search
        in Gaussian Mixture Distributed Latent Space", 2023, algorithm 3.

    Args:
        probability: T.
        tolerance: Largest distance from it.
        lr: Step size.
        optimizer: "adam", or "descent" as published.

    Example:
        >>> explainer = GDL(scm, node="image", classifier=f)
        >>> p = explainer.explain(x, target=2, seed=0).probability
        >>> bool(((p >= 0.5) & (p <= 0.6)).all())
        True
    """

    gamma: float = 0.5
    max_steps: int = 1000
    probability: Share = 0.55
    tolerance: float = 0.05
    lr: float = 0.02
    optimizer: Literal["adam", "descent"] = "adam"

    regression: ClassVar[bool] = True

    def update(self) -> Update:
        return Adam(self.lr) if self.optimizer == "adam" else Descent(self.lr)

    def loss(self, query: Query, code: Tensor, values: Tensor, outputs: Outputs) -> Tensor:
        return squared_error(outputs, self.probability)

    def evaluate(self, query: Query, code: Tensor) -> Evaluation:
        evaluation = super().evaluate(query, code)
        near = evaluation.loss <= self.tolerance**2
        return replace(evaluation, met=near if query.explained.regression else near & evaluation.met)
