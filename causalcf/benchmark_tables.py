"""`causalcf benchmark`: the papers' tables, ours beside theirs and both beside the truth, as one page.

A row is one model. Its records are kept in a file of their own, so that a run that is killed goes on
where it stopped, and one row can be computed again alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import runpy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causalcf.data import Batch
from causalcf.errors import DataError, MissingFileError
from causalcf.evaluation import evaluate, select_rows
from causalcf.metrics import draw_other_bin, draw_other_category
from causalcf.predictors import Predictors
from causalcf.provenance import provenance
from causalcf.published import PUBLISHED
from causalcf.records import Record, Records
from causalcf.report import write_csv, write_json
from causalcf.scm import StructuralCausalModel
from causalcf.variables import Categorical

__all__ = ["Benchmark", "read_mechanism_file", "run", "truth_row"]

SCORES = ("effectiveness", "truth error", "composition", "reversibility", "fid", "sample fid", "cld", "unchanged")

TRUTH_SEEDS = (0, 1, 2)
"""The frozen seeds of the leaderboard of true counterfactuals."""

TITLES = {"morphomnist": "MorphoMNIST", "celeba": "CelebA"}

SHOWN = 6
"""Rows in a figure."""


@dataclass
class Benchmark:
    """What is compared on what.

    Args:
        name: Of the data set; the key of its published numbers.
        train: Training split: the real images of FID and CLD.
        test: Test split, whose rows are asked about.
        nodes: Nodes to act on.
        models: Name -> how to get the fitted model.
        predictors: Judges.
        latents: Latent space of CLD.
        perception: Network of LPIPS, if its weights are at hand.
    """

    name: str
    train: Any
    test: Any
    nodes: Sequence[str]
    models: Mapping[str, Callable[[], StructuralCausalModel]]
    predictors: Predictors
    latents: StructuralCausalModel | None = None
    perception: Any = None
    settings: dict[str, Any] = field(default_factory=dict)


def run(
    benchmark: Benchmark,
    out: str | Path,
    *,
    n: int | None = 1000,
    seed: int = 0,
    only: Sequence[str] = (),
    workers: int = 1,
    progress: Callable[[str], None] = lambda _text: None,
) -> Path:
    """Compute the rows that are missing or asked for, and write the page, a CSV and a JSON file.

    Args:
        benchmark: What to compare.
        out: Folder; rows that are there already and were made with the same settings are kept.
        n: Rows of the test split; None for all.
        seed: Decides rows, values and resamples.
        only: Models to compute again, even if they are there.
        workers: Processes that draw true counterfactuals.
        progress: Called with a line of text.

    Returns:
        The path of the page.

    Raises:
        DataError: `only` names no model of the benchmark, or there is none.
    """
    unknown = [name for name in only if name not in benchmark.models]
    if unknown or not benchmark.models:
        raise DataError(f"There are no models {unknown or 'to compare'}. There are: {list(benchmark.models)}.")
    out = Path(out)
    rows: dict[str, dict[str, Any]] = {}
    for name, load in benchmark.models.items():
        path, scm = out / "rows" / f"{name}.json", load()
        settings = {"n": n, "seed": seed, "model": _identity(scm), "judges": _judges(benchmark)}
        if path.is_file() and name not in only:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["settings"] == settings:
                progress(f"{name}: kept")
                rows[name] = kept
                continue
        rows[name] = _row(benchmark, name, scm, settings, out, n, seed, workers, progress)
        write_json(path, rows[name])
    records = {name: Records.from_json(row["scores"]) for name, row in rows.items()}
    lines = [{"model": name, **asdict(record)} for name, found in records.items() for record in found]
    write_csv(out / "results.csv", {key: [line[key] for line in lines] for key in lines[0]})
    write_json(out / "results.json", {"rows": rows, "published": PUBLISHED.get(benchmark.name, {})})
    page = out / "index.html"
    page.write_text(_page(benchmark, rows, records), encoding="utf-8")
    return page


def _row(
    benchmark: Benchmark,
    name: str,
    scm: StructuralCausalModel,
    settings: dict[str, Any],
    out: Path,
    n: int | None,
    seed: int,
    workers: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    wanted = [score for score in SCORES if score != "cld" or benchmark.latents is not None]
    started = time.perf_counter()
    scores = evaluate(
        scm,
        benchmark.test,
        wanted,
        predictors=benchmark.predictors,
        reference=benchmark.train,
        latents=benchmark.latents,
        perception=benchmark.perception,
        do=benchmark.nodes,
        n=n,
        seed=seed,
        cache=out / "truth",
        workers=workers,
        progress=lambda step: progress(f"{name}: {step}"),
    )
    return {
        "settings": settings,
        "scores": scores.to_json(),
        "figures": _figures(benchmark, name, scm, seed),
        "provenance": provenance(
            seed=seed, device=scm.device, seconds=round(time.perf_counter() - started, 1), fit=scm.provenance
        ),
    }


def _identity(scm: StructuralCausalModel) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(scm.state_dict().items()):
        digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _judges(benchmark: Benchmark) -> list[str]:
    judges = [judge.identity for judge in benchmark.predictors.values()]
    return [*judges, "" if benchmark.latents is None else _identity(benchmark.latents)]


# ---------------------------------------------------------------------- the leaderboard of true counterfactuals


Answer = Callable[[Batch, Mapping[str, Tensor]], Mapping[str, Tensor]]


def truth_row(
    data: Any,
    answer: Answer | StructuralCausalModel | str,
    name: str,
    nodes: Sequence[str],
    *,
    n: int = 500,
    seeds: Sequence[int] = TRUTH_SEEDS,
    cache: str | Path | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """One line of the leaderboard: distance to the true counterfactual images, over frozen seeds.

    Args:
        data: A data set that knows its truth.
        answer: A fitted model; a function of rows and actions that gives at least the image; or a
            floor: "identity" (the factual image), "intensity ratio" (the factual image, times the true
            ratio of intensities), "re-rendering" (how far the published image is from the redrawn
            factual one: what the truth itself is uncertain by).
        name: Of the line.
        nodes: Nodes to act on, one at a time.
        n: Rows per seed.
        seeds: What rows and values follow from.
        cache: Folder that keeps true counterfactuals.
        workers: Processes that draw them.

    Returns:
        JSON-able: for each node the mean over rows of all seeds, in grey levels, and over seeds the
        standard deviation of that mean.

    Raises:
        DataError: No such floor, or an answer that is not an image for every row.
    """
    from causalcf.evaluation import _truth_of

    line: dict[str, Any] = {"name": name, "n": n, "seeds": list(seeds), "unit": "grey levels"}
    for node in nodes:
        means, seconds = [], 0.0
        for seed in seeds:
            x = select_rows(data, n, seed)
            values = _other(data, x, node, seed)
            truth = _truth_of(data, x, cache, workers)(node, values)
            if truth is None:
                raise DataError(f"The true counterfactual of do({node}) is not known.")
            started = time.perf_counter()
            image = _answered(data, answer, x, node, values, truth)
            seconds += time.perf_counter() - started
            wanted = x["image"] if answer == "re-rendering" else truth["image"]
            if image.shape != wanted.shape:
                raise DataError(f"'{name}' gives images {tuple(image.shape)} for {tuple(wanted.shape)}.")
            means.append(float(255 * (image.double().cpu() - wanted.double()).abs().mean()))
        spread = torch.tensor(means, dtype=torch.float64)
        line[f"do({node})"] = {
            "error": float(spread.mean()),
            "over_seeds": float(spread.std()) if len(seeds) > 1 else 0.0,
            "seconds": round(seconds, 2),
        }
    line["provenance"] = provenance(seed=None)
    return line


def read_mechanism_file(path: Path, train: Callable[[], Any], device: str = "cpu") -> Any:
    """What a user's Python file puts on the leaderboard: `counterfactual`, `scm`, or a `mechanism` to fit.

    Args:
        path: The file; it is run.
        train: Gives the training split, if a mechanism is to be fitted.
        device: Where it is fitted.

    Raises:
        MissingFileError: There is no such file.
        DataError: It defines none of the three.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}.")
    found = runpy.run_path(str(path))
    for name in ("counterfactual", "scm"):
        if name in found:
            return found[name]
    if "mechanism" not in found:
        raise DataError(f"{path} defines none of: counterfactual(x, do), scm, mechanism.")
    data = train()
    scm = StructuralCausalModel(data.graph, mechanisms={"image": found["mechanism"]})
    return scm.fit(data, seed=0, device=device)


