"""Counterfactual augmentation: does a classifier forget a shortcut when it is shown what breaks it?

In the training images, how thick the strokes are tells the digit: zeros are the thinnest, nines the thickest. A
classifier may read the thickness (and the intensity, which follows from it) and not the shape. It is tested where the
order is turned round, zeros the thickest. Each training image is then shown a second time as it would have been with
the thickness of another row: by a fitted model, by the true causal model, or not at all, with noise of the same size.

Counterfactual augmentation of classifiers: Sauer and Geiger, "Counterfactual Generative Networks", 2021; Ilse, Tomczak,
Forre, "Selecting data augmentation for simulating interventions", 2021.

Run it: python examples/studies/augmentation.py --out runs/augmentation
A small one: python examples/studies/augmentation.py --data digits --rows 10 --epochs 2 --seeds 1 --out runs/small
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from setting import table, write_table
from torch import Tensor, nn

import causalcf as ccf
from causalcf.classifiers import fit_classifier
from causalcf.core.provenance import provenance
from causalcf.datasets.base import Dataset

TESTS = {"as in training": False, "turned round": True}
"""Name of a test set -> whether the order of thickness is turned round."""


def confounded(data: Dataset, rows: int, *, turned: bool = False) -> Tensor:
    """Rows of which the digit tells the thickness: of digit d those in the d-th tenth of all thicknesses.

    Args:
        data: Digits with thickness.
        rows: The most of each digit.
        turned: Take the (9 - d)-th tenth instead.
    """
    thickness, digit = data["thickness"], data["digit"]
    tenth = torch.bucketize(thickness, torch.quantile(thickness, torch.arange(1, 10) / 10))
    wanted = tenth == (9 - digit if turned else digit)
    return torch.cat([torch.nonzero(wanted & (digit == d))[:rows, 0] for d in range(10)])


def network(channels: int = 8) -> nn.Module:
    """A small convolutional network of digits."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * channels, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def augmentations(scm: ccf.SCM, data: Dataset, x: ccf.Batch, out: Path, seed: int) -> dict[str, Tensor]:
    """Name -> every training image a second time, (N, 1, 32, 32)."""
    order = torch.randperm(x.rows, generator=torch.Generator().manual_seed(seed))
    do = {"thickness": x["thickness"][order]}
    model = ccf.datasets.from_shards(ccf.bulk(scm, x, do, out / "counterfactuals", seed=seed))[:]["image"]
    truth = data.truth(x, do)["image"]  # type: ignore[attr-defined]
    size = (truth - x["image"]).square().mean((1, 2, 3), keepdim=True).sqrt()
    noise = torch.randn(x["image"].shape, generator=torch.Generator().manual_seed(seed))
    return {
        "nothing": x["image"],
        "noise of the same size": (x["image"] + size * noise).clamp(0, 1),
        "counterfactuals of the model": model,
        "true counterfactuals": truth,
    }


def accuracy(classifier: nn.Module, x: ccf.Batch) -> float:
    """Share of digits that are read right."""
    with torch.no_grad():
        return float((classifier(x["image"]).argmax(1) == x["digit"]).float().mean())


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("augmentation"),
    data: Annotated[str, typer.Option(help="morphomnist, or digits, which need no download.")] = "morphomnist",
    root: Annotated[Path | None, typer.Option(help="Folder of MorphoMNIST; by default $CAUSALCF_DATA.")] = None,
    model: Annotated[str, typer.Option(help="A reference model's name, or a file.")] = "morphomnist-hvae",
    rows: Annotated[int, typer.Option(help="Training images of each digit, at most.")] = 200,
    epochs: Annotated[int, typer.Option(help="Passes over images and their second showing.")] = 15,
    seeds: Annotated[int, typer.Option(help="Classifiers of each kind.")] = 3,
    seed: Annotated[int, typer.Option(help="What every random choice follows from.")] = 0,
) -> None:
    """Train classifiers on confounded digits, augmented in four ways, and test them where the order is turned round."""
    train, test = ccf.datasets.load(data, root, "train"), ccf.datasets.load(data, root, "test")
    scm = ccf.SCM.load(model) if model.endswith(".safetensors") else ccf.pretrained(model)
    x = train[confounded(train, rows)]
    tests = {name: test[confounded(test, test.rows, turned=turned)] for name, turned in TESTS.items()}
    tests["all test images"] = test[:]
    lines: dict[str, dict[str, tuple[float, float]]] = {}
    for name, again in augmentations(scm, train, x, out, seed).items():
        images, digits = torch.cat([x["image"], again]), torch.cat([x["digit"], x["digit"]])
        found: dict[str, list[float]] = {test: [] for test in tests}
        for member in range(seeds):
            torch.manual_seed(seed + member)
            classifier = fit_classifier(network(), images, digits, epochs=epochs, batch_size=64, seed=seed + member)
            for test_name, some in tests.items():
                found[test_name].append(accuracy(classifier, some))
        scores = {test: torch.tensor(values) for test, values in found.items()}
        lines[name] = {test: (float(v.mean()), float(v.std(correction=0))) for test, v in scores.items()}
    for name, some in tests.items():
        typer.echo(f"{name}: {some.rows} images")
    table(f"Accuracy, {x.rows} confounded training images", list(tests), lines)
    facts = {"data": data, "model": model, "rows": x.rows, "epochs": epochs, "seeds": seeds}
    write_table(out, "augmentation", lines, provenance(seed=seed, **facts))


if __name__ == "__main__":
    typer.run(main)
