"""Rows of the benchmark: computed, kept, computed again alone; what they cost."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark.bars import NODES

import causalcf as ccf
from causalcf import benchmark as benchmark_tables
from causalcf.benchmark import Benchmark
from causalcf.core.errors import DataError
from causalcf.datasets.bars import Bars


@pytest.fixture
def kept(out: Path, tmp_path: Path) -> Path:
    """A copy of the folder of the benchmark, for one test to change."""
    return shutil.copytree(out, tmp_path / "kept")


def test_rows_are_kept(bench: Benchmark, kept: Path) -> None:
    said: list[str] = []
    benchmark_tables.run(bench, kept, n=60, progress=said.append)
    assert said == ["small: kept", "same: kept"]


def test_a_row_is_computed_again_alone(bench: Benchmark, kept: Path) -> None:
    said: list[str] = []
    before = (kept / "rows" / "same.json").read_bytes()
    benchmark_tables.run(bench, kept, n=60, only=["small"], progress=said.append)
    assert "same: kept" in said
    assert "small: effectiveness" in said
    assert (kept / "rows" / "same.json").read_bytes() == before


def test_other_settings_are_not_kept(bench: Benchmark, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr("causalcf.benchmark.rows._row", computed)
    benchmark_tables.run(bench, kept, n=60)
    for other, n in (
        (bench, 61),
        (replace(bench, test=Bars(200, seed=3)), 60),
        (replace(bench, train=Bars(400, seed=3)), 60),
        (replace(bench, nodes=NODES[:2]), 60),
        (replace(bench, files={"small": "another file"}), 60),
    ):
        with pytest.raises(InterruptedError):
            benchmark_tables.run(other, kept, n=n)


def test_the_costs_of_a_model_are_those_of_all_its_training_and_of_every_abduction(
    bench: Benchmark, tmp_path: Path
) -> None:
    class Slow(ccf.mechanisms.VAE):
        def abduct(self, x: torch.Tensor, pa: Any, *, sample: bool = False) -> Any:
            time.sleep(1e-3 * len(x))
            return super().abduct(x, pa, sample=sample)

    scm = ccf.SCM(bench.train.graph, mechanisms={"image": Slow(latent=2, widths=(8, 8, 8))})
    scm.fit(bench.train, epochs=1, seed=0, progress=False)
    scm.provenance = {"seconds": 5.0, "tuned": {}, "made_from": {"seconds": 60.0}}
    benchmark_tables.run(replace(bench, models={"slow": lambda: scm}), tmp_path, n=20)
    facts = json.loads((tmp_path / "rows" / "slow.json").read_text())["facts"]
    assert facts["training_seconds"] == 65
    assert 0 < facts["images_per_second"] < 1000


def test_a_model_that_is_not_there_is_refused(bench: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no models \['large'\]. There are: \['small', 'same'\]"):
        benchmark_tables.run(bench, tmp_path, only=["large"])
