"""Gaussian-mixture search: is a straight line to a class's centre as good as a search?

Zhao, Broelemann, Kasneci, "Counterfactual Explanation via Search in Gaussian Mixture Distributed Latent Space" (2023)
explain a binary classifier: of ones and sevens (1 to 7), and of incomes (at most 50,000 dollars to more). Their
protocol is five repeats of an 80/20 split; in each, classifier, autoencoder and learned methods are trained anew.

The paper's reconstruction error is that of the autoencoder that made the counterfactual. It rates its own output
better than real images, so an autoencoder that had no part in it is asked beside it. What the paper's L1 and L2 norms
are scaled by is not said: ours are plain norms, of pixels in [0, 1] and of numbers scaled to [0, 1].

CFProto takes a thousand times longer than the line, and CFRL's actor is trained for longer than all the rest: both are
asked in the first repeats only (`--full`), CFProto about fewer rows (`--slow`).

Run it: python examples/studies/mixture_search.py --out runs/mixture
        python examples/studies/mixture_search.py --data adult --out runs/mixture-adult
A small one: python examples/studies/mixture_search.py --data digits --repeats 2 --epochs 2 --actor-steps 50 \
             --steps 20 --n 20 --out runs/mixture-small
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import networkx as nx
import numpy as np
import torch
import typer
from setting import Out, Scores, Seed, Steps, published, reference_images, table, write_table
from torch import Tensor, nn

import causalcf as ccf
from causalcf import explainers, metrics
from causalcf.classifiers import Perceptrons, accuracies, fit_classifier
from causalcf.core.descent import Objective, descend
from causalcf.core.nn import mlp
from causalcf.core.provenance import provenance
from causalcf.explainers import Explanation
from causalcf.mechanisms import MixtureAE
from causalcf.plots import save_figure
from causalcf.variables.image import Image
from causalcf.variables.scalar import Interval
from causalcf.variables.table import Table

COLUMNS = ["seconds", "reconstruction", "own reconstruction", "sparsity", "valid", "distance", "rows", "repeats"]
PUBLISHED = {
    "mnist": {
        "MixtureSearch, paper": published(seconds=0.007, own_reconstruction=0.012, sparsity=2.119, valid=0.895,
                                          distance=0.193),
        "GDL, paper": published(seconds=1.568, own_reconstruction=0.247, sparsity=2.121, valid=0.779, distance=0.172),
        "CFProto, paper": published(seconds=1.345, own_reconstruction=0.926, sparsity=0.014, valid=0.587,
                                    distance=1.075),
        "CFRL, paper": published(seconds=0.085, own_reconstruction=0.857, sparsity=0.015, valid=0.605,
                                 distance=0.834),
    },
    "adult": {
        "MixtureSearch, paper": published(seconds=0.008, own_reconstruction=0.012, sparsity=0.343, valid=0.903,
                                          distance=0.193),
        "GDL, paper": published(seconds=1.568, own_reconstruction=0.520, sparsity=0.090, valid=0.842, distance=2.170),
        "CFProto, paper": published(seconds=7.345, own_reconstruction=4.463, sparsity=0.014, valid=0.753,
                                    distance=1.075),
        "CFRL, paper": published(seconds=1.804, own_reconstruction=5.453, sparsity=0.012, valid=0.653,
                                 distance=0.875),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Two classes to tell apart: rows (N, ...), labels (N,) 0 or 1, and what the two are called."""

    variable: Image | Table
    x: Tensor
    y: Tensor
    names: tuple[str, str]

    @classmethod
    def of(cls, data: str) -> Problem:
        """Ones and sevens, or incomes."""
        if data == "adult":
            return cls._incomes()
        full = ccf.datasets.MNIST(None, "train") if data == "mnist" else ccf.datasets.Digits("train")
        rows = (full["digit"] == 1) | (full["digit"] == 7)
        image = full.variables["image"]
        assert isinstance(image, Image)
        return cls(image, full["image"][rows], (full["digit"][rows] == 7).long(), ("1", "7"))

    @classmethod
    def _incomes(cls) -> Problem:
        """All columns but the income, with numbers scaled to [0, 1] as in the paper."""
        adult = ccf.datasets.Adult()
        columns, values = {}, {}
        for name, variable in adult.variables.items():
            if name != "income":
                number = not variable.discrete
                low, high = adult[name].aminmax()
                columns[name] = Interval(0, 1) if number else variable
                # An interval is open.
                values[name] = ((adult[name] - low) / (high - low)).clamp(1e-6, 1 - 1e-6) if number else adult[name]
        people = Table(columns)
        return cls(people, people.pack(values), adult["income"].long(), ("at most 50K", "more"))

    def part(self, rows: Tensor) -> Problem:
        """Some of the rows."""
        return replace(self, x=self.x[rows], y=self.y[rows])


