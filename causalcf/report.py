"""Records and counterfactuals -> tables, pictures and files that say how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from causalcf.checkpoint import write_atomically, write_file
from causalcf.counterfactual import Counterfactual
from causalcf.data import scalar_columns
from causalcf.provenance import provenance

__all__ = ["print_records", "write_counterfactual", "write_csv", "write_json"]


def print_records(records: Sequence[Mapping[str, Any]], *, title: str = "") -> None:
    """Show records of an evaluation as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "do", "node", "residual", "value", "doing nothing", "unit", title=title)
    for record in records:
        value = f"{record['value']:.4g} ± {record['standard_error']:.2g}"
        table.add_row(
            record["metric"],
            record["do"],
            record["node"],
            f"{record['residual']:g}",
            value,
            f"{record['doing_nothing']:.4g}",
            record["unit"],
        )
    Console().print(table)


def write_json(path: str | Path, document: Mapping[str, Any]) -> Path:
    """Write a JSON file, atomically."""
    write_atomically(path, (json.dumps(document, indent=1, default=str) + "\n").encode())
    return Path(path)


def write_csv(path: str | Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    """Write columns of equal length as a CSV file, atomically."""
    import csv
    import io

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_atomically(path, text.getvalue().encode())
    return Path(path)


def write_counterfactual(cf: Counterfactual, out: str | Path, *, seed: int, device: str, **facts: Any) -> list[Path]:
    """Write a picture, the scalar nodes as CSV, all tensors as safetensors, and the record as JSON.

    Args:
        cf: The answer.
        out: Folder; made if it does not exist.
        seed: Recorded.
        device: Recorded.
        facts: Anything else to record: model, data, actions.

    Returns:
        The files written.
    """
    from causalcf.plots import save_figure

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    record = provenance(seed=seed, device=device, **facts)
    save_figure(cf.plot(), out / "counterfactual.png", record)
    tensors = {f"counterfactual.{node}": value for node, value in cf.items()}
    if cf.factual is not None:
        tensors |= {f"factual.{node}": value for node, value in cf.factual.items()}
    write_file(out / "counterfactual.safetensors", {"kind": "counterfactual", "provenance": record}, tensors)
    return [
        out / "counterfactual.png",
        write_csv(out / "counterfactual.csv", _table(cf)),
        out / "counterfactual.safetensors",
        write_json(out / "counterfactual.json", record),
    ]


def _table(cf: Counterfactual) -> dict[str, list[Any]]:
    """Factual and counterfactual scalars side by side, a line per world, sample and row."""
    lines: dict[str, list[Any]] = {}
    for i in range(len(cf.worlds)):
        world = cf.world(i) if cf.listed else cf
        for j in range(cf.num_samples or 1):
            answer = world.sample(j) if cf.num_samples else world
            part: dict[str, list[Any]] = {"world": [i] * cf.rows, "sample": [j] * cf.rows}
            part["row"] = [str(label) for label in answer.index.tolist()]
            if answer.factual is not None:
                part |= {f"{k} (factual)": v for k, v in scalar_columns(answer.factual, cf.graph.variables).items()}
            part |= scalar_columns(answer, cf.graph.variables)
            for name, values in part.items():
                lines.setdefault(name, []).extend(values)
    return lines
