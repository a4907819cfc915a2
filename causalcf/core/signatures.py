"""Calls held against their signatures: a wrong type, a missing or a misspelled argument is refused by its name."""

from __future__ import annotations

import ast
import inspect
import os
import sys
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from causalcf.core.errors import ArgumentError, CausalCFError, SeedError
from causalcf.core.settings import Range

__all__ = ["checked"]

T = TypeVar("T")
Test = Callable[[Any], bool]

WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", type(None): "None"}
ARRAYS = ("Tensor", "ndarray", "Series")
"""Types that hold numbers in a sequence, too."""

OWN = (
    *("Do", "Dos", "Do | None", "Residual", "Residual | None", "Sequence[Residual]", "torch.device | str"),
    *("Abduction", "OutOfSupport", "Recompute", "Missing", "Mode", "Part", "Split", "Fit"),
)
"""Annotations of what is read in one place for all functions, whose errors say more than a type."""

CLASSES = ("StructuralCausalModel", "CausalGraph", "Tensor")
"""Classes that some modules import for the type checker alone, so that they are told by their names."""


def checked(thing: T, *, numbers: bool = True) -> T:
    """A function, or a class as it is made, whose arguments are held against their annotations.

    A function is checked before it runs. A class is checked after, so that its own words for its settings come first.
    Of annotations only those are read that a value shows at once: numbers, text, paths, truths, mappings, sequences of
    text or numbers, choices, and classes.

    Args:
        thing: The function or class.
        numbers: Whether numbers are checked; not where a class holds them against their ranges later.

    Raises:
        ArgumentError: By the call: an argument is of another type, missing, or not known.

    Example:
        >>> @checked
        ... def double(x: float) -> float:
        ...     return 2 * x
        >>> double("much")
        Traceback (most recent call last):
        ...
        causalcf.core.errors.ArgumentError: double: x must be a number, got str 'much'.
    """
    if isinstance(thing, type):
        if "_checked" not in thing.__dict__:
            thing.__init__ = _checked_init(thing, numbers)  # type: ignore[misc]
            thing._checked = True  # type: ignore[attr-defined]
        return thing
    return _checked_function(thing)  # type: ignore[arg-type,return-value]


def _checked_function(function: Callable[..., Any]) -> Any:
    hold = _Signature(_title(function), function)

    def checking(*args: Any, **options: Any) -> Any:
        hold.against(hold.bound(args, options))
        return function(*args, **options)

    # The module's own globals: by them doctest knows to which module a function belongs.
    own = types.FunctionType(checking.__code__, function.__globals__, function.__name__, None, checking.__closure__)
    return wraps(function)(own)


def _checked_init(made: type, numbers: bool) -> Any:
    init = made.__init__  # type: ignore[misc]
    hold = _Signature(made.__name__, init, made.__mro__, numbers)

    @wraps(init)
    def checking(self: Any, *args: Any, **options: Any) -> None:
        bound = hold.bound((self, *args), options)
        try:
            init(self, *args, **options)
        except CausalCFError:
            raise
        except Exception:
            hold.against(bound)
            raise
        hold.against(bound)

    return checking


def _title(function: Callable[..., Any]) -> str:
    return function.__qualname__.replace("StructuralCausalModel.", "SCM.").replace("Questions.", "SCM.")


