"""LoSoCs: a stream of counterfactuals, by raising one logit along the latent space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from causalcf.core.settings import Range
from causalcf.explainers.found import Found
from causalcf.explainers.gradient import GradientSearch
from causalcf.explainers.path import paced
from causalcf.explainers.query import Outputs, Query
from causalcf.explainers.search import Adam, Update
from causalcf.explainers.settings import Share
from causalcf.explainers.targets import log_odds, logit, squared_l2

__all__ = ["LoSoCs"]


@dataclass(eq=False, kw_only=True)
class LoSoCs(GradientSearch):
    r"""Raises the target's logit, :math:`-f(G(z'))_t`, by Adam in z', and gives every image on the way.

    `explain(..., stream=True)` keeps the frames. For a regression the value itself rises or falls to the target.
    Raising one logit raises others with it: on MNIST a search in twenty drifts far from the prior without ever
    reaching .999. The target's log odds, `raises="log odds"`, get there, in half of the steps.
    With `frames` the same way is shown in steps of another length, evenly spaced in the logit and in the image, which
    makes a stream linear and even.

    References:
        Kehe, Rooryck, Coffel, "Generating Counterfactuals by Optimizing Over Latent Space Representations", 2024,
        algorithm 1.

    Args:
        gamma: Tau, the probability of the target at which a row ends.
        lr: Adam's step size; smaller steps make more frames.
        raises: "logit", as published, or "log odds"; a regression has neither.
        frames: How many a stream shall have, paced as `pace` says; None for the search's own steps.
        pace: How much of the pace is set by the image's change, the rest by the target's logit: 0 makes steps of
            constant logit, 1 of constant change.
        plausibility: Weight of the squared distance between a code and the code of its own image. What the
            generator cannot recognise, the paper's "demon numbers", pays for it; 0 as published.

    Example:
        >>> explainer = LoSoCs(scm, node="image", classifier=f, frames=12)
        >>> explainer.explain(x, target=2, seed=0, stream=True).stream.image.shape
        torch.Size([2, 12, 1, 8, 8])
    """

    gamma: float = 0.999
    lr: float = 0.05
    raises: Literal["logit", "log odds"] = "logit"
    frames: Annotated[int | None, Range(2)] = None
    pace: Share = 0.7
    plausibility: float = 0.0

    regression: ClassVar[bool] = True

    def find(self, query: Query, *, stream: bool) -> Found:
        found = super().find(query, stream=stream)
        if not stream or self.frames is None:
            return found
        return replace(found, trajectory=paced(query, found.trajectory, frames=self.frames, pace=self.pace))

    def update(self) -> Update:
        return Adam(self.lr)

    def loss(self, query: Query, code: Tensor, values: Tensor, outputs: Outputs) -> Tensor:
        odds = self.raises == "log odds" and not query.explained.regression
        loss = -(log_odds(outputs) if odds else logit(outputs))
        if not self.plausibility:
            return loss
        return loss + self.plausibility * squared_l2(self.encode(values, query.pa), code)