@dataclass(frozen=True)
class Repeat:
    """What one split gives: a classifier, a model of what it reads, and an autoencoder that had no part in that."""

    train: Problem
    test: Problem
    classifier: nn.Module
    scm: ccf.SCM
    independent: Callable[[Tensor], Tensor]

    @classmethod
    def made(cls, problem: Problem, epochs: int, limit: int | None, seed: int) -> Repeat:
        """Split 80/20 and train; `limit` is how many training rows at most."""
        order = torch.randperm(len(problem.x), generator=torch.Generator().manual_seed(seed))
        cut = int(0.8 * len(order))
        train, test = problem.part(order[:cut][:limit]), problem.part(order[cut:])
        torch.manual_seed(seed)
        f = fit_classifier(_classifier(train), train.x, train.y, epochs=6, balanced=True, seed=seed)
        mixture = MixtureAE(f)
        graph = nx.DiGraph()
        graph.add_node("row")
        scm = ccf.SCM(graph, variables={"row": problem.variable}, mechanisms={"row": mixture})
        recipe = replace(mixture.default_recipe, epochs=epochs)
        scm.fit({"row": train.x}, recipes={"row": recipe}, seed=seed, progress=False)
        return cls(train, test, f, scm, _independent(train, epochs, seed))

    @property
    def mechanism(self) -> MixtureAE:
        """The autoencoder."""
        mechanism = self.scm.mechanisms["row"]
        assert isinstance(mechanism, MixtureAE)
        return mechanism

    @torch.no_grad()
    def own(self, x: Tensor) -> Tensor:
        """What the model's autoencoder makes of rows."""
        codes = self.mechanism.abduct(x, {})
        return self.mechanism.decode(codes["z"], codes["u"], {})

    @torch.no_grad()
    def queries(self, n: int) -> Tensor:
        """Test rows that the classifier puts into the first class."""
        return self.test.x[self.classifier(self.test.x).argmax(1) == 0][:n]


def _classifier(problem: Problem) -> nn.Module:
    """The paper's perceptron for images, and a small one for tables."""
    if isinstance(problem.variable, Table):
        return Perceptrons([problem.x.shape[1], 32, 16, 2])
    pixels = problem.x[0].numel()
    return nn.Sequential(nn.Flatten(), mlp([pixels, 128, 64, 32, 2], nn.ReLU))


def _independent(train: Problem, epochs: int, seed: int) -> Callable[[Tensor], Tensor]:
    """An autoencoder of another architecture, trained on the same rows without labels."""
    if isinstance(train.variable, Image):
        return metrics.fit_autoencoders(train.x, train.y, epochs=min(epochs, 2), batch_size=16, seed=seed).of_all
    torch.manual_seed(seed + 1)
    features = train.x.shape[1]
    network = mlp([features, 64, 12, 64, features], nn.ReLU)
    objective = Objective([network], lambda rows: (network(train.x[rows]) - train.x[rows]).square().mean())
    descend({"autoencoder": objective}, len(train.x), epochs=epochs, batch_size=100, lr=2e-3, decay=True, seed=seed)
    return network


Methods = Mapping[str, explainers.Explainer]


