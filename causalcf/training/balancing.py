"""Rows that are drawn by attribute, so that a rare one is seen as often as a common one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from causalcf.core.errors import TrainingError
from causalcf.data import Batch
from causalcf.variables import Variable

__all__ = ["drawn_order", "row_weights"]

MOST = 20.0
"""How many times as often as on average a row may be drawn: few rows are not learnt by heart."""


def row_weights(data: Batch, balance: Sequence[str], known: Mapping[str, Variable], name: str) -> Tensor | None:
    """How often each row is drawn, (N,), 1 on average; None if no attribute is to be balanced.

    The values of an attribute come equally often; of several, the weights multiply.

    Args:
        data: The rows.
        balance: The attributes.
        known: Those that may be balanced: of a mechanism its parents, as p(x | pa) is the same however often each pa
            is seen.
        name: Of what is trained, for errors.

    Raises:
        TrainingError: An attribute that may not be balanced, or that is no category.

    Example:
        >>> from causalcf.variables import Boolean
        >>> rows = Batch({"glasses": torch.tensor([True, False, False, False])})
        >>> row_weights(rows, ["glasses"], {"glasses": Boolean()}, "image")
        tensor([2.0000, 0.6667, 0.6667, 0.6667])
    """
    weights: Tensor | None = None
    for attribute in balance:
        if attribute not in known:
            raise TrainingError(
                f"'{name}' cannot be balanced by '{attribute}'. It can be by {list(known)}: what comes in classes among"
                " the causes of a mechanism, or what a predictor reads and is told."
            )
        codes = data[attribute].long()
        seen = torch.bincount(codes)
        own = 1 / seen[codes].double()
        weights = own if weights is None else weights * own
    if weights is None:
        return None
    return (weights / weights.mean()).clamp_max(MOST).float()


def drawn_order(rows: int, weights: Tensor | None, device: torch.device) -> Tensor:
    """The rows of an epoch, (N,): each once, in random order; with weights, drawn with replacement."""
    if weights is None:
        return torch.randperm(rows, device=device)
    return torch.multinomial(weights.to(device), rows, replacement=True)
