"""Files of explainers: the learned state as JSON and tensors, and digests of the model and the classifier it is for.

No explainer says how it is saved: `fit` leaves tensors, networks and plain values behind, and networks are
written as the tree that they are. A file names the networks' classes, of a few modules only; all else in it is data.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from torch import Tensor, nn

from causalcf import classifiers, variables
from causalcf.core import nn as layers
from causalcf.core.checkpoint import read_file, write_file
from causalcf.core.digests import weights_digest
from causalcf.core.errors import CheckpointError, ExplanationError
from causalcf.core.untrusted import doubting, require_sizes
from causalcf.explainers import learned, networks
from causalcf.explainers.protocol import Explaining
from causalcf.mechanisms import Mechanism
from causalcf.scm.model import StructuralCausalModel

__all__ = [
    "HOMES",
    "digest_of_classifier",
    "digests",
    "known_classes",
    "load",
    "packed",
    "save",
    "unpacked",
]

HOMES = (nn, layers, classifiers, networks, learned, variables)
"""Modules whose networks and records a file may hold, besides those of the explainer's own module."""

OUTSIDE = ("scm", "classifier", "classifier_digest", "explained", "fitted", "fitted_on")
"""Attributes of an explainer that no file holds, as it holds none whose name begins with an underscore."""

OF_EVERY_MODULE = vars(nn.Module()).keys() - {"training", "_parameters", "_buffers", "_modules"}
"""Attributes that do not describe a network."""


E = TypeVar("E", bound=Explaining)


# ---------------------------------------------------------------------- explainers


def save(explainer: Explaining, path: str | Path) -> None:
    """Write an explainer's file; see `Explainer.save`."""
    if not explainer.trains:
        raise ExplanationError(
            f"{type(explainer).__name__} learns nothing that could be saved: make it again, with the same settings."
        )
    tensors: dict[str, Tensor] = {}
    known = known_classes(sys.modules[type(explainer).__module__])
    state = {name: value for name, value in vars(explainer).items() if name not in OUTSIDE and name[0] != "_"}
    code = [name for name in _settings(type(explainer)) if callable(state.get(name))]
    header = {
        "kind": "explainer",
        "type": type(explainer).__name__,
        "of": explainer.fitted_on,
        "code": code,
        "state": {name: packed(value, tensors, name, known) for name, value in state.items() if name not in code},
    }
    write_file(path, header, tensors)


def load(kind: type[E], path: str | Path, scm: StructuralCausalModel, classifier: Any, code: Mapping[str, Any]) -> E:
    """Read the file of `save`: an explainer of this kind, or of one that derives from it."""
    header, tensors = read_file(path)
    if header.get("kind") != "explainer":
        raise CheckpointError(f"{path} holds a {str(header.get('kind'))[:40]}, not an explainer.")
    with doubting(path):
        made = {method.__name__: method for method in _with_subclasses(kind)}.get(header["type"])
        if made is None:
            raise CheckpointError(f"{path} holds a {header['type']}, not a {kind.__name__}. Explainer.load reads any.")
        needed = list(header["code"])
        if code.keys() != set(needed):
            raise CheckpointError(
                f"{path} needs the settings {needed}, which it cannot hold, and no others; got {sorted(code)}."
            )
        tensors = {n: t.to(scm.device, scm.dtype if t.is_floating_point() else None) for n, t in tensors.items()}
        known = known_classes(sys.modules[made.__module__])
        state = {name: unpacked(value, tensors, known) for name, value in header["state"].items()}
        settings = {name: state.pop(name) for name in _settings(made) if name in state}
        make: Callable[..., E] = made
        explainer = make(scm, classifier=classifier, **settings, **code)
        explainer.fitted_on = digests(explainer)
        _require_same(explainer.fitted_on, header["of"], path)
        require_names(state, made, OUTSIDE)
        vars(explainer).update({name: value for name, value in state.items() if name[0] != "_"})
        explainer.restore()
        explainer.fitted = True
        return explainer


def _settings(kind: type[Any]) -> list[str]:
    return [field.name for field in fields(kind)]


def _with_subclasses(kind: type[E]) -> Iterator[type[E]]:
    """The class itself and all that derive from it."""
    yield kind
    for other in kind.__subclasses__():
        yield from _with_subclasses(other)


def _require_same(given: Mapping[str, str], fitted_on: Mapping[str, str], path: str | Path) -> None:
    for what, digest in given.items():
        if digest != fitted_on[what]:
            raise CheckpointError(
                f"{path} was fitted on another {what}, {fitted_on[what] or 'none'}; this is {digest or 'none'}."
                f" Give the {what} that it was fitted on, or fit it anew."
            )


# ---------------------------------------------------------------------- values


