"""What a question is told apart by: a run goes on with the shards of the same question only."""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType
from typing import Any

import numpy as np
from torch import Tensor
from torch.distributions import Distribution

from causalcf.core.digests import digest, weights_digest
from causalcf.data import align
from causalcf.do import Do, GivenFactual, Scale, Shift
from causalcf.graph import CausalGraph
from causalcf.scm.action import Dos, read_worlds
from causalcf.scm.model import StructuralCausalModel

__all__ = ["of_model", "of_rows", "told"]


def of_model(scm: StructuralCausalModel) -> str:
    """Eight digits that tell a model by its graph, the kinds of its mechanisms, their settings and weights."""
    mechanisms = scm.require_fitted()
    facts = {node: [type(mechanism).__name__, repr(mechanism.config)] for node, mechanism in mechanisms.items()}
    weights = {f"{node}.{name}": t for node, m in mechanisms.items() for name, t in m.saved_state().items()}
    return weights_digest(weights, [scm.graph.to_json(), facts])


def told(do: Dos) -> list[dict[str, Any]]:
    """The actions of each world as JSON; many numbers by their digest, functions by their code.

    Example:
        >>> told({"x": 1.0})
        [{'x': 1.0}]
    """
    return [{target: _action(action) for target, action in world.items()} for world in read_worlds(do).each]


def _action(action: Any) -> Any:
    match action:
        case Shift(amount):
            return ["shift", _action(amount)]
        case Scale(factor):
            return ["scale", _action(factor)]
        case GivenFactual(fn):
            return ["given_factual", _action(fn)]
        case Distribution():
            names = [name for name in action.arg_constraints if name in vars(action)]
            return [type(action).__name__, {name: _action(getattr(action, name)) for name in names} or repr(action)]
        case bool() | int() | float() | str():
            return action
        case _ if callable(action):
            code = getattr(action, "__code__", None)
            return [getattr(action, "__qualname__", type(action).__name__), *([] if code is None else [_code(code)])]
    if isinstance(action, Tensor):
        action = action.detach().cpu().numpy()
    values = np.asarray(action)
    if values.ndim == 0:
        return values.item()
    content = values.tobytes() if values.dtype != object else repr(values.tolist())
    return [list(values.shape), str(values.dtype), digest(content, digits=16)]


def _code(code: CodeType) -> str:
    """A digest of a function's instructions and constants."""
    constants = [repr(value) for value in code.co_consts if not isinstance(value, CodeType)]
    inner = [_code(value) for value in code.co_consts if isinstance(value, CodeType)]
    return digest(code.co_code, *constants, *inner, *code.co_names, digits=16)


def of_rows(do: Do, graph: CausalGraph, rows: int, part: slice, labels: Any) -> dict[str, Any]:
    """The actions of some rows: values that there are one of for each row are cut.

    Args:
        do: The actions of all rows.
        graph: Says how large a value is.
        rows: How many there are.
        part: Which of them.
        labels: A pandas Index of the rows' labels, by which values with labels are put in order; None if there is none.
    """
    return {target: _cut(target, action, graph, rows, part, labels) for target, action in do.items()}


def _cut(target: str, action: Any, graph: CausalGraph, rows: int, part: slice, labels: Any) -> Any:
    match action:
        case Shift(amount):
            return Shift(_cut(target, amount, graph, rows, part, labels))
        case Scale(factor):
            return Scale(_cut(target, factor, graph, rows, part, labels))
        case Distribution() | GivenFactual() | str() | Mapping():
            return action
        case _ if callable(action):
            return action
    value = align(f"do({target})", action, labels)
    shape = tuple(value.shape) if hasattr(value, "shape") else np.shape(value)
    event = graph.variables[target].event_shape if target in graph else None
    if not shape or shape[0] != rows or shape == event:
        return value
    return value.iloc[part] if hasattr(value, "iloc") else value[part]
