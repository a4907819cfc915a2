"""Explanations: the counterfactual, the intervention that makes it, and how each row ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from causalcf.core.errors import ExplanationError
from causalcf.data import Batch
from causalcf.explainers.found import REASONS, Found, Reason, padded
from causalcf.explainers.query import Query
from causalcf.graph import site
from causalcf.metrics import doubt
from causalcf.variables.codes import Categorical

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from causalcf.scm.counterfactual import Counterfactual
    from causalcf.scm.model import StructuralCausalModel

__all__ = ["Explanation", "Stream"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Stream:
    """Every step of a search, from where it started to where it ended. Row i has `lengths[i]` frames.

    Beyond its length a row repeats its last frame.

    Args:
        code: (N, T, ...) latent codes (or values of the node, for methods that act on it).
        image: (N, T, *event_shape) the node's values.
        logits: (N, T, K) outputs of the classifier, mean over members.
        probability: (N, T) of the target; of a regression, its value.
        total, aleatoric: (N, T) entropy of the mean prediction, and mean entropy of the members', in nats; their
            difference is the epistemic uncertainty, 0 for a single classifier. Zeros for a regression.
        lengths: (N,) frames per row.
    """

    code: Tensor
    image: Tensor
    logits: Tensor
    probability: Tensor
    total: Tensor
    aleatoric: Tensor
    lengths: Tensor

    @property
    def epistemic(self) -> Tensor:
        """(N, T) disagreement of the members: total minus aleatoric uncertainty."""
        return self.total - self.aleatoric

    def frames(self, row: int) -> Tensor:
        """The images of one row, (its length, *event_shape)."""
        return self.image[row, : int(self.lengths[row])]


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation:
    """Counterfactual explanations of N rows, as an intervention on the model.

    `scm.counterfactual(x, do=explanation.do)[node]` is `counterfactual`. A row that failed (`reached` false)
    holds the best attempt, the one with the highest probability of the target: it is not a counterfactual, and
    `reason` says why it ended.

    Args:
        scm: The model.
        factual: The observed rows.
        counterfactual: (N, *event_shape) the node's counterfactual values.
        do: Every site (or the node) that the explanation sets -> its values.
        target: (N,) wanted class codes, or regression values.
        reached: (N,) bool.
        probability: (N,) of the target, as the explained classifier judges `counterfactual`; of a regression, the
            value.
        predicted: (N,) class that the classifier gives `counterfactual` (or the value).
        steps: (N,) steps taken.
        reason: Why each row ended; see `REASONS`.
        seed: Seed of random parts.
        method: Name of the explainer.
        query: The question, in tensors.
        code: (N, D) where the search ended in the latent space; `query.start` is where it began.
        stream: Every step, if it was asked for.
    """

    scm: StructuralCausalModel = field(repr=False)
    factual: Batch = field(repr=False)
    counterfactual: Tensor
    do: Mapping[str, Tensor]
    target: Tensor
    reached: Tensor
    probability: Tensor
    predicted: Tensor
    steps: Tensor
    reason: tuple[Reason, ...]
    seed: int
    method: str
    query: Query = field(repr=False)
    code: Tensor = field(repr=False)
    stream: Stream | None = field(default=None, repr=False)

    @property
    def rows(self) -> int:
        """N."""
        return self.target.shape[0]

    @property
    def node(self) -> str:
        """The node that was explained."""
        return self.query.node

    @property
    def factual_predicted(self) -> Tensor:
        """(N,) output of the classifier for the factual rows."""
        return self.query.explained.predicted(self.query.members)

    @cached_property
    def reconstruction(self) -> Tensor:
        """The factual, encoded and decoded without any change, (N, *event_shape)."""
        with torch.no_grad():
            return self.query.judged(self.query.start)[0]

    @property
    def changed(self) -> Tensor:
        """(N,) bool: whether the classifier gives another class than for the factual."""
        return self.predicted != self.factual_predicted

    def answer(self, **options: Any) -> Counterfactual:
        """The whole counterfactual, with the node's descendants: `scm.counterfactual(x, do=self.do)`.

        Args:
            options: Passed to `scm.counterfactual`.
        """
        return self.scm.counterfactual(self.factual, do=self.do, **options)

    @property
    def labels(self) -> list[str]:
        """The rows' labels as text."""
        return [str(label) for label in self.factual.index.tolist()]

    def to_frame(self) -> pd.DataFrame:
        """One line a row: classes by name, probability, whether and why it ended."""
        import pandas as pd

        index, labels = self.factual.index, self.factual.labels
        labels = (index.cpu().numpy() if isinstance(index, Tensor) else index) if labels is None else labels
        return pd.DataFrame(self.columns(), index=labels)

    def columns(self) -> dict[str, Any]:
        """The columns of `to_frame`."""
        return {
            "factual": self._named(self.factual_predicted),
            "target": self._named(self.target),
            "counterfactual": self._named(self.predicted),
            "probability": self.probability.tolist(),
            "reached": self.reached.tolist(),
            "steps": self.steps.tolist(),
            "reason": list(self.reason),
        }

    def _named(self, codes: Tensor) -> list[Any]:
        variable = self.query.explained.variable
        values = codes.tolist()
        return [variable.categories[code] for code in values] if isinstance(variable, Categorical) else values

    def plot(self, rows: int = 6, **options: Any) -> Figure:
        """Factual, counterfactual and their difference, a row each; the frames between if there is a stream.

        Args:
            rows: How many units to show.
            options: Passed to `causalcf.plots.plot_explanation`.
        """
        from causalcf.plots import plot_explanation

        return plot_explanation(self, rows=rows, **options)

    def _repr_html_(self) -> str:
        from causalcf.plots.cards import explanation_html

        return explanation_html(self)

    def __repr__(self) -> str:
        return f"Explanation({self.method}, {self.rows} rows, {int(self.reached.sum())} reached)"


