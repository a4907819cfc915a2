"""Clarity: gradients through the image or in the latent space, one classifier or many: which explanations look real?

Theobald, Pennerath, Conan-Guez, Couceiro, Napoli, "Clarity: an improved gradient method for producing quality visual
counterfactual explanations" (2022) compare six gradient searches on MNIST and stop each at its own probability of .99.
The paper shows pictures; here are pictures and numbers: the probability a method gives its own results says little, so
another classifier is asked as well, and autoencoders that had no part in making the image.

Run it: python examples/studies/clarity.py --out runs/clarity
A small one: python examples/studies/clarity.py --data digits --n 20 --epochs 2 --members 3 --image-members 3 \
             --out runs/clarity-small
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from setting import Data, Epochs, Model, Networks, Out, Scores, Seed, Setting, Steps, grid, summary, table, write
from torch import Tensor

import causalcf as ccf
from causalcf import predictors
from causalcf.classifiers import Stacked, fit_classifier
from causalcf.core.provenance import provenance
from causalcf.plots import save_figure

COLUMNS = [
    "valid", "valid to the judge", "IM1", "IM2", "reconstruction error", "proximity", "proximity to reconstruction",
    "steps", "seconds",
]  # fmt: skip


def image_classifiers(setting: Setting, members: int, rows: int, adversarial: float) -> Stacked:
    """An ensemble of small image classifiers, all trained at once, for Schut's method and REVISE-E."""
    plan = predictors.planned("mnist", setting.train.graph, ["digit"])[0]

    def fresh(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        side = plan.image.height // 4
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 5, stride=2, padding=2), torch.nn.ReLU(),
            torch.nn.Conv2d(8, 16, 3, stride=2, padding=1), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(16 * side * side, 10),
        )  # fmt: skip

    ensemble = Stacked([fresh(setting.seed + i) for i in range(members)])
    return fit_classifier(
        ensemble, setting.train["image"][:rows], setting.train["digit"][:rows],
        epochs=setting.epochs or 3, adversarial=adversarial, seed=setting.seed,
    )  # fmt: skip


def explainers(
    setting: Setting, members: int, image_members: int, rows: int, steps: int
) -> dict[str, ccf.explainers.Explainer]:
    """The paper's methods; what they explain is what the paper lets them explain."""
    ensemble = image_classifiers(setting, image_members, rows, adversarial=0.1)
    scm, f = setting.generator, setting.classifier
    train = {"image": setting.train["image"], "digit": setting.train["digit"]}
    explain = ccf.explainers
    return {
        "image gradient": explain.ImageGradient(scm, classifier=ensemble, max_steps=steps),
        "Schut": explain.Schut(scm, classifier=ensemble, max_steps=steps),
        "REVISE": explain.REVISE(scm, classifier=f, max_steps=steps),
        "REVISE-E": explain.REVISE(scm, classifier=ensemble, max_steps=steps),
        "latent classifier": explain.Clarity(scm, label="digit", members=1, max_steps=steps).fit(
            train, seed=setting.seed
        ),
        "Clarity": explain.Clarity(scm, label="digit", members=members, max_steps=steps).fit(train, seed=setting.seed),
    }


def ask(
    setting: Setting, methods: dict[str, ccf.explainers.Explainer], n: int
) -> dict[str, tuple[ccf.explainers.Explanation, Tensor]]:
    """Every method's answers to the same questions, and which of the rows it could be asked.

    A method is not asked about a row that its own classifier puts into the target already.
    """
    x, target = setting.queries(None, None, n, seed=setting.seed)
    answers = {}
    for name, explainer in methods.items():
        rows = (explainer.predict(x) != target).nonzero()[:, 0]
        with setting.timed(name):
            answers[name] = (explainer.explain(x[rows], target[rows], seed=setting.seed), rows)
    return answers


def main(
    data: Data = "mnist",
    out: Out = Path("runs/clarity"),
    n: Annotated[int, typer.Option(help="Queries.")] = 500,
    members: Annotated[int, typer.Option(help="Latent classifiers in Clarity's ensemble.")] = 50,
    image_members: Annotated[int, typer.Option(help="Image classifiers in an ensemble.")] = 50,
    rows: Annotated[int, typer.Option(help="Training rows of the ensemble of image classifiers.")] = 20_000,
    epochs: Epochs = None,
    steps: Steps = 500,
    seed: Seed = 0,
    model: Model = "mnist-vae",
    networks: Networks = None,
) -> None:
    """The paper's methods on the same queries, in numbers and in pictures."""
    setting = Setting(data, out, epochs, seed, model, networks)
    answers = ask(setting, explainers(setting, members, image_members, rows, steps), n)
    lines: dict[str, Scores] = {}
    for name, (found, _) in answers.items():
        lines[name] = summary(setting.score(found))
        lines[name]["seconds"] = (setting.seconds[name] / found.rows, float("nan"))
    first = answers["REVISE"][0]
    references = setting.references(first.query.x, first.factual_predicted, first.target)
    lines |= {name: summary(values) for name, values in references.items()}
    table(f"{n} queries, random digit to random digit ({data})", COLUMNS, lines)
    write(setting, "methods", lines, n=n, members=members, image_members=image_members, rows=rows)
    x, _ = setting.queries(None, None, n, seed=seed)
    save_figure(grid(x, answers), out / "methods.png", provenance(seed=seed, data=data, n=n))


if __name__ == "__main__":
    torch.set_num_threads(min(4, torch.get_num_threads()))
    typer.run(main)
