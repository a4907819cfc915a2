"""The surroundings of a face: the backdrop, clothes, earrings and a necklace."""

from __future__ import annotations

import torch
from torch import Tensor

from causalcf.datasets.faces.anatomy import Traits, hue, mix
from causalcf.datasets.faces.canvas import Canvas, above, cover, fade, inside, smoothstep, stroke

__all__ = ["paint_backdrop", "paint_clothes", "paint_earrings", "paint_vignette"]


def paint_backdrop(canvas: Canvas, t: Traits) -> None:
    """A plain studio wall, a blurred room or a blurred garden: sums of products of a band in x and one in y."""
    u, v = canvas.u.expand(1, 1, -1), canvas.v[:, None].expand(1, -1, 1)
    kind = t.backdrop
    tone, tone2 = 0.25 + 0.65 * t.backdrop_tone, 0.2 + 0.7 * t.backdrop_tone2
    calm, lively = hue(t.backdrop_hue, 0.22, tone), hue(t.backdrop_hue2, 0.42, tone2)
    studio = (kind < 0.45).float()
    room = ((kind >= 0.45) & (kind < 0.72)).float()
    garden = 1 - studio - room
    calm = mix(calm, hue(0.20 + 0.2 * t.backdrop_hue, 0.36, 0.30 + 0.35 * tone), garden[:, None])
    place, place2 = 2 * t.backdrop_place - 1, 2 * t.backdrop_place2 - 1
    # (weight, colour, at x, spread, at y, spread); a spread of 9 is everywhere
    spots = [
        (studio, lively * 0 + 0.16, place * 0.4, 0.8, -0.35, 0.7),
        (studio, lively * 0 - 0.20, place * 0.0, 9.0, 1.4, 0.7),
        (room, lively - calm, place, 0.30, place2 * 0.3, 9.0),
        (room, lively * 0 + 0.30, -place, 0.22, -0.45, 0.38),
        (room, calm * -0.45, 0 * place, 9.0, 1.3, 0.35),
        (garden, lively * 0 + 0.33, place, 0.26, -0.8 + 0.2 * place2, 0.24),
        (garden, lively * 0.25 + 0.1, place2, 0.20, -0.4 * place - 0.2, 0.20),
        (garden, lively * 0 + 0.25, place2 - place, 0.15, -0.6, 0.15),
        (garden, lively * 0 - 0.22, -place2, 0.35, 0.3, 0.45),
        (garden, (lively - calm) * 0.6, 0.9 - place * 0.3, 0.22, 0.4 * place2, 0.26),
    ]
    picture = calm.expand_as(canvas.picture).clone()
    for weight, colour, at_x, wide, at_y, high in spots:
        bell_x = torch.exp(-0.5 * ((u - at_x) / wide) ** 2)
        bell_y = torch.exp(-0.5 * ((v - at_y) / high) ** 2) * weight
        picture.addcmul_(colour * bell_y[:, None], bell_x[:, None])
    canvas.picture.copy_(picture.clamp_(0.02, 1))


def paint_clothes(canvas: Canvas, t: Traits) -> None:
    """A jersey with a round or pointed neckline, a shirt with a collar, or a jacket over one."""
    part = canvas.window(-1.2, 1.2, 0.45, 2.0)
    x, y, pixel = t.x(part), t.y(part), t.pixel(part)
    kind = t.clothes
    shirt, jacket = (kind > 0.62).float(), (kind > 0.80).float()
    pointed = ((kind > 0.38) & (kind <= 0.62)).float()
    broad = 0.80 + 0.10 * t.male

    def shoulders(x: Tensor) -> Tensor:
        r = (x.abs() - t.neck).clamp_min(0)
        return 0.80 + 0.30 * r**0.75 - 0.04 * t.male + 0.9 * (x.abs() - broad).clamp_min(0) ** 2

    def neckline(x: Tensor) -> Tensor:
        r = x / (t.neck + 0.07)
        deep = 0.15 + 0.14 * t.collar
        dip = mix(1 - r * r, 1.6 * (1 - r.abs()), pointed)
        return 0.80 + 0.02 * pointed + deep * dip - 0.5 * (r.abs() - 1).clamp_min(0)

    body = torch.maximum(-above(x, y, shoulders), -above(x, y, neckline))
    # Lively clothes are seldom; most are dark, white, grey or blue.
    strength = 0.15 + 0.5 * smoothstep((t.clothes_tone - 0.4) * 3)
    value = mix(0.14 + 0.75 * t.clothes_tone, torch.full_like(kind, 0.85), shirt)
    cloth = hue(t.clothes_hue, mix(strength, torch.full_like(kind, 0.12), shirt), value)
    light = t.light(0.6 * x)
    shade = (1 - 0.20 * (x / 0.9).abs().clamp(max=1.4) ** 2) * (1 - 0.10 * smoothstep((y - 0.9) / 0.5))
    folds = 1 + 0.05 * torch.sin(9 * x + 7 * y * x.sign() + 6 * t.collar)
    share = cover(body, pixel)
    part.darken(cover(body - 0.02, pixel + 0.03) * 0.3)
    part.paint(share, (cloth * light * (shade * folds)[:, None]).clamp(0, 1))
    hem = stroke(body + 0.018, 0.016, pixel) * (1 - shirt)
    part.darken(hem * 0.16)
    _paint_collar(part, t, x, y, shirt, jacket, light)


