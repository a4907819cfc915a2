"""Gaussian-mixture search: a straight line to the target class's centre, up to the decision boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from causalcf.core.errors import MechanismError
from causalcf.core.settings import NATURAL, Range
from causalcf.explainers.base import Explainer
from causalcf.explainers.found import Found
from causalcf.explainers.path import follow, line
from causalcf.explainers.query import Query
from causalcf.mechanisms import MixtureAE

__all__ = ["MixtureSearch"]


@dataclass(eq=False, kw_only=True)
class MixtureSearch(Explainer):
    r"""Follows :math:`z_\alpha = (1 - \alpha)\, z + \alpha\, \mu_{y'}` to the first crossing of the target's threshold.

    z is the code of the features that the classifier uses: each class is a Gaussian in it, with mean :math:`\mu_c`. The
    code u of all else stays as abducted. The model's mechanism is a `MixtureAE`, which has both. Algorithm 2 as printed
    looks at points of a grid, and takes one by chance within its tolerance on either side of the boundary; here a
    coarse grid brackets the first crossing and halving finds it, so that the result lies inside the target.

    References:
        Zhao, Broelemann, Kasneci, "Counterfactual Explanation via Search in Gaussian Mixture Distributed Latent
        Space", 2023, algorithm 2.

    Args:
        gamma: Probability of the target to cross, the paper's T.
        tolerance: A row ends where its probability is above that by at most as much.
        alphas: Points of the coarse grid.
        halvings: Of the bracket, at most.
        frames: Length of the stream.

    Raises:
        MechanismError: The node's mechanism is not a `MixtureAE`, or has another number of classes.

    Example:
        >>> explainer = MixtureSearch(scm, node="image", classifier=f)  # doctest: +SKIP
        >>> explainer.explain(x, target=7).probability  # doctest: +SKIP
        tensor([0.5210, 0.5433])
    """

    gamma: float = 0.5
    tolerance: float = 0.05
    alphas: Annotated[int, Range(2)] = 8
    halvings: Annotated[int, NATURAL] = 10
    frames: Annotated[int, Range(2)] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.mechanism, MixtureAE):
            raise MechanismError(
                f"MixtureSearch needs classes that are Gaussians in latent space, and '{self.node}' has a"
                f" {type(self.mechanism).__name__}. Fit the model with mechanisms={{'{self.node}':"
                " ccf.mechanisms.MixtureAE(classifier=f)}."
            )

    @property
    def sites(self) -> tuple[str, ...]:
        return ("z",)

    def find(self, query: Query, *, stream: bool) -> Found:
        means = self.mechanism.get_parameter("means")
        classes = query.members.shape[2]
        if len(means) != classes:
            raise MechanismError(
                f"The MixtureAE of '{self.node}' has {len(means)} classes, the classifier {classes}. Explain the"
                " classifier that labelled its training rows."
            )
        return follow(
            query.given(end=means[query.target]),
            line,
            gamma=self.gamma,
            tolerance=self.tolerance,
            alphas=self.alphas,
            halvings=self.halvings,
            frames=self.frames if stream else 0,
        )
