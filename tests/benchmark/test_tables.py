"""The tables of the benchmark: a summary, CSV and JSON; numbers of three digits."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import causalcf as ccf
from causalcf import benchmark as benchmark_tables
from causalcf.benchmark import Benchmark
from causalcf.benchmark.cells import number
from causalcf.core.errors import DensityError


class Implicit(ccf.mechanisms.VAE):
    """A mechanism without a density."""

    def dist(self, pa: Any, latents: Any = None) -> Any:
        raise DensityError("no density")


MODELS = ("small", "implicit")


@pytest.fixture(scope="module")
def summary(bench: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, str]], str]:
    """The lines of the summary of a model with a density and of one without, by name, and the tables below it."""
    scm = ccf.SCM(bench.train.graph, mechanisms={"image": Implicit(latent=2, widths=(8, 8, 8))})
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    folder = tmp_path_factory.mktemp("summary")
    benchmark_tables.run(replace(bench, models={"small": bench.models["small"], "implicit": lambda: scm}), folder, n=60)
    text, _, rest = (folder / "summary.md").read_text(encoding="utf-8").partition("### Distance to the true")
    lines = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    return {line[0].removeprefix("| "): dict(zip(lines[0], line, strict=True)) for line in lines}, rest


def test_the_summary_has_a_line_per_model(summary: Any) -> None:
    table, _ = summary
    names = {f"{model}, residual {r}" for model in MODELS for r in (0, 1)}
    assert set(table) == {"model", "---", *names, "the truth", "doing nothing", "noise"}
    assert table["the truth"]["truth error of the image, grey levels ↓: do(width)"] == "0"


def test_the_summary_has_truth_composition_judges_samples_and_cost(summary: Any) -> None:
    small = summary[0]["small, residual 1"]
    assert small.keys() >= {
        "truth error of the image, grey levels ↓: do(width)",
        "composition, grey levels ↓: 10 cycles",
        "width: MAE, px ↓: do(side)",
        "side: accuracy ↑: do(side)",
        "samples: FID ↓",
        "cost: parameters",
        "cost: images/s |",
    }
    assert small["cost: parameters"].endswith(" M")


def test_the_summary_says_what_is_missing(summary: Any) -> None:
    """A mechanism without a density has a dash and the reason."""
    table, rest = summary
    assert float(table["small, residual 1"]["log density: nats ↑"])
    assert table["implicit, residual 1"]["log density: nats ↑"] == "– no density"
    assert "log density of implicit is not there: needs mechanisms that all have a density" in rest


def test_tables_are_written_as_csv_and_json_too(out: Path) -> None:
    with open(out / "results.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["model"] for line in lines} == {"small", "same"}
    assert {"metric", "value", "low", "truth", "identity", "noise", "seed", "judge"} <= lines[0].keys()
    document = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert set(document["rows"]) == {"small", "same"}
    assert document["rows"]["small"]["scores"]["records"] == document["rows"]["same"]["scores"]["records"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.98754, "0.988"), (12.345, "12.3"), (0.0743, "0.0743"), (123.4, "123"), (0.0, "0")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text