def _answered(data: Any, answer: Any, x: Batch, node: str, values: Tensor, truth: Mapping[str, Tensor]) -> Tensor:
    if isinstance(answer, StructuralCausalModel):
        parts = [
            answer.counterfactual(x[i : i + 250], {node: values[i : i + 250]}, seed=0)["image"].cpu()
            for i in range(0, x.rows, 250)
        ]
        return torch.cat(parts)
    if answer == "identity":
        return x["image"]
    if answer == "intensity ratio":
        ratio = truth["intensity"] / x["intensity"]
        return (x["image"] * ratio[:, None, None, None]).clamp(0, 1)
    if answer == "re-rendering":
        return data.truth(x, {})["image"]
    if not callable(answer):
        raise DataError(f"There is no floor {answer!r}. Known: identity, intensity ratio, re-rendering.")
    return torch.as_tensor(answer(x, {node: values})["image"])


def _other(data: Any, x: Batch, node: str, seed: int) -> Tensor:
    variable = data.variables[node]
    if isinstance(variable, Categorical):
        return draw_other_category(x[node], data[node], categories=variable.k, seed=seed)
    return draw_other_bin(x[node], data[node], seed=seed)


# ---------------------------------------------------------------------- figures


def _figures(benchmark: Benchmark, name: str, scm: StructuralCausalModel, seed: int) -> list[dict[str, str]]:
    """A grid per intervention and the ten cycles of composition, as PNG in base64."""
    x = select_rows(benchmark.test, SHOWN, seed)
    figures = []
    for node in benchmark.nodes:
        values = _other(benchmark.test, x, node, seed)
        columns = {"factual": x["image"]}
        for residual in (1.0, 0.0):
            answer = scm.counterfactual(x, {node: values}, residual=residual, seed=seed)["image"].cpu()
            columns[f"ours, residual {residual:g}"] = answer
        try:
            columns["truth"] = benchmark.test.truth(x, {node: values})["image"]
        except Exception as error:
            note = f" The truth is not known: {error}"
        else:
            note = ""
            columns["ours - truth"] = columns["ours, residual 1"] - columns["truth"]
        variable = scm.variables[node]
        shown = [
            variable.categories[int(v)] if isinstance(variable, Categorical) else f"{float(v):.3g}" for v in values
        ]
        figures.append(
            {
                "title": f"{name}: do({node})",
                "data": _grid(columns, [f"{node} := {value} {variable.unit}".strip() for value in shown]),
                "caption": f"Test rows drawn by seed {seed}, none chosen.{note}"
                " In differences red is too bright, blue too dark.",
            }
        )
    figures.append(_cycles_figure(name, scm, x))
    return figures


