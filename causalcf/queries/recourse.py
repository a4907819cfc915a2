"""Recourse: the cheapest interventions after whose consequences a classifier decides otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.core.errors import DataError, ExplanationError, InterventionError
from causalcf.core.signatures import checked
from causalcf.data import Batch, to_frame
from causalcf.queries.asking import as_query
from causalcf.scm import StructuralCausalModel
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Change", "Recourse", "recourse"]

GRID = 9
"""Values of a number that are tried, evenly spread over what it may become."""

REFINE = 12
"""Halvings of the way back from a value that works to the observed one."""

AT_ONCE = 2
"""Most nodes that are acted on together, unless told otherwise."""

ROWS = 4096
"""Rows, candidates times units, that the model is asked about at once."""


@checked
@dataclass(frozen=True)
class Change:
    """How a node may be changed.

    Args:
        low: Lowest value it may be set to; for a number.
        high: Highest value.
        direction: "up", "down" or "any": from each row's own value.
        to: The categories it may be set to; for a category. All of them by default.
    """

    low: float | None = None
    high: float | None = None
    direction: str = "any"
    to: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Recourse:
    """Advice: the action, its cost, and whether it works.

    Args:
        actions: One mapping a piece of advice: node -> values (N,), NaN (or -1 for categories) where the node is left
            alone.
        cost: (k, N); infinite where no advice was found.
        works: (k, N), bool: whether the classifier decides as wanted after the consequences, by the model.
        consequences: One batch a piece of advice: the rows after acting.
        target: The class asked for.
        causal: Whether consequences were taken into account in the search.
    """

    actions: tuple[Mapping[str, Tensor], ...]
    cost: Tensor
    works: Tensor
    consequences: tuple[Batch, ...]
    target: int
    causal: bool
    variables: Mapping[str, Variable]

    def to_frame(self, i: int = 0) -> pd.DataFrame:
        """The i-th best advice as a table: values to set, cost, whether it works."""
        variables = {node: self.variables[node] for node in self.actions[i]}
        frame = to_frame(self.consequences[i], variables, self.consequences[i].index)
        for node, value in self.actions[i].items():
            left = value.isnan() if value.is_floating_point() else value < 0
            frame[node] = frame[node].astype(object).where(~left.cpu().numpy(), "")
        return frame.assign(cost=self.cost[i].numpy(), works=self.works[i].numpy())

    def __repr__(self) -> str:
        share = float(self.works[0].double().mean())
        kind = "with" if self.causal else "without"
        return f"Recourse({self.cost.shape[1]} rows, {share:.0%} reach {self.target}, found {kind} consequences)"


Decide = Callable[[Batch], Tensor]


@as_query
def recourse(
    scm: StructuralCausalModel,
    classifier: str | Decide,
    x: Any,
    *,
    target: Any = 1,
    may_change: Mapping[str, Change | Mapping[str, Any]],
    cost: Mapping[str, float] | Callable[[str, Tensor, Tensor], Tensor] | None = None,
    k: int = 1,
    at_once: int = AT_ONCE,
    causal: bool = True,
    seed: seeding.Seed = 0,
) -> Recourse:
    r"""The cheapest actions after which, their consequences included, the classifier decides as wanted.

    .. math::
        \min_{A} \; c(A; x) \quad \text{such that} \quad h(x_{do(A)}) = y^*

    with the row's own counterfactual :math:`x_{do(A)}`. Sets of at most `at_once` nodes are tried, numbers on a grid
    that is refined by bisection towards the observed value, all rows and candidates in batches. `causal=False` searches
    as methods without a causal model do, other nodes staying as they are; `works` says whether that advice succeeds.

    References:
        Karimi, Schoelkopf, Valera, "Algorithmic Recourse: from Counterfactual Explanations to Interventions", 2021,
        equation 2 and section 4.

    Args:
        scm: The fitted model of the classifier's inputs.
        classifier: The name of an attached node, or rows -> logits (N, K), one logit (N,), or decisions (N,), bool.
        x: Rows, every node observed.
        target: The class wanted.
        may_change: Node -> `Change`, or its fields as a mapping; nodes that are not named cannot be acted on.
        cost: Node -> price of moving it by one (a number by its unit, a category once), or a function (node, observed
            values, new values) -> costs. By default a number costs the share of its span that it moves by, a category
            costs 1.
        k: How many different pieces of advice, each acting on another set of nodes.
        at_once: Most nodes that are acted on together.
        causal: Whether consequences count in the search.
        seed: Seed of the noise that abduction draws.

    Returns:
        The advice for every row; infinite cost where there is none.

    Raises:
        DataError: Nothing may change, or a bound, direction or cost makes no sense.
        ExplanationError: A row already has the target.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> scm = linear()
        >>> rows = {"x": [0.0], "m": [0.0], "y": [0.0]}
        >>> advice = recourse(scm, lambda rows: rows["y"] - 3.4, rows, may_change={"x": {"low": -4, "high": 4}})
        >>> round(float(advice.actions[0]["x"]), 1), bool(advice.works[0, 0])  # 1.7 x reaches 3.4
        (2.0, True)
    """
    changes = _read_changes(scm, may_change)
    decide, wanted = _decide(scm, classifier, target)
    rows, seed = scm.read(x), seeding.resolve(seed)
    already = decide(rows).cpu()
    if already.any():
        raise ExplanationError(
            f"{int(already.sum())} of {rows.rows} rows have class {target!r} already,"
            f" the first is row {int(already.nonzero()[0])}."
            " Ask about the others: x[~(decision == target)]."
        )
    if k < 1 or at_once < 1:
        raise DataError(f"k={k}, at_once={at_once}: both are whole numbers of at least 1.")
    search = _Search(scm, decide, rows, changes, _read_cost(scm, changes, cost), causal, seed)
    subsets = [s for size in range(1, at_once + 1) for s in combinations(changes, size)]
    found = [search.best(subset) for subset in subsets]
    return _chosen(search, subsets, found, k, wanted)


# ---------------------------------------------------------------------- reading what is asked


def _read_changes(scm: StructuralCausalModel, may_change: Mapping[str, Any]) -> dict[str, Change]:
    if not may_change:
        raise DataError("may_change is empty: every node is immutable, and there is nothing to advise.")
    changes = {}
    for node, change in may_change.items():
        variable = scm.variables[scm.graph.require(node)]
        change = change if isinstance(change, Change) else Change(**change)
        if variable.event_shape:
            raise DataError(f"'{node}' is {variable.article}: only numbers and categories can be advised on.")
        if change.direction not in ("up", "down", "any"):
            raise DataError(f"may_change[{node!r}]: direction is 'up', 'down' or 'any', not {change.direction!r}.")
        if not variable.discrete:
            low, high = change.low, change.high
            if low is None or high is None or not low < high:
                raise DataError(
                    f"may_change[{node!r}]: '{node}' is {variable.article}; say between which values it may be set,"
                    f" as in {{'low': 0, 'high': 100}}, got low={low}, high={high}."
                )
            variable.check(node, torch.tensor([low, high], dtype=scm.dtype), remedy="Choose bounds inside the support.")
        changes[node] = change
    return changes


def _read_cost(
    scm: StructuralCausalModel, changes: Mapping[str, Change], cost: Any
) -> Callable[[str, Tensor, Tensor], Tensor]:
    if callable(cost):
        return cost
    prices: dict[str, float] = {}
    for node, change in changes.items():
        span = 1.0 if scm.variables[node].discrete else float(change.high) - float(change.low)  # type: ignore[arg-type]
        prices[node] = 1 / span
    for node, price in (cost or {}).items():
        if node not in changes:
            raise DataError(f"cost names '{node}', which may not change. Those that may are {list(changes)}.")
        if not (isfinite(price) and price >= 0):
            raise DataError(f"cost of '{node}' must be a number >= 0, got {price!r}.")
        prices[node] = price

    def priced(node: str, before: Tensor, after: Tensor) -> Tensor:
        moved = (after != before) if scm.variables[node].discrete else (after - before).abs()
        return prices[node] * moved.double()

    return priced


def _decide(scm: StructuralCausalModel, classifier: Any, target: Any) -> tuple[Decide, int]:
    """Rows -> whether the decision is the wanted one, (N,), bool."""
    if isinstance(classifier, str):
        variable = scm.variables[scm.graph.require(classifier)]
        wanted = (
            variable.code(classifier, target)
            if isinstance(variable, Categorical) and isinstance(target, str)
            else int(target)
        )
        return lambda rows: rows[classifier].long() == wanted, wanted
    if not callable(classifier):
        raise InterventionError("classifier is the name of an attached node, or a function of the rows.")
    if not isinstance(target, int | bool):
        raise DataError(f"target={target!r}: a function's classes have no names. Give the class's number.")
    wanted = int(target)

    def decided(rows: Batch) -> Tensor:
        y = torch.as_tensor(classifier(rows))
        if y.ndim == 2 and y.shape[1] > 1:
            return y.argmax(1) == wanted
        y = y.reshape(-1)
        if len(y) != rows.rows:
            raise DataError(f"The classifier gave {len(y)} decisions for {rows.rows} rows.")
        if bool(y.is_floating_point() and y.isnan().any()):
            raise ExplanationError("The classifier gives NaN. Check its weights, or its inputs.")
        return (y if y.dtype == torch.bool else y > 0 if y.is_floating_point() else y == 1) == bool(wanted)

    return decided, wanted


# ---------------------------------------------------------------------- the search


class _Search:
    """Candidates for all rows at once, and the cheapest that works."""

    def __init__(
        self,
        scm: StructuralCausalModel,
        decide: Decide,
        rows: Batch,
        changes: Mapping[str, Change],
        cost: Callable[[str, Tensor, Tensor], Tensor],
        causal: bool,
        seed: int,
    ) -> None:
        self.scm, self.decide, self.rows, self.changes, self.cost = scm, decide, rows, changes, cost
        self.causal, self.seed = causal, seed

    def grid(self, node: str) -> list[Any]:
        """Values to try, the same for every row."""
        variable, change = self.scm.variables[node], self.changes[node]
        if isinstance(variable, Categorical):
            return [variable.code(node, str(name)) for name in change.to or variable.categories]
        if isinstance(variable, Boolean):
            return [bool(value) for value in change.to or (False, True)]
        return torch.linspace(float(change.low), float(change.high), GRID).tolist()  # type: ignore[arg-type]

    def allowed(self, node: str, value: Tensor) -> Tensor:
        """Whether a value is a change in the direction allowed, (N,)."""
        before, direction = self.rows[node], self.changes[node].direction
        if direction == "any":
            return value != before
        return value > before if direction == "up" else value < before

    def after(self, do: Mapping[str, Tensor], *, causal: bool) -> Batch:
        """The rows after acting: by the model, or with all other nodes as they were."""
        if not causal:
            attached = {n for n, m in self.scm.mechanisms.items() if not m.sites}
            values = {**self.rows, **do}
            for node in self.scm.graph.nodes:
                if node in attached and node not in do:  # decisions follow from what is there
                    pa = {p: values[p] for p in self.scm.graph.parents(node)}
                    values[node] = self.scm.mechanisms[node].predict({}, pa)
            return Batch(values, self.rows.index)
        answers = []
        for start in range(0, self.rows.rows, ROWS):
            part = slice(start, start + ROWS)
            with torch.no_grad():
                cf = self.scm.counterfactual(self.rows[part], {n: v[part] for n, v in do.items()}, seed=self.seed)
            answers.append(Batch(dict(cf), self.rows.index[part]))
        return Batch.join(answers)

    def price(self, do: Mapping[str, Tensor]) -> Tensor:
        """Cost of acting, (N,); infinite where an action is not allowed."""
        total = torch.zeros(self.rows.rows, dtype=torch.float64)
        for node, value in do.items():
            each = self.cost(node, self.rows[node], value).double().cpu()
            if bool((each < 0).any()) or bool(each.isnan().any()):
                raise DataError(f"cost of '{node}' is negative or NaN for some rows. Costs are numbers >= 0.")
            total += each.masked_fill(~self.allowed(node, value).cpu(), torch.inf)
        return total

    def best(self, nodes: Sequence[str]) -> tuple[dict[str, Tensor], Tensor]:
        """The cheapest values of these nodes that work, and their cost, row by row."""
        rows = self.rows.rows
        best_cost = torch.full((rows,), torch.inf, dtype=torch.float64)
        best = {node: self.rows[node].clone() for node in nodes}
        for values in product(*(self.grid(node) for node in nodes)):
            do = {node: torch.full_like(self.rows[node], value) for node, value in zip(nodes, values, strict=True)}
            price = self.price(do)
            if not bool((price < best_cost).any()):
                continue
            works = self.decide(self.after(do, causal=self.causal)).cpu()
            better = works & (price < best_cost)
            best_cost = torch.where(better, price, best_cost)
            best = {node: torch.where(better.to(best[node].device), do[node], best[node]) for node in nodes}
        return self.refined(best, best_cost)

    def refined(self, best: dict[str, Tensor], cost: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Numbers moved back towards the observed ones as far as the decision holds, all rows by bisection."""
        numbers = [node for node in best if not self.scm.variables[node].discrete]
        found = cost.isfinite()
        if not numbers or not bool(found.any()):
            return best, cost
        near, far = torch.zeros(len(cost), dtype=torch.float64), torch.ones(len(cost), dtype=torch.float64)
        end = {node: best[node].clone() for node in numbers}
        for _ in range(REFINE):
            middle = (near + far) / 2
            do = best | {
                node: self.rows[node] + middle.to(end[node]) * (end[node] - self.rows[node]) for node in numbers
            }
            price = self.price(do)
            works = self.decide(self.after(do, causal=self.causal)).cpu() & price.isfinite() & (price <= cost)
            far, near = torch.where(works, middle, far), torch.where(works, near, middle)
            best = {n: torch.where((works & found).to(best[n].device), do[n], best[n]) for n in best}
            cost = torch.where(works & found, price, cost)
        return best, cost


