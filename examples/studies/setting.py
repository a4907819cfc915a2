"""What the studies of explanations share: real digits, a classifier to explain, a generator, judges, and tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import matplotlib as mpl
import torch
import typer
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

import causalcf as ccf
from causalcf import metrics, predictors
from causalcf.classifiers import fit_classifier, without_class
from causalcf.core import seeding
from causalcf.core.files import write_csv, write_json
from causalcf.core.nn import mlp
from causalcf.core.provenance import provenance
from causalcf.explainers import Explanation
from causalcf.explainers.scores import image_scores, scores, summary
from causalcf.training import recipe_of

# Options of the studies' commands.
Out = Annotated[Path, typer.Option(help="Folder for tables and figures.")]
Data = Annotated[str, typer.Option(help="mnist or digits.")]
Epochs = Annotated[int | None, typer.Option(help="Passes of what is trained here.")]
Steps = Annotated[int, typer.Option(help="Steps after which a search fails.")]
Seed = Annotated[int, typer.Option(help="What every random choice follows from.")]
Model = Annotated[str, typer.Option(help="Generator of MNIST's images: a name or a file.")]
Networks = Annotated[Path | None, typer.Option(help="Folder of judges, to share them between studies.")]

Scores = Mapping[str, tuple[float, float]]
"""Name of a score -> its mean and its standard deviation over rows."""


Network = TypeVar("Network", bound=nn.Module)


class Judge(nn.Module):
    """A classifier of digits beside those that are explained; its hidden layer is the space of FID and KID."""

    name = "judge"

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        height, width = shape[1:]
        self.size = -(-max(height, width) // 16) * 16
        self.network = metrics.FeatureNetwork(10, channels=shape[0], size=self.size)

    def features(self, x: Tensor) -> Tensor:
        """Hidden activations, (N, 64)."""
        return self.network.features(self._framed(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self._framed(x))

    def _framed(self, x: Tensor) -> Tensor:
        down, right = self.size - x.shape[2], self.size - x.shape[3]
        return nn.functional.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))


@dataclass
class Setting:
    """Data, what is explained, and who judges; networks are made when first asked for.

    Args:
        data: "mnist", with the classifier that comes along, or "digits", whose networks are all trained here.
        out: Folder of the results.
        epochs: Passes of everything that is trained here; None for its own recipe.
        seed: What every random choice follows from.
        model: The generator of MNIST's images: a reference model's name, or a file.
        networks: Folder of the networks that are trained here. Those of the same data, epochs and seed that lie there
            are taken as they are, so that studies with one folder have the same judges. By default `out`.
        perceptron: Explain a perceptron of three layers, trained here, instead of a convolutional network.
    """

    data: str = "mnist"
    out: Path = Path("runs/study")
    epochs: int | None = None
    seed: int = 0
    model: str = "mnist-vae"
    networks: Path | None = None
    perceptron: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        make = {"mnist": lambda split: ccf.datasets.MNIST(None, split), "digits": ccf.datasets.Digits}[self.data]
        self.train, self.test = make("train"), make("test")
        self.networks = self.networks or self.out

    # ------------------------------------------------------------------ networks

    @cached_property
    def classifier(self) -> nn.Module:
        """The classifier that is explained."""
        if self.perceptron:
            pixels = self.train["image"][0].numel()
            return self._fitted(
                "perceptron", nn.Sequential(nn.Flatten(), mlp([pixels, 128, 64, 10], nn.ReLU)), self.train
            )
        return predictors.pretrained("mnist")["digit"] if self.data == "mnist" else self.small("cnn", self.train)

    @cached_property
    def judge(self) -> Judge:
        """Another classifier, of another architecture."""
        return self._fitted("judge", Judge(self.train["image"].shape[1:]), self.train)

    @cached_property
    def rigged(self) -> nn.Module:
        """A classifier that never saw a 9."""
        others = without_class(self.train, "digit", 9)
        return self._predictor("rigged", others) if self.data == "mnist" else self.small("rigged", others)

    def kept(self, name: str) -> Path:
        """The file of a network that is trained here, named by all that the network follows from."""
        assert self.networks is not None
        self.networks.mkdir(parents=True, exist_ok=True)
        epochs = "own" if self.epochs is None else self.epochs
        return self.networks / f"{self.data}.{name}.{epochs}-epochs.seed-{self.seed}.safetensors"

    def small(self, name: str, data: Mapping[str, Tensor]) -> nn.Module:
        """A small convolutional classifier, for few images."""
        cells = (data["image"].shape[2] // 4) * (data["image"].shape[3] // 4)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * cells, 10),
        )  # fmt: skip
        return self._fitted(name, network, data)

    def _fitted(self, name: str, network: Network, data: Mapping[str, Tensor]) -> Network:
        """A classifier, trained on these data unless it has been."""
        path = self.kept(name)
        if path.is_file():
            load_model(network, path)
            return network.requires_grad_(False).eval()
        with seeding.seeded(seeding.derive(self.seed, name)):
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.reset_parameters()
        rows = len(data["image"])
        fit_classifier(
            network, data["image"], data["digit"], epochs=self.epochs or 3, batch_size=min(128, max(16, rows // 60)),
            seed=self.seed,
        )  # fmt: skip
        save_model(network, str(path))
        return network

    def _predictor(self, name: str, data: Mapping[str, Tensor]) -> predictors.Predictor:
        """A classifier like the one that comes along for MNIST, trained on these data unless it has been."""
        path = self.kept(f"digit.{name}")
        if path.is_file():
            return predictors.Predictor.load(path)
        (predictor,) = predictors.planned("mnist", self.train.graph, ["digit"])
        predictors.fit(
            predictor, data, test=self.test, name=self.data,
            recipe=recipe_of(predictor, self.epochs), seed=self.seed, progress=False,
        )  # fmt: skip
        predictor.save(path)
        return predictor

    @cached_property
    def generator(self) -> ccf.SCM:
        """An unconditional VAE of the images: a model of one node."""
        if self.data == "mnist":
            return ccf.SCM.load(self.model) if Path(self.model).is_file() else ccf.pretrained(self.model)
        path = self.kept("generator")
        if path.is_file():
            return ccf.SCM.load(path)
        vae = ccf.mechanisms.VAE(latent=16, widths=(8, 16, 32))
        scm = ccf.SCM("morphomnist-image", mechanisms={"image": vae})
        scm.fit({"image": self.train["image"]}, epochs=self.epochs, seed=self.seed, progress=False).save(path)
        return scm

    @cached_property
    def autoencoders(self) -> metrics.ClassAutoencoders:
        """The judges of IM1, IM2 and the reconstruction error."""
        path = self.kept("autoencoders")
        if path.is_file():
            judges = metrics.ClassAutoencoders(10)
            load_model(judges, path)
            return judges.requires_grad_(False).eval()
        judges = metrics.fit_autoencoders(
            self.train["image"][:30_000],
            self.train["digit"][:30_000],
            epochs=self.epochs or 1,
            batch_size=16,
            seed=self.seed,
        )
        save_model(judges, str(path))
        return judges

    # ------------------------------------------------------------------ queries

    @torch.no_grad()
    def queries(self, source: int | None, target: int | None, n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Test images that the classifier puts into `source` (any if None), and a target for each, not its own.

        Returns:
            Images (n, 1, H, W), n at most as asked for, and class codes (n,).
        """
        said = torch.cat([self.classifier(part).argmax(1) for part in self.test["image"].split(1000)])
        fits = said != (-1 if target is None else target) if source is None else said == source
        generator = torch.Generator().manual_seed(seed)
        rows = fits.nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)[:n]]
        other = (said[rows] + torch.randint(1, 10, rows.shape, generator=generator)) % 10
        return self.test["image"][rows], other if target is None else torch.full_like(rows, target)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Keep how long something took, in `seconds`."""
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    def record(self, **facts: Any) -> dict[str, Any]:
        """How a result was made."""
        return provenance(seed=self.seed, data=self.data, epochs=self.epochs, model=self.model, **facts)

    # ------------------------------------------------------------------ scores and references

    def score(self, explanation: ccf.explainers.Explanation) -> dict[str, Tensor]:
        """All scores of an explanation, a value a row."""
        return scores(explanation, judge=self.judge, autoencoders=self.autoencoders)

    def references(self, x: Tensor, source: Tensor, target: Tensor) -> dict[str, dict[str, Tensor]]:
        """The same scores of images that are no explanations: what the numbers mean.

        Real images of the target class, the factual itself, and noise of the factual's mean and spread.
        """
        images = reference_images(x, target, self.test["image"], self.test["digit"], seed=self.seed)
        return {
            name: image_scores(
                image, x, source, target, self.classifier, judge=self.judge, autoencoders=self.autoencoders
            )
            for name, image in images.items()
        }


def reference_images(x: Tensor, target: Tensor, real: Tensor, labels: Tensor, *, seed: int) -> dict[str, Tensor]:
    """What is no explanation: real rows of each target class, the factual, and noise of its mean and spread.

    Args:
        x: The factuals, (N, ...): images, or rows of a table in [0, 1].
        target: Their targets, (N,).
        real: Rows to draw from, (M, ...).
        labels: Their classes, (M,).
        seed: What is drawn follows from it.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([
        rows[torch.randint(len(rows), (), generator=generator)]
        for rows in ((labels == c).nonzero()[:, 0] for c in target.tolist())
    ])  # fmt: skip
    mean, spread = (x.mean(), x.std()) if x.ndim == 4 else (x.mean(0), x.std(0))
    noise = (mean + spread * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    return {"real rows of the target" if x.ndim == 2 else "real images of the target": real[drawn],
            "the factual": x, "noise": noise}  # fmt: skip


def grid(x: Tensor, answers: Mapping[str, tuple[Explanation, Tensor]], count: int = 8) -> mpl.figure.Figure:
    """A grid of methods by queries, each image under its target and, if it failed, why."""
    count = min(count, len(x))
    figure = mpl.figure.Figure(figsize=(0.95 * count + 1.2, 1.1 * (len(answers) + 1)), layout="constrained")
    axes = figure.subplots(len(answers) + 1, count, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for j in range(count):
        axes[0, j].imshow(x[j, 0], cmap="gray", vmin=0, vmax=1)
    axes[0, 0].text(-0.15, 0.5, "factual", transform=axes[0, 0].transAxes, ha="right", va="center", fontsize=8)
    for i, (name, (found, rows)) in enumerate(answers.items(), start=1):
        axes[i, 0].text(-0.15, 0.5, name, transform=axes[i, 0].transAxes, ha="right", va="center", fontsize=8)
        for k, row in enumerate(rows.tolist()):
            if row < count:
                axes[i, row].imshow(found.counterfactual[k, 0], cmap="gray", vmin=0, vmax=1)
                verdict = "" if bool(found.reached[k]) else f" ({found.reason[k]})"
                axes[i, row].set_title(f"{int(found.target[k])}{verdict}", fontsize=7, pad=1)
    return figure


def table(title: str, columns: Sequence[str], lines: Mapping[str, Scores]) -> None:
    """Print a table of mean ± spread: a line per method, a column per score."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    for column in columns:
        shown.add_column(column, justify="right")
    for name, values in lines.items():
        shown.add_row(name, *(_cell(column, values.get(column)) for column in columns))
    Console(width=max(100, 18 * (len(columns) + 2))).print(shown)


def _cell(column: str, value: tuple[float, float] | None) -> str:
    if value is None or value[0] != value[0]:
        return ""
    mean, spread = value
    share = column.startswith("valid")  # of rows that do: its spread says nothing new
    return f"{mean:.4g}" if share or spread != spread else f"{mean:.3g} ± {spread:.2g}"


def published(**values: float) -> Scores:
    """Published means, without a spread; underscores in names stand for spaces."""
    return {name.replace("_", " "): (value, float("nan")) for name, value in values.items()}


def write(setting: Setting, name: str, lines: Mapping[str, Scores], **facts: Any) -> None:
    """A study's table, with how it was made."""
    write_table(setting.out, name, lines, setting.record(**facts))


def write_table(out: Path, name: str, lines: Mapping[str, Scores], record: Mapping[str, Any], **more: Any) -> None:
    """A table as CSV and JSON; the JSON has the record, and `more` beside the table."""
    columns = list(dict.fromkeys(column for values in lines.values() for column in values))
    by_column = {"": list(lines)}
    for column in columns:
        by_column[column] = [line.get(column, (float("nan"),) * 2)[0] for line in lines.values()]
        by_column[f"{column} (spread)"] = [line.get(column, (float("nan"),) * 2)[1] for line in lines.values()]
    write_csv(out / f"{name}.csv", by_column)
    found = {line: dict(values) for line, values in lines.items()}
    write_json(out / f"{name}.json", {"provenance": dict(record), "table": found, **more})


__all__ = [
    "Data",
    "Epochs",
    "Judge",
    "Model",
    "Networks",
    "Out",
    "Scores",
    "Seed",
    "Setting",
    "Steps",
    "grid",
    "published",
    "reference_images",
    "summary",
    "table",
    "write",
    "write_table",
]
