"""Step 2 of a counterfactual: the actions on the model.

An action sets a node, or a latent site, whatever its causes say (`do(x = 4)`), moves what its
mechanism gives (`shift`, `scale`), draws it from a distribution, or computes it from the acted
values of the node's parents. All actions of one `do` are simultaneous.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from causalcf.core import draws, laws, seeding
from causalcf.core.errors import CausalCFError, DataError, InterventionError, UnknownNodeError
from causalcf.data import Batch, align
from causalcf.data.batch import Index
from causalcf.do import Do, GivenFactual, Scale, Shift, is_stochastic
from causalcf.graph import CausalGraph, site
from causalcf.mechanisms import Mechanism
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical
from causalcf.variables.days import DAYS, is_of_days
from causalcf.variables.raw import read_raw
from causalcf.variables.scalar import Real

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Action",
    "Actions",
    "Dos",
    "Worlds",
    "check_targets",
    "check_view",
    "read_actions",
    "read_one",
    "read_worlds",
]


# ---------------------------------------------------------------------- actions, read and checked


@dataclass(frozen=True)
class Action(ABC):
    """One action on one target, ready for `rows` rows."""

    target: str
    variable: Variable

    keeps_causes = False
    """Whether the mechanism's own output still matters."""

    @abstractmethod
    def apply(self, natural: Callable[[], Tensor], parents: Mapping[str, Tensor], factual: Batch | None) -> Tensor:
        """The acted value.

        Args:
            natural: Gives the value that the mechanism would assign in the acted world.
            parents: Acted values of the node's parents.
            factual: The observed rows, if there are any.
        """


@dataclass(frozen=True)
class SetTo(Action):
    """do(target = value), the same or one per row; `drawn` if it came from a distribution."""

    value: Tensor
    drawn: bool = False

    def apply(self, natural: Callable[[], Tensor], parents: Mapping[str, Tensor], factual: Batch | None) -> Tensor:
        return self.value


@dataclass(frozen=True)
class Affine(Action):
    """target := factor * mechanism + amount."""

    factor: Tensor
    amount: Tensor

    keeps_causes = True

    def apply(self, natural: Callable[[], Tensor], parents: Mapping[str, Tensor], factual: Batch | None) -> Tensor:
        return self.factor * natural() + self.amount


@dataclass(frozen=True)
class Function(Action):
    """target := fn(acted parents), or fn(acted parents, factual)."""

    fn: Callable[..., Any]
    needs_factual: bool
    rows: int
    samples: int
    like: Tensor
    labels: pd.Index | None

    def apply(self, natural: Callable[[], Tensor], parents: Mapping[str, Tensor], factual: Batch | None) -> Tensor:
        if self.needs_factual and factual is None:
            raise InterventionError(
                f"do({self.target}) uses given_factual, which needs an observed row."
                " Use counterfactual, or a function of the parents alone."
            )
        value = self._asked(parents, factual)
        value = align(f"do({self.target})", value, self.labels)
        return _per_row(self.target, self.variable, value, self.rows, self.samples, self.like)

    def _asked(self, parents: Mapping[str, Tensor], factual: Batch | None) -> Any:
        """What the function gives; whatever it raises, in one sentence."""
        try:
            return self.fn(parents, factual) if self.needs_factual else self.fn(parents)
        except CausalCFError:
            raise
        except Exception as error:  # it is the caller's: what it raises is unknown
            raise InterventionError(
                f"The function of do({self.target}) raises {type(error).__name__}: {str(error).strip()[:200]}. It gets"
                f" a mapping of the parents {list(parents)} to tensors."
            ) from error


Dos = Do | Sequence[Do] | None
"""One set of actions, or a list of them for several worlds."""


@dataclass(frozen=True)
class Worlds:
    """The worlds a query asks for, read once.

    Args:
        asked: As they were asked for.
        each: One set of actions a world.
        listed: Whether they were given as a list, which gives answers a W axis.
    """

    asked: Dos
    each: tuple[Do, ...]
    listed: bool

    @property
    def random(self) -> bool:
        """Whether any action is drawn from a distribution."""
        return any(is_stochastic(do) for do in self.each)


