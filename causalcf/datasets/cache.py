"""The cache of decoded pictures: a folder for each set, with the bytes of the blocks that are done."""

from __future__ import annotations

import json
import mmap
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalcf.core.errors import FileError
from causalcf.core.files import write_json

__all__ = ["BLOCK", "ROOT_VARIABLE", "Entry", "cache_folder", "clear", "entries"]

ROOT_VARIABLE = "CAUSALCF_CACHE"
"""Environment variable that names the folder of the cache; by default the platform's own."""

BLOCK = 256
"""Pictures that are decoded, written and marked as done together."""


def cache_folder() -> Path:
    """Where decoded pictures are kept: `$CAUSALCF_CACHE`, or causalcf's folder in the platform's cache folder."""
    import platformdirs

    chosen = os.environ.get(ROOT_VARIABLE)
    root = Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("causalcf", appauthor=False))
    return root / "pictures"


@dataclass(frozen=True)
class Entry:
    """The decoded pictures of one set: `pixels`, bytes row after row, and `done`, the numbers of its finished blocks.

    Args:
        folder: Where they lie, named by what made them.
    """

    folder: Path

    def create(self, about: dict[str, Any], shape: tuple[int, ...]) -> None:
        """Make room for pictures of a shape (N, C, H, W), unless it is there.

        Raises:
            OSError: There is no room, or the folder cannot be written.
        """
        size = int(np.prod(shape, dtype=np.int64))
        if not self.about.get("shape"):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            free = shutil.disk_usage(self.folder).free
            if size > free:
                raise FileError(f"{size / 2**20:,.0f} MB are needed, and {free / 2**20:,.0f} are free")
            with (self.folder / "pixels").open("wb") as file:
                file.truncate(size)
            (self.folder / "done").touch()
            write_json(self.folder / "about.json", {**about, "shape": list(shape)})  # the last: with it, all are there

    @property
    def about(self) -> dict[str, Any]:
        """What made it; nothing where it is not whole, or not there."""
        try:
            about = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
            size = int(np.prod(about["shape"], dtype=np.int64))
            return about if (self.folder / "pixels").stat().st_size == size else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def done(self) -> set[int]:
        """Numbers of the finished blocks."""
        about = self.about
        if not about:
            return set()
        try:
            text = (self.folder / "done").read_text(encoding="ascii")
            marks = [int(line[:-1]) for line in text.split() if line.endswith(";")]  # what has no end was cut short
            return {block for block in marks if block * BLOCK < about["shape"][0]}
        except (OSError, ValueError):
            return set()

    def write(self, block: int, pixels: NDArray[np.uint8]) -> None:
        """Write a block's pictures to the disk; `mark` says that they are there."""
        with (self.folder / "pixels").open("r+b") as file:
            file.seek(block * BLOCK * int(np.prod(pixels.shape[1:])))
            file.write(pixels.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def mark(self, block: int) -> None:
        """Mark a block as finished."""
        with (self.folder / "done").open("a", encoding="ascii") as file:
            file.write(f"\n{block};\n")

    def kept(self) -> int:
        """How many pictures are decoded."""
        rows = self.about.get("shape", (0,))[0]
        return sum(min(BLOCK, rows - block * BLOCK) for block in self.done())

    def size(self) -> int:
        """Bytes that it takes up on the disk."""
        found = [path.stat() for path in self.folder.iterdir()]
        return sum(512 * each.st_blocks if hasattr(each, "st_blocks") else each.st_size for each in found)

    def used(self) -> float:
        """When it was used last, in seconds since 1970."""
        return max(path.stat().st_mtime for path in (self.folder, *self.folder.iterdir()))

    def open(self) -> Mapped:
        """The bytes, mapped into memory."""
        os.utime(self.folder / "done")  # when it was used last
        return Mapped(self.folder / "pixels", tuple(self.about["shape"]))

    def remove(self) -> None:
        """Take it away; what another process has mapped stays with it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.with_suffix(".lock").unlink()


class Mapped:
    """A file of bytes that is mapped into memory, and takes up none of it between reads.

    Args:
        path: The file.
        shape: (N, ...).
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.array = np.frombuffer(self.map, dtype=np.uint8).reshape(shape)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of some rows."""
        found = self.array.take(rows, axis=0)
        if hasattr(mmap, "MADV_DONTNEED"):  # the pages stay in the system's own cache, and out of this process
            self.map.madvise(mmap.MADV_DONTNEED)
        return found


def entries() -> Iterator[Entry]:
    """All sets of pictures in the cache."""
    root = cache_folder()
    return (Entry(path) for path in sorted(root.iterdir()) if path.is_dir()) if root.is_dir() else iter(())


def clear() -> int:
    """Empty the cache: how many sets of pictures were removed."""
    there = list(entries())
    for entry in there:
        entry.remove()
    return len(there)
