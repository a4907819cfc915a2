"""What the gradient searches share: one step's loss and verdict."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from causalcf.explainers.base import Explainer
from causalcf.explainers.query import Found, Query, Said
from causalcf.explainers.search import Evaluation, Keep, Update, search

__all__ = ["GradientSearch"]


@dataclass(eq=False, kw_only=True)
class GradientSearch(Explainer):
    """Descends a loss of the code, one per row, until the target is reached.

    Args:
        gamma: Probability of the target at which a row ends.
        max_steps: After which it fails.
    """

    gamma: float = 0.99
    max_steps: int = 500

    gradients: ClassVar[bool] = True
    keep: ClassVar[Keep] = "first"

    def _find(self, query: Query, *, stream: bool) -> Found:
        return search(
            query,
            self._evaluate,
            self._update(),
            max_steps=self.max_steps,
            keep=self.keep,
            stream=stream,
        )

    def _evaluate(self, query: Query, code: Tensor) -> Evaluation:
        values = code if query.latent else query.decode(code)
        said = query.said(query.explained.members(values))
        progress = said.progress
        return Evaluation(self._loss(query, code, values, said), progress, query.met(progress, self.gamma))

    @abstractmethod
    def _update(self) -> Update:
        """The optimiser."""

    @abstractmethod
    def _loss(self, query: Query, code: Tensor, values: Tensor, said: Said) -> Tensor:
        """(N,) what the search descends.

        Args:
            query: The rows.
            code: (N, ...) where they are.
            values: What the classifier sees of it: the decoded image, or the code itself.
            said: What it says.
        """
