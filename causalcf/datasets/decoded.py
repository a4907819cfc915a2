"""Pictures in files, as a column: decoded when rows are asked for, and once for all when all of them are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causalcf.core.columns import Store
from causalcf.core.digests import digest
from causalcf.core.errors import DataError, FileError, MissingFileError
from causalcf.datasets.cache import BLOCK, ROOT_VARIABLE, Entry, Mapped, cache_folder

__all__ = ["Decoded", "Decoder"]

VERSION = 1
"""Raised when the same file is decoded into other bytes than before."""

MANY = 5000
"""Pictures from which on processes are worth their start; fewer are decoded in threads."""

Decoder = Callable[[Path, str], NDArray[np.uint8]]
"""A file, and what to call it in errors -> its bytes, (C, H, W); a `functools.partial` of a function with settings."""

Wrong = tuple[int, DataError | MissingFileError]


class Decoded(Store):
    """Pictures in files. Rows are decoded when they are asked for, until `prepare` has put them into the cache.

    The cache knows them by their names, sizes and times, and by how they are decoded.

    Args:
        paths: The files, one a row.
        decode: How a file becomes bytes.
        shape: (C, H, W) of each.
        called: What to call the picture of a row in errors.
        what: What these pictures are, for the list of the cache.

    Raises:
        MissingFileError: A file is not there.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        decode: partial[NDArray[np.uint8]],
        shape: tuple[int, ...],
        called: Callable[[int], str],
        what: str,
    ) -> None:
        super().__init__((len(paths), *shape))
        self.paths, self.decode, self.called, self.what = paths, decode, called, what
        how = [VERSION, decode.func.__qualname__, dict(sorted(decode.keywords.items()))]
        files = (_told_apart(path, called, row) for row, path in enumerate(paths))
        self.key = digest(json.dumps(how, default=str), *files, digits=24)

    @cached_property
    def entry(self) -> Entry:
        """Where the cache keeps them."""
        return Entry(cache_folder() / self.key)

    @cached_property
    def done(self) -> Tensor:
        """Which blocks are in the cache, bool."""
        done = torch.zeros(-(-len(self.paths) // BLOCK), dtype=torch.bool)
        done[list(self.entry.done())] = True
        return done

    @cached_property
    def mapped(self) -> Mapped:
        """The bytes in the cache."""
        return self.entry.open()

    def take(self, rows: Tensor) -> Tensor:
        kept = self.done[rows // BLOCK]
        if bool(kept.all()):
            return torch.from_numpy(self.mapped.take(rows.numpy()))
        pictures = torch.empty(len(rows), *self.shape[1:], dtype=torch.uint8)
        pictures[kept] = torch.from_numpy(self.mapped.take(rows[kept].numpy())) if bool(kept.any()) else pictures[kept]
        others = rows[~kept].tolist()
        found, wrong = _decoded([(row, self.paths[row], self.called(row)) for row in others], self.decode)
        _refuse(wrong, len(others))
        pictures[~kept] = torch.from_numpy(found)
        return pictures

    def prepare(self, rows: Tensor | None = None, *, progress: bool = False) -> None:
        """Put the pictures of rows into the cache, in whole blocks, in several processes if there are many.

        Args:
            rows: Numbers of rows; all by default.
            progress: Show a bar on a terminal.

        Raises:
            DataError: Pictures are damaged: the first is named. Nothing is kept then.
            FileError: The cache has no room, or cannot be written.
        """
        from filelock import FileLock

        wanted = range(len(self.done)) if rows is None else (rows // BLOCK).unique().tolist()
        if bool(self.done[list(wanted)].all()):
            return
        try:
            self.entry.folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.entry.folder.with_suffix(".lock")):  # whoever comes second finds the work done
                self.entry.create({"what": self.what, "decoded": dict(self.decode.keywords)}, tuple(self.shape))
                self._fill(sorted(set(wanted) - self.entry.done()), progress)
        except OSError as error:
            if isinstance(error, MissingFileError):
                raise
            self.entry.remove()
            raise FileError(
                f"The decoded pictures cannot be kept in {self.entry.folder.parent}: {error.strerror or error}. Make"
                f" room (causalcf data cache --clear), or name another folder in {ROOT_VARIABLE}."
            ) from error
        for outdated in ("done", "mapped"):
            self.__dict__.pop(outdated, None)

    def _fill(self, blocks: Sequence[int], progress: bool) -> None:
        """Decode blocks into the entry; one that is finished stays, whatever happens to the process."""
        from rich.console import Console
        from rich.progress import Progress

        if not blocks:
            return
        console, wrong = Console(stderr=True), []
        with Progress(console=console, disable=not (progress and console.is_terminal)) as bar:
            task = bar.add_task("decoding pictures", total=len(blocks) * BLOCK)
            for block, failed in self._worked_off(blocks):
                wrong += failed
                if not failed:
                    self.entry.mark(block)
                bar.advance(task, BLOCK)
        if wrong:
            self.entry.remove()
            _refuse(sorted(wrong, key=lambda pair: pair[0]), len(self.paths))

    def _worked_off(self, blocks: Sequence[int]) -> Iterator[tuple[int, list[Wrong]]]:
        """Each block once it is written, in any order, with what is wrong in it."""
        workers = min(os.cpu_count() or 1, len(blocks))
        if workers < 2 or len(blocks) * BLOCK < MANY:
            yield from (_write(self.entry, block, self._jobs(block), self.decode) for block in blocks)
            return
        from joblib import Parallel, delayed  # its processes do not run the user's script again, as spawned ones do

        pool = Parallel(n_jobs=workers, return_as="generator_unordered", backend="loky")
        yield from pool(delayed(_write)(self.entry, block, self._jobs(block), self.decode) for block in blocks)

    def _jobs(self, block: int) -> list[tuple[int, Path, str]]:
        rows = range(block * BLOCK, min((block + 1) * BLOCK, len(self.paths)))
        return [(row, self.paths[row], self.called(row)) for row in rows]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "mapped"}


def _told_apart(path: Path, called: Callable[[int], str], row: int) -> str:
    """What tells a file from another: its name, size and time."""
    try:
        found = path.stat()
    except OSError:
        raise MissingFileError(f"{called(row)}: there is no such file.") from None
    return f"\n{os.path.abspath(path)} {found.st_size} {found.st_mtime_ns}"


def _write(entry: Entry, block: int, jobs: Sequence[tuple[int, Path, str]], decode: Decoder) -> tuple[int, list[Wrong]]:
    """Decode a block and write it, if nothing is wrong in it."""
    pixels, wrong = _decoded(jobs, decode)
    if not wrong:
        entry.write(block, pixels)
    return block, wrong


def _decoded(jobs: Sequence[tuple[int, Path, str]], decode: Decoder) -> tuple[NDArray[np.uint8], list[Wrong]]:
    """The bytes of pictures, in threads: Pillow decodes without holding the interpreter's lock."""

    def load(job: tuple[int, Path, str]) -> NDArray[np.uint8] | DataError | MissingFileError:
        _, path, name = job
        try:
            return decode(path, name)
        except (DataError, MissingFileError) as error:
            return error

    with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
        found = list(pool.map(load, jobs))
    wrong = [(job[0], each) for job, each in zip(jobs, found, strict=True) if not isinstance(each, np.ndarray)]
    pixels = [each for each in found if isinstance(each, np.ndarray)]
    return np.stack(pixels) if pixels else np.empty(0, np.uint8), wrong


def _refuse(wrong: Sequence[Wrong], rows: int) -> None:
    """Raise the first error, and say how many there are."""
    if wrong:
        error = wrong[0][1]
        more = f" ({len(wrong)} of {rows} pictures cannot be read.)" if len(wrong) > 1 else ""
        raise type(error)(f"{error}{more}")
