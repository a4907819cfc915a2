"""Explanations as pictures: the observed images, the counterfactuals, and the way between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.plots.protocols import Explained, Search
from causalcf.plots.style import CUT, GREY, INK, WORLDS, new_figure, styled
from causalcf.variables.image import Image

__all__ = ["how_explained", "plot_explanation"]

PANEL = 0.95
"""Side of an image, in."""


@styled
def plot_explanation(explanation: Explained, rows: int = 6, frames: int = 6) -> Figure:
    """Draw explanations: a row per unit, with the factual, the counterfactual and their signed difference.

    With a stream, frames evenly spaced over the search stand between, and the probability of the target along
    the search follows. Failed rows are named in red, with their reason: they show an attempt.

    Args:
        explanation: Result of an explainer, for images.
        rows: How many units to show, the first ones.
        frames: How many frames of a stream.

    Returns:
        A figure outside pyplot's registry: nothing to close, and notebooks show it.

    Raises:
        DataError: There is nothing to draw, or the explained node is not an image.
    """
    if not isinstance(explanation.scm.variables[explanation.node], Image):
        raise DataError(f"'{explanation.node}' is not an image: use explanation.to_frame().")
    count = min(rows, explanation.rows)
    if count < 1:
        raise DataError(f"There is nothing to draw: {count} rows.")
    columns = _columns(explanation, count, frames)
    curves = explanation.stream is not None
    width = PANEL * len(columns) + (1.9 if curves else 0) + 0.5
    figure = new_figure(width, PANEL * 1.28 * count + 0.5, layout="constrained")
    axes = figure.subplots(
        count, len(columns) + curves, squeeze=False, width_ratios=[1.0] * len(columns) + [1.8] * curves
    )
    names = explanation.columns()
    for i in range(count):
        for j, (title, pixels, signed) in enumerate(columns):
            _show(axes[i, j], pixels[i], signed=signed)
            axes[i, j].set_title(title if i == 0 else "")
        verdict = f"{names['factual'][i]} → {names['target'][i]}"
        axes[i, 0].set_ylabel(verdict, rotation=0, ha="right", va="center", color=INK)
        ended = explanation.reason[i]
        reached = bool(explanation.reached[i])
        label = f"{names['counterfactual'][i]}, p {float(explanation.probability[i]):.2f}"
        axes[i, len(columns) - 2].set_xlabel(
            label if reached else f"{label}\n{ended}", color=INK if reached else CUT, fontsize=7
        )
        if explanation.stream is not None:
            _curve(axes[i, -1], explanation.stream, i, first=i == 0, last=i == count - 1)
    figure.supxlabel(how_explained(explanation), size=6.5, color=GREY, x=0.01, ha="left")
    return figure


def how_explained(explanation: Explained) -> str:
    """The method, the seed, and what became of the residual, in a sentence."""
    left_out = ", residual left out" if f"{explanation.node}.eps" in explanation.do else ""
    return f"{explanation.method}, seed {explanation.seed}{left_out}."


def _columns(explanation: Explained, count: int, frames: int) -> list[tuple[str, Tensor, bool]]:
    """(title, images, whether a signed difference) of each column."""
    factual = explanation.factual[explanation.node][:count].detach().cpu()
    counterfactual = explanation.counterfactual[:count].detach().cpu()
    columns = [("factual", factual, False)]
    if explanation.stream is not None:
        last = explanation.stream.lengths[:count].cpu() - 1
        for k in range(frames):
            at = (last * k / frames).round().long()
            title = "start" if k == 0 else ""
            columns.append((title, explanation.stream.image[:count].cpu()[torch.arange(count), at], False))
    return [*columns, ("counterfactual", counterfactual, False), ("difference", counterfactual - factual, True)]


def _show(axis: Any, pixels: Tensor, *, signed: bool) -> None:
    image = pixels.mean(0).numpy() if signed or len(pixels) != 3 else np.moveaxis(pixels.numpy(), 0, -1)
    axis.imshow(image, cmap="RdBu_r" if signed else "gray", vmin=-1 if signed else 0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _curve(axis: Any, stream: Search, row: int, *, first: bool, last: bool) -> None:
    """The probability of the target along the search, with the epistemic uncertainty where there is an ensemble."""
    length = int(stream.lengths[row])
    axis.plot(stream.probability[row, :length].cpu(), color=WORLDS[0])
    if float(stream.epistemic.abs().max()) > 1e-6:
        axis.plot(stream.epistemic[row, :length].cpu(), color=CUT, linewidth=0.9)
        if first:
            axis.set_title("probability, epistemic (nats)", loc="left")
    elif first:
        axis.set_title("probability of the target", loc="left")
    axis.set_xlabel("step" if last else "", color=GREY)
