"""The command line: what it writes, what it says, and how it refuses."""

import csv
import json
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image as mpl_image
from PIL import Image as Pillow
from sklearn.datasets import load_digits

import causalcf as ccf
from causalcf import cli, predictors
from causalcf.cli import judge, parse
from causalcf.cli import load as arguments
from causalcf.core.checkpoint import read_file
from causalcf.core.errors import DataError, InterventionError
from causalcf.datasets.digits import enlarge
from causalcf.datasets.idx import idx_bytes, write_atomically
from causalcf.evaluation.scores import SCORES
from causalcf.mechanisms import MECHANISMS, Recipe

VARIABLES = {
    "thickness": ccf.Positive(),
    "ice-cream": ccf.Real(),
    "digit": ccf.Categorical(10),
    "bald": ccf.Boolean(),
}


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


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A file with a barely trained model of the digits."""
    path = tmp_path_factory.mktemp("model") / "digits.safetensors"
    vae = ccf.mechanisms.VAE(latent=4, widths=(8, 8, 8))
    scm = ccf.SCM("morphomnist", mechanisms={"image": vae})
    scm.fit(ccf.datasets.Digits("train")[:200], epochs=1, seed=0, progress=False).save(path)
    return path


@pytest.fixture
def table(tmp_path) -> Path:
    """A CSV file of a chain x -> y with a boolean and a category."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    lines = [
        f"{a},{2 * a + b},{'true' if a > 0 else 'false'},{'red' if b > 0 else 'blue'}"
        for a, b in zip(x, 0.1 * rng.normal(size=60), strict=True)
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["x,y,b,c", *lines]) + "\n")
    return path


# ---------------------------------------------------------------------- reading actions


@given(
    node=st.sampled_from(["thickness", "ice-cream", "image.z"]),
    amount=st.floats(-1e6, 1e6, allow_nan=False),
    operator=st.sampled_from(["=", "+=", "-=", "*="]),
    space=st.sampled_from(["", " "]),
)
def test_numbers_and_moves_are_read_as_written(node, amount, operator, space):
    expected = {"=": amount, "+=": ccf.shift(amount), "-=": ccf.shift(-amount), "*=": ccf.scale(amount)}[operator]
    assert parse.parse_do(f"{node}{space}{operator}{space}{amount!r}", VARIABLES) == {node: expected}


@given(st.permutations(["thickness=4", "digit=7", "ice-cream+=1", "bald=yes"]))
def test_the_order_of_actions_does_not_matter(parts):
    actions = parse.parse_do(", ".join(parts), VARIABLES)
    assert actions == {"thickness": 4.0, "digit": "7", "ice-cream": ccf.shift(1.0), "bald": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thickness", "Cannot read the action 'thickness'. Write node=4"),
        ("thickness=", "Cannot read the action 'thickness='"),
        ("=4", "Cannot read the action '=4'"),
        ("thickness=thick", "'thick' is not a number"),
        ("thickness*=nine", "'nine' is not a number"),
        ("bald=maybe", "expected true or false"),
        ("thickness=1,thickness+=2", "Two actions on 'thickness' in one world"),
    ],
)
def test_what_is_not_an_action_is_refused(text, message):
    with pytest.raises(InterventionError, match=message.replace("*", r"\*")):
        parse.parse_do(text, VARIABLES)


def test_no_action_is_refused():
    """An empty shell variable is no question."""
    with pytest.raises(InterventionError, match="An action is empty"):
        parse.parse_do(" ", VARIABLES)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: parse.parse_epochs(["1", "2"], ["x"]), "--epochs: 'all nodes' is given twice"),
        (lambda: parse.parse_epochs(["x=1", "x=2"], ["x"]), "--epochs: 'x' is given twice"),
        (lambda: parse.parse_weights(["digit=2", "digit=5"]), "--do: 'digit' is given twice"),
        (lambda: parse.parse_residual("a=1,a=2"), "--residual a=1,a=2: 'a' is given twice"),
        (lambda: parse.parse_mechanisms(["image=VAE", "image=GAN"]), "--mechanism: 'image' is given twice"),
    ],
)
def test_what_is_given_twice_is_refused(read, message):
    with pytest.raises(DataError, match=message):
        read()


