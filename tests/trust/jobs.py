"""Long work in small, from its start to the file it ends with; a second call goes on where a killed one stopped."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from explainers.models import linear_classifier, linear_scm
from safetensors.torch import load_file
from torch import Tensor

import causalcf as ccf
from causalcf.mechanisms import VAE, Recipe

FEW = Recipe(epochs=6, batch_size=16, lr=2e-3, warmup=1, min_steps=0, patience=99)
SMALL: dict[str, Any] = {"widths": (2, 2), "hidden": 4}


def _bars() -> Any:
    return ccf.datasets.Bars(60)


def _flows(folder: Path) -> None:
    x = torch.randn(60, generator=torch.Generator().manual_seed(0))
    small = {node: ccf.mechanisms.Flow(bins=3, hidden=(4,), recipe=FEW) for node in "xy"}
    scm = ccf.SCM([("x", "y")], dict.fromkeys("xy", ccf.Real()), small)
    scm.fit({"x": x, "y": x.cos()}, seed=0, progress=False, checkpoint=folder / "fit.checkpoint", resume=True)
    scm.save(folder / "result.safetensors")


def _tune(folder: Path) -> None:
    scm = ccf.SCM.load(folder.parent / "model.safetensors")
    reader = ccf.predictors.Predictor.load(folder.parent / "reader.safetensors")
    options: dict[str, Any] = {"checkpoint": folder / "tune.checkpoint", "resume": True, "progress": False}
    scm.finetune(_bars(), [reader], recipe=FEW, slack=5.0, seed=0, **options)
    scm.save(folder / "result.safetensors")


def _read(folder: Path) -> None:
    bars = _bars()
    predictor = ccf.predictors.Predictor("side", bars.variables["side"], bars.variables["image"], **SMALL)
    options: dict[str, Any] = {"checkpoint": folder / "read.checkpoint", "resume": True, "progress": False}
    ccf.predictors.fit(predictor, bars, which="tune", recipe=FEW, seed=0, **options).save(folder / "result.safetensors")


def _explain(folder: Path) -> None:
    scm = linear_scm()
    explainer = ccf.explainers.Clarity(scm, classifier=linear_classifier(), members=2, hidden=(4,), epochs=20)
    explainer.fit(scm.sample(200, seed=0), seed=0)
    explainer.save(folder / "result.safetensors")


def _save(folder: Path) -> None:
    """The same file, over and over, beside a graph's."""
    scm = ccf.SCM.load(folder.parent / "model.safetensors")
    for _ in range(60):
        scm.save(folder / "result.safetensors")
        scm.graph.save(folder / "graph.json")


def _shards(folder: Path) -> None:
    scm = ccf.SCM.load(folder.parent / "model.safetensors")
    rows = {name: values.repeat(4, *[1] * (values.ndim - 1)) for name, values in _bars().items()}
    ccf.bulk(scm, rows, {"width": 5.0}, folder / "shards", seed=0, shard=8, block=4, progress=False)


JOBS: dict[str, Callable[[Path], None]] = {
    "fit": _flows,
    "finetune": _tune,
    "predictor": _read,
    "explainer": _explain,
    "save": _save,
    "bulk": _shards,
}


def prepare(folder: Path) -> None:
    """The files that jobs start from: a model of bars that is barely fitted, and a predictor to tune it by."""
    bars = _bars()
    vae = VAE(latent=2, widths=(2, 2, 4), recipe=Recipe(epochs=1, batch_size=16))
    ccf.SCM(bars.graph, mechanisms={"image": vae}).fit(bars, epochs=1, seed=0, progress=False).save(
        folder / "model.safetensors"
    )
    reader = ccf.predictors.Predictor("side", bars.variables["side"], bars.variables["image"], **SMALL)
    ccf.predictors.fit(reader, bars, which="tune", recipe=FEW, seed=0, progress=False).save(
        folder / "reader.safetensors"
    )


def run(job: str, folder: Path) -> None:
    """Work a job off, or go on with it, without a word."""
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    JOBS[job](folder)


def results(folder: Path) -> dict[str, Tensor]:
    """Every tensor that a job's files hold, by file and name; raises if a file is half written."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        found |= {f"{path.relative_to(folder)}:{name}": tensor for name, tensor in load_file(path).items()}
    return found
