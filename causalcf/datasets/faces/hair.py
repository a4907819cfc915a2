"""Hair: behind the head, on the head, and its shadow on the forehead."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causalcf.datasets.faces.anatomy import Traits, hue, mix
from causalcf.datasets.faces.canvas import Canvas, above, cover, fade, inside, smoothstep

__all__ = ["Hair", "comb", "paint_back_hair", "paint_front_hair", "paint_hat", "shade_forehead"]

ROUND = -0.16
"""Height at which the head is widest with its hair on."""


@dataclass(frozen=True)
class Hair:
    """The common data of the hair behind the head and in front of it, in one window of the pictures.

    Args:
        part: The window.
        x: Columns, (N, 1, W).
        y: Rows, (N, H, 1).
        tone: Of the strands, (N, H, W).
        outer: Distance to the border of all hair, (N, H, W).
        colour: In this light, (N, 3, H, W).
    """

    part: Canvas
    x: Tensor
    y: Tensor
    tone: Tensor
    outer: Tensor
    colour: Tensor


def comb(canvas: Canvas, t: Traits) -> Hair:
    """The hair of each head: its outline, its strands and its colour."""
    part = canvas.window(-0.88, 0.88, -0.95, 1.6)
    x, y = t.x(part) - 0.06 * t.yaw, t.y(part)
    tone = _strands(t, x, y, t.pixel(part))
    outer = inside(x + _wave(t, y), y, lambda h: _silhouette(t, h)) - 0.024 * t.curly * tone
    return Hair(part, x, y, tone, outer, _hair_colour(t, x, y, tone).clamp_(0, 1))


def paint_back_hair(hair: Hair, t: Traits) -> None:
    """Long hair behind the neck, or tied in a knot on the head."""
    part, x, y = hair.part, hair.x, hair.y
    pixel = t.pixel(part)
    knot = ((x - 0.1 * (t.hair_part - 0.5)) ** 2 + ((y - t.crown + t.volume + 0.035) / 0.85) ** 2).sqrt() - 0.17
    behind = torch.maximum(cover(hair.outer, pixel + 0.01) * (1 - t.short), cover(knot, pixel + 0.01) * t.tied)
    part.paint(behind * (1 - t.bald), hair.colour * 0.62)


def paint_front_hair(hair: Hair, t: Traits) -> None:
    """Hair on the skull, at the temples and, if it is long, before the shoulders."""
    part, x, y = hair.part, hair.x, hair.y
    pixel = t.pixel(part)
    opening = _opening(t, t.x(part, 0.22), y) + (0.010 + 0.01 * t.curly) * hair.tone
    share = cover(hair.outer, pixel + 0.012) * cover(-opening, pixel + 0.02)
    # A bald head keeps hair above its ears, at most.
    wreath = cover(-0.20 - 0.5 * (x.abs() - 0.4) - y, pixel + 0.14) * cover(y - 0.14, pixel + 0.10)
    wreath = wreath * cover(t.width * 0.86 - x.abs(), pixel + 0.04) * cover(x.abs() - t.width * 1.08, pixel + 0.04)
    share = share * (1 - t.bald * (1 - (1 - t.shaved) * wreath.clamp(0, 1)))
    edge = fade(opening - 0.03, 0.10)
    part.paint(share, hair.colour * (1 - 0.28 * edge)[:, None])


def shade_forehead(part: Canvas, t: Traits, head: Tensor) -> None:
    """The soft shadow of the hair on the skin, within the share (N, H, W) that the head covers."""
    x, y = t.x(part, 0.26) + 0.05 * t.light_x, t.y(part) + 0.07 * t.light_y
    near = fade(-_opening(t, x, y) - 0.03, 0.13) * (1 - t.short * smoothstep((y + 0.10) / 0.24))
    part.darken(head * near * (1 - t.bald) * (0.22 + 0.26 * t.hard))


def paint_hat(canvas: Canvas, t: Traits) -> None:
    """A woollen hat, rarely."""
    part = canvas.window(-0.8, 0.8, -1.0, 0.1)
    x, y, pixel = t.x(part) - 0.06 * t.yaw, t.y(part), t.pixel(part)
    worn = (t.hat < 0.03).float()
    wide, top = t.width + 0.075, t.crown - 0.13

    def dome(h: Tensor) -> Tensor:
        return wide**2 * (1 - ((ROUND - h) / (ROUND - top)).clamp_min(0) ** 2.4)

    def brim(x: Tensor) -> Tensor:
        return -0.27 - 0.12 * (x / wide) ** 2 * -1.0

    def fold(x: Tensor) -> Tensor:
        return brim(x) - 0.15

    whole = cover(torch.maximum(inside(x, y, dome), above(x, y, brim)), pixel) * worn
    knit = 1 + 0.10 * torch.sin(48 * x / wide * 0.9) * torch.exp(-((48 * pixel) ** 2) / 14)
    colour = hue(t.hat_hue, 0.55, 0.55) * t.light(x) * (1 - 0.35 * (x / wide) ** 4)[:, None]
    part.paint(whole, (colour * knit[:, None]).clamp(0, 1) * torch.ones_like(part.picture))
    band = whole * cover(-above(x, y, fold), pixel)
    part.darken(band * 0.16)
    part.darken(whole * fade(above(x, y, fold).abs() - 0.004, 0.02) * 0.3)


def _silhouette(t: Traits, y: Tensor) -> Tensor:
    """Squared half width of all hair at each height."""
    top, wide = t.crown - t.volume, t.width + 0.85 * t.volume
    dome = 1 - ((ROUND - y) / (ROUND - top)).clamp_min(0) ** 2.35
    down = (y - ROUND).clamp_min(0)
    end_short, end_long = 0.12, 0.36 + 1.05 * t.hair_length**1.4
    near = wide - (wide - t.width * 0.97) * smoothstep(down / (end_short - ROUND))
    hanging = (
        wide + 0.045 * smoothstep(down / 0.25) + 0.03 * smoothstep(down / 0.8) + 0.08 * t.curly * smoothstep(down / 0.5)
    )
    half = mix(hanging, near, t.short)
    end = mix(end_long, torch.full_like(end_long, end_short), t.short)
    fall = 1 - (down / (end - ROUND)) ** mix(torch.full_like(end, 5.0), torch.full_like(end, 7.0), t.short)
    return half**2 * dome * fall.clamp_min(-3)


def _opening(t: Traits, x: Tensor, y: Tensor) -> Tensor:
    """Distance to the border of where hair leaves the face free: below the hairline, between the temples."""
    return torch.maximum(-above(x, y, lambda h: _hairline(t, h)), inside(x, y, lambda h: _temples(t, h)))


def _hairline(t: Traits, x: Tensor) -> Tensor:
    """Height of the hairline at each x: parted, with a fringe, or swept back and receding."""
    style, wide = t.hair_fringe, t.width
    fringe = (1 - t.short) * smoothstep((style - 0.72) * 40)
    part = (t.hair_part - 0.5) * 0.62 * (1 - fringe)
    s = (x - part) / wide
    drop = mix(0.30 * torch.ones_like(part), 0.07 + 0.16 * smoothstep((0.5 - style) * 6), t.short)
    drop = mix(drop, torch.full_like(drop, 0.04), fringe)
    base = mix(-0.45 + 0.02 * t.short + 0 * part, t.brow_y - 0.075, fringe)
    corners = 0.17 * t.receding * torch.exp(-0.5 * ((x.abs() - 0.25) / 0.10) ** 2)
    fall, most = drop * s.abs() ** 1.7, mix(torch.full_like(drop, 0.75), torch.full_like(drop, 0.20), t.short)
    fall = most * torch.tanh(fall / most)
    return base - 0.12 * t.receding - corners + fall + 0.22 * (x / wide).abs() ** 6


def _temples(t: Traits, y: Tensor) -> Tensor:
    """Squared half width of the face between the hair at its sides."""
    bare = t.width * (0.915 + 0.03 * smoothstep((y + 0.05) / 0.2)) + 4.0 * (y - 0.03).clamp_min(0) ** 2
    framed = t.width * (0.90 - 0.06 * smoothstep((y - 0.1) / 0.6)) + 0.012 * torch.sin(9 * y + 6 * t.hair_strands)
    return mix(framed, bare, t.short) ** 2


def _wave(t: Traits, y: Tensor) -> Tensor:
    """How far locks swing sideways at each height."""
    amount = 0.028 * smoothstep((t.hair_wave - 0.3) * 3) * (1 - t.short)
    return amount * torch.sin(8.5 * y + 6.28 * t.hair_strands) * smoothstep((y + 0.1) * 2)


def _strands(t: Traits, x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    """Tone of the strands, from about -1 to 1: they spread from the parting and then hang; curls are knots."""
    part = (t.hair_part - 0.5) * 0.62
    below = (y - t.crown + t.volume).clamp(0, 0.75)
    spread = 1 / (0.24 + 0.95 * below)
    phase = 6.28 * t.hair_strands
    swing = 2.2 * _wave(t, y) + 0.05 * torch.sin(5 * y + phase)
    s = (x - part * smoothstep((0.5 - y) * 2)) * spread + swing
    straight = torch.zeros_like(s)
    for rate, weight in ((7.0, 0.40), (16.0, 0.36), (33.0, 0.30), (71.0, 0.30)):
        visible = torch.exp(-((rate * spread * pixel) ** 2) / 14)
        straight = straight + (weight * visible) * torch.sin(rate * s + phase * rate)
    blur = torch.exp(-((28 * pixel) ** 2) / 14)
    across, along = 21 * x + 2.3 * torch.sin(24 * y + phase), 27 * y + 2.3 * torch.sin(19 * x + 2 * phase)
    knots = 0.42 * blur * (torch.sin(across) + torch.sin(along))
    return mix(straight, knots, t.curly)


def _hair_colour(t: Traits, x: Tensor, y: Tensor, tone: Tensor) -> Tensor:
    """Colour of hair in this light, (N, 3, H, W): strands, a band of shine, darker towards the sides and ends."""
    wide, top = t.width + t.volume, t.crown - t.volume
    round_ = 1 - 0.38 * (x / wide).abs().clamp(max=1.25) ** 3.5
    lift = 1.06 - 0.30 * smoothstep((y + 0.1) / 1.0)
    band = top + 0.20 + 0.22 * (x / wide) ** 2 - 0.02 * t.light_y
    off = (y - band) / 0.085
    shine = torch.exp(-0.5 * off * off) * (0.55 + 0.45 * tone) * (0.5 + 0.5 * t.hard) * (1 - 0.6 * t.curly)
    body = (round_ * lift) * (1 + 0.30 * tone)
    return t.hair * t.light(x) * body[:, None] + (0.05 + 0.30 * t.hair) * (0.62 * shine)[:, None]
