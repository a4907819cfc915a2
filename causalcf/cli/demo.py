"""`causalcf demo`: a first picture, then graph, fit, counterfactual and score on real digits, with no download."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure, SubFigure
from rich.console import Console
from rich.table import Table

from causalcf.core.files import write_json
from causalcf.core.provenance import provenance
from causalcf.data import Batch
from causalcf.datasets import Digits
from causalcf.datasets.glyphs import attributes_after
from causalcf.evaluation import evaluate
from causalcf.evaluation.records import Records
from causalcf.mechanisms import VAE
from causalcf.plots import plot_counterfactual, plot_history, save_figure
from causalcf.reference import pretrained
from causalcf.report import print_records
from causalcf.scm.model import StructuralCausalModel

__all__ = ["run_demo"]

QUESTIONS = ({"thickness": 1.5}, {"thickness": 4.0}, {"intensity": 100.0})
"""The actions of the demo: thin strokes, thick strokes, dark strokes."""

SHIPPED = "morphomnist-hvae"
"""The fitted model that answers while there is no other yet."""

SMALL = VAE(widths=(16, 32, 64), beta=1.0)
RECIPE = replace(VAE.default_recipe, batch_size=32, lr=4e-3, warmup=50)
"""A small image model and short steps: for 1,350 digits as good as the defaults, at a fifth of the time."""

NUMBER_EPOCHS = 150
"""Passes of the flows, 450 steps: on these digits 1,000 steps give no better counterfactuals."""

CYCLED = 100
"""Rows that composition is taken from: it asks twenty times for abduction and prediction of each."""


def run_demo(out: Path, *, seed: int = 0, epochs: int = 16, progress: bool = True) -> Records:
    """Run the main job end to end and leave its results in a folder.

    Args:
        out: Folder for the pictures, the model and the scores.
        seed: Seed of every random choice.
        epochs: Passes of the image model over the 1,350 digits it is fitted to.
        progress: Show progress bars.

    Returns:
        The scores.
    """
    console, started = Console(), time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    test = Digits("test")
    x = test[[int((test["digit"] == digit).nonzero()[0]) for digit in (0, 2, 3, 4, 6, 9)]]
    console.print(f"[bold]graph[/bold] {', '.join(' -> '.join(edge) for edge in test.graph.edges)}")
    facts = provenance(seed=seed, data="digits", model=SHIPPED)
    first = _write(out / "first.png", _picture(pretrained(SHIPPED), test, x, seed), facts)
    console.print(f"[bold]first picture[/bold] by {SHIPPED}, which comes fitted; look at:")
    console.print(f"  {first}", highlight=False)

    train = Digits("train")
    console.print(f"[bold]data[/bold] {train.rows} + {test.rows} handwritten digits, strokes redrawn by a known model")
    console.print("[bold]fit[/bold] a model of your own, from nothing")
    scm = fit_model(train, epochs=epochs, seed=seed, progress=progress)
    console.print("[bold]score[/bold] its answers about the test digits")
    options: dict[str, Any] = {"do": ("thickness", "intensity"), "seed": seed}
    errors = evaluate(scm, test, ["truth error"], n=None, **options)
    cycles = evaluate(scm, test, ["composition"], n=min(CYCLED, test.rows), **options)
    effect = effect_on_intensity(scm, test)

    print_records(errors, title="Error against the true counterfactual, on the test digits")
    print_records(cycles, title="Composition: what nothing done changes, after 1 and 10 times")
    _print_effect(console, effect)
    records = Records((*errors, *cycles), {**errors.seconds, **cycles.seconds})
    facts = provenance(seed=seed, device=scm.device, data="digits")
    files = [
        _write(out / "counterfactuals.png", _picture(scm, test, x, seed), facts),
        _write(out / "graph.png", scm.graph.draw(do=["thickness"]).figure, facts),
        _write(out / "training.png", plot_history(scm.history), facts),
        out / "scores.json",
        out / "model.safetensors",
    ]
    write_json(out / "scores.json", {"provenance": facts, **records.to_json(), "effect": effect})
    scm.save(out / "model.safetensors")
    seconds = time.perf_counter() - started
    console.print(f"[bold]done[/bold] in {seconds:.0f} s on {torch.get_num_threads()} threads; look at:")
    for path in files:
        console.print(f"  {path}", highlight=False)
    return records


def fit_model(train: Digits, *, epochs: int, seed: int, progress: bool = True) -> StructuralCausalModel:
    """A model of the digits, fitted from nothing; its arguments are those of `run_demo`."""
    scm = StructuralCausalModel(train.graph, mechanisms={"image": SMALL})
    return scm.fit(
        train,
        epochs=dict.fromkeys(("thickness", "intensity"), NUMBER_EPOCHS),
        recipes={"image": replace(RECIPE, epochs=epochs)},
        seed=seed,
        progress=progress,
    )


def effect_on_intensity(scm: StructuralCausalModel, test: Digits) -> list[dict[str, float]]:
    """Mean intensity of the test digits had their strokes been so thick: the model's and the true one."""
    mechanism, rows, effect = scm.mechanisms["intensity"], scm.read(test), []
    noise = mechanism.abduct(rows["intensity"], {"thickness": rows["thickness"]})  # one node is asked about: no images
    for thickness in (1.0, 2.0, 3.0, 4.0, 5.0):
        model = mechanism.predict(noise, {"thickness": torch.full_like(rows["thickness"], thickness)})
        _, truth = attributes_after(test, {"thickness": thickness})
        effect.append({"thickness": thickness, "model": float(model.mean()), "truth": float(truth.mean())})
    return effect


def _print_effect(console: Console, effect: list[dict[str, float]]) -> None:
    table = Table("do(thickness), px", "model", "truth", title="Effect on intensity, grey levels")
    for row in effect:
        table.add_row(f"{row['thickness']:g}", f"{row['model']:.1f}", f"{row['truth']:.1f}")
    console.print(table)


def _picture(scm: StructuralCausalModel, test: Digits, x: Batch, seed: int) -> Figure:
    """A model's answers to the questions about some digits, beside the truth."""
    cf = scm.counterfactual(x, do=list(QUESTIONS), seed=seed)
    return plot_counterfactual(cf, truth=[test.truth(x, do=question) for question in QUESTIONS])


def _write(path: Path, figure: Figure | SubFigure, facts: dict[str, Any]) -> Path:
    save_figure(figure, path, facts)
    return path
