"""The leaderboard of true counterfactuals: floors, models and mechanisms of your own, over frozen seeds."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causalcf.benchmark.setup import data_digest
from causalcf.core.digests import digest
from causalcf.core.errors import DataError, MissingFileError
from causalcf.core.files import write_json
from causalcf.core.provenance import provenance
from causalcf.data import Batch
from causalcf.evaluation.evaluate import select_rows
from causalcf.evaluation.inquiry import other_values
from causalcf.mechanisms import Mechanism
from causalcf.metrics import METRICS
from causalcf.scm.model import StructuralCausalModel

__all__ = ["TRUTH_SEEDS", "file_digest", "fitted_once", "leaderboard", "read_mechanism_file", "truth_row"]

TRUTH_SEEDS = (0, 1, 2)
"""The frozen seeds of the leaderboard of true counterfactuals."""

AT_ONCE = 250
"""Rows that a model is asked about at once."""

Answer = Callable[[Batch, Mapping[str, Tensor]], Mapping[str, Tensor]]


def truth_row(
    data: Any,
    answer: Answer | StructuralCausalModel | str,
    name: str,
    nodes: Sequence[str],
    *,
    n: int = 500,
    seeds: Sequence[int] = TRUTH_SEEDS,
    cache: str | Path | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """One line of the leaderboard: distance to the true counterfactual images, over frozen seeds.

    Args:
        data: A data set that knows its truth.
        answer: A fitted model; a function of rows and actions that gives at least the image; or a
            floor: "identity" (the factual image), "intensity ratio" (the factual image, times the true
            ratio of intensities), "re-rendering" (how far the published image is from the redrawn
            factual one: the uncertainty of the truth itself).
        name: Of the line.
        nodes: Nodes to act on, one at a time.
        n: Rows per seed.
        seeds: Seeds of rows and values.
        cache: Folder that keeps true counterfactuals.
        workers: Processes that draw them.

    Returns:
        JSON-able: for each node the mean over rows of all seeds, in grey levels, and over seeds the
        standard deviation of that mean.

    Raises:
        DataError: No such floor, or an answer that is not an image for every row.
    """
    from causalcf.evaluation.evaluate import _truth_of

    line: dict[str, Any] = {"name": name, "n": n, "seeds": list(seeds), "unit": METRICS["truth error"].unit}
    drawn: dict[int, Mapping[str, Tensor]] = {}  # the factual images, whatever is acted on
    for node in nodes:
        means, seconds = [], 0.0
        for seed in seeds:
            x = select_rows(data, n, seed)
            values = other_values(data.variables[node], x[node], data[node], seed)
            truth = _truth_of(data, x, cache, workers)(node, values)
            if truth is None:
                raise DataError(f"The true counterfactual of do({node}) is not known.")
            started = time.perf_counter()
            if answer == "re-rendering":
                drawn[seed] = drawn.get(seed) or _drawn_again(data, x, workers)
                image = drawn[seed]["image"]
            else:
                image = _answered(answer, x, node, values, truth)
            seconds += time.perf_counter() - started
            wanted = x["image"] if answer == "re-rendering" else truth["image"]
            if image.shape != wanted.shape:
                raise DataError(f"'{name}' gives images {tuple(image.shape)} for {tuple(wanted.shape)}.")
            means.append(float(255 * (image.double().cpu() - wanted.double()).abs().mean()))
        spread = torch.tensor(means, dtype=torch.float64)
        line[f"do({node})"] = {
            "error": float(spread.mean()),
            "over_seeds": float(spread.std()) if len(seeds) > 1 else 0.0,
            "seconds": round(seconds, 2),
        }
    line["provenance"] = provenance(seed=None)
    return line


def leaderboard(
    data: Any,
    entries: Mapping[str, tuple[str, Callable[[], Any]]],
    nodes: Sequence[str],
    out: str | Path,
    *,
    n: int = 500,
    seeds: Sequence[int] = TRUTH_SEEDS,
    again: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _text: None,
    **options: Any,
) -> list[dict[str, Any]]:
    """The lines of the leaderboard, one JSON file each; those that are there already are kept.

    Args:
        data: A data set that knows its truth.
        entries: Name -> (settings that identify the answer, a function that gives it): called only if it is needed.
        nodes: Nodes to act on.
        out: Folder.
        n: Rows per seed.
        seeds: Seeds of rows and values.
        again: Lines to compute again, even if they are there.
        progress: Called with a line of text.
        options: Passed on to `truth_row`.

    Returns:
        The lines, the best under the first action first.

    Raises:
        DataError: `again` names no line, or two lines have one file.
    """
    unknown = [name for name in again if name not in entries]
    if unknown:
        raise DataError(f"There are no lines {unknown}. There are: {list(entries)}.")
    files = {name: Path(out) / f"{name.replace(' ', '-')}.json" for name in entries}
    if len(set(files.values())) < len(files):
        raise DataError(f"Two of the lines {list(entries)} would be kept in one file. Rename one.")
    rows = []
    for name, (given, answer) in entries.items():
        path = files[name]
        settings = {
            "data": data_digest(data),
            "n": n,
            "seeds": list(seeds),
            "nodes": list(nodes),
            "answer": given,
        }
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and name not in again else {}
        if kept.get("settings") == settings:
            progress(f"{name}: kept")
        else:
            progress(name)
            kept = truth_row(data, answer(), name, nodes, n=n, seeds=seeds, cache=Path(out) / "truth", **options)
            write_json(path, {**kept, "settings": settings})
        rows.append(kept)
    return sorted(rows, key=lambda row: row[f"do({nodes[0]})"]["error"])


def read_mechanism_file(path: Path) -> Any:
    """Read the `counterfactual`, the `scm`, or the `mechanism` to fit that a user's Python file defines.

    Args:
        path: The file; it is run.

    Raises:
        MissingFileError: There is no such file.
        DataError: It defines none of the three, or its `mechanism` is not a Mechanism.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}.")
    found = runpy.run_path(str(path))
    for name in ("counterfactual", "scm"):
        if name in found:
            return found[name]
    if not isinstance(found.get("mechanism"), Mechanism):
        raise DataError(f"{path} defines none of: counterfactual(x, do), scm, mechanism (a Mechanism to fit).")
    return found["mechanism"]


