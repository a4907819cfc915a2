"""The tables of a benchmark: ours, the truth, doing nothing, noise and the published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from causalcf.benchmark.cells import DASH, Cell, ScoreTable, TableLine, quoted, shown
from causalcf.benchmark.setup import Benchmark
from causalcf.evaluation.records import Record, Records
from causalcf.evaluation.scores.uncertainty import LOG_DENSITY
from causalcf.metrics import METRICS, Metric
from causalcf.scm.residual import residual_label
from causalcf.variables.image import Image

__all__ = ["tables"]


def tables(
    benchmark: Benchmark, rows: Mapping[str, Any], records: Mapping[str, Records], published: Mapping[str, Any]
) -> list[ScoreTable]:
    """All tables of the page; those that nothing is known for are empty."""
    return [
        _summary_table(benchmark, rows, records, published),
        _truth_table(benchmark, records),
        _effectiveness_table(benchmark, records, published),
        _composition_table(records, published),
        _reversibility_table(benchmark, records),
        _realism_table(records, published),
        _minimality_table(records, published),
        _time_table(records),
    ]


@dataclass
class Column:
    """A column of the summary: the mean over some questions, and the published number, if there is one."""

    group: str
    name: str
    questions: list[dict[str, str]]
    published: tuple[str, int] | None = None


def _summary_columns(benchmark: Benchmark, records: Mapping[str, Records]) -> list[Column]:
    first = next(iter(records.values()))
    acted = [do for do in benchmark.nodes if _scored(records, do)]
    columns = [
        Column(
            f"truth error of the image, {METRICS['truth error'].heading}",
            f"do({do})",
            [{"metric": "truth error", "do": do, "node": n}],
        )
        for do in acted
        for n in _scored(records, do)
        if isinstance(benchmark.train.variables[n], Image)
    ]
    lpips = bool(first.select(metric="composition(1) lpips"))
    for suffix, measure, at in (("", "composition", 0), (" lpips", "lpips", 4)):
        if not suffix or lpips:
            columns += [
                Column(
                    f"composition, {METRICS[measure].heading}",
                    _cycles(c),
                    [{"metric": f"composition({c}){suffix}"}],
                    ("composition", at + i),
                )
                for i, c in enumerate((1, 10))
            ]
    places = iter(range(100))
    for target in _judged(benchmark):
        judge = benchmark.predictors[target]
        group = _measured(target, judge)
        columns += [
            Column(group, f"do({do})", [{"metric": _effect(judge), "do": do, "node": target}], ("effectiveness", at))
            for do, at in zip(benchmark.nodes, places, strict=False)
        ]
    sampled = _metric_of(records, "sample fid")
    columns += [Column("samples", f"FID {METRICS['fid'].arrow}", [{"metric": sampled}])] if sampled else []
    cld = [{"metric": "cld", "do": do} for do in benchmark.nodes if _metric_of(records, "cld")]
    columns += [Column("mean over actions", f"CLD {METRICS['cld'].arrow}", cld, ("realism", 1))] if cld else []
    return [*columns, Column("log density", LOG_DENSITY.heading, [{"metric": "log density"}])]


def _summary_table(
    benchmark: Benchmark, rows: Mapping[str, Any], records: Mapping[str, Records], published: Mapping[str, Any]
) -> ScoreTable:
    columns = _summary_columns(benchmark, records)
    lines = []
    for name, found in records.items():
        for residual in _residuals(found):
            cells = [_mean_cell(found, column.questions, "value", residual) for column in columns]
            line = TableLine(
                f"{name}, {residual_label(residual)}", [*cells, *_costs(rows[name].get("facts", {}))], "ours"
            )
            lines.append(line)
    for key, name in BESIDES.items():
        cells = [_mean_cell(_some(records, column.questions), column.questions, key) for column in columns]
        lines.append(TableLine(name, [*cells, *[Cell(DASH)] * len(COSTS)], "beside"))
    models = list(
        dict.fromkeys(model for table in ("composition", "effectiveness") for model in published.get(table, {}))
    )
    for i, model in enumerate(models):
        cells = [Cell(DASH)] * len(columns)
        for k, column in enumerate(columns):
            table, at = column.published or ("", 0)
            numbers = published.get(table, {}).get(model, ())
            if at < len(numbers) and numbers[at] is not None:
                cells[k] = Cell(quoted(numbers[at]))
        lines.append(TableLine(f"{model} (published)", [*cells, *[Cell(DASH)] * len(COSTS)], "published", first=i == 0))
    text = [
        "Each score is explained, with its interval, in the tables below. Truth error: distance to the true"
        " counterfactual image. Composition: distance to the factual image after 1 and 10 null interventions."
        " Predictors: what trained networks read in the image against what was asked for (MAE: mean absolute error)."
        " Published numbers were made with other judges, their CLD in another"
        " latent space, and their FID in another feature space (see the table of realism).",
        "Log density of the image given its causes: a lower bound for models with latents, none for implicit ones."
        " Parameters are those of the image mechanism; training time is that of the whole model, tuning included, on"
        " the machine of its card; images a second are counterfactual images, abduction included, on this machine.",
    ]
    groups: list[tuple[str, int]] = []
    for column in columns:
        same = groups and groups[-1][0] == column.group
        groups[-1:] = [(column.group, groups[-1][1] + 1)] if same else [*groups[-1:], (column.group, 1)]
    header = ["model", *(column.name for column in columns), *COSTS]
    return ScoreTable("Summary", text, header, lines, [*groups, ("cost", len(COSTS))])


BESIDES = {"truth": "the truth", "identity": "doing nothing", "noise": "noise"}
COSTS = ("parameters", "training", "images/s")


def _costs(facts: Mapping[str, Any]) -> list[Cell]:
    parameters, seconds, speed = (facts.get(k) for k in ("parameters", "training_seconds", "images_per_second"))
    return [
        Cell(f"{parameters / 1e6:.2f} M" if parameters else DASH),
        Cell(f"{seconds / 60:.3g} min" if seconds else DASH),
        Cell(f"{speed:,.0f}" if speed else DASH),
    ]


def _mean_cell(
    found: Records, questions: Sequence[Mapping[str, str]], key: str, residual: float | str | None = None
) -> Cell:
    """The mean of a score over some questions; why there is none, if the model could not be asked."""
    values = []
    for question in questions:
        hits = found.select(**question)
        hits = hits.select(residual=residual) or hits.select(residual=None) if key == "value" else hits
        value = getattr(hits[0], key) if len(hits) else None
        if value is None:
            return _absent(found, question) if key == "value" else Cell(DASH)
        values.append((value, hits[0].unit))
    return Cell(shown(sum(v for v, _ in values) / len(values), values[0][1])) if values else Cell(DASH)


REASONS = {"log density": "no density", "cld": "no latent space", "truth error": "not known"}


def _absent(found: Records, question: Mapping[str, str]) -> Cell:
    """A dash, with the reason in a word or two."""
    score = next((name for name in found.missing if question["metric"].startswith(name)), "")
    return Cell(DASH, REASONS.get(score, ""))


def _some(records: Mapping[str, Records], questions: Sequence[Mapping[str, str]]) -> Records:
    """The first model's records in which the questions occur."""
    having = (found for found in records.values() if all(found.select(**question) for question in questions))
    return next(having, Records(()))


