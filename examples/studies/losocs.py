"""LoSoCs: how straight, how even and how faithful is the stream from a digit to another?

Kehe, Rooryck, Coffel, "Generating Counterfactuals by Optimizing Over Latent Space Representations" (2024) raise one
logit of a classifier, a simple perceptron, along the latent space of a VAE and show every image on the way. Their
protocol, on real MNIST:

- 1,000 streams from random digits to random digits: R² of the target's logit against the frame, variation of the change
  between frames, R² of the latent path, the change before and after the probability reaches .99;
- four cohorts of 500 (4 to 7, random to 7, 4 to random, random to random): pairwise distances in the latent space
  before and after, whose ratio says whether different digits stay different;
- a Siamese network that has to tell from which digit a counterfactual came, 5 folds.

Raising one logit may raise others too: "log odds" raises the target against all others. The paper's streams are neither
linear nor even: `frames=` shows the way of the log odds in even steps. `plausibility=` makes the paper's "demon
numbers" pay for what the generator cannot recognise.

Run it: python examples/studies/losocs.py --out runs/losocs
A small one: python examples/studies/losocs.py --data digits --n 40 --epochs 3 --out runs/losocs-small
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import torch
import typer
from setting import Data, Epochs, Model, Networks, Out, Seed, Setting, Steps, published, summary, table, write
from torch import Tensor

import causalcf as ccf
from causalcf import metrics
from causalcf.core.provenance import provenance
from causalcf.plots import save_figure

COHORTS = {"4 to 7": (4, 7), "random to 7": (None, 7), "4 to random": (4, None), "random to random": (None, None)}
PUBLISHED = {
    "paper": published(linearity=0.58, continuity_per_pixel=2.52, path_linearity=0.93, Siamese_accuracy=0.793),
}
COLUMNS = [
    "valid", "valid to the judge", "linearity", "continuity per frame", "continuity per pixel", "path linearity",
    "Siamese accuracy", "IM1", "proximity", "seconds",
]  # fmt: skip
ENOUGH = 500
"""Streams from which on the Siamese network finds strangers of the same two classes in every fold."""


def streams(setting: Setting, n: int, frames: int, steps: int) -> dict[str, ccf.explainers.Explanation]:
    """The same 1,000 questions asked of the paper's method and of its variants."""
    x, target = setting.queries(None, None, n, seed=setting.seed)
    odds = {"raises": "log odds", "lr": 0.1}
    even = odds | {"frames": frames}
    methods = {"LoSoCs": {}, "log odds": odds, "even steps": even, "plausible": even | {"plausibility": 1.0}}
    found = {}
    for name, options in methods.items():
        explainer = ccf.explainers.LoSoCs(setting.generator, classifier=setting.classifier, max_steps=steps, **options)
        with setting.timed(name):
            found[name] = explainer.explain(x, target, seed=setting.seed, stream=True)
    return found


def line(setting: Setting, name: str, explanation: ccf.explainers.Explanation) -> dict[str, tuple[float, float]]:
    """A method's line of the table."""
    values = summary(setting.score(explanation))
    values["seconds"] = (setting.seconds[name] / explanation.rows, float("nan"))
    if explanation.rows >= ENOUGH:
        likeness = metrics.siamese_similarity(
            explanation.counterfactual,
            explanation.query.x,
            explanation.factual_predicted,
            explanation.target,
            epochs=setting.epochs or 15,
            seed=setting.seed,
        )
        values["Siamese accuracy"] = (likeness.accuracy, likeness.std)
    return values


