"""Counterfactuals of a table in five lines, against the true ones.

Two models with a known answer, X -> Y, X -> Z, Y -> Z: additive noise, and noise whose scale depends on its causes.
The model sees 10,000 rows and is asked what 10,000 others would have been, had X been 1. Beside it, the
error of doing nothing, and of a regression that forgets the rows' own noise (the mean under do(X = 1)).

Run it: python examples/tabular.py
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

import causalcf as ccf
from causalcf.datasets import synthetic
from causalcf.metrics import rmse


def answer(rows: ccf.Batch, others: ccf.Batch, seed: int) -> ccf.Counterfactual:
    """The five lines."""
    graph = [("X", "Y"), ("X", "Z"), ("Y", "Z")]
    scm = ccf.SCM(graph).fit(rows, seed=seed, progress=False)
    return scm.counterfactual(others, do={"X": 1.0})


def main(
    rows: Annotated[int, typer.Option(help="Rows to fit, and to ask about.")] = 10_000,
    seeds: Annotated[int, typer.Option(help="How many data sets of each kind.")] = 3,
) -> None:
    """Fit, ask, and compare with the closed form."""
    torch.set_num_threads(1)
    table = Table("data", "seed", "Y", "Z", "Y, nothing done", "Z, nothing done", "Y, mean", "Z, mean")
    for oracle in (synthetic.AdditiveNoise(), synthetic.Heteroscedastic()):
        for seed in range(seeds):
            seen, others = oracle.sample(rows, seed=seed), oracle.sample(rows, seed=seed + 1000)
            truth = oracle.counterfactual(others, do={"X": 1.0})
            cf = answer(seen, others, seed)
            errors = [rmse(cf[node].double(), truth[node]) for node in "YZ"]
            nothing = [rmse(others[node], truth[node]) for node in "YZ"]
            mean = [rmse(truth[node].mean().expand_as(truth[node]), truth[node]) for node in "YZ"]
            cells = [f"{float(value):.3f}" for value in (*errors, *nothing, *mean)]
            table.add_row(type(oracle).__name__, str(seed), *cells)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