def _paint_collar(part: Canvas, t: Traits, x: Tensor, y: Tensor, shirt: Tensor, jacket: Tensor, light: Tensor) -> None:
    pixel = t.pixel(part)
    white = hue(t.clothes_hue, 0.10, 0.9)
    inner = 0.035 + 0.75 * (1.06 - y).clamp_min(0) * t.neck / 0.27
    leaf = torch.maximum(inner - x.abs(), x.abs() - inner - 0.15 - 0.18 * (y - 0.95))
    leaf = torch.maximum(leaf, torch.maximum(y - 1.10 + 0.25 * (x.abs() - 0.1).abs(), 0.72 + 0.12 * x.abs() - y))
    dark = hue(t.clothes_hue + 0.06, 0.35, 0.13 + 0.25 * t.clothes_tone)
    lapel = 0.04 + 0.42 * (1.62 - y).clamp_min(0)
    coat = cover(
        torch.maximum(lapel - x.abs(), -above(x, y, lambda h: 0.79 + 0.30 * (h.abs() - t.neck).clamp_min(0) ** 0.75)),
        pixel,
    )
    part.paint(coat * jacket, dark * light * torch.ones_like(part.picture))
    part.darken(fade((x.abs() - lapel).abs() - 0.004, 0.03) * jacket * 0.35 * (y > 0.85))
    part.darken(cover(leaf - 0.012, pixel + 0.03) * shirt * 0.25)
    part.paint(cover(leaf, pixel) * shirt, (white * light).clamp(0, 1) * torch.ones_like(part.picture))


def paint_earrings(canvas: Canvas, t: Traits) -> None:
    """Earrings, mostly on women, and a chain around the neck."""
    part = canvas.window(-0.72, 0.72, 0.05, 1.1)
    x, y, pixel = t.x(part) - 0.02 * t.yaw, t.y(part), t.pixel(part)
    worn = (t.earrings < 0.42 - 0.38 * t.male).float()
    lean = x.sign() * t.yaw * 0.25
    drop = 0.02 + 0.10 * t.earring_drop
    off = x.abs() - t.width * (0.99 - lean) - 0.028
    gold = torch.tensor([0.95, 0.78, 0.42], device=x.device)[:, None, None]
    pearl = torch.tensor([0.95, 0.93, 0.90], device=x.device)[:, None, None]
    colour = torch.where(t.earring_drop[:, None] < 0.5, gold, pearl)

    def bead(h: Tensor) -> Tensor:
        return 0.021**2 * (1 - ((h - 0.245 - 0.5 * drop) / (0.022 + 0.5 * drop)) ** 2)

    part.paint(cover(inside(off, y, bead), pixel) * worn, colour * t.light(x).clamp(0.6, 1))
    chain = (t.necklace < 0.30 - 0.24 * t.male).float()

    def hang(x: Tensor) -> Tensor:
        return 0.93 - 2.1 * x**2

    line = stroke(above(x, y, hang), 0.007, pixel) * cover(x.abs() - t.neck - 0.03, pixel)
    part.paint(line * chain, gold * 0.95)


def paint_vignette(canvas: Canvas) -> None:
    """Corners a little darker."""
    off = (canvas.u**2)[None, None, :] + (canvas.v**2)[None, :, None]
    canvas.darken((0.055 * off.clamp(max=3)).expand(canvas.picture.shape[0], -1, -1))
