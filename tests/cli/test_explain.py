"""`causalcf explain`: pictures, tables, the intervention, and methods that learn."""

import json
import runpy

import numpy as np
import pytest
import torch
from cli.files import lines_of

import causalcf as ccf
from causalcf.core.checkpoint import read_file

CLASSIFIER = """
import torch
torch.manual_seed(0)
classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The file of a classifier with random weights."""
    file = tmp_path_factory.mktemp("classifier") / "classifier.py"
    file.write_text(CLASSIFIER)
    return file


@pytest.fixture(scope="module")
def explained(run, model, classifier, tmp_path_factory):
    """The folder of an explanation of twelve digits, and what was said of it."""
    folder = tmp_path_factory.mktemp("explained") / "e"
    command = ["explain", model, "--data", "digits", "--classifier", classifier, "--target", "3", "--rows", "20:32"]
    exit_code, out, err = run(*command, "--method", "PGD(max_steps=60)", "--stream", "--out", folder)
    assert exit_code == 0, err
    return folder, out


@pytest.fixture(scope="module")
def rows(explained):
    """The lines of its table."""
    return lines_of(explained[0] / "explanation.csv")


def test_explain_writes_a_table_of_the_rows_to_explain(explained, rows):
    header, tensors = read_file(explained[0] / "explanation.safetensors")
    assert header["kind"] == "explanation"
    assert len(rows) == len(tensors["counterfactual.image"])
    assert 0 < len(rows) <= 12
    assert all(row["factual"] != "3" and row["target"] == "3" for row in rows)


def test_explain_records_settings_and_scores(explained, rows):
    record = json.loads((explained[0] / "explanation.json").read_text())
    assert record["seed"] == 0
    assert record["settings"] == "PGD(max_steps=60)"
    assert record["scores"]["valid"]["mean"] == np.mean([row["reached"] == "True" for row in rows])


def test_the_intervention_of_an_explanation_makes_its_image(explained, rows, model):
    _, tensors = read_file(explained[0] / "explanation.safetensors")
    scm, data = ccf.SCM.load(model), ccf.datasets.Digits("test")[20:32]
    x = data[torch.tensor([int(row["row"]) for row in rows]) - int(data.index[0])]
    again = scm.counterfactual(x, do={"image": tensors["do.image"]})["image"]
    assert torch.allclose(again, tensors["counterfactual.image"], atol=1e-6)


def test_explain_draws_and_says_its_scores(explained):
    folder, out = explained
    assert (folder / "explanation.png").stat().st_size > 10_000
    assert "proximity" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "Wishful"], "there is no method 'Wishful'. Known: ['"),
        (["--method", "PGD(strength=3)"], "strength"),
        (["--method", "PGD(0.9)"], "--method PGD(0.9): settings have names"),
        (["--save", "a.bin"], "--save a.bin: the file of a method ends in .safetensors"),
        (["--method", "a.safetensors", "--node", "nosuch"], "--node nosuch: a.safetensors holds a method"),
        (["--method", "a.safetensors", "--train-rows", "7"], "--train-rows 7: a.safetensors holds a method"),
        (["--target", "11"], "11"),
        (["--classifier", "nowhere.py"], "nowhere.py"),
        (["--node", "picture"], "picture"),
    ],
)
def test_explain_refuses_in_one_line(run, model, classifier, tmp_path, options, said):
    command = {"--data": "digits", "--classifier": classifier, "--target": "3", "--method": "PGD"}
    command |= {"--out": tmp_path / "e"} | dict(zip(options[::2], options[1::2], strict=True))
    exit_code, _, err = run("explain", model, *(part for pair in command.items() for part in pair))
    assert exit_code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "e").exists()


@pytest.fixture(scope="module")
def command(model, classifier):
    """The words that explain a class that not all rows are in, but for the method."""
    classes = runpy.run_path(str(classifier))["classifier"](ccf.datasets.Digits("train")["image"][:100]).argmax(1)
    target = min(classes.tolist(), key=classes.tolist().count)
    return ["explain", model, "--data", "digits", "--classifier", classifier, "--target", target, "--rows", "20:26"]


def test_explain_keeps_what_a_method_learned(run, command, tmp_path):
    file = tmp_path / "prototypes.safetensors"
    settings = "CFProto(max_steps=5, c_steps=1, autoencoder_weight=1.0, prototype_weight=0.1)"
    learning = ["--method", settings, "--train-rows", "100", "--save", file, "--out", tmp_path / "a"]
    exit_code, _, err = run(*command, *learning)
    assert exit_code == 0, err
    exit_code, _, err = run(*command, "--method", file, "--out", tmp_path / "b")
    assert exit_code == 0, err
    (_, first), (_, again) = (read_file(tmp_path / name / "explanation.safetensors") for name in "ab")
    assert torch.equal(first["counterfactual.image"], again["counterfactual.image"])


def test_a_method_that_learns_nothing_is_not_saved(run, command, tmp_path):
    file = tmp_path / "prototypes.safetensors"
    exit_code, _, err = run(*command, "--method", "PGD(max_steps=2)", "--save", file, "--out", tmp_path / "c")
    assert exit_code == 2
    assert "PGD learns nothing that could be saved" in err


def test_explain_needs_a_classifier_where_none_comes_along(run, model, tmp_path):
    exit_code, _, err = run("explain", model, "--data", "digits", "--target", "3", "--out", tmp_path / "e")
    assert exit_code == 2
    assert "No classifier comes along with 'digits'" in err
