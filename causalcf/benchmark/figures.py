"""Pictures of the page: a grid per intervention, and the ten cycles of composition."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from torch import Tensor

from causalcf.benchmark.setup import Benchmark
from causalcf.core.errors import InterventionError
from causalcf.data import Batch
from causalcf.evaluation.evaluate import select_rows
from causalcf.evaluation.inquiry import other_values, residuals_of
from causalcf.scm.model import StructuralCausalModel
from causalcf.scm.residual import residual_label
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["figures"]

SHOWN = 6
"""Rows in a figure."""


def figures(benchmark: Benchmark, name: str, scm: StructuralCausalModel, seed: int) -> list[dict[str, str]]:
    """A grid per intervention and the ten cycles of composition, as PNG in base64."""
    x = select_rows(benchmark.test, SHOWN, seed)
    made = []
    for node in benchmark.nodes:
        variable = scm.variables[node]
        values = other_values(variable, x[node], benchmark.test[node], seed)
        columns = {"factual": x["image"]}
        for residual in residuals_of(scm, benchmark.residuals):
            answer = scm.counterfactual(x, {node: values}, residual=residual, seed=seed)["image"].cpu()
            columns[f"ours, {residual_label(residual)}"] = answer
        true = _true_images(benchmark.test, x, node, values)
        note = f"The data do not tell the true counterfactual of do({node})."
        if true is not None:
            note = "In differences red is too bright, blue too dark."
            columns["truth"] = true
            columns["ours - truth"] = columns[f"ours, {residual_label(benchmark.residuals[0])}"] - columns["truth"]
        shown = [_value(variable, value) for value in values]
        made.append(
            {
                "title": f"{name}: do({node})",
                "data": _grid(columns, [f"{node} := {value} {variable.unit}".strip() for value in shown]),
                "caption": f"Test rows drawn by seed {seed}, none chosen. {note}",
            }
        )
    made.append(_cycles_figure(name, scm, x))
    return made


def _value(variable: Variable, value: Tensor) -> str:
    """A value as the reader knows it."""
    if isinstance(variable, Categorical):
        return variable.categories[int(value)]
    return str(bool(value)).lower() if isinstance(variable, Boolean) else f"{float(value):.3g}"


def _true_images(data: Any, x: Batch, node: str, values: Tensor) -> Tensor | None:
    """The true counterfactual images; None where the data do not know them."""
    if not hasattr(data, "truth"):
        return None
    try:
        return data.truth(x, {node: values})["image"]
    except InterventionError:
        return None


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
