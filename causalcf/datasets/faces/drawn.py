"""A column of pictures that are drawn when they are asked for, and kept as bytes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from causalcf.core.columns import Store

__all__ = ["Drawn"]

_BLOCK = 1024
"""Rows whose memory is taken together, once one of them is drawn."""


class Drawn(Store):
    """Pictures of N rows, of which only those that were asked for exist.

    Args:
        draw: Gives the pictures of some rows, as bytes.
        shape: (N, 3, H, W).
    """

    def __init__(self, draw: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self._draw = draw
        self._is_drawn = torch.zeros(shape[0], dtype=torch.bool)
        self._kept: dict[int, Tensor] = {}

    def take(self, rows: Tensor) -> Tensor:
        """The pictures of some rows, bytes of shape (len(rows), 3, H, W)."""
        missing = rows[~self._is_drawn[rows]].unique()
        if len(missing):
            self._keep(missing, self._draw(missing))
        pictures = torch.empty(len(rows), *self.shape[1:], dtype=torch.uint8)
        for block in (rows // _BLOCK).unique().tolist():
            here = rows // _BLOCK == block
            pictures[here] = self._kept[block][rows[here] % _BLOCK]
        return pictures

    def _keep(self, rows: Tensor, pictures: Tensor) -> None:
        for block in (rows // _BLOCK).unique().tolist():
            if block not in self._kept:
                self._kept[block] = torch.empty(_BLOCK, *self.shape[1:], dtype=torch.uint8)
            here = rows // _BLOCK == block
            self._kept[block][rows[here] % _BLOCK] = pictures[here]
        self._is_drawn[rows] = True
