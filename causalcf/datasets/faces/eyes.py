"""Eyes, brows and glasses."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.datasets.faces.anatomy import Traits, hue, mix
from causalcf.datasets.faces.canvas import Canvas, Curve, above, cover, fade, smoothstep, stroke
from causalcf.datasets.faces.head import DEPTH, skin_shade

__all__ = ["paint_brows", "paint_eyes", "paint_glasses"]

EYES = 0.27
"""How far in front of the head's axis the eyes lie: a little less than the face."""


def paint_eyes(canvas: Canvas, t: Traits) -> None:
    """Both eyes: the white, iris, pupil, a glint, lids and lashes."""
    part = canvas.window(-0.5, 0.5, -0.26, 0.2)
    across, y, pixel = t.x(part, EYES), t.y(part, DEPTH), t.pixel(part)
    side = across.sign()
    x = across.abs() - t.eye_x  # outwards from the middle of each eye

    def upper(x: Tensor) -> Tensor:
        e = x / t.eye_w
        return -t.eye_h * (1 - e * e) * (1.02 - 0.24 * e) - t.eye_tilt * e

    def lower(x: Tensor) -> Tensor:
        e = x / t.eye_w
        raised = 0.34 - 0.2 * t.smile
        return t.eye_h * raised * 2 * (1 - e * e) * (1 + 0.22 * e) * 0.75 - t.eye_tilt * e

    below_upper, above_lower = -above(x, y, upper), above(x, y, lower)
    opening = cover(torch.maximum(below_upper, above_lower), pixel)
    _paint_lids(part, t, x, y, upper)
    light = t.light(across)
    shade = 1 - 0.42 * torch.exp(-(y - upper(x)).clamp_min(0) / 0.018)
    white = torch.tensor([0.93, 0.915, 0.905], device=x.device)[:, None, None] * light.clamp_max(1.02)
    part.paint(opening, white * shade[:, None])
    _paint_iris(part, t, x * side, y, opening, shade, light)
    _paint_lashes(part, t, x, y, upper, lower, pixel)


def _paint_iris(part: Canvas, t: Traits, x: Tensor, y: Tensor, opening: Tensor, shade: Tensor, light: Tensor) -> None:
    pixel = t.pixel(part)
    radius, middle = 0.049, -0.10 * t.eye_h
    x = x - t.gaze - 0.02 * t.yaw
    y = y - middle
    away = (x * x + y * y).sqrt()
    depth = (away / radius).clamp(max=1)
    iris = t.iris * light.clamp(0.5, 1.0) * (1.05 + 1.3 * (y / radius * depth).clamp(0, 1) * 0.5)[:, None]
    iris = iris * (1 - 0.55 * smoothstep((depth - 0.7) / 0.3))[:, None] * (0.25 + 0.75 * shade)[:, None]
    part.paint(opening * cover(away - radius, pixel), iris)
    dark = torch.full((1, 3, 1, 1), 0.03, device=x.device)
    part.paint(opening * cover(away - 0.020, pixel), dark)
    glint_x, glint_y = x - 0.030 * t.light_x - 0.006, y - 0.036 * t.light_y
    glint = stroke((glint_x**2 + glint_y**2).sqrt(), 0.0125, pixel)
    part.paint(glint * 0.92 * cover(-y - 0.06, pixel).clamp_min(0.9), torch.full((1, 3, 1, 1), 0.99, device=x.device))


def _paint_lids(part: Canvas, t: Traits, x: Tensor, y: Tensor, upper: Curve) -> None:
    """The upper lid with its crease, before the eye is painted over it."""
    pixel = t.pixel(part)
    e = x / t.eye_w
    reach = smoothstep(2.6 * (1.22 - e.abs()))
    lid = upper(x) - t.lid * (1 - 0.35 * e * e).clamp_min(0.2)
    crease = stroke(y - lid, 0.007 + 0.004 * t.old, pixel)
    part.paint(crease * reach * (0.42 + 0.2 * t.old), skin_shade(t, x, 0.8))
    between = torch.minimum(y - lid, upper(x) - y)
    painted = fade(-between, 0.02) * reach
    colour = hue(t.make_up_hue, 0.45, 0.45)
    part.paint(painted * t.make_up * 0.42, colour)
    part.darken(painted * 0.10)


