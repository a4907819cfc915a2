"""From a folder of pictures and a table to a counterfactual picture, by the command line alone."""

import shutil

import numpy as np
import pytest
from PIL import Image as Pillow

import causalcf as ccf
from causalcf.cli.page import _data_code
from causalcf.datasets import decoded
from causalcf.datasets import folder as folders
from causalcf.graph import load_graph


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """60 pictures of 16 x 16 px: a bar as wide as its width and as bright as its shade."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("pictures") / "bars"
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


@pytest.fixture
def folder(pictures, tmp_path):
    """A copy of the pictures, for one test to change."""
    return shutil.copytree(pictures, tmp_path / "bars")


SHADE = """,
   "kind": "Categorical",
   "categories": [
    "dark",
    "light"
   ]"""
EDGES = ("--edge", "width:image", "--edge", "shade:image")
VAE = ("--mechanism", "image=VAE(latent=2, widths=(8, 8, 8))", "--epochs", 2, "--quiet")


@pytest.fixture(scope="module")
def drafted(run, pictures, tmp_path_factory):
    """The graph file that was drafted from the pictures, and what was said of it."""
    graph = tmp_path_factory.mktemp("drafted") / "bars.json"
    code, said, error = run("draft", pictures, *EDGES, "--out", graph)
    assert code == 0, error
    return graph, said


@pytest.fixture(scope="module")
def model(run, pictures, drafted, tmp_path_factory):
    """The file of a model that was fitted with that graph."""
    file = tmp_path_factory.mktemp("model") / "bars.safetensors"
    code, _, error = run("fit", drafted[0], "--data", pictures, *VAE, "--out", file)
    assert code == 0, error
    assert "warning" not in error
    return file


def test_a_draft_is_a_graph_with_an_image(pictures, drafted):
    graph, said = drafted
    assert "Categorical" in said
    assert load_graph(graph).variables["shade"].categories == ("dark", "light")
    assert "grey, 16 x 16 px" in said
    assert f"causalcf fit {graph} --data {pictures} --mechanism image=VAE" in said
    assert load_graph(graph).variables["image"].event_shape == (1, 16, 16)


def test_a_counterfactual_of_a_folder_is_a_picture(run, pictures, model, tmp_path):
    out = tmp_path / "out"
    asked = ("counterfactual", model, "--data", pictures, "--do", "shade=light", "--rows", 3, "--out", out)
    code, _, error = run(*asked)
    assert code == 0, error
    shown = np.asarray(Pillow.open(out / "counterfactual.png").convert("L"))
    assert shown.std() > 10


def test_what_the_graph_does_not_declare_is_told_from_the_names(run, pictures, drafted, tmp_path):
    graph, model = tmp_path / "bars.json", tmp_path / "bars.safetensors"
    graph.write_text(drafted[0].read_text().replace(SHADE, ""))
    code, said, error = run("fit", graph, "--data", pictures, *VAE, "--out", model)
    assert code == 0, error
    assert "shade" in said, "what the graph does not declare is told from the names, not from their codes"
    assert ccf.SCM.load(model).variables["shade"] == ccf.Categorical(["dark", "light"])
    code, said, error = run("evaluate", model, "--data", pictures, "--metric", "composition", "--n", 10)
    assert code == 0, error
    assert "composition" in said


@pytest.fixture(scope="module")
def split(run, pictures, tmp_path_factory):
    """Pictures whose table has a column of splits, a graph of them, and a model of the graph."""
    root = tmp_path_factory.mktemp("split")
    folder, graph, model = shutil.copytree(pictures, root / "bars"), root / "bars.json", root / "bars.safetensors"
    text = (folder / "metadata.csv").read_text().splitlines()
    rows = [f"{line},{'split' if i == 0 else 'test' if i > 57 else 'train'}" for i, line in enumerate(text)]
    (folder / "metadata.csv").write_text("\n".join(rows))
    assert run("draft", folder, "--edge", "width:image", "--out", graph)[0] == 0
    code, _, error = run("fit", graph, "--data", folder, *VAE, "--out", model)
    assert code == 0, error
    return folder, graph, model


def test_a_question_is_of_the_test_split(run, split, tmp_path):
    folder, _, model = split
    ask = ("counterfactual", model, "--data", folder, "--do", "width=9", "--out", tmp_path / "out", "--rows")
    assert run(*ask, 9)[0] == 0
    assert len((tmp_path / "out" / "counterfactual.csv").read_text().splitlines()) == 1 + 3, "those of the test split"
    code, _, error = run(*ask, 3, "--split", "valid")
    assert code == 2
    assert "has no split 'valid'. It has ['test', 'train']" in error


JUDGES = ("--epochs", 1, "--quiet", "--precision", "32-true")


def test_judges_of_a_folder_score_its_model(run, split, tmp_path):
    folder, graph, model = split
    code, said, error = run("predictors", folder, "--out", tmp_path / "judges", *JUDGES, "--graph", graph)
    assert code == 0, error
    assert "bars.width.safetensors" in said
    scores = ("--metric", "effectiveness", "--metric", "unchanged", "--predictors", tmp_path / "judges")
    code, said, error = run("evaluate", model, "--data", folder, *scores)
    assert code == 0, error
    assert "effectiveness" in said


def test_judges_of_a_folder_need_a_graph(run, split, tmp_path):
    code, _, error = run("predictors", split[0], "--out", tmp_path / "judges", *JUDGES)
    assert code == 2
    assert "which columns cause the image? Name the graph file: --graph FILE.json" in error


def test_a_draft_says_what_it_guessed(run, pictures, tmp_path):
    graph = tmp_path / "all.json"
    code, said, error = run("draft", pictures, "--out", graph)
    assert code == 0, error
    kinds = {node: variable.kind for node, variable in load_graph(graph).variables.items()}
    assert kinds == {"width": "Real", "shade": "Categorical", "seen": "Boolean", "image": "Image"}
    assert "only 0 and 1" in said
    assert "Left out: 'name' is text with another value in each of 60 rows" in error
    assert "No edges yet" in said


def test_a_table_alone_is_drafted_too(run, pictures, tmp_path):
    graph = tmp_path / "table.json"
    code, _, error = run("draft", pictures / "metadata.csv", "--edge", "seen:width", "--out", graph)
    assert code == 0, error
    assert load_graph(graph).nodes == ("seen", "width")


def test_pictures_of_several_sizes_are_padded_or_made_smaller(run, folder, tmp_path):
    graph = tmp_path / "all.json"
    assert run("draft", folder, "--out", graph)[0] == 0
    Pillow.new("RGB", (300, 200)).save(folder / "0.png")
    code, said, error = run("draft", folder, *EDGES, "--out", graph, "--force")
    assert code == 0, error
    assert "colour, 16 x 16 to 200 x 300 px, padded with black to 64 x 64" in said.replace("\n", " ")
    assert run("draft", folder, *EDGES, "--out", graph, "--force", "--size", 24, "--grey")[0] == 0
    assert load_graph(graph).variables["image"].event_shape == (1, 24, 24)


@pytest.fixture
def refused(run):
    """Run what must be refused, and give the one line that says why."""

    def refused(*arguments):
        code, _, error = run(*arguments)
        assert code == 2
        assert error.count("\n") == 1
        return error

    return refused


def test_a_draft_that_cannot_be_is_refused(refused, pictures, tmp_path):
    graph = tmp_path / "bars.json"
    draft = ("draft", pictures)
    assert "has no column 'hight'. It has ['width'" in refused(*draft, "--edge", "hight:image", "--out", graph)
    assert "--edge width: write cause:effect" in refused(*draft, "--edge", "width", "--out", graph)
    assert "cycle" in refused(*draft, "--edge", "width:seen", "--edge", "seen:width", "--out", graph)
    assert "ends in .json" in refused(*draft, "--out", tmp_path / "bars.txt")
    assert not graph.exists(), "nothing is written of what is refused"


def test_a_draft_replaces_nothing(refused, pictures, drafted):
    assert "is there already" in refused("draft", pictures, *EDGES, "--out", drafted[0])


def test_a_folder_that_cannot_be_fitted_is_refused(refused, folder, drafted, tmp_path):
    fit = ("fit", drafted[0], "--data", folder, *VAE, "--out", tmp_path / "m.safetensors")
    assert "is a folder by itself" in refused(*fit, "--root", tmp_path)
    (folder / "7.png").unlink()
    assert "row 7 (counted from 0), '7.png': there is no such file" in refused(*fit)
    text = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text(text.replace("width", "breadth", 1))
    assert "lacks a column 'width'" in refused(*fit)
    (folder / "metadata.csv").unlink()
    assert "There is no metadata.csv in" in refused(*fit)
    assert "There is no data set 'nowhere'" in refused(*fit[:3], "nowhere", *fit[4:])


def test_a_question_decodes_the_pictures_it_asks_about(run, pictures, model, tmp_path, monkeypatch):
    names = []
    decode = decoded._decoded
    monkeypatch.setenv("CAUSALCF_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(decoded, "_decoded", lambda jobs, how: (names.extend(jobs), decode(jobs, how))[1])
    ask = ("counterfactual", model, "--data", pictures, "--do", "shade=light", "--rows", 5, "--out", tmp_path / "out")
    code, _, error = run(*ask)
    assert code == 0, error
    assert len(names) == 5
    assert not (tmp_path / "empty").exists()


def test_pictures_are_made_to_fit_as_it_is_said_and_as_the_model_was_fitted(
    run, pictures, drafted, tmp_path, monkeypatch
):
    asked = []
    from_folder = folders.from_folder
    monkeypatch.setattr(folders, "from_folder", lambda *a, **o: (asked.append(o["fit"]), from_folder(*a, **o))[1])
    file = tmp_path / "bars.safetensors"
    code, _, error = run("fit", drafted[0], "--data", pictures, *VAE, "--out", file, "--fit", "crop")
    assert code == 0, error
    ask = ("counterfactual", file, "--data", pictures, "--do", "shade=light", "--rows", 2, "--out", tmp_path / "out")
    assert run(*ask)[0] == run(*ask, "--fit", "stretch")[0] == 0
    assert run("evaluate", file, "--data", pictures, "--metric", "composition", "--n", 10)[0] == 0
    assert asked == ["crop", "crop", "stretch", "crop"]


@pytest.mark.parametrize(
    ("data", "fit", "message"),
    [
        ("digits", "crop", "--fit crop is for a folder of pictures, and 'digits' is none"),
        ("people.csv", "pad", "--fit pad is for a folder of pictures, and 'people.csv' is none"),
        (None, "resize", "fit='resize': choose one of ['pad', 'crop', 'stretch', 'exact']"),
    ],
)
def test_a_way_to_fit_that_is_none_is_refused(refused, pictures, model, data, fit, message):
    asked = ("counterfactual", model, "--data", data or pictures, "--do", "shade=light", "--fit", fit)
    assert message in refused(*asked)


def test_the_page_s_python_reads_the_same_pictures(split):
    folder, _, model = split
    code = _data_code(str(folder), None, None, "crop")
    assert code == f'ccf.datasets.from_folder("{folder}", graph=scm.graph, split="test", fit="crop")'
    found = eval(code, {"ccf": ccf, "scm": ccf.SCM.load(model)})
    assert found.rows == 3
