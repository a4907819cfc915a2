"""A million rows at constant memory: what is asked block after block, or written to shards, leaves nothing behind."""

import gc
import subprocess
import sys

import pytest
import torch

import causalcf as ccf

MOST = 24.0
"""MiB that nine times as many rows may add: what the allocator keeps. Their answers would be over 100 MiB."""

PROGRAM = """
import resource, sys, tempfile, warnings
import torch, causalcf as ccf

warnings.simplefilter("ignore")
torch.set_num_threads(1)
EDGES = [("x", "y"), ("x", "c"), ("y", "p"), ("c", "n")]
KINDS = {"x": ccf.Real(), "y": ccf.Real(), "c": ccf.Categorical(3), "p": ccf.Positive(), "n": ccf.Count()}

def rows(block, n):
    draw = torch.Generator().manual_seed(block)
    x = torch.randn(n, generator=draw)
    n_ = torch.poisson(torch.full((n,), 3.0), generator=draw)
    columns = {"x": x, "y": x + torch.randn(n, generator=draw), "c": (n_.long() % 3), "p": x.exp(), "n": n_}
    return ccf.Batch(columns, block * n + torch.arange(n))

short = {node: ccf.mechanisms.Recipe(epochs=1, min_steps=3, batch_size=64, lr=1e-2) for node in KINDS}
scm = ccf.SCM(EDGES, KINDS).fit(rows(0, 500), recipes=short, seed=0, progress=False)

def asked(count):
    total, size = 0.0, 10_000
    for block in range(count // size):
        cf = scm.counterfactual(rows(block, size), [{"x": 1.0}, {"c": 0}], seed=0)
        total += float(cf["n"].sum()) + float(cf["p"].sum())
    assert total == total

def written(count):
    few = rows(0, 1000)
    lent = ccf.Batch({node: value[:1].expand(count) for node, value in few.items()})  # views of one row
    with tempfile.TemporaryDirectory() as folder:
        ccf.bulk(scm, lent, {"x": 1.0}, folder, shard=50_000, progress=False)

work = {"asked": asked, "written": written}[sys.argv[1]]
few, many = int(sys.argv[2]), int(sys.argv[3])
for count in (few, few, many):
    work(count)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def _peaks(how: str, few: int, many: int) -> tuple[float, float]:
    """Peak memory in MiB after the fewer rows, and after the many."""
    command = [sys.executable, "-c", PROGRAM, how, str(few), str(many)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    _, before, after = map(float, done.stdout.split())
    print(f"{how}: {before:.0f} MiB after {few:,} rows, {after:.0f} MiB after {many:,}")
    return before, after


@pytest.mark.trust
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak in kB, as Linux gives it")
@pytest.mark.parametrize("how", ["asked", "written"])
def test_a_million_rows_need_no_more_memory_than_a_tenth(how: str) -> None:
    before, after = _peaks(how, 100_000, 1_000_000)
    assert after - before < MOST


def test_an_answer_that_is_let_go_leaves_no_tensor_behind(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    """torch's transforms keep their inverses, which keep them: a cycle with parameters for every row."""

    def ask() -> None:
        cf = mixed.counterfactual(rows, [{"x": 1.0}, {"c": "red"}], seed=0)
        cf.world(0).check()
        mixed.sample(10, seed=0)

    ask()
    gc.collect()
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        ask()
        gc.collect()
        left = [type(thing).__name__ for thing in gc.garbage if isinstance(thing, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left
