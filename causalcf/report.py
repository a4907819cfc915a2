"""Records and counterfactuals -> tables, pictures and files that say how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from causalcf.core.checkpoint import write_file
from causalcf.core.files import write_csv, write_json
from causalcf.core.provenance import provenance
from causalcf.data import scalar_columns
from causalcf.metrics.base import ARROWS
from causalcf.scm.action import read_worlds
from causalcf.scm.counterfactual import Counterfactual
from causalcf.scm.lines import beside, keys, lines, worlds_of
from causalcf.scm.residual import recorded, residual_label

if TYPE_CHECKING:
    from causalcf.evaluation.records import Record, Records
    from causalcf.explainers import Explanation
    from causalcf.scm.model import StructuralCausalModel

__all__ = [
    "print_counterfactual",
    "print_explanation",
    "print_fit",
    "print_records",
    "write_counterfactual",
    "write_csv",
    "write_explanation",
    "write_json",
]


def print_records(records: Records, *, title: str = "") -> None:
    """Show an evaluation: a line per question, a column per residual, beside the truth, doing nothing and noise."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    residuals = list(dict.fromkeys(r.residual for r in records if r.residual is not None))
    besides = {"the\ntruth": "truth", "doing\nnothing": "identity", "noise": "noise"}
    besides = {name: key for name, key in besides.items() if any(getattr(r, key) for r in records)}
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", collapse_padding=True, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("node", overflow="fold")
    models = [_stacked(residual_label(residual)) for residual in residuals] or ["model"]
    for heading in (*models, *besides):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit")
    heading = ""
    for (metric, do, node), by_residual in _questions(records).items():
        if do and metric != heading:
            table.add_row(f"[bold]{metric}")
        heading = metric
        one = next(iter(by_residual.values()))
        cells = [_score(by_residual[r]) if r in by_residual else "" for r in residuals or [None]]
        if None in by_residual:  # a score that asks for no residual stands in the first column
            cells[0] = _score(one)
        cells += [_brief(getattr(one, key)) for key in besides.values()]
        table.add_row(f" do({do})" if do else metric, node, *cells, f"{one.unit} {ARROWS[one.better]}".strip())
    console.print(table)
    if len(records):
        first = records[0]
        note = f"n = {first.n:,}, seed {first.seed}; ± half of the 95 % interval; ↓ lower is better, ↑ higher."
        console.print(note, style="dim", highlight=False)
    for name, why in records.missing.items():
        console.print(f"{name} is left out: {why.rstrip('.')}.", style="dim", markup=False)


def _stacked(label: str) -> str:
    """A label in as many lines as it has words, for a narrow column."""
    return label.replace(" (", "\n").replace(")", "").replace(", ", "\n").replace(" ", "\n")


def _questions(records: Records) -> dict[tuple[str, str, str], dict[float | str | None, Record]]:
    """(metric, acted node, scored node) -> residual -> record."""
    lines: dict[tuple[str, str, str], dict[float | str | None, Record]] = {}
    for record in records:
        lines.setdefault((record.metric, record.do, record.node), {})[record.residual] = record
    return lines


def _score(record: Record) -> str:
    half = 0.0 if record.interval is None else (record.interval[1] - record.interval[0]) / 2
    spread = f" ±{half:.1g}" if half >= 5e-4 else ""
    return f"{_brief(record.value)}{spread}"


def _brief(value: float | None) -> str:
    """A score in three digits; nothing for none."""
    if value is None:
        return ""
    return "< 0.001" if 0 < abs(value) < 1e-3 else f"{value:.3g}"


def print_fit(scm: StructuralCausalModel) -> None:
    """Show how each mechanism was fitted: its objective on the validation rows, lower is better."""
    from rich.console import Console
    from rich.table import Table

    best: dict[str, Mapping[str, Any]] = {}
    for record in scm.history:
        before, loss = best.get(record["node"]), record["validation"]
        # Stages have different objectives: the last one that was judged counts.
        if loss is not None and (
            before is None or before.get("stage") != record.get("stage") or loss < before["validation"]
        ):
            best[record["node"]] = record
    table = Table("node", "mechanism", "causes", "validation loss", "at epoch")
    for node, mechanism in scm.mechanisms.items():
        loss, epoch = (f"{best[node]['validation']:.4g}", str(best[node]["epoch"])) if node in best else ("", "")
        kind = type(mechanism).__name__
        table.add_row(node, kind, ", ".join(scm.graph.parents(node)), loss, "solved" if epoch == "0" else epoch)
    Console().print(table)