def file_digest(path: Path) -> str:
    """A digest of a file's content."""
    return digest(path.read_bytes(), digits=12)


def fitted_once(
    found: Any, path: Path, train: Callable[[], Any], folder: str | Path, device: torch.device | str = "cpu"
) -> Any:
    """Return the object of a file; a mechanism is first fitted, in a model of the training split.

    The model is kept: the next call loads it, unless the file or the data have changed. A fit that was killed goes on.

    Args:
        found: From `read_mechanism_file`.
        path: The Python file.
        train: Gives the training split, if a mechanism is to be fitted.
        folder: For fitted models; made if it does not exist.
        device: Where it is fitted, and goes.
    """
    if not isinstance(found, Mechanism):
        return found
    data, mechanisms = train(), {"image": found}
    key = digest(f"{file_digest(path)} {data_digest(data)}", digits=12)
    kept = Path(folder) / f"{path.stem}-{key}.safetensors"
    if kept.is_file():
        return StructuralCausalModel.load(kept, mechanisms=mechanisms, device=device)
    checkpoint = kept.with_suffix(".checkpoint")
    scm = StructuralCausalModel(data.graph, mechanisms=mechanisms)
    scm.fit(data, seed=0, device=device, checkpoint=checkpoint, resume=True)
    scm.save(kept)
    checkpoint.unlink(missing_ok=True)
    return scm


def _drawn_again(data: Any, x: Batch, workers: int) -> Mapping[str, Tensor]:
    """The factual rows, drawn by the procedure that draws their true counterfactuals."""
    return data.truth(x, {}, **({"workers": workers} if workers > 1 else {}))


def _answered(answer: Any, x: Batch, node: str, values: Tensor, truth: Mapping[str, Tensor]) -> Tensor:
    if isinstance(answer, StructuralCausalModel):
        parts = zip(x.blocks(AT_ONCE), values.split(AT_ONCE), strict=True)
        return torch.cat([answer.counterfactual(rows, {node: some}, seed=0)["image"].cpu() for rows, some in parts])
    if answer == "identity":
        return x["image"]
    if answer == "intensity ratio":
        ratio = truth["intensity"] / x["intensity"]
        return (x["image"] * ratio[:, None, None, None]).clamp(0, 1)
    if not callable(answer):
        raise DataError(f"There is no floor {answer!r}. Known: identity, intensity ratio, re-rendering.")
    return torch.as_tensor(answer(x, {node: values})["image"])