def assemble(
    scm: StructuralCausalModel, factual: Batch, query: Query, found: Found, *, method: str, seed: int, stream: bool
) -> Explanation:
    """The explanation that a search result stands for; image and probability are computed from its `do`."""
    image, members = query.judged(found.code)
    return Explanation(
        scm=scm,
        factual=factual,
        counterfactual=image,
        do=interventions(query, found.code),
        target=query.target,
        reached=found.reached,
        probability=query.probability(members),
        predicted=query.explained.predicted(members),
        steps=found.steps,
        reason=tuple(REASONS[i] for i in found.reason.tolist()),
        seed=seed,
        method=method,
        query=query,
        code=found.code,
        stream=_stream(query, found) if stream else None,
    )


def interventions(query: Query, code: Tensor) -> dict[str, Tensor]:
    """`do` for a code: the searched sites and the residual, or the node itself."""
    if not query.sites:
        return {query.node: code}
    noise = query.noise(code)
    return {site(query.node, suffix): noise[suffix] for suffix in (*query.sites, *query.zeroed)}


def _stream(query: Query, found: Found) -> Stream:
    """The frames of each row, decoded and classified once more without gradients."""
    if not found.trajectory:
        raise ExplanationError("This method has no steps between: ask without stream=True.")
    code, lengths = padded(found.trajectory)
    longest = code.shape[1]
    step = torch.arange(longest, device=code.device).expand(query.rows, -1)
    row, at = torch.nonzero(step < lengths[:, None], as_tuple=True)
    size = query.batch_size
    parts = [_frames(query[r], code[r, s]) for r, s in zip(row.split(size), at.split(size), strict=True)]
    # Where a shorter row's frames go on: its last one again.
    number = torch.zeros_like(step)
    number[row, at] = torch.arange(len(row), device=code.device)
    source = number.gather(1, step.minimum(lengths[:, None] - 1))
    whole = {name: torch.cat([part[name] for part in parts])[source] for name in parts[0]}
    return Stream(code=code, lengths=lengths, **whole)


def _frames(query: Query, code: Tensor) -> dict[str, Tensor]:
    """A stream's values for one code a row."""
    image, members = query.judged(code)
    frames = {"image": image, "logits": members.mean(0), "probability": query.probability(members)}
    if query.explained.regression:
        return frames | dict.fromkeys(("total", "aleatoric"), torch.zeros_like(frames["probability"]))
    split = doubt(members if len(members) > 1 else members.expand(2, -1, -1))  # one member agrees with itself
    return frames | {"total": split.total, "aleatoric": split.aleatoric}
