"""Malformed calls, generated from signatures: one argument of a good call becomes what its annotation forbids."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from trust.good_metrics import Good

import causalcf as ccf

NAN = float("nan")


RIGHT = (
    "Batch(values={})",  # no columns
    "SCM.do(actions={'x': [1.0, 2.0]})",  # right for two rows, of which the view knows nothing
    "evaluate(reference={})",  # nothing to compare with
    "recourse(cost={})",  # all weights as they are
    "mechanisms.MixtureAE(classifier=None)",  # where the number of classes is given
)
"""Calls that look wrong and are not."""


class Missing:
    """The argument is left out."""

    def __repr__(self) -> str:
        return "left out"


MISSING = Missing()


class Odd:
    """Nothing that any argument is."""

    def __repr__(self) -> str:
        return "Odd()"


BAD: dict[str, tuple[Any, ...]] = {
    "int": ("three", 2.5, NAN, None, [1], b"1", {1}, np.float64(1.5), torch.ones(2), 1j, Odd()),
    "float": ("much", None, [1.0, "a"], b"1", {1.0}, 1j, np.str_("a"), Odd()),
    "str": (3, None, b"name", ["a"], {"a"}, 1.5, Odd()),
    "bool": ("no", None, 2, [], {}, NAN, Odd()),
    "Path": (3, None, 1.5, [], {"a"}, "\0", Odd()),
    "Mapping": (3, "text", [1], {1}, 1.5, Odd()),
    "names": (3, "text", [1, 2], 1.5, b"ab", Odd()),
    "numbers": (3, "text", ["a"], [None], [NAN], Odd()),
    "Tensor": ("text", None, Odd(), {}, torch.empty(0), 1j, ["a"]),
    "Callable": (3, "text", None, [1], Odd()),
    "Variable": (3, "Real", ccf.Real, {}, Odd()),
    "Recipe": (3, "fast", [1], Odd()),
    "SCM": (3, "model", None, {}, Odd()),
    "data": (3, "text", None, [1.0], {}, {"nobody": [1.0]}, {"x": 1.0}, {"x": ["a"]}, torch.ones(3), set(), Odd()),
    "graph": (3, "no such graph", None, [], [("a",)], [("a", "a")], {"a": ["b"]}, [("a", "b"), ("b", "a")], Odd()),
    "do": (3, "x=1", [1], {"nobody": 1.0}, {"x": None}, {"x": "a"}, {"x": NAN}, {"x": [1.0, 2.0]}, {1: 1.0}, Odd()),
    "choice": (3, None, "", "no such choice", ["raise"], b"raise", Odd()),
    "device": (3, None, "gpu", "cuda:99", ["cpu"], Odd()),
    "seed": ("one", 1.5, NAN, [1], b"1", 1j, Odd()),
}
"""Kind of a parameter -> values that are none."""

NAMED = {
    "x": "data", "data": "data", "graph": "graph", "do": "do", "actions": "do", "device": "device", "seed": "seed",
    "classifier": "Callable", "f": "Callable", "function": "Callable", "average": "choice", "out_of_support": "choice",
    "abduction": "choice", "recompute": "choice", "missing": "choice", "which": "choice", "split": "choice",
    "optimizer": "choice", "raises": "choice", "pool": "choice", "per": "choice", "precision": "choice",
    "residual": "float", "low": "float", "high": "float", "noise": "Mapping",
}  # fmt: skip
"""Parameters whose names say more than their annotations."""

KINDS = (
    (r"StructuralCausalModel", "SCM"), (r"Tensor", "Tensor"), (r"\bVariable\b(?!\])", "Variable"),
    (r"Recipe\b", "Recipe"),
    (r"^(?:Sequence|Collection|Iterable|tuple)\[str", "names"), (r"^(?:Sequence|tuple)\[(?:int|float)", "numbers"),
    (r"^Mapping", "Mapping"), (r"Path", "Path"), (r"^Callable|Distance", "Callable"), (r"\bbool\b", "bool"),
    (r"\bint\b", "int"), (r"\bfloat\b|Share", "float"), (r"\bstr\b", "str"), (r"Literal|Split|Part", "choice"),
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A call with one argument that is wrong."""

    good: Good
    parameter: str
    value: Any

    def __str__(self) -> str:
        return f"{self.good.name}({self.parameter}={self.value!r:.40})"

    @property
    def arguments(self) -> dict[str, Any]:
        given = dict(self.good.arguments)
        if self.value is MISSING:
            return {name: value for name, value in given.items() if name != self.parameter}
        return given | {self.parameter: self.value}