def _paint_lashes(part: Canvas, t: Traits, x: Tensor, y: Tensor, upper: Curve, lower: Curve, pixel: Tensor) -> None:
    e = x / t.eye_w
    dark = mix(torch.full((1, 3, 1, 1), 0.06, device=x.device), t.hair * 0.4, 0.35)
    reach = smoothstep(6 * (1.13 - e.abs()))
    flick = t.lashes * (0.62 + 0.5 * (e + 0.4).clamp(0, 1.5))
    part.paint(stroke(y - upper(x) + 0.003, flick, pixel) * reach * 0.95, dark)
    rim = stroke(y - lower(x) - 0.003, 0.0045 + 0.25 * t.lashes * t.make_up, pixel)
    part.paint(rim * smoothstep(4 * (1.05 - e.abs())) * 0.5, skin_shade(t, x, 1.0))


def paint_brows(canvas: Canvas, t: Traits) -> None:
    """Brows: the hair's colour, thick near the nose and thin outside."""
    part = canvas.window(-0.52, 0.52, -0.38, 0.06)
    across, y, pixel = t.x(part, DEPTH), t.y(part, DEPTH), t.pixel(part)
    e = (across.abs() - t.eye_x - 0.008) / 0.115

    arch = t.brow_y - t.brow_arch * (1 - (e - 0.25) ** 2 / 1.5) + 0.012
    half = t.brow_h * (1.0 - 0.62 * smoothstep((e + 0.3) / 1.5))
    reach = smoothstep(2.1 * (e + 1.22)) * smoothstep(2.2 * (1.34 - e))
    share = cover((y - arch).abs() - half, pixel + 0.016) * reach
    hair = mix(t.hair, t.skin * 0.42, 0.42) * (0.70 + 0.1 * t.age[:, None])
    part.paint(share * (0.86 - 0.16 * t.old), hair * t.light(across).clamp_max(1))


def paint_glasses(canvas: Canvas, t: Traits) -> None:
    """Frames, lenses that glint and darken, and the shadow that they throw."""
    part = canvas.window(-0.64, 0.64, -0.34, 0.34)
    across, y, pixel = t.x(part, 0.40), t.y(part, 0.36), t.pixel(part)
    style, worn = t.glasses_style, t.glasses
    round_ = (style < 0.35).float()
    wide = mix(torch.full_like(style, 0.162), torch.full_like(style, 0.145), round_)
    high = mix(0.098 + 0.04 * style, torch.full_like(style, 0.142), round_)
    power = 4.2 - 2.0 * round_
    half = 0.009 + 0.012 * t.glasses_colour * (1 - 0.5 * round_)
    x = across.abs() - t.eye_x - 0.012
    y = y - 0.02

    def border(x: Tensor, y: Tensor) -> Tensor:
        q = ((x / wide).abs().clamp_min(1e-4) ** power + (y / high).abs().clamp_min(1e-4) ** power) ** (1 / power)
        return (q - 1) * high

    lens = border(x, y)
    part.darken(worn * stroke(border(x, y - 0.03) - 0.0, half * 1.6, pixel + 0.04) * 0.22)
    tint = smoothstep(9 * t.glasses_tint - 7.6)
    dark = torch.tensor([0.16, 0.14, 0.13], device=x.device)[:, None, None]
    inner = cover(lens, pixel) * worn
    part.paint(inner * (0.05 + 0.80 * tint), dark.expand(len(style), 3, 1, 1))
    streak = (x * across.sign() * 0.8 + y + 0.05 + 0.16 * t.light_x).abs()
    glint = fade(streak - 0.035, 0.03) + 0.7 * fade((streak - 0.085).abs() - 0.008, 0.02)
    part.paint(inner * glint.clamp(0, 1) * (0.16 + 0.30 * t.hard), torch.full((1, 3, 1, 1), 0.97, device=x.device))
    bridge = stroke(y + 0.035 + 0.9 * across**2, half, pixel) * cover(across.abs() - t.eye_x + wide * 0.9, pixel)
    arm = stroke(y + 0.045, half, pixel) * cover(t.eye_x + wide - across.abs(), pixel)
    arm = arm * cover(across.abs() - t.width * 1.02, pixel)
    frame = torch.maximum(stroke(lens, half, pixel), torch.maximum(bridge, arm)) * worn
    # Dark frames, tortoise shell, metal and a few of strong colour.
    metal = torch.tensor([0.78, 0.70, 0.52], device=x.device)[:, None, None]
    shell = torch.tensor([0.20, 0.11, 0.07], device=x.device)[:, None, None]
    kind = t.glasses_colour[:, None]
    plain = torch.where(kind < 0.25, metal, torch.where(kind < 0.5, shell, torch.full_like(shell, 0.07)))
    colour = torch.where(kind > 0.88, hue(t.glasses_style, 0.75, 0.5), plain)
    shine = 1 + 0.5 * (-y / high).clamp(-0.6, 1) * t.hard
    part.paint(frame, (colour * t.light(across) * shine[:, None]).clamp(0, 1))
