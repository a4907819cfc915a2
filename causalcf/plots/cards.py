"""Models, answers and findings as HTML in a notebook: small tables, small pictures, and what a reader must know."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from markupsafe import Markup
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from causalcf.core.html import ROWS, card, figure, picture, pictures, quiet, strong, table, warned
from causalcf.core.pictures import difference_url, image_url
from causalcf.plots.explanations import how_explained
from causalcf.plots.graphs import draw_graph
from causalcf.plots.protocols import Answer, Explained, Finding, Graph, Scored
from causalcf.plots.results import DrawnWorld, drawn_worlds, notes_of, row_labels
from causalcf.plots.style import styled
from causalcf.plots.words import describe_actions, score, show, three_digits
from causalcf.variables import Variable
from causalcf.variables.image import Image

__all__ = ["answer_html", "check_html", "explanation_html", "graph_html", "model_html", "records_html"]

COLUMNS, WORLDS_SHOWN, SCORES_SHOWN, NODES_SHOWN = 12, 4, 40, 60
WIDEST = 640
"""Width of a graph's picture at most, px."""


class Described(Graph, Protocol):
    """A graph that says in a table what its nodes are."""

    @property
    def title(self) -> str: ...
    def describe(self) -> Any:
        """`lines` has (node, variable, values, causes, why) of each node."""
        ...


@styled
def _inline(drawn: Figure | SubFigure, alt: str) -> Markup:
    """A figure inside the page, sharp on screens of two pixels a pixel."""
    whole = drawn.get_figure(root=True)
    buffer = io.BytesIO()
    whole.savefig(buffer, format="png", dpi=192 if whole.get_figwidth() < 12 else 96)
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return figure(url, alt, width=min(WIDEST, 96 * whole.get_figwidth()))


def graph_html(graph: Described) -> str:
    """A graph: its picture, and a line a node."""
    lines = graph.describe().lines
    rows = [(strong(node), kind, values, causes, quiet(why)) for node, kind, values, causes, why in lines]
    size = f"{len(graph.nodes)} nodes, {len(graph.edges)} arrows"
    return card(
        f"{graph.title}: {size}" if graph.title else f"CausalGraph: {size}",
        _graph_picture(graph),
        table(("node", "variable", "values", "causes", "why"), rows[:NODES_SHOWN], wide=(2, 3, 4)),
        notes=_more(len(rows) - NODES_SHOWN, "nodes"),
    )


def _graph_picture(graph: Graph) -> Any:
    if not 0 < len(graph.nodes) <= NODES_SHOWN:
        return ""
    arrows = ", ".join(f"{cause} → {effect}" for cause, effect in graph.edges)
    return _inline(draw_graph(graph).figure, f"causal graph: {arrows or 'no arrows'}")


def _more(count: int, what: str) -> list[str]:
    return [f"{count:,} more {what}."] if count > 0 else []


def model_html(graph: Graph, mechanisms: Mapping[str, tuple[str, str]], made: Mapping[str, Any]) -> str:
    """A model: its graph, the mechanism of each node, and how it was fitted.

    Args:
        graph: The graph.
        mechanisms: node -> what its mechanism is, and how it stands with it, in words.
        made: The provenance; empty before the fit.
    """
    kinds = {node: graph.variables[node].kind if node in graph.variables else "?" for node in graph.nodes}
    rows = [(strong(node), kinds[node], *mechanisms[node], ", ".join(graph.parents(node))) for node in graph.nodes]
    fitted = "Not fitted yet: scm.fit(data)."
    if made:
        said = [f"{made['rows']:,} rows"] if "rows" in made else []
        said += [f"{name} {made[name]}" for name in ("seed", "device", "seconds", "date") if name in made]
        fitted = f"Fitted: {', '.join(said)}."
    return card(
        f"SCM: {len(graph.nodes)} nodes",
        _graph_picture(graph),
        table(("node", "variable", "mechanism", "noise", "causes"), rows[:NODES_SHOWN], wide=(3, 4)),
        notes=[*_more(len(rows) - NODES_SHOWN, "nodes"), fitted],
    )


