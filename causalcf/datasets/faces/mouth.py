"""Nose holes, mouth, the folds of a smile, and beards."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.datasets.faces.anatomy import Traits, mix
from causalcf.datasets.faces.canvas import Canvas, Curve, above, cover, fade, inside, smoothstep, stroke
from causalcf.datasets.faces.head import DEPTH, head_x, outline, skin_shade

__all__ = ["paint_beard", "paint_folds", "paint_mouth", "paint_nostrils"]


def paint_nostrils(canvas: Canvas, t: Traits) -> None:
    """Nostrils, and the shadow that the nose throws to the side away from the light."""
    part = canvas.window(-0.32, 0.36, -0.05, 0.46)
    across, y, pixel = t.x(part, 0.40), t.y(part, 0.36), t.pixel(part)
    x = across.abs() - t.nose_w * 0.5
    tilt = y - t.nose_y - 0.012 + 0.25 * x
    hole = cover(((x / 0.030) ** 2 + (tilt / 0.0145) ** 2).sqrt() - 1, pixel / 0.02)
    part.paint(hole * 0.75, skin_shade(t, across, 1.0) * 0.45)
    along = ((y - 0.02) / (t.nose_y - 0.02)).clamp(0, 1)
    thrown = -t.light_x * 0.22 * along
    shade = (
        fade((across - thrown).abs() - 0.055 * along, 0.07) * smoothstep(4 * along) * fade(y - t.nose_y - 0.02, 0.06)
    )
    away = smoothstep(-across * t.light_x.sign() * 25 + 0.1)
    part.darken(shade * away * t.light_x.abs() * t.hard * 0.75)


def paint_folds(canvas: Canvas, t: Traits) -> None:
    """The folds from the nose to the corners of the mouth, and those below: with a smile and with age."""
    part = canvas.window(-0.42, 0.42, 0.1, 0.66)
    across, y, pixel = t.x(part, DEPTH), t.y(part, DEPTH), t.pixel(part)
    deep = (0.36 * t.smile + 0.62 * t.old * (0.4 + t.wrinkles)).clamp(0, 1)
    run = (y - t.nose_y + 0.04) / (t.mouth_y - t.nose_y + 0.07)
    fold = t.nose_w + 0.010 + (t.mouth_w + 0.045 - t.nose_w) * smoothstep(run) * (1 + 0.1 * t.smile)
    ends = smoothstep(run * 3.5) * smoothstep((1.06 - run) * 2.6)
    off = across.abs() - fold
    part.darken(stroke(off, 0.011, pixel + 0.018) * ends * deep * 0.52)
    part.darken(fade(off.abs() - 0.01, 0.07) * ends * deep * 0.10)
    down = (y - t.mouth_y - 0.02) / 0.13
    line = t.mouth_w + 0.012 + 0.03 * down
    lower = smoothstep(down * 3) * smoothstep((1 - down) * 2.5)
    part.darken(stroke(across.abs() - line, 0.009, pixel + 0.018) * lower * t.old * t.wrinkles * 0.5)


def paint_mouth(canvas: Canvas, t: Traits) -> None:
    """Lips, and between them, in a smile, the teeth."""
    part = canvas.window(-0.42, 0.42, 0.2, 0.72)
    across, y, pixel = t.x(part, DEPTH + 0.02), t.y(part, DEPTH), t.pixel(part)
    curl = 0.058 * (t.smile - 0.22)
    gap = 0.075 * smoothstep((t.smile - 0.3) / 0.7) * (0.55 + 0.45 * t.teeth)

    def arc(x: Tensor) -> Tensor:
        return (1 - (x / t.mouth_w) ** 2).clamp_min(-0.15)

    def line(x: Tensor) -> Tensor:
        r = (x / t.mouth_w).clamp(-1.1, 1.1)
        return t.mouth_y + curl * (0.55 - r * r) - 0.006 * torch.cos(7 * r) * (1 - t.smile) - 0.25 * gap * arc(x)

    def top(x: Tensor) -> Tensor:
        r = x / t.mouth_w
        bow = 0.013 * torch.exp(-0.5 * (r / 0.13) ** 2) - 0.006 * torch.exp(-0.5 * ((r.abs() - 0.27) / 0.16) ** 2)
        return line(x) - t.lips * 0.036 * arc(x).clamp_min(0) ** 0.9 + bow * t.lips * (1 - 0.4 * t.smile)

    def floor(x: Tensor) -> Tensor:
        return line(x) + gap * arc(x)

    def bottom(x: Tensor) -> Tensor:
        return floor(x) + t.lips * 0.052 * arc(x).clamp_min(0) ** 0.75

    ends = cover(across.abs() - t.mouth_w, pixel)
    light = t.light(across)
    below_line, above_floor = -above(across, y, line), above(across, y, floor)
    lips = cover(torch.maximum(-above(across, y, top), above(across, y, bottom)), pixel) * ends
    _paint_lips(part, t, across, y, lips, line, bottom, light)
    opening = cover(torch.maximum(below_line, above_floor), pixel) * ends
    _paint_inside(part, t, across, y, opening, line, gap, light)
    seam = stroke(y - line(across), 0.0055, pixel) * ends * (1 - 0.65 * smoothstep(gap * 40))
    part.paint(seam * 0.8, skin_shade(t, across, 1.0) * 0.42)
    corner = ((across.abs() - t.mouth_w) / 0.022) ** 2 + ((y - line(t.mouth_w)) / 0.014) ** 2
    part.darken(torch.exp(-0.5 * corner) * 0.34)


def _paint_lips(
    part: Canvas, t: Traits, x: Tensor, y: Tensor, lips: Tensor, line: Curve, bottom: Curve, light: Tensor
) -> None:
    natural = t.skin * torch.tensor([0.90, 0.665, 0.655], device=x.device)[:, None, None]
    natural = mix(natural, t.skin * 0.86, 0.25 * t.old[:, None])
    red = torch.tensor([0.72, 0.14, 0.20], device=x.device)[:, None, None]
    red = mix(red, torch.tensor([0.80, 0.36, 0.38], device=x.device)[:, None, None], t.lip_hue[:, None])
    colour = mix(natural, red, 0.8 * t.lipstick[:, None])
    is_upper = smoothstep((line(x) - y) / 0.012 + 0.5)
    middle = 0.45 * line(x) + 0.55 * bottom(x)
    gleam = torch.exp(-0.5 * (((y - middle) / 0.013) ** 2 + (x / (0.5 * t.mouth_w)) ** 2)) * (1 - is_upper)
    part.paint(
        lips * 0.95,
        colour * light * (1 - 0.17 * is_upper)[:, None] + (0.13 + 0.08 * t.lipstick)[:, None] * gleam[:, None],
    )


def _paint_inside(
    part: Canvas, t: Traits, x: Tensor, y: Tensor, opening: Tensor, line: Curve, gap: Tensor,
    light: Tensor,
) -> None:  # fmt: skip
    pixel = t.pixel(part)
    dark = torch.tensor([0.28, 0.10, 0.10], device=x.device)[:, None, None]
    part.paint(opening, dark * light)
    down = (y - line(x)) / gap.clamp_min(1e-3)
    teeth = smoothstep((0.86 - down) * 6) * smoothstep((0.93 - (x / t.mouth_w).abs()) * 9)
    white = mix(torch.tensor([0.95, 0.935, 0.90], device=x.device)[:, None, None],
                torch.tensor([0.88, 0.82, 0.70], device=x.device)[:, None, None], t.old[:, None])  # fmt: skip
    round_ = 1 - 0.42 * (x / t.mouth_w).abs() ** 2.5
    part.paint(opening * teeth, white * (light.clamp_max(1.0) * round_[:, None]))
    phase = ((x / 0.036 - 0.5).remainder(1) - 0.5).abs() * 0.036
    part.darken(opening * teeth * stroke(phase, 0.0022, pixel) * 0.38)


def paint_beard(canvas: Canvas, t: Traits) -> None:
    """Full beards, chin beards and stubble: it hides the chin, the jaw and the red parts there."""
    part = canvas.window(-0.68, 0.68, -0.05, 1.02)
    y, pixel = t.y(part), t.pixel(part)
    across, rows = t.x(part, DEPTH), t.y(part, DEPTH)
    full, small = (t.beard_style < 0.5).float(), ((t.beard_style >= 0.5) & (t.beard_style < 0.75)).float()
    long = 0.02 + 0.11 * t.beard_length**2 * full + 0.02 * small
    x = head_x(t, part, y)
    grown = inside(x / (1 + 0.3 * long), y - long * smoothstep((y - 0.2) / 0.4), lambda h: outline(t, h))

    def cheek(x: Tensor) -> Tensor:
        r = x.abs() / t.width
        return t.mouth_y - 0.035 - 0.10 * smoothstep((r - 0.30) / 0.5) - 0.42 * smoothstep((r - 0.72) / 0.3)

    stubble = (t.beard_style >= 0.75).float()
    soft = pixel + 0.05 + 0.09 * stubble
    cheeks = cover(-above(across, rows, cheek), soft)
    chin_only = cover(across.abs() - 0.15 - 0.02 * t.jaw, soft) * cover(t.mouth_y + 0.01 - rows, soft)
    lip = fade((rows - t.mouth_y + 0.062 - 0.28 * across.abs() ** 1.5).abs() - 0.024, 0.03) * cover(
        across.abs() - t.mouth_w - 0.02, soft
    )
    sides = fade((across.abs() - t.mouth_w - 0.012).abs() - 0.012, 0.035) * cover(
        (rows - t.mouth_y - 0.02).abs() - 0.09, soft
    )
    whole = torch.where(small > 0, torch.maximum(chin_only, sides), cheeks)
    bare_lip = fade(((across / 0.07) ** 2 + ((rows - t.mouth_y - 0.085) / 0.018) ** 2).sqrt() - 1, 0.9) * 0.45
    share = torch.maximum(whole * (1 - bare_lip), lip) * cover(grown, pixel + 0.03)
    hairs = _hairs(t, across, rows, pixel)
    thick = (0.94 - 0.40 * stubble) * (0.92 + 0.08 * hairs)
    colour = mix(t.hair * 0.82, t.skin * 0.3, 0.16) * t.light(across)
    depth = 1 - 0.35 * smoothstep((rows - t.mouth_y) / 0.4) + 0.24 * hairs
    part.paint((t.beard * share * thick).clamp(0, 1), (colour * depth[:, None]).clamp(0, 1))


def _hairs(t: Traits, x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    """Short hairs, from about -1 to 1, two crossing patterns of waves; blurred away where pixels are coarse."""
    phase = 6.28 * t.hair_strands
    fine, coarse = torch.exp(-((95 * pixel) ** 2) / 14), torch.exp(-((50 * pixel) ** 2) / 14)
    left = torch.sin(95 * x - 40 * y + 2 * torch.sin(17 * y + phase))
    right = torch.sin(50 * x + 31 * y + 2 * torch.sin(14 * x + phase))
    return 0.5 * fine * left + 0.5 * coarse * right
