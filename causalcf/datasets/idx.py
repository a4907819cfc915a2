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

import numpy as np
from numpy.typing import NDArray

from causalcf.core import checkpoint
from causalcf.core.errors import DataError

__all__ = ["idx_bytes", "read_idx", "write_atomically"]

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
    content = Path(path).read_bytes()
    try:
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        zero, kind, ndim = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{ndim}I", content, offset=4)
    except (EOFError, OSError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Fetch or make it again.") from None
    if zero != 0 or kind != _UNSIGNED_BYTE:
        raise DataError(f"{path} is not an IDX file of unsigned bytes.")
    body = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * ndim)
    if body.size != prod(shape):
        raise DataError(f"{path} is damaged: shape {shape} needs {prod(shape)} bytes, got {body.size}. Make it again.")
    return body.reshape(shape)


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """An array of bytes as a gzipped IDX file; equal arrays give equal files."""
    header = struct.pack(f">HBB{array.ndim}I", 0, _UNSIGNED_BYTE, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), compresslevel=6, mtime=0)


def write_atomically(files: Mapping[Path, bytes]) -> None:
    """Write each file under a temporary name, then rename it: a file is there whole or not at all."""
    for path, content in files.items():
        checkpoint.write_atomically(path, content)
