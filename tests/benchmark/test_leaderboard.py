"""The leaderboard of truths: floors, models, what is kept, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from causalcf import benchmark as benchmark_tables
from causalcf.benchmark import Benchmark, truth_row
from causalcf.core.errors import DataError
from causalcf.datasets.bars import Bars

OPTIONS: Any = {"n": 50, "seeds": (0, 1)}


def test_the_floors_of_the_truth(bench: Benchmark) -> None:
    test = bench.test
    again = truth_row(test, "re-rendering", "re-rendering", ["width"], **OPTIONS)
    nothing = truth_row(test, "identity", "identity", ["width", "brightness"], **OPTIONS)
    assert again["do(width)"]["error"] < 1e-4
    assert nothing["do(width)"]["error"] > 5
    alone = truth_row(test, "identity", "identity", ["width"], **OPTIONS)
    assert alone["do(width)"]["error"] == nothing["do(width)"]["error"]


def test_a_model_and_an_oracle_have_lines(bench: Benchmark) -> None:
    test = bench.test
    ours = truth_row(test, bench.models["small"](), "small", ["brightness"], **OPTIONS)
    assert ours["do(brightness)"]["error"] > 0
    assert ours["seeds"] == [0, 1]
    known = truth_row(test, lambda x, do: test.truth(x, do), "oracle", ["width"], **OPTIONS)
    assert known["do(width)"]["error"] == 0


def test_lines_of_other_data_or_seeds_are_computed_again(tmp_path: Path) -> None:
    said: list[str] = []
    entries: Any = {"identity": ("identity", lambda: "identity")}
    options: Any = {"n": 20, "progress": said.append}
    for test, seeds, kept in (
        (Bars(50, seed=1), (0, 1), False),
        (Bars(50, seed=1), (0, 1), True),
        (Bars(50, seed=2), (0, 1), False),
        (Bars(50, seed=2), (0,), False),
    ):
        benchmark_tables.leaderboard(test, entries, ["width"], tmp_path, seeds=seeds, **options)
        assert (said.pop() == "identity: kept") == kept


def test_what_has_no_line_is_refused(bench: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no floor 'ceiling'"):
        truth_row(bench.test, "ceiling", "ceiling", ["width"], n=5, seeds=(0,))
    with pytest.raises(DataError, match=r"gives images \(1, 1, 16, 16\) for \(5, 1, 16, 16\)"):
        truth_row(bench.test, lambda _x, _do: {"image": torch.zeros(1, 1, 16, 16)}, "bad", ["width"], n=5, seeds=(0,))
    same: Any = {name: ("", lambda: "identity") for name in ("intensity ratio", "intensity-ratio")}
    with pytest.raises(DataError, match="would be kept in one file"):
        benchmark_tables.leaderboard(bench.test, same, ["width"], tmp_path)
