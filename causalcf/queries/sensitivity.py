"""How far an answer depends on there being no hidden cause: a curve over its strength, and bounds without any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from causalcf.core.draws import by_row, row_keys
from causalcf.core.errors import DataError, InterventionError
from causalcf.core.surroundings import kept_out
from causalcf.data import Batch
from causalcf.graph import CausalGraph
from causalcf.mechanisms import LinearGaussian, Mechanism
from causalcf.queries.copula import Cause, Effect, require_score, score
from causalcf.queries.estimate import Estimate
from causalcf.scm import StructuralCausalModel
from causalcf.variables.scalar import Real

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Sensitivity", "sensitivity", "with_hidden_cause"]

STRENGTHS = tuple(round(0.1 * i, 1) for i in range(-9, 10))
"""Strengths asked by default."""

FINE = 1e-3
"""How exactly the turning point is found."""


@dataclass(frozen=True)
class Sensitivity:
    """An answer as a curve over the strength of a hidden cause.

    Args:
        pair: The cause and the effect that share it.
        strengths: Correlations of the Gaussian scores of their noises, increasing.
        estimates: The answer at each.
        conclusion: The value that the conclusion is about: that the answer is on one side of it.
        turns: The smallest strength, by size, at which the answer crosses that value; None if it does at none asked.
    """

    pair: tuple[str, str]
    strengths: tuple[float, ...]
    estimates: tuple[Estimate, ...]
    conclusion: float
    turns: float | None

    @property
    def name(self) -> str:
        """What was asked, in words."""
        return self.estimates[0].name

    def at(self, strength: float) -> Estimate:
        """The answer at one of the strengths.

        Raises:
            DataError: It was not asked.
        """
        if strength not in self.strengths:
            raise DataError(f"Strength {strength} was not asked. There are {list(self.strengths)}.")
        return self.estimates[self.strengths.index(strength)]

    def plot(self) -> Figure:
        """The curve with its intervals, and where the conclusion turns."""
        from causalcf.plots import plot_curve

        return plot_curve(
            self.strengths,
            self.estimates,
            xlabel=f"strength of a hidden cause of {self.pair[0]} and {self.pair[1]}",
            level=self.conclusion,
            at=self.turns,
        )

    def __repr__(self) -> str:
        none = min(zip(self.strengths, self.estimates, strict=True), key=lambda pair: abs(pair[0]))
        if self.turns is None:
            end = f"it stays on its side of {self.conclusion:g} at all strengths asked"
        else:
            end = f"at {self.turns:.2f} it crosses {self.conclusion:g}"
        return (
            f"{self.name}: {none[1].value:.4g} at strength {none[0]:g} of a hidden cause of {self.pair[0]} and"
            f" {self.pair[1]}; from {self.strengths[0]:g} to {self.strengths[-1]:g},"
            f" {min(e.value for e in self.estimates):.4g} .. {max(e.value for e in self.estimates):.4g}; {end}"
        )


@kept_out()
def sensitivity(
    scm: StructuralCausalModel,
    query: Callable[[StructuralCausalModel], Estimate],
    *,
    confounded: tuple[str, str],
    strength: Sequence[float] = STRENGTHS,
    conclusion: float = 0.0,
) -> Sensitivity:
    r"""The answer to a query, if a cause and its effect shared a hidden cause of some strength.

    Strength is the correlation :math:`\rho` of the Gaussian scores of their noises (a Gaussian copula). Every
    model on the curve gives the same law of all that is observed, so that data cannot choose among them. In a linear
    Gaussian model with coefficient b, the effect is :math:`b - \rho / \sqrt{1 - \rho^2} \cdot
    \sigma_{y | x} / \sigma_{x | pa}`, and it turns where :math:`\rho` is the partial correlation of the two.

    The noise of a number is that of its flow; a Boolean's and a category's is a score that runs through the
    categories in their order, which gives the law of their mechanism. Where the cause has parents that the effect
    has not, the effect is taken to depend on them, too, just so much that the law of what is observed stays.

    References:
        Rosenbaum and Rubin, "Assessing Sensitivity to an Unobserved Binary Covariate in an Observational Study with
        Binary Outcome", 1983 (the idea). Franks, D'Amour, Feller, "Flexible Sensitivity Analysis for Observational
        Studies Without Observable Implications", 2020 (curves that the data cannot choose among, by a copula).

    Args:
        scm: The fitted model.
        query: Model -> estimate, such as `lambda scm: effect(scm, "x", "y", treated=1.0, control=0.0)`.
        confounded: A cause and its effect, in either order.
        strength: Correlations, each between -1 and 1, both excluded.
        conclusion: The value that the answer is compared with.

    Returns:
        The curve; `.turns` is the strength at which the conclusion turns.

    Raises:
        UnknownNodeError: There is no such node.
        InterventionError: The two are not a cause and its effect.
        DataError: A strength is not between -1 and 1; noise of a node is not one number; the query gives no estimate.

    Example:
        >>> from causalcf.queries import effect
        >>> from causalcf.queries.examples import linear
        >>> ask = lambda scm: effect(scm, "x", "m", treated=1.0, control=0.0, draws=100)
        >>> found = sensitivity(linear(), ask, confounded=("x", "m"), strength=[-0.5, 0.0, 0.5, 0.6])
        >>> round(found.at(0.0).value, 3), round(found.turns, 2)  # .6 / sqrt(.6 ** 2 + 1)
        (0.6, 0.51)
    """
    levels = sorted({float(level) for level in strength})
    wrong = [level for level in levels if not -1 < level < 1]
    if wrong or len(levels) < 2:
        raise DataError(
            f"strength={list(strength)}: at least two correlations between -1 and 1, such as [-0.5, 0.0, 0.5]."
        )

    def ask(level: float) -> Estimate:
        found = query(with_hidden_cause(scm, confounded, level))
        if not isinstance(found, Estimate):
            raise DataError(
                f"query gives {type(found).__name__}, and a curve is drawn of one number: take a part of it, as in"
                " lambda scm: mediation(scm, 'x', 'm', 'y').direct."
            )
        return found

    estimates = [ask(level) for level in levels]
    turns = _turning(ask, levels, [one.value - conclusion for one in estimates], conclusion)
    return Sensitivity(_ordered(scm.graph, confounded), tuple(levels), tuple(estimates), conclusion, turns)


def _turning(
    ask: Callable[[float], Estimate], levels: Sequence[float], above: Sequence[float], conclusion: float
) -> float | None:
    """The smallest strength at which the answer crosses the conclusion, by bisection within the grid."""
    from scipy.optimize import brentq

    found = [level for level, value in zip(levels, above, strict=True) if value == 0]
    pairs = zip(levels[:-1], levels[1:], above[:-1], above[1:], strict=True)
    crossed = [(low, high) for low, high, a, b in pairs if a * b < 0]
    for low, high in sorted(crossed, key=lambda ends: min(map(abs, ends)))[:2]:
        found.append(float(brentq(lambda level: ask(level).value - conclusion, low, high, xtol=FINE)))  # type: ignore[arg-type]
    return min(found, key=abs, default=None)


# ---------------------------------------------------------------------- the model with a hidden cause


class _Confounded(StructuralCausalModel):
    """A model in which the noise of a cause is a node, and goes into an effect's noise as well.

    Its rows are those of the model that it was made from; the hidden cause is computed from them.
    """

    _base: StructuralCausalModel
    _hidden: str
    _cause: str

    def read(self, x: Any, *, gaps: Any = ()) -> Batch:
        if self._hidden in x:
            return super().read(x, gaps=gaps)
        rows = self._base.read(x, gaps=gaps)
        mechanism = self._base.mechanisms[self._cause]
        parents = {node: rows[node] for node in self._base.graph.parents(self._cause)}
        with torch.no_grad(), by_row(row_keys(rows.index, 0, self._hidden, device=self.device)):
            hidden = score(mechanism, rows[self._cause], parents).to(self.dtype)
        return rows.like({**rows, self._hidden: hidden})


def _ordered(graph: CausalGraph, confounded: Sequence[str]) -> tuple[str, str]:
    """The pair as (cause, effect).

    Raises:
        UnknownNodeError: There is no such node.
        InterventionError: They are not two nodes with an arrow between them.
    """
    names = [confounded] if isinstance(confounded, str) else list(confounded)
    if len(names) != 2:
        raise InterventionError(f"confounded={confounded!r}: name two nodes, confounded=('x', 'y').")
    a, b = (graph.require(name) for name in names)
    for cause, effect in ((a, b), (b, a)):
        if cause in graph.parents(effect):
            return cause, effect
    raise InterventionError(
        f"confounded=('{a}', '{b}'): neither is a parent of the other. If they shared a hidden cause, they would go"
        " together among rows with the same parents, which data can tell: see ccf.trust_report. A strength is asked of"
        " a cause and its effect."
    )


def with_hidden_cause(
    scm: StructuralCausalModel, confounded: tuple[str, str], strength: float
) -> StructuralCausalModel:
    """A model with the same law of all that is observed, in which the noises of two nodes go together.

    Args:
        scm: The fitted model.
        confounded: A cause and its effect.
        strength: The correlation of the Gaussian scores of their noises.

    Returns:
        A model with one node more, the hidden cause; rows need not have it.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> with_hidden_cause(linear(), ("x", "m"), 0.5).graph.edges[:2]
        (('hidden cause of x and m', 'x'), ('hidden cause of x and m', 'm'))
    """
    mechanisms, (cause, effect) = scm.require_fitted(), _ordered(scm.graph, confounded)
    for node in (cause, effect):
        require_score(mechanisms[node])
    hidden = f"hidden cause of {cause} and {effect}"
    graph = scm.graph
    edges = [*graph.edges, (hidden, cause), (hidden, effect)]
    edges += [(parent, effect) for parent in graph.parents(cause)]
    others = [pair for pair in graph.confounded if {*pair} != {cause, effect}]
    wider = CausalGraph([(hidden, cause), *edges], {**graph.variables, hidden: Real()}, confounded=others)
    made = _Confounded.__new__(_Confounded)
    nn.Module.__init__(made)
    made.graph = wider
    made._base, made._hidden, made._cause = scm, hidden, cause
    own: dict[str, Mechanism] = {
        hidden: LinearGaussian(),
        cause: Cause(mechanisms[cause], hidden),
        effect: Effect(mechanisms[effect], mechanisms[cause], hidden, strength),
    }
    for node, mechanism in own.items():
        mechanism.bind(node, wider.variables[node], {parent: wider.variables[parent] for parent in wider.parents(node)})
        mechanism.to(scm.device, scm.dtype).fitted = True
    made._given, made._order = {}, wider.nodes
    made._modules_in_order = nn.ModuleList([(dict(mechanisms) | own)[node] for node in wider.nodes])
    made.history, made.provenance, made.seen = scm.history, scm.provenance, scm.seen
    return made.requires_grad_(False).eval()
