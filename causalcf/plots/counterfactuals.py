"""Counterfactuals as pictures: images if the graph has any, else values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.plots.images import plot_images
from causalcf.plots.protocols import Answer
from causalcf.plots.results import drawn_worlds, notes_of, row_labels
from causalcf.plots.style import styled
from causalcf.plots.values import plot_values
from causalcf.variables.image import Image

__all__ = ["plot_counterfactual"]


@styled
def plot_counterfactual(
    cf: Answer,
    rows: int = 6,
    nodes: Sequence[str] | None = None,
    truth: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]] = (),
) -> Figure:
    """Draw a counterfactual: a row per unit, a group of columns or a colour per world.

    With an image node, each row shows the factual image and for each world the counterfactual image
    and their signed difference in grey levels (for colour images, its mean over channels), all on one
    scale, with the attributes below. Without one, it shows the scalar nodes: where each unit was and
    where each world puts it. Of several samples, images are those of the first, and values say how
    far the samples spread.

    Args:
        cf: The result of a query.
        rows: How many units to show, the first ones.
        nodes: Which nodes to show; by default all. Leave the image out for a figure of values alone.
        truth: The true counterfactual of the same rows, or one for each world, where it is known; its
            images are shown beside the model's.

    Returns:
        A figure outside pyplot's registry: nothing to close, and notebooks show it.

    Raises:
        UnknownNodeError: There is no such node.
        DataError: There is nothing to draw: no rows, or no node that is an image or a scalar; or the
            truth does not fit the worlds.
    """
    asked = set(cf.graph.nodes if nodes is None else map(cf.graph.require, nodes))
    variables = cf.graph.variables
    images = [node for node in cf.graph.nodes if node in asked and isinstance(variables[node], Image)]
    scalars = [node for node in cf.graph.nodes if node in asked and not variables[node].event_shape]
    count = min(rows, cf.rows)
    if count < 1 or not images + scalars:
        raise DataError(
            f"There is nothing to draw: {count} rows of {images + scalars or 'no image or scalar node'}."
            " Ask for one or more of both."
        )
    worlds = drawn_worlds(cf, images + scalars, count, [truth] if isinstance(truth, Mapping) else truth)
    factual = cf.factual
    observed = None if factual is None else {node: factual[node][:count].detach().cpu() for node in images + scalars}
    labels, notes = row_labels(cf, count), notes_of(cf)
    if not images:
        if cf.num_samples is not None:
            notes.append(f"Small dots are {cf.num_samples} samples, large dots their mean.")
        return plot_values(cf.graph, worlds, observed, nodes=scalars, labels=labels, notes=notes)
    if cf.num_samples is not None:
        notes.append(f"Sample 1 of {cf.num_samples}; ± is the standard deviation over the samples.")
    return plot_images(cf.graph, worlds, observed, nodes=images + scalars, labels=labels, notes=notes)
