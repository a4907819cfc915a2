"""All that is measured, in one run: `python -m causalcf.costs`.

Weights are not trained: the costs of a network do not depend on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from causalcf.core.provenance import provenance
from causalcf.costs.bare_loops import Setting
from causalcf.costs.counterfactuals import images, tabular
from causalcf.costs.fitting import step, training
from causalcf.costs.judging import evaluation
from causalcf.costs.measure import Cost
from causalcf.costs.models import IMAGES
from causalcf.costs.pictures import fit_memory, streamed
from causalcf.costs.processes import imports, memory
from causalcf.costs.searches import searches
from causalcf.costs.table import speed_table, table
from causalcf.costs.throughput import speeds
from causalcf.mechanisms import VAE

__all__ = ["main", "run"]


def run(*, quick: bool = False) -> Iterator[Cost]:
    """All benchmarks, one after the other; `quick` keeps sizes and repeats small, for tests."""
    if quick:
        yield images(rows=4, repeats=1, widths=(8, 8, 8))
        yield tabular(100, repeats=1)
        yield tabular(1, repeats=3)
        yield imports(repeats=1)
        yield memory(4, rows=50)
        yield training(steps=4, repeats=1)
        yield from (step(name, small, steps=1, batch_size=4, repeats=1) for name, (_, small) in IMAGES.items())
        yield streamed(VAE(widths=(8, 8, 8)), rows=8, batch_size=4, repeats=1)
        yield fit_memory()
        yield from evaluation(rows=20)
        yield from searches(Setting(rows=4, steps=2, widths=(8, 8, 8)), repeats=1)
        return
    yield images()
    yield tabular(10_000)
    yield tabular(1, repeats=201)
    yield imports()
    yield memory(4)
    yield memory(16)
    yield training()
    yield from (step(name, mechanism) for name, (mechanism, _) in IMAGES.items())
    yield streamed(VAE())
    yield fit_memory()
    yield from evaluation()
    yield from searches()


def main(out: Path = Path("benchmarks.json"), quick: bool = False) -> None:
    """Measure the costs of causalcf and of the code that it replaces; print a table and write OUT as JSON."""
    from rich.console import Console

    costs: list[Cost] = []
    for cost in run(quick=quick):  # each is said at once: the whole takes long, and may be stopped
        costs.append(cost)
        Console().print(f"{cost.name}: {cost.ratio:.3f}")
    measured = speeds(quick=quick)
    Console().print(table(costs))
    Console().print(speed_table(measured))
    document = {
        "costs": [asdict(cost) for cost in costs],
        "speeds": [asdict(one) for one in measured],
        "provenance": provenance(seed=0, quick=quick),
    }
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    Console().print(f"Written to {out}.")
