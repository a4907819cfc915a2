"""`causalcf counterfactual`: what it says, what it writes, and how it is asked."""

import json

import pytest
import torch
from cli.files import lines_of, provenance_of
from matplotlib import image as mpl_image

import causalcf as ccf
from causalcf.core.checkpoint import read_file


@pytest.fixture(scope="module")
def moved(run, fitted, table, tmp_path_factory):
    """Two worlds of three rows of the table: what was said, and the lines of the table that was written."""
    out = tmp_path_factory.mktemp("moved") / "cf"
    asked = ["--do", "x+=1,b=true", "--do", "c=red", "--rows", "2:5", "--out", out]
    code, said, _ = run("counterfactual", fitted[0], "--data", table, *asked)
    assert code == 0
    return said, lines_of(out / "counterfactual.csv")


def test_counterfactual_says_what_was_done(moved):
    said, lines = moved
    assert "do(x += 1" in said
    assert "do(c = red)" in said
    assert [line["world"] for line in lines] == ["0"] * 3 + ["1"] * 3


def test_an_action_moves_what_it_causes(moved):
    for line in moved[1][:3]:  # y = 2 x + noise
        assert float(line["x"]) == pytest.approx(float(line["x (factual)"]) + 1, abs=1e-5)
        assert float(line["y"]) == pytest.approx(float(line["y (factual)"]) + 2, abs=0.2)
        assert line["b"] == "True"


def test_an_action_leaves_its_causes_alone(moved):
    lines = moved[1][3:]
    assert [line["c"] for line in lines] == ["red"] * 3
    assert all(line["y"] == line["y (factual)"] for line in lines)


@pytest.fixture(scope="module")
def written(run, model, tmp_path_factory):
    """Three worlds of four digits: the folder of the answer, and what was said."""
    out = tmp_path_factory.mktemp("written") / "cf"
    code, text, err = run(
        "counterfactual", model, "--data", "digits", "--rows", "8:12", "--out", out,
        "--do", "thickness=4,digit=7", "--do", "intensity-=10", "--do", "thickness*=0.5",
    )  # fmt: skip
    assert (code, err) == (0, "")
    return out, text


def test_counterfactual_names_its_files(written):
    out, text = written
    names = ["counterfactual.png", "counterfactual.csv", "counterfactual.safetensors", "counterfactual.json"]
    assert text.splitlines()[-4:] == [str(out / name) for name in names]
    assert "do(thickness = 4, digit = 7)" in text


def test_counterfactual_writes_what_the_model_answers(written, model):
    _, tensors = read_file(written[0] / "counterfactual.safetensors")
    scm, x = ccf.SCM.load(model), ccf.datasets.Digits("test")[8:12]
    worlds = [{"thickness": 4.0, "digit": "7"}, {"intensity": ccf.shift(-10)}, {"thickness": ccf.scale(0.5)}]
    expected = scm.counterfactual(x, do=worlds)
    for node in scm.graph.nodes:
        torch.testing.assert_close(tensors[f"counterfactual.{node}"], expected[node])
        torch.testing.assert_close(tensors[f"factual.{node}"], x[node])


def test_every_file_of_an_answer_carries_its_provenance(written, model):
    out, _ = written
    header, _ = read_file(out / "counterfactual.safetensors")
    record = json.loads((out / "counterfactual.json").read_text())
    assert record == header["provenance"] == provenance_of(out / "counterfactual.png")
    assert record["do"] == ["thickness=4,digit=7", "intensity-=10", "thickness*=0.5"]
    assert (record["residual"], record["abduction"], record["seed"]) == (1.0, "mean", 0)
    assert (record["model"], record["data"], record["rows"]) == (str(model), "digits:test", "8:12")


def test_the_table_of_an_answer_has_a_line_per_row_and_world(written):
    lines = lines_of(written[0] / "counterfactual.csv")
    assert [line["row"] for line in lines] == ["8", "9", "10", "11"] * 3
    assert {line["digit"] for line in lines[:4]} == {"7"}


