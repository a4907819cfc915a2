"""The state of the screen, as one value that a URL can hold: unit, worlds, edited noise, seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlencode

from causalcf.core.errors import DataError, InterventionError, UnknownNodeError
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["MOST_SAMPLES", "MOST_WORLDS", "State", "Value", "read_state", "read_value"]

Value = float | bool | str
"""The value of an action on a node: a number, a truth value, the name of a category."""

MOST_WORLDS, MOST_SAMPLES = 6, 64
"""The most worlds and samples of one answer, so that one request cannot keep the page waiting."""


@dataclass(frozen=True)
class State:
    """A question to a model, without the model. Methods give a new state.

    Args:
        unit: Row of the data set.
        worlds: node -> value it is set to, once per world. An empty world is the factual one.
        noise: (site, component) -> value that replaces the abducted one.
        residual: Scale of the residual noise; only 1 is abduction.
        samples: Draws of the noise's posterior; 0 takes the mean of amortised posteriors.
        seed: Seed of random parts.

    Example:
        >>> State().act(0, "thickness", 4.0).to_query()
        'unit=0&do.0.thickness=4.0'
    """

    unit: int = 0
    worlds: tuple[Mapping[str, Value], ...] = (MappingProxyType({}),)
    noise: Mapping[tuple[str, int], float] = field(default_factory=lambda: MappingProxyType({}))
    residual: float = 1.0
    samples: int = 0
    seed: int = 0

    def act(self, world: int, node: str, value: Value) -> State:
        """Set a node in one world."""
        return self._with_world(world, {**self.worlds[world], node: value})

    def free(self, world: int, node: str) -> State:
        """Let a node follow its causes again."""
        return self._with_world(world, {name: value for name, value in self.worlds[world].items() if name != node})

    def edit(self, site: str, component: int, value: float) -> State:
        """Replace one component of the abducted noise."""
        return replace(self, noise={**self.noise, (site, component): value})

    def _with_world(self, world: int, actions: Mapping[str, Value]) -> State:
        return replace(self, worlds=(*self.worlds[:world], actions, *self.worlds[world + 1 :]))

    def to_query(self) -> str:
        """The state as the query of a URL; `read_state` is the inverse."""
        pairs: list[tuple[str, Any]] = [("unit", self.unit)]
        pairs += [("worlds", len(self.worlds))] if len(self.worlds) > 1 else []
        for i, world in enumerate(self.worlds):
            pairs += [(f"do.{i}.{node}", _text(value)) for node, value in world.items()]
        pairs += [(f"noise.{site}.{component}", value) for (site, component), value in self.noise.items()]
        default = State()
        for name in ("residual", "samples", "seed"):
            if getattr(self, name) != getattr(default, name):
                pairs.append((name, getattr(self, name)))
        return urlencode(pairs)


def read_state(query: str, variables: Mapping[str, Variable]) -> State:
    """The state that the query of a URL stands for.

    Args:
        query: For example `unit=3&do.0.thickness=4`.
        variables: node -> variable of the model.

    Raises:
        DataError: A key or a number cannot be read, or is too large.
        UnknownNodeError: An action names something that is not a node.
        InterventionError: A value that the node cannot be set to.

    Example:
        >>> from causalcf.variables import Positive
        >>> read_state("unit=3&do.0.thickness=4", {"thickness": Positive()}).worlds
        ({'thickness': 4.0},)
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    plain = {key: text for key, text in pairs if "." not in key}
    unknown = sorted(plain.keys() - {"unit", "worlds", "residual", "samples", "seed"})
    if unknown:
        raise DataError(f"The address has '{unknown[0]}', which this page does not know. Leave it out.")
    worlds: list[dict[str, Value]] = [{} for _ in range(_whole("worlds", plain.get("worlds", "1"), 1, MOST_WORLDS))]
    noise: dict[tuple[str, int], float] = {}
    for key, text in pairs:
        kind, _, rest = key.partition(".")
        if kind == "do" and rest:
            world, _, node = rest.partition(".")
            at = _whole(key, world, 0, len(worlds) - 1)
            worlds[at][node] = read_value(node, text, variables)
        elif kind == "noise" and rest:
            site, _, component = rest.rpartition(".")
            noise[site, _whole(key, component, 0, 2**31)] = _finite(key, text)
        elif "." in key:
            raise DataError(f"The address has '{key}', which this page does not know. Leave it out.")
    return State(
        unit=_whole("unit", plain.get("unit", "0"), 0, 2**31),
        worlds=tuple(worlds),
        noise=noise,
        residual=_finite("residual", plain.get("residual", "1")),
        samples=_whole("samples", plain.get("samples", "0"), 0, MOST_SAMPLES),
        seed=_whole("seed", plain.get("seed", "0"), 0, 2**31 - 1),
    )


def read_value(node: str, text: str, variables: Mapping[str, Variable]) -> Value:
    """Read the value of an action on a node from text.

    Raises:
        UnknownNodeError: There is no such node.
        InterventionError: The text is not a value of the node, or the node is not a single number or category.
    """
    if node not in variables:
        raise UnknownNodeError(f"The model has no node '{node}' to act on. Its nodes are {list(variables)}.")
    variable = variables[node]
    if isinstance(variable, Categorical):
        variable.code(node, text)
        return text
    if isinstance(variable, Boolean):
        if text not in ("true", "false"):
            raise InterventionError(f"'{node}' is true or false, got '{text}'. Choose one of the two.")
        return text == "true"
    if variable.event_shape:
        raise InterventionError(f"'{node}' is {variable.article}. This page acts on numbers and categories alone.")
    try:
        return _finite(node, text)
    except DataError as error:
        raise InterventionError(str(error)) from None


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _finite(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"'{name}' takes a number, got '{text}'. Type a number such as 4 or 0.5.")
    return number


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and least <= int(text) <= most):
        raise DataError(f"'{name}' takes a whole number from {least} to {most}, got '{text}'. Correct it.")
    return int(text)
