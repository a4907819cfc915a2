"""The tools that paint faces: soft-edged shapes from signed distances, blended into pictures of many rows at once.

Shapes are given by distances to their border, negative inside. A pixel is covered by the share of it that lies
inside, to first order, so that a shape looks the same at every size. Nearly everything is a sum or product of a
function of x, shape (N, 1, W), and one of y, shape (N, H, 1): only their meeting costs a picture's time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HEAD", "Canvas", "Curve", "above", "cover", "fade", "inside", "smoothstep", "stroke"]

Curve = Callable[[Tensor], Tensor]
"""A line or a profile: from places along one axis to places along the other."""

HEAD = 1.15
"""How long a head unit is in the frame, for a face of the usual size."""

_STEP = 0.004
"""Over which a curve's slope is taken, in head units."""


@dataclass(frozen=True)
class Canvas:
    """Pictures being painted, or a window into them, in the frame's units.

    Args:
        picture: Colours (N, 3, H, W) in [0, 1]; painting changes them in place.
        u: Where the columns' middles are, shape (W,): the frame's square reaches from -1 to 1.
        v: Where the rows' middles are, shape (H,), downwards.
        pixel: Side of a pixel.
    """

    picture: Tensor
    u: Tensor
    v: Tensor
    pixel: float

    @classmethod
    def blank(cls, rows: int, height: int, width: int, reach: tuple[float, float], like: Tensor) -> Canvas:
        """Black pictures that show the frame from -reach to reach, horizontally and vertically."""
        facts = {"device": like.device, "dtype": like.dtype}
        u = ((torch.arange(width, **facts) + 0.5) * 2 / width - 1) * reach[0]
        v = ((torch.arange(height, **facts) + 0.5) * 2 / height - 1) * reach[1]
        return cls(torch.zeros(rows, 3, height, width, **facts), u, v, 2 * reach[0] / width)

    def window(self, left: float, right: float, top: float, bottom: float) -> Canvas:
        """The part of the pictures between these lines, in head units; painting into it paints the whole.

        It is the same part for all faces, so the lines leave room for the heads' places, sizes and turns.
        """
        columns = self._between(self.u, HEAD * left, HEAD * right)
        rows = self._between(self.v, HEAD * top, HEAD * bottom)
        return Canvas(self.picture[:, :, rows, columns], self.u[columns], self.v[rows], self.pixel)

    def _between(self, middles: Tensor, low: float, high: float) -> slice:
        # Lines are counted from the first middle without looking at the tensor, which may be on a device.
        first = -len(middles) * self.pixel / 2
        start = int((low - first) / self.pixel)
        stop = -int((first - high) / self.pixel) + 1
        return slice(max(start, 0), max(min(stop, len(middles)), 0))

    def paint(self, share: Tensor, colour: Tensor) -> None:
        """Blend a colour, (N, 3, 1, 1) or (N, 3, H, W), over the pictures by its share (N, H, W) of each pixel."""
        self.picture.lerp_(colour.expand_as(self.picture), share[:, None].expand_as(self.picture))

    def darken(self, share: Tensor) -> None:
        """Take a share (N, H, W) of the light away."""
        self.picture.mul_((1 - share)[:, None])


def cover(distance: Tensor, pixel: Tensor) -> Tensor:
    """Share of a pixel that lies inside a shape, from the distance of its middle to the border."""
    return (0.5 - distance / pixel).clamp_(0, 1)


def fade(distance: Tensor, width: Tensor | float) -> Tensor:
    """1 well inside a shape, 0 well outside, changing softly over a width."""
    return smoothstep(0.5 - distance / width)


def smoothstep(t: Tensor) -> Tensor:
    """From 0 to 1, flat at both ends, as t goes from 0 to 1."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def stroke(distance: Tensor, half: Tensor | float, pixel: Tensor) -> Tensor:
    """Share of a pixel that a line of some half width covers, right for lines thinner than a pixel, too."""
    reach = pixel / 2
    upper = torch.minimum(torch.maximum(distance + half, -reach), reach)
    lower = torch.minimum(torch.maximum(distance - half, -reach), reach)
    return (upper - lower) / pixel


def inside(x: Tensor, y: Tensor, profile: Curve) -> Tensor:
    """Distance to the border of {x^2 < profile(y)}: a shape given by its squared half width at each height."""
    squared = profile(y)
    slope = (profile(y + _STEP) - profile(y - _STEP)) / (2 * _STEP)
    return (x * x - squared) / (4 * x * x + slope * slope + 1e-6).sqrt_()


def above(x: Tensor, y: Tensor, curve: Curve) -> Tensor:
    """Distance to the border of {y < curve(x)}, the area above a line drawn from left to right."""
    slope = (curve(x + _STEP) - curve(x - _STEP)) / (2 * _STEP)
    return (y - curve(x)) * (1 + slope * slope).rsqrt()
