"""Files that hold models: what comes back is what was written, or an error that says why not."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import causalcf as ccf
from causalcf.core import checkpoint
from causalcf.core.errors import CheckpointError, FileError


@pytest.fixture
def saved(mixed: ccf.SCM, tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "model.safetensors"
    mixed.save(path)
    return path


def _deterministic() -> dict[str, ccf.mechanisms.Mechanism]:
    return {"d": ccf.mechanisms.Deterministic(lambda pa: pa["x"] + pa["y"])}


def test_a_model_comes_back_bit_for_bit(mixed: ccf.SCM, rows: ccf.Batch, saved: Path) -> None:
    again = ccf.SCM.load(saved, mechanisms=_deterministic())
    assert again.graph == mixed.graph
    assert again.graph.nodes == mixed.graph.nodes
    assert again.history == json.loads(json.dumps(mixed.history))
    assert again.provenance["seed"] == 0
    assert again.provenance["versions"]["torch"]
    for seed in (0, 1):
        one, two = (scm.counterfactual(rows, {"x": 1.0}, seed=seed) for scm in (mixed, again))
        assert all(torch.equal(one[node], two[node]) for node in one)
    assert all(torch.equal(again.sample(9, seed=0)[node], mixed.sample(9, seed=0)[node]) for node in mixed.graph.nodes)
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_a_float64_model_comes_back_in_float64(tmp_path: Path) -> None:
    scm = ccf.SCM([("x", "y")]).fit(
        {"x": torch.randn(50), "y": torch.randn(50)}, epochs=1, seed=0, precision="64-true", progress=False
    )
    scm.save(tmp_path / "m.safetensors")
    again = ccf.SCM.load(tmp_path / "m.safetensors")
    assert again.dtype == torch.float64
    assert torch.equal(again.sample(9, seed=0)["y"], scm.sample(9, seed=0)["y"])


def test_half_precision_is_smaller_and_close(mixed: ccf.SCM, rows: ccf.Batch, saved: Path, tmp_path: Path) -> None:
    small = tmp_path / "half.safetensors"
    mixed.save(small, half=mixed.graph.nodes)
    assert small.stat().st_size < 0.65 * saved.stat().st_size
    again = ccf.SCM.load(small, mechanisms=_deterministic())
    assert again.dtype == torch.float32
    one, two = (scm.counterfactual(rows, {"x": 1.0}, seed=0) for scm in (mixed, again))
    assert torch.allclose(one["v"], two["v"], atol=0.05)


def test_half_precision_of_an_unknown_node_is_refused(mixed: ccf.SCM, tmp_path: Path) -> None:
    with pytest.raises(ccf.CausalCFError, match="The graph has no node 'nose'"):
        mixed.save(tmp_path / "m.safetensors", half=["nose"])


def test_an_unfitted_model_is_not_saved(tmp_path: Path) -> None:
    scm = ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()})
    with pytest.raises(ccf.CausalCFError, match=r"The mechanisms of \['x', 'y'\] are not fitted"):
        scm.save(tmp_path / "m.safetensors")


def test_code_must_be_given_again(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the Deterministic of 'd' holds code.*mechanisms=\{'d': \.\.\.\}"):
        ccf.SCM.load(saved)


@pytest.mark.parametrize("keep", [0, 5, 100, 5000, -1], ids=lambda n: f"{n} bytes")
def test_a_truncated_file_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or not a safetensors file"):
        ccf.SCM.load(saved)


def test_an_edited_tensor_is_noticed(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="was changed after it was written: its digest does not match"):
        ccf.SCM.load(saved)


def test_an_edited_header_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    assert content.count(b"Positive") == 1
    saved.write_bytes(content.replace(b"Positive", b"Interval"))
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        ccf.SCM.load(saved)


def test_another_format_version_is_refused(mixed: ccf.SCM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    mixed.save(path)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"has format 99; this causalcf reads format 1. Load it with the version"):
        ccf.SCM.load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"causalcf": "{}"}, {"causalcf": "3"}], ids=str)
def test_another_programs_file_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="is a safetensors file, but causalcf did not write it"):
        ccf.SCM.load(path)


def test_a_missing_file_a_folder_and_a_pickle_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="There is no checkpoint at"):
            ccf.SCM.load(path)
    torch.save({"w": torch.zeros(2)}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
        ccf.SCM.load(tmp_path / "m.pt")


def test_mechanisms_of_another_architecture_do_not_fit(saved: Path) -> None:
    given = _deterministic() | {"y": ccf.mechanisms.Flow(hidden=(7,))}
    with pytest.raises(CheckpointError, match=r"the Flow of 'y' was made with \{'hidden': \[64, 64\]\}"):
        ccf.SCM.load(saved, mechanisms=given)
    with pytest.raises(CheckpointError, match=r"does not fit the LinearGaussian of 'y': missing .*weight"):
        ccf.SCM.load(saved, mechanisms=_deterministic() | {"y": ccf.mechanisms.LinearGaussian()})


def test_a_training_state_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    scm = ccf.SCM([("x", "y")])
    scm.fit({"x": torch.randn(50), "y": torch.randn(50)}, epochs=1, seed=0, checkpoint=path, progress=False)
    with pytest.raises(CheckpointError, match=r"holds a training state, not a model. Resume it with fit"):
        ccf.SCM.load(path)


def test_writing_is_atomic(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer killed at any point leaves the old file whole and nothing beside it."""
    before = saved.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("fsync", "replace"):
        monkeypatch.setattr(os, step, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.write_file(saved, {"kind": "scm"}, {"w": torch.zeros(2)})
        monkeypatch.undo()
        assert saved.read_bytes() == before
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_file_is_safetensors_that_anyone_can_read(saved: Path, mixed: ccf.SCM) -> None:
    tensors = load_file(saved)
    assert torch.equal(tensors["y.standardise.loc"], mixed.mechanisms["y"].standardise.loc)
    assert saved.stat().st_mode & 0o777 == 0o644


# ---------------------------------------------------------------------- forged files


def _forge(path: Path, header: dict[str, Any] | None = None, tensors: dict[str, torch.Tensor] | None = None) -> None:
    """The file with another header or other tensors, and a digest that fits them."""
    old_header, old_tensors = checkpoint.read_file(path)
    checkpoint.write_file(path, {**old_header, **(header or {})}, {**old_tensors, **(tensors or {})})
    os.utime(path, (0, 0))


def _declared(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The file with another safetensors header: what it says of its tensors, whose bytes stay."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    os.utime(path, (0, 0))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A model of two numbers; its file."""
    rows = {"x": torch.randn(50), "y": torch.randn(50)}
    path = tmp_path / "small.safetensors"
    variables = {"x": ccf.Real(), "y": ccf.Real()}
    ccf.SCM([("x", "y")], variables).fit(rows, epochs=1, seed=0, progress=False).save(path)
    return path


@pytest.mark.parametrize(("part", "other"), [("dtype", "I32"), ("shape", [1, 64]), ("data_offsets", [0, 4])])
def test_what_a_tensor_is_declared_to_be_is_part_of_the_digest(small: Path, part: str, other: object) -> None:
    def change(header: dict[str, Any]) -> None:
        name = next(name for name, entry in header.items() if name != "__metadata__" and entry["shape"] == [64])
        header[name][part] = other

    _declared(small, change)
    with pytest.raises(CheckpointError, match=r"its digest does not match|is damaged"):
        ccf.SCM.load(small)


def test_tensors_of_files_without_such_a_digest_are_held_against_the_module() -> None:
    module = torch.nn.Linear(2, 2)
    state = module.state_dict()
    for wrong, message in (
        (state["weight"].view(torch.int32), r"'weight' is torch\.int32, where torch\.float32 is expected"),
        (state["weight"].double(), r"'weight' is torch\.float64, where torch\.float32"),
        (state["weight"].bfloat16(), r"'weight' is torch\.bfloat16"),
        (state["weight"][:1], r"of another shape \['weight'\]"),
        (state["weight"] * float("nan"), r"'weight' of it holds NaN or infinite numbers\. Fit it again"),
    ):
        with pytest.raises(CheckpointError, match=message):
            checkpoint.load_tensors(module, {**state, "weight": wrong}, "file", "it")
    checkpoint.load_tensors(module, {name: tensor.half() for name, tensor in state.items()}, "file", "it")


def _mechanism(**config: Any) -> dict[str, Any]:
    return {"mechanisms": {node: {"type": "Flow", "config": config} for node in "xy"}}


def _graph(**fields: Any) -> dict[str, Any]:
    document = ccf.CausalGraph([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}).to_json()
    document["nodes"][0] = {"id": "x", **fields}
    return {"graph": document}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"dtype": "load"}, "is not what such a file must be .KeyError"),
        ({"dtype": ["float32"]}, "is not what such a file must be"),
        (_mechanism(bins=10**9), "has bins = 1000000000, which its weights do not bear out"),
        (_mechanism(bins=1e9), "bins must be a whole number"),
        (_mechanism(hidden=[10**6, 10**6]), "which its weights do not bear out"),
        (_mechanism(hidden=[4096] * 3 + [5000]), "which its weights do not bear out"),
        (_mechanism(hidden=[7, 7]), "does not fit the Flow of '[xy]'"),
        (_mechanism(recipe={"epochs": 5}), r"a Flow has no settings \['recipe'\]"),
        (_mechanism(hidden="abc"), "is not what such a file must be|hidden must be"),
        ({"mechanisms": {}}, "is inconsistent: its graph has the nodes"),
        ({"mechanisms": {"x": {"type": "os.system", "config": {}}, "y": {"type": "Flow", "config": {}}}}, "holds code"),
        (_graph(kind="Vector", d=10**12), "a whole number up to"),
        (_graph(kind="Vector", d=10**9), "which its weights do not bear out"),
        (_graph(kind="Categorical", categories=10**8), "a list of texts"),
        (_graph(kind="Image", shape=[3, 10**4, 10**4]), "is an Image larger than all weights"),
        ({"history": "abc"}, "is not what such a file must be"),
        ({"provenance": [1]}, "is not what such a file must be"),
        ({"seen": {"x": 3}}, "is not what such a file must be"),
        ({"graph": [[]]}, "A graph file is a node-link document"),
    ],
    ids=str,
)
def test_a_forged_header_is_refused_before_anything_is_made_of_it(
    small: Path, header: dict[str, Any], message: str
) -> None:
    _forge(small, header)
    with pytest.raises(CheckpointError, match=message) as caught:
        ccf.SCM.load(small)
    assert str(small) in str(caught.value)