def _metric_of(records: Mapping[str, Records], score: str) -> str:
    """The full name of a score that is named by its extractor: the first that occurs, or nothing."""
    return next((r.metric for found in records.values() for r in found if r.metric.split("[")[0] == score), "")


def _residuals(found: Records) -> list[float | str]:
    return list(dict.fromkeys(r.residual for r in found if r.residual is not None))


def _cycles(count: int) -> str:
    return f"{count} cycle{'s' if count > 1 else ''}"


def _truth_table(benchmark: Benchmark, records: Mapping[str, Records]) -> ScoreTable:
    keys = [(do, node) for do in benchmark.nodes for node in _scored(records, do)]
    lines = _lines(records, [{"metric": "truth error", "do": do, "node": node} for do, node in keys], truth=False)
    return ScoreTable(
        "Distance to the true counterfactual",
        ["Mean absolute difference to the true counterfactual. No judge is involved. Lower is better."],
        ["model", *[f"{node}, {_unit(records, do, node)}" for do, node in keys]],
        lines,
        [(f"do({do})", len(_scored(records, do))) for do in benchmark.nodes if _scored(records, do)],
    )


def _scored(records: Mapping[str, Records], do: str) -> list[str]:
    question = {"metric": "truth error", "do": do}
    return list(dict.fromkeys(r.node for r in _some(records, [question]).select(**question)))


def _unit(records: Mapping[str, Records], do: str, node: str) -> str:
    question = {"metric": "truth error", "do": do, "node": node}
    return _some(records, [question]).select(**question)[0].unit


