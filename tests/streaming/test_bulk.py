"""Counterfactuals in shards: the answers are those of one call, however they are cut, shared, or killed."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core import atomic
from causalcf.costs.measure import python
from causalcf.costs.models import noise_images, unfitted
from causalcf.datasets import from_shards
from causalcf.mechanisms import VAE
from causalcf.streaming import BulkQuery
from causalcf.streaming.told import told

WORLDS = [{"x": 1.0}, {"c": "red", "y": ccf.shift(0.5)}]


@pytest.fixture(scope="module")
def pictures() -> ccf.SCM:
    """A model of images that was never trained."""
    return unfitted("morphomnist", {"image": VAE(widths=(8, 8, 8), latent=4)})


def _same(found: ccf.Batch, expected, worlds: int | None = None, sample: int | None = None) -> None:
    for node in expected.graph.nodes:
        value = expected[node] if worlds is None else expected[node][worlds]
        value = value if sample is None else value[sample]
        torch.testing.assert_close(
            found[node], value, rtol=1e-5, atol=1e-6, msg=lambda text, node=node: f"{node}: {text}"
        )


def _files(folder: Path) -> dict[str, bytes]:
    """The shards, byte by byte; the manifest has a date."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0].isdigit()}


# ---------------------------------------------------------------------- the answers


def test_the_answers_are_those_of_one_call(mixed, rows, tmp_path):
    expected = mixed.counterfactual(rows, WORLDS, num_samples=2, seed=3)
    ccf.bulk(mixed, rows, WORLDS, tmp_path, seed=3, num_samples=2, shard=20, block=8)
    assert len(_files(tmp_path)) == 3 * 4
    for world in range(2):
        for sample in range(2):
            _same(from_shards(tmp_path, world=world, sample=sample), expected, world, sample)
    assert expected["b"][0, 0].ne(expected["b"][0, 1]).any(), "samples differ, so the test can tell them apart"


def test_images_come_back_as_they_were_or_as_bytes(pictures, tmp_path):
    x = noise_images(20)
    expected = pictures.counterfactual(x, {"thickness": 4.0}, seed=0)
    ccf.bulk(pictures, x, {"thickness": 4.0}, tmp_path / "floats", shard=8)
    ccf.bulk(pictures, x, {"thickness": 4.0}, tmp_path / "bytes", shard=8, as_bytes=True)
    found = from_shards(tmp_path / "floats")
    _same(found, expected)
    assert torch.equal(found[[19, 0, 9]]["image"], found["image"][[19, 0, 9]])
    assert torch.equal(pickle.loads(pickle.dumps(found))["image"], found["image"])
    held = from_shards(tmp_path / "bytes")
    assert (held[:]["image"] - expected["image"]).abs().max() <= 0.5001 / 255
    assert (tmp_path / "bytes" / "000000.safetensors").stat().st_size < 8 * 1024 + 200


