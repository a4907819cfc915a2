"""From attributes and noise to pictures: every row at once, in blocks of a fixed size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causalcf.datasets.faces.anatomy import Traits, traits_of
from causalcf.datasets.faces.canvas import Canvas
from causalcf.datasets.faces.eyes import paint_brows, paint_eyes, paint_glasses
from causalcf.datasets.faces.hair import paint_back_hair, paint_front_hair, paint_hat, shade_forehead
from causalcf.datasets.faces.head import paint_ears, paint_head, paint_neck
from causalcf.datasets.faces.mouth import paint_beard, paint_folds, paint_mouth, paint_nostrils
from causalcf.datasets.faces.scenery import paint_backdrop, paint_clothes, paint_earrings, paint_vignette

__all__ = ["render"]

Columns = Mapping[str, Tensor]

_PIXELS = 16 * 64 * 64
"""Pixels of a block: what a core's cache holds well."""


def render(
    attributes: Columns, noise: Columns, height: int, width: int, reach: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Pictures of faces, bytes of shape (N, 3, height, width), on the device of the noise.

    A face is the same at every size, and the same bits in whatever company it is drawn: blocks are always full,
    the last one filled up with faces that are thrown away.

    Args:
        attributes: The seven attributes, (N,) each.
        noise: From `draw_noise`, (N,) each.
        height: Of the pictures, px.
        width: Of the pictures, px.
        reach: How far the pictures reach from their middle, in half sides of the standard square.
    """
    rows, device = len(noise["yaw"]), noise["yaw"].device
    pictures = torch.empty(rows, 3, height, width, dtype=torch.uint8, device=device)
    block = max(1, _PIXELS // (height * width)) if device.type == "cpu" else max(1, 64 * _PIXELS // (height * width))
    for start in range(0, rows, block):
        chosen = torch.arange(start, start + block, device=device).clamp_(max=rows - 1)
        traits = traits_of(*({name: x[chosen] for name, x in columns.items()} for columns in (attributes, noise)))
        pictures[start : start + block] = _paint(traits, height, width, reach)[: rows - start]
    return pictures


def _paint(t: Traits, height: int, width: int, reach: tuple[float, float]) -> Tensor:
    """One block, from the back to the front."""
    canvas = Canvas.blank(len(t.yaw), height, width, reach, t.yaw)
    paint_backdrop(canvas, t)
    paint_back_hair(canvas, t)
    paint_neck(canvas, t)
    paint_clothes(canvas, t)
    paint_ears(canvas, t)
    paint_earrings(canvas, t)
    part, head = paint_head(canvas, t)
    shade_forehead(part, t, head)
    paint_nostrils(canvas, t)
    paint_folds(canvas, t)
    paint_eyes(canvas, t)
    paint_brows(canvas, t)
    paint_beard(canvas, t)
    paint_mouth(canvas, t)
    paint_glasses(canvas, t)
    paint_front_hair(canvas, t)
    paint_hat(canvas, t)
    paint_vignette(canvas, t)
    return (canvas.picture.clamp_(0, 1) * 255).round_().to(torch.uint8)