# ---------------------------------------------------------------------- help


def commands(group, name=()):
    """(words of its name, command) of every command."""
    for word, command in group.commands.items():
        yield from commands(command, (*name, word)) if hasattr(command, "commands") else [((*name, word), command)]


COMMANDS = dict(commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize(("words", "command"), [pytest.param(*pair, id=" ".join(pair[0])) for pair in COMMANDS.items()])
def test_help_explains_every_option(run, words, command):
    code, out, _ = run(*words, "--help")
    assert code == 0
    for parameter in command.params:
        assert parameter.help or parameter.name == "help", f"{words}: {parameter.name} has no help"
        assert max(parameter.opts, key=len) in out
    assert command.help.splitlines()[0] in " ".join(out.split())


def test_help_does_not_wait_for_torch():
    script = (
        "import sys\n"
        "from causalcf.cli import app\n"
        f"for words in {[list(words) for words in COMMANDS]}:\n"
        "    app([*words, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'pyro', 'zuko', 'matplotlib', 'sklearn', 'skimage'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_version_and_overview(run):
    assert run("--version") == (0, f"causalcf {ccf.__version__}\n", "")
    code, out, err = run()
    assert code == 2
    assert all(name in out + err for name in ("demo", "graphs", "fit", "counterfactual", "evaluate", "data"))


# ---------------------------------------------------------------------- bad input


FITTED = ["--data", "nowhere.csv", "--out", "m.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["graphs", "nowhere"], "There is no graph 'nowhere'"),
        (["graphs", "chain", "--out", "chain.pdf"], "choose a name that ends in .png or .svg"),
        (["graphs", "chain", "--out", "chain.png", "--do", "sleep"], "The graph has no node 'sleep'"),
        (["graphs", "--out", "q.png"], "--out: which graph? Name one"),
        (["graphs", "chain", "--do", "x"], "--do: the graph is drawn after acting, to a file"),
        (["fit", "chain", *FITTED, "--rows", "-5"], "Invalid value for '--rows'"),
        (["fit", "chain", *FITTED, "--threads", "0"], "Invalid value for '--threads'"),
        (["fit", "chain", *FITTED, "--device", "foo"], "--device foo: this machine has no such device"),
        (["fit", "chain", *FITTED, "--device", "cuda:99"], "--device cuda:99: this machine has no such device"),
        (["fit", "chain", *FITTED, "--half", "image"], "The graph has no node 'image'"),
        (["fit", "chain", *FITTED, "--root", "nowhere"], "--root nowhere: nowhere.csv is a file by itself"),
        (["predictors", "x.csv", "--out", "judges"], "x.csv: a CSV file has no images"),
        (["predictors", "digits", "--out", "judges", "--epochs", "-1"], "Invalid value for '--epochs'"),
        (
            ["benchmark", "morphomnist", "--model", "a/vae.safetensors", "--model", "b/vae.safetensors"],
            "--model: 'vae' is given twice",
        ),
        (["fit", "chain"], "causalcf fit: Missing option '--data'. Try: causalcf fit --help"),
        (["fit", "chain", "--data", "x.csv", "--out", "m.pt"], "a model file ends in .safetensors"),
        (["fit", "chain", "--data", "nowhere.csv", "--out", "m.safetensors"], "There is no file nowhere.csv"),
        (
            ["fit", "chain", "--data", "coins", "--out", "m.safetensors"],
            "There is no data set 'coins'. Known: ['digits'",
        ),
        (["counterfactual", "nothing", "--data", "digits", "--do", "x=1"], "There is no reference model 'nothing'"),
        (["counterfactual", "no.safetensors", "--data", "digits", "--do", "x=1"], "There is no checkpoint at"),
        (["demo", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["sing"], "No such command 'sing'"),
        (["data", "morphomnist", "--mnist", "nowhere", "--out", "new"], "MNIST needs train-images-idx3-ubyte"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("causalcf")
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--do", ""], "An action is empty. Write node=4"),
        (["--do", "thicknes=4"], "do names ['thicknes'], neither nodes"),
        (["--do", "digit=eleven"], "'digit' has no category 'eleven'"),
        (["--do", "digit+=1"], "cannot be shifted or scaled"),
        (["--do", "thickness=-1"], "'thickness' must be above 0"),
        (["--do", "intensity+=900"], 'pass out_of_support="clip"'),
        (["--do", "thickness=4", "--rows", "x"], "--rows x: expected a number, or start:stop"),
        (["--do", "thickness=4", "--rows", "5:5"], "The data have no rows"),
        (["--do", "thickness=4", "--split", "valid"], "There is no split 'valid'"),
        (["--do", "thickness=4", "--num-samples", "3"], "nothing in this query is random"),
        (["--do", "thickness=4", "--abduction", "best"], 'abduction must be "mean" or "sample"'),
    ],
)
def test_a_bad_question_ends_with_one_line(run, model, tmp_path, arguments, message):
    code, out, err = run("counterfactual", model, "--data", "digits", "--out", tmp_path / "cf", *arguments)
    assert code == 2
    assert not out
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "cf").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("image", "expected node=Name"),
        ("image=VAE(", "expected node=Name"),
        ("image=Diffuser", "there is no mechanism 'Diffuser'. Known: ['Flow'"),
        ("image=VAE(**{'latent': 3})", "expected node=Name"),
        ("image=VAE(depth=3)", "unexpected keyword argument 'depth'"),
        ("image=VAE.preset('32')", "VAE has no 'preset'"),
        ("image=HVAE.preset('128')", "HVAE has no preset '128'"),
        ("image=HVAE.build()", "HVAE has no 'build'"),
        ("picture=VAE", "Mechanisms are given for ['picture']"),
    ],
)
def test_a_bad_mechanism_ends_with_one_line(run, tmp_path, option, message):
    code, _, err = run(
        "fit", "morphomnist", "--data", "digits", "--out", tmp_path / "m.safetensors", "--mechanism", option
    )
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


