"""Clarity: an ensemble of classifiers in the latent space, and a search that never leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from causalcf.classifiers import Perceptrons, fit_classifier
from causalcf.core.errors import ExplanationError
from causalcf.explainers.classifier import Explained
from causalcf.explainers.gradient import GradientSearch
from causalcf.explainers.learned import coded
from causalcf.explainers.query import Outputs, Query
from causalcf.explainers.search import Adam, Update
from causalcf.explainers.targets import cross_entropy, l1

__all__ = ["Clarity"]


@dataclass(eq=False, kw_only=True)
class Clarity(GradientSearch):
    r"""Descends :math:`\frac1M \sum_m CE(C_m(z'), y') + \lambda\,|z - z'|_1` in z', from the posterior mean z.

    The classifiers :math:`C_m` are perceptrons of the latent code; `fit` trains them, all at once. They are what is
    explained: `explanation.probability` is theirs, as is the verdict whether a row reached its target. How far
    another classifier of images agrees is for `metrics.validity` to say. `members=1` is the paper's latent classifier.

    References:
        Theobald, Pennerath, Conan-Guez, Couceiro, Napoli, "Clarity: an improved gradient method for producing quality
        visual counterfactual explanations", 2022, eq. 5 and 6, algorithm 1.

    Args:
        classifier: If given, it labels the training rows: the members then imitate it.
        label: Otherwise, the column of the training data with the classes.
        members: M; the paper takes 50 for MNIST, 20 for CelebA.
        hidden: Widths of the members' hidden layers.
        distance_weight: Lambda.
        lr: Adam's step size; the paper names none.
        adversarial: Step of the adversarial training (Goodfellow et al. 2015), in the latents' unit; 0 for none.
        epochs: Passes over the training rows.

    Example:
        >>> explainer = Clarity(scm, node="image", label="label", members=5, lr=0.2).fit(train, seed=0)
        >>> explainer.explain(x, target=2, seed=0)
        Explanation(Clarity, 2 rows, 2 reached)
    """

    label: str | None = None
    members: int = 50
    hidden: tuple[int, ...] = (16, 16)
    distance_weight: float = 1e-3
    lr: float = 0.05
    adversarial: float = 0.1
    epochs: int = 20

    trains: ClassVar[bool] = True
    reads_codes: ClassVar[bool] = True

    def wrap_classifier(self) -> Explained:
        if self.classifier is None and self.label is None:
            raise ExplanationError(
                "Clarity needs to know the classes: name their column, label='digit', or give a classifier to imitate."
            )
        if self.classifier is None:  # the members come with `fit`; until then nothing is asked
            return Explained(lambda codes: codes, self.variable)
        return super().wrap_classifier()

    def train(self, data: Any, seed: int, *, batch_size: int = 128, lr: float = 2e-3, balanced: bool = False) -> None:
        """Train the members; the options are those of `classifiers.fit_classifier`."""
        self.explained = self.wrap_classifier()  # of an earlier fit, the members are forgotten
        codes, labels = coded(self, data, self.label if self.classifier is None else None)
        classes = self.explained.classes or int(labels.max()) + 1
        network = Perceptrons([codes.shape[1], *self.hidden, classes], size=self.members).to(codes)
        fit_classifier(
            network, codes, labels, epochs=self.epochs, batch_size=batch_size, lr=lr, adversarial=self.adversarial,
            balanced=balanced, seed=seed,
        )  # fmt: skip
        self.ensemble = network
        self.restore()

    def restore(self) -> None:
        self.explained = Explained(self.ensemble, self.variable, device=self.scm.device, dtype=self.scm.dtype)

    def update(self) -> Update:
        return Adam(self.lr)

    def loss(self, query: Query, code: Tensor, values: Tensor, outputs: Outputs) -> Tensor:
        return cross_entropy(outputs) + self.distance_weight * l1(code, query.start)