def _kind(name: str, annotation: str) -> str | None:
    if "Tensor" in annotation and name == "x":
        return "Tensor"
    if name in NAMED:
        return NAMED[name]
    return next((kind for pattern, kind in KINDS if re.search(pattern, annotation)), None)


def _parameters(good: Good) -> dict[str, str]:
    """Parameter -> annotation of what is called, through wrappers that take keywords."""
    function = getattr(good.function, "args", (good.function,))[0] if hasattr(good.function, "func") else good.function
    if good.name == "SCM.fit":
        function = ccf.SCM.fit
    signature = inspect.signature(function)
    return {
        name: str(p.annotation).removeprefix("<class '").removesuffix("'>") for name, p in signature.parameters.items()
    }


def malformed(good: Good) -> Iterator[Call]:
    """Every wrong call next to a good one."""
    annotations = _parameters(good)
    for name in good.arguments:
        annotation = annotations.get(name, "float")
        kind = _kind(name, annotation)
        optional = "None" in annotation or name in ("do", "seed")
        for value in BAD.get(kind or "", ()):
            right = (value is None and optional) or _allowed(value, annotation)
            if not right and f"{good.name}({name}={value!r})" not in RIGHT:
                yield Call(good, name, value)
    if good.name not in ("shift", "scale", "given_factual", "Fading"):
        yield Call(good, "no_such_option", 1)
        if not good.name.startswith("mechanisms."):  # their settings have defaults
            yield Call(good, next(iter(good.arguments)), MISSING)


def _allowed(value: Any, annotation: str) -> bool:
    """Whether another part of the annotation takes the value."""
    parts = [part.strip() for part in re.sub(r"\[.*\]", "", annotation).split("|")]
    if "float" in parts and isinstance(value, int | float | np.floating) and value == value:
        return True
    if isinstance(value, str) and value != "\0" and "str" in parts and len(parts) > 1 and "Path" not in annotation:
        return True
    if "Any" in parts and len(parts) > 1:
        return True
    return isinstance(value, list) and any(part in ("Sequence", "tuple", "Collection") for part in parts) and not value


def outcome(call: Call) -> str:
    """`good` if the call is refused by an error that names the culprit; else what happened instead."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call.good.function(**call.arguments)
    except ccf.CausalCFError as error:
        said = str(error)
        return "good" if _names(call, said) else f"unnamed: {type(error).__name__}: {said[:150]}"
    except Exception as error:
        return f"foreign: {type(error).__name__}: {str(error)[:150]}"
    return "good" if call.value is MISSING else "silent"


SYNONYMS = {
    "f": "classifier", "n": "rows", "x": "data", "classifier": "f", "half": "node", "path": "file", "actions": "do",
    "name_or_path": "graph", "data": "rows", "graph": "node|networkx|edges", "name": "no ", "root": "folder",
}  # fmt: skip
"""What an error may say instead of the parameter's name."""


def _names(call: Call, said: str) -> bool:
    """Whether an error names the parameter, the node or the value that is wrong."""
    words = f"{call.parameter}|{SYNONYMS.get(call.parameter, call.parameter)}"
    if re.search(rf"\b(?:{words})\b", said, re.IGNORECASE):
        return True
    value = call.value
    if isinstance(value, torch.Tensor):
        return str(tuple(value.shape)) in said or "Tensor" in said or re.search(rf"\b{len(value)} \w", said) is not None
    keys = [repr(key) for key in value] if isinstance(value, dict | list | set) else []
    if isinstance(value, set | list) and value and f"name {next(iter(value))!r}" in said:
        return True
    return any(text in said for text in (repr(value)[:12], str(value)[:12], *keys, "list of worlds", "among []"))