def test_the_shell_sees_code_2_and_one_line():
    program = Path(sys.executable).with_name("causalcf")
    done = subprocess.run([program, "graphs", "nowhere"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("causalcf: There is no graph 'nowhere'")


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["graphs"], 0), (["graphs", "nowhere"], 2)])
def test_python_m_causalcf_is_the_command(arguments, code):
    commands = [[Path(sys.executable).with_name("causalcf")], [sys.executable, "-m", "causalcf"]]
    installed, module = (
        subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        for command in commands
    )
    assert (module.returncode, module.stdout, module.stderr) == (code, installed.stdout, installed.stderr)


# ---------------------------------------------------------------------- graphs


def test_graphs_lists_what_there_is(run):
    code, out, _ = run("graphs")
    assert code == 0
    assert all(name in out for name in ccf.graph_names())


def test_a_graph_is_described_and_drawn(run, tmp_path):
    picture = tmp_path / "new" / "graph.png"
    code, out, _ = run("graphs", "morphomnist", "--out", picture, "--do", "intensity")
    assert code == 0
    assert "Positive" in out
    assert "in [64, 255] (grey levels)" in out
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in out
    assert mpl_image.imread(picture).std() > 0.1
    assert provenance_of(picture)["command"].startswith("causalcf graphs morphomnist")


def provenance_of(picture):
    with Pillow.open(picture) as image:
        return json.loads(image.text["provenance"])


# ---------------------------------------------------------------------- fit