def _cycles_figure(name: str, scm: StructuralCausalModel, x: Batch) -> dict[str, str]:
    columns = {"factual": x["image"]}
    current: Mapping[str, Tensor] = dict(x)
    for cycle in range(1, 11):
        current = dict(scm.counterfactual(Batch(dict(current)), {}, residual=0.0, recompute="all", seed=0))
        if cycle in (1, 2, 3, 5, 7, 10):
            columns[f"{cycle} cycles" if cycle > 1 else "1 cycle"] = current["image"].cpu()
    return {
        "title": f"{name}: composition over ten cycles, without the residual",
        "data": _grid(columns, [""] * SHOWN),
        "caption": "Null interventions with every mechanism recomputed and no residual: what the latents alone hold."
        " With the full residual every picture would equal the first.",
    }


def _grid(columns: Mapping[str, Tensor], names: Sequence[str]) -> str:
    """Images of a few rows side by side, as PNG in base64; differences in red and blue."""
    from causalcf.plots.style import new_figure

    rows = len(names)
    left = 1.7 if any(names) else 0.1
    figure = new_figure(left + 1.1 * len(columns), 0.4 + 1.1 * rows)
    width, height = figure.get_size_inches()
    for j, (title, images) in enumerate(columns.items()):
        for i in range(rows):
            box = ((left + 1.1 * j) / width, 1 - (0.4 + 1.1 * (i + 1)) / height, 1.04 / width, 1.04 / height)
            ax = figure.add_axes(box)
            ax.set_axis_off()
            pixels = images[i].permute(1, 2, 0).squeeze(-1)
            if "-" in title:
                ax.imshow(pixels, cmap="RdBu_r", vmin=-1, vmax=1)
            else:
                ax.imshow(pixels.clamp(0, 1), cmap="gray", vmin=0, vmax=1)
            if i == 0:
                ax.set_title(title, fontsize=8)
            if j == 0 and names[i]:
                ax.text(-0.06, 0.5, names[i], transform=ax.transAxes, ha="right", va="center", fontsize=8)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()