def read_worlds(do: Dos) -> Worlds:
    """The worlds that `do` asks for.

    Raises:
        InterventionError: An empty list, or a world that is not a mapping.

    Example:
        >>> read_worlds([{"x": 1.0}, {}]).each
        ({'x': 1.0}, {})
    """
    listed = isinstance(do, list | tuple)
    if listed and not do:
        raise InterventionError("do is an empty list: ask for at least one world, do=[{...}].")
    worlds: Sequence[Any] = do if listed else [do]  # type: ignore[assignment]
    for world in worlds:
        if not isinstance(world, Mapping | None):
            raise InterventionError(f"do must map nodes to actions, as in do={{'x': 1.0}}; got {world!r:.80}.")
        for target in world or ():
            if not isinstance(target, str):
                raise InterventionError(f"do names {target!r:.40}: nodes and sites are named by text, do={{'x': 1.0}}.")
    return Worlds(do, tuple(world or {} for world in worlds), listed)


def read_one(do: Dos) -> Do:
    """The one set of actions of a call that takes no list.

    Raises:
        InterventionError: It is a list of worlds.
    """
    if isinstance(do, list | tuple):
        raise InterventionError("This takes one set of actions, not a list of worlds. Use counterfactual or predict.")
    return read_worlds(do).each[0]


