"""Files that hold models: what comes back is what was written, or an error that says why not."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import causalcf as ccf
from causalcf.core import checkpoint
from causalcf.core.errors import CheckpointError


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
        monkeypatch.setattr(checkpoint.os, step, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.write_file(saved, {"kind": "scm"}, {"w": torch.zeros(2)})
        monkeypatch.undo()
        assert saved.read_bytes() == before
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_file_is_safetensors_that_anyone_can_read(saved: Path, mixed: ccf.SCM) -> None:
    tensors = load_file(saved)
    assert torch.equal(tensors["y.standardise.loc"], mixed.mechanisms["y"].standardise.loc)
    assert saved.stat().st_mode & 0o777 == 0o644
