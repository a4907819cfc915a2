"""Reference models trained for as long as a budget lasts, fine-tuned and scored: `python -m causalcf.costs.converge`.

Scoring runs in a process of its own, while the next model trains.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch

import causalcf as ccf
from causalcf import predictors
from causalcf.core.checkpoint import read_file
from causalcf.costs.device import Job, tried
from causalcf.data import Batch
from causalcf.datasets import MorphoMNIST
from causalcf.mechanisms import HVAE, Diffusion, Mechanism, Recipe
from causalcf.scm.model import StructuralCausalModel
from causalcf.scm.residual import Fading
from causalcf.training.trainer import stripped

__all__ = ["baseline", "collect", "diffusion", "hvae", "score", "sizes", "tuned"]

RESIDUAL = Fading(thickness=1.0, digit=0.0)
MARGIN = 0.85
"""Share of a training step's time that training itself may take; the rest reads data and writes the model."""


def _hvae(job: Job) -> HVAE:
    return HVAE(gain_only=("intensity",), **job.pick({}, {"widths": (8, 8, 8, 8)}))


def _diffusion(job: Job) -> Diffusion:
    return Diffusion(gain_only=("intensity",), **job.pick({}, {"widths": (8, 8, 8), "steps": 2}))


def _rows(job: Job, rows: int = 60_000) -> Batch:
    return _training_split()[: job.pick(rows, 20)]


@cache
def _training_split() -> MorphoMNIST:
    """Read once: every step asks for it."""
    return MorphoMNIST(split="train")


def _options(job: Job, precision: str = "bf16-mixed") -> dict[str, Any]:
    capture = job.device == "cuda" and not job.eager
    return {"seed": 0, "device": job.device, "precision": precision, "compile": capture, "progress": False}


def _model(mechanism: Mechanism) -> StructuralCausalModel:
    return ccf.SCM("morphomnist", mechanisms={"image": mechanism})


# ---------------------------------------------------------------------- how long things take


def sizes(job: Job) -> dict[str, Any]:
    """Seconds an epoch by batch size and precision, of every kind of training that the later steps do."""
    data, found = _rows(job), job.found
    for batch, precision in job.pick(
        (
            (job.batch, "bf16-mixed"),
            (64, "bf16-mixed"),
            (job.batch, "32-true"),
            (256, "bf16-mixed"),
            (32, "bf16-mixed"),
        ),
        ((32, "32-true"),),
    ):
        found[f"HVAE, {batch}, {precision}"] = tried(
            lambda b=batch, p=precision: _probe(job, _hvae(job), data, b, p)  # type: ignore[misc]
        )
    found["Diffusion"] = tried(lambda: _probe(job, _diffusion(job), data, job.batch, "bf16-mixed"))
    scm = _model(_hvae(job))
    started = time.perf_counter()
    scm.fit(data, nodes=["thickness", "intensity", "digit"], epochs=1, **_options(job))
    found["the other nodes, 1 epoch, s"] = time.perf_counter() - started
    checkpoint = job.out / "sizes.checkpoint"
    recipe = replace(HVAE.default_recipe, batch_size=job.batch, epochs=2)
    scm.fit(data, nodes=["image"], recipes={"image": recipe}, checkpoint=checkpoint, **_options(job))
    checkpoint.unlink()
    found["HVAE with a checkpoint"] = scm.history[-1]
    started = time.perf_counter()
    found["fine-tuning"] = tried(lambda: _finetune(job, scm, _rows(job, 6000), epochs=2, checkpoint=None))
    return found | {"fine-tuning, 6,000 rows": scm.history[-1], "fine-tuning, s": time.perf_counter() - started}


def baseline(job: Job) -> dict[str, Any]:
    """The HVAE that comes along, scored as the new ones will be."""
    score(job, "morphomnist-hvae", "morphomnist-hvae-as-shipped")
    return {}


def _probe(job: Job, mechanism: Mechanism, data: Batch, batch: int, precision: str) -> dict[str, Any]:
    """Two epochs, of which the second counts: the first sets things up."""
    recipe = replace(mechanism.default_recipe, batch_size=batch, epochs=2)
    scm = _model(mechanism).fit(data, nodes=["image"], recipes={"image": recipe}, **_options(job, precision))
    seconds = [record["seconds"] for record in scm.history]
    return {"first_s": seconds[0], "epoch_s": seconds[1], "validation": scm.history[-1]["validation"]}


# ---------------------------------------------------------------------- training


def hvae(job: Job) -> dict[str, Any]:
    """The HVAE, for as many epochs as the step's time allows."""
    return _trained(job, _hvae(job), "morphomnist-hvae-untuned")


def diffusion(job: Job) -> dict[str, Any]:
    """The diffusion, likewise."""
    return _trained(job, _diffusion(job), "morphomnist-diffusion")


def _trained(job: Job, mechanism: Mechanism, name: str) -> dict[str, Any]:
    data, checkpoint = _rows(job), job.out / f"{name}.checkpoint"
    recipe = _recipe(job, mechanism, data, name)
    started, scm = time.perf_counter(), _model(mechanism)
    options: dict[str, Any] = {"recipes": {"image": recipe}, "checkpoint": checkpoint, "resume": True, **_options(job)}
    try:
        scm.fit(data, epochs=job.pick(None, dict.fromkeys(scm.graph.nodes, 1)), **options)
    except TimeoutError:
        _rescue(scm, checkpoint)
    return _written(job, scm, name, started, recipe=asdict(recipe))