def print_counterfactual(cf: Counterfactual, *, rows: int = 6) -> None:
    """Show the scalar nodes of the first rows: as they were, and as they would have been in each world."""
    from rich.console import Console
    from rich.table import Table

    from causalcf.plots import describe_actions

    columns = [] if cf.factual is None else [("observed", scalar_columns(cf.factual, cf.graph.variables))]
    for view, do in zip(worlds_of(cf), read_worlds(cf.do).each, strict=True):
        first = view.sample(0) if cf.num_samples else view
        columns.append((describe_actions(do, cf.graph), scalar_columns(first, cf.graph.variables)))
    named = keys(cf.labels)
    index = list(map(", ".join, zip(*named.values(), strict=True))) if named else _labels(cf.index)
    index = index[:rows]
    table = Table(", ".join(named) or "row", "node", *(title for title, _ in columns))
    for i, label in enumerate(index):
        for k, node in enumerate(columns[0][1]):
            cells = [_cell(values[node][i]) for _, values in columns]
            table.add_row("" if k else label, node, *cells, end_section=node == list(columns[0][1])[-1])
    title = f"First of {cf.num_samples} samples; all are in the files." if cf.num_samples else ""
    hidden = f"{cf.rows - rows} more rows are in the files." if cf.rows > rows else ""
    table.caption = " ".join(filter(None, [title, hidden])) or None
    Console().print(table)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def write_counterfactual(
    cf: Counterfactual,
    out: str | Path,
    *,
    seed: int,
    device: str,
    truth: Sequence[Mapping[str, Tensor]] = (),
    **facts: Any,
) -> list[Path]:
    """Write a picture, the scalar nodes as CSV, all tensors as safetensors, and the record as JSON.

    Args:
        cf: The answer.
        out: Folder; made if it does not exist.
        seed: Recorded.
        device: Recorded.
        truth: The true counterfactual of each world, where it is known, to show and to keep beside it.
        facts: Anything else to record: model, data, actions.

    Returns:
        The files written.
    """
    from causalcf.plots import save_figure

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    asked = {
        "residual": recorded(cf.residual),
        "abduction": cf.abduction,
        "temperatures": dict(cf.temperatures),
        "num_samples": cf.num_samples,
        "recompute": cf.recompute,
    }
    record = provenance(seed=seed, device=device, **asked, clipped=dict(cf.clipped), **facts)
    save_figure(cf.plot(truth=truth), out / "counterfactual.png", record)
    tensors = {f"counterfactual.{node}": value for node, value in cf.items()}
    if cf.factual is not None:
        tensors |= {f"factual.{node}": value for node, value in cf.factual.items()}
    tensors |= {f"truth.{i}.{node}": value for i, world in enumerate(truth) for node, value in world.items()}
    header = {"kind": "counterfactual", "provenance": record, "key": keys(cf.labels)}
    write_file(out / "counterfactual.safetensors", header, tensors)
    return [
        out / "counterfactual.png",
        write_csv(out / "counterfactual.csv", lines(cf, {"row": _labels(cf.index), **keys(cf.labels)})),
        out / "counterfactual.safetensors",
        write_json(out / "counterfactual.json", record),
    ]


def print_explanation(explanation: Explanation, scores: Mapping[str, Tensor], *, rows: int = 12) -> None:
    """Show how the first rows ended, and the mean scores of all."""
    from rich.console import Console
    from rich.table import Table

    from causalcf.explainers.scores import summary

    console = Console()
    columns = explanation.columns()
    table = Table("row", *columns)
    for i, label in enumerate(_labels(explanation.factual.index)[:rows]):
        table.add_row(label, *(_cell(values[i]) for values in columns.values()))
    if explanation.rows > rows:
        table.caption = f"{explanation.rows - rows} more rows are in the files."
    console.print(table)
    means = Table("score", "mean", "spread over rows")
    for name, (mean, spread) in summary(scores).items():
        means.add_row(name, _brief(mean), _brief(spread))
    console.print(means)


def write_explanation(
    explanation: Explanation, scores: Mapping[str, Tensor], out: str | Path, *, device: str, **facts: Any
) -> list[Path]:
    """Write a picture, a line a row as CSV, the images and the intervention as safetensors, and the record as JSON.

    Args:
        explanation: The answer.
        scores: Name -> a value a row.
        out: Folder; made if it does not exist.
        device: Recorded.
        facts: Anything else to record: model, data, classifier.

    Returns:
        The files written.
    """
    from causalcf.explainers.scores import summary
    from causalcf.plots import save_figure

    out = Path(out)
    record = provenance(seed=explanation.seed, device=device, method=explanation.method, **facts)
    record["scores"] = {name: {"mean": mean, "spread": spread} for name, (mean, spread) in summary(scores).items()}
    save_figure(explanation.plot(), out / "explanation.png", record)
    tensors = {f"do.{target}": value for target, value in explanation.do.items()}
    tensors |= {f"factual.{node}": value for node, value in explanation.factual.items()}
    tensors[f"counterfactual.{explanation.node}"] = explanation.counterfactual
    if explanation.stream is not None:
        tensors |= {"stream.image": explanation.stream.image, "stream.lengths": explanation.stream.lengths}
    named = keys(explanation.factual.labels)
    header = {"kind": "explanation", "provenance": record, "key": named}
    write_file(out / "explanation.safetensors", header, tensors)
    table = dict(explanation.columns())
    table |= {name: values.tolist() for name, values in scores.items() if name not in table}
    table = beside(table, {"row": _labels(explanation.factual.index), **named})
    return [
        out / "explanation.png",
        write_csv(out / "explanation.csv", table),
        out / "explanation.safetensors",
        write_json(out / "explanation.json", record),
    ]


def _labels(index: Any) -> list[str]:
    return [str(label) for label in (index.tolist() if hasattr(index, "tolist") else index)]