def test_fit_on_a_table_then_ask(run, table, tmp_path):
    graph = tmp_path / "graph.json"
    ccf.CausalGraph(
        [("x", "y"), ("x", "b"), ("y", "c")],
        {"x": ccf.Real(), "y": ccf.Real(), "b": ccf.Boolean(), "c": ccf.Categorical(["blue", "red"])},
    ).save(graph)
    file = tmp_path / "out" / "model.safetensors"
    options = ["--mechanism", "x=LinearGaussian", "--mechanism", "y=LinearGaussian", "--epochs", "1", "--seed", "3"]
    code, out, err = run("fit", graph, "--data", table, "--out", file, "--quiet", *options)
    assert (code, err) == (0, "")
    assert "LinearGaussian" in out
    assert "solved" in out
    scm = ccf.SCM.load(file)
    assert scm.provenance["seed"] == 3
    assert scm.provenance["data"] == str(table)
    assert scm.provenance["command"].startswith("causalcf fit ")
    assert provenance_of(file.with_suffix(".png"))["seed"] == 3
    assert not file.with_suffix(".checkpoint").exists()

    asked = ["--do", "x+=1,b=true", "--do", "c=red", "--rows", "2:5", "--out", tmp_path / "cf"]
    code, out, _ = run("counterfactual", file, "--data", table, *asked)
    assert code == 0
    assert "do(x += 1" in out
    assert "do(c = red)" in out
    with (tmp_path / "cf" / "counterfactual.csv").open() as opened:
        lines = list(csv.DictReader(opened))
    assert [line["world"] for line in lines] == ["0"] * 3 + ["1"] * 3
    for line in lines[:3]:  # y = 2 x + noise
        assert float(line["x"]) == pytest.approx(float(line["x (factual)"]) + 1, abs=1e-5)
        assert float(line["y"]) == pytest.approx(float(line["y (factual)"]) + 2, abs=0.2)
        assert line["b"] == "True"
    assert [line["c"] for line in lines[3:]] == ["red"] * 3
    assert all(line["y"] == line["y (factual)"] for line in lines[3:])


def test_fit_on_digits(run, tmp_path):
    file = tmp_path / "digits.safetensors"
    options = [
        "--mechanism",
        "image=VAE(latent=4, widths=(8,8,8))",
        "--rows",
        "60",
        "--half",
        "image",
        "--threads",
        "1",
    ]
    epochs = [word for node in ("thickness", "intensity", "image") for word in ("--epochs", f"{node}=1")]
    code, out, _ = run("fit", "morphomnist", "--data", "digits", "--out", file, "--quiet", *options, *epochs)
    assert code == 0
    assert out.splitlines()[-2:] == [str(file.with_suffix(".png")), str(file)]
    scm = ccf.SCM.load(file)
    assert scm.mechanisms["image"].latent == 4
    assert scm.provenance["rows"] == 54  # a tenth validates
    assert file.stat().st_size < 300_000


def test_a_killed_fit_resumes_only_when_told(run, table, tmp_path):
    graph, file = tmp_path / "graph.json", tmp_path / "m.safetensors"
    ccf.CausalGraph([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}).save(graph)
    data = tmp_path / "xy.csv"
    data.write_text("\n".join(",".join(line.split(",")[:2]) for line in table.read_text().splitlines()))
    arguments = ["fit", graph, "--data", data, "--out", file, "--quiet", "--epochs", "1"]
    file.with_suffix(".checkpoint").write_bytes(b"not a checkpoint")
    code, _, err = run(*arguments)
    assert code == 2
    assert "exists already" in err
    code, _, err = run(*arguments, "--resume")
    assert code == 2
    assert "is damaged" in err


def test_mechanisms_are_named_with_their_settings_or_by_their_preset():
    asked = ["a=VAE", "b=VAE(8, beta=2.0)", "c=HVAE.preset('32', beta=3.0)"]
    made = parse.parse_mechanisms(asked)
    assert (made["a"].config, made["b"].latent, made["b"].beta) == (ccf.mechanisms.VAE().config, 8, 2.0)
    assert made["c"].config == ccf.mechanisms.HVAE.preset("32", beta=3.0).config


def test_epochs_are_a_number_or_by_node(run, tmp_path):
    nodes = ["x", "image"]
    assert parse.parse_epochs(["20"], nodes) == 20
    assert parse.parse_epochs(["image=20", "a=b=1"], nodes) == {"image": 20, "a=b": 1}
    assert parse.parse_epochs([], nodes) is None
    for both in (["1", "image=3"], ["image=3", "1"]):
        assert parse.parse_epochs(both, nodes) == {"x": 1, "image": 3}
    code, _, err = run(
        "fit", "chain", "--data", "digits", "--out", tmp_path / "m.safetensors", "--epochs", "image=many"
    )
    assert code == 2
    assert "--epochs image=many: expected a number, or node=number" in err