def packed(value: Any, tensors: dict[str, Tensor], where: str, known: Mapping[str, type]) -> Any:
    """A value as JSON, its tensors put aside under a name each.

    Args:
        value: Tensors, known networks and records, containers of such, plain values.
        tensors: Where tensors are put, by the path that leads to them.
        where: The path to the value.
        known: Class name -> class, as `known_classes` gives them.

    Raises:
        CheckpointError: It is something else.

    Example:
        >>> tensors = {}
        >>> packed({"scale": Tensor([1, 1]), "size": (3, 4)}, tensors, "it", {})
        {'dict': [['scale', {'tensor': 'it.scale'}], ['size', {'tuple': [3, 4]}]]}
        >>> list(tensors)
        ['it.scale']
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        tensors[where] = value
        return {"parameter" if isinstance(value, nn.Parameter) else "tensor": where}
    if type(value) is dict:
        return {"dict": [[key, packed(item, tensors, f"{where}.{key}", known)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [packed(item, tensors, f"{where}.{i}", known) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    name = type(value).__name__
    if known.get(name) is type(value):
        kept = vars(value).items()
        if isinstance(value, nn.Module):
            kept = [(key, item) for key, item in kept if key not in OF_EVERY_MODULE]
        return {"class": name, "state": packed(dict(kept), tensors, where, known)}
    raise CheckpointError(
        f"{where} is a {type(value).__module__}.{name}, which a file cannot hold:"
        " what `fit` leaves in public attributes has to be tensors,"
        " layers of torch.nn, networks of causalcf, or plain values."
    )


def unpacked(value: Any, tensors: Mapping[str, Tensor], known: Mapping[str, type]) -> Any:
    """The value that `packed` wrote as JSON and tensors.

    Args:
        value: The JSON.
        tensors: Name -> tensor.
        known: Class name -> class; a file cannot choose what is imported.

    Raises:
        CheckpointError: It names a class that is not known here.
    """
    if isinstance(value, list):
        return [unpacked(item, tensors, known) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "parameter" in value:
        return nn.Parameter(_weights(value["parameter"], tensors), requires_grad=False)
    if "tuple" in value:
        return tuple(unpacked(value["tuple"], tensors, known))
    if "dict" in value:
        return {key: unpacked(item, tensors, known) for key, item in value["dict"]}
    made, state = _class(value["class"], known), unpacked(value["state"], tensors, known)
    if not issubclass(made, nn.Module):
        require_sizes(state, tensors, f"a {made.__name__}")
        return made(**state)
    require_names(state, made, OF_EVERY_MODULE)
    # As copies and unpickled networks are made: torch fills in what older versions did not have.
    module = made.__new__(made)
    nn.Module.__init__(module)
    module.__setstate__({**vars(module), **state})
    _require_shapes(module)
    return module


def require_names(state: Mapping[str, Any], made: type, reserved: Collection[str]) -> None:
    """Raise `CheckpointError` if a file would set something other than data: a method, or fields of torch and frames.

    Args:
        state: Attribute -> value.
        made: The class whose attributes they are.
        reserved: Names that no file may set.
    """
    for name in state:
        is_method = callable(getattr(made, name, None)) or isinstance(getattr(made, name, None), property)
        if name in reserved or name.startswith("__") or is_method:
            raise CheckpointError(f"The file sets '{name}' of a {made.__name__}, which is not data. Take another copy.")


def _weights(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    weights = tensors[name]
    if not weights.is_floating_point() or not weights.isfinite().all():
        raise CheckpointError(f"The weights '{name}' are {weights.dtype} or not finite: fit the explainer again.")
    return weights


def _require_shapes(module: nn.Module) -> None:
    """Raise `CheckpointError` unless the weights of one of torch's layers have the shapes that its settings say."""
    state = module.state_dict()
    own = type(module).__module__.startswith("torch.nn.modules")
    if not state or not own or any(module.children()) or isinstance(module, nn.ParameterList | nn.ParameterDict):
        return
    settings = {
        name: getattr(module, name)
        for name in signature(type(module)).parameters
        if hasattr(module, name) and name not in ("device", "dtype")
    }
    if "bias" in settings:
        settings["bias"] = settings["bias"] is not None
    alike = type(module)(**settings, device="meta").state_dict()
    if {name: t.shape for name, t in alike.items()} != {name: t.shape for name, t in state.items()}:
        shapes = {name: tuple(t.shape) for name, t in state.items()}
        raise CheckpointError(f"The file's {module} has weights of the shapes {shapes}, which do not fit it.")


def known_classes(*own: ModuleType) -> dict[str, type]:
    """The networks and records that a file may hold, by name.

    Args:
        own: Modules besides `HOMES`: that of the explainer.

    Example:
        >>> known_classes()["Linear"]
        <class 'torch.nn.modules.linear.Linear'>
    """
    homes = (*reversed(own), *reversed(HOMES))
    classes = [(name, value) for home in homes for name, value in vars(home).items() if isinstance(value, type)]
    return {name: value for name, value in classes if issubclass(value, nn.Module) or is_dataclass(value)}


def _class(name: str, known: Mapping[str, type]) -> type:
    """The class of a name; older files write its module before it."""
    last = name.rpartition(".")[2]
    if last not in known:
        raise CheckpointError(
            f"The file holds a {name}, which this causalcf does not know. Load it with its own version."
        )
    return known[last]


# ---------------------------------------------------------------------- digests


def digests(explainer: Explaining) -> dict[str, str]:
    """Digests of the "model" and the "classifier" that the learned state is for."""
    return {"model": _digest_of_mechanism(explainer.mechanism), "classifier": explainer.classifier_digest}


def _digest_of_mechanism(mechanism: Mechanism) -> str:
    """Digest of a mechanism: its variable, its parents, and its weights."""
    facts = [type(mechanism).__name__, mechanism.variable.to_json()]
    facts += [[name, variable.to_json()] for name, variable in mechanism.parents.items()]
    return weights_digest(mechanism.saved_state(), facts)


def digest_of_classifier(f: nn.Module | Sequence[Any] | Callable[..., Any] | None) -> str:
    """Digest of a classifier's layers and weights; the name of a function, as no more of it can be told.

    Example:
        >>> one, other = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> digest_of_classifier(one) == digest_of_classifier(one), digest_of_classifier(other)[:6]
        (True, 'Linear')
        >>> digest_of_classifier([nn.functional.relu, nn.functional.silu])
        'relu, silu'
    """
    if isinstance(f, nn.Module):
        layers = [type(layer).__name__ for layer in f.modules()]
        return f"{type(f).__name__}#{weights_digest(f.state_dict(), layers)}"
    if isinstance(f, Sequence):
        return ", ".join(digest_of_classifier(member) for member in f)
    return "" if f is None else getattr(f, "__name__", type(f).__name__)