def _effectiveness_table(
    benchmark: Benchmark, records: Mapping[str, Records], published: Mapping[str, Any]
) -> ScoreTable:
    nodes, order = list(benchmark.nodes), _judged(benchmark)
    wanted = [{"metric": _effect(benchmark.predictors[t]), "do": do, "node": t} for t in order for do in nodes]
    real = [_on_real_images(benchmark.predictors[t]) for t in order for _ in nodes]
    return ScoreTable(
        "Effectiveness: does the image show what was asked for?",
        [
            "Anti-causal predictors read the image; their reading is compared with the value asked for (MAE: mean"
            " absolute error, lower is better; accuracy and F1, 0 to 1, higher is better). "
            + " ".join(
                f"The judge of {t} is told the {', '.join(p.given)} asked for: {p.name}."
                for t, p in benchmark.predictors.items()
                if p.given
            ),
            "The line 'the judge on real images' is the judge's own error: a score near it is as good as this judge can"
            " tell.",
        ],
        ["model", *[f"do({do})" for _ in order for do in nodes]],
        [
            *_lines(records, wanted),
            TableLine("the judge on real images", real, "beside"),
            *_published(published.get("effectiveness", {}), range(len(wanted)), len(wanted)),
        ],
        [(_measured(t, benchmark.predictors[t]), len(nodes)) for t in order],
    )


def _judged(benchmark: Benchmark) -> list[str]:
    """The targets of the judges, in the order of the actions."""
    targets = list(benchmark.predictors)
    return sorted(targets, key=lambda t: list(benchmark.nodes).index(t) if t in benchmark.nodes else len(targets))


def _effect(judge: Any) -> str:
    """The score of effectiveness that the papers print: F1 of a yes or no, else accuracy or MAE."""
    return "effectiveness (F1)" if judge.classes == 2 else "effectiveness"


def _measured(target: str, judge: Any) -> str:
    measure: Metric = METRICS["f1" if judge.classes == 2 else "accuracy" if judge.classes else "absolute error"]
    unit = measure.unit_for(judge.variable.unit)
    return f"{target}: {unit if judge.classes else ', '.join(filter(None, ['MAE', unit]))} {measure.arrow}"


def _on_real_images(judge: Any) -> Cell:
    """A judge's own error; a dash if it was never measured."""
    if judge.score is None:
        return Cell(DASH)
    return Cell(shown(judge.score.value, judge.score.metric), "accuracy" if judge.classes == 2 else "")


def _composition_table(records: Mapping[str, Records], published: Mapping[str, Any]) -> ScoreTable:
    parts = [
        ("", METRICS["composition"].unit),
        (" embedding", f"judges' {METRICS['embedding distance'].unit}"),
        (" lpips", METRICS["lpips"].unit),
    ]
    there = [part for part in parts if _metric_of(records, f"composition(1){part[0]}")]
    wanted = [{"metric": f"composition({c}){suffix}"} for suffix, _ in there for c in (1, 10)]
    columns = [i for k, part in enumerate(parts) if part in there for i in (2 * k, 2 * k + 1)]
    text = [
        "Distance to the factual image after 1 and 10 null interventions. Lower is better; read it beside the others."
    ]
    if len(there) < len(parts):
        text.append("LPIPS is left out: the weights of its network are not at hand (see metrics.vgg_perception).")
    return ScoreTable(
        "Composition",
        text,
        ["model", *[_cycles(c) for _ in there for c in (1, 10)]],
        [
            *_lines(records, wanted, truth=False),
            *_published(published.get("composition", {}), columns, len(wanted)),
        ],
        [(name, 2) for _, name in there],
    )


def _reversibility_table(benchmark: Benchmark, records: Mapping[str, Records]) -> ScoreTable:
    wanted = [{"metric": "reversibility", "do": do} for do in benchmark.nodes]
    text = [
        f"Distance to the factual image, in {METRICS['reversibility'].unit}, after acting and then acting back. Lower"
        " is better; doing nothing scores 0. Nodes that no action can reach stayed what they were, bit for bit, in "
        + _share_unchanged(records)
        + " of all rows and questions."
    ]
    return ScoreTable(
        "Reversibility", text, ["model", *[f"do({do})" for do in benchmark.nodes]], _lines(records, wanted)
    )


def _share_unchanged(records: Mapping[str, Records]) -> str:
    shares = [record.value for found in records.values() for record in found.select(metric="unchanged")]
    return f"{100 * sum(shares) / len(shares):.4g} %" if shares else "none"


