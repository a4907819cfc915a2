"""Several processes train one model: as one would, with one checkpoint, and with equal weights at the end."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from causalcf.core.checkpoint import read_file
from causalcf.training import processes

PROGRAM = Path(__file__).parent / "program.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Rank, or "alone" -> mechanism -> weights and history, or the error."""
    out = tmp_path_factory.mktemp("processes")
    (out / "alone").mkdir()
    (out / "together").mkdir()
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for how, folder in (([], "alone"), (torchrun, "together")):
        command = [sys.executable, *how, str(PROGRAM), str(out / folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = {"folder": {"together": out / "together"}}
    for path in out.glob("*/*.pt"):
        kind, rank, _ = path.name.split(".")
        found.setdefault(rank, {})[kind] = torch.load(path)
    return found


@pytest.mark.parametrize("kind", ["Flow", "Duel"])
def test_all_processes_end_with_the_same_weights(results: dict[str, dict[str, Any]], kind: str) -> None:
    one, two = results["0"][kind]["weights"], results["1"][kind]["weights"]
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_each_reads_its_own_share_of_pictures_that_are_not_in_memory(results: dict[str, dict[str, Any]]) -> None:
    first, second, alone = (results[rank]["Streamed"] for rank in ("0", "1", "alone"))
    assert not set(first["ahead"]) & set(second["ahead"])
    assert sorted(first["ahead"] + second["ahead"]) == sorted(alone["ahead"])
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])


@pytest.mark.parametrize("kind", ["Flow", "Duel"])
def test_they_are_those_of_one_process(results: dict[str, dict[str, Any]], kind: str) -> None:
    together, alone = results["0"][kind], results["alone"][kind]
    for name, weight in alone["weights"].items():
        torch.testing.assert_close(together["weights"][name], weight, atol=2e-5, rtol=1e-4, msg=name)
    assert len(together["history"]) == len(alone["history"]) == (4 if kind == "Flow" else 6)
    for mine, theirs in zip(together["history"], alone["history"], strict=True):
        assert mine["stage"] == theirs["stage"]
        assert mine["train"] == pytest.approx(theirs["train"], rel=1e-4)
        assert (mine["validation"] is None) == (theirs["validation"] is None) == (mine["stage"] == "both")
        assert (mine["validation"] or 0.0) == pytest.approx(theirs["validation"] or 0.0, rel=1e-4)


def test_what_one_process_cannot_compute_stops_all(results: dict[str, dict[str, Any]]) -> None:
    together = str(results["folder"]["together"])
    said = {rank: results[rank]["Broken"]["error"] for rank in ("0", "1", "alone")}
    errors = {error.replace(together, together.replace("together", "alone")) for error in said.values()}
    assert len(errors) == 1
    assert "'y': the loss or its gradient was NaN or infinite" in errors.pop()


@pytest.mark.parametrize("kind", ["Flow", "Duel"])
def test_the_checkpoint_is_that_of_the_run(results: dict[str, dict[str, Any]], kind: str) -> None:
    header, tensors = read_file(results["folder"]["together"] / f"{kind}.checkpoint")
    assert header["done"] == ["x", "y"]
    assert header["history"] == results["0"][kind]["history"], "the first process wrote it, seconds and all"
    assert len(tensors) == len([name for name in tensors if name.startswith("node.")])


def test_one_process_is_alone() -> None:
    rows = torch.arange(5)
    assert processes.number() == 1
    assert processes.first()
    assert processes.share(rows) is rows
    assert processes.agree(7, torch.device("cpu")) == 7
    processes.add_up([rows])
    assert torch.equal(rows, torch.arange(5))