def _chosen(
    search: _Search,
    subsets: Sequence[Sequence[str]],
    found: Sequence[tuple[dict[str, Tensor], Tensor]],
    k: int,
    wanted: int,
) -> Recourse:
    """The k cheapest sets of nodes of every row, with the rows that the model then predicts."""
    costs = torch.stack([cost for _, cost in found])
    order = costs.sort(dim=0, stable=True)
    actions, consequences, works = [], [], []
    for rank in range(min(k, len(subsets))):
        which, do, full = order.indices[rank], {}, {}
        for node in search.changes:
            value = search.rows[node].clone()
            touched = torch.zeros(len(value), dtype=torch.bool)
            for s, subset in enumerate(subsets):
                if node in subset:
                    mine = (which == s) & costs[s].isfinite()
                    value = torch.where(mine.to(value.device), found[s][0][node], value)
                    touched |= mine
            empty = torch.nan if value.is_floating_point() else -1
            left = value if value.is_floating_point() else value.long()
            full[node] = torch.where(touched.to(left.device), left, torch.full_like(left, empty))
            do[node] = value
        consequences.append(_consequences(search, do, full))
        works.append(search.decide(consequences[-1]).cpu() & order.values[rank].isfinite())
        actions.append(full)
    return Recourse(
        tuple(actions),
        order.values[: len(actions)],
        torch.stack(works),
        tuple(consequences),
        wanted,
        search.causal,
        search.scm.variables,
    )


def _consequences(search: _Search, do: Mapping[str, Tensor], advised: Mapping[str, Tensor]) -> Batch:
    """The rows by the model after acting, each on its own nodes: rows with the same nodes are asked about together."""
    touched = {n: ~(v.isnan() if v.is_floating_point() else v < 0) for n, v in advised.items()}
    keys = torch.stack(list(touched.values()), 1)
    parts, places = [], []
    for key in keys.unique(dim=0):
        place = (keys == key).all(1).nonzero()[:, 0]
        nodes = [n for n, on in zip(touched, key.tolist(), strict=True) if on]
        with torch.no_grad():
            cf = search.scm.counterfactual(search.rows[place], {n: do[n][place] for n in nodes}, seed=search.seed)
        parts.append(Batch(dict(cf)))
        places.append(place)
    back = torch.cat(places).argsort()
    return Batch(dict(Batch.join(parts)[back]), search.rows.index)
