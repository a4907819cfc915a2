"""Reference models made again by the command that made them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from causalcf.errors import CausalCFError, DataError

__all__ = ["refit", "refit_arguments"]

_RUN = "import sys; sys.argv[0] = 'causalcf'; from causalcf.cli import main; main()"


def refit_arguments(command: str, out: str | Path, *, root: str | Path | None = None, device: str = "") -> list[str]:
    """The arguments of a recorded fit or fine-tuning, writing elsewhere; goes on from a checkpoint that is there.

    Args:
        command: As `scm.provenance["command"]` records it.
        out: File for the new model.
        root: Folder of the data, in place of the recorded one.
        device: In place of the recorded one.

    Raises:
        DataError: The command is not a `causalcf fit` or `causalcf finetune`.

    Example:
        >>> refit_arguments("causalcf fit morphomnist --data digits --out old.safetensors", "new.safetensors")
        ['fit', 'morphomnist', '--data', 'digits', '--out', 'new.safetensors']
    """
    program, *arguments = shlex.split(command) or [""]
    if program != "causalcf" or arguments[:1] not in (["fit"], ["finetune"]):
        made = f"`{command}`" if command else "an unrecorded command"
        raise DataError(f"The model was not made by `causalcf fit` or `finetune` but by {made}.")
    kept: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--out":
            next(rest, None)
        elif not word.startswith("--out=") and word != "--resume":
            kept.append(word)
    kept += ["--out", str(out)]
    for option, value in (("--root", root), ("--device", device)):
        kept += [option, str(value)] if value else []
    return [*kept, "--resume"] if Path(out).with_suffix(".checkpoint").exists() else kept


def refit(command: str, out: str | Path, *, root: str | Path | None = None, device: str = "") -> Path:
    """Fit a model again in a process of its own, by the command recorded in its file.

    The same command and versions on the same kind of machine give the same model; other threads or
    another device round differently.

    Args:
        command: As `scm.provenance["command"]` records it.
        out: File for the new model; its folder is made.
        root: Folder of the data, in place of the recorded one.
        device: In place of the recorded one.

    Returns:
        The new file.

    Raises:
        DataError: The command is not a `causalcf fit` or `causalcf finetune`.
        CausalCFError: The fit failed; its own message is above.
    """
    arguments = refit_arguments(command, out, root=root, device=device)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([sys.executable, "-c", _RUN, *arguments], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise CausalCFError(f"Fitting again failed: {shlex.join(['causalcf', *arguments])}.")
    return Path(out)
