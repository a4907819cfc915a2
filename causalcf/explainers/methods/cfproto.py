"""CFProto: counterfactuals that are pulled towards a class prototype in latent space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from causalcf.core.errors import ExplanationError
from causalcf.explainers.elastic import ElasticSearch
from causalcf.explainers.found import Found
from causalcf.explainers.learned import coded
from causalcf.explainers.query import Query
from causalcf.explainers.targets import squared_l2

__all__ = ["CFProto"]


@dataclass(eq=False, kw_only=True)
class CFProto(ElasticSearch):
    r"""Minimises c hinge + beta L1 + L2^2, with an autoencoder's and a prototype's penalty.

    .. math::
        c \max(\text{margin}(x'), -\kappa) + \beta |\delta|_1 + |\delta|_2^2 + \gamma |x' - G(E(x'))|_2^2
        + \theta |E(x') - \text{proto}|_2^2

    The prototype of a class is the mean code of the training rows that the classifier puts into it. With
    `target=None`, as published, it is that of the nearest other class. The model itself is the autoencoder. The
    hinge is on logits, and a row counts as found only if the classifier puts it into the target, so that none ends on
    the boundary. It acts by do(image = x').

    References:
        Van Looveren and Klaise, "Interpretable Counterfactual Explanations Guided by Prototypes", 2021, eq. 2 and
        algorithm 1, with the settings of its MNIST experiments.

    Args:
        prototype_weight: Theta.

    Example:
        >>> settings = {"max_steps": 50, "autoencoder_weight": 1.0, "prototype_weight": 0.1}
        >>> explainer = CFProto(scm, node="image", classifier=f, **settings).fit({"image": train["image"]})
        >>> explainer.explain(x, target=2, seed=0)
        Explanation(CFProto, 2 rows, 2 reached)
    """

    c_steps: int = 2
    prototype_weight: float = 100.0

    trains: ClassVar[bool] = True

    def train(self, data: Any, seed: int) -> None:
        codes, labels = coded(self, data)
        member = torch.nn.functional.one_hot(labels, self.explained.classes).to(codes)
        # A class without rows has no prototype: NaN, which asking for it reports.
        self.prototypes = member.T @ codes / member.sum(0)[:, None]

    def find(self, query: Query, *, stream: bool) -> Found:
        return super().find(query.given(prototype=self.prototypes_of(query)), stream=stream)

    def prototypes_of(self, query: Query) -> Tensor:
        """(N, D) the target's, or that of the nearest class but the predicted one."""
        distances = torch.cdist(self.encode(query.x, query.pa), self.prototypes).nan_to_num(torch.inf)
        others = distances.scatter(1, query.target[:, None], torch.inf)
        chosen = torch.where(query.side > 0, query.target, others.argmin(1))
        prototypes = self.prototypes[chosen]
        missing = chosen[prototypes.isnan().any(1)].unique().tolist()
        if missing:
            raise ExplanationError(
                f"CFProto has no prototype of the classes {missing}: the classifier puts no training row into them."
                " Fit it on data that have them, or ask for another target."
            )
        return prototypes

    def penalty(self, query: Query, x: Tensor) -> Tensor:
        code = self.encode(x, query.pa)
        pull = self.prototype_weight * squared_l2(code, query.constants["prototype"])
        return self.autoencoding_error(query, x, code) + pull
