"""The studies of explanations, at small size, on digits that need no download: every step, from training to figures."""

import csv
import json

import clarity
import losocs
import pytest
import torch
import typer
from typer.testing import CliRunner

SMALL = ["--data", "digits", "--epochs", "1", "--steps", "4"]


def _run(study, out, *options):
    app = typer.Typer(add_completion=False)
    app.command()(study.main)
    result = CliRunner().invoke(app, [*SMALL, "--out", str(out), *options])
    assert result.exit_code == 0, result.exception
    return result.stdout


def _table(path):
    lines = list(csv.DictReader(path.read_text().splitlines()))
    return {line.pop(""): {name: float(value) for name, value in line.items()} for line in lines}


def test_losocs_writes_its_tables_and_figures(tmp_path):
    said = _run(losocs, tmp_path, "--n", "6", "--frames", "5")
    lines = _table(tmp_path / "streams.csv")
    assert lines["the factual"]["proximity"] == 0
    assert lines["paper"]["linearity"] == pytest.approx(0.58)
    cohorts = _table(tmp_path / "cohorts.csv")
    assert "random to random" in cohorts
    assert set(cohorts) <= set(losocs.COHORTS)
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("streams.png", "trajectories.png"))
    assert "even steps" in said
    assert json.loads((tmp_path / "streams.json").read_text())["provenance"]["seed"] == 0


def test_clarity_asks_every_method_the_same_queries(tmp_path):
    _run(clarity, tmp_path, "--n", "6", "--members", "2", "--rows", "200")
    lines = _table(tmp_path / "methods.csv")
    assert {"Schut", "REVISE-E", "latent classifier", "Clarity", "noise"} <= set(lines)
    assert all(lines[name]["steps"] <= 4 for name in ("image gradient", "REVISE", "Clarity"))
    assert (tmp_path / "methods.png").stat().st_size > 10_000


def test_references_are_what_they_say():
    from setting import Setting

    setting = Setting("digits")
    setting.classifier = setting.judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
    setting.autoencoders = None
    x, target = setting.queries(None, None, 10)
    source = setting.classifier(x).argmax(1)
    assert (source != target).all()
    found = setting.references(x, source, target)
    assert found["the factual"]["proximity"].sum() == 0
    assert found["the factual"]["valid"].sum() == 0
    assert found["noise"]["proximity"].mean() > found["real images of the target"]["proximity"].mean()