# ---------------------------------------------------------------------- the page


@dataclass
class _Cell:
    text: str
    interval: str = ""


@dataclass
class _Line:
    name: str
    cells: list[_Cell]
    kind: str = ""
    first: bool = False


@dataclass
class _Table:
    title: str
    text: list[str]
    header: list[str]
    rows: list[_Line]
    groups: list[tuple[str, int]] = field(default_factory=list)


def _page(benchmark: Benchmark, rows: Mapping[str, Any], records: Mapping[str, Records]) -> str:
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=select_autoescape(["html"])
    )
    published = PUBLISHED.get(benchmark.name, {})
    any_row = next(iter(rows.values()))
    n = next(iter(records.values()))[0].n
    introduction = [
        f"Counterfactual images by {len(rows)} model{'s' if len(rows) > 1 else ''}, on {n:,} test rows of"
        f" {TITLES.get(benchmark.name, benchmark.name)}. One node is acted on at a time; each row's"
        " value is drawn from the test marginal, in another of ten bins (or another category).",
        "How to read the tables. Blue lines are ours, with a 95 % bootstrap interval. The lines below them score, in"
        " the same way, the true counterfactual images (no model can do better than that but by chance), the factual"
        " images left as they are, and uniform noise. Grey lines are published numbers, made with other judges and"
        " code: they show the scale, and are not comparable in their last digits.",
        "The residual is what a model's latents could not explain of an image. With residual 1 it is carried over"
        " whole, as abduction asks; then composition is perfect for any model, trained or not. With residual 0 it is"
        " dropped.",
    ]
    tables = [
        _truth_table(benchmark, records),
        _effectiveness_table(benchmark, records, published),
        _composition_table(records, published),
        _reversibility_table(benchmark, records),
        _realism_table(records, published),
        _minimality_table(records, published),
        _time_table(records),
    ]
    return environment.get_template("benchmark.html").render(
        title=f"Counterfactual images on {TITLES.get(benchmark.name, benchmark.name)}",
        made=f"causalcf {any_row['provenance']['versions']['causalcf']}, {any_row['provenance']['date']}",
        introduction=introduction,
        tables=[table for table in tables if table.rows],
        figures=[figure for row in rows.values() for figure in row["figures"]],
        provenance=_provenance(benchmark, rows, published),
    )


