"""`causalcf demo`: graph, fit, counterfactual, picture and score on real digits, with no download."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from causalcf.core.files import write_json
from causalcf.core.provenance import provenance
from causalcf.datasets import Digits
from causalcf.evaluation import evaluate
from causalcf.evaluation.records import Records
from causalcf.mechanisms import VAE
from causalcf.plots import plot_counterfactual, plot_history, save_figure
from causalcf.report import print_records
from causalcf.scm.model import StructuralCausalModel

__all__ = ["run_demo"]

QUESTIONS = ({"thickness": 1.5}, {"thickness": 4.0}, {"intensity": 100.0})
"""What would this very digit have been, had its strokes been thin, thick, or dark?"""


def run_demo(out: Path, *, seed: int = 0, epochs: int = 30, progress: bool = True) -> Records:
    """Run the main job end to end and leave its results in a folder.

    Args:
        out: Folder for the pictures, the model and the scores.
        seed: What every random choice follows from.
        epochs: Passes of the image model over the 1,500 training digits.
        progress: Show progress bars.

    Returns:
        The scores.
    """
    console, started = Console(), time.perf_counter()
    train, test = Digits("train"), Digits("test")
    console.print(f"[bold]data[/bold] {train.rows} + {test.rows} handwritten digits, strokes redrawn by a known model")
    console.print(f"[bold]graph[/bold] {', '.join(' -> '.join(edge) for edge in train.graph.edges)}")

    scm = StructuralCausalModel(train.graph, mechanisms={"image": VAE()})
    scm.fit(train, epochs={"image": epochs}, seed=seed, progress=progress)

    x = test[[int((test["digit"] == digit).nonzero()[0]) for digit in (0, 2, 3, 4, 6, 9)]]
    cf = scm.counterfactual(x, do=list(QUESTIONS), seed=seed)
    truth = [test.truth(x, do=question) for question in QUESTIONS]
    scores, acted = ("truth error", "composition"), ("thickness", "intensity")
    records = evaluate(scm, test, scores, do=acted, n=None, seed=seed)
    effect = effect_on_intensity(scm, test)

    print_records(records, title="Error against the true counterfactual, and composition, on the test digits")
    _print_effect(console, effect)
    files = _write(out, scm, plot_counterfactual(cf, truth=truth), records, effect, seed)
    seconds = time.perf_counter() - started
    console.print(f"[bold]done[/bold] in {seconds:.0f} s on {torch.get_num_threads()} threads; look at:")
    for path in files:
        console.print(f"  {path}", highlight=False)
    return records


def effect_on_intensity(scm: StructuralCausalModel, test: Digits) -> list[dict[str, float]]:
    """Mean intensity of the test digits had their strokes been so thick: the model's and the true one."""
    effect = []
    for thickness in (1.0, 2.0, 3.0, 4.0, 5.0):
        answer = scm.counterfactual(test[:], do={"thickness": thickness}, seed=0)
        truth = test.truth(test[:], do={"thickness": thickness})
        effect.append(
            {
                "thickness": thickness,
                "model": float(answer["intensity"].mean()),
                "truth": float(truth["intensity"].mean()),
            }
        )
    return effect


def _print_effect(console: Console, effect: list[dict[str, float]]) -> None:
    table = Table("do(thickness), px", "model", "truth", title="Effect on intensity, grey levels")
    for row in effect:
        table.add_row(f"{row['thickness']:g}", f"{row['model']:.1f}", f"{row['truth']:.1f}")
    console.print(table)


def _write(
    out: Path,
    scm: StructuralCausalModel,
    picture: Any,
    records: Records,
    effect: list[dict[str, float]],
    seed: int,
) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    facts = provenance(seed=seed, device=scm.device, data="digits")
    save_figure(picture, out / "counterfactuals.png", facts)
    save_figure(scm.graph.draw(do=["thickness"]).figure, out / "graph.png", facts)
    save_figure(plot_history(scm.history), out / "training.png", facts)
    scm.save(out / "model.safetensors")
    write_json(out / "scores.json", {"provenance": facts, **records.to_json(), "effect": effect})
    names = ("counterfactuals.png", "graph.png", "training.png", "scores.json", "model.safetensors")
    return [out / name for name in names]
