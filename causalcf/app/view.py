"""The JSON of a session that the page draws."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import floor, log10
from typing import Any

from torch import Tensor

from causalcf.app.session import Answer, Drawn, Session
from causalcf.core import seeding
from causalcf.core.pictures import difference_url, doubt_url, image_url
from causalcf.plots.layout import Extent, layered
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.count import Count
from causalcf.variables.image import Image

__all__ = ["answer_json", "drawn_json", "facts_json", "noise_json"]

MOST_SLIDERS = 64
"""Sites with more components than this are shown and not edited."""

MOST_PRIOR = 100_000
"""Numbers of the prior whose quantiles a slider spans."""

MOST_DRAWS = 12
"""Draws of a counterfactual whose pictures are shown."""


def facts_json(session: Session) -> dict[str, Any]:
    """The facts that stay the same while the page is open: model, nodes with their ranges, the drawn graph."""
    graph = session.scm.graph
    return {
        "model": session.source.model,
        "data": session.source.data,
        "rows": session.rows,
        "title": graph.title,
        "nodes": [_node(session, node) for node in graph.nodes],
        "graph": _drawing(session),
    }


def _node(session: Session, node: str) -> dict[str, Any]:
    variable = session.scm.variables[node]
    facts: dict[str, Any] = {"name": node, "kind": variable.kind, "unit": variable.unit, "input": "none"}
    if isinstance(variable, Categorical):
        return facts | {"input": "choice", "choices": list(variable.categories)}
    if isinstance(variable, Boolean):
        return facts | {"input": "choice", "choices": ["false", "true"]}
    if variable.event_shape:
        return facts
    low, high = _range(session, node)
    step = 1.0 if isinstance(variable, Count) else 10.0 ** floor(log10(max(high - low, 1e-9) / 100))
    return facts | {"input": "number", "low": low, "high": high, "step": step, "support": variable.support}


def _range(session: Session, node: str) -> tuple[float, float]:
    """Smallest and largest value that a model has seen, else those of the data."""
    seen = session.scm.seen.get(node, {}).get("quantiles")
    if seen is not None:
        return float(seen[0][0]), float(seen[0][-1])
    low, high = session.rows_of(node).aminmax()
    return float(low), float(high)


def _drawing(session: Session) -> dict[str, Any]:
    """Where nodes and edges are drawn, in pixels, y downwards."""
    graph = session.scm.graph
    half = {node: 4.2 * len(node) + 16 for node in graph.nodes}
    layout = layered(
        graph.networkx, {node: Extent(half[node], half[node], 34) for node in graph.nodes}, gap=22, layer_gap=40
    )
    left = min(x - half[node] for node, (x, _) in layout.nodes.items()) - 4
    right = max(x + half[node] for node, (x, _) in layout.nodes.items()) + 4
    top = max(y for _, y in layout.nodes.values()) + 22
    bottom = min(y for _, y in layout.nodes.values()) - 22
    return {
        "width": right - left,
        "height": top - bottom,
        "nodes": {n: {"x": x - left, "y": top - y, "half": half[n]} for n, (x, y) in layout.nodes.items()},
        "edges": [
            {"from": a, "to": b, "via": [[x - left, top - y] for x, y in layout.waypoints[a, b]]}
            for a, b in graph.edges
        ],
        "arcs": [list(pair) for pair in graph.confounded],
    }


# ---------------------------------------------------------------------- the third rung


def answer_json(session: Session) -> dict[str, Any]:
    """The answer to a session's question, with its pictures and times."""
    started = time.perf_counter()
    answer = session.answer()
    graph, worlds = session.scm.graph, session.state.worlds
    shown = {
        "query": session.state.to_query(),
        "unit": session.state.unit,
        "acted": [list(world) for world in worlds],
        "touched": [list(graph.descendants(world)) for world in worlds],
        "cut": [[list(edge) for edge in graph.edges if edge[1] in world] for world in worlds],
        "values": [_values(session, answer, node) for node in graph.nodes if not graph.variables[node].event_shape],
        "images": [_images(session, answer, node) for node in graph.nodes if isinstance(graph.variables[node], Image)],
        "no_truth": list(answer.no_truth),
        "call": session.call(),
        "seed": answer.cf.seed,
    }
    return shown | {"ms": {**answer.ms, "all": 1e3 * (time.perf_counter() - started)}}


