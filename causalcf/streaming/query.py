"""A question that is asked of rows block after block: what `bulk` maps over shards, and Ray Data over anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causalcf.core.draws import told_apart
from causalcf.core.errors import DataError
from causalcf.core.seeding import resolve
from causalcf.core.signatures import checked
from causalcf.data import Batch
from causalcf.scm.action import Dos
from causalcf.scm.counterfactual import Counterfactual
from causalcf.scm.lines import keys, lines, worlds_of
from causalcf.scm.model import StructuralCausalModel
from causalcf.scm.residual import Residual
from causalcf.scm.rules import Abduction, OutOfSupport

__all__ = ["BulkQuery"]


@checked
@dataclass(frozen=True)
class BulkQuery:
    """A counterfactual query as a function of a block of rows, which can be sent to other processes.

    What is drawn for a row follows from seed, row label and node: any cut into blocks gives the same draws. The
    arithmetic of a network may round otherwise in blocks of another size.

    Args:
        scm: A fitted model.
        do: Actions, or a list of them for several worlds; values for each row only through `bulk`, which cuts them.
        seed: What the random part is drawn with.
        num_samples: Draws of a random counterfactual.
        abduction: "mean" or "sample" of amortised posteriors.
        residual: Scale of an image's residual noise, or `Fading`.
        out_of_support: "raise" or "clip" generated actions that leave the support.
        as_bytes: Give images as bytes, a quarter of the space: 255 times what they are, rounded.
        label: The column of a mapping that labels its rows.

    Example:
        >>> from causalcf.queries.examples import linear
        >>> query = BulkQuery(linear(), {"x": 1.0})
        >>> answer = query({"row": [7, 8], "x": [0.0, 1.0], "m": [0.0, 1.0], "y": [0.0, 2.0]})
        >>> list(answer), answer["row"].tolist(), answer["x"].tolist()
        (['world', 'sample', 'row', 'x (factual)', 'm (factual)', 'y (factual)', 'x', 'm', 'y'], [7, 8], [1.0, 1.0])
    """

    scm: StructuralCausalModel
    do: Dos
    seed: int = 0
    num_samples: int | None = None
    abduction: Abduction = "mean"
    residual: Residual = 1.0
    out_of_support: OutOfSupport = "raise"
    as_bytes: bool = False
    label: str = "row"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", resolve(self.seed))

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """A line for each world, sample and row, in this order.

        Args:
            rows: Observed rows: a batch with labels, or a mapping of arrays with a column of labels.

        Returns:
            `world`, `sample`, the labels, `NODE (factual)` and `NODE` for scalar nodes, (L,); `NODE` for the others,
            (L, *event_shape).

        Raises:
            DataError: The labels are missing; and whatever `scm.counterfactual` raises.
        """
        if not isinstance(rows, Batch):
            if self.label not in rows:
                raise DataError(
                    f"The rows have no column '{self.label}': what is drawn for a row follows from its label. Add one,"
                    " or name it: BulkQuery(..., label='patient')."
                )
            values = {name: np.asarray(column) for name, column in rows.items() if name != self.label}
            rows = Batch(values, np.asarray(rows[self.label]))  # type: ignore[arg-type]
        nodes = [node for node in self.scm.graph.nodes if node in rows]
        known = Batch({node: rows[node] for node in nodes}, told_apart(rows.index))
        return self.answer(known, self.naming(rows.index, rows.labels), self.do)

    def naming(self, index: Any, labels: Any) -> dict[str, Any]:
        """The columns that name rows, of types that files have: their labels, and parts of these that have names."""
        return {self.label: _plain(np.asarray(index)), **keys(labels)}

    def answer(self, rows: Batch, naming: Mapping[str, Any], do: Dos) -> dict[str, np.ndarray]:
        """The lines of a block.

        Args:
            rows: Observed rows, whose index holds what draws follow from: labels that are told apart among all rows.
            naming: Columns that name them.
            do: The actions on these rows.
        """
        cf = self.scm.counterfactual(
            rows,
            do,
            num_samples=self.num_samples,
            abduction=self.abduction,
            residual=self.residual,
            out_of_support=self.out_of_support,
            seed=self.seed,
        )
        scalars = {node: variable for node, variable in self.scm.variables.items() if not variable.event_shape}
        return lines(cf, naming, scalars) | self._tensors(cf)

    def _tensors(self, cf: Counterfactual) -> dict[str, np.ndarray]:
        """The nodes that are more than a number, in the order of the lines."""
        found = {}
        for node, variable in self.scm.variables.items():
            if variable.event_shape:
                value = torch.cat([_in_lines(world[node], cf.num_samples) for world in worlds_of(cf)])
                if self.as_bytes and variable.kind == "Image":
                    value = value.mul(255).round().to(torch.uint8)
                found[node] = value.detach().cpu().numpy()
        return found


def _in_lines(value: Tensor, num_samples: int | None) -> Tensor:
    return value if num_samples is None else value.flatten(0, 1)


def _plain(labels: np.ndarray) -> np.ndarray:
    """Labels of a type that files have: text for what NumPy holds as objects or as rows."""
    whole = labels.ndim == 1 and labels.dtype != object
    return labels if whole else np.array([str(label) for label in labels.tolist()])
