"""`causalcf benchmark tables` and `truth`, on any data set with an image."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark.bars import NODES

import causalcf as ccf
from causalcf import cli, predictors
from causalcf.benchmark import Benchmark
from causalcf.core.errors import DataError


def _command(*words: str) -> None:
    """Run a command line in this process; its errors are raised."""
    cli.app(list(words), prog_name="causalcf", standalone_mode=False)


@pytest.fixture
def models(bench: Benchmark, tmp_path: Path) -> list[str]:
    """The options that name a model and its judges by their files."""
    bench.models["small"]().save(tmp_path / "vae.safetensors")
    for judge in bench.predictors.values():
        judge.save(tmp_path / "judges" / predictors.file_name("bars", judge.target))
    return ["--model", str(tmp_path / "vae.safetensors"), "--predictors", str(tmp_path / "judges")]


def test_any_data_set_with_an_image_has_its_tables(models: list[str], tmp_path: Path, capsys: Any) -> None:
    """By its row in the catalogue: its title, its residuals, its judges in a folder."""
    out = tmp_path / "out"
    _command("benchmark", "tables", "--data", "bars", "--n", "60", "--quiet", "--out", str(out), *models)
    assert str(out / "index.html") in capsys.readouterr().out.replace("\n", "")
    assert "Counterfactual images on bars" in (out / "index.html").read_text(encoding="utf-8")
    row = json.loads((out / "rows" / "vae.json").read_text(encoding="utf-8"))
    assert row["settings"]["residuals"] == ["1.0", "0.0"]
    assert row["settings"]["nodes"] == list(NODES)


def test_faces_are_compared_with_their_truth_and_need_no_judges(tmp_path: Path) -> None:
    """A model of average effects alone: nearer to the truth than doing nothing, and the page has both."""
    faces, held_out = ccf.datasets.Faces(rows=400), ccf.datasets.Faces("valid", rows=40)
    image = ccf.mechanisms.VAE(widths=(4, 4, 4), latent=2, average=True)
    scm = ccf.SCM(faces.graph, mechanisms={"image": image})
    scm.fit(faces, validation=held_out, epochs=0, seed=0, progress=False).save(tmp_path / "average.safetensors")
    out = tmp_path / "out"
    model = ["--model", str(tmp_path / "average.safetensors"), "--residual", "1"]
    _command("benchmark", "faces", "--n", "10", "--quiet", "--out", str(out), *model)
    row = json.loads((out / "rows" / "average.json").read_text(encoding="utf-8"))
    assert row["settings"]["judges"][:-3] == []
    scores = [s for s in row["scores"]["records"] if s["metric"] == "truth error" and s["node"] == "image"]
    assert {s["do"] for s in scores} == set(ccf.datasets.Faces(rows=1).variables) - {"image"}
    assert all(s["identity"] > 0 for s in scores)
    page = (out / "summary.md").read_text(encoding="utf-8")
    assert "do(eyeglasses)" in page
    assert "doing nothing" in page


def test_tables_are_of_images(models: list[str]) -> None:
    with pytest.raises(DataError, match=r"--data adult: the tables are of images. Data sets that have one: digits"):
        _command("benchmark", "tables", "--data", "adult", *models)


def test_tables_need_a_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Fit one, causalcf fit bars --data bars --mechanism image=VAE"):
        _command("benchmark", "tables", "--data", "bars", "--n", "60", "--quiet", "--out", str(tmp_path / "out"))


def test_the_leaderboard_acts_where_the_truth_is_known(tmp_path: Path, capsys: Any) -> None:
    asked = ["benchmark", "truth", "--data", "bars", "--n", "20", "--out", str(tmp_path)]
    cli.app(asked, prog_name="causalcf", standalone_mode=False)
    said = capsys.readouterr().out
    assert {path.stem for path in tmp_path.glob("*.json")} == {"identity", "re-rendering"}, "bars have no intensity"
    assert all(f"do({node})" in line for line in said.splitlines() for node in NODES)
    row = json.loads((tmp_path / "re-rendering.json").read_text(encoding="utf-8"))
    assert row["do(width)"]["error"] == 0
    assert row["unit"] == "grey levels"