def methods(repeat: Repeat, steps: int, actor_steps: int, seed: int, *, full: bool) -> Methods:
    """The paper's four, on the same classifier and autoencoder; the two dear ones if `full`."""
    of = {"node": "row", "classifier": repeat.classifier}
    rows = {"row": repeat.train.x}
    made = {
        "MixtureSearch": explainers.MixtureSearch(repeat.scm, **of),
        "GDL": explainers.GDL(repeat.scm, max_steps=steps, **of),
    }
    if full:
        made["CFProto"] = explainers.CFProto(repeat.scm, max_steps=steps, **of).fit(rows, seed=seed)
        made["CFRL"] = explainers.CFRL(repeat.scm, steps=actor_steps, **of).fit(rows, seed=seed)
    return made


def score(repeat: Repeat, changed: Tensor, x: Tensor, reached: Tensor | bool = True) -> dict[str, float]:
    """The paper's measures of changed rows, as means; a category that is no category counts as the likeliest."""
    changed = repeat.train.variable.project(changed)
    with torch.no_grad():
        right = (repeat.classifier(changed).argmax(1) == 1) & torch.as_tensor(reached)
    found = {
        "valid": right.float(),
        "distance": metrics.distance(changed, x),
        "sparsity": metrics.total_change(changed, x),
        "reconstruction": metrics.reconstruction_error(changed, repeat.independent),
        "own reconstruction": metrics.reconstruction_error(changed, repeat.own),
    }
    return {name: float(values.mean()) for name, values in found.items()} | {"rows": float(len(x))}


def ask(repeat: Repeat, asked: Methods, n: int, slow: int, seed: int) -> dict[str, dict[str, float]]:
    """A line of scores for every method, and for rows that are no explanations."""
    x = repeat.queries(n)
    lines = {}
    for name, explainer in asked.items():
        rows = x[:slow] if name == "CFProto" else x
        found, seconds = _timed(explainer, rows, seed)
        lines[name] = score(repeat, found.counterfactual, rows, found.reached) | {"seconds": seconds / len(rows)}
    target = torch.ones(len(x), dtype=torch.long)
    for name, image in reference_images(x, target, repeat.test.x, repeat.test.y, seed=seed).items():
        lines[name] = score(repeat, image, x)
    return lines


def _timed(explainer: explainers.Explainer, x: Tensor, seed: int) -> tuple[Explanation, float]:
    started = time.perf_counter()
    found = explainer.explain(x, 1, seed=seed)
    return found, time.perf_counter() - started


def over_repeats(repeats: list[dict[str, dict[str, float]]]) -> dict[str, Scores]:
    """Mean and standard deviation over the repeats that have a line; of `rows`, their sum."""
    lines: dict[str, Scores] = {}
    for name in repeats[0]:
        having = [repeat[name] for repeat in repeats if name in repeat]
        values = {column: [line[column] for line in having] for column in having[0]}
        lines[name] = {column: (float(np.mean(v)), float(np.std(v))) for column, v in values.items()}
        lines[name]["rows"] = (sum(values["rows"]), float("nan"))
        lines[name]["repeats"] = (len(having), float("nan"))
    return lines


# ---------------------------------------------------------------------- pictures


def draw_methods(repeat: Repeat, found: Mapping[str, Explanation], x: Tensor) -> mpl.figure.Figure:
    """The same ones, and what each method makes of them; under each image the probability of a seven."""
    count = len(x)
    figure = mpl.figure.Figure(figsize=(0.95 * count + 1.2, 1.2 * (len(found) + 1)), layout="constrained")
    axes = figure.subplots(len(found) + 1, count, squeeze=False)
    rows = {"factual": x} | {name: explanation.counterfactual for name, explanation in found.items()}
    for cells, (name, images) in zip(axes, rows.items(), strict=True):
        cells[0].text(-0.15, 0.5, name, transform=cells[0].transAxes, ha="right", va="center", fontsize=8)
        with torch.no_grad():
            probability = repeat.classifier(images).softmax(1)[:, 1]
        for cell, image, p in zip(cells, images, probability.tolist(), strict=True):
            cell.imshow(image[0], cmap="gray", vmin=0, vmax=1)
            cell.set_axis_off()
            cell.set_title(f"p(7) = {p:.2f}", fontsize=6.5, pad=1.5)
    return figure