def _values(session: Session, answer: Answer, node: str) -> dict[str, Any]:
    variable = session.scm.variables[node]
    worlds = []
    for i in range(len(session.state.worlds)):
        drawn = answer.world(i)[node].reshape(-1)  # one number a sample
        truth = answer.truth[i]
        moved = "" if variable.discrete else float(drawn[0]) - float(answer.factual[node][0])
        worlds.append(
            {
                "value": _plain(variable, drawn[0]),
                "truth": None if truth is None else _plain(variable, truth[node][0]),
                "moved": moved,
                "spread": _spread(variable, drawn) if session.state.samples else None,
            }
        )
    return {"node": node, "factual": _plain(variable, answer.factual[node][0]), "worlds": worlds}


def _plain(variable: Variable, value: Tensor) -> float | str:
    """A number, or the name of a category."""
    if isinstance(variable, Categorical):
        return variable.categories[int(value)]
    return str(bool(value)).lower() if isinstance(variable, Boolean) else float(value)


def _spread(variable: Variable, drawn: Tensor) -> str:
    """The smallest and largest draw, or how often each category came."""
    if not variable.discrete:
        low, high = drawn.aminmax()
        return f"{float(low):.4g} to {float(high):.4g}" if float(low) != float(high) else "the same in every draw"
    names = [str(_plain(variable, value)) for value in drawn]
    return ", ".join(f"{name}: {names.count(name)} of {len(names)}" for name in dict.fromkeys(names))


def _images(session: Session, answer: Answer, node: str) -> dict[str, Any]:
    factual, worlds = answer.factual[node][0], []
    for i in range(len(session.state.worlds)):
        draws = answer.world(i)[node].reshape(-1, *factual.shape)
        truth = answer.truth[i]
        true = None if truth is None else truth[node][0].to(factual)
        worlds.append(
            {
                "counterfactual": image_url(draws[0]),
                "difference": difference_url(draws[0] - factual),
                "truth": None if true is None else image_url(true),
                "error": None if true is None else float((draws[0] - true).abs().mean()),
                "draws": [image_url(draw) for draw in draws[:MOST_DRAWS]] if session.state.samples else [],
                "doubt": doubt_url(draws) if session.state.samples else None,
            }
        )
    return {"node": node, "factual": image_url(factual), "worlds": worlds}


# ---------------------------------------------------------------------- noise and the first two rungs


def noise_json(session: Session) -> dict[str, Any]:
    """Every site's abducted values, their edits, and the range of the prior."""
    noise, sites = session.noise(), []
    for node, mechanism in session.scm.mechanisms.items():
        with seeding.seeded(0):
            prior = mechanism.sample_noise(256)
        for suffix in mechanism.sites:
            name = f"{node}.{suffix}"
            values, drawn = noise[name][0], prior[suffix].double().flatten()[:MOST_PRIOR]
            low, high = drawn.quantile(drawn.new_tensor([0.001, 0.999])).tolist()
            sites.append(
                {
                    "name": name,
                    "shape": list(values.shape),
                    "low": min(low, float(values.min())),
                    "high": max(high, float(values.max())),
                    "values": values.reshape(-1).tolist() if values.numel() <= MOST_SLIDERS else [],
                    "picture": difference_url(values / 4) if values.ndim == 3 and values.shape[-1] > 8 else None,
                    "edited": [component for site, component in session.state.noise if site == name],
                }
            )
    return {"sites": sites}


def drawn_json(session: Session, drawn: Drawn) -> dict[str, Any]:
    """Units or draws of the first two rungs: their values, and their pictures if there are images."""
    variables: Mapping[str, Variable] = session.scm.variables
    scalars = [node for node, variable in variables.items() if not variable.event_shape]
    images = [node for node, variable in variables.items() if isinstance(variable, Image)]
    units = [
        {
            "values": {node: _plain(variables[node], drawn.rows[node][i]) for node in scalars},
            "images": {node: image_url(drawn.rows[node][i]) for node in images},
        }
        for i in range(drawn.rows.rows)
    ]
    return {"units": units, "call": drawn.call, "ms": drawn.ms}
