"""PGD: a targeted adversarial attack, as a baseline: no explanation should look like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from causalcf.explainers.gradient import GradientSearch
from causalcf.explainers.query import Outputs, Query
from causalcf.explainers.search import Keep, Sign, Update
from causalcf.explainers.targets import cross_entropy

__all__ = ["PGD"]


@dataclass(eq=False, kw_only=True)
class PGD(GradientSearch):
    r"""Lowers :math:`CE(f(x'), y')` by steps along the gradient's sign, within :math:`|x' - x|_\infty \le \epsilon`.

    It takes all of its steps and keeps the last, reached where that has the target's probability at `gamma` or
    above. It starts at x, not at a random point of the ball, and acts by do(image = x').

    References:
        Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards Deep Learning Models Resistant to Adversarial Attacks",
        2018. Settings: Khorram and Fuxin, "Cycle-Consistent Counterfactuals by Latent Transformations", 2022,
        supplement A (64/255 for MNIST, 72/255 for Fashion-MNIST).

    Args:
        radius: Epsilon, the largest change of a pixel.
        step: Length of a step.

    Example:
        >>> explainer = PGD(scm, node="image", classifier=f, radius=72 / 255, max_steps=100)
        >>> explanation = explainer.explain(x, target=2, seed=0)
        >>> bool((explanation.counterfactual - x).abs().max() <= 72 / 255 + 1e-6)
        True
    """

    gamma: float = 0.5
    max_steps: int = 1000
    radius: float = 64 / 255
    step: float = 1 / 255

    acts_on: ClassVar[Literal["latents", "node"]] = "node"
    keep: ClassVar[Keep] = "last"

    def update(self) -> Update:
        return Sign(self.step, self.radius)

    def loss(self, query: Query, code: Tensor, values: Tensor, outputs: Outputs) -> Tensor:
        return cross_entropy(outputs)