def _recipe(job: Job, mechanism: Mechanism, data: Batch, name: str) -> Recipe:
    """As many epochs as fit into the time left; those of a killed run again, which its checkpoint asks for."""
    kept = job.out / f"{name}.plan.json"
    recipe = replace(mechanism.default_recipe, batch_size=job.pick(job.batch, 32))
    if not kept.exists():
        second = _probe(job, mechanism, data, recipe.batch_size, "bf16-mixed")["epoch_s"]
        others = job.pick(30.0, 1.0)  # the flows, reading, writing
        epochs = job.pick(max(2, int(MARGIN * (job.left - others) / second)), 2)
        kept.write_text(json.dumps({"epochs": epochs, "epoch_s": second}), encoding="utf-8")
    epochs = json.loads(kept.read_text(encoding="utf-8"))["epochs"]
    return replace(recipe, epochs=epochs, patience=epochs)


def _rescue(scm: StructuralCausalModel, checkpoint: Path) -> None:
    """The best weights of a run that was cut off."""
    header, tensors = read_file(checkpoint)
    best = stripped("best", stripped("trainer", tensors))
    scm.mechanisms["image"].load_state_dict(best)
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    scm.history = header["history"]
    scm.requires_grad_(False).eval()


def tuned(job: Job) -> dict[str, Any]:
    """The HVAE fine-tuned on counterfactuals."""
    scm = StructuralCausalModel.load(job.out / "morphomnist-hvae-untuned.safetensors", device=job.device)
    started, name = time.perf_counter(), "morphomnist-hvae"
    data, epochs = _rows(job, 40_000), job.pick(4, 1)
    _finetune(job, scm, data, epochs=epochs, checkpoint=job.out / f"{name}.checkpoint")
    return _written(job, scm, name, started, epochs=epochs)


def _finetune(job: Job, scm: StructuralCausalModel, data: Batch, *, epochs: int, checkpoint: Path | None) -> None:
    scm.finetune(
        data,
        predictors.pretrained("morphomnist", which="tune", device=job.device),
        actions={"digit": 2.0, "intensity": 1.0},
        residual=RESIDUAL,
        slack=0.04,
        epochs=epochs,
        checkpoint=checkpoint,
        resume=True,
        **_options(job),
    )


def _written(job: Job, scm: StructuralCausalModel, name: str, started: float, **facts: Any) -> dict[str, Any]:
    """The model's file, and a process that scores it."""
    path = job.out / f"{name}.safetensors"
    scm.provenance |= {"data": "morphomnist"}
    scm.save(path, half=["image"])
    for leftover in (f"{name}.checkpoint", f"{name}.plan.json"):
        (job.out / leftover).unlink(missing_ok=True)
    score(job, path, name)
    image = [record for record in scm.history if record["node"] == "image"]
    seconds = time.perf_counter() - started
    return {"bytes": path.stat().st_size, "seconds": seconds, "history": image, **facts}


# ---------------------------------------------------------------------- scoring

SCORING: dict[str, subprocess.Popen[bytes] | None] = {}
"""Model -> the process that scores it; None where it is scored already."""


def score(job: Job, model: Path | str, name: str) -> None:
    """Begin to score a model's file, or a reference model, in a process of its own; a rehearsal scores it here."""
    arguments = (str(model), str(job.out / f"{name}.scores.json"), job.pick("1000", "4"), job.device)
    if job.small:
        main(*arguments)
        SCORING[name] = None
    else:
        SCORING[name] = subprocess.Popen([sys.executable, "-m", "causalcf.costs.converge", *arguments])


def collect(out: Path, seconds: float) -> dict[str, Any]:
    """Wait for the scores of models, and take them in."""
    found, end = {}, time.perf_counter() + seconds
    for name, process in SCORING.items():
        try:
            code = process.wait(max(0.1, end - time.perf_counter())) if process else 0
        except subprocess.TimeoutExpired:
            cast("subprocess.Popen[bytes]", process).kill()
            code = -1
        path = out / f"{name}.scores.json"
        found[name] = json.loads(path.read_text(encoding="utf-8")) if code == 0 else f"scoring ended with {code}"
        path.unlink(missing_ok=True)
    SCORING.clear()
    return found


def _scores(model: str, rows: int, device: str) -> list[dict[str, Any]]:
    test = MorphoMNIST(split="test")
    scm = (StructuralCausalModel.load(model) if Path(model).is_file() else ccf.pretrained(model)).to(device)
    metrics = ["truth error", "composition", "effectiveness"]
    records = ccf.evaluate(
        scm,
        test,
        metrics,
        predictors=predictors.pretrained("morphomnist", device=device),
        residuals=(1.0, 0.0, RESIDUAL) if scm.mechanisms["image"].residual_sites else (1.0,),
        n=rows,
        workers=4 if rows > 100 else 1,
    )
    return [asdict(record) for record in records]


def main(model: str, out: str, rows: str, device: str) -> None:
    """Score a model's file, or a reference model, on test images of MorphoMNIST, and write OUT as JSON."""
    scores = _scores(model, int(rows), device)
    Path(out).write_text(json.dumps(scores, indent=1, default=str), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(4)
    main(*sys.argv[1:])
