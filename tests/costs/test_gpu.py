"""The prepared run of a GPU, rehearsed on the processor so that its first minute there is not its first."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import MissingFileError
from causalcf.costs import gpu
from causalcf.costs.device import Job, captured, clock
from causalcf.costs.gpu import STEPS, Step, main, perform
from causalcf.datasets import MorphoMNIST


@pytest.fixture
def morphomnist() -> None:
    """The files that the run reads."""
    try:
        MorphoMNIST(split="test")
    except MissingFileError as error:
        pytest.skip(f"needs MorphoMNIST: {error}")


def _rehearsed(out: Path, run: str) -> dict[str, Any]:
    """What all steps of a run found."""
    main(out, device="cpu", run=run, small=True)
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    assert results.keys() == {*(name for name, step in STEPS.items() if step.run == run), "scores"}
    assert not {name: record["error"] for name, record in results.items() if "error" in record}
    return results


@pytest.mark.usefixtures("morphomnist")
def test_a_check_takes_all_of_its_steps(tmp_path: Path) -> None:
    results = _rehearsed(tmp_path, "check")
    assert results["agreement"]["found"]["passed"] >= 1
    assert not results["agreement"]["found"]["failed"]
    measured = ("steps", "answers", "tables", "searches", "compiled")
    assert not [cell for name in measured for cell in _words(results[name]["found"])]
    assert {path.name for path in tmp_path.iterdir()} == {"results.json"}


@pytest.mark.usefixtures("morphomnist")
def test_models_are_trained_written_and_scored(tmp_path: Path) -> None:
    results = _rehearsed(tmp_path, "train")
    models = ["morphomnist-hvae-untuned", "morphomnist-hvae", "morphomnist-diffusion"]
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", *(f"{m}.safetensors" for m in models)}
    for model in models:
        scm = ccf.SCM.load(tmp_path / f"{model}.safetensors")
        assert scm.sample(2, seed=0)["image"].shape == (2, 1, 32, 32)
        scored = {score["metric"] for score in results["scores"][model]}
        assert {"truth error", "composition(1)", "effectiveness"} <= scored


def _words(found: Any) -> list[str]:
    """Cells that hold an error in place of a number."""
    if isinstance(found, dict):
        return [word for key, cell in found.items() if key != "waits" for word in _words(cell)]
    return [found] if isinstance(found, str) else []


def test_what_is_done_is_not_done_again_and_what_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def good(job: Job) -> dict[str, Any]:
        done.append("good")
        return {"answer": 42}

    def bad(job: Job) -> dict[str, Any]:
        done.append("bad")
        job.found["before"] = 1
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu, "STEPS", {"bad": Step(bad, 9, "check"), "good": Step(good, 9, "train")})
    main(tmp_path, device="cpu", run="all")
    main(tmp_path, device="cpu", run="all")
    results = json.loads((tmp_path / "results.json").read_text())
    assert done == ["bad", "good"]
    assert results["good"]["found"] == {"answer": 42}
    assert results["bad"]["found"] == {"before": 1}
    assert "no kernel image" in results["bad"]["error"]
    main(tmp_path / "other", device="cpu", run="train")
    main(tmp_path / "third", device="cpu", only=["good"])
    assert done == ["bad", "good", "good", "good"]


def test_a_step_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, "long", Step(lambda _: time.sleep(60) or {}, 0.1, "check"))  # type: ignore[func-returns-value]
    record = perform("long", Job(tmp_path, "cpu", seconds=0.1))
    assert "TimeoutError" in record["error"]
    assert record["seconds"] < 5


def test_a_clock_takes_the_time_of_one_call(tmp_path: Path) -> None:
    taken = clock(lambda: time.sleep(0.01), Job(tmp_path, "cpu"))
    assert 0.01 <= taken < 0.1
    x = torch.ones(3)
    assert captured(lambda: x + 1, "cpu")() is not None
