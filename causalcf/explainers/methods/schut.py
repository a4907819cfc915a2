"""Schut et al.: change one pixel at a time, by the gradient of an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from causalcf.explainers.gradient import GradientSearch
from causalcf.explainers.query import Outputs, Query
from causalcf.explainers.search import GreedyCoordinate, Update
from causalcf.explainers.targets import cross_entropy

__all__ = ["Schut"]


@dataclass(eq=False, kw_only=True)
class Schut(GradientSearch):
    r"""Lowers :math:`\frac1M \sum_m CE(f_m(x'), y')` by moving, in each step, the single pixel of largest gradient.

    The mean cross-entropy of an ensemble bounds its predictive entropy, so that the result is neither unlike the
    data nor ambiguous. Unlike its authors' code, a row ends by its own probability of the target, not when all rows
    of the batch have changed class. It acts by do(image = x').

    References:
        Schut, Key, McGrath, Costabello, Sacaleanu, Corcoran, Gal, "Generating Interpretable Counterfactual
        Explanations By Implicit Minimisation of Epistemic and Aleatoric Uncertainties", 2021, algorithm 1. Settings:
        Theobald et al., "Clarity", 2022, section 2.

    Args:
        delta: How far a pixel moves.
        times: How often one pixel may move; the default lets it cross [0, 1] once.

    Example:
        >>> explainer = Schut(scm, node="image", classifier=[f, f])
        >>> explainer.explain(x, target=2, seed=0).reason
        ('reached', 'reached')
    """

    delta: float = 0.2
    times: int = 5

    acts_on: ClassVar[Literal["latents", "node"]] = "node"

    def update(self) -> Update:
        return GreedyCoordinate(self.delta, self.times)

    def loss(self, query: Query, code: Tensor, values: Tensor, outputs: Outputs) -> Tensor:
        return cross_entropy(outputs)
