"""C3LT: a learned step in latent space beside what searches, paints, swaps, translates and attacks.

Khorram and Fuxin, "Cycle-Consistent Counterfactuals by Latent Transformations" (2022) compare on the pairs 3-8, 4-9
and 5-6 of MNIST, in both directions:

- C3LT, ExplainGAN, CycleGAN, CEM, CVE and a targeted attack (PGD) by how soon pixels change the classifier's mind
  (COUT, AUPC), realism (IM1, IM2, FID, KID), proximity, validity and time;
- C3LT's losses, added one by one;
- what it does to a rigged classifier that never saw a 9: from 4 to 9 nothing readable comes out, from 4 to 1 it does;
- how much each latent changes, and the way in three steps.

Every method is asked the same queries, and every query counts: the paper leaves out those where a method failed. FID
and KID are those of the judge's hidden layer (64 features), against as many real images of the target.
*Refined* lets every query go on from where C3LT's map leads, by gradient on the map's own objective: what one map for
all queries costs, and how far that objective goes. COUT is also given as the authors' program counts it, whose weights
sum to 1.014. CEM and CVE take thousands of times longer than C3LT, so they are asked fewer queries (`--slow`);
ExplainGAN's and CycleGAN's networks are half as wide as the methods' own, and the ablation sees fewer rows (`--few`).

Run it: python examples/studies/c3lt.py --out runs/c3lt
At the paper's size: add --n 500 --slow 60 --rows 60000 --few 60000 --passes 200 --steps 1000 --rounds 9
A small one: python examples/studies/c3lt.py --data digits --n 5 --slow 2 --rows 300 --few 200 --epochs 1 \
             --passes 1 --steps 5 --out runs/c3lt-small
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from math import ceil
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import torch
import typer
from setting import (
    Data,
    Model,
    Networks,
    Out,
    Scores,
    Seed,
    Setting,
    grid,
    published,
    reference_images,
    summary,
    table,
    write,
)
from torch import Tensor

from causalcf import explainers, metrics
from causalcf.explainers import C3LT, Explanation
from causalcf.explainers.scores import image_scores
from causalcf.plots import save_figure

LR = 4e-3
"""Step size of C3LT's maps: with few passes, larger than the method's own."""
PAINTER = {"lr": 2e-3, "width": 16, "fit_batch": 64}
TRANSLATORS = {"lr": 1e-3, "width": 8, "blocks": 2}
"""Of ExplainGAN and CycleGAN, for the same reason: more steps and larger ones, of smaller networks."""
PAIRS = ((3, 8), (4, 9), (5, 6))
COLUMNS = [
    "COUT", "COUT as released", "AUPC target", "AUPC source", "IM1", "10 IM2", "FID", "1000 KID", "proximity", "valid",
    "valid to the judge", "seconds", "rows",
]  # fmt: skip
PUBLISHED = {
    "C3LT, paper": published(COUT=0.948, AUPC_target=0.980, AUPC_source=0.031, IM1=0.70, proximity=0.072, valid=0.999,
                             seconds=9.23e-6, FID=22.83) | published(**{"10_IM2": 0.36, "1000_KID": 13.39}),
    "ExplainGAN, paper": published(COUT=0.927, AUPC_target=0.967, AUPC_source=0.040, IM1=0.72, proximity=0.074,
                                   valid=0.997, seconds=1.28e-5, FID=41.1)
    | published(**{"10_IM2": 0.43, "1000_KID": 37.3}),
    "CycleGAN, paper": published(COUT=0.894, IM1=0.716, proximity=0.089, valid=0.988, FID=43.4)
    | published(**{"10_IM2": 0.49, "1000_KID": 41.6}),
    "CEM, paper": published(COUT=-0.253, AUPC_target=0.301, AUPC_source=0.555, IM1=1.68, proximity=0.016, valid=0.469,
                            seconds=68.34, FID=50.0) | published(**{"10_IM2": 1.08, "1000_KID": 44.9}),
    "CVE, paper": published(COUT=-0.557, AUPC_target=0.209, AUPC_source=0.767, IM1=1.44, proximity=0.055, valid=0.231,
                            seconds=0.0291, FID=47.5) | published(**{"10_IM2": 1.38, "1000_KID": 37.2}),
    "PGD, paper": published(COUT=0.471, AUPC_target=0.737, AUPC_source=0.266, IM1=1.02, proximity=0.229, valid=0.998,
                            FID=203) | published(**{"10_IM2": 2.10, "1000_KID": 284}),
}  # fmt: skip
ABLATION = {
    "classification": {"proximity_weight": 0.0, "cycle_weight": 0.0, "adversarial_weight": 0.0},
    "+ proximity": {"cycle_weight": 0.0, "adversarial_weight": 0.0},
    "+ cycle": {"adversarial_weight": 0.0},
    "+ adversarial": {},
}
ABLATION_PUBLISHED = {
    f"{name}, paper": published(COUT=cout, IM1=im1, FID=fid, proximity=proximity, valid=valid)
    | published(**{"10_IM2": im2, "1000_KID": kid})
    for name, cout, im1, im2, fid, kid, proximity, valid in (
        ("classification", 0.897, 0.47, 0.29, 40.84, 29.22, 0.113, 1.0),
        ("+ proximity", 0.935, 0.65, 0.34, 33.40, 22.36, 0.076, 0.998),
        ("+ cycle", 0.943, 0.78, 0.38, 29.95, 18.65, 0.069, 0.998),
        ("+ adversarial", 0.948, 0.70, 0.36, 22.83, 13.39, 0.072, 0.999),
    )
}


def queries(setting: Setting, n: int, pairs: Sequence[tuple[int, int]] = PAIRS) -> tuple[Tensor, Tensor]:
    """Up to n test images of each direction of each pair, in turn, and their targets."""
    directions = [*pairs, *((b, a) for a, b in pairs)]
    asked = [setting.queries(a, b, n, seed=setting.seed) for a, b in directions]
    # One of each direction, then the next of each: the first rows are a fair sample.
    place = torch.cat([torch.arange(len(x)) for x, _ in asked]).argsort(stable=True)
    x, target = (torch.cat(parts)[place] for parts in zip(*asked, strict=True))
    return x, target


def training_rows(setting: Setting, rows: int | None, digits: Sequence[int]) -> dict[str, Tensor]:
    """Training images of some digits; `rows` is how many at most."""
    keep = torch.isin(setting.train["digit"], torch.tensor(digits)).nonzero()[:, 0][:rows]
    return {"image": setting.train["image"][keep]}


def methods(
    setting: Setting, rows: int | None, passes: int | None, steps: int, rounds: int
) -> dict[str, explainers.Explainer]:
    """The paper's methods, trained where they are."""
    of = {"node": "image", "classifier": setting.classifier}
    learned = of | {"pairs": PAIRS} | ({} if passes is None else {"epochs": passes})
    scm = setting.generator
    made = {
        "C3LT": C3LT(scm, lr=LR, **learned),
        "ExplainGAN": explainers.ExplainGAN(scm, **PAINTER, **learned),
        "CycleGAN": explainers.CycleGAN(scm, **TRANSLATORS, **learned),
        "CEM": explainers.CEM(scm, max_steps=steps, c_steps=rounds, **of),
        "CVE": explainers.CVE(scm, **of),
        "PGD": explainers.PGD(scm, max_steps=steps, **of),
    }
    train = training_rows(setting, rows, sum(PAIRS, ()))
    for name, explainer in made.items():
        with setting.timed(f"{name}, training"):
            explainer.fit(train, seed=setting.seed)
        print(f"{name}: {setting.seconds[f'{name}, training']:.0f} s of training", flush=True)
    stretched, refined = copy(made["C3LT"]), copy(made["C3LT"])
    stretched.stretch, refined.refine = (1.2, 1.5, 2.0), 100
    return {"C3LT": made["C3LT"], "C3LT, stretched": stretched, "C3LT, refined": refined} | made