def answer_html(cf: Answer) -> str:
    """A counterfactual: for the first units and worlds, what was and what would have been."""
    variables = cf.graph.variables
    able = [n for n in cf.graph.nodes if isinstance(variables[n], Image) or not variables[n].event_shape]
    worlds_in_all = len(cf.worlds) if cf.listed else 1
    count = min(cf.rows, max(1, ROWS // min(worlds_in_all, WORLDS_SHOWN)))
    worlds = drawn_worlds(cf, able, count)[:WORLDS_SHOWN]
    before = cf.factual
    nodes = _changed_first(able, worlds, before, count)[:COLUMNS]
    labels = row_labels(cf, count)
    lines = []
    for i, label in enumerate(labels):
        for k, world in enumerate(worlds):
            cells = [_value(node, variables[node], before, world, i) for node in nodes]
            lead = [quiet("" if k else label)]
            lead += [describe_actions(world.do, cf.graph)] if cf.listed else []
            lines.append([*lead, *cells])
    unit = {node: variables[node].unit for node in nodes}
    heading = [f"{node} ({unit[node]})" if unit[node] else node for node in nodes]
    title = f"{worlds_in_all} worlds" if cf.listed else describe_actions(worlds[0].do, cf.graph)
    notes = _more(cf.rows - count, "units") + _more(worlds_in_all - len(worlds), "worlds")
    notes += _more(len(able) - len(nodes), "nodes")
    if cf.num_samples is not None:
        notes.append(f"Sample 1 of {cf.num_samples}; ± is the standard deviation over the samples.")
    if any(variables[node].event_shape for node in nodes) and before is not None:
        notes.append("Pictures: factual, counterfactual, difference (red: brighter, blue: darker).")
    return card(
        f"Counterfactual: {title}; {cf.rows:,} unit{'' if cf.rows == 1 else 's'}",
        table(["unit", *(["world"] if cf.listed else []), *heading], lines),
        notes=[*notes, *notes_of(cf)],
    )


def _changed_first(
    nodes: Sequence[str], worlds: Sequence[DrawnWorld], before: Mapping[str, Tensor] | None, count: int
) -> list[str]:
    """What was acted on, then what changed, then the rest."""
    acted = {node for world in worlds for node in world.acted}

    def rank(node: str) -> tuple[bool, bool]:
        changed = before is None or any(
            not world.values[node].equal(before[node][:count].detach().cpu()) for world in worlds
        )
        return node not in acted, not changed

    return sorted(nodes, key=rank)


def _value(node: str, variable: Variable, before: Mapping[str, Tensor] | None, world: DrawnWorld, i: int) -> Any:
    """A cell: old → new; quiet where nothing changed, pictures for an image."""
    new = world.values[node][i]
    old = None if before is None else before[node][i].detach().cpu()
    if variable.event_shape:
        after = picture(image_url(new), f"{node}, counterfactual")
        if old is None:
            return after
        change = picture(difference_url(new - old), f"{node}, difference")
        return pictures(picture(image_url(old), f"{node}, factual"), after, change)
    text = show(variable, new)
    if node in world.spread and float(world.spread[node][i]) > 0:
        text = f"{text} ± {three_digits(float(world.spread[node][i]))}"
    if old is None:
        return text
    said = show(variable, old)
    return quiet(said) if said == text else strong(f"{said} → {text}") if node in world.acted else f"{said} → {text}"


def check_html(findings: Sequence[Finding], extrapolates: Tensor) -> str:
    """A scorecard: the verdict, and what was compared."""
    rows, total = len(extrapolates), int(extrapolates.sum())
    lines = []
    for finding in findings:
        low, middle, high = (float(v) for v in (finding.found.min(), finding.found.median(), finding.found.max()))
        unusual = int(finding.unusual.sum())
        here = f"{middle:.3g} ({low:.3g} .. {high:.3g})" if low != high else f"{middle:.3g}"
        counted = warned(f"{unusual} of {rows}") if unusual else quiet(f"0 of {rows}")
        lines.append((strong(finding.name), finding.what, finding.typical, here, counted))
    few = "row extrapolates" if total == 1 else "rows extrapolate"
    verdict = warned(f"{total} of {rows} {few}") if total else "no row extrapolates"
    head = ("", "compared", "typical", "here: median (extremes)", "unusual rows")
    return card(
        Markup("Check: {}").format(verdict),
        table(head, lines[:SCORES_SHOWN], wide=(1, 2)),
        notes=_more(len(lines) - SCORES_SHOWN, "comparisons"),
    )


def records_html(records: Sequence[Scored], missing: Mapping[str, str], arrows: Mapping[str, str]) -> str:
    """Scores, each beside those of the truth, of doing nothing and of noise.

    Args:
        records: The scores.
        missing: Metric -> why it was not computed.
        arrows: Which way is better -> how to print it.
    """
    lines = []
    for r in records[:SCORES_SHOWN]:
        interval = "" if r.low is None or r.high is None else f"{score(r.low)} .. {score(r.high)}"
        besides = [quiet("" if v is None else score(v)) for v in (r.truth, r.identity, r.noise)]
        asked = f"do({r.do})" if r.do else ""
        residual = "" if r.residual is None else str(r.residual)
        unit = f"{r.unit} {arrows[r.better]}".strip()
        lines.append((r.metric, asked, r.node, residual, strong(score(r.value)), interval, *besides, unit))
    head = ("metric", "do", "node", "residual", "score", "95 %", "truth", "doing nothing", "noise", "unit")
    notes = _more(len(records) - SCORES_SHOWN, "scores")
    if records:
        notes.append(f"n = {records[0].n:,}, seed {records[0].seed}; ↓ lower is better, ↑ higher is better.")
    notes += [f"{name} is left out: {why.rstrip('.')}." for name, why in missing.items()]
    return card(f"Records: {len(records)} scores", table(head, lines), notes=notes)


def explanation_html(explanation: Explained) -> str:
    """An explanation: the first rows as they were, as they would have to be, and how the search ended."""
    count, named = min(explanation.rows, ROWS), explanation.columns()
    before, after = explanation.factual[explanation.node], explanation.counterfactual
    drawn = isinstance(explanation.scm.variables[explanation.node], Image)
    lines = []
    for i, label in enumerate(explanation.labels[:count]):
        reached = bool(explanation.reached[i])
        shown = [picture(image_url(before[i]), "factual"), picture(image_url(after[i]), "counterfactual")]
        shown.append(picture(difference_url((after[i] - before[i]).detach()), "difference"))
        said = named["counterfactual"][i]
        lines.append(
            [
                quiet(label),
                *([pictures(*shown)] if drawn else []),
                f"{_brief(named['factual'][i])} → {_brief(named['target'][i])}",
                _brief(said) if reached else warned(_brief(said)),
                f"{float(explanation.probability[i]):.2f}",
                quiet(named["reason"][i]) if reached else warned(named["reason"][i]),
                int(named["steps"][i]),
            ]
        )
    pictured = ["factual, counterfactual, difference"] if drawn else []
    head = ["unit", *pictured, "asked", "now called", "probability", "ended", "steps"]
    done = int(explanation.reached.sum())
    return card(
        f"Explanation by {explanation.method}: {done} of {explanation.rows} reached",
        table(head, lines),
        notes=[*_more(explanation.rows - count, "units"), how_explained(explanation)],
    )


def _brief(value: Any) -> str:
    return three_digits(value) if isinstance(value, float) else str(value)