def spread(setting: Setting, n: int, steps: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Pairwise distances of the codes in each cohort, before and after: above 1, digits drift apart."""
    ratios = {}
    for name, (source, target) in COHORTS.items():
        x, wanted = setting.queries(source, target, n, seed=setting.seed + 1)
        if len(x) < 2:
            continue  # a poor classifier may never say 4
        explainer = ccf.explainers.LoSoCs(setting.generator, classifier=setting.classifier, max_steps=steps)
        found = explainer.explain(x, wanted, seed=setting.seed)
        before, after = (torch.pdist(code) for code in (found.query.start, found.code))
        ratios[name] = {
            "before": (float(before.mean()), float(before.std())),
            "after": (float(after.mean()), float(after.std())),
            "ratio": (float(metrics.distance_ratio(found.code, found.query.start)), float("nan")),
            "valid": (float(found.reached.float().mean()), float("nan")),
        }
    return ratios


def steps_before_and_after(stream: ccf.explainers.Stream, gamma: float = 0.99) -> tuple[Tensor, Tensor]:
    """Mean absolute change of consecutive frames until the probability passes gamma, and from there on."""
    change = (stream.image[:, 1:] - stream.image[:, :-1]).abs().flatten(2).mean(2)
    there = torch.arange(change.shape[1]) < (stream.lengths - 1)[:, None]
    late = stream.probability[:, :-1] >= gamma
    return change[there & ~late], change[there & late]


def draw(found: dict[str, ccf.explainers.Explanation], rows: int = 3, frames: int = 8) -> mpl.figure.Figure:
    """Frames of a few streams, each method below the other, with the probability along each."""
    figure = mpl.figure.Figure(figsize=(1.0 * frames + 2.4, 1.05 * rows * len(found) + 0.3), layout="constrained")
    axes = figure.subplots(rows * len(found), frames + 1, width_ratios=[1] * frames + [1.8])
    for i in range(rows):
        for k, (name, explanation) in enumerate(found.items()):
            shown = explanation.stream.frames(i)
            places = torch.linspace(0, len(shown) - 1, frames).round().long()
            cells = axes[i * len(found) + k]
            for cell, image in zip(cells, shown[places], strict=False):
                cell.imshow(image[0], cmap="gray", vmin=0, vmax=1)
                cell.set_axis_off()
            asked = f"{int(explanation.factual_predicted[i])} to {int(explanation.target[i])}"
            heading = f"{asked}\n{name}" if k == 0 else name
            cells[0].text(-0.2, 0.5, heading, transform=cells[0].transAxes, ha="right", va="center", fontsize=8)
            cells[-1].plot(np.linspace(0, 1, len(shown)), explanation.stream.probability[i, : len(shown)], lw=1.2)
            cells[-1].set(ylim=(-0.05, 1.05), xticks=[], yticks=[0, 1])
            cells[-1].tick_params(labelsize=7)
    axes[0, -1].set_title("probability of the target", fontsize=8)
    return figure


def trajectories(explanation: ccf.explainers.Explanation, count: int = 6) -> mpl.figure.Figure:
    """A few ways through the latent space, on its two main directions, over the classifier's uncertainty.

    The background decodes the plane through the mean code; the plane is no more than a shadow of the space.
    """
    stream = explanation.stream
    codes = explanation.query.start
    centre = codes.mean(0)
    _, _, directions = torch.pca_lowrank(codes, q=2)
    rows = explanation.reached.nonzero()[:count, 0].tolist() or list(range(min(count, explanation.rows)))
    ways = [(stream.code[i, : int(stream.lengths[i])] - centre) @ directions for i in rows]
    plane = torch.cat([(codes - centre) @ directions, *ways])
    low, high = plane.amin(0).tolist(), plane.amax(0).tolist()
    sides = [torch.linspace(a - 0.3, b + 0.3, 60) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*sides)
    query = explanation.query[torch.zeros(len(grid), dtype=torch.long)]
    with torch.no_grad():
        p = query.ask(centre + grid @ directions.T).softmax(-1).mean(0)
    entropy = -(p * p.clamp_min(1e-9).log()).sum(1).reshape(60, 60)
    figure = mpl.figure.Figure(figsize=(5.2, 4.2), layout="constrained")
    ax = figure.subplots()
    shown = ax.pcolormesh(*sides, entropy.T, cmap="Greys", shading="auto")
    figure.colorbar(shown, label="uncertainty of the class (nats)")
    for i, way in zip(rows, ways, strict=True):
        ax.plot(*way.T.tolist(), lw=1.4)
        source, target = int(explanation.factual_predicted[i]), int(explanation.target[i])
        for place, name, colour in ((way[0], source, "white"), (way[-1], target, "#fcd9a4")):
            box = {"boxstyle": "round,pad=0.2", "fc": colour, "lw": 0.5}
            ax.annotate(str(name), place.tolist(), fontsize=8, ha="center", va="center", bbox=box)
    ax.set_title("white: the factual's class; coloured: the target", fontsize=8)
    ax.set(xlabel="first main direction of the codes", ylabel="second")
    return figure


def main(
    data: Data = "mnist",
    out: Out = Path("runs/losocs"),
    n: Annotated[int, typer.Option(help="Streams; cohorts have half as many.")] = 1000,
    frames: Annotated[int, typer.Option(help="Frames of a stream in even steps.")] = 24,
    epochs: Epochs = None,
    steps: Steps = 500,
    seed: Seed = 0,
    model: Model = "mnist-vae",
    networks: Networks = None,
) -> None:
    """The paper's protocol, ours beside theirs."""
    setting = Setting(data, out, epochs, seed, model, networks, perceptron=True)
    found = streams(setting, n, frames, steps)
    lines = {name: line(setting, name, explanation) for name, explanation in found.items()}
    first = found["LoSoCs"]
    references = setting.references(first.query.x, first.factual_predicted, first.target)
    lines |= {name: summary(values) for name, values in references.items()} | PUBLISHED
    table(f"{n} streams, random digit to random digit ({data})", COLUMNS, lines)
    write(setting, "streams", lines, n=n)
    cohorts = spread(setting, n // 2, steps)
    table("Pairwise distances of codes", ["before", "after", "ratio", "valid"], cohorts)
    write(setting, "cohorts", cohorts, n=n // 2)
    early, late = (float(part.mean()) for part in steps_before_and_after(first.stream))
    print(f"mean change of a pixel per frame: {early:.4f} until p = .99, {late:.4f} beyond")
    record = provenance(seed=seed, data=data, n=n)
    save_figure(trajectories(found.pop("log odds")), out / "trajectories.png", record, dpi=120)
    save_figure(draw(found), out / "streams.png", record, dpi=110)  # even steps go the way of the log odds


if __name__ == "__main__":
    torch.set_num_threads(min(4, torch.get_num_threads()))
    typer.run(main)
