"""The look all figures share, and how they are made and saved without touching matplotlib's global state."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from causalcf.core.errors import CausalCFError

__all__ = ["new_figure", "save_figure", "styled", "text_width"]

INK, GREY, PALE, FAINT, PAPER = "#1f2937", "#6b7280", "#a3abb8", "#c3c9d3", "#f3f5f9"
ACTED, ACTED_FILL, CUT = "#b45309", "#fcd9a4", "#c0392b"
WORLDS = ("#2563a8", "#2a8c6a", "#8a4f9e", "#c2557a", "#5b6472", "#8c6d1f")
"""Colours of the worlds of one figure, in turn."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.3,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(fn: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under `STYLE`, the caller's settings put back afterwards."""

    @functools.wraps(fn)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return fn(*args, **kwargs)

    return styled


class NotebookFigure(Figure):
    """A figure outside pyplot's registry that a notebook still shows."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty figure of a size in inches."""
    figure = NotebookFigure(figsize=(width, height), dpi=150, **options)
    FigureCanvasAgg(figure)
    return figure


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a line of text in inches."""
    if not text.strip():
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    path = TextPath((0, 0), text, size=size, prop=font)
    # Outlines of letters reach as far as their points: asking each curve for its extent takes four times as long.
    return float(np.ptp(path.vertices[path.codes != path.CLOSEPOLY, 0])) / 72


@styled
def save_figure(fig: Figure | SubFigure, path: str | Path, provenance: Mapping[str, Any], *, dpi: float = 200) -> None:
    """Write a figure with its provenance in the file, and close it.

    A PNG holds it as the text field `provenance`, an SVG as its Dublin Core description: JSON in both.

    Args:
        fig: The figure, or a part of it.
        path: Ends in .png or .svg; its folder is made if it does not exist.
        provenance: Result of `causalcf.core.provenance.provenance`.
        dpi: Pixels per inch of a PNG.

    Raises:
        CausalCFError: The path ends in something else.
    """
    facts = json.dumps(dict(provenance), default=str)
    metadata = {".png": {"provenance": facts}, ".svg": {"Description": facts, "Date": None}}
    suffix = Path(path).suffix.lower()
    if suffix not in metadata:
        raise CausalCFError(f"Cannot save a figure as '{path}': choose a name that ends in .png or .svg.")
    fig = fig.get_figure(root=True)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=dpi, metadata=metadata[suffix])
    if "matplotlib.pyplot" in sys.modules:  # a figure from elsewhere may be in its registry
        sys.modules["matplotlib.pyplot"].close(fig)
