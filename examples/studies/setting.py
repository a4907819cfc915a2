"""What the studies of explanations share: real digits, a classifier to explain, a generator, judges, and tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_model, save_model
from torch import Tensor

import causalcf as ccf
from causalcf import metrics, predictors
from causalcf.explainers.scores import image_scores, scores, summary
from causalcf.provenance import provenance
from causalcf.report import write_csv, write_json
from causalcf.training import recipe_of

Scores = Mapping[str, tuple[float, float]]
"""Name of a score -> its mean and its standard deviation over rows."""


@dataclass
class Setting:
    """Data, what is explained, and who judges; networks are made when first asked for.

    Args:
        data: "mnist", with the classifier that comes along, or "digits", whose networks are all trained here.
        out: Folder of the results.
        epochs: Passes of everything that is trained here; None for its own recipe.
        seed: What every random choice follows from.
        model: The generator of MNIST's images: a reference model's name, or a file.
        networks: Folder of the networks that are trained here; those that lie there are taken as they are, so that
            studies with one folder have the same judges. By default `out`.
    """

    data: str = "mnist"
    out: Path = Path("runs/study")
    epochs: int | None = None
    seed: int = 0
    model: str = "mnist-vae"
    networks: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        make = {"mnist": lambda split: ccf.datasets.MNIST(None, split), "digits": ccf.datasets.Digits}[self.data]
        self.train, self.test = make("train"), make("test")
        self.networks = self.networks or self.out

    @cached_property
    def classifier(self) -> predictors.Predictor:
        """The classifier that is explained."""
        return predictors.pretrained("mnist")["digit"] if self.data == "mnist" else self._trained("judge")

    @cached_property
    def judge(self) -> predictors.Predictor:
        """Another classifier, trained on other rows."""
        return self._trained("tune")

    def kept(self, name: str) -> Path:
        """The file of a network that is trained here."""
        assert self.networks is not None
        self.networks.mkdir(parents=True, exist_ok=True)
        return self.networks / name

    def _trained(self, part: predictors.Part) -> predictors.Predictor:
        path = self.kept(predictors.file_name(self.data, "digit", part))
        if path.is_file():
            return predictors.Predictor.load(path)
        (predictor,) = predictors.planned("mnist", self.train.graph, ["digit"])
        predictors.fit(
            predictor, self.train, which=part, test=self.test, name=self.data,
            recipe=recipe_of(predictor, self.epochs), seed=self.seed, progress=False,
        )  # fmt: skip
        predictor.save(path)
        return predictor

    @cached_property
    def generator(self) -> ccf.SCM:
        """An unconditional VAE of the images: a model of one node."""
        if self.data == "mnist":
            return ccf.SCM.load(self.model) if Path(self.model).is_file() else ccf.pretrained(self.model)
        path = self.kept("generator.safetensors")
        if path.is_file():
            return ccf.SCM.load(path)
        vae = ccf.mechanisms.VAE(latent=16, widths=(8, 16, 32))
        scm = ccf.SCM("morphomnist-image", mechanisms={"image": vae})
        scm.fit({"image": self.train["image"]}, epochs=self.epochs, seed=self.seed, progress=False).save(path)
        return scm

    @cached_property
    def autoencoders(self) -> metrics.ClassAutoencoders:
        """The judges of IM1, IM2 and the reconstruction error."""
        path = self.kept(f"{self.data}.autoencoders.safetensors")
        if path.is_file():
            judges = metrics.ClassAutoencoders(10).requires_grad_(False).eval()
            load_model(judges, path)
            return judges
        judges = metrics.fit_autoencoders(
            self.train["image"], self.train["digit"], epochs=self.epochs or 4, seed=self.seed
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
    return f"{mean:.3g}" if share or spread != spread else f"{mean:.3g} ± {spread:.2g}"


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


__all__ = ["Scores", "Setting", "published", "reference_images", "summary", "table", "write", "write_table"]