def test_forged_weights_are_refused(small: Path) -> None:
    _, tensors = checkpoint.read_file(small)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel() > 1)
    for wrong, message in (
        (tensors[name] * float("inf"), "NaN or infinite"),
        (tensors[name].long(), r"is torch\.int64"),
    ):
        _forge(small, tensors={name: wrong})
        with pytest.raises(CheckpointError, match=message):
            ccf.SCM.load(small)
    _forge(small, tensors={name: tensors[name], "z.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"is inconsistent: .* its weights of .*'z'"):
        ccf.SCM.load(small)


@pytest.mark.parametrize(
    "document", ["[" * 10**5, '{"a":' * 10**5, "9" * 10**4, "[]", '{"header": [], "digest": ""}'], ids=lambda d: d[:9]
)
def test_bombs_and_lists_in_the_place_of_the_header_are_refused(tmp_path: Path, document: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.zeros(2)}, path, metadata={"causalcf": document})
    os.utime(path, (0, 0))
    with pytest.raises(CheckpointError, match=r"is damaged|causalcf did not write it"):
        ccf.SCM.load(path)


def test_a_file_that_claims_more_than_it_holds_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write((2**60).to_bytes(8, "little"))
        file.truncate(2**40)  # a hole: a terabyte on paper
    with pytest.raises(CheckpointError, match="its header is cut short"):
        ccf.SCM.load(path)
    text = json.dumps({"w": {"dtype": "U8", "shape": [5], "data_offsets": [0, 5]}}).encode()
    with path.open("r+b") as file:
        file.write(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match="bytes, where its header tells of"):
        ccf.SCM.load(path)


# ---------------------------------------------------------------------- files and their neighbours


@pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX's")
def test_modes_follow_the_umask_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    before = os.umask(0o027)
    try:
        checkpoint.write_file(path, {}, {})
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        checkpoint.write_file(path, {}, {"w": torch.zeros(2)})
        assert path.stat().st_mode & 0o777 == 0o604
        ccf.CausalGraph([("x", "y")]).save(tmp_path / "g.json")
        assert (tmp_path / "g.json").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_of_a_symbolic_link_the_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    target, link = tmp_path / "models" / "v1.safetensors", tmp_path / "latest.safetensors"
    link.symlink_to(target)
    for value in (1.0, 2.0):  # the target need not be there yet
        checkpoint.write_file(link, {"kind": "scm"}, {"w": torch.full((1,), value)})
        assert link.is_symlink()
        assert not target.is_symlink()
        assert checkpoint.read_file(target)[1]["w"].item() == value
    assert [path.name for path in target.parent.iterdir()] == ["v1.safetensors"]


_KILLED = """
import os, signal, sys
from causalcf.core.atomic import write_atomically
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(sys.argv[1], b"half")
"""


def test_what_killed_writers_have_left_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(path)], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    left = [file.name for file in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".m.safetensors.")
    ancient, foreign = tmp_path / ".m.safetensors.ab3_x9qz", tmp_path / ".m.safetensors.notes"
    for file in (ancient, foreign):
        file.write_bytes(b"")
        os.utime(file, (0, 0))
    young = tmp_path / ".m.safetensors.elsewhere-12-abcdef01.tmp"
    young.write_bytes(b"")
    checkpoint.write_file(path, {}, {})
    assert {file.name for file in tmp_path.iterdir()} == {path.name, foreign.name, young.name}


def test_a_reader_during_saves_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.write_file(path, {"k": 0}, {"w": torch.zeros(5000)})
    stop, failed = threading.Event(), []

    def write() -> None:
        k = 0
        while not stop.is_set():
            k += 1
            checkpoint.write_file(path, {"k": k}, {"w": torch.full((5000 + k % 7,), float(k))})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            header, tensors = checkpoint.read_file(path)
            if not (tensors["w"] == header["k"]).all():
                failed.append(header["k"])
    finally:
        stop.set()
        writer.join()
    assert not failed


def test_a_file_that_is_being_copied_into_place_is_waited_for(tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "m.safetensors"
    checkpoint.write_file(source, {"k": 1}, {"w": torch.ones(5000)})
    content = source.read_bytes()
    path.write_bytes(content[:9000])

    def finish() -> None:
        with path.open("r+b") as file:
            file.seek(9000)
            file.write(content[9000:])

    copier = threading.Timer(0.1, finish)
    copier.start()
    assert checkpoint.read_file(path)[0]["k"] == 1
    copier.join()


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "m.safetensors", tmp_path):
        with pytest.raises(FileError, match=r"cannot be written: .*Name a file in a folder that you may write to"):
            checkpoint.write_file(path, {}, {})
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
