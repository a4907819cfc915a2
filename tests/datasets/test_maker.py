import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from causalcf.core.errors import DataError, MissingFileError
from causalcf.datasets import MorphoMNIST, make_morphomnist, maker
from causalcf.datasets.morphology import render


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(maker, "SHARD", 5)


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def make(root, out, **options):
    return make_morphomnist(root, out, **{"mode": "fast", "progress": False, **options})


def test_makes_what_the_reader_reads(tiny_root, tmp_path):
    made = make(tiny_root, tmp_path / "new" / "morphomnist")
    assert sorted(path.name for path in made) == sorted(files_of(tmp_path / "new" / "morphomnist"))
    train, test = (MorphoMNIST(tmp_path / "new", split=split) for split in ("train", "test"))
    assert (train.rows, test.rows) == (24, 12)
    assert json.loads((tmp_path / "new/morphomnist/t10k-made.json").read_text()) == {"mode": "fast", "seed": 0}
    assert (train["thickness"] > 0.5).all()
    assert not torch.equal(train["thickness"][:12], test["thickness"])


def test_same_seed_same_bytes_whatever_the_split_or_workers(tiny_root, tmp_path):
    make(tiny_root, tmp_path / "a")
    make(tiny_root, tmp_path / "b", workers=2)
    make(tiny_root, tmp_path / "c", splits=["test"])
    make(tiny_root, tmp_path / "d", seed=1)
    whole = files_of(tmp_path / "a")
    assert files_of(tmp_path / "b") == whole
    assert files_of(tmp_path / "c") == {name: content for name, content in whole.items() if name.startswith("t10k")}
    assert files_of(tmp_path / "d")["t10k-morpho.csv"] != whole["t10k-morpho.csv"]


def test_a_killed_run_resumes_to_the_same_bytes(tiny_root, tmp_path, monkeypatch):
    make(tiny_root, tmp_path / "whole")
    calls = []

    def render_or_die(*arguments):
        calls.append(len(arguments[0]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return render(*arguments)

    monkeypatch.setattr(maker, "render", render_or_die)
    with pytest.raises(KeyboardInterrupt):
        make(tiny_root, tmp_path / "killed")
    assert not list((tmp_path / "killed").glob("*.gz"))  # a split appears whole or not at all
    make(tiny_root, tmp_path / "killed")
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert sum(calls) == 24 + 12 + 5  # only the interrupted shard was begun twice


def test_shards_of_another_run_are_not_mixed_in(tiny_root, tmp_path, monkeypatch):
    def die(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(maker, "render", lambda *arguments: np.zeros_like(arguments[0]))
    with monkeypatch.context() as patch:
        patch.setattr(maker, "write_atomically", die)
        with pytest.raises(KeyboardInterrupt):
            make(tiny_root, tmp_path, splits=["test"], seed=7)
    monkeypatch.setattr(maker, "render", render)
    make(tiny_root, tmp_path, splits=["test"], seed=8)
    assert (MorphoMNIST(tmp_path, split="test")["image"].amax((1, 2, 3)) > 0).all()


def test_given_values_are_used(tiny_root, tmp_path):
    values = tmp_path / "values"
    values.mkdir()
    rows = "".join(f"{i},{1.5 + i / 10},{100 + i}\n" for i in range(12))
    (values / "t10k-morpho.csv").write_text("index,thickness,intensity\n" + rows)
    make(tiny_root, tmp_path / "out", splits=["test"], values=values)
    data = MorphoMNIST(tmp_path / "out", split="test")
    torch.testing.assert_close(data["intensity"], 100 + torch.arange(12.0))
    torch.testing.assert_close(data["thickness"], 1.5 + torch.arange(12.0) / 10)


def test_bad_input(tiny_root, tmp_path):
    with pytest.raises(DataError, match="Unknown mode 'slow'"):
        make(tiny_root, tmp_path, mode="slow")
    with pytest.raises(DataError, match="There is no split 'valid'"):
        make(tiny_root, tmp_path, splits=["valid"])
    with pytest.raises(MissingFileError, match="MNIST needs train-images-idx3-ubyte"):
        make(tmp_path / "nowhere", tmp_path)
    with pytest.raises(MissingFileError, match=r"values .*train-morpho\.csv were not found"):
        make(tiny_root, tmp_path, values=tmp_path)
    (tmp_path / "t10k-morpho.csv").write_text("index,thickness,intensity\n0,1.0,100.0\n")
    with pytest.raises(DataError, match="has 1 rows for 12 images"):
        make(tiny_root, tmp_path, values=tmp_path, splits=["test"])


def test_progress_is_shown_when_asked(tiny_root, tmp_path, capsys):
    make(tiny_root, tmp_path, splits=["test"], progress=True)
    assert "test images" in capsys.readouterr().out


def test_no_process_outlives_a_killed_run(tiny_root, tmp_path):
    """Killed as by `kill -9`: its workers go too, and the run can be resumed."""
    script = (
        "import os, sys\n"
        "from causalcf.datasets.glyphs import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    with worker_pool(1) as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "killed.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    worker = int(done.stdout)
    for _ in range(100):
        if not is_running(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("a worker was still there ten seconds after its parent")


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A worker that has ended but that nobody has collected yet is no longer running.
    status = Path(f"/proc/{pid}/status")
    return not (status.is_file() and "State:\tZ" in status.read_text())
