"""Rows as a small table for notebooks, images as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from causalcf.core.html import ROWS, card, picture, quiet, table
from causalcf.core.pictures import image_url
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical

__all__ = ["rows_html"]

COLUMNS = 16
"""How many columns a table shows."""


def rows_html(name: str, head: Mapping[str, Tensor], labels: Any, rows: int, variables: Mapping[str, Variable]) -> str:
    """The first rows of a batch as HTML.

    Args:
        name: What the object is called.
        head: The first rows, node -> tensor.
        labels: Their labels.
        rows: How many rows there are in all.
        variables: Names of categories and units, of the nodes for which they are known.
    """
    shown = list(head)[:COLUMNS]
    units = {node: variables[node].unit if node in variables else "" for node in shown}
    heading = ["", *(f"{node} ({units[node]})" if units[node] else node for node in shown)]
    count = len(labels[:ROWS])
    lines = [
        [quiet(labels[i]), *(_cell(node, head[node][i], variables.get(node)) for node in shown)] for i in range(count)
    ]
    notes = [f"{rows - count:,} more rows."] if rows > count else []
    notes += [f"More columns: {', '.join(list(head)[COLUMNS:])}."] if len(head) > COLUMNS else []
    return card(f"{name}: {rows:,} rows, {len(head)} nodes", table(heading, lines), notes=notes)


def _cell(node: str, value: Tensor, variable: Variable | None) -> Any:
    if value.ndim == 3 and value.shape[0] in (1, 3):
        return picture(image_url(value), node)
    if value.ndim:
        return quiet(f"{' × '.join(map(str, value.shape))} numbers")
    if isinstance(variable, Categorical):
        return variable.categories[int(value)]
    return f"{float(value):.4g}" if value.is_floating_point() else str(value.item())