class Actions(Mapping[str, Action]):
    """The simultaneous actions of one `do`: target (node or latent site) -> action."""

    def __init__(self, actions: Mapping[str, Action]) -> None:
        self._actions = dict(actions)

    def __getitem__(self, target: str) -> Action:
        return self._actions[target]

    def __iter__(self) -> Iterator[str]:
        return iter(self._actions)

    def __len__(self) -> int:
        return len(self._actions)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes acted on, directly or through one of their sites."""
        return tuple(dict.fromkeys(target.split(".")[0] for target in self))

    @property
    def draws(self) -> dict[str, Tensor]:
        """The draws of stochastic actions: `"node.do"` -> tensor."""
        return {site(t, "do"): a.value for t, a in self.items() if isinstance(a, SetTo) and a.drawn}

    @property
    def needs_factual(self) -> bool:
        """Whether any action is a function of the observed row."""
        return any(isinstance(action, Function) and action.needs_factual for action in self.values())


def read_actions(
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    do: Do | None,
    rows: int,
    *,
    samples: int = 1,
    seed: int | None = None,
    index: Index | None = None,
    labels: pd.Index | None = None,
) -> Actions:
    """Check a `do` mapping and make it ready for a number of rows; distributions are drawn here.

    Args:
        graph: The causal graph, all variables declared.
        mechanisms: node -> mechanism; they know the latent sites and the device.
        do: target -> number, per-row tensor, category name, `shift`, `scale`, distribution, function
            of the parents, or `given_factual`.
        rows: How many rows the query has, samples times units.
        samples: How many of them each unit has; values per row are one per unit.
        seed: Seed of the draws from distributions, each target by itself: the order of targets does not
            matter, and each world draws the same numbers as it would alone.
        index: Labels of the rows, which draws follow from; 0, 1, 2, ... by default.
        labels: The units' own, by which values that have labels are put in order.

    Raises:
        UnknownNodeError: A target that is neither a node nor a latent site.
        InterventionError: An action that cannot be carried out on its target.
        DataError: A per-row value of the wrong shape or length, or NaN.
        SupportError: A value outside the variable's support.
    """
    do = {} if do is None else do
    nodes = check_targets(graph, mechanisms, do)
    draw = _Draw(rows, samples, seed, torch.arange(rows) if index is None else index)
    actions: dict[str, Action] = {}
    for target, action in do.items():
        mechanism = mechanisms[nodes[target]]
        variable = mechanism.variable if target in graph else _site_variable(mechanism, target)
        actions[target] = _read_action(target, variable, mechanism, action, rows, samples, draw, labels)
    return Actions(actions)


def check_targets(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], do: Do) -> dict[str, str]:
    """target -> node for every target of a `do`; raises if one does not exist, or two collide."""
    if not isinstance(do, Mapping):
        raise InterventionError(f"do must be a mapping of node -> action, got {type(do).__name__}: do={{'x': 1.0}}.")
    sites = {site(node, suffix): node for node, mechanism in mechanisms.items() for suffix in mechanism.sites}
    unknown = [target for target in do if target not in graph and target not in sites]
    if unknown:
        raise UnknownNodeError(f"do names {unknown}, neither nodes {list(graph.nodes)} nor latent sites {list(sites)}.")
    nodes = {target: sites.get(target, target) for target in do}
    both = [target for target, node in nodes.items() if target != node and node in do]
    if both:
        raise InterventionError(
            f"do sets {both} and also the node itself, which makes its noise void. Drop one of the two."
        )
    return nodes


def check_view(graph: CausalGraph, mechanisms: Mapping[str, Mechanism], do: Do) -> None:
    """Raise if an action cannot be carried out, as far as that can be seen before there are rows."""
    check_targets(graph, mechanisms, do)
    later = (Shift, Scale, GivenFactual, Distribution)
    single = {t: v for t, v in do.items() if not (callable(v) or isinstance(v, later) or np.ndim(v))}
    read_actions(graph, mechanisms, single, 1)


def _site_variable(mechanism: Mechanism, target: str) -> Variable:
    """A latent site seen as an unconstrained variable of the right shape."""
    suffix = target.split(".")[1]
    value = mechanism.noise_of(torch.zeros(1, dtype=torch.int64, device=mechanism.device))[suffix]
    if not value.is_floating_point():
        return mechanism.variable
    return _Site(tuple(value.shape[1:]))


@dataclass(frozen=True)
class _Site(Real):
    """A latent site: real numbers of a given shape."""

    shape: tuple[int, ...] = ()

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.shape


def _read_action(
    target: str,
    variable: Variable,
    mechanism: Mechanism,
    action: Any,
    rows: int,
    samples: int,
    draw: _Draw,
    labels: pd.Index | None,
) -> Action:
    like = mechanism._anchor
    match action:
        case Shift(amount):
            amount = _number(target, variable, align(f"do({target})", amount, labels), rows, samples, like)
            return Affine(target, variable, like.new_ones(()), amount)
        case Scale(factor):
            factor = _number(target, variable, align(f"do({target})", factor, labels), rows, samples, like)
            return Affine(target, variable, factor, like.new_zeros(()))
        case GivenFactual(fn):
            _check_arity(target, fn, "two arguments, the mapping of acted parents and the observed row", None, None)
            return Function(target, variable, fn, True, rows, samples, like, labels)
        case Distribution():
            return SetTo(target, variable, draw(target, variable, action, like), drawn=True)
        case _ if callable(action):
            _check_arity(
                target,
                action,
                "one argument, the mapping of acted parents. For (parents, factual) wrap it: ccf.given_factual(fn)",
                None,
            )
            return Function(target, variable, action, False, rows, samples, like, labels)
        case _:
            value = align(f"do({target})", action, labels)
            value = _per_row(target, variable, value, rows, samples, like)
            variable.check(target, value, remedy="Choose a value inside the support.")
            return SetTo(target, variable, value)


def _check_arity(target: str, fn: Callable[..., Any], expected: str, *arguments: None) -> None:
    """A function of the parents takes one argument; two is the mark of `given_factual`."""
    try:
        inspect.signature(fn).bind(*arguments)
    except ValueError:  # built-in functions may have no signature; calling them will tell
        return
    except TypeError:
        raise InterventionError(f"do({target}) is a function that does not take {expected}.") from None


def _number(target: str, variable: Variable, value: Any, rows: int, samples: int, like: Tensor) -> Tensor:
    """The operand of shift or scale: a number or one per row, shaped to act on (rows, *event)."""
    if variable.discrete:
        raise InterventionError(
            f"'{target}' is {variable.article}: it cannot be shifted or scaled. Set it to a value instead."
        )
    counted = Real(unit=DAYS) if is_of_days(variable.unit) else variable  # what a date is moved by is a duration
    amount = _tensor(target, counted, value).to(like)
    if not torch.isfinite(amount).all():
        raise DataError(f"The shift or scale of '{target}' has NaN or infinite values.")
    units, event = rows // samples, variable.event_shape
    if amount.ndim == 1 and units > 1 and (units,) == event:
        raise DataError(
            f"The shift or scale of '{target}' has {units} numbers, which could be one for each of {units} rows or one"
            f" for each component. Give shape ({units}, 1) for the rows, (1, {units}) for the components."
        )
    if amount.ndim == 1 and amount.shape[0] == units:
        amount = amount.reshape(units, *[1] * len(event))
    try:
        whole = torch.broadcast_shapes(amount.shape, (units, *event)) == (units, *event)
    except RuntimeError:
        whole = False
    if not whole:
        raise DataError(
            f"The shift or scale of '{target}' has shape {tuple(amount.shape)}: expected a number or {units} of them."
        )
    return amount.repeat(samples, *[1] * len(event)) if amount.ndim > len(event) and len(amount) > 1 else amount


@dataclass(frozen=True)
class _Draw:
    """The settings for draws from distributions: a seed, or torch's own state, and the labels of the rows."""

    rows: int
    samples: int
    seed: int | None
    index: Index

    def __call__(self, target: str, variable: Variable, law: Distribution, like: Tensor) -> Tensor:
        """A draw for every row, (rows, *event), each from its own random numbers."""
        units, shape = self.rows // self.samples, tuple(law.batch_shape + law.event_shape)
        if shape not in (variable.event_shape, (units, *variable.event_shape)):
            raise InterventionError(
                f"The distribution for '{target}' gives values of shape {shape}:"
                f" expected {variable.event_shape}, or {(units, *variable.event_shape)} for one a row."
            )
        seed = seeding.resolve(self.seed)
        keys = draws.row_keys(self.index, seed, target, "do", device=like.device)
        if shape == variable.event_shape:
            value = laws.sampled(law, keys)
        else:
            value = torch.cat([laws.sampled(law, some, shared=False) for some in keys.split(units)])
        return _cast(target, variable, value, like)