def line(setting: Setting, found: Explanation, seconds: float = float("nan")) -> dict[str, tuple[float, float]]:
    """All scores of an explanation: means over rows, and those of all rows together."""
    scores = setting.score(found)
    asked = found.query.x, found.factual_predicted, found.target
    scores["COUT as released"] = as_released(
        found.counterfactual, *asked, lambda x: found.query.explained.members(x)[0]
    )
    values = dict(summary(scores))
    return _in_print(values) | realism(setting, found.counterfactual, found.target) | {
        "seconds": (seconds / found.rows, float("nan")), "rows": (found.rows, float("nan")),
    }  # fmt: skip


def as_released(
    x: Tensor, factual: Tensor, source: Tensor, target: Tensor, classifier: Callable[[Tensor], Tensor]
) -> Tensor:
    """COUT as the authors' program counts it (github.com/khorrams/c3lt): 15 pixels a step, the last one rounded up.

    Of 28 x 28 pixels, 53 steps of 15 are more than all there are: its weights sum to 1.014.
    """
    pixels = x[0, 0].numel()
    size = max(1, pixels // 50)
    steps = ceil(pixels / size)
    return steps * size / pixels * metrics.cout(x, factual, source, target, classifier, steps=steps)


def nearest(setting: Setting, x: Tensor, target: Tensor) -> Tensor:
    """For each query the real training image of its target that differs least: what a perfect generator could give."""
    found = torch.empty_like(x)
    for c in target.unique():
        real, rows = setting.train["image"][setting.train["digit"] == c], target == c
        found[rows] = real[torch.cdist(x[rows].flatten(1), real.flatten(1), p=1).argmin(1)]
    return found


def _in_print(values: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """IM2 as papers print it, times 10."""
    return {**values, "10 IM2": (10 * values["IM2"][0], 10 * values["IM2"][1])}


def realism(setting: Setting, x: Tensor, target: Tensor) -> dict[str, tuple[float, float]]:
    """FID and 1000 KID against real test images, as many of each class as there are targets of it."""
    labels = setting.test["digit"]
    real = torch.cat([
        setting.test["image"][(labels == c).nonzero()[:, 0]][: int((target == c).sum())] for c in target.unique()
    ])  # fmt: skip
    features = [metrics.extract(images, setting.judge.features) for images in (real, x)]
    fewest, dimensions = min(map(len, features)), features[0].shape[1]
    if fewest <= dimensions:  # a covariance would be singular
        return {}
    kernel = metrics.kid(*features, subset_size=min(1000, fewest // 2), subsets=20, standardise=True, seed=setting.seed)
    return {"FID": (float(metrics.fid(*features)), float("nan")), "1000 KID": (1000 * kernel.value, 1000 * kernel.std)}


def ask(
    setting: Setting, made: Mapping[str, explainers.Explainer], x: Tensor, target: Tensor, slow: int
) -> dict[str, Explanation]:
    """Every method's answers to the same questions; of the slow ones fewer."""
    found = {}
    for name, explainer in made.items():
        rows = slice(slow if name in ("CEM", "CVE") else None)
        with setting.timed(name):
            found[name] = explainer.explain(x[rows], target[rows], seed=setting.seed)
        print(f"{name}: {setting.seconds[name] / found[name].rows:.2g} s a query", flush=True)
    return found


def ablation(setting: Setting, rows: int | None, passes: int | None, x: Tensor, target: Tensor) -> dict[str, Scores]:
    """C3LT with its losses added one by one."""
    train = training_rows(setting, rows, sum(PAIRS, ()))
    lines = {}
    for name, weights in ABLATION.items():
        options = weights | ({} if passes is None else {"epochs": passes})
        explainer = C3LT(setting.generator, classifier=setting.classifier, pairs=PAIRS, lr=LR, **options)
        lines[name] = line(setting, explainer.fit(train, seed=setting.seed).explain(x, target, seed=setting.seed))
    return lines


def rigged(setting: Setting, rows: int | None, passes: int | None, n: int) -> dict[str, Explanation]:
    """From 4 to 9, which the rigged classifier never saw, and from 4 to 1."""
    said = setting.rigged(setting.test["image"]).argmax(1)
    x = setting.test["image"][(said == 4) & (setting.test["digit"] == 4)][:n]
    options = {} if passes is None else {"epochs": passes}
    explainer = C3LT(setting.generator, classifier=setting.rigged, pairs=[(4, 9), (4, 1)], lr=LR, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explainer.fit(training_rows(setting, rows, (1, 4, 9)), seed=setting.seed)
    for warning in caught:  # that it gives no training row the class 9: the tool says so
        print(f"rigged classifier: {warning.message}", flush=True)
    return {
        f"rigged, 4 to {c}": explainer.explain(x, torch.full((len(x),), c), seed=setting.seed, stream=True)
        for c in (9, 1)
    }


def traversal(setting: Setting, rows: int | None, passes: int | None, x: Tensor) -> Explanation:
    """From 4 to 9 in three steps."""
    options = {} if passes is None else {"epochs": passes}
    explainer = C3LT(setting.generator, classifier=setting.classifier, pairs=[(4, 9)], steps=3, lr=LR, **options)
    explainer.fit(training_rows(setting, rows, (4, 9)), seed=setting.seed)
    return explainer.explain(x, 9, seed=setting.seed, stream=True)


# ---------------------------------------------------------------------- pictures


def draw_latents(found: Explanation) -> mpl.figure.Figure:
    """How much each latent changes, for each pair: none is left alone."""
    change = (found.code - found.query.start).abs()
    source, target = found.factual_predicted, found.target
    figure = mpl.figure.Figure(figsize=(7.2, 1.5 * len(PAIRS) + 0.4), layout="constrained")
    for ax, (a, b) in zip(figure.subplots(len(PAIRS), 1, sharex=True, sharey=True), PAIRS, strict=True):
        rows = change[((source == a) & (target == b)) | ((source == b) & (target == a))]
        ax.violinplot(rows.T.tolist(), showmeans=True, showextrema=False, widths=0.85)
        ax.set(ylabel=f"{a} and {b}", ylim=(0, 1.03 * float(change.max())))
        ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel="latent", xticks=range(1, change.shape[1] + 1))
    figure.suptitle("change of each latent between query and counterfactual", fontsize=9)
    return figure


def draw_frames(found: Mapping[str, Explanation], count: int = 8) -> mpl.figure.Figure:
    """Queries, and every frame of their streams below them with the probability of the target."""
    lines = [(name, e, k) for name, e in found.items() for k in range(e.stream.image.shape[1])]
    columns = min(count, min(e.rows for e in found.values()))
    heights = len(lines) + len(found)
    figure = mpl.figure.Figure(figsize=(0.95 * columns + 1.4, 1.12 * heights), layout="constrained")
    axes = iter(figure.subplots(heights, columns, squeeze=False))
    for name, explanation in found.items():
        shown = [("query", explanation.query.x, None)]
        frames = explanation.stream.image.shape[1]
        labels = ["reconstruction", *(f"step {k}" if frames > 2 else "counterfactual" for k in range(1, frames))]
        shown += [
            (label, explanation.stream.image[:, k], explanation.stream.probability[:, k])
            for k, label in enumerate(labels)
        ]
        for label, images, probability in shown:
            cells = next(axes)
            heading = f"{name}\n{label}" if label == "query" else label
            cells[0].text(-0.15, 0.5, heading, transform=cells[0].transAxes, ha="right", va="center", fontsize=8)
            for i, cell in enumerate(cells):
                cell.set_axis_off()
                cell.imshow(images[i, 0], cmap="gray", vmin=0, vmax=1)
                if probability is not None:
                    cell.set_title(
                        f"p({int(explanation.target[i])}) = {float(probability[i]):.2f}", fontsize=6, pad=1.5
                    )
    return figure


def main(
    data: Data = "mnist",
    out: Out = Path("runs/c3lt"),
    n: Annotated[int, typer.Option(help="Queries of each of the six directions.")] = 60,
    slow: Annotated[int, typer.Option(help="Queries that CEM and CVE are asked, of all directions.")] = 24,
    rows: Annotated[int | None, typer.Option(help="Training rows of the learned methods, at most.")] = 30_000,
    few: Annotated[int | None, typer.Option(help="Training rows of the ablation and of other maps, at most.")] = 3000,
    passes: Annotated[int | None, typer.Option(help="Passes of the learned methods.")] = 4,
    steps: Annotated[int, typer.Option(help="Steps of CEM (a round) and PGD.")] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds of CEM's bisection.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Passes of judges and generators.")] = None,
    seed: Seed = 0,
    model: Model = "mnist-vae",
    networks: Networks = None,
) -> None:
    """The paper's protocol, ours beside theirs."""
    setting = Setting(data, out, epochs, seed, model, networks)
    facts = {"n": n, "slow": slow, "rows": rows, "few": few, "passes": passes, "steps": steps, "rounds": rounds}
    record = setting.record(**facts)
    x, target = queries(setting, n)
    found = ask(setting, methods(setting, rows, passes, steps, rounds), x, target, slow)
    lines = {name: line(setting, explanation, setting.seconds[name]) for name, explanation in found.items()}
    first = found["C3LT"]
    images = reference_images(x, target, setting.test["image"], setting.test["digit"], seed=seed)
    images = {"nearest real image of the target": nearest(setting, x, target)} | images
    source, f = first.factual_predicted, setting.classifier
    for name, image in images.items():
        values = image_scores(image, x, source, target, f, judge=setting.judge, autoencoders=setting.autoencoders)
        values["COUT as released"] = as_released(image, x, source, target, f)
        lines[name] = _in_print(summary(values)) | realism(setting, image, target)
    lines |= PUBLISHED
    table(f"3-8, 4-9, 5-6, both directions, {len(x)} queries ({data})", COLUMNS, lines)
    write(setting, "methods", lines, **facts)
    answers = {name: (explanation, torch.arange(explanation.rows)) for name, explanation in found.items()}
    save_figure(grid(x, answers, count=12), out / "methods.png", record, dpi=90)
    save_figure(draw_latents(first), out / "latents.png", record, dpi=110)

    parts = ablation(setting, few, passes, x, target) | ABLATION_PUBLISHED
    table("C3LT's losses, added one by one", COLUMNS, parts)
    write(setting, "ablation", parts, **facts)

    debugging = rigged(setting, few, passes, n)
    lines = {name: line(setting, explanation) for name, explanation in debugging.items()}
    table("A classifier that never saw a 9", ["valid", "valid to the judge", "probability", "IM1", "10 IM2"], lines)
    write(setting, "rigged", lines, **facts)
    save_figure(draw_frames(debugging), out / "rigged.png", record, dpi=90)
    fours, _ = setting.queries(4, 9, 8, seed=seed)
    save_figure(draw_frames({"4 to 9": traversal(setting, few, passes, fours)}), out / "steps.png", record, dpi=90)


if __name__ == "__main__":
    torch.set_num_threads(min(4, torch.get_num_threads()))
    typer.run(main)
