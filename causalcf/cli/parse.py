"""Readers of the values on a command line: actions, residuals, mechanisms, targets, devices, rows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from causalcf.core.errors import DataError, InterventionError

if TYPE_CHECKING:
    from causalcf.data import Batch
    from causalcf.explainers import Explainer
    from causalcf.scm.model import StructuralCausalModel
    from causalcf.scm.residual import Residual
    from causalcf.variables import Variable

__all__ = [
    "Value",
    "named",
    "parse_device",
    "parse_do",
    "parse_epochs",
    "parse_explainer",
    "parse_mechanisms",
    "parse_residual",
    "parse_target",
    "parse_weights",
    "slice_rows",
]

Value = TypeVar("Value")


def parse_do(text: str, variables: Mapping[str, Variable]) -> dict[str, Any]:
    """The actions of one world from text: `a=1,b+=2,c-=2,d*=0.5,e=name`.

    Names and values may stand in quotes, which those with commas or equals signs need unless they are names that the
    model has: the longest of these that fits is taken.

    Args:
        text: Actions, separated by commas.
        variables: node -> variable; a Categorical takes names, a Boolean true or false, yes or no.

    Raises:
        InterventionError: The text is not a list of actions.

    Example:
        >>> from causalcf.variables import Categorical, Positive
        >>> parse_do("thickness+=4, digit=7", {"thickness": Positive(), "digit": Categorical(10)})
        {'thickness': Shift(amount=4.0), 'digit': '7'}
        >>> parse_do('"yield, kg"=40', {"yield, kg": Positive()})
        {'yield, kg': 40.0}
    """
    from causalcf.do import scale, shift

    if not text.strip(", "):
        raise InterventionError("An action is empty. Write node=4, node+=1, node*=0.8 or node=name.")
    actions: dict[str, Any] = {}
    rest = text.lstrip(", ")
    while rest:
        target, operator, value, part, rest = _first_action(rest, variables)
        if target in actions:
            raise InterventionError(f"Two actions on '{target}' in one world. Give --do twice for two worlds.")
        if operator == "=":
            actions[target] = _value(part, value, variables.get(target))
        elif operator == "*=":
            actions[target] = scale(_number(part, value))
        else:
            actions[target] = shift(_number(part, value) * (-1 if operator == "-=" else 1))
        rest = rest.lstrip(", ")
    return actions


OPERATOR = r"\s*(?P<operator>[-+*]?=)\s*"
PIECE = r"(?:[^,\\]|\\.)"
"""A character of a name or value without quotes; a backslash keeps a comma in it."""


def _first_action(text: str, variables: Mapping[str, Variable]) -> tuple[str, str, str, str, str]:
    """(target, operator, value, the action as written, the rest) of the first action in a text."""
    known = "|".join(re.escape(name) for name in sorted(variables, key=len, reverse=True))
    targets = [rf"(?P<name>{known})" if known else None, QUOTED.replace("#", "name"), rf"(?P<name>(?:(?!=){PIECE})+?)"]
    for target in filter(None, targets):
        match = re.match(target + OPERATOR, text)
        if match is None:
            continue
        name, after = _unquoted(match["name"]), text[match.end() :]
        categories = getattr(variables.get(name), "categories", ())
        named = "|".join(re.escape(category) for category in sorted(categories, key=len, reverse=True))
        values = [rf"(?P<value>{named})" if named else None, QUOTED.replace("#", "value"), rf"(?P<value>{PIECE}+)"]
        for value in filter(None, values):
            found = re.match(value + r"\s*(?:,|$)", after)
            if found is not None and found["value"].strip():
                end = match.end() + found.end()
                part = text[:end].strip(", ")
                return name, match["operator"], _unquoted(found["value"].strip()), part, text[end:]
    part = re.match(rf"{PIECE}*", text)
    shown = text if part is None else part[0].strip()
    raise InterventionError(f"Cannot read the action '{shown}'. Write node=4, node+=1, node*=0.8 or node=name.")


QUOTED = r"""(?P<#>"[^"]+"|'[^']+')"""


def _unquoted(text: str) -> str:
    """A name or value without its quotes, or without the backslashes that kept its commas."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else re.sub(r"\\(.)", r"\1", text).strip()


def _value(part: str, value: str, variable: Variable | None) -> Any:
    from causalcf.variables.codes import WORDS, Boolean, Categorical
    from causalcf.variables.days import ISO, is_of_days

    if isinstance(variable, Categorical):
        return value
    if isinstance(variable, Boolean):
        if value.lower() not in WORDS:
            raise InterventionError(f"Cannot read the action '{part}': expected true or false, yes or no.")
        return WORDS[value.lower()]
    if variable is not None and is_of_days(variable.unit) and ISO.fullmatch(value):
        return value  # a date, which the model reads as it reads the dates of data
    return _number(part, value)


def _number(part: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InterventionError(f"Cannot read the action '{part}': '{value}' is not a number.") from None


def named(option: str, pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Pairs of a name and its value, as a mapping.

    Raises:
        DataError: Two have the same name, of which a mapping would lose one.

    Example:
        >>> named("--do", [("digit", 2), ("thickness", 1)])
        {'digit': 2, 'thickness': 1}
    """
    found: dict[str, Value] = {}
    for name, value in pairs:
        if name in found:
            raise DataError(f"{option}: '{name}' is given twice. Each may be given once, and no two may share a name.")
        found[name] = value
    return found


def parse_epochs(options: Sequence[str], nodes: Sequence[str]) -> int | dict[str, int] | None:
    """`["20"]` for every node, `["image=20", ...]` by node, or both: the first for the nodes that are not named.

    Example:
        >>> parse_epochs(["20"], ["x", "y"]), parse_epochs(["20", "y=3"], ["x", "y"])
        (20, {'x': 20, 'y': 3})
    """
    pairs = []
    for option in options:
        node, _, number = option.rpartition("=")
        if not _is_count(number):
            raise DataError(f"--epochs {option}: expected a number, or node=number.")
        pairs.append((node or "all nodes", int(number)))
    by_node = named("--epochs", pairs)
    default = by_node.pop("all nodes", None)
    if default is None or not by_node:
        return by_node or default
    return dict.fromkeys(nodes, default) | by_node


def parse_weights(options: Sequence[str]) -> dict[str, float] | None:
    """Nodes with weights from `node` or `node=weight`; None if there are none.

    Example:
        >>> parse_weights(["digit=2", "thickness"])
        {'digit': 2.0, 'thickness': 1.0}
    """
    pairs = []
    for option in options:
        node, _, weight = option.partition("=")
        try:
            pairs.append((node, float(weight or 1)))
        except ValueError:
            raise DataError(f"--do {option}: expected node, or node=weight.") from None
    return named("--do", pairs) or None


def parse_residual(text: str) -> Residual:
    """A scale of the residual noise from a number, or how it fades from `node=length,node=length`.

    Example:
        >>> parse_residual("0.5"), parse_residual("thickness=1,digit=0")
        (0.5, Fading(thickness=1, digit=0))
    """
    from causalcf.scm.residual import Fading

    try:
        if "=" not in text:
            return float(text)
        parts = [part.split("=") for part in text.split(",")]
        lengths = [(node.strip(), float(length)) for node, length in parts]
    except ValueError:
        raise InterventionError(
            f"--residual {text}: expected a number, 1 for abduction, or lengths over which the residual fades, such as"
            " thickness=1,digit=0."
        ) from None
    return Fading(named(f"--residual {text}", lengths))


def parse_mechanisms(options: Sequence[str]) -> dict[str, Any]:
    """Mechanisms from `node=Name`, `node=Name(key=value, ...)` or `node=HVAE.preset('32', ...)`."""
    from causalcf.mechanisms import MECHANISMS

    chosen = []
    for option in options:
        node, _, call = option.partition("=")
        made = _parse_call(option, call, "mechanism", MECHANISMS)
        try:
            chosen.append((node, made()))
        except TypeError as error:
            raise DataError(f"--mechanism {option}: {error}.") from None
    return named("--mechanism", chosen)


def parse_explainer(option: str, scm: StructuralCausalModel, **arguments: Any) -> Explainer:
    """An explainer from a file, or from `Name` or `Name(key=value, ...)` with the arguments the command line gives it.

    Args:
        option: The method, for example `"Clarity(gamma=0.99)"` or `"clarity.safetensors"`.
        scm: The model.
        arguments: `node`, `classifier` and `variable`.

    Raises:
        DataError: There is no such method, or it lacks an option of this name.
    """
    from causalcf.explainers import EXPLAINERS, Explainer

    if option.endswith(".safetensors"):
        return Explainer.load(option, scm, classifier=arguments["classifier"])
    made = _parse_call(option, option, "method", EXPLAINERS)
    if made.args:
        raise DataError(f"--method {option}: settings have names, 'Name(key=value)'.")
    try:
        return made(scm, **arguments)
    except TypeError as error:
        raise DataError(f"--method {option}: {error}.") from None


def _parse_call(option: str, text: str, what: str, known: Mapping[str, Any]) -> partial[Any]:
    """Read `Name`, `Name(key=value, ...)` or `Name.preset('name', ...)` as a call; values are Python literals."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        values = [ast.literal_eval(value) for value in call.args]
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("**")
        arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        prefix = "" if text == option else "node="
        raise DataError(f"--{what} {option}: expected {prefix}Name or '{prefix}Name(key=value)'.") from None
    kind, _, preset = ast.unparse(call.func).partition(".")
    if kind not in known:
        raise DataError(f"--{what} {option}: there is no {what} '{kind}'. Known: {list(known)}.")
    made = getattr(known[kind], "preset", None) if preset == "preset" else known[kind]
    if made is None or preset not in ("", "preset"):
        raise DataError(f"--{what} {option}: {kind} has no '{preset}'.")
    return partial(made, *values, **arguments)


def parse_device(text: str) -> str:
    """A device that this machine has.

    Raises:
        DataError: It has none of this name.

    Example:
        >>> parse_device("cpu")
        'cpu'
    """
    from causalcf.core.devices import as_device

    try:
        return str(as_device(text))
    except DataError as error:
        raise DataError(f"--device {error}") from None


def parse_target(text: str, variable: Variable | None) -> float:
    """A class's code from its name or number, or the value of a regression.

    Args:
        text: As given.
        variable: Of its output; None for classes without names.

    Example:
        >>> from causalcf.variables import Boolean, Categorical
        >>> parse_target("cat", Categorical(("ape", "cat"))), parse_target("true", Boolean()), parse_target("4", None)
        (1, True, 4)
    """
    from causalcf.variables.codes import Categorical

    if isinstance(variable, Categorical):
        return variable.code("--target", text)
    value = _value(f"--target {text}", text, variable)
    return int(value) if variable is None else value


def _is_count(text: str) -> bool:
    """Whether a text is a whole number, in the digits that Python reads."""
    return text.isascii() and text.isdigit()


def slice_rows(table: Batch, rows: str) -> Batch:
    """Rows `6` (the first six) or `10:20` of a table, with their row numbers."""
    start, _, stop = rows.rpartition(":")
    if not _is_count(stop) or (start and not _is_count(start)):
        raise DataError(f"--rows {rows}: expected a number, or start:stop.")
    return table[int(start or 0) : int(stop)]