def test_every_mechanism_can_be_named():
    easy = [name for name, kind in MECHANISMS.items() if not kind.holds_code]
    assert {
        node: type(mechanism).__name__
        for node, mechanism in parse.parse_mechanisms([f"{name}={name}()" for name in easy]).items()
    } == {name: name for name in easy}


# ---------------------------------------------------------------------- counterfactual


def test_counterfactual_writes_what_it_answers(run, model, tmp_path):
    out = tmp_path / "cf"
    code, text, err = run(
        "counterfactual", model, "--data", "digits", "--rows", "8:12", "--out", out,
        "--do", "thickness=4,digit=7", "--do", "intensity-=10", "--do", "thickness*=0.5",
    )  # fmt: skip
    assert (code, err) == (0, "")
    names = ["counterfactual.png", "counterfactual.csv", "counterfactual.safetensors", "counterfactual.json"]
    assert text.splitlines()[-4:] == [str(out / name) for name in names]
    assert "do(thickness = 4, digit = 7)" in text

    header, tensors = read_file(out / "counterfactual.safetensors")
    scm, x = ccf.SCM.load(model), ccf.datasets.Digits("test")[8:12]
    worlds = [{"thickness": 4.0, "digit": "7"}, {"intensity": ccf.shift(-10)}, {"thickness": ccf.scale(0.5)}]
    expected = scm.counterfactual(x, do=worlds)
    for node in scm.graph.nodes:
        torch.testing.assert_close(tensors[f"counterfactual.{node}"], expected[node])
        torch.testing.assert_close(tensors[f"factual.{node}"], x[node])

    record = json.loads((out / "counterfactual.json").read_text())
    assert record == header["provenance"] == provenance_of(out / "counterfactual.png")
    assert record["do"] == ["thickness=4,digit=7", "intensity-=10", "thickness*=0.5"]
    assert (record["residual"], record["abduction"], record["seed"]) == (1.0, "mean", 0)
    assert (record["model"], record["data"], record["rows"]) == (str(model), "digits:test", "8:12")
    with (out / "counterfactual.csv").open() as opened:
        lines = list(csv.DictReader(opened))
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


def test_a_table_is_asked_about_by_its_names_and_row_numbers(run, tmp_path):
    """What looks like a number in a category's column is a name; and a file has no splits that a record could name."""
    graph, data, file = tmp_path / "graph.json", tmp_path / "t.csv", tmp_path / "t.safetensors"
    ccf.CausalGraph([("pclass", "y")], {"pclass": ccf.Categorical(["1", "2", "3"]), "y": ccf.Real()}).save(graph)
    data.write_text("pclass,y\n" + "".join(f"{1 + i % 2},{i % 7}\n" for i in range(60)))
    fitting = ["fit", graph, "--data", data, "--out", file, "--mechanism", "y=LinearGaussian", "--quiet"]
    assert run(*fitting)[0] == 0
    ask = ["counterfactual", file, "--data", data, "--do", "pclass=1", "--rows", "10:12", "--out", tmp_path / "cf"]
    code, _, err = run(*ask)
    assert (code, err) == (0, "")
    with (tmp_path / "cf" / "counterfactual.csv").open() as opened:
        lines = list(csv.DictReader(opened))
    assert [(line["row"], line["pclass"], line["pclass (factual)"]) for line in lines] == [
        ("10", "1", "1"),
        ("11", "1", "2"),
    ]
    assert json.loads((tmp_path / "cf" / "counterfactual.json").read_text())["data"] == str(data)
    code, _, err = run(*ask, "--split", "train")
    assert code == 2
    assert "--split train: a CSV file has no splits" in err


# ---------------------------------------------------------------------- evaluate, data


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
    monkeypatch.setattr(arguments, "load_data", lambda *_: rows)
    code, out, err = run("evaluate", path, "--data", "morphomnist", "--metric", "composition", "--n", 20)
    assert code == 0, err
    assert "composition(1)" in out


def test_only_models_of_the_benchmark_are_trained_again(run):
    code, _, err = run("benchmark", "morphomnist", "--model", "morphomnist-vae", "--retrain", "morphomnist-oracle")
    assert code == 2
    assert "there are no models ['morphomnist-oracle']. There are: ['morphomnist-vae']" in err


