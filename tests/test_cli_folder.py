"""From a folder of pictures and a table to a counterfactual picture, by the command line alone."""

import sys
import warnings

import numpy as np
import pytest
from PIL import Image as Pillow

import causalcf as ccf
from causalcf import cli
from causalcf.graph import load_graph


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line as the shell would: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/causalcf", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        monkeypatch.setenv("COLUMNS", "150")
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def folder(tmp_path):
    """60 pictures of 16 x 16 px: a bar as wide as its width and as bright as its shade."""
    rng = np.random.default_rng(0)
    root = tmp_path / "bars"
    root.mkdir()
    lines = ["file_name,width,shade,seen,name"]
    for i in range(60):
        width, shade = int(rng.integers(2, 12)), ("dark", "light")[i % 2]
        pixels = np.zeros((16, 16), np.uint8)
        pixels[:, 2 : 2 + width] = 230 if shade == "light" else 90
        Pillow.fromarray(pixels).save(root / f"{i}.png")
        lines.append(f"{i}.png,{width + rng.normal() / 10:.3f},{shade},{i % 3 // 2},bar {i}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


SHADE = """,
   "kind": "Categorical",
   "categories": [
    "dark",
    "light"
   ]"""
EDGES = ("--edge", "width:image", "--edge", "shade:image")
VAE = ("--mechanism", "image=VAE(latent=2, widths=(8, 8, 8))", "--epochs", 2, "--quiet")


def test_from_a_folder_to_a_counterfactual_picture(run, folder, tmp_path):
    graph, model, out = tmp_path / "bars.json", tmp_path / "bars.safetensors", tmp_path / "out"
    code, said, error = run("draft", folder, *EDGES, "--out", graph)
    assert code == 0, error
    assert "Categorical" in said
    assert load_graph(graph).variables["shade"].categories == ("dark", "light")
    assert "grey, 16 x 16 px" in said
    assert f"causalcf fit {graph} --data {folder} --mechanism image=VAE" in said
    assert load_graph(graph).variables["image"].event_shape == (1, 16, 16)
    code, _, error = run("fit", graph, "--data", folder, *VAE, "--out", model)
    assert code == 0, error
    assert "warning" not in error
    code, said, error = run("counterfactual", model, "--data", folder, "--do", "shade=light", "--rows", 3, "--out", out)
    assert code == 0, error
    shown = np.asarray(Pillow.open(out / "counterfactual.png").convert("L"))
    assert shown.std() > 10
    graph.write_text(graph.read_text().replace(SHADE, ""))
    code, said, error = run("fit", graph, "--data", folder, *VAE, "--out", model)
    assert code == 0, error
    assert "shade" in said, "what the graph does not declare is told from the names, not from their codes"
    assert ccf.SCM.load(model).variables["shade"] == ccf.Categorical(["dark", "light"])
    code, said, error = run("evaluate", model, "--data", folder, "--metric", "composition", "--n", 10)
    assert code == 0, error
    assert "composition" in said


def test_splits_of_a_folder(run, folder, tmp_path):
    text = (folder / "metadata.csv").read_text().splitlines()
    rows = [f"{line},{'split' if i == 0 else 'test' if i > 57 else 'train'}" for i, line in enumerate(text)]
    (folder / "metadata.csv").write_text("\n".join(rows))
    graph, model = tmp_path / "bars.json", tmp_path / "bars.safetensors"
    assert run("draft", folder, "--edge", "width:image", "--out", graph)[0] == 0
    code, _, error = run("fit", graph, "--data", folder, *VAE, "--out", model)
    assert code == 0, error
    ask = ("counterfactual", model, "--data", folder, "--do", "width=9", "--out", tmp_path / "out", "--rows")
    assert run(*ask, 9)[0] == 0
    assert len((tmp_path / "out" / "counterfactual.csv").read_text().splitlines()) == 1 + 3, "those of the test split"
    judges = ("predictors", folder, "--out", tmp_path / "judges", "--epochs", 1, "--quiet", "--precision", "32-true")
    code, said, error = run(*judges, "--graph", graph)
    assert code == 0, error
    assert "bars.width.safetensors" in said
    scores = ("--metric", "effectiveness", "--metric", "unchanged", "--predictors", tmp_path / "judges")
    code, said, error = run("evaluate", model, "--data", folder, *scores)
    assert code == 0, error
    assert "effectiveness" in said
    code, _, error = run(*judges)
    assert code == 2
    assert "which columns cause the image? Name the graph file: --graph FILE.json" in error
    code, _, error = run(*ask, 3, "--split", "valid")
    assert code == 2
    assert "has no split 'valid'. It has ['test', 'train']" in error


def test_a_draft_says_what_it_guessed(run, folder, tmp_path):
    graph = tmp_path / "all.json"
    code, said, error = run("draft", folder, "--out", graph)
    assert code == 0, error
    kinds = {node: variable.kind for node, variable in load_graph(graph).variables.items()}
    assert kinds == {
        "width": "Real",
        "shade": "Categorical",
        "seen": "Boolean",
        "image": "Image",
    }
    assert "only 0 and 1" in said
    assert "Left out: 'name' is text with another value in each of 60 rows" in error
    assert "No edges yet" in said
    code, said, error = run("draft", folder / "metadata.csv", "--edge", "seen:width", "--out", tmp_path / "table.json")
    assert code == 0, error
    assert load_graph(tmp_path / "table.json").nodes == ("seen", "width")
    Pillow.new("RGB", (300, 200)).save(folder / "0.png")
    code, said, error = run("draft", folder, *EDGES, "--out", graph, "--force")
    assert code == 0, error
    assert "colour, 16 x 16 to 200 x 300 px, padded with black to 64 x 64" in said.replace("\n", " ")
    assert run("draft", folder, *EDGES, "--out", graph, "--force", "--size", 24, "--grey")[0] == 0
    assert load_graph(graph).variables["image"].event_shape == (1, 24, 24)


def test_refusals(run, folder, tmp_path):
    graph = tmp_path / "bars.json"

    def refused(*arguments):
        code, _, error = run(*arguments)
        assert code == 2
        assert error.count("\n") == 1
        return error

    assert "has no column 'hight'. It has ['width'" in refused("draft", folder, "--edge", "hight:image", "--out", graph)
    assert "--edge width: write cause:effect" in refused("draft", folder, "--edge", "width", "--out", graph)
    assert "cycle" in refused("draft", folder, "--edge", "width:seen", "--edge", "seen:width", "--out", graph)
    assert "ends in .json" in refused("draft", folder, "--out", tmp_path / "bars.txt")
    assert not graph.exists(), "nothing is written of what is refused"
    assert run("draft", folder, *EDGES, "--out", graph)[0] == 0
    assert "is there already" in refused("draft", folder, *EDGES, "--out", graph)
    fit = ("fit", graph, "--data", folder, *VAE, "--out", tmp_path / "m.safetensors")
    assert "is a folder by itself" in refused(*fit, "--root", tmp_path)
    (folder / "7.png").unlink()
    assert "row 7 (counted from 0), '7.png': there is no such file" in refused(*fit)
    text = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text(text.replace("width", "breadth", 1))
    assert "lacks a column 'width'" in refused(*fit)
    (folder / "metadata.csv").unlink()
    assert "There is no metadata.csv in" in refused(*fit)
    assert "There is no data set 'nowhere'" in refused(*fit[:3], "nowhere", *fit[4:])
