"""Malformed command lines, generated from the commands' own options: one option of a good line gets a wrong value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from causalcf.cli.app import app

WHOLE = ("three", "2.5", "\u00b2", "", "nan", "1e2", "0x10", "-")
NUMBERS = ("much", "", "nan", "1,5", "inf%", "--")
FILES = ("/no/such/file.csv", "/no/such/file.safetensors", "", "\u2603", "no such thing")
WRONG: dict[str, tuple[str, ...]] = {
    "seed": WHOLE, "rows": (*WHOLE[:4], "-3", "5:", ":", "9:x", "1:2:3"), "n": WHOLE, "draws": (*WHOLE, "0", "-1"),
    "epochs": (*WHOLE, "-1", "nobody=3", "x="), "threads": (*WHOLE, "0", "-2"), "workers": (*WHOLE, "0"),
    "num_samples": (*WHOLE, "0", "-1", "1e11"), "size": (*WHOLE, "0"), "block": (*WHOLE, "0"), "port": WHOLE,
    "train_rows": (*WHOLE, "0"), "validation": (*NUMBERS, "-1", "1.5"), "slack": (*NUMBERS, "-1"), "above": NUMBERS,
    "device": ("gpu", "cuda:99", "", "cpu:x", "3"), "precision": ("", "16", "32", "double"),
    "residual": ("", "much", "x=", "nobody=1", "=1", "1,2"), "split": ("", "no split", "TEST"),
    "abduction": ("", "MEAN", "sometimes"), "layout": ("", "files"), "mode": ("", "slow"), "part": ("", "jury"),
    "do": ("", ",", "nobody=1", "x", "x=", "=1", "x=a", "x=nan", "x+=", "x==1", "c=purple", "b=maybe", "c+=1",
           "x=1,x=2"),
    "encoding": ("", "klingon", "utf-32"), "key": ("", "nobody"), "half": ("", "nobody"),
    "edge": ("", "a", "a:", ":", "a:a"),
    "mechanism": ("", "x", "x=", "x=Magic", "x=Flow(", "x=Flow(bins=0)", "nobody=Flow", "x=Flow(tubes=1)", "x=VAE",
                  "x=__import__('os')", "x=Deterministic(fn=1)", "x=Flow(bins='a')"),
    "metric": ("", "beauty"), "predictors": ("", "nobody"), "graph": FILES, "data": FILES, "model": FILES, "vgg": FILES,
    "root": ("/no/such/folder",), "classifier": FILES, "target": ("", "purple"),
    "method": ("", "Magic", "REVISE(", "REVISE(a=1)"),
    "node": ("nobody",), "treated": ("", "a", "nan"), "control": ("", "a"), "cause": ("", "nobody"),
    "outcome": ("", "nobody"), "mediator": ("", "nobody", ","), "name": ("", "no such graph", "/"), "mnist": FILES,
    "again": (), "retrain": ("nobody",), "latents": FILES, "values": FILES, "splits": ("", "no split"), "host": (),
}  # fmt: skip
"""Parameter -> values that are none."""


def good_lines(table: Path, model: Path, graph: Path, out: Path) -> dict[str, list[str]]:
    """A line for each command, right as it stands; the table has columns x, y, b and c."""
    data, results = ["--data", str(table)], ["--out", str(out)]
    effect = ["--treated", "1", "--control", "0", "--draws", "20"]
    return {
        "graphs": ["chain"],
        "fit": [str(graph), *data, "--out", str(out / "m.safetensors"), "--epochs", "0", "--quiet"],
        "counterfactual": [str(model), *data, "--do", "x=1", "--rows", "2", *results],
        "ask effect": [str(model), "x", "y", *effect],
        "ask necessity": [str(model), "b", "c", "--draws", "20"],
        "ask quantiles": [str(model), "y", "--draws", "20"],
        "data faces": [*results, "--rows", "10", "--size", "16"],
        "data morphomnist": ["--mnist", str(out), *results],
        "draft": [str(out), "--out", str(out / "g.json")],
        "explain": ["mnist-vae", "--data", "mnist", "--target", "3"],
        "finetune": ["mnist-vae", "--data", "mnist", "--out", str(out / "t.safetensors")],
        "predictors": ["bars", *results],
        "benchmark truth": results,
        "demo": results,
    }


STARTS = ("explain", "finetune", "predictors", "benchmark truth", "demo", "data morphomnist")
"""Commands whose good line takes long or needs data: only options that are refused before any work are tried."""

EARLY = ("seed", "device", "threads", "workers", "n", "port", "train_rows", "epochs", "model", "data")


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path), command


def malformed_lines(good: dict[str, list[str]]) -> Iterator[tuple[list[str], str, str]]:
    """(arguments, the parameter, its wrong value)."""
    for name, command in _commands(get_command(app)):
        if name not in good:
            continue
        line, words = good[name], name.split()
        yield [*words, *line, "--no-such-option"], "--no-such-option", ""
        yield [*words, *line, "surplus"], "surplus", "surplus"
        yield [*words, "--seed"], "--seed", ""
        position = 0
        for parameter in command.params:
            option = parameter.opts[0]
            flag = getattr(parameter, "is_flag", False)
            if name in STARTS and parameter.name not in EARLY:
                continue
            for value in () if flag else WRONG.get(parameter.name, ()):
                if option.startswith("--"):
                    yield [*words, *_without(line, option), f"{option}={value}"], option, value
                else:
                    yield [*words, *line[:position], value, *line[position + 1 :]], option, value
            position += not option.startswith("--")


def _without(line: list[str], option: str) -> list[str]:
    if option not in line:
        return line
    at = line.index(option)
    return [*line[:at], *line[at + 2 :]]


def line_outcome(code: int, err: str, option: str, value: str) -> str:
    """`good` if a line is refused in one line that names the option or the value, or is right after all."""
    said = [text for text in err.splitlines() if "warning:" not in text and text.strip()]
    if "Traceback" in err:
        return "traceback"
    if code == 0:
        return "taken"
    if code != 2 or len(said) != 1:
        return f"code {code}, {len(said)} lines"
    name = option.strip("-")
    words = {name, name.replace("_", "-"), name.upper(), name.rstrip("s")}
    words |= set(re.split(r"[-=+,:(]+", value)) - {"", "x"} if value else {"''", "empty", "'.'", "="}
    words |= {"action"} if option == "--do" else set()
    named = any(re.search(re.escape(word), said[0], re.IGNORECASE) for word in words)
    return "good" if named else f"unnamed: {said[0][:200]}"
