"""Rows with gaps: drop them, fill in means, or let the model draw what is missing?

A linear world x -> m -> y, x -> y, whose effects are known. A part of m is missing in one of three ways: by chance;
given y, which is observed (at random, in Rubin's words); by the size of m itself (not at random). Each treatment is
judged by the largest error of the three effects.

Run it: python examples/studies/missing.py
"""

from __future__ import annotations

from typing import Annotated

import networkx as nx
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

import causalcf as ccf
from causalcf.mechanisms import LinearGaussian

EFFECTS = (1.0, 1.0, -1.0)
"""Of x on m, of m on y, of x on y with m held."""

PATTERNS = {"by chance": None, "given y": "y", "by m itself": "m"}
"""Name -> the node whose large values go with gaps in m."""

TREATMENTS = ("complete data", "drop the rows", "fill in the mean", "by the model")


def world(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Rows of the true world."""
    x, noise_m, noise_y = torch.randn(3, rows, generator=generator)
    m = x + noise_m
    return {"x": x, "m": m, "y": m - x + noise_y}


def holes(data: dict[str, Tensor], by: str | None, generator: torch.Generator) -> Tensor:
    """Which rows lack m, (N,), bool: about four in ten."""
    score = torch.randn(len(data["m"]), generator=generator)
    if by is not None:
        score = data[by] / data[by].std() + 0.3 * score
    return score > score.quantile(0.6)


def fitted(data: dict[str, Tensor], seed: int, **options: str) -> ccf.SCM:
    """A linear Gaussian model of the rows."""
    graph = nx.DiGraph([("x", "m"), ("x", "y"), ("m", "y")])
    scm = ccf.SCM(graph, variables=dict.fromkeys("xmy", ccf.Real()), mechanisms=dict.fromkeys("xmy", LinearGaussian()))
    return scm.fit(data, seed=seed, progress=False, **options)


def error(scm: ccf.SCM) -> float:
    """The largest error of the three effects, each read off the same rows in two worlds."""
    zero = {node: torch.zeros(1) for node in "xmy"}

    def moved(node: str, **do: float) -> float:
        one, none = (scm.counterfactual(zero, do=dict.fromkeys(do, value) | fixed) for value in (1.0, 0.0))
        return float(one[node] - none[node])

    fixed: dict[str, float] = {}
    found = [moved("m", x=1.0), moved("y", m=1.0)]
    fixed = {"m": 0.0}
    found.append(moved("y", x=1.0))
    return max(abs(a - b) for a, b in zip(found, EFFECTS, strict=True))


def study(rows: int, seed: int) -> dict[str, dict[str, float]]:
    """Pattern -> treatment -> the largest error of an effect."""
    found = {}
    for name, by in PATTERNS.items():
        generator = torch.Generator().manual_seed(seed)
        data = world(rows, generator)
        gone = holes(data, by, generator)
        m = data["m"]
        ways = {
            "complete data": fitted(data, seed),
            "drop the rows": fitted({node: value[~gone] for node, value in data.items()}, seed),
            "fill in the mean": fitted(data | {"m": torch.where(gone, m[~gone].mean(), m)}, seed),
            "by the model": fitted(data | {"m": torch.where(gone, torch.nan, m)}, seed, missing="model"),
        }
        found[name] = {way: error(scm) for way, scm in ways.items()}
    return found


def main(
    rows: Annotated[int, typer.Option(help="Rows of the world.")] = 5000,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
) -> None:
    """Print the table."""
    table = Table("m is missing ...", *TREATMENTS, title=f"Largest error of an effect, {rows} rows, seed {seed}")
    for name, errors in study(rows, seed).items():
        table.add_row(name, *(f"{errors[way]:.3f}" for way in TREATMENTS))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