def _per_row(target: str, variable: Variable, value: Any, rows: int, samples: int, like: Tensor) -> Tensor:
    """A value, or one per row, as a tensor (rows, *event) of the variable's type."""
    value = _tensor(target, variable, value)
    event, units = variable.event_shape, rows // samples
    if value.ndim == 0 or tuple(value.shape) == event:
        value = value.expand(rows, *event)
    elif tuple(value.shape) == (units, *event):
        value = value.repeat(samples, *[1] * len(event))  # a copy: the answer is not the caller's tensor
    elif tuple(value.shape) != (rows, *event):
        wanted = f"one value of shape {event}" if event else "a number"
        raise DataError(
            f"do({target}) has shape {tuple(value.shape)}: expected {wanted}, or one for each of the {units} rows."
        )
    return _cast(target, variable, value, like)


def _tensor(target: str, variable: Variable, value: Any) -> Tensor:
    """Numbers, or names as codes, as a tensor of the shape given: read as a column of data is."""
    if isinstance(value, float) and not variable.discrete:  # what most actions are: there is nothing to read
        return torch.tensor(value, dtype=torch.float64)
    name = target if isinstance(variable, Categorical) else f"do({target})"
    try:
        raw = read_raw(name, value)
    except DataError as error:
        raise InterventionError(f"do({target}) got a {type(value).__name__} that cannot be read: {error}") from None
    days = raw.kind in ("dates", "durations", "text") and is_of_days(variable.unit)
    if raw.kind in ("numbers", "truths") or (raw.kind in ("text", "mixed") and variable.discrete) or days:
        return variable.encode(target, raw)
    what = "text" if raw.kind == "text" else f"a {type(value).__name__}"
    raise InterventionError(
        f"do({target}) got {what}, {value!r:.60}, but '{target}' is {variable.article}: expected numbers,"
        " shift, scale, a distribution or a function."
    )


def _cast(target: str, variable: Variable, value: Tensor, like: Tensor) -> Tensor:
    return variable._cast(target, value.to(like.device), like.dtype)