def draw_lines(repeat: Repeat, x: Tensor, count: int = 10) -> mpl.figure.Figure:
    """Each line from its factual to the centre of the sevens, all of it, and the probability along it."""
    shares, probability, images = walk(repeat, x, 41)
    crossing = (probability >= 0.5).float().argmax(1)
    places = torch.linspace(0, len(shares) - 1, count).round().long()
    figure = mpl.figure.Figure(figsize=(0.8 * count + 2.6, 0.95 * len(x) + 0.5), layout="constrained")
    axes = figure.subplots(len(x), count + 1, width_ratios=[1] * count + [2.6], squeeze=False)
    for i, cells in enumerate(axes):
        for cell, place in zip(cells, places.tolist(), strict=False):
            cell.imshow(images[i, place, 0], cmap="gray", vmin=0, vmax=1)
            cell.set(xticks=[], yticks=[])
            for side in cell.spines.values():
                side.set(visible=place >= crossing[i], color="#b45309", linewidth=1.6)
            if i == 0:
                cell.set_title(f"{float(shares[place]):.2f}", fontsize=7, pad=3)
        curve = cells[-1]
        curve.plot(shares, probability[i], lw=1.3, color="#2563a8")
        curve.axhline(0.5, lw=0.6, color="#a3abb8")
        curve.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1], xticks=[0, 0.5, 1] if i == len(x) - 1 else [])
        curve.tick_params(labelsize=7)
    axes[0, -1].set_title("p(7) along the line", fontsize=7, pad=3)
    axes[-1, -1].set_xlabel("share of the way", fontsize=7)
    figure.suptitle("share of the way to the centre; framed where the classifier says 7", fontsize=8)
    return figure


