"""The IDX format of MNIST and its relatives: a magic number, the shape, then bytes; often gzipped.

Source: Yann LeCun, Corinna Cortes, Christopher Burges: The MNIST database of handwritten digits,
section "File formats".
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from causalcf.core import checkpoint
from causalcf.core.errors import DataError

__all__ = ["idx_bytes", "read_idx", "write_atomically"]

SURE = 2**28
"""Bytes that a file may unpack to without more ado."""

DENSEST = 100
"""How many bytes one of a larger gzipped file may unpack to: pictures are packed some 5 times, bombs 1,000 times."""

_UNSIGNED_BYTE = 8
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Raises:
        DataError: The file is damaged, or not an IDX file of bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels.gz"
        ...     write_atomically({path: idx_bytes(np.array([5, 0, 4], np.uint8))})
        ...     read_idx(path)
        array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP_MAGIC
        size = path.stat().st_size
        with gzip.open(path) if packed else path.open("rb") as stream:
            shape = _shape(path, stream)
            if len(shape) > 4 or (prod(shape) > SURE and prod(shape) > size * (DENSEST if packed else 1)):
                raise DataError(f"{path} is damaged: {size} bytes cannot hold the shape {shape}. Fetch it again.")
            body = np.frombuffer(stream.read(prod(shape)), dtype=np.uint8)
            more = len(stream.read(1))
    except (EOFError, OSError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Fetch or make it again.") from None
    if body.size != prod(shape) or more:
        got = f"more than {body.size}" if more else body.size
        raise DataError(f"{path} is damaged: shape {shape} needs {prod(shape)} bytes, got {got}. Make it again.")
    return body.reshape(shape)


def _shape(path: Path, stream: IO[bytes] | gzip.GzipFile) -> tuple[int, ...]:
    """The shape that an IDX file says it has."""
    zero, kind, ndim = struct.unpack(">HBB", stream.read(4))
    if zero != 0 or kind != _UNSIGNED_BYTE:
        raise DataError(f"{path} is not an IDX file of unsigned bytes.")
    return struct.unpack(f">{ndim}I", stream.read(4 * ndim))


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """An array of bytes as a gzipped IDX file; equal arrays give equal files."""
    header = struct.pack(f">HBB{array.ndim}I", 0, _UNSIGNED_BYTE, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), compresslevel=6, mtime=0)


def write_atomically(files: Mapping[Path, bytes]) -> None:
    """Write each file under a temporary name, then rename it: a file is there whole or not at all."""
    for path, content in files.items():
        checkpoint.write_atomically(path, content)
