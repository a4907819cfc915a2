"""Skin: the head, its relief under the light, ears, neck and shoulders."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.datasets.faces.anatomy import Traits, mix
from causalcf.datasets.faces.canvas import Canvas, cover, fade, inside, smoothstep

__all__ = ["outline", "paint_ears", "paint_head", "paint_neck"]

DEPTH = 0.32
"""How far in front of the head's axis the face lies."""


def outline(t: Traits, y: Tensor) -> Tensor:
    """Squared half width of the head at each height."""
    up = (-y / -t.crown).clamp_min(0)
    low = (y / t.chin).clamp_min(0)
    round_top = 1 - up**2.4
    jaw = (1 - low**t.jaw) * (1 - t.taper * low * low) ** 2
    return t.width**2 * round_top * jaw


def head_x(t: Traits, canvas: Canvas, y: Tensor) -> Tensor:
    """x against the head's outline, whose chin turns more than its crown: shape (N, H, W)."""
    return t.x(canvas) - t.yaw * (0.1 + 0.14 * smoothstep(y / 0.6))


def paint_head(canvas: Canvas, t: Traits) -> tuple[Canvas, Tensor]:
    """The face and the bare skull; gives the window painted in, and the share of its pixels that the head covers."""
    part = canvas.window(-0.68, 0.68, -0.85, 0.8)
    y, pixel = t.y(part), t.pixel(part)
    x = head_x(t, part, y)
    share = cover(inside(x, y, lambda h: outline(t, h)), pixel)
    part.paint(share, _lit_skin(part, t, x, y))
    return part, share


def _lit_skin(part: Canvas, t: Traits, x: Tensor, y: Tensor) -> Tensor:
    """Colour of the skin everywhere in a window, shape (N, 3, H, W)."""
    slope_x, slope_y, red, dark = _relief(part, t)
    dark = dark + _freckles(part, t)
    turned = x * outline(t, y).clamp_min(0.02).rsqrt()
    slope_x = slope_x - 0.42 * turned - 0.5 * turned**3
    slope_y = slope_y - 0.22 * (y + 0.02) - 0.9 * ((y - 0.1) / 0.75) ** 3
    facing = (t.light_z + t.light_x * -slope_x + t.light_y * -slope_y) * (1 + slope_x**2 + slope_y**2).rsqrt()
    diffuse = ((facing + 0.18) / 1.18).clamp_min(0)
    shine = (diffuse - 0.78).clamp_min(0) ** 2 * (1.1 + 1.6 * t.bald * smoothstep(-0.4 - 5 * y))
    shaded = t.ambient * (1 - 0.55 * dark)[:, None] + t.key * (diffuse * (1 - 0.25 * dark))[:, None]
    rosy = torch.tensor([0.0, -0.30, -0.26], device=x.device)[:, None, None]
    colour = t.skin * (1 + rosy * red[:, None]) * shaded.clamp_min(0).sqrt()
    return (colour + shine[:, None]).clamp_(0, 1)


