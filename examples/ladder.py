"""The ladder of causation: one question, three answers.

*How thick would the strokes be at an intensity of 220?* In MorphoMNIST thick strokes are bright, and
thickness causes intensity, not the other way round. So it depends on what one means:

1. Association, P(thickness | intensity = 220): look at the digits that are that bright. They are thick.
2. Intervention, P(thickness | do(intensity = 220)): brighten every digit. Strokes stay as they were
   drawn, so the average is that of all digits.
3. Counterfactual, for this very digit: had *it* been that bright, it would be as thick as it is.

A model that was fitted to data answers all three; the data set knows the truth of all three. The
pictures show what each rung looks at: other digits, new digits, the same digits. (New digits are
drawn as the mean images of the model's decoder, without pixel noise.)

Run it: python examples/ladder.py --out runs/ladder
On real MorphoMNIST: python examples/ladder.py --data morphomnist --model morphomnist-vae --out runs/ladder
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

import causalcf as ccf
from causalcf.core.provenance import provenance
from causalcf.plots import save_figure

HALF_WIDTH = 5.0
"""Intensities within this many grey levels count as the asked-for one."""


def load(name: str) -> tuple[Any, Any]:
    """Training and test split of a data set with a known truth."""
    make = {"digits": ccf.datasets.Digits, "morphomnist": lambda split: ccf.datasets.MorphoMNIST(None, split)}[name]
    return make("train"), make("test")


def fit(train: Any, rows: int | None, epochs: int | None, seed: int) -> ccf.SCM:
    """The causal model of the digits, fitted."""
    scm = ccf.SCM(train.graph, mechanisms={"image": ccf.mechanisms.VAE()})
    data = train if rows is None else train[:rows]
    return scm.fit(data, epochs=None if epochs is None else {"image": epochs}, seed=seed)


def near(batch: ccf.Batch, intensity: float) -> Tensor:
    """Rows whose intensity is about the asked-for one."""
    return ((batch["intensity"] - intensity).abs() < HALF_WIDTH).nonzero().squeeze(1)


def climb(scm: ccf.SCM, test: Any, intensity: float, seed: int) -> dict[str, Any]:
    """Answer the question on each rung: from the model, and from the truth.

    Returns:
        Rung -> (model's answer, true answer, images that show it).
    """
    samples = scm.sample(5000, residual=0, seed=seed)  # association: draw, and look only at the bright ones
    bright, really_bright = samples[near(samples, intensity)], test[near(test, intensity)]
    acted = scm.sample(1000, do={"intensity": intensity}, residual=0, seed=seed)  # intervention: brightness set
    thin = test[test["thickness"].argsort()[test.rows // 20 :][:6]]  # counterfactual: six thin digits, brightened
    answer = scm.counterfactual(thin, do={"intensity": intensity})
    truth = test.truth(thin, do={"intensity": intensity})
    return {
        "association": (bright["thickness"].mean(), really_bright["thickness"].mean(), bright["image"][:6]),
        "intervention": (acted["thickness"].mean(), test["thickness"].mean(), acted["image"][:6]),
        "counterfactual": (answer["thickness"].mean(), truth["thickness"].mean(), answer["image"]),
        "thin": thin,
        "truth": truth,
    }


def draw(rungs: dict[str, Any], intensity: float) -> Any:
    """Six digits for each rung, and the six digits the counterfactuals start from."""
    rows = {
        f"association\nP(· | intensity = {intensity:g})": rungs["association"][2],
        f"intervention\nP(· | do(intensity = {intensity:g}))": rungs["intervention"][2],
        "the six digits\nthat were observed": rungs["thin"]["image"],
        f"counterfactual\nhad intensity been {intensity:g}": rungs["counterfactual"][2],
        "the true\ncounterfactual": rungs["truth"]["image"],
    }
    with mpl.rc_context({"font.size": 9}):
        figure = mpl.figure.Figure(figsize=(7.2, 5.4), layout="constrained")
        axes = figure.subplots(len(rows), 6, squeeze=False)
        for line, (title, images) in zip(axes, rows.items(), strict=True):
            for ax in line:
                ax.set_axis_off()
            for ax, image in zip(line, images, strict=False):
                ax.imshow(image[0], cmap="gray", vmin=0, vmax=1)
            line[0].text(-0.15, 0.5, title, transform=line[0].transAxes, ha="right", va="center")
        return figure


def main(
    data: Annotated[str, typer.Option(help="digits or morphomnist.")] = "digits",
    out: Annotated[Path, typer.Option(help="Folder for the picture.")] = Path("runs/ladder"),
    intensity: Annotated[float, typer.Option(help="The intensity asked about, grey levels.")] = 220.0,
    model: Annotated[str | None, typer.Option(help="A reference model or a model file, not to fit one.")] = None,
    rows: Annotated[int | None, typer.Option(help="Fit to the first rows only.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes of the image model.")] = None,
    seed: Annotated[int, typer.Option(help="What every random choice follows from.")] = 0,
) -> None:
    """Climb the ladder of causation on one question."""
    train, test = load(data)
    if model is None:
        scm = fit(train, rows, epochs, seed)
    else:
        scm = ccf.SCM.load(model) if model.endswith(".safetensors") else ccf.pretrained(model)
    rungs = climb(scm, test, intensity, seed)
    table = Table("rung", "model", "truth", title=f"How thick are the strokes at intensity {intensity:g}? (px)")
    for rung in ("association", "intervention", "counterfactual"):
        answer, truth, _ = rungs[rung]
        table.add_row(rung, f"{answer:.2f}", f"{truth:.2f}")
    Console().print(table)
    picture = out / "ladder.png"
    save_figure(draw(rungs, intensity), picture, provenance(seed=seed, data=data))
    Console().print(f"drawn {picture}")


if __name__ == "__main__":
    torch.set_num_threads(min(4, torch.get_num_threads()))
    typer.run(main)
