"""`causalcf benchmark`: a mechanism of one's own, and what is kept."""

import json
import shutil

import pytest

import causalcf as ccf
from causalcf.cli import judge
from causalcf.cli import load as arguments


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the leaderboard is made: the mechanism in mine.py, its lines in out."""
    folder = tmp_path_factory.mktemp("leaderboard")
    (folder / "mine.py").write_text(OWN)
    return folder


@pytest.fixture(scope="module")
def asked(folder):
    """The words that ask for the leaderboard with that mechanism, on a few digits, but for where it is written."""
    train = ccf.datasets.Digits("train")[:60]
    train.graph = ccf.load_graph("morphomnist")
    load = arguments.load_data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "load_data", lambda n, r, split: train if split == "train" else load(n, r, split))
        yield ("benchmark", "truth", "--data", "digits", "--n", 20, "--mechanism", folder / "mine.py", "--out")


@pytest.fixture(scope="module")
def made(run, asked, folder):
    """The folder of that leaderboard, and what was said of it."""
    code, said, err = run(*asked, folder / "out")
    assert code == 0, err
    return folder / "out", said


@pytest.fixture
def board(made, tmp_path):
    """A copy of that folder, for one test to change."""
    return shutil.copytree(made[0], tmp_path / "out")


@pytest.fixture
def changed(folder):
    """The file of the mechanism holds another one for a while."""
    (folder / "mine.py").write_text(OWN.replace("factor: float = DARKER", "factor: float = 50.0"))
    yield
    (folder / "mine.py").write_text(OWN)


def test_a_mechanism_of_ones_own_enters_the_leaderboard(made):
    """A class in a file is fitted and scored; what gives the image back scores as doing nothing."""
    out, said = made
    names = {"mine", "identity", "intensity-ratio", "re-rendering"}
    assert {path.stem for path in out.glob("*.json")} == names
    rows = {name: json.loads((out / f"{name}.json").read_text()) for name in names}
    for node in ("do(thickness)", "do(intensity)"):
        assert rows["mine"][node]["error"] == pytest.approx(rows["identity"][node]["error"], abs=1e-3)
    assert len([line for line in said.splitlines() if "grey levels" in line]) == 4


def test_lines_are_kept_and_one_is_computed_again_alone(run, board, asked):
    stamps = {path.stem: path.stat().st_mtime_ns for path in board.glob("*.json")}
    code, _, err = run(*asked, board, "--again", "identity")
    assert code == 0
    assert "mine: kept" in err
    changed = {path.stem for path in board.glob("*.json") if path.stat().st_mtime_ns != stamps[path.stem]}
    assert changed == {"identity"}


@pytest.mark.usefixtures("changed")
def test_another_mechanism_in_the_file_is_computed_again(run, board, asked):
    before = json.loads((board / "mine.json").read_text())
    _, _, err = run(*asked, board)
    assert "mine: kept" not in err
    worse = json.loads((board / "mine.json").read_text())
    assert worse["do(intensity)"]["error"] > before["do(intensity)"]["error"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--mechanism", "none.py"), "there is no file"),
        (("--mechanism", "identity.py"), "--model, --mechanism: 'identity' is given twice"),
        (("--again", "yours"), "There are no lines ['yours']"),
    ],
)
def test_what_is_not_on_the_leaderboard_is_refused(run, board, asked, tmp_path, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "identity.py").write_text(OWN)
    code, _, err = run(*asked, board, *words)
    assert code == 2
    assert reason in err
