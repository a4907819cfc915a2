"""Reference models made again by the commands that made them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalcf.core.checkpoint import read_file
from causalcf.core.errors import CausalCFError, DataError
from causalcf.core.provenance import lineage

__all__ = ["refit", "refit_arguments"]

_RUN = "import sys; sys.argv[0] = 'causalcf'; from causalcf.cli import main; main()"

_RESUME = ("--resume", "--no-resume")
_FLAGS = ("--quiet", *_RESUME)
"""Options of `fit` and `finetune` that take no value."""

_VALUED = frozenset(
    f"--{name}"
    for name in (
        *("data", "root", "out", "mechanism", "predictors", "node", "do", "slack", "residual", "epochs", "rows"),
        *("validation", "seed", "device", "precision", "threads", "half"),
    )
)
"""Options of `fit` and `finetune` that take one. A file cannot choose anything else that runs, nor where it writes."""

_MOST = 64
"""Processes, and threads each, that a recorded run may ask for on any machine; on one with more cores, as many."""


def refit_arguments(
    command: str,
    out: str | Path,
    *,
    model: str | Path | None = None,
    root: str | Path | None = None,
    device: str = "",
) -> list[str]:
    """The arguments of a recorded fit or fine-tuning, writing elsewhere; goes on from a checkpoint that is there.

    Args:
        command: As `scm.provenance["command"]` records it.
        out: File for the new model.
        model: The file to fine-tune, in place of the recorded model.
        root: Folder of the data, in place of the recorded one.
        device: In place of the recorded one.

    Raises:
        DataError: The command is not a `causalcf fit` or `causalcf finetune`.

    Example:
        >>> refit_arguments("causalcf fit morphomnist --data digits --out old.safetensors", "new.safetensors")
        ['fit', 'morphomnist', '--data', 'digits', '--out', 'new.safetensors']
    """
    try:
        program, *arguments = shlex.split(command) or [""]
    except (ValueError, TypeError, AttributeError):  # an open quotation, or no text
        program, arguments = "", []
    if program != "causalcf" or arguments[:1] not in (["fit"], ["finetune"]):
        made = f"`{command}`" if command else "an unrecorded command"
        raise DataError(f"The model was not made by `causalcf fit` or `finetune` but by {made}.")
    kept = arguments[:1]
    rest = iter(arguments[1:])
    for word in rest:
        if not word.startswith("-"):  # the graph, or the model that was fine-tuned
            kept.append(word if model is None else str(model))
        elif word in _FLAGS:
            kept += [word] if word not in _RESUME else []
        else:
            option, equals, value = word.partition("=")
            value = value if equals else next(rest, "")
            _check_option(option, value)
            kept += [] if option == "--out" else [word] if equals else [word, value]
    kept += ["--out", str(out)]
    for option, value in (("--root", root), ("--device", device)):
        kept += [option, str(value)] if value else []
    return [*kept, "--resume"] if Path(out).with_suffix(".checkpoint").exists() else kept


def _check_option(option: str, value: str) -> None:
    """Raise `DataError` for an option that no recorded run can have, or one that asks for too much."""
    if option not in _VALUED:
        raise DataError(f"The file's command has the option {option[:40]!r}, which `fit` and `finetune` do not have.")
    if option == "--threads":
        _check_number("threads", int(value) if value.isdecimal() else value)


def _check_number(of: str, number: Any) -> int:
    """A number of processes or threads that a file asks for."""
    most = max(_MOST, os.cpu_count() or 1)
    if type(number) is not int or not 1 <= number <= most:
        raise DataError(f"The file says that the model was made with {str(number)[:40]} {of}: expected 1 to {most}.")
    return number


def refit(record: Mapping[str, Any], out: str | Path, *, root: str | Path | None = None, device: str = "") -> Path:
    """Make a model again in processes of their own, by the commands recorded in its file.

    A model that was fitted and then fine-tuned takes both steps, the second one on what the first one makes. Between
    them it lies beside `out` as `NAME.step1.safetensors`, from which a killed run goes on. The same commands and
    versions on the same kind of machine give the same model; other threads or another device round differently.

    Args:
        record: `scm.provenance`, with that of the model it was tuned from under "made_from".
        out: File for the new model; its folder is made.
        root: Folder of the data, in place of the recorded one.
        device: In place of the recorded one.

    Returns:
        The new file.

    Raises:
        DataError: A step was not taken by `causalcf fit` or `causalcf finetune`, or the first one is not recorded.
        CausalCFError: A step failed; its own message is above.
    """
    out = Path(out)
    steps = (list(lineage(record)) or [{}])[::-1]
    files = [*(out.with_name(f"{out.stem}.step{k}.safetensors") for k in range(1, len(steps))), out]
    # All commands are read before the first one runs.
    processes = [_check_number("processes", step.get("processes", 1)) for step in steps]
    commands = [
        refit_arguments(step.get("command", ""), file, model=before, root=root, device=device)
        for step, file, before in zip(steps, files, [None, *files[:-1]], strict=True)
    ]
    if commands[0][0] == "finetune":
        raise DataError(
            f"The model was made by `{steps[0]['command']}`, and how the model that it tuned was made is not recorded."
            " Run that command yourself."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    for number, arguments, file in zip(processes, commands, files, strict=True):
        if file == out or not _made_by(arguments, file):
            _run(arguments, number)
    for file in files[:-1]:
        file.unlink()
        file.with_suffix(".png").unlink(missing_ok=True)
    return out


def _made_by(arguments: list[str], file: Path) -> bool:
    """Whether a file is there that this command has made."""
    if not file.exists():
        return False
    command = read_file(file)[0].get("provenance", {}).get("command", "")
    return command.removesuffix(" --resume") == shlex.join(["causalcf", *arguments])


def _run(arguments: list[str], processes: int) -> None:
    torchrun = [*("-m", "torch.distributed.run", "--standalone", "--nproc-per-node"), str(processes), "--no-python"]
    together = [sys.executable, *torchrun] if processes > 1 else []
    command = [*together, sys.executable, "-c", _RUN, *arguments]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise CausalCFError(f"Fitting again failed: {shlex.join(['causalcf', *arguments])}.")