def _provenance(benchmark: Benchmark, rows: Mapping[str, Any], published: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, row in rows.items():
        facts, settings = row["provenance"], row["settings"]
        versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
        lines.append(
            f"{name}: weights {settings['model']}, n {settings['n'] or 'all'}, seed {settings['seed']},"
            f" {facts['device']}, {facts['seconds']} s, command: {facts['command']}; {versions}."
        )
    lines += [f"Judge {judge.identity}: {judge.score}." for judge in benchmark.predictors.values()]
    if published:
        lines.append(f"Published numbers: {published['reference']}.")
    return lines


def _truth_table(benchmark: Benchmark, records: Mapping[str, Records]) -> _Table:
    keys = [(do, node) for do in benchmark.nodes for node in _scored(records, do)]
    lines = _lines(records, [{"metric": "truth error", "do": do, "node": node} for do, node in keys], truth=False)
    return _Table(
        "Distance to the true counterfactual",
        ["Mean absolute difference to the true counterfactual. No judge is involved. Lower is better."],
        ["model", *[f"{node}, {_unit(records, do, node)}" for do, node in keys]],
        lines,
        [(f"do({do})", len(_scored(records, do))) for do in benchmark.nodes if _scored(records, do)],
    )


def _scored(records: Mapping[str, Records], do: str) -> list[str]:
    first = next(iter(records.values()))
    return list(dict.fromkeys(r.node for r in first.select(metric="truth error", do=do)))


def _unit(records: Mapping[str, Records], do: str, node: str) -> str:
    return next(iter(records.values())).select(metric="truth error", do=do, node=node)[0].unit


def _effectiveness_table(benchmark: Benchmark, records: Mapping[str, Records], published: Mapping[str, Any]) -> _Table:
    targets, nodes = list(benchmark.predictors), list(benchmark.nodes)
    order = [target for target in nodes if target in targets] + [target for target in targets if target not in nodes]
    wanted = [{"metric": "effectiveness", "do": do, "node": target} for target in order for do in nodes]
    real = [_Cell(_number(benchmark.predictors[t].score.value)) for t in order for _ in nodes]  # type: ignore[union-attr]
    unit = {t: benchmark.predictors[t].score for t in order}
    return _Table(
        "Effectiveness: does the image show what was asked for?",
        [
            "Anti-causal predictors read the image; their reading is compared with the value asked for (mean absolute"
            " error, lower is better; accuracy, higher is better). "
            + " ".join(
                f"The judge of {t} is told the {', '.join(p.given)} asked for: {p.name}."
                for t, p in benchmark.predictors.items()
                if p.given
            ),
            "The line 'the judge on real images' is the judge's own error: differences below it mean nothing.",
        ],
        ["model", *[f"do({do})" for _ in order for do in nodes]],
        [
            *_lines(records, wanted),
            _Line("the judge on real images", real, "beside"),
            *_published(published.get("effectiveness", {}), range(9), len(wanted)),
        ],
        [(f"{t}: {unit[t].metric} {unit[t].unit}".strip(), len(nodes)) for t in order],  # type: ignore[union-attr]
    )


def _composition_table(records: Mapping[str, Records], published: Mapping[str, Any]) -> _Table:
    parts = [("", "grey levels"), (" embedding", "judges' features"), (" lpips", "LPIPS")]
    first = next(iter(records.values()))
    there = [(suffix, name) for suffix, name in parts if first.select(metric=f"composition(1){suffix}")]
    wanted = [{"metric": f"composition({c}){suffix}"} for suffix, _ in there for c in (1, 10)]
    columns = [i for k, part in enumerate(parts) if part in there for i in (2 * k, 2 * k + 1)]
    text = [
        "Distance to the factual image after 1 and 10 null interventions. Lower is better; read it beside the others."
    ]
    if len(there) < len(parts):
        text.append("LPIPS is left out: the weights of its network are not at hand (see metrics.vgg_perception).")
    return _Table(
        "Composition",
        text,
        ["model", *[f"{c} cycle{'s' if c > 1 else ''}" for _ in there for c in (1, 10)]],
        [
            *_lines(records, wanted, truth=False),
            *_published(published.get("composition", {}), columns, len(wanted)),
        ],
        [(name, 2) for _, name in there],
    )


def _reversibility_table(benchmark: Benchmark, records: Mapping[str, Records]) -> _Table:
    wanted = [{"metric": "reversibility", "do": do} for do in benchmark.nodes]
    text = [
        "Distance to the factual image, in grey levels, after acting and then acting back. Lower is better; doing"
        " nothing scores 0. Nodes that no action can reach stayed what they were, bit for bit, in "
        + _share_unchanged(records)
        + " of all rows and questions."
    ]
    return _Table("Reversibility", text, ["model", *[f"do({do})" for do in benchmark.nodes]], _lines(records, wanted))


def _share_unchanged(records: Mapping[str, Records]) -> str:
    shares = [record.value for found in records.values() for record in found.select(metric="unchanged")]
    return f"{100 * sum(shares) / len(shares):.4g} %" if shares else "none"


def _realism_table(records: Mapping[str, Records], published: Mapping[str, Any]) -> _Table:
    first = next(iter(records.values()))
    metric = next((r.metric for r in first if r.metric.startswith("fid[")), "")
    wanted = [{"metric": metric, "do": do} for do in _actions_of(first, metric)]
    text = [
        "Fréchet distance of counterfactual to training images, in the feature space of our digit classifier"
        f" ({first.select(metric=metric)[0].judge if metric else ''}). Published distances are in Inception's feature"
        " space: another scale, of which only the order can be compared. Lower is better."
    ]
    quoted = [
        _Line(f"{model} (published, Inception)", [_Cell(_quoted(fid)), *[_Cell("")] * (len(wanted) - 1)], "published")
        for model, (fid, _) in published.get("realism", {}).items()
    ]
    header = ["model", *[w["do"] if w["do"] == "one at random" else f"do({w['do']})" for w in wanted]]
    return _Table("Realism: FID", text, header, [*_lines(records, wanted), *quoted] if wanted else [])


_CLD = {
    "cld": "CLD",
    "cld: closer than images of the new value": "new value: share closer",
    "cld: farther than images of the old value": "old value: share farther",
}


def _minimality_table(records: Mapping[str, Records], published: Mapping[str, Any]) -> _Table:
    first = next(iter(records.values()))
    wanted = [{"metric": metric, "do": do} for metric in _CLD for do in _actions_of(first, metric)]
    text = [
        "Counterfactual latent divergence rewards a change that is large enough (few images of the old value are"
        " farther) and no larger than needed (few of the new value are closer). Lower is better, but the truth is"
        " not 0, and doing nothing scores well: read it beside effectiveness."
    ]
    means = ", ".join(f"{model} {cld:g}" for model, (_, cld) in published.get("realism", {}).items())
    if means:
        text.append(f"Published, mean over actions, in another latent space: {means}.")
    header = ["model", *[f"do({w['do']})" for w in wanted]]
    groups = [(name, len(_actions_of(first, metric))) for metric, name in _CLD.items()]
    return _Table("Minimality: CLD", text, header, _lines(records, wanted), groups)


def _actions_of(records: Records, metric: str) -> list[str]:
    found = list(dict.fromkeys(r.do for r in records.select(metric=metric)))
    return sorted(found, key=lambda do: do != "one at random")


def _time_table(records: Mapping[str, Records]) -> _Table:
    steps = list(dict.fromkeys(step for found in records.values() for step in found.seconds))
    lines = [
        _Line(name, [_Cell(f"{found.seconds.get(step, 0):.1f}") for step in steps], "ours")
        for name, found in records.items()
    ]
    return _Table("Seconds per score", ["The first column is the model's own passes."], ["model", *steps], lines)


def _lines(records: Mapping[str, Records], wanted: Sequence[Mapping[str, str]], *, truth: bool = True) -> list[_Line]:
    """A line per model and residual; below them the truth, the identity and noise."""
    lines = []
    for name, found in records.items():
        for residual in dict.fromkeys(r.residual for r in found if r.residual is not None):
            cells = [_cell(found.select(residual=residual, **question)) for question in wanted]
            lines.append(_Line(f"{name}, residual {residual:g}", cells, "ours"))
    first = next(iter(records.values()))
    besides = {"truth": "the truth", "identity": "doing nothing", "noise": "noise"}
    for key, name in besides.items():
        if key == "truth" and not truth:
            continue
        values = [getattr(found[0], key) if (found := first.select(**question)) else None for question in wanted]
        if any(value is not None for value in values):
            lines.append(_Line(name, [_Cell("" if v is None else _number(v)) for v in values], "beside"))
    return lines if wanted else []


def _published(table: Mapping[str, Sequence[float]], columns: Sequence[int], width: int) -> list[_Line]:
    if len(columns) != width:
        return []
    return [
        _Line(f"{model} (published)", [_Cell(_quoted(numbers[i])) for i in columns], "published", first=k == 0)
        for k, (model, numbers) in enumerate(table.items())
    ]


def _cell(found: Records) -> _Cell:
    if not len(found):
        return _Cell("")
    record: Record = found[0]
    if record.low is None or record.high is None:
        return _Cell(_number(record.value))
    text, half = _number(record.value), (record.high - record.low) / 2
    decimals = len(text.partition(".")[2])
    return _Cell(text, f"±{half:.{decimals}f}" if half >= 0.5 * 10**-decimals else "")


def _number(value: float) -> str:
    """Three significant digits, no exponent, nothing below a ten-thousandth."""
    if abs(value) < 5e-5:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{max(0, 2 - _order(value))}f}"


def _quoted(value: float) -> str:
    """A published number, with no more digits than were published."""
    return f"{value:.3f}" if abs(value) < 0.1 else _number(value)


def _order(value: float) -> int:
    from math import floor, log10

    return max(-2, floor(log10(abs(value))))
