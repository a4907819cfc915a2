"""`causalcf evaluate`: the scores that are asked for, and what they need."""

import json
import re

import pytest
import torch

import causalcf as ccf
from causalcf import predictors
from causalcf.cli import load as arguments
from causalcf.mechanisms import Recipe


def test_evaluate_prints_and_writes_scores(run, model, tmp_path):
    file = tmp_path / "scores.json"
    code, out, _ = run("evaluate", model, "--data", "digits", "--n", "20", "--out", file, "--do", "thickness")
    assert code == 0
    assert str(file) in out
    document = json.loads(file.read_text())
    assert document["provenance"]["data"] == "digits:test"
    assert document["provenance"]["command"].startswith("causalcf evaluate")
    assert document["records"]


def test_evaluate_needs_a_truth(run, model, table):
    code, _, err = run("evaluate", model, "--data", table)
    assert code == 2
    assert "has no known truth" in err


@pytest.mark.filterwarnings("ignore:Ignoring")
def test_evaluate_leaves_out_judges_of_what_the_model_lacks(run, tmp_path, monkeypatch):
    """Rows may have more columns than the model has nodes, and the judges of the data may read those."""
    vae = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))
    rows = ccf.datasets.Digits("test")[:60]
    path, scm = tmp_path / "images.safetensors", ccf.SCM("morphomnist-image", mechanisms={"image": vae})
    scm.fit({"image": rows["image"]}, epochs=1, seed=0, progress=False).save(path)
    monkeypatch.setattr(arguments, "load_data", lambda *_, **__: rows)
    code, out, err = run("evaluate", path, "--data", "morphomnist", "--metric", "composition", "--n", 20)
    assert code == 0, err
    assert "composition(1)" in out


COMMON = ("--data", "digits", "--n", "20", "--do", "thickness")


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    """A folder with barely trained judges of thickness and digit."""
    folder = tmp_path_factory.mktemp("judges")
    train, image = ccf.datasets.Digits("train")[:200], ccf.datasets.Digits("test").variables["image"]
    variables = ccf.load_graph("morphomnist").variables
    for node in ("thickness", "digit"):
        judge = predictors.Predictor(node, variables[node], image, widths=(4, 8))
        recipe = Recipe(epochs=1, batch_size=64)
        predictors.fit(judge, train, recipe=recipe, progress=False).save(folder / f"digits.{node}.safetensors")
    return folder


@pytest.fixture
def no_weights(monkeypatch):
    """No folder of weights of this machine is found."""
    monkeypatch.delenv("CAUSALCF_WEIGHTS", raising=False)


@pytest.mark.usefixtures("no_weights")
def test_scores_are_evaluated_by_name_with_judges_of_a_folder(run, model, judges, tmp_path):
    """Scores that are asked for, each beside the truth, doing nothing and noise."""
    file = tmp_path / "scores.json"
    asked = ("--metric", "effectiveness", "--metric", "composition", "--predictors", judges)
    code, out, _ = run("evaluate", model, *COMMON, *asked, "--out", file)
    assert code == 0
    assert re.search(r"effectiveness\s+do\(thickness\)", out)
    document = json.loads(file.read_text())
    assert document["provenance"]["data"] == "digits:test"
    scores = ccf.Records.from_json(document)
    assert {record.metric for record in scores} >= {"effectiveness", "composition(10)"}
    assert scores.one(metric="effectiveness", node="thickness", residual=1.0).truth is not None


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--metric", "effectiveness"], "'effectiveness' needs predictors="),
        (["--metric", "beauty"], "There are no scores ['beauty']"),
        (["--vgg", "vgg16.pth"], "There is no file"),
    ],
)
def test_what_a_score_needs_is_said(run, model, tmp_path, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("evaluate", model, *COMMON, *words)
    assert code == 2
    assert reason in err


@pytest.mark.usefixtures("no_weights")
def test_judges_of_another_graph_are_refused(run, model, tmp_path):
    other = predictors.Predictor("width", ccf.Real(), ccf.Image(1, 8, 8), widths=(4,), hidden=4)
    other.fitted = True
    other.save(tmp_path / "digits.width.safetensors")
    code, _, err = run("evaluate", model, *COMMON, "--metric", "effectiveness", "--predictors", tmp_path)
    assert code == 2
    assert "q(width | image) is for another graph: ['width'] are not among" in err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--metric", "fid", "--n", "20"], "'fid' needs features=, or predictors= with a classifier"),
        (["--metric", "cld"], "'cld' needs latents="),
        (["--do", "image"], "values are drawn for numbers and categories"),
        (["--do", "height"], "height"),
        (["--n", "100000"], "Cannot select 100000 of"),
    ],
)
def test_evaluate_refuses_in_one_line(run, model, words, reason):
    """What an evaluation cannot do ends with exit code 2 and one line that says why."""
    code, _, err = run("evaluate", model, "--data", "digits", *words)
    assert code == 2
    assert reason in err
    assert len([line for line in err.splitlines() if line.startswith("causalcf: ")]) == 1


def test_evaluate_needs_values_to_draw_from(run, model, monkeypatch):
    """Data without a truth, and with an attribute that never varies."""
    rows = {**ccf.datasets.Digits("test")[:20], "thickness": torch.full((20,), 2.0)}
    monkeypatch.setattr(arguments, "load_data", lambda *_, **__: rows)
    for metric, reason in {
        "unchanged": "do(thickness): The 20 values of the marginal are all in one bin",
        "truth error": "'truth error' needs data whose true counterfactuals are known",
    }.items():
        code, _, err = run("evaluate", model, "--data", "digits", "--metric", metric)
        assert code == 2
        assert reason in err
