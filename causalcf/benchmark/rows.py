"""Rows of the tables: computed, kept, computed again alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from causalcf.benchmark.figures import figures
from causalcf.benchmark.page import markdown, page
from causalcf.benchmark.published import PUBLISHED
from causalcf.benchmark.setup import Benchmark, data_digest
from causalcf.core.digests import digest, named
from causalcf.core.errors import DataError
from causalcf.core.files import write_csv, write_json
from causalcf.core.provenance import lineage, provenance
from causalcf.data import Batch
from causalcf.evaluation import evaluate
from causalcf.evaluation.records import Records
from causalcf.scm.model import StructuralCausalModel
from causalcf.variables.image import Image

__all__ = ["model_digest", "run"]

SCORES = (
    "effectiveness",
    "truth error",
    "composition",
    "reversibility",
    "fid",
    "sample fid",
    "cld",
    "unchanged",
    "log density",
)
"""The scores of a row, as far as the data and the model allow them."""

TIMED_ROWS = 100
"""Rows of one query when the speed of a model is measured."""

TIMED_SECONDS = 1.0
"""The shortest measurement of a model's speed, in seconds."""


def run(
    benchmark: Benchmark,
    out: str | Path,
    *,
    n: int | None = 1000,
    seed: int = 0,
    only: Sequence[str] = (),
    workers: int = 1,
    progress: Callable[[str], None] = lambda _text: None,
) -> Path:
    """Compute the rows that are missing or asked for, and write the page, a CSV, a JSON and a Markdown file.

    Args:
        benchmark: The models, data and judges to compare.
        out: Folder; rows that are there already and were made with the same settings are kept.
        n: Rows of the test split; None for all.
        seed: Decides rows, values and resamples.
        only: Models to compute again, even if they are there.
        workers: Processes that draw true counterfactuals.
        progress: Called with a line of text.

    Returns:
        The path of the page.

    Raises:
        DataError: `only` names no model of the benchmark, or there is none.
    """
    unknown = [name for name in only if name not in benchmark.models]
    if unknown or not benchmark.models:
        raise DataError(f"There are no models {unknown or 'to compare'}. There are: {list(benchmark.models)}.")
    out = Path(out)
    rows: dict[str, dict[str, Any]] = {}
    data = [data_digest(benchmark.train), data_digest(benchmark.test)]
    shared = {
        "n": n,
        "seed": seed,
        "data": data,
        "nodes": list(benchmark.nodes),
        "judges": _judges(benchmark),
        "residuals": [str(residual) for residual in benchmark.residuals],
    }
    for name, load in benchmark.models.items():
        path, scm = out / "rows" / f"{name}.json", load()
        settings = shared | {"model": model_digest(scm), "file": benchmark.files.get(name, "")}
        if path.is_file() and name not in only:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["settings"] == settings:
                progress(f"{name}: kept")
                rows[name] = kept
                continue
        rows[name] = _row(benchmark, name, scm, settings, out, n, seed, workers, progress)
        write_json(path, rows[name])
    records = {name: Records.from_json(row["scores"]) for name, row in rows.items()}
    lines = [{"model": name, **asdict(record)} for name, found in records.items() for record in found]
    write_csv(out / "results.csv", {key: [line[key] for line in lines] for key in lines[0]})
    write_json(out / "results.json", {"rows": rows, "published": PUBLISHED.get(benchmark.name, {})})
    path = out / "index.html"
    path.write_text(page(benchmark, rows, records), encoding="utf-8")
    (out / "summary.md").write_text(markdown(benchmark, rows, records), encoding="utf-8")
    return path


def _row(
    benchmark: Benchmark,
    name: str,
    scm: StructuralCausalModel,
    settings: dict[str, Any],
    out: Path,
    n: int | None,
    seed: int,
    workers: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    started = time.perf_counter()
    scores = evaluate(
        scm,
        benchmark.test,
        SCORES,
        optional=True,
        predictors=benchmark.predictors,
        reference=benchmark.train,
        latents=benchmark.latents,
        perception=benchmark.perception,
        features=benchmark.features,
        do=benchmark.nodes,
        n=n,
        seed=seed,
        residuals=benchmark.residuals,
        cache=out / "truth",
        workers=workers,
        progress=lambda step: progress(f"{name}: {step}"),
    )
    return {
        "settings": settings,
        "scores": scores.to_json(),
        "facts": _facts(scm, benchmark.test),
        "figures": figures(benchmark, name, scm, seed),
        "provenance": provenance(
            seed=seed, device=scm.device, seconds=round(time.perf_counter() - started, 1), fit=scm.provenance
        ),
    }


def _facts(scm: StructuralCausalModel, x: Batch) -> dict[str, float | None]:
    """The costs of a model: the size of its image mechanism, the seconds of all its training, answers a second."""
    (image,) = (node for node, variable in scm.variables.items() if isinstance(variable, Image))
    return {
        "parameters": sum(p.numel() for p in scm.mechanisms[image].parameters()),
        "training_seconds": sum(record.get("seconds", 0) for record in lineage(scm.provenance)) or None,
        "images_per_second": _images_per_second(scm, x, image),
    }


def _images_per_second(scm: StructuralCausalModel, x: Batch, image: str) -> float | None:
    """Counterfactual images a second, each with an abduction of its own; None if nothing acts on the image."""
    causes = scm.graph.ancestors([image])
    if not causes:
        return None

    def ask(rows: Batch) -> int:
        do = {causes[0]: rows[causes[0]].flip(0)}
        return len(scm.counterfactual(rows, do, seed=0)[image].cpu())  # waits for a GPU

    ask(x[:8])  # what only the first call costs
    answered, started = 0, time.perf_counter()
    while time.perf_counter() < started + TIMED_SECONDS:
        answered += ask(x[:TIMED_ROWS])
    return answered / (time.perf_counter() - started)


def model_digest(scm: StructuralCausalModel) -> str:
    """A digest of everything that decides a model's answers: each mechanism's type, settings and weights."""
    parts: list[str | Tensor] = []
    for node, mechanism in scm.mechanisms.items():
        parts.append(json.dumps([node, type(mechanism).__name__, mechanism.config]))
        parts += named(dict(sorted(mechanism.saved_state().items())))
    return digest(*parts, digits=12)


def _judges(benchmark: Benchmark) -> list[str]:
    judges = [judge.signature for judge in benchmark.predictors.values()]
    networks = [getattr(network, "name", "") for network in (benchmark.features, benchmark.perception)]
    return [*judges, "" if benchmark.latents is None else model_digest(benchmark.latents), *networks]
