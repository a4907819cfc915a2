"""The page, and the same as Markdown: tables, findings, missing results, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalcf.benchmark.cells import ScoreTable, number, shown
from causalcf.benchmark.published import PUBLISHED
from causalcf.benchmark.setup import Benchmark
from causalcf.benchmark.tables import tables
from causalcf.catalogue import DATASETS
from causalcf.evaluation.records import Record, Records

__all__ = ["markdown", "page"]

TEMPLATES = Path(__file__).parent


def title_of(name: str) -> str:
    """A data set's name in reports; a data set that is not in the catalogue keeps its own."""
    return DATASETS[name].title if name in DATASETS else name


def page(benchmark: Benchmark, rows: Mapping[str, Any], records: Mapping[str, Records]) -> str:
    """The whole page as HTML that needs nothing beside itself.

    Args:
        benchmark: The models, data and judges compared.
        rows: Model -> its row as it is kept: settings, figures, provenance.
        records: Model -> its scores.
    """
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(["html"]))
    published = PUBLISHED.get(benchmark.name, {})
    any_row = next(iter(rows.values()))
    n = next(iter(records.values()))[0].n
    acted = benchmark.nodes[0]
    introduction = [
        f"Counterfactual images by {len(rows)} model{'s' if len(rows) > 1 else ''}, on {n:,} test rows of"
        f" {title_of(benchmark.name)}: what would each picture have been, had one of its causes been"
        f" another? do({acted}) sets {acted} and lets all that follows from it follow. One node is acted on at a"
        " time; each row's value is drawn from the test marginal, in another of ten bins (or another category).",
        "How to read the tables. Blue lines are ours, with a 95 % bootstrap interval. The lines below them score, in"
        " the same way, the true counterfactual images (no model can do better than that but by chance), the factual"
        " images left as they are, and uniform noise. Grey lines are published numbers, made with other judges and"
        " code: they show the scale, and are not comparable in their last digits.",
        "The residual is what a model's latents could not explain of an image. With residual 1 it is carried over"
        " whole, as abduction asks; then composition is perfect for any model, trained or not. With residual 0 it is"
        " dropped. Fading, it is let go of as the parents named move by the lengths given. Models without a residual"
        " have one line.",
        "Arrows say which way is better. A dash: not known, or not defined for this model; why is said at the end.",
    ]
    return environment.get_template("benchmark.html").render(
        title=f"Counterfactual images on {title_of(benchmark.name)}",
        made=f"causalcf {any_row['provenance']['versions']['causalcf']}, {any_row['provenance']['date']}",
        introduction=introduction,
        findings=findings(benchmark, records),
        tables=[table for table in tables(benchmark, rows, records, published) if table.rows],
        figures=[figure for row in rows.values() for figure in row["figures"]],
        missing=_missing(records),
        provenance=_provenance(benchmark, rows, published),
    )


def markdown(benchmark: Benchmark, rows: Mapping[str, Any], records: Mapping[str, Records]) -> str:
    """The page's tables as Markdown, the summary first, with the findings, missing results, and how they were made.

    Args:
        benchmark: The models, data and judges compared.
        rows: Model -> its row as it is kept.
        records: Model -> its scores.
    """
    published = PUBLISHED.get(benchmark.name, {})
    lines = [f"- {text}" for text in findings(benchmark, records)]
    for table in tables(benchmark, rows, records, published):
        if table.rows:
            lines += ["", f"### {table.title}", "", *(f"{text}\n" for text in table.text), *_markdown_table(table)]
    made = [*_missing(records), *_provenance(benchmark, rows, published)]
    return "\n".join([*lines, "", *(f"- {text}" for text in made)]).strip() + "\n"


def _markdown_table(table: ScoreTable) -> list[str]:
    """A table as Markdown, its groups of columns named in each heading."""
    groups = [name for name, span in table.groups for _ in range(span)] or [""] * (len(table.header) - 1)
    named = zip(groups, table.header[1:], strict=True)
    headings = [table.header[0], *(f"{group}: {name}" if group and name else group or name for group, name in named)]
    rows = [[line.name, *(f"{cell.text} {cell.interval}".strip() for cell in line.cells)] for line in table.rows]
    cells = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in cells]


def _missing(records: Mapping[str, Records]) -> list[str]:
    """Why scores are not there."""
    return [
        f"{score} of {name} is not there: {why.rstrip('.')}."
        for name, found in records.items()
        for score, why in found.missing.items()
    ]


def findings(benchmark: Benchmark, records: Mapping[str, Records]) -> list[str]:
    """Warnings that a reader must not miss: actions without effect on the image, and samples as far from data as noise.

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
                ours, nothing, most = (shown(value, real.metric) for value in (record.value, idle, real.value))
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
    ours, real, noise = (number(value) for value in (best.value, best.identity, best.noise))
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
    lines += [f"Judge {judge.signature}: {judge.score}." for judge in benchmark.predictors.values()]
    if published:
        lines.append(f"Published numbers: {published['reference']}.")
    return lines
