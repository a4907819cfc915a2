"""Tables on the command line: names, keys, encodings, and what is said before fitting."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import causalcf as ccf
from causalcf import cli
from causalcf.cli import parse
from causalcf.core.checkpoint import read_file
from causalcf.core.errors import DataError, InterventionError

NAMES = {
    "yield": ccf.Real(),
    "yield, kg": ccf.Real(),
    "a=b": ccf.Real(),
    "job": ccf.Categorical(["sales", "sales, retail", "it's"]),
    "member": ccf.Boolean(),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yield, kg=40", {"yield, kg": 40.0}),
        ('"yield, kg"=40', {"yield, kg": 40.0}),
        ("'yield, kg' += 2", {"yield, kg": ccf.shift(2.0)}),
        (r"yield\, kg=40", {"yield, kg": 40.0}),
        ("yield=1, yield, kg=2", {"yield": 1.0, "yield, kg": 2.0}),
        ("a=b=3,yield-=1", {"a=b": 3.0, "yield": ccf.shift(-1.0)}),
        ("job=sales, retail", {"job": "sales, retail"}),
        ('job="sales, retail",member=no', {"job": "sales, retail", "member": False}),
        ("job=sales,member=Yes", {"job": "sales", "member": True}),
        ("job=it's", {"job": "it's"}),
        ('"unknown, too"=1', {"unknown, too": 1.0}),
        ("yield=1,", {"yield": 1.0}),
    ],
)
def test_every_name_can_be_acted_on(text: str, expected: dict[str, Any]) -> None:
    assert parse.parse_do(text, NAMES) == expected


@pytest.mark.parametrize("text", [",", " , ", ""])
def test_commas_alone_are_no_action(text: str) -> None:
    with pytest.raises(InterventionError, match="An action is empty"):
        parse.parse_do(text, NAMES)


def test_digits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="expected a number, or start:stop"):
        parse.slice_rows(ccf.Batch({}), "\u00b2")
    with pytest.raises(DataError, match="expected a number, or node=number"):
        parse.parse_epochs(["\u00b2"], ["x"])


# ---------------------------------------------------------------------- from a file to files


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit code, standard output, standard error."""

    def asked(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["causalcf", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return asked


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def fitted(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Callable[..., tuple[Path, Path, str, str]]:
    """Write a table and a graph of two nodes, and fit it: file of the model, file of the table, what was said."""

    def made(header: str, lines: list[str], *options: object, nodes: tuple[str, str] = ("x", "y")) -> Any:
        data, graph, model = tmp_path / "t.csv", tmp_path / "g.json", tmp_path / "m.safetensors"
        data.write_text("\n".join([header, *lines, "", ""]), "utf-8")
        ccf.CausalGraph([nodes]).save(graph)
        linear = [f"{node}=LinearGaussian" for node in nodes]
        mechanisms = [word for option in linear for word in ("--mechanism", option)] if "--quiet" in options else []
        fit = ["fit", graph, "--data", data, "--out", model, "--epochs", 1, *mechanisms, *options]
        code, out, err = run(*fit)
        assert code == 0, err
        return model, data, out, err

    return made


RNG = np.random.default_rng(0)
X = RNG.normal(50, 10, 60).round(2)
ROWS = [f"p{i:03d},{x},{2 * x:.2f}," + ("" if i == 50 else "fine") for i, x in enumerate(X)]


@pytest.mark.filterwarnings("always")
def test_the_column_that_names_the_rows_is_carried_to_every_output(run, fitted, tmp_path: Path) -> None:
    model, data, out, err = fitted("patient,x,y,note", ROWS, "--quiet")
    assert "told" not in out
    assert "x     Real      a real number          numbers, " in out
    assert "Ignoring ['note']" in err
    code, out, _ = run(
        "counterfactual", model, "--data", data, "--rows", "10:12", "--do", "x=40", "--out", tmp_path / "cf"
    )
    assert code == 0
    assert "p010" in out
    lines = _lines(tmp_path / "cf" / "counterfactual.csv")
    assert [(line["row"], line["patient"]) for line in lines] == [("10", "p010"), ("11", "p011")]
    header, _ = read_file(tmp_path / "cf" / "counterfactual.safetensors")
    assert header["key"] == {"patient": ["p010", "p011"]}


@pytest.mark.filterwarnings("always")
def test_a_gap_that_the_question_does_not_touch_does_not_stop_it(run, fitted, tmp_path: Path) -> None:
    model, data, _, _ = fitted("patient,x,y,note", ROWS, "--quiet")
    data.write_text(data.read_text("utf-8") + "p999,NA,oops,\n", "utf-8")
    code, _, err = run("counterfactual", model, "--data", data, "--rows", "3", "--do", "x=40", "--out", tmp_path / "cf")
    assert code == 0, err


@pytest.mark.filterwarnings("always")
def test_several_columns_name_the_rows_together_or_one_is_named(run, fitted, tmp_path: Path) -> None:
    rows = [f"{i // 2},{i % 2},{x},{2 * x:.2f}" for i, x in enumerate(X)]
    model, data, _, _ = fitted("site_id,visit_no,x,y", rows, "--quiet")
    ask = ["counterfactual", model, "--data", data, "--rows", "3:4", "--do", "x=40", "--out", tmp_path / "cf"]
    assert run(*ask)[0] == 0
    line = _lines(tmp_path / "cf" / "counterfactual.csv")[0]
    assert (line["site_id"], line["visit_no"]) == ("1", "1")
    assert run(*ask, "--key", "site_id")[0] == 0
    assert "visit_no" not in _lines(tmp_path / "cf" / "counterfactual.csv")[0]
    code, _, err = run(*ask, "--key", "name")
    assert code == 2
    assert "--key name:" in err


@pytest.mark.parametrize("nodes", [("row", "world"), ("sample", "row (label)"), ("x", "x (factual)"), ("rows", "a, b")])
def test_nodes_with_the_names_of_output_columns_lose_nothing(
    run, fitted, tmp_path: Path, nodes: tuple[str, str]
) -> None:
    header = ",".join(f'"{node}"' for node in nodes)
    model, data, _, _ = fitted(header, [f"{x},{2 * x:.2f}" for x in X], "--quiet", nodes=nodes)
    do = f'"{nodes[0]}"=40'
    code, _, err = run("counterfactual", model, "--data", data, "--rows", "10:12", "--do", do, "--out", tmp_path / "cf")
    assert code == 0, err
    with (tmp_path / "cf" / "counterfactual.csv").open(encoding="utf-8") as opened:
        headings, first, _ = csv.reader(opened)
    assert len(set(headings)) == len(headings) == 7
    assert first[2] == "10"
    assert float(first[headings.index(nodes[0])]) == 40
    assert str(X[10]) in " ".join(first)


def test_yes_and_no_are_acted_on_by_their_words(run, fitted, tmp_path: Path) -> None:
    rows = [f"{'yes' if x > 50 else 'no'},{2 * x:.2f}" for x in X]
    model, data, out, _ = fitted("member,y", rows, nodes=("member", "y"))
    assert "Boolean" in out
    ask = ["counterfactual", model, "--data", data, "--do", "member=yes", "--out", tmp_path / "cf"]
    assert run(*ask)[0] == 0
    assert {line["member"] for line in _lines(tmp_path / "cf" / "counterfactual.csv")} == {"True"}


def test_encodings_and_marks_are_declared(run, fitted, tmp_path: Path) -> None:
    doctor = "m\u00e9decin"
    rows = [f"{doctor if x > 50 else 'clerk'},{2 * x:.2f}" for x in X]
    model, data, _, _ = fitted("job,y", rows, nodes=("job", "y"))
    data.write_bytes(data.read_text("utf-8").encode("cp1252"))
    ask = ["counterfactual", model, "--data", data, "--do", "job=m\u00e9decin", "--out", tmp_path / "cf"]
    code, _, err = run(*ask)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "byte 0xe9" in err
    assert run(*ask, "--encoding", "cp1252")[0] == 0
    code, _, err = run(*ask, "--encoding", "cp1252", "--missing", "clerk", "--rows", "60")
    assert code == 2
    assert "'job' has no value in" in err
    code, _, err = run(
        "fit", tmp_path / "g.json", "--data", "digits", "--out", tmp_path / "d.safetensors", "--key", "x"
    )
    assert code == 2
    assert "--key is for CSV files" in err


@pytest.mark.filterwarnings("always")
def test_doubts_are_said_before_fitting(fitted) -> None:
    rows = [f"{int(x > 50)},{2 * x:.2f}" for x in X]
    _, _, out, err = fitted("treated,y", rows, nodes=("treated", "y"))
    assert "warning: 'treated' holds only 0 and 1" in err
    assert out.index("numbers, 0 .. 1") < out.index("validation loss")


@pytest.mark.parametrize("command", ["evaluate", "explain"])
def test_an_absolute_path_is_no_pattern(run, fitted, tmp_path: Path, command: str) -> None:
    model, data, _, _ = fitted("x,y", [f"{x},{2 * x:.2f}" for x in X], "--quiet")
    words = {"evaluate": ["--metric", "composition"], "explain": ["--target", "1", "--node", "y"]}[command]
    code, _, err = run(command, model, "--data", data.resolve(), *words)
    assert (code, len(err.splitlines())) == (2, 1)
    assert {"evaluate": "needs a graph with an image", "explain": "No classifier comes along"}[command] in err
    code, _, err = run("evaluate", model, "--data", data, "--predictors", data.resolve())
    assert (code, len(err.splitlines())) == (2, 1)


def test_what_was_inferred_is_in_the_file_of_the_model(fitted) -> None:
    model, _, _, _ = fitted("x,y", [f"{x},{2 * x:.2f}" for x in X], "--quiet")
    assert "numbers, " in str(ccf.SCM.load(model).graph.describe())
    assert json.dumps(ccf.SCM.load(model).graph.to_json())
