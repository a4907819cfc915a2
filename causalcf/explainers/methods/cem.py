"""CEM: pertinent negatives, the parts that must be absent for the classifier to give its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from causalcf.explainers.elastic import ElasticSearch
from causalcf.explainers.query import Query

__all__ = ["CEM"]


@dataclass(eq=False, kw_only=True)
class CEM(ElasticSearch):
    r"""Pertinent negatives: the least ink that, added to x, changes the class.

    .. math::
        \min_{\delta \ge 0} c \max(\text{margin}(x + \delta), -\kappa) + \beta |\delta|_1 + |\delta|_2^2
        + \gamma |x + \delta - G(E(x + \delta))|_2^2

    With `target=None`, as published, any class but the predicted one will do; Khorram and Fuxin set a target. The
    hinge is on logits, as in the authors' code. It acts by do(image = x + delta).

    References:
        Dhurandhar, Chen, Luss, Tu, Ting, Shanmugam, Das, "Explanations based on the Missing: Towards Contrastive
        Explanations with Pertinent Negatives", 2018, eq. 1, with c, beta, steps and rounds of the authors' code.
        Gamma of 100: Khorram and Fuxin, "Cycle-Consistent Counterfactuals by Latent Transformations", 2022,
        supplement A.

    Example:
        >>> explainer = CEM(scm, node="image", classifier=f, max_steps=50, c_steps=3, autoencoder_weight=1.0)
        >>> explanation = explainer.explain(x, target=None, seed=0)
        >>> explanation.changed, bool((explanation.counterfactual >= x).all())
        (tensor([True, True]), True)
    """

    sign: ClassVar[Literal[-1, 0, 1]] = 1

    def penalty(self, query: Query, x: Tensor) -> Tensor:
        return self.autoencoding_error(query, x, self.encode(x, query.pa))