OWN = """
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from causalcf.mechanisms import Mechanism

DARKER = 0.5


@dataclass(eq=False, repr=False)
class Darker(Mechanism):
    kind: ClassVar = "implicit"
    factor: float = DARKER

    def solve(self, x, pa):
        self.register_buffer("mean", x.mean(0))
        return True

    def loss(self, x, pa):
        return (x - self.mean).square().mean()

    def abduct(self, x, pa, *, sample=False):
        return {"u": x - self.mean}

    def predict(self, u, pa):
        return DARKER / self.factor * (u["u"] + self.mean)

    def sample_noise(self, n):
        return {"u": torch.zeros(n, *self.mean.shape)}


mechanism = Darker()
"""


def test_a_mechanism_of_ones_own_enters_the_leaderboard(run, tmp_path, monkeypatch):
    """A class in a file is fitted and scored; lines are kept, and one is computed again alone."""
    train = ccf.datasets.Digits("train")[:60]
    train.graph = ccf.load_graph("morphomnist")
    load = arguments.load_data
    monkeypatch.setattr(judge, "load_data", lambda n, r, split: train if split == "train" else load(n, r, split))
    mine, out = tmp_path / "mine.py", tmp_path / "out"
    mine.write_text(OWN)
    asked = ("benchmark", "truth", "--data", "digits", "--n", 20, "--out", out, "--mechanism", mine)
    code, said, err = run(*asked)
    assert code == 0, err
    names = {"mine", "identity", "intensity-ratio", "re-rendering"}
    assert {path.stem for path in out.glob("*.json")} == names
    rows = {name: json.loads((out / f"{name}.json").read_text()) for name in names}
    for node in ("do(thickness)", "do(intensity)"):  # what gives the image back scores as doing nothing
        assert rows["mine"][node]["error"] == pytest.approx(rows["identity"][node]["error"], abs=1e-3)
    assert len([line for line in said.splitlines() if "grey levels" in line]) == 4
    stamps = {path.stem: path.stat().st_mtime_ns for path in out.glob("*.json")}
    code, _, err = run(*asked, "--again", "identity")
    assert code == 0
    assert "mine: kept" in err
    changed = {path.stem for path in out.glob("*.json") if path.stat().st_mtime_ns != stamps[path.stem]}
    assert changed == {"identity"}
    mine.write_text(OWN.replace("factor: float = DARKER", "factor: float = 50.0"))
    code, _, err = run(*asked)
    assert "mine: kept" not in err
    worse = json.loads((out / "mine.json").read_text())
    assert worse["do(intensity)"]["error"] > rows["mine"]["do(intensity)"]["error"]
    floor = tmp_path / "identity.py"
    floor.write_text(OWN)
    for words, reason in {
        ("--mechanism", tmp_path / "none.py"): "there is no file",
        ("--mechanism", floor): "--model, --mechanism: 'identity' is given twice",
        ("--again", "yours"): "There are no lines ['yours']",
    }.items():
        code, _, err = run(*asked, *words)
        assert code == 2
        assert reason in err