def test_counterfactual_samples_residual_and_clipping(run, model, tmp_path):
    out = tmp_path / "cf"
    code, text, _ = run(
        "counterfactual", model, "--data", "digits", "--rows", "2", "--out", out, "--do", "intensity+=500", "--clip",
        "--num-samples", "3", "--abduction", "sample", "--residual", "0", "--seed", "5",
    )  # fmt: skip
    assert code == 0
    assert "First of 3 samples" in text
    record = json.loads((out / "counterfactual.json").read_text())
    assert (record["residual"], record["abduction"], record["num_samples"]) == (0.0, "sample", 3)
    assert record["temperatures"] == {"image": 1.0}
    assert record["clipped"] == {"intensity": 6}
    _, tensors = read_file(out / "counterfactual.safetensors")
    assert tensors["counterfactual.image"].shape == (3, 2, 1, 32, 32)
    assert (tensors["counterfactual.intensity"] == 255).all()


def test_counterfactual_shows_the_truth_where_it_is_known(run, model, table, tmp_path):
    ask = ["counterfactual", model, "--data", "digits", "--rows", "2", "--do", "thickness=4"]
    assert run(*ask, "--out", tmp_path / "without")[0] == 0
    code, _, err = run(*ask, "--truth", "--out", tmp_path / "with")
    assert (code, err) == (0, "")
    pictures = [mpl_image.imread(tmp_path / name / "counterfactual.png") for name in ("without", "with")]
    assert pictures[1].shape[1] > pictures[0].shape[1]  # a column more
    code, _, err = run(*ask[:-1], "digit=7", "--truth", "--out", tmp_path / "unknown")
    assert code == 2
    assert err.count("\n") == 1


def test_the_truth_of_a_shift_is_that_of_the_value_it_came_to(run, model, tmp_path):
    ask = ["counterfactual", model, "--data", "digits", "--rows", "2", "--do", "thickness+=1", "--do", "intensity=100"]
    code, _, err = run(*ask, "--truth", "--out", tmp_path)
    assert (code, err) == (0, "")
    _, tensors = read_file(tmp_path / "counterfactual.safetensors")
    assert torch.allclose(tensors["truth.0.thickness"], tensors["factual.thickness"] + 1, atol=1e-5)
    assert (tensors["truth.1.intensity"] == 100).all()


@pytest.fixture
def passengers(run, tmp_path):
    """How a table whose categories look like numbers is asked about, but for the options."""
    graph, data, file = tmp_path / "graph.json", tmp_path / "t.csv", tmp_path / "t.safetensors"
    ccf.CausalGraph([("pclass", "y")], {"pclass": ccf.Categorical(["1", "2", "3"]), "y": ccf.Real()}).save(graph)
    data.write_text("pclass,y\n" + "".join(f"{1 + i % 2},{i % 7}\n" for i in range(60)))
    fitting = ["fit", graph, "--data", data, "--out", file, "--mechanism", "y=LinearGaussian", "--quiet"]
    assert run(*fitting)[0] == 0
    return ["counterfactual", file, "--data", data, "--do", "pclass=1", "--rows", "10:12", "--out", tmp_path / "cf"]


def test_a_table_is_asked_about_by_its_names_and_row_numbers(run, passengers, tmp_path):
    """What looks like a number in a category's column is a name."""
    code, _, err = run(*passengers)
    assert (code, err) == (0, "")
    lines = lines_of(tmp_path / "cf" / "counterfactual.csv")
    assert [(line["row"], line["pclass"], line["pclass (factual)"]) for line in lines] == [
        ("10", "1", "1"),
        ("11", "1", "2"),
    ]
    assert json.loads((tmp_path / "cf" / "counterfactual.json").read_text())["data"] == str(tmp_path / "t.csv")


def test_a_table_has_no_splits(run, passengers):
    """A file has no splits that a record could name."""
    code, _, err = run(*passengers, "--split", "train")
    assert code == 2
    assert "--split train: a CSV file has no splits" in err
