"""The parts of a Counterfactual that a figure shows: tensors on the CPU, cut to the units shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.plots.protocols import Answer
from causalcf.variables.image import Image

__all__ = ["DrawnWorld", "drawn_worlds", "notes_of", "row_labels"]


@dataclass(frozen=True)
class DrawnWorld:
    """One world as it is drawn.

    Args:
        do: The action in it.
        values: node -> values of the first sample (N, ...).
        samples: Scalar node -> values of all samples (S, N); empty without samples.
        truth: node -> values of the true counterfactual (N, ...), where it is known.
    """

    do: Mapping[str, Any]
    values: Mapping[str, Tensor]
    samples: Mapping[str, Tensor] = field(default_factory=dict)
    truth: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def acted(self) -> set[str]:
        """Nodes acted on, directly or through one of their sites."""
        return {target.split(".")[0] for target in self.do}

    @property
    def spread(self) -> dict[str, Tensor]:
        """Numeric node -> standard deviation over the samples (N,)."""
        return {node: x.std(0, correction=0) for node, x in self.samples.items() if x.is_floating_point()}


def drawn_worlds(
    cf: Answer, nodes: Sequence[str], count: int, truth: Sequence[Mapping[str, Tensor]] = ()
) -> list[DrawnWorld]:
    """The worlds of a result, of which the first `count` units are shown.

    Raises:
        DataError: There is not one truth per world, or one lacks rows.
    """
    worlds = [cf.world(i) for i in range(len(cf.worlds))] if cf.listed else [cf]
    if truth and len(truth) != len(worlds):
        raise DataError(f"There are {len(worlds)} worlds and {len(truth)} truths: give one for each world, in order.")
    drawn = []
    for i, world in enumerate(worlds):
        true = {node: truth[i][node][:count].cpu() for node in nodes if node in truth[i]} if truth else {}
        if any(value.shape[0] < count for value in true.values()):
            raise DataError(f"The truth of world {i} has fewer rows than the {count} units shown.")
        first = world if cf.num_samples is None else world.sample(0)
        values = {node: first[node][:count].detach().cpu() for node in nodes}
        scalars = [node for node in nodes if cf.num_samples is not None and not cf.graph.variables[node].event_shape]
        samples = {node: world[node][:, :count].detach().cpu() for node in scalars}
        drawn.append(DrawnWorld(world.do or {}, values, samples, true))  # type: ignore[arg-type]
    return drawn


def row_labels(cf: Answer, count: int) -> list[str]:
    """The units' row labels as text."""
    return [str(label) for label in np.asarray(cf.index)[:count]]


def notes_of(cf: Answer) -> list[str]:
    """Sentences that a reader of a result must see, one per caveat."""
    notes = []
    if cf.mode == "backtracking":
        notes.append("Backtracked: noise moved until the value came out; its causes moved, too.")
    if not isinstance(cf.residual, int | float):
        notes.append(f"Residual noise fades as parents move ({cf.residual}).")
    elif cf.residual != 1.0:
        notes.append(f"Residual noise scaled by {cf.residual:g}: not abduction.")
    if cf.recompute == "all" and cf.factual is not None:
        notes.append("Every mechanism was recomputed, not only the descendants of what was acted on.")
    if cf.clipped:
        rows = cf.flat_noise.rows * len(cf.worlds)
        clipped = ", ".join(f"{node} in {k} of {rows} rows" for node, k in cf.clipped.items())
        notes.append(f"Clipped to the support: {clipped}.")
    return [*notes, _how(cf)]


def _how(cf: Answer) -> str:
    """The residual, where there is one, and the seed: what it takes to see the same answer again."""
    said = []
    if any(isinstance(variable, Image) for variable in cf.graph.variables.values()):
        said.append(f"residual {cf.residual:g}" if isinstance(cf.residual, int | float) else f"residual {cf.residual}")
        said.append({"mean": "latents at their mean", "sample": "latents drawn"}.get(cf.abduction, "noise drawn"))
    said.append("nothing random" if cf.seed is None else f"seed {cf.seed}")
    text = ", ".join(said)
    return f"{text[0].upper()}{text[1:]}."
