"""Tables and files of results."""

import csv
import json

import numpy as np
import pytest
import torch

import causalcf as ccf
from causalcf.core.checkpoint import read_file
from causalcf.core.files import write_csv, write_json
from causalcf.evaluation.records import Record, Records
from causalcf.report import print_counterfactual, print_fit, print_records, write_counterfactual

FIELDS = {
    "metric": "truth error", "do": "thickness", "unit": "grey levels", "better": "lower", "truth": None, "noise": None,
    "identity": 9.87654, "n": 1000, "seed": 0, "device": "cpu", "abduction": "mean", "judge": "",
}  # fmt: skip
RECORDS = Records(
    tuple(
        Record(**FIELDS, residual=residual, node=node, value=value, low=value - 0.0123, high=value + 0.0123)
        for residual, node, value in [(1.0, "image", 2.3456), (0.0, "image", 1e-9), (1.0, "intensity", 0.0)]
    ),
    missing={"cld": "needs latents="},
)


@pytest.fixture
def printed(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    return lambda: capsys.readouterr().out


def test_scores_have_a_line_per_question_and_a_column_per_residual(printed):
    print_records(RECORDS, title="Scores")
    out = printed()
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    (line,) = [line.split() for line in out.splitlines() if "image" in line]
    assert line == ["do(thickness)", "image", "2.35", "±0.01", "<", "0.001", "±0.01", "9.88", "grey", "levels", "↓"]
    (line,) = [line.split() for line in out.splitlines() if "intensity" in line]
    assert line == ["do(thickness)", "intensity", "0", "±0.01", "9.88", "grey", "levels", "↓"]
    assert "n = 1,000, seed 0" in out
    assert "cld is left out: needs latents=." in out


def test_scores_without_a_residual_have_the_column_of_the_model(printed):
    density = Record(**FIELDS | {"metric": "log density", "do": "", "unit": "nats", "better": "higher", "noise": -9.5},
                     residual=None, node="image", value=1.25, low=None, high=None)  # fmt: skip
    print_records(Records((density,)))
    heads, values = (line for line in printed().splitlines() if "model" in line or "log density" in line)
    assert heads.index("model") + len("model") == values.index("1.25") + len("1.25")
    assert values.split() == ["log", "density", "image", "1.25", "9.88", "-9.5", "nats", "↑"]


def test_fits_are_shown_with_their_best_loss(printed, mixed):
    print_fit(mixed)
    out = printed()
    lines = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in out.splitlines()
        if "│" in line
    }
    best = min(record["validation"] for record in mixed.history if record["node"] == "y")
    assert lines["y"][:3] == ["Flow", "x", f"{best:.4g}"]
    assert lines["d"] == ["Deterministic", "x, y", "", ""]


def test_answers_are_shown_beside_what_was_observed(printed, mixed, rows):
    cf = mixed.counterfactual(rows, do=[{"c": "red", "b": True}, {"x": ccf.shift(1.0)}], seed=0)
    print_counterfactual(cf, rows=2)
    out = printed()
    assert "observed" in out
    assert "do(c = red" in out
    assert "62 more rows are in the files." in out
    (first, _) = [line.split("│") for line in out.splitlines() if "│ c " in line]
    assert first[4].strip() == "red"


def test_answers_without_a_factual_are_shown(printed, mixed):
    noise = mixed.counterfactual(mixed.sample(3, seed=0), do={}, seed=0).noise
    print_counterfactual(mixed.predict(type(noise)(dict(noise)), {"x": 1.0}))
    out = printed()
    assert "observed" not in out
    assert "do(x = 1)" in out


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_counterfactual_files(mixed, rows, tmp_path):
    x = rows[5:8]
    cf = mixed.counterfactual(x, do=[{"x": 0.5}, {"c": "red"}], num_samples=2, seed=7)
    paths = write_counterfactual(cf, tmp_path / "a" / "b", seed=7, device="cpu", model="mixed")
    assert [path.suffix for path in paths] == [".png", ".csv", ".safetensors", ".json"]
    assert all(path.stat().st_size for path in paths)

    lines = read(paths[1])
    assert len(lines) == 2 * 2 * 3  # worlds, samples, rows
    assert [(line["world"], line["sample"], line["row"]) for line in lines][:4] == [
        ("0", "0", "5"), ("0", "0", "6"), ("0", "0", "7"), ("0", "1", "5"),
    ]  # fmt: skip
    assert {line["x"] for line in lines[:6]} == {"0.5"}
    assert {line["c"] for line in lines[6:]} == {"red"}
    names = mixed.variables["c"].categories
    assert [line["c (factual)"] for line in lines[:3]] == [names[code] for code in x["c"]]
    assert float(lines[0]["v[1]"]) == pytest.approx(cf["v"][0, 0, 0, 1].item(), rel=1e-6)

    header, tensors = read_file(paths[2])
    for node in mixed.graph.nodes:
        assert torch.equal(tensors[f"counterfactual.{node}"], cf[node])
        assert torch.equal(tensors[f"factual.{node}"], cf.factual[node])
    record = json.loads(paths[3].read_text())
    assert record == header["provenance"]
    assert (record["seed"], record["model"], record["num_samples"], record["clipped"]) == (7, "mixed", 2, {})


def test_json_has_null_for_numbers_that_are_not_finite(tmp_path):
    document = {"a": float("nan"), "b": [1.5, (float("inf"), {"c": np.float32("-inf")})], "d": "NaN"}
    path = write_json(tmp_path / "a.json", document)

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found == {"a": None, "b": [1.5, [None, {"c": None}]], "d": "NaN"}


def test_files_are_written_whole(tmp_path):
    assert json.loads(write_json(tmp_path / "new" / "a.json", {"path": tmp_path}).read_text()) == {
        "path": str(tmp_path)
    }
    path = write_csv(tmp_path / "a.csv", {"name": ["a,b", 'c"d'], "x": [1.5, float("nan")]})
    assert read(path) == [{"name": "a,b", "x": "1.5"}, {"name": 'c"d', "x": "nan"}]
    with pytest.raises(ValueError, match="shorter"):
        write_csv(path, {"name": ["a"], "x": []})
    assert len(read(path)) == 2  # the old file is still there
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
