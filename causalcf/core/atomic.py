"""Files that are there whole or not at all: written under another name, then renamed.

A killed process leaves the old file or the new one, and at most a temporary file that the next write sweeps away.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path
from platform import node as host

from causalcf.core.errors import FileError

__all__ = ["write_atomically"]

STALE = 3600.0
"""Seconds after which a temporary file is nobody's, where its writer cannot be asked after: on another machine."""

_END = ".tmp"


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write bytes next to the target, then rename over it.

    A new file's mode follows the umask, an existing file keeps its own. Of a symbolic link the target is written and
    the link stays. Temporary files that killed writers of the same file have left are removed.

    Args:
        path: Where; its folder is made.
        content: All of it.

    Raises:
        FileError: It cannot be written there.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        _write(target, content)
    except OSError as error:
        raise FileError(
            f"{path} cannot be written: {error.strerror or error}. Name a file in a folder that you may write to."
        ) from error


def _write(target: Path, content: bytes) -> None:
    temporary = target.parent / f"{_begin(target)}{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{_END}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _begin(target: Path) -> str:
    """How the names of a file's temporary files begin; short, as names of files are limited."""
    return f".{target.name[:60]}."


def _machine() -> str:
    return "".join(letter for letter in host() if letter.isalnum())[:20] or "here"


def _sweep(target: Path) -> None:
    """Remove the temporary files of processes that have ended."""
    begin = _begin(target)
    with os.scandir(target.parent) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(begin) and entry.name != target.name]
    for path in left:
        middle = path.name.removeprefix(begin)
        with suppress(OSError):  # another process may sweep too
            if _is_ours(middle) and _is_left(path, middle):
                path.unlink()


def _is_ours(middle: str) -> bool:
    """Whether a name is that of a temporary file: of this version, or eight letters, of those before it."""
    old = len(middle) == 8 and all(letter.isalnum() or letter == "_" for letter in middle)
    return old or (middle.endswith(_END) and middle.count("-") == 2)


def _is_left(path: Path, middle: str) -> bool:
    """Whether its writer is gone: a process of this machine that has ended, or one that is silent for an hour."""
    if middle.startswith(f"{_machine()}-"):
        process = middle.split("-")[1]
        return process.isdecimal() and int(process) != os.getpid() and not _runs(int(process))
    return time.time() - path.stat().st_mtime > STALE


def _runs(process: int) -> bool:
    """Whether there is such a process."""
    if os.name != "posix":
        return False  # an open file cannot be removed there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