def test_evaluate_by_name_with_judges_of_a_folder(run, model, tmp_path, monkeypatch):
    """Scores that are asked for, each beside the truth, doing nothing and noise; what is missing is said."""
    monkeypatch.delenv("CAUSALCF_WEIGHTS", raising=False)
    judges = tmp_path / "judges"
    judges.mkdir()
    train = ccf.datasets.Digits("train")[:200]
    variables = ccf.load_graph("morphomnist").variables
    for node in ("thickness", "digit"):
        judge = predictors.Predictor(
            node, variables[node], ccf.datasets.Digits("test").variables["image"], widths=(4, 8)
        )
        recipe = Recipe(epochs=1, batch_size=64)
        predictors.fit(judge, train, recipe=recipe, progress=False).save(judges / f"digits.{node}.safetensors")
    file, common = tmp_path / "scores.json", ("--data", "digits", "--n", "20", "--do", "thickness")
    asked = ("--metric", "effectiveness", "--metric", "composition", "--predictors", judges)
    code, out, _ = run("evaluate", model, *common, *asked, "--out", file)
    assert code == 0
    assert re.search(r"effectiveness\s+do\(thickness\)", out)
    document = json.loads(file.read_text())
    assert document["provenance"]["data"] == "digits:test"
    scores = ccf.Records.from_json(document)
    assert {record.metric for record in scores} >= {"effectiveness", "composition(10)"}
    assert scores.one(metric="effectiveness", node="thickness", residual=1.0).truth is not None
    code, _, err = run("evaluate", model, *common, "--metric", "effectiveness")
    assert code == 2
    assert "'effectiveness' needs predictors=" in err
    other = predictors.Predictor("width", ccf.Real(), ccf.Image(1, 8, 8), widths=(4,), hidden=4)
    other.fitted = True
    other.save(tmp_path / "digits.width.safetensors")
    code, _, err = run("evaluate", model, *common, "--metric", "effectiveness", "--predictors", tmp_path)
    assert code == 2
    assert "q(width | image) is for another graph: ['width'] are not among" in err
    code, _, err = run("evaluate", model, *common, "--metric", "beauty")
    assert code == 2
    assert "There are no scores ['beauty']" in err
    code, _, err = run("evaluate", model, *common, "--vgg", tmp_path / "vgg16.pth")
    assert code == 2
    assert "There is no file" in err


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
    monkeypatch.setattr(arguments, "load_data", lambda *_: rows)
    for metric, reason in {
        "unchanged": "do(thickness): The 20 values of the marginal are all in one bin",
        "truth error": "'truth error' needs data whose true counterfactuals are known",
    }.items():
        code, _, err = run("evaluate", model, "--data", "digits", "--metric", metric)
        assert code == 2
        assert reason in err


def test_data_morphomnist_makes_a_data_set(run, tmp_path):
    pixels, labels = load_digits(return_X_y=True)
    (tmp_path / "mnist").mkdir()
    for prefix, rows in {"train": slice(0, 8), "t10k": slice(8, 12)}.items():
        write_atomically(
            {
                tmp_path / "mnist" / f"{prefix}-images-idx3-ubyte.gz": idx_bytes(
                    enlarge(pixels[rows].reshape(-1, 8, 8))
                ),
                tmp_path / "mnist" / f"{prefix}-labels-idx1-ubyte.gz": idx_bytes(labels[rows].astype(np.uint8)),
            }
        )
    out = tmp_path / "made"
    code, text, _ = run("data", "morphomnist", "--mnist", tmp_path / "mnist", "--out", out, "--mode", "fast", "--quiet")
    assert code == 0
    assert sorted(text.splitlines()) == sorted(str(path) for path in out.iterdir())
    assert ccf.datasets.MorphoMNIST(out, "train").rows == 8
    code, _, err = run("data", "morphomnist", "--mnist", tmp_path / "mnist", "--out", out, "--mode", "slow")
    assert code == 2
    assert "Unknown mode 'slow'" in err


# ---------------------------------------------------------------------- explaining a classifier

CLASSIFIER = """
import torch
torch.manual_seed(0)
classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
"""


def test_explain_writes_pictures_tables_and_the_intervention(run, model, tmp_path):
    code = tmp_path / "classifier.py"
    code.write_text(CLASSIFIER)
    command = ["explain", model, "--data", "digits", "--classifier", code, "--target", "3", "--rows", "20:32"]
    exit_code, out, err = run(*command, "--method", "PGD(max_steps=60)", "--stream", "--out", tmp_path / "e")
    assert exit_code == 0, err
    header, tensors = read_file(tmp_path / "e" / "explanation.safetensors")
    assert header["kind"] == "explanation"
    rows = list(csv.DictReader((tmp_path / "e" / "explanation.csv").read_text().splitlines()))
    assert len(rows) == len(tensors["counterfactual.image"])
    assert 0 < len(rows) <= 12
    assert all(row["factual"] != "3" and row["target"] == "3" for row in rows)
    record = json.loads((tmp_path / "e" / "explanation.json").read_text())
    assert record["seed"] == 0
    assert record["settings"] == "PGD(max_steps=60)"
    assert record["scores"]["valid"]["mean"] == np.mean([row["reached"] == "True" for row in rows])
    # The file's intervention makes the file's image.
    scm, data = ccf.SCM.load(model), ccf.datasets.Digits("test")[20:32]
    x = data[torch.tensor([int(row["row"]) for row in rows]) - int(data.index[0])]
    again = scm.counterfactual(x, do={"image": tensors["do.image"]})["image"]
    assert torch.allclose(again, tensors["counterfactual.image"], atol=1e-6)
    assert (tmp_path / "e" / "explanation.png").stat().st_size > 10_000
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
def test_explain_refuses_in_one_line(run, model, tmp_path, options, said):
    code = tmp_path / "classifier.py"
    code.write_text(CLASSIFIER)
    command = {"--data": "digits", "--classifier": code, "--target": "3", "--method": "PGD", "--out": tmp_path / "e"}
    command |= dict(zip(options[::2], options[1::2], strict=True))
    exit_code, _, err = run("explain", model, *(part for pair in command.items() for part in pair))
    assert exit_code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "e").exists()