@torch.no_grad()
def walk(repeat: Repeat, x: Tensor, points: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shares (T,), probabilities (N, T) of the second class, and rows (N, T, ...) along each line to its centre."""
    mechanism = repeat.mechanism
    codes, shares = mechanism.abduct(x, {}), torch.linspace(0, 1, points)
    z = torch.lerp(codes["z"][:, None], mechanism.means[1], shares[:, None])
    u = codes["u"][:, None].expand(-1, points, -1)
    rows = repeat.train.variable.project(mechanism.decode(z.flatten(0, 1), u.flatten(0, 1), {}))
    probability = repeat.classifier(rows).softmax(1)[:, 1]
    return shares, probability.unflatten(0, (len(x), points)), rows.unflatten(0, (len(x), points))


@torch.no_grad()
def draw_latents(repeat: Repeat, found: Explanation, count: int = 12) -> mpl.figure.Figure:
    """Test codes z on their two main directions, some lines, and the classifier's uncertainty as background.

    The background decodes the plane through the mean code with a factual's u: a shadow of the space, no more.
    """
    mechanism, test = repeat.mechanism, repeat.test.part(torch.arange(min(1500, len(repeat.test.x))))
    codes = mechanism.abduct(test.x, {})
    z, said = codes["z"], repeat.classifier(test.x).argmax(1)
    centre = z.mean(0)
    _, _, directions = torch.pca_lowrank(z, q=2)
    plane = (z - centre) @ directions
    low, high = plane.amin(0), plane.amax(0)
    margin = 0.06 * (high - low)
    bounds = zip((low - margin).tolist(), (high + margin).tolist(), strict=True)
    sides = [torch.linspace(a, b, 60) for a, b in bounds]
    grid = centre + torch.cartesian_prod(*sides) @ directions.T
    u = mechanism.abduct(found.query.x[:1], {})["u"].expand(len(grid), -1)
    p = repeat.classifier(repeat.train.variable.project(mechanism.decode(grid, u, {}))).softmax(1)
    entropy = -torch.xlogy(p, p).sum(1).reshape(60, 60)
    figure = mpl.figure.Figure(figsize=(6.0, 4.2), layout="constrained")
    ax = figure.subplots()
    shown = ax.pcolormesh(*sides, entropy.T, cmap="Greys", shading="auto", vmin=0, vmax=float(np.log(2)))
    figure.colorbar(shown, label="uncertainty of the class (nats)")
    for code, colour in ((0, "#2563a8"), (1, "#b45309")):
        cloud = plane[said == code]
        ax.scatter(*cloud.T, s=3, color=colour, alpha=0.5, lw=0, label=repeat.train.names[code])
    ways = torch.stack([found.query.start, found.code])[:, :count, : z.shape[1]]
    for start, end in zip(*((ways - centre) @ directions), strict=True):
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "lw": 0.9, "color": "#1f2937"})
    middle = (mechanism.means - centre) @ directions
    ax.plot(*middle.T, "o", mfc="white", mec="#1f2937", ms=7, label="centres")
    ax.set(xlabel="first main direction of z", ylabel="second")
    ax.legend(loc="best", fontsize=7, markerscale=1.5)
    return figure


def draw(repeat: Repeat, asked: Methods, out: Path, record: Mapping[str, object], seed: int) -> None:
    """All figures, of one repeat."""
    x = repeat.queries(40)
    line = asked["MixtureSearch"].explain(x, 1, seed=seed)
    save_figure(draw_latents(repeat, line), out / "latents.png", record, dpi=130)
    if isinstance(repeat.train.variable, Image):
        few = x[:8]
        found = {name: explainer.explain(few, 1, seed=seed) for name, explainer in asked.items()}
        save_figure(draw_methods(repeat, found, few), out / "methods.png", record, dpi=110)
        save_figure(draw_lines(repeat, x[:5]), out / "lines.png", record, dpi=110)


def main(
    data: Annotated[str, typer.Option(help="mnist, digits or adult.")] = "mnist",
    out: Out = Path("runs/mixture"),
    n: Annotated[int, typer.Option(help="Queries a repeat.")] = 1000,
    slow: Annotated[int, typer.Option(help="Of these, how many CFProto is asked.")] = 50,
    repeats: Annotated[int, typer.Option(help="Splits.")] = 5,
    full: Annotated[int, typer.Option(help="Of these, in how many CFProto and CFRL are asked.")] = 1,
    rows: Annotated[int | None, typer.Option(help="Training rows at most.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes of the autoencoders.")] = 8,
    steps: Steps = 1000,
    actor_steps: Annotated[int, typer.Option(help="Training steps of CFRL.")] = 20_000,
    seed: Seed = 0,
) -> None:
    """The paper's protocol, ours beside theirs."""
    problem = Problem.of(data)
    answers, right, first = [], [], None
    for k in range(repeats):
        repeat = Repeat.made(problem, epochs, rows, seed + k)
        asked = methods(repeat, steps, actor_steps, seed + k, full=k < full)
        first = first or (repeat, asked)
        right.append(float(accuracies(repeat.classifier, repeat.test.x, repeat.test.y)))
        answers.append(ask(repeat, asked, n, slow, seed + k))
        valid = answers[-1]["MixtureSearch"]["valid"]
        print(f"repeat {k + 1}: classifier {right[-1]:.4f}, MixtureSearch valid {valid:.4f}", flush=True)
    facts = {"n": n, "slow": slow, "repeats": repeats, "full": full, "rows": rows, "epochs": epochs}
    record = provenance(seed=seed, data=data, steps=steps, actor_steps=actor_steps, **facts)
    lines = over_repeats(answers) | PUBLISHED.get(data, {})
    table(f"{problem.names[0]} to {problem.names[1]}, {repeats} splits ({data})", COLUMNS, lines)
    write_table(out, "methods", lines, record, classifier=right)
    if first is not None:
        draw(*first, out, record, seed)


if __name__ == "__main__":
    torch.set_num_threads(min(4, torch.get_num_threads()))
    typer.run(main)
