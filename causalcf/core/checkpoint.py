"""Files that hold models: one safetensors file with a JSON header, never pickle.

Written atomically: a killed process leaves the old file or the new one, never half of either.
The header holds a digest of header and tensors, so a damaged or edited file is noticed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from causalcf.core.digests import digest, named
from causalcf.core.errors import CheckpointError

__all__ = ["FORMAT", "load_tensors", "read_file", "write_atomically", "write_file"]

FORMAT = 1
"""Version of the file format; a file of another version is refused."""

_KEY = "causalcf"


def write_file(path: str | Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a header and tensors to one file, atomically.

    Args:
        path: Where; its folder is created.
        header: JSON-able facts.
        tensors: name -> tensor, on any device.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {**header, "format": FORMAT}
    document = json.dumps({"header": header, "digest": _digest(header, tensors)})
    write_atomically(path, save(tensors, metadata={_KEY: document}))


def read_file(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file written by `write_file`.

    Raises:
        CheckpointError: There is no such file, or it is truncated, edited, of another program, or of
            another format version.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {}).get(_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}). Write or copy it again."
        ) from None
    if not isinstance(document, dict) or not {"header", "digest"} <= document.keys():
        raise CheckpointError(f"{path} is a safetensors file, but causalcf did not write it.")
    header = document["header"]
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {header.get('format')}; this causalcf reads format {FORMAT}."
            " Load it with the version that wrote it."
        )
    if document["digest"] != _digest(header, tensors):
        raise CheckpointError(f"{path} was changed after it was written: its digest does not match.")
    return header, tensors


def load_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: str | Path, what: str) -> None:
    """Put tensors into a module; raise `CheckpointError` naming what does not fit.

    Half-precision tensors become the module's own type.
    """
    own = module.state_dict()
    lost, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if lost or extra or shapes:
        raise CheckpointError(
            f"{path} does not fit {what}: missing {lost}, unexpected {extra}, of another shape {shapes}."
            " It belongs to another architecture."
        )
    module.load_state_dict(dict(tensors))


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write bytes next to the target, then rename over it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    return digest(json.dumps(header, sort_keys=True), *named(dict(sorted(tensors.items()))))
