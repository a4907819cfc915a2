"""Which parents an image obeys: how much of what a parent does on average the model's own actions show."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causalcf import training
from causalcf.core import seeding
from causalcf.data import Batch
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.mechanisms.average import least_squares
from causalcf.mechanisms.parents import ParentEncoder
from causalcf.variables.image import Image

__all__ = ["ignored", "obedience"]

ROWS, FITTED, BATCH = 200, 4000, 50
"""Rows that are acted on, rows that the average effect is taken from, and rows a call."""

SURE = 4.0
"""Standard errors from 0 that the effect on some pixel must have, in both halves of the rows, to ask for it."""

ENOUGH = 0.5
"""The least share of the average effect that an image which obeys shows."""


@torch.no_grad()
def obedience(
    graph: CausalGraph, mechanisms: Mapping[str, Mechanism], data: Batch, *, seed: int = 0
) -> dict[str, dict[str, float]]:
    r"""Image -> parent -> the share of the parent's average effect that acting on it shows; 1 is all of it.

    The average effect :math:`B` of the parents on the pixels is taken from the data by least squares, twice, from
    halves of the rows. Some rows act on one parent, which takes the value of another row. With :math:`\Delta` the
    change that the model makes of the image, residual and all, and :math:`b_1, b_2` what the two halves expect,
    :math:`\sum\langle\Delta, (b_1 + b_2)/2\rangle \,/\, \sum\langle b_1, b_2\rangle` is the share: 1 for the true
    model of effects that add up, 0 for an image that does not change, or changes elsewhere. A parent whose average
    effect cannot be told from chance has no entry.

    Args:
        graph: The graph.
        mechanisms: Node -> its fitted mechanism.
        data: Rows, on the device of the mechanisms.
        seed: What the values that are acted with follow from.
    """
    found = {}
    for node in graph.nodes:
        parents = graph.parents(node)
        unfit = ParentEncoder.unfit({parent: graph.variables[parent] for parent in parents})
        if isinstance(graph.variables[node], Image) and parents and not unfit and data.rows >= 2 * len(parents):
            with seeding.seeded(seeding.derive(seed, node, "obedience"), mechanisms[node].device):
                found[node] = _shares(mechanisms[node], data, node, parents)
    return found


def ignored(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line for each parent that an image ignores, with the remedy.

    Example:
        >>> ignored({"image": {"age": 0.9, "smile": 0.1}})[0][:70]
        "image ignores 'smile': acting on it shows 10 % of what it does on aver"
    """
    return [
        f"{image} ignores '{parent}': acting on it shows {100 * max(share, 0):.0f} % of what it does on average in the"
        " data. Train longer, take VAE.preset('colour') for coloured pictures, or fine-tune: scm.finetune(data,"
        " predictors)."
        for image, of in shares.items()
        for parent, share in of.items()
        if share < ENOUGH
    ]


def _shares(mechanism: Mechanism, data: Batch, node: str, parents: tuple[str, ...]) -> dict[str, float]:
    encoder = ParentEncoder(mechanism.parents).to(mechanism.device, mechanism.dtype)
    x, fitted = training.rows_of(data, node, parents, slice(FITTED))
    encoder.calibrate(fitted)
    c = encoder(fitted)
    halves = [least_squares(x[half::2], c[half::2]) for half in (0, 1)]  # type: ignore[index]
    effects = [weight[1:] for weight, _ in halves]
    certain = [torch.where(weight.abs() > SURE * error, weight.sign(), 0.0)[1:] for weight, error in halves]
    acts = (certain[0] * certain[1] > 0).any(1).split([v.num_features for v in mechanism.parents.values()])
    x, pa = x[:ROWS], {parent: fitted[parent][:ROWS] for parent in parents}
    other = torch.randperm(len(x), device=x.device)
    shares = {}
    for parent, acting in zip(mechanism.parents, acts, strict=True):
        if bool(acting.any()):
            star = {**pa, parent: pa[parent][other]}
            moved = (encoder(star) - encoder(pa)).double()  # type: ignore[operator]
            first, second = (moved @ effect for effect in effects)
            change = (_acted(mechanism, x, pa, star) - x).flatten(1)
            shares[parent] = float((change * (first + second) / 2).sum() / (first * second).sum())
    return shares


def _acted(mechanism: Mechanism, x: Tensor, pa: Mapping[str, Tensor], star: Mapping[str, Tensor]) -> Tensor:
    """The images under other parents, a few rows a call."""
    parts = []
    for start in range(0, len(x), BATCH):
        rows = slice(start, start + BATCH)
        u = mechanism.abduct(x[rows], {name: value[rows] for name, value in pa.items()})
        parts.append(mechanism.predict(u, {name: value[rows] for name, value in star.items()}))
    return torch.cat(parts)
