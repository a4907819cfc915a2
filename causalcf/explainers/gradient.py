"""Gradient search: the loss of one step, and whether the target is met."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from causalcf.explainers.base import Explainer
from causalcf.explainers.found import Found
from causalcf.explainers.query import Outputs, Query
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

    def find(self, query: Query, *, stream: bool) -> Found:
        return search(
            query,
            self.evaluate,
            self.update(),
            max_steps=self.max_steps,
            keep=self.keep,
            stream=stream,
        )

    def evaluate(self, query: Query, code: Tensor) -> Evaluation:
        values = code if query.reads_codes else query.decode(code)
        outputs = query.outputs(query.explained.members(values))
        progress = outputs.progress
        loss = self.loss(query, code, values, outputs)
        return Evaluation(loss=loss, progress=progress, met=query.met(progress, self.gamma))

    @abstractmethod
    def update(self) -> Update:
        """The optimiser."""

    @abstractmethod
    def loss(self, query: Query, code: Tensor, values: Tensor, outputs: Outputs) -> Tensor:
        """(N,) loss that the search descends.

        Args:
            query: The rows.
            code: (N, ...) where they are.
            values: Input of the classifier: the decoded image, or the code itself.
            outputs: The classifier's outputs for it.
        """