class _Signature:
    """The parameters of a function, with a test of each; found when it is first called, as annotations are text."""

    def __init__(
        self, name: str, function: Callable[..., Any], bases: Sequence[type] = (), numbers: bool = True
    ) -> None:
        self.name = name
        self.bases = bases
        self.numbers = numbers
        self.function = function
        self.signature = inspect.signature(function)
        parameters = self.signature.parameters.values()
        self.by_place = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.by_name = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        self.required = {
            p.name for p in parameters if p.default is p.empty and p.name in {*self.by_place, *self.by_name}
        }
        self._tests: dict[str, tuple[Test, str]] | None = None

    def bound(self, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """The arguments by their names; raises `ArgumentError` if they do not fit."""
        # Nearly every call is this simple, and `bind` takes 30 microseconds.
        named = dict(zip(self.by_place, args, strict=False)) | options
        if len(named) == len(args) + len(options) and options.keys() <= self.by_name and self.required <= named.keys():
            return named
        try:
            return self.signature.bind(*args, **options).arguments
        except TypeError as error:
            known = [name for name in self.signature.parameters if name != "self"]
            raise ArgumentError(f"{self.name}: {error}. It takes {known}.") from None

    def against(self, bound: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` if an argument fails its test."""
        if self._tests is None:
            self._tests = self._found()
        for name, (test, words) in self._tests.items():
            if name in bound and not test(bound[name]):
                value = bound[name]
                kind = SeedError if name == "seed" else ArgumentError
                raise kind(f"{self.name}: {name} must be {words}, got {type(value).__name__} {value!r:.60}.")

    def _found(self) -> dict[str, tuple[Test, str]]:
        # Annotations are text: that of an inherited field is read where the field was written.
        module = {}
        for base in reversed(self.bases):
            module |= vars(sys.modules[base.__module__])
        module |= getattr(inspect.unwrap(self.function), "__globals__", {})
        tests = {}
        for name, parameter in self.signature.parameters.items():
            several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            skipped = several or name == "self" or parameter.annotation in OWN
            test = None if skipped else _test(_resolved(parameter.annotation, module))
            if test is not None and (self.numbers or "number" not in test[1]):
                tests[name] = test
        return tests


# ---------------------------------------------------------------------- annotations


def _resolved(annotation: Any, module: Mapping[str, Any]) -> Any:
    """An annotation as an object; a class that only a type checker imports stays the text of its name."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(module))  # the library's own source
    except (NameError, AttributeError, TypeError):
        return _of_tree(ast.parse(annotation, mode="eval").body, module)


def _of_tree(tree: ast.expr, module: Mapping[str, Any]) -> Any:
    """The alternatives of an annotation one by one, since one of them cannot be resolved."""
    if isinstance(tree, ast.BinOp):
        return (_of_tree(tree.left, module), _of_tree(tree.right, module))
    text = ast.unparse(tree)
    try:
        return eval(text, dict(module))
    except (NameError, AttributeError, TypeError):
        return text if text in CLASSES else Any


def _test(hint: Any) -> tuple[Test, str] | None:
    """Whether a value fits an annotation, and how that is called; None if every value may."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is inspect.Parameter.empty or hint is Any or isinstance(hint, TypeVar):
        return None
    if hint is None:
        return _test(type(None))
    if isinstance(hint, tuple) or origin in (Union, types.UnionType):
        return _any_of([_test(part) for part in (hint if isinstance(hint, tuple) else parts)])
    if isinstance(hint, str):
        return (lambda value: any(kind.__name__ == hint for kind in type(value).__mro__)), _article(hint)
    if origin is Annotated:
        limits = next((limit for limit in parts[1:] if isinstance(limit, Range)), None)
        return _within(parts[0], limits) if limits is not None else _test(parts[0])
    if origin is Literal:
        return (lambda value: isinstance(value, str | int) and value in parts), f"one of {list(parts)}"
    if origin is not None:
        return _of_generic(origin, parts)
    return _of_class(hint)


def _within(hint: Any, limits: Range) -> tuple[Test, str]:
    """A number within limits, or None where the annotation takes it."""
    optional = type(None) in get_args(hint)
    return (lambda value: (optional and value is None) or value in limits), str(limits)


def _of_class(hint: Any) -> tuple[Test, str] | None:
    if hint is int:
        return _is_whole, WORDS[int]
    if hint is float:
        return _is_number, WORDS[float]
    if hint is bool:
        return (lambda value: isinstance(value, bool | np.bool_)), WORDS[bool]
    if not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return (callable, "a function") if hint is Callable else None
    if issubclass(hint, PurePath):
        return (lambda value: isinstance(value, os.PathLike)), "a path"
    words = "a torch.Generator" if hint.__name__ == "Generator" else _article(hint.__name__)
    return (lambda value: isinstance(value, hint)), WORDS.get(hint, words)


def _single(value: Any) -> Any:
    """The number that an array or a tensor without dimensions holds; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _is_whole(value: Any) -> bool:
    value = _single(value)
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    value = _single(value)
    real = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return bool(real and value == value)  # NaN is not itself


def _of_generic(origin: Any, parts: tuple[Any, ...]) -> tuple[Test, str] | None:
    if origin is Callable:
        return callable, "a function"
    if not isinstance(origin, type):
        return None
    if issubclass(origin, Mapping):
        return (lambda value: isinstance(value, Mapping)), "a mapping"
    if origin is Iterable:  # what has rows by their numbers can be gone through, too
        return None
    if not issubclass(origin, Iterable):
        return (lambda value: isinstance(value, origin)), _article(origin.__name__)
    if origin is tuple and len(set(parts)) > 1 and Ellipsis not in parts:
        return _of_entries([_test(part) for part in parts])
    item = parts[0] if parts and (parts[0] in (int, float, str) or get_origin(parts[0]) is tuple) else None
    inner = _test_of_item(item)
    words = {int: "whole numbers", float: "numbers", str: "texts", None: "items"}.get(item, "pairs")
    ordered = origin in (tuple, list, Sequence)

    def fits(value: Any) -> bool:
        if type(value).__name__ in ARRAYS and getattr(value, "ndim", 0):
            return item in (int, float, None) or inner is None or all(map(inner, value.tolist()))
        if isinstance(value, str | bytes) or not isinstance(value, Sequence if ordered else Collection | Iterable):
            return False
        return inner is None or not isinstance(value, Collection) or all(map(inner, value))

    return fits, f"a sequence of {words}" if ordered else f"a collection of {words}"


def _of_entries(tests: list[tuple[Test, str] | None]) -> tuple[Test, str]:
    """A tuple whose entries have a meaning each."""

    def fits(value: Any) -> bool:
        whole = isinstance(value, tuple | list) and len(value) == len(tests)
        return whole and all(test is None or test[0](one) for test, one in zip(tests, value, strict=True))

    return fits, f"a tuple of {len(tests)}"


def _test_of_item(item: Any) -> Test | None:
    """Whether an item of a sequence fits; a tuple among them needs as many entries as its annotation."""
    found = None if item is None else _test(item)
    if found is None or get_origin(item) is not tuple:
        return None if found is None else found[0]
    entries = len(get_args(item))
    return lambda value: found[0](value) and len(value) == entries


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _any_of(tests: Collection[tuple[Test, str] | None]) -> tuple[Test, str] | None:
    if any(test is None for test in tests):
        return None
    known = [test for test in tests if test is not None]
    if any(words == "a path" for _, words in known):
        known = [(_is_file_name, "text") if words == "text" else (test, words) for test, words in known]
    words = [words for _, words in known]
    return (lambda value: any(test(value) for test, _ in known)), f"{', '.join(words[:-1])} or {words[-1]}"


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