def _realism_table(records: Mapping[str, Records], published: Mapping[str, Any]) -> ScoreTable:
    metric, sampled = _metric_of(records, "fid"), _metric_of(records, "sample fid")
    found = _some(records, [{"metric": metric}])
    wanted = [{"metric": metric, "do": do} for do in _actions_of(found, metric)]
    wanted += [{"metric": sampled, "do": ""}] if sampled else []
    judge = found.select(metric=metric)[0].judge if metric else ""
    other = " Published distances are in Inception's feature space: another scale, of which only the order compares."
    text = [
        f"Fréchet distance of counterfactual to training images, in the feature space of {judge} (squared units of its"
        " features, 0 for the same distribution). Lower is better. Fewer images raise it: the line 'doing nothing' is"
        " what real test images score." + ("" if judge == "inception" else other)
    ]
    theirs = [
        TableLine(f"{model} (published, Inception)", [Cell(quoted(fid)), *[Cell("")] * (len(wanted) - 1)], "published")
        for model, (fid, _) in published.get("realism", {}).items()
    ]
    named = {"one at random": "action at random", "": "samples"}
    header = ["model", *[named.get(w["do"], f"do({w['do']})") for w in wanted]]
    return ScoreTable("Realism: FID", text, header, [*_lines(records, wanted), *theirs] if wanted else [])


_CLD = {
    "cld": "CLD",
    "cld: closer than images of the new value": "new value: share closer",
    "cld: farther than images of the old value": "old value: share farther",
}


def _minimality_table(records: Mapping[str, Records], published: Mapping[str, Any]) -> ScoreTable:
    first = _some(records, [{"metric": "cld"}])
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
    return ScoreTable("Minimality: CLD", text, header, _lines(records, wanted), groups)


def _actions_of(records: Records, metric: str) -> list[str]:
    found = list(dict.fromkeys(r.do for r in records.select(metric=metric)))
    return sorted(found, key=lambda do: do != "one at random")


def _time_table(records: Mapping[str, Records]) -> ScoreTable:
    steps = list(dict.fromkeys(step for found in records.values() for step in found.seconds))
    lines = [
        TableLine(name, [_took(found.seconds.get(step, 0), sum(found.seconds.values())) for step in steps], "ours")
        for name, found in records.items()
    ]
    text = [
        "'counterfactuals' are the model's own passes for all actions and residuals, 'truth' the drawing of true"
        " counterfactuals; the scores after them use both. Composition, reversibility and samples ask the model again."
    ]
    return ScoreTable("Seconds per score, and its share", text, ["model", *steps], lines)


def _took(seconds: float, total: float) -> Cell:
    return Cell(f"{seconds:.1f}", f"{100 * seconds / total:.0f} %" if total else "")


def _lines(
    records: Mapping[str, Records], wanted: Sequence[Mapping[str, str]], *, truth: bool = True
) -> list[TableLine]:
    """A line per model and residual; below them the truth, the identity and noise."""
    lines = []
    for name, found in records.items():
        for residual in _residuals(found):
            asked = [(question, found.select(residual=residual, **question)) for question in wanted]
            cells = [_cell(hits) if len(hits) else _absent(found, question) for question, hits in asked]
            lines.append(TableLine(f"{name}, {residual_label(residual)}", cells, "ours"))
    for key, name in BESIDES.items():
        if key == "truth" and not truth:
            continue
        cells = [_mean_cell(_some(records, [question]), [question], key) for question in wanted]
        if any(cell.text != DASH for cell in cells):
            lines.append(TableLine(name, cells, "beside"))
    return lines if wanted else []


def _published(table: Mapping[str, Sequence[float]], columns: Sequence[int], width: int) -> list[TableLine]:
    if len(columns) != width:
        return []
    return [
        TableLine(f"{model} (published)", [Cell(quoted(numbers[i])) for i in columns], "published", first=k == 0)
        for k, (model, numbers) in enumerate(table.items())
    ]


def _cell(found: Records) -> Cell:
    record: Record = found[0]
    if record.low is None or record.high is None:
        return Cell(shown(record.value, record.unit))
    text, half = shown(record.value, record.unit), (record.high - record.low) / 2
    decimals = len(text.partition(".")[2])
    return Cell(text, f"±{half:.{decimals}f}" if half >= 0.5 * 10**-decimals else "")
