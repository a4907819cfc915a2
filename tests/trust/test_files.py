"""Files under attack: what a damaged or forged file gives is what was saved, or one sentence that names the file.

A few of every kind run each time; `pytest -m trust` runs some thousands, from other seeds.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from explainers.models import images, linear_classifier, linear_scm
from torch import Tensor
from trust import damage

import causalcf as ccf
from causalcf.core.errors import CausalCFError
from causalcf.explainers import CFProto, Explainer
from causalcf.mechanisms import Recipe
from causalcf.predictors import Predictor

MOST = 600_000
"""kB that reading thousands of bad files may add to the memory of this process."""


def _rows(n: int = 60) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    t, y = torch.rand(n, generator=draw) + 1, torch.randn(n, generator=draw)
    return {
        "t": t,
        "c": (y > 0).long(),
        "y": y,
        "image": torch.rand(n, 1, 8, 8, generator=draw),
    }


def _model() -> ccf.SCM:
    variables = {"t": ccf.Positive(unit="px"), "c": ccf.Categorical(["a", "b"]), "y": ccf.Interval(-9, 9)}
    mechanisms = {"image": ccf.mechanisms.VAE(latent=2, widths=(4, 4, 4)), "t": ccf.mechanisms.Flow(hidden=(8, 8))}
    edges = [("t", "y"), ("c", "y"), ("t", "image")]
    return ccf.SCM(edges, variables={**variables, "image": ccf.Image(1, 8, 8)}, mechanisms=mechanisms)


def _fit(**options: Any) -> ccf.SCM:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _model().fit(_rows(), epochs=2, seed=0, progress=False, **options)


# ---------------------------------------------------------------------- one file of every kind, and what reads it


def _read_model(path: Path) -> Any:
    scm = ccf.SCM.load(path)
    return list(scm.sample(3, seed=0).values())


def _read_graph(path: Path) -> Any:
    return ccf.load_graph(path).to_json()


def _read_explainer(path: Path) -> Any:
    explainer = Explainer.load(path, linear_scm(), classifier=linear_classifier())
    return [getattr(explainer, "prototypes", torch.zeros(0))]


def _read_judge(path: Path) -> Any:
    return [Predictor.load(path).predict(torch.linspace(0, 1, 192).view(3, 1, 8, 8))]


def _read_checkpoint(path: Path) -> Any:
    scm = _fit(checkpoint=path, resume=True)
    return list(scm.state_dict().values())


READERS: dict[str, Callable[[Path], Any]] = {
    "model": _read_model,
    "graph": _read_graph,
    "explainer": _read_explainer,
    "judge": _read_judge,
    "checkpoint": _read_checkpoint,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small file of every kind."""
    folder = tmp_path_factory.mktemp("files")
    paths = {kind: folder / f"{kind}.{'json' if kind == 'graph' else 'safetensors'}" for kind in READERS}

    class KilledError(Exception):
        pass

    from causalcf.training import run

    written = run.write_state

    def write_state(job: Any, identity: Any, done: Any, trainer: Any) -> None:
        written(job, identity, done, trainer)
        if trainer is not None and trainer.node == "image" and trainer.epoch == 1:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "write_state", write_state)
        with pytest.raises(KilledError):
            _fit(checkpoint=paths["checkpoint"])
    scm = _fit()
    scm.save(paths["model"])
    scm.graph.save(paths["graph"])
    explainer = CFProto(linear_scm(), classifier=linear_classifier(), max_steps=5)
    explainer.fit({"image": images(linear_scm(), 60)}, seed=0).save(paths["explainer"])
    judge = Predictor("t", scm.variables["t"], scm.variables["image"], widths=(4, 8), hidden=8)  # type: ignore[arg-type]
    ccf.predictors.fit(judge, _rows(), recipe=Recipe(epochs=1, batch_size=32), progress=False)
    judge.save(paths["judge"])
    return paths


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one == other
    whole = all(isinstance(value, Tensor) for value in one) and len(one) == len(other)
    return whole and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _outcome(kind: str, path: Path, expected: Any, *, may_differ: bool) -> str:
    """'refused', 'same' or, for a forged file, 'read'; anything else fails."""
    damage.old(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = READERS[kind](path)
    except CausalCFError as error:
        message = str(error)
        assert "\n" not in message, message
        assert len(message) < 2000, message[:300]
        return "refused"
    if _same(found, expected):
        return "same"
    assert may_differ, "a damaged file was read, and gives something else"
    return "read"


def attack(kind: str, how: str, original: Path, path: Path, seed: int) -> bool:
    """Damage a copy of a file; whether it may give other values when it is read."""
    draw = random.Random(f"{kind} {how} {seed}")
    shutil.copy(original, path)
    if kind == "graph":
        if how == "bytes":
            path.write_bytes(damage.damaged_bytes(path.read_bytes(), draw))
        else:
            path.write_text(json.dumps(damage.replaced(json.loads(path.read_text("utf-8")), draw)), "utf-8")
        return True  # a graph has no digest: it is for people to edit
    if how == "old layout":
        damage.without_layout(path)
    if how == "bytes":
        path.write_bytes(damage.damaged_bytes(path.read_bytes(), draw))
    elif how in ("layout", "old layout"):
        path.write_bytes(damage.damaged_layout(path.read_bytes(), draw))
    elif how == "header":
        damage.forged(path, draw)
    else:
        damage.forged_tensors(path, draw)
    # Without a digest of types and shapes, an explainer's tensors have nothing to be held against.
    return how in ("header", "tensors") or (how == "old layout" and kind == "explainer")


HOW = ("bytes", "layout", "old layout", "header", "tensors")
CASES = [(kind, how) for kind in READERS for how in HOW if kind != "graph" or how in ("bytes", "header")]


def _run(kind: str, how: str, files: dict[str, Path], folder: Path, seeds: range) -> dict[str, int]:
    copy = folder / "original"
    shutil.copy(files[kind], copy.with_suffix(files[kind].suffix))
    expected = READERS[kind](copy.with_suffix(files[kind].suffix))
    counts: dict[str, int] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds:
        path = folder / f"bad{files[kind].suffix}"
        may_differ = attack(kind, how, files[kind], path, seed)
        try:
            outcome = _outcome(kind, path, expected, may_differ=may_differ)
        except Exception as error:
            raise AssertionError(f"{kind}, {how}, seed {seed}: {type(error).__name__}: {error}") from error
        counts[outcome] = counts.get(outcome, 0) + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST
    return counts


@pytest.mark.parametrize(("kind", "how"), CASES)
def test_some_bad_files(kind: str, how: str, files: dict[str, Path], tmp_path: Path) -> None:
    few = 3 if kind == "checkpoint" else 12
    assert sum(_run(kind, how, files, tmp_path, range(few)).values()) == few


@pytest.mark.trust
@pytest.mark.parametrize(("kind", "how"), CASES)
def test_many_bad_files(kind: str, how: str, files: dict[str, Path], tmp_path: Path) -> None:
    many = 60 if kind == "checkpoint" else 200
    counts = _run(kind, how, files, tmp_path, range(1000, 1000 + many))
    print(f"{kind}, {how}: {counts}")
    assert counts.get("refused", 0) > 0
