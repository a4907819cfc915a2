"""Actions and values in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.distributions import Distribution

from causalcf.do import GivenFactual, Scale, Shift
from causalcf.plots.protocols import Graph
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["action_pieces", "describe_actions", "score", "show", "signed", "three_digits"]


def describe_actions(do: Mapping[str, Any] | None, graph: Graph) -> str:
    """Describe the actions of one world in one line.

    Args:
        do: target -> action, as given to `counterfactual`.
        graph: Names categories and parents.

    Example:
        >>> from causalcf import load_graph, shift
        >>> describe_actions({"thickness": 4.0, "intensity": shift(-10)}, load_graph("morphomnist"))
        'do(thickness = 4, intensity −= 10)'
    """
    return ", ".join(action_pieces(do, graph))


def action_pieces(do: Mapping[str, Any] | None, graph: Graph) -> list[str]:
    """The parts of `describe_actions` between which a line may break."""
    if not do:
        return ["no action"]
    pieces = [_describe_action(target, action, graph) for target, action in do.items()]
    return [f"do({pieces[0]}", *pieces[1:-1], f"{pieces[-1]})"] if len(pieces) > 1 else [f"do({pieces[0]})"]


def _describe_action(target: str, action: Any, graph: Graph) -> str:
    node = target.split(".")[0]
    parents = ", ".join(graph.parents(node)) if node in graph else ""
    variable = graph.variables.get(target)
    match action:
        case Shift(amount):
            text = _operand(amount)
            return f"{target} −= {text[1:]}" if text.startswith("−") else f"{target} += {text}"
        case Scale(factor):
            return f"{target} ×= {_operand(factor)}"
        case GivenFactual(fn):
            return f"{target} = {_function_name(fn)}({f'{parents}; ' if parents else ''}factual)"
        case Distribution():
            return f"{target} ~ {_describe_law(action)}"
        case str():
            return f"{target} = {action}"
        case _ if callable(action):
            return f"{target} = {_function_name(action)}({parents})"
    if np.ndim(action) > 0:
        return f"{target} set per unit" if variable is None or not variable.event_shape else f"{target} set"
    if variable is not None and variable.discrete:
        return f"{target} = {show(variable, action)}"
    return f"{target} = {_operand(action)}"


def _operand(value: Any) -> str:
    """A number an action was given, or that there is one per unit."""
    return signed(f"{float(value):.4g}") if np.ndim(value) == 0 else "one per unit"


def _function_name(fn: Callable[..., Any]) -> str:
    name = getattr(fn, "__name__", "f")
    return "f" if name == "<lambda>" else name


def _describe_law(law: Distribution) -> str:
    """A distribution with its parameters, where these are plain numbers."""
    values = {name: getattr(law, name) for name in law.arg_constraints if name in vars(law)}
    if not values or any(not isinstance(value, Tensor) or value.ndim for value in values.values()):
        return type(law).__name__
    return f"{type(law).__name__}({', '.join(_operand(value) for value in values.values())})"


def show(variable: Variable, value: Any) -> str:
    """One value of a scalar node, without its unit."""
    if isinstance(variable, Categorical):
        return variable.categories[int(value)]
    if isinstance(variable, Boolean):
        return "true" if value else "false"
    return three_digits(float(value))


def three_digits(value: float) -> str:
    """A number to three significant digits, whole where it is large."""
    size = abs(value)
    if size != 0 and not 1e-3 <= size < 1e6:
        return signed(f"{value:.2e}")
    decimals = 2 if size < 10 else 1 if size < 100 else 0
    return signed(f"{value:.{max(decimals, 3) if 0 < size < 0.1 else decimals}f}")


def score(value: float) -> str:
    """A score to three digits; of one that is all but zero, that it is."""
    return "< 0.001" if 0 < abs(value) < 1e-3 else three_digits(value)


def signed(text: str) -> str:
    """With a true minus sign."""
    return text.replace("-", "−")