def test_explain_keeps_what_a_method_learned(run, model, tmp_path):
    code, file = tmp_path / "classifier.py", tmp_path / "prototypes.safetensors"
    code.write_text(CLASSIFIER)
    classes = runpy.run_path(str(code))["classifier"](ccf.datasets.Digits("train")["image"][:100]).argmax(1)
    target = min(classes.tolist(), key=classes.tolist().count)  # one that not all rows are in
    command = ["explain", model, "--data", "digits", "--classifier", code, "--target", target, "--rows", "20:26"]
    settings = "CFProto(max_steps=5, c_steps=1, autoencoder_weight=1.0, prototype_weight=0.1)"
    learning = ["--method", settings, "--train-rows", "100", "--save", file, "--out", tmp_path / "a"]
    exit_code, _, err = run(*command, *learning)
    assert exit_code == 0, err
    exit_code, _, err = run(*command, "--method", file, "--out", tmp_path / "b")
    assert exit_code == 0, err
    (_, first), (_, again) = (read_file(tmp_path / name / "explanation.safetensors") for name in "ab")
    assert torch.equal(first["counterfactual.image"], again["counterfactual.image"])
    exit_code, _, err = run(*command, "--method", "PGD(max_steps=2)", "--save", file, "--out", tmp_path / "c")
    assert exit_code == 2
    assert "PGD learns nothing that could be saved" in err


def test_explain_needs_a_classifier_where_none_comes_along(run, model, tmp_path):
    exit_code, _, err = run("explain", model, "--data", "digits", "--target", "3", "--out", tmp_path / "e")
    assert exit_code == 2
    assert "No classifier comes along with 'digits'" in err


# ---------------------------------------------------------------------- the examples of --help


EXAMPLES = [line for one in COMMANDS.values() for line in re.findall(r"causalcf [^;]*", one.epilog or "")]


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_examples_of_help_can_be_typed(line):
    """Their words are options there are; what these name exists, and takes those settings."""
    _, *words = shlex.split(line)
    depth = next(depth for depth in (1, 2) if tuple(words[:depth]) in COMMANDS)
    asked = COMMANDS[tuple(words[:depth])].make_context("causalcf", words[depth:]).params
    assert {*(asked.get("metric") or ())} <= {*SCORES}
    if words[0] == "fit":
        assert ccf.load_graph(asked["graph"])
        parse.parse_mechanisms(asked["mechanism"])
        parse.parse_epochs(asked["epochs"] or [], ccf.load_graph(asked["graph"]).nodes)
    if words[0] == "counterfactual":
        assert all(parse.parse_do(do, ccf.load_graph("morphomnist").variables) for do in asked["do"])
    if words[0] == "explain":
        classifier, variable = arguments.load_classifier(asked["classifier"], asked["data"], "cpu")
        scm = arguments.load_model(asked["model"], "cpu")
        parse.parse_explainer(asked["method"], scm, node="image", classifier=classifier, variable=variable)
        assert parse.parse_target(asked["target"], variable) == int(asked["target"])


def test_every_command_that_needs_words_has_an_example():
    assert [name for name, one in COMMANDS.items() if "Example" not in (one.epilog or "")] == [("demo",)]