def _relief(part: Canvas, t: Traits) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Slopes of the face's relief in x and y, and how much redder and darker the skin is: (N, H, W) each.

    The relief is a sum of bumps, each the product of a bell over x and one over y, so that the whole sum is a
    product of matrices.
    """
    bumps = _bumps(t)
    x, y = t.x(part, DEPTH), t.y(part, DEPTH)
    # What is thinner than a pixel is blurred by it and keeps its weight.
    blur = (0.4 * t.pixel(part)) ** 2
    at_x, wide, at_y, high, rise, redness, darkness, both = bumps.unbind(0)
    wide_seen, high_seen = (wide**2 + blur).sqrt(), (high**2 + blur).sqrt()
    weight = wide * high / (wide_seen * high_seen)
    mirrored = torch.where(both > 0, x.abs(), x)
    off_x = (mirrored - at_x) / wide_seen
    bell_x = torch.exp(-0.5 * off_x**2)
    side = torch.where(both > 0, x.sign(), 1.0)
    tilt_x = -side * off_x / wide_seen * bell_x
    rows = y.mT  # (N, 1, H), to meet the bumps (N, K, 1)
    off_y = (rows - at_y) / high_seen
    bell_y = weight * torch.exp(-0.5 * off_y**2)
    tilt_y = -off_y / high_seen * bell_y
    slope_x = (rise * bell_y).mT @ tilt_x
    fields = torch.cat([rise * tilt_y, redness * bell_y, darkness * bell_y], -1).mT @ bell_x
    slope_y, red, dark = fields.chunk(3, 1)
    return slope_x, slope_y, red, dark


def _freckles(part: Canvas, t: Traits) -> Tensor:
    """Dots on cheeks and nose, where two patterns of waves meet; finer than a pixel, they are only a tan."""
    x, y = t.x(part, DEPTH), t.y(part, DEPTH)
    visible = torch.exp(-((70 * t.pixel(part)) ** 2) / 14)
    waves = torch.sin(71 * x + 3) * torch.sin(63 * y + 1) + torch.sin(53 * x) * torch.sin(83 * y + 2)
    place = torch.exp(-0.5 * (x / 0.22) ** 2) * torch.exp(-0.5 * ((y - 0.14) / 0.075) ** 2)
    return place * t.freckles * (0.07 + 0.5 * visible * (waves - 0.55).clamp_min(0))


def _bumps(t: Traits) -> Tensor:
    """The bumps as (8, N, K, 1): place and spread in x, in y, height, redness, darkness, on both sides or not."""
    one, old, smile, male = torch.ones_like(t.age), t.old, t.smile, t.male
    lines = old * (0.5 + t.wrinkles)
    nose, mouth, brow, f = t.nose_y, t.mouth_y, t.brow_y, t.fair
    ridge = t.nose_h
    table = [
        # x, spread, y, spread, rise, redness, darkness, on both sides
        (0, 0.036, 0.08, 0.105, 0.048 * ridge, 0, 0, 0),  # ridge of the nose
        (0, 0.047, nose - 0.035, 0.045, 0.056 * ridge, 0.26 * f, 0, 0),  # its tip
        (t.nose_w * 0.74, 0.026, nose - 0.02, 0.026, 0.021, 0.16 * f, 0, 1),  # its wings
        (0, 0.065, nose + 0.035, 0.018, 0, 0, 0.30, 0),  # under it
        (t.nose_w + 0.004, 0.010, nose - 0.022, 0.028, -0.004, 0.1, 0.30, 1),  # beside the wings
        (0.064, 0.030, 0.0, 0.055, -0.024, 0, 0.18, 1),  # inner corners of the eyes
        (0.205, 0.095, -0.005, 0.042, -0.020, 0.05, 0.24, 1),  # sockets
        (0.205, 0.13, brow + 0.0, 0.045, 0.012 + 0.012 * male, 0, 0, 1),  # ridges of the brows
        (0, 0.2, -0.36, 0.13, 0.03, 0, 0, 0),  # forehead
        (0.26, 0.10, 0.17, 0.085, (0.034 + 0.022 * smile) * t.cheeks, (0.26 + 0.16 * t.make_up) * f, 0, 1),  # cheeks
        (0.30, 0.055, 0.36, 0.09, -0.018 * t.cheeks - 0.012 * old, 0, 0.14 + 0.10 * old, 1),  # hollow below
        (0.0, 0.15, mouth + 0.005, 0.075, 0.018, 0, 0, 0),  # round of the mouth
        (0, 0.016, mouth - 0.085, 0.032, -0.006, 0, 0.14, 0),  # groove above the lip
        (0, 0.085, mouth + 0.105, 0.022, -0.014, 0, 0.26, 0),  # below the lip
        (0, 0.085, t.chin - 0.085, 0.05, 0.030 + 0.006 * male, 0.08 * f, 0, 0),  # chin
        (t.mouth_w + 0.016, 0.018, mouth - 0.01, 0.026, -0.006, 0, 0.16 + 0.1 * smile, 1),  # corners of the mouth
        (0.20, 0.062, 0.078, 0.017, 0.004 * old, 0.05, (0.10 + 0.34 * lines) * one, 1),  # bags under the eyes
        (0.20, 0.062, 0.105, 0.012, -0.004 * lines, 0, 0.20 * lines, 1),
        (0.345, 0.022, -0.022, 0.0055, 0, 0, (0.75 * lines + 0.25 * smile) * one, 1),  # crow's feet
        (0.350, 0.022, 0.012, 0.0055, 0, 0, (0.75 * lines + 0.25 * smile) * one, 1),
        (0.340, 0.022, 0.046, 0.0055, 0, 0, (0.55 * lines + 0.2 * smile) * one, 1),
        (0, 0.16, -0.25, 0.0075, -0.0060 * lines, 0, 0.30 * lines, 0),  # lines of the forehead
        (0.02, 0.19, -0.305, 0.0075, -0.0065 * lines, 0, 0.36 * lines, 0),
        (-0.01, 0.15, -0.36, 0.0075, -0.0055 * lines, 0, 0.26 * lines, 0),
        (0.028, 0.006, brow - 0.005, 0.034, -0.002 * lines, 0, 0.5 * lines * (0.5 + male), 1),  # frown
        (0.0, 0.20, mouth + 0.02, 0.11, 0, 0, 0.14 * male * (1 - 0.5 * t.age), 0),  # where a beard would grow
    ]  # fmt: skip
    columns = zip(*table, strict=True)
    return torch.stack([torch.cat([one * value for value in column], 1) for column in columns])


def paint_ears(canvas: Canvas, t: Traits) -> None:
    """Ears, behind the head."""
    part = canvas.window(-0.72, 0.72, -0.3, 0.45)
    x, y, pixel = t.x(part) - 0.02 * t.yaw, t.y(part), t.pixel(part)
    lean = x.sign() * t.yaw * 0.25  # the ear on the far side hides behind the head
    off_x = x.abs() - t.width * (0.99 - lean) - 0.09 * (0.09 - y)
    size = t.ear
    off_y = y - 0.075

    def rim(h: Tensor) -> Tensor:
        return (0.072 * size) ** 2 * (1 - ((h - 0.01) / (0.148 * size)) ** 2)

    def hollow(h: Tensor) -> Tensor:
        return (0.036 * size) ** 2 * (1 - ((h + 0.02) / (0.092 * size)) ** 2)

    skin = t.skin * t.light(x) * 0.95
    rosy = torch.tensor([1.0, 0.88, 0.86], device=x.device)[:, None, None]
    part.paint(cover(inside(off_x, off_y, rim), pixel), skin * rosy)
    part.darken(0.34 * fade(inside(off_x - 0.012, off_y, hollow), 0.05))


def paint_neck(canvas: Canvas, t: Traits) -> None:
    """Neck and the skin of the shoulders; the head's shadow falls on it."""
    part = canvas.window(-1.2, 1.2, 0.2, 2.0)
    x, y, pixel = t.x(part) - 0.05 * t.yaw, t.y(part), t.pixel(part)

    def column(h: Tensor) -> Tensor:
        spread = (h - 0.74).clamp_min(0)
        return (t.neck + 1.5 * spread**1.7) ** 2 * smoothstep((h - 0.15) * 8)

    share = cover(inside(x, y, column), pixel)
    across = x / t.neck
    round_ = (1 - 0.22 * across.abs().clamp(max=1.3) ** 2.5) * torch.ones_like(y)
    colour = t.skin * t.light(x) * round_[:, None] * 0.97
    part.paint(share, colour)
    # A soft shadow of the jaw, longer where the light comes from above, thrown away from the light.
    drop = 0.07 - 0.16 * t.light_y
    thrown = inside(x + 0.16 * t.light_x - 0.2 * t.yaw, y - drop, lambda h: outline(t, h))
    part.darken(share * fade(thrown, 0.16) * (0.30 + 0.26 * t.hard))
    tendon = fade((x.abs() - t.neck * (0.95 - 0.8 * smoothstep((y - 0.55) / 0.45))).abs() - 0.02, 0.07)
    part.darken(share * tendon * 0.10 * (0.4 + t.old))


def skin_shade(t: Traits, x: Tensor, factor: float) -> Tensor:
    """A darker tone of the skin in this light, for creases: (N, 3, 1, W)."""
    tone = torch.tensor([0.62, 0.40, 0.34], device=x.device)[:, None, None]
    return mix(t.skin, t.skin * tone, factor) * t.light(x)