def test_shards_are_small_where_rows_are_large(mixed, pictures, rows, tmp_path):
    ccf.bulk(pictures, noise_images(20), {"thickness": 4.0}, tmp_path / "images")
    ccf.bulk(mixed, rows, WORLDS, tmp_path / "tables", num_samples=2)
    images, tables = (from_shards(tmp_path / name).manifest.query for name in ("images", "tables"))
    assert (images["block"], images["shard"]) == (2**20 // 4108, 2**23 // 4108)
    assert (tables["block"], tables["shard"]) == (2**20 // 36, 2**23 // (36 * 4))


def test_values_for_each_row_are_cut_with_the_rows(mixed, rows, tmp_path):
    do = {"x": torch.arange(64.0), "y": ccf.shift(np.linspace(0, 1, 64)), "v": torch.ones(64, 2)}
    expected = mixed.counterfactual(rows, do, seed=0)
    ccf.bulk(mixed, rows, do, tmp_path, shard=20, block=7)
    _same(from_shards(tmp_path), expected)


def test_labels_order_values_and_come_back(mixed, rows, tmp_path):
    frame = pd.DataFrame({name: rows[name].numpy() for name in "xypi"} | {"b": rows["b"].numpy()})
    frame["c"] = np.array(["blue", "green", "red"])[rows["c"].numpy()]
    frame["v"] = list(rows["v"].numpy())
    frame.index = pd.Index([f"p{i}" for i in range(64)], name="patient")
    dose = pd.Series(np.arange(64.0), index=frame.index)[::-1]
    values = {name: frame[name] for name in frame if name != "v"} | {"v": rows["v"]}
    expected = mixed.counterfactual(values, {"x": dose}, seed=0)
    ccf.bulk(mixed, values, {"x": dose}, tmp_path, shard=20, block=7)
    found = from_shards(tmp_path)
    _same(found, expected)
    assert found["x"].tolist() == list(range(64))
    assert list(found.labels) == list(frame.index)
    assert found.labels.name == "patient"
    assert found[10:12].labels.tolist() == ["p10", "p11"]


def test_labels_that_repeat_are_told_apart_across_blocks(mixed, rows, tmp_path):
    twice = ccf.Batch(dict(rows), torch.arange(64) // 2)
    do = {"x": torch.distributions.Normal(0.0, 1.0)}
    ccf.bulk(mixed, twice, do, tmp_path, seed=5, shard=9, block=3)
    found = from_shards(tmp_path)
    _same(found, mixed.counterfactual(twice, do, seed=5))
    assert len(found["x"].unique()) == 64
    assert found.index.tolist() == [i // 2 for i in range(64)]


def test_nodes_named_as_the_columns_of_labels(tmp_path):
    scm = ccf.SCM([("world", "row")], mechanisms=dict.fromkeys(("world", "row"), ccf.mechanisms.LinearGaussian()))
    x = {"world": torch.randn(30), "row": torch.randn(30)}
    scm.fit(x, seed=0, progress=False)
    ccf.bulk(scm, x, {"world": 1.0}, tmp_path, shard=10)
    found = from_shards(tmp_path)
    _same(found, scm.counterfactual(x, {"world": 1.0}))
    assert found.index.tolist() == list(range(30))


def test_a_query_is_a_function_of_blocks(mixed, rows):
    query = BulkQuery(mixed, {"x": 1.0}, seed=2, label="name")
    arrays = {name: value.numpy() for name, value in rows.items()}
    whole = query(arrays | {"name": np.arange(64)})
    parts = [query({n: v[i : i + 5] for n, v in arrays.items()} | {"name": np.arange(64)[i : i + 5]}) for i in (0, 5)]
    for name, values in whole.items():
        joined = np.concatenate([part[name] for part in parts])
        close = np.allclose if values.dtype.kind == "f" else np.array_equal
        assert close(joined, values[:10]), name
    with pytest.raises(ccf.errors.DataError, match="no column 'name'"):
        query(arrays)


# ---------------------------------------------------------------------- processes, kills


@pytest.fixture(scope="module")
def alone(mixed, rows, tmp_path_factory) -> dict[str, bytes]:
    """The shards of one process that nobody disturbed: 7 of at most 10 rows, two files and a record each."""
    folder = tmp_path_factory.mktemp("alone")
    files = _files(ccf.bulk(mixed, rows, WORLDS, folder, shard=10, block=4))
    assert len(files) == 7 * 3
    return files


def test_processes_share_the_work_and_write_the_same_files(mixed, rows, alone, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    written = []
    for rank in ("1", "2", "0"):
        monkeypatch.setenv("RANK", rank)
        written.append(_files(ccf.bulk(mixed, rows, WORLDS, tmp_path, shard=10, block=4)))
        if rank == "1":
            with pytest.raises(ccf.errors.MissingFileError, match="5 of 7 shards are not there, the first is 0"):
                from_shards(tmp_path)
    assert [len(files) for files in written] == [2 * 3, 4 * 3, 7 * 3]
    assert written[-1] == alone


class Killed(BaseException):
    """What no code catches."""


def test_a_kill_at_any_write_loses_and_doubles_nothing(mixed, rows, alone, tmp_path, monkeypatch):
    write, left = atomic._write, [0]

    def some(target: Path, content: bytes) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        write(target, content)

    monkeypatch.setattr(atomic, "_write", some)
    answered, answer = [], BulkQuery.answer
    monkeypatch.setattr(BulkQuery, "answer", lambda *a: (answered.append(a[1].rows), answer(*a))[1])
    kills = 0
    for writes in range(9):  # so that a run ends before and after each of the three files of a shard
        left[0] = writes
        try:
            ccf.bulk(mixed, rows, WORLDS, tmp_path, shard=10, block=4)
        except Killed:
            kills += 1
    left[0] = 100
    ccf.bulk(mixed, rows, WORLDS, tmp_path, shard=10, block=4)
    assert _files(tmp_path) == alone
    assert kills >= 5
    before = len(answered)
    ccf.bulk(mixed, rows, WORLDS, tmp_path, shard=10, block=4)
    assert answered[before:] == [1], "only the trial on the first row: finished shards are skipped"


PROGRAM = """
import sys, time
from pathlib import Path
from causalcf.costs.models import noise_images, unfitted
from causalcf.mechanisms import VAE
from causalcf.streaming import BulkQuery, bulk
answer = BulkQuery.answer
def slowly(*a):
    time.sleep(.02)
    return answer(*a)
BulkQuery.answer = slowly
scm = unfitted("morphomnist", {"image": VAE(widths=(8, 8, 8), latent=4)})
bulk(scm, noise_images(200), {"thickness": 4.0}, sys.argv[1], shard=4, block=4)
"""


def test_a_process_killed_in_the_middle_goes_on(pictures, tmp_path):
    expected = pictures.counterfactual(noise_images(200), {"thickness": 4.0}, seed=0)
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)]) as process:
        until = time.monotonic() + 60
        while len(list(tmp_path.glob("*.json"))) < 6 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = _files(tmp_path)
    assert 5 <= sum(name.endswith(".json") for name in kept) < 50
    ccf.bulk(pictures, noise_images(200), {"thickness": 4.0}, tmp_path, shard=4, block=4)
    after = _files(tmp_path)
    assert len(after) == 3 * 50
    assert all(after[name] == content for name, content in kept.items())
    _same(from_shards(tmp_path), expected)
    assert not list(tmp_path.glob(".*")), "what the killed process was writing is swept away"


MEMORY = """
import tempfile, torch
import causalcf as ccf
from causalcf.costs.models import unfitted
from causalcf.data import Batch
from causalcf.mechanisms import Deterministic
torch.set_num_threads(1)

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

graph = ccf.CausalGraph([("x", "v")], {"x": ccf.Real(), "v": ccf.Vector(1000)})
scm = unfitted(graph, {"v": Deterministic(lambda pa: pa["x"][:, None].expand(-1, 1000))})
for rows in (2_000, 2_000, 20_000):
    x = Batch({"x": torch.zeros(rows), "v": torch.zeros(1, 1000).expand(rows, 1000)})  # views of one row
    with tempfile.TemporaryDirectory() as folder:
        ccf.bulk(scm, x, {"x": 1.0}, folder, shard=1000, block=250)
    print(peak())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_rows():
    _, few, many = map(float, python(MEMORY).split())
    assert many - few < 4, "the answers about 18,000 more rows would be 69 MiB"


# ---------------------------------------------------------------------- refusals


def test_another_question_is_refused(mixed, rows, tmp_path):
    ccf.bulk(mixed, rows, {"x": 1.0}, tmp_path, shard=40)
    for change, words in (
        ({"do": {"x": 2.0}}, "do was .*1.0.* and is .*2.0"),
        ({"do": {"x": lambda _: 1.0}}, "do was"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"shard": 30}, "shard was 40 and is 30"),
        ({"residual": 0.0}, "residual was 1.0 and is 0.0"),
    ):
        asked = {"do": {"x": 1.0}, "shard": 40} | change
        with pytest.raises(ccf.errors.DataError, match=f"another question: {words}.*Name another folder"):
            ccf.bulk(mixed, rows, asked.pop("do"), tmp_path, **asked)
    changed = ccf.Batch(dict(rows) | {"p": rows["p"] + torch.eye(64)[50]})
    with pytest.raises(ccf.errors.DataError, match=r"other data: rows 40 to 63 \(counted from 0\) differ"):
        ccf.bulk(mixed, changed, {"x": 1.0}, tmp_path, shard=40)


def test_actions_are_told_apart():
    def one(_):
        return 1.0

    def two(_):
        return 2.0

    normal = torch.distributions.Normal
    values = [
        1.0,
        2.0,
        True,
        "a",
        torch.ones(3),
        torch.zeros(3),
        np.zeros(3),
        [0.0, 0.0],
        ccf.shift(1.0),
        ccf.scale(1.0),
    ]
    values += [one, two, ccf.given_factual(one), normal(0.0, 1.0), normal(1.0, 1.0)]
    texts = [json.dumps(told({"x": value})) for value in values]
    assert len({*texts}) == len(texts)
    assert texts == [json.dumps(told({"x": value})) for value in values]


def test_bad_rows_are_named_and_leave_what_was_finished(mixed, rows, tmp_path):
    bad = ccf.Batch(dict(rows) | {"p": torch.where(torch.arange(64) == 45, -1.0, rows["p"])})
    with pytest.raises(ccf.errors.SupportError, match=r"Rows 44 to 47 of the data.*'p'"):
        ccf.bulk(mixed, bad, {"x": 1.0}, tmp_path, shard=20, block=4)
    assert sum(name.endswith(".json") for name in _files(tmp_path)) == 2


def test_a_bad_question_leaves_no_folder(mixed, rows, tmp_path):
    out = tmp_path / "answers"
    for do, wrong in (({"z": 1.0}, ccf.errors.UnknownNodeError), ({"p": -1.0}, ccf.errors.SupportError)):
        with pytest.raises(wrong):
            ccf.bulk(mixed, rows, do, out)
    with pytest.raises(ccf.errors.DataError, match="block must be at least 1, got 0"):
        ccf.bulk(mixed, rows, {"x": 1.0}, out, block=0)
    with pytest.raises(ccf.errors.DataError, match="no rows"):
        ccf.bulk(mixed, rows[:0], {"x": 1.0}, out)
    with pytest.warns(UserWarning, match=r"Ignoring \['other'\]"):
        ccf.bulk(mixed, ccf.Batch({**rows, "other": rows["x"]}), {"x": 1.0}, out)


def test_damaged_shards_are_made_again(mixed, rows, tmp_path):
    with pytest.raises(ccf.errors.MissingFileError, match="holds no shards"):
        from_shards(tmp_path)
    whole = _files(ccf.bulk(mixed, rows, {"x": 1.0}, tmp_path, shard=40))
    with pytest.raises(ccf.errors.DataError, match=r"world=1: .* has 1, counted from 0"):
        from_shards(tmp_path, world=1)
    tensors = tmp_path / "000000.safetensors"
    tensors.write_bytes(b"{" * len(whole[tensors.name]))
    with pytest.raises(ccf.errors.FileError, match=r"000000.safetensors is damaged"):
        from_shards(tmp_path)
    tensors.write_bytes(whole[tensors.name])
    table = tmp_path / "000001.parquet"
    table.write_bytes(whole[table.name][:-9] + b"x" * 9)
    with pytest.raises(ccf.errors.FileError, match=r"000001.parquet is damaged .*Remove .*000001.json"):
        from_shards(tmp_path)
    table.write_bytes(whole[table.name][:-9])
    with pytest.raises(ccf.errors.MissingFileError, match="1 of 2 shards are not there, the first is 1"):
        from_shards(tmp_path)
    ccf.bulk(mixed, rows, {"x": 1.0}, tmp_path, shard=40)
    assert _files(tmp_path) == whole


def test_without_pyarrow_the_remedy_is_named(mixed, rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ccf.errors.MissingFileError, match=r"pip install 'causalcf\[bulk\]'"):
        ccf.bulk(mixed, rows, {"x": 1.0}, tmp_path)
