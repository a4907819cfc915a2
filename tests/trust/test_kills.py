"""Work that is killed at a random moment leaves nothing half written, and gives the same bits when it is run again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import pytest
import torch
from torch import Tensor
from trust.jobs import JOBS, prepare, results, run

import causalcf as ccf


def _fork(work: Callable[..., None], *arguments: object) -> int:
    """The number of a new process that has all modules already, and ends after its work."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(*arguments)
            code = 0
        finally:
            os._exit(code)
    return child


def _whole(work: Callable[..., None], *arguments: object) -> float:
    """Work in a process of its own; its seconds."""
    started = time.perf_counter()
    _, status = os.waitpid(_fork(work, *arguments), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return time.perf_counter() - started


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    _whole(prepare, folder)
    return folder


def _alike(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _check_left(folder: Path, expected: dict[str, Tensor]) -> None:
    """Whatever has a file's name is a whole file, with what an uninterrupted run writes there."""
    found = results(folder)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    if (folder / "graph.json").exists():
        ccf.load_graph(folder / "graph.json")


def kill(job: str, prepared: Path, times: int, seed: int) -> int:
    """Kill a job so many times, each at a random moment, and run it again; how often it was still at work."""
    whole = prepared / f"{job}-whole"
    seconds = _whole(run, job, whole)
    expected, draw, caught = results(whole), random.Random(seed), 0
    assert expected
    for number in range(times):
        folder = prepared / f"{job}-{seed}-{number}"
        child = _fork(run, job, folder)
        time.sleep(draw.uniform(0.0, 1.0) * seconds)
        os.kill(child, signal.SIGKILL)
        caught += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        _check_left(folder, expected)
        _whole(run, job, folder)
        assert _alike(results(folder), expected), f"{job}, kill {number}: other bits after it was run again"
        assert not [path.name for path in folder.rglob(".*.tmp")], "temporary files are swept away"
        rmtree(folder)
    return caught


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize("job", ["save"])
def test_a_killed_job_gives_the_same_bits_when_it_is_run_again(job: str, prepared: Path) -> None:
    assert kill(job, prepared, 2, seed=0) >= 0


@pytest.mark.trust
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize("job", JOBS)
def test_many_kills(job: str, prepared: Path) -> None:
    caught = kill(job, prepared, 17, seed=1)
    print(f"{job}: 17 kills, {caught} while it was at work")
    assert caught > 5
