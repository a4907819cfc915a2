"""The page: tables of ours, the truth, doing nothing, noise and the published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log10
from pathlib import Path
from typing import Any

from causalcf.benchmark_tables.setup import Benchmark
from causalcf.published import PUBLISHED
from causalcf.records import Record, Records

__all__ = ["page"]

TITLES = {"morphomnist": "MorphoMNIST", "celeba": "CelebA"}

TEMPLATES = Path(__file__).parent.parent / "templates"


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


def page(benchmark: Benchmark, rows: Mapping[str, Any], records: Mapping[str, Records]) -> str:
    """The whole page as HTML that needs nothing beside itself.

    Args:
        benchmark: What was compared.
        rows: Model -> its row as it is kept: settings, figures, provenance.
        records: Model -> its scores.
    """
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(["html"]))
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
        findings=findings(benchmark, records),
        tables=[table for table in tables if table.rows],
        figures=[figure for row in rows.values() for figure in row["figures"]],
        provenance=_provenance(benchmark, rows, published),
    )


def findings(benchmark: Benchmark, records: Mapping[str, Records]) -> list[str]:
    """What a reader must not miss: actions that leave no trace, and samples that are no pictures.

    An action counts as ignored where the node's own effectiveness is nearer to that of doing
    nothing than to the judge's on real images; samples fail where their Fréchet distance is, by
    ratio, nearer to that of noise than to that of real test images.
    """
    found = []
    for name, scores in records.items():
        for do in benchmark.nodes:
            own = scores.select(metric="effectiveness", do=do, node=do)
            real = benchmark.predictors[do].score if do in benchmark.predictors else None
            if not len(own) or real is None:
                continue
            record: Record = (max if own[0].better == "higher" else min)(own, key=lambda r: r.value)
            idle = record.identity
            if idle is not None and abs(record.value - idle) < abs(record.value - real.value):
                ours, nothing, most = (_shown(value, real.metric) for value in (record.value, idle, real.value))
                found.append(
                    f"{name} all but ignores do({do}): {real.metric} {ours}, where doing nothing scores {nothing} and"
                    f" real images {most}. Its other scores under do({do}) are those of images that do not show it."
                )
        found += _bad_samples(name, scores)
    return found


def _bad_samples(name: str, scores: Records) -> list[str]:
    samples = [record for record in scores if record.metric.startswith("sample fid")]
    if not samples:
        return []
    best: Record = min(samples, key=lambda record: record.value)
    if best.identity is None or best.noise is None or best.value**2 <= best.identity * best.noise:
        return []
    ours, real, noise = (_number(value) for value in (best.value, best.identity, best.noise))
    return [
        f"Samples of {name} are not like the data: FID {ours}, where real test images score {real} and noise {noise}."
        " Ask it about observed images only."
    ]


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
    real = [_on_real_images(benchmark.predictors[t]) for t in order for _ in nodes]
    return _Table(
        "Effectiveness: does the image show what was asked for?",
        [
            "Anti-causal predictors read the image; their reading is compared with the value asked for (MAE: mean"
            " absolute error, lower is better; accuracy, higher is better). "
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
            _Line("the judge on real images", real, "beside"),
            *_published(published.get("effectiveness", {}), range(9), len(wanted)),
        ],
        [(_measured(t, benchmark.predictors[t]), len(nodes)) for t in order],
    )


def _measured(target: str, judge: Any) -> str:
    return f"{target}: accuracy" if judge.classes else f"{target}: MAE, {judge.variable.unit}"


def _on_real_images(judge: Any) -> _Cell:
    """A judge's own error; empty if it was never measured."""
    return _Cell("" if judge.score is None else _shown(judge.score.value, judge.score.metric))


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
    wanted += [{"metric": f"sample {metric}", "do": ""}] if first.select(metric=f"sample {metric}") else []
    text = [
        "Fréchet distance of counterfactual to training images, in the feature space of our digit classifier"
        f" ({first.select(metric=metric)[0].judge if metric else ''}). Published distances are in Inception's feature"
        " space: another scale, of which only the order can be compared. Lower is better. Fewer images raise it: the"
        " line 'doing nothing' is what real test images score."
    ]
    quoted = [
        _Line(f"{model} (published, Inception)", [_Cell(_quoted(fid)), *[_Cell("")] * (len(wanted) - 1)], "published")
        for model, (fid, _) in published.get("realism", {}).items()
    ]
    named = {"one at random": "action at random", "": "samples"}
    header = ["model", *[named.get(w["do"], f"do({w['do']})") for w in wanted]]
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
        _Line(name, [_took(found.seconds.get(step, 0), sum(found.seconds.values())) for step in steps], "ours")
        for name, found in records.items()
    ]
    text = [
        "'counterfactuals' are the model's own passes for all actions and residuals, 'truth' the drawing of true"
        " counterfactuals; the scores after them use both. Composition, reversibility and samples ask the model again."
    ]
    return _Table("Seconds per score, and its share", text, ["model", *steps], lines)


def _took(seconds: float, total: float) -> _Cell:
    return _Cell(f"{seconds:.1f}", f"{100 * seconds / total:.0f} %" if total else "")


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
        cells = [_beside(first.select(**question), key) for question in wanted]
        if any(cell.text for cell in cells):
            lines.append(_Line(name, cells, "beside"))
    return lines if wanted else []


def _published(table: Mapping[str, Sequence[float]], columns: Sequence[int], width: int) -> list[_Line]:
    if len(columns) != width:
        return []
    return [
        _Line(f"{model} (published)", [_Cell(_quoted(numbers[i])) for i in columns], "published", first=k == 0)
        for k, (model, numbers) in enumerate(table.items())
    ]


def _beside(found: Records, key: str) -> _Cell:
    value = getattr(found[0], key) if len(found) else None
    return _Cell("" if value is None else _shown(value, found[0].unit))


def _cell(found: Records) -> _Cell:
    if not len(found):
        return _Cell("")
    record: Record = found[0]
    if record.low is None or record.high is None:
        return _Cell(_shown(record.value, record.unit))
    text, half = _shown(record.value, record.unit), (record.high - record.low) / 2
    decimals = len(text.partition(".")[2])
    return _Cell(text, f"±{half:.{decimals}f}" if half >= 0.5 * 10**-decimals else "")


def _shown(value: float, unit: str) -> str:
    """A score: shares of rows with three decimals, all else with three digits."""
    return f"{value:.3f}" if unit in ("accuracy", "F1", "share") else _number(value)


def _number(value: float) -> str:
    """Three significant digits, no exponent, nothing below a ten-thousandth."""
    if abs(value) < 5e-5:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{max(0, 2 - _order(value))}f}"


def _quoted(value: float) -> str:
    """A published number, with no more digits than were published."""
    return f"{value:.3f}" if abs(value) < 0.1 else _number(value)


def _order(value: float) -> int:
    return max(-2, floor(log10(abs(value))))
