"""Examples are commands in the suite, at small size."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

import causalcf as ccf

SMALL = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))
EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(module):
    import typer

    app = typer.Typer(add_completion=False)
    app.command()(module.main)
    return app


def test_every_example_says_how_to_run_it():
    for path in EXAMPLES.glob("*.py"):
        assert f"python examples/{path.name}" in path.read_text()
        assert '__name__ == "__main__"' in path.read_text()


@pytest.fixture(scope="module")
def ladder():
    return load("ladder")


def test_the_ladder_runs_as_a_command(ladder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ladder.py", "--epochs", "1"])
    monkeypatch.setattr(ccf.mechanisms, "VAE", lambda: SMALL)
    options = ["--out", str(tmp_path / "new" / "ladder"), "--epochs", "1", "--rows", "200", "--seed", "1"]
    result = CliRunner().invoke(command(ladder), options)
    assert result.exit_code == 0, result.exception
    for rung in ("association", "intervention", "counterfactual"):
        assert rung in result.stdout
    with Pillow.open(tmp_path / "new" / "ladder" / "ladder.png") as picture:
        facts = json.loads(picture.text["provenance"])
    assert (facts["seed"], facts["data"]) == (1, "digits")
    assert facts["command"].startswith("ladder.py")


def test_the_ladder_has_three_answers(ladder):
    """The attributes alone carry them; they are fitted in seconds, the image hardly."""
    train, test = ccf.datasets.Digits("train"), ccf.datasets.Digits("test")
    scm = ccf.SCM(train.graph, mechanisms={"image": SMALL})
    scm.fit(train, epochs={"image": 1, "thickness": 8, "intensity": 8}, seed=0, progress=False)
    rungs = ladder.climb(scm, test, 220.0, seed=0)
    answers = {rung: [float(value) for value in rungs[rung][:2]] for rung in ("association", "intervention")}
    assert answers["association"][0] == pytest.approx(answers["association"][1], abs=0.25)
    assert answers["intervention"][0] == pytest.approx(answers["intervention"][1], abs=0.25)
    assert answers["association"][0] > answers["intervention"][0] + 0.3  # bright digits are thick, brightened ones not
    model, truth, _ = rungs["counterfactual"]
    assert model == truth == rungs["thin"]["thickness"].mean()  # nothing upstream of the action changes
    assert model < answers["intervention"][0] - 0.3
