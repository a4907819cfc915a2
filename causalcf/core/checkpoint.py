"""Files that hold models: one safetensors file with a JSON header, never pickle.

Written atomically: a killed process leaves the old file or the new one, never half of either, and a reader sees one of
the two. A digest of header and tensors tells a damaged or edited file; the header holds another one of the tensors'
names, types and shapes, which files from before it lack.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from causalcf.core.atomic import write_atomically
from causalcf.core.digests import digest, named
from causalcf.core.errors import CheckpointError
from causalcf.core.nn import make_room
from causalcf.core.untrusted import doubting, read_json

__all__ = ["FORMAT", "load_tensors", "read_file", "write_atomically", "write_file"]

FORMAT = 1
"""Version of the file format; a file of another version is refused."""

_KEY = "causalcf"

_LONGEST = 100_000_000
"""Bytes that a safetensors header may have, by its specification."""

SETTLED = 0.25
"""Seconds for which a file that is cut short must not have changed before it counts as damaged."""

PATIENCE = 10.0
"""Seconds to wait for a file that another program is writing."""


def write_file(path: str | Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a header and tensors to one file, atomically.

    Args:
        path: Where; its folder is created.
        header: JSON-able facts.
        tensors: name -> tensor, on any device.

    Raises:
        FileError: The file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {**header, "format": FORMAT, "layout": _layout(tensors)}
    document = json.dumps({"header": header, "digest": _digest(header, tensors)})
    write_atomically(path, save(tensors, metadata={_KEY: document}))


def read_file(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file written by `write_file`.

    A file that another program is copying into place is waited for.

    Raises:
        CheckpointError: There is no such file, or it is truncated, edited, of another program, or of
            another format version.
    """
    path = Path(path)
    started = time.monotonic()
    while True:
        before = _state(path)
        try:
            with doubting(path):
                return _read(path)
        except CheckpointError:
            changing = _state(path) != before or 0 <= time.time() - (before[0] if before else 0) < SETTLED
            if not changing or before is None or time.monotonic() - started > PATIENCE:
                raise
            time.sleep(SETTLED / 5)


def _state(path: Path) -> tuple[float, int] | None:
    """When a file was last written, and its size; None if there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime, state.st_size


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    try:
        with path.open("rb") as file:  # one look: it may be replaced meanwhile
            metadata = _metadata(file)
            file.seek(0)
            tensors = load(file.read())
        document = read_json(metadata.get(_KEY, "null"))
    except (SafetensorError, OSError, KeyError, ValueError, OverflowError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({reason}). Write or copy it again."
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("header"), dict) or "digest" not in document:
        raise CheckpointError(f"{path} is a safetensors file, but causalcf did not write it.")
    header = document["header"]
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {str(header.get('format'))[:20]}; this causalcf reads format {FORMAT}."
            " Load it with the version that wrote it."
        )
    if document["digest"] != _digest(header, tensors) or header.get("layout", _layout(tensors)) != _layout(tensors):
        raise CheckpointError(f"{path} was changed after it was written: its digest does not match.")
    header.pop("layout", None)
    return header, tensors


def _metadata(file: IO[bytes]) -> dict[str, Any]:
    """Read the metadata of a safetensors file, after a check that the file has the size that it claims.

    Raises:
        ValueError: It is cut short, or no such file.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _LONGEST):
        raise ValueError("its header is cut short")
    header = read_json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    metadata = header.pop("__metadata__", {})
    end = max([0, *(entry["data_offsets"][1] for entry in header.values())])
    if size != 8 + length + end:
        raise ValueError(f"{size} bytes, where its header tells of {8 + length + end}")
    return metadata


def load_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: str | Path, what: str) -> None:
    """Put tensors into a module; raise `CheckpointError` naming what does not fit.

    Half-precision tensors become the module's own type; tensors of any other type are refused, as are numbers that are
    not finite: no fitted module has them.
    """
    make_room(module, tensors)
    own = module.state_dict()
    lost, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if lost or extra or shapes:
        raise CheckpointError(
            f"{path} does not fit {what}: missing {lost}, unexpected {extra}, of another shape {shapes}."
            " It belongs to another architecture."
        )
    for name, tensor in tensors.items():
        floating = own[name].is_floating_point()
        if tensor.dtype != own[name].dtype and not (floating and tensor.dtype == torch.float16):
            raise CheckpointError(
                f"{path} does not fit {what}: '{name}' is {tensor.dtype}, where {own[name].dtype} is expected."
                " It was changed, or belongs to another architecture."
            )
        if floating and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: '{name}' of {what} holds NaN or infinite numbers. Fit it again.")
    module.load_state_dict(dict(tensors))


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    return digest(json.dumps(header, sort_keys=True), *named(dict(sorted(tensors.items()))))


def _layout(tensors: Mapping[str, Tensor]) -> str:
    """Digest of the names, types and shapes of tensors."""
    facts = [[name, str(tensor.dtype), list(tensor.shape)] for name, tensor in sorted(tensors.items())]
    return digest(json.dumps(facts))
