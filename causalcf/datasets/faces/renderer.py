"""From attributes and noise to pictures: every row at once, in blocks that a cache holds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causalcf.datasets.faces.anatomy import Traits, traits_of
from causalcf.datasets.faces.canvas import Canvas
from causalcf.datasets.faces.eyes import paint_brows, paint_eyes, paint_glasses
from causalcf.datasets.faces.hair import comb, paint_back_hair, paint_front_hair, paint_hat, shade_forehead
from causalcf.datasets.faces.head import paint_ears, paint_head, paint_neck
from causalcf.datasets.faces.mouth import paint_beard, paint_folds, paint_mouth, paint_nostrils
from causalcf.datasets.faces.scenery import paint_backdrop, paint_clothes, paint_earrings, paint_vignette

__all__ = ["render"]

Columns = Mapping[str, Tensor]

_BLOCK = 128 * 64 * 64
"""Pixels painted at once: so many that calls cost little, so few that a core's cache holds a plane of them."""


def render(
    attributes: Columns, noise: Columns, height: int, width: int, reach: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Pictures of faces, bytes of shape (N, 3, height, width), on the device of the noise.

    A face is the same at every size, and the same bits in whatever company it is drawn.

    Args:
        attributes: The seven attributes, (N,) each.
        noise: From `draw_noise`, (N,) each.
        height: Of the pictures, px.
        width: Of the pictures, px.
        reach: How far the pictures reach from their middle, in half sides of the standard square.
    """
    rows, device = len(noise["yaw"]), noise["yaw"].device
    pictures = torch.empty(rows, 3, height, width, dtype=torch.uint8, device=device)
    block = max(1, (_BLOCK if device.type == "cpu" else 32 * _BLOCK) // (height * width))
    for start in range(0, rows, block):
        chosen = slice(start, start + block)
        traits = traits_of(*({name: x[chosen] for name, x in columns.items()} for columns in (attributes, noise)))
        pictures[chosen] = _paint(traits, height, width, reach)
    return pictures


def _paint(t: Traits, height: int, width: int, reach: tuple[float, float]) -> Tensor:
    """One block, from the back to the front."""
    canvas = Canvas.blank(len(t.yaw), height, width, reach, t.yaw)
    paint_backdrop(canvas, t)
    hair = comb(canvas, t)
    paint_back_hair(hair, t)
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
    paint_front_hair(hair, t)
    paint_hat(canvas, t)
    paint_vignette(canvas)
    return (canvas.picture.clamp_(0, 1) * 255).round_().to(torch.uint8)
