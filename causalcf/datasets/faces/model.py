"""The true structural causal model of the attributes of faces, and the noise that everything is drawn from.

    male       = u < 0.42
    age        = 18 + 62 sigmoid(1.4 e - 1.1)                                        years
    smile      = sigmoid(1.5 e)                                                      0 none, 1 all there is
    eyeglasses = e > 1.175                         with corr(e_age, e_eyeglasses) = the confounding
    beard      = u < sigmoid(-0.5 + 0.02 (age - 40)) for men,  sigmoid(-6) for women
    bald       = u < sigmoid(-2.2 + 0.06 (age - 45)) for men,  sigmoid(-7) for women
    hair       = grey if age > 57 + 9 e, else black, brown, blond, red with 0.30, 0.38, 0.25, 0.07

with u ~ U(0, 1) and e ~ N(0, 1), a noise of its own for each. Noise is kept, so that what a person would have
been like is known. Each noise of each row comes from a stream of its own, which asks neither how many rows are
drawn nor what other noises there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

__all__ = ["ATTRIBUTES", "HAIR", "draw_noise", "fill_in"]

Columns = Mapping[str, Tensor]

HAIR = ("black", "brown", "blond", "red", "grey")
"""The colours of hair, in the order of their codes."""

ATTRIBUTES = ("male", "age", "smile", "eyeglasses", "beard", "bald", "hair")
"""The attributes, causes first."""

_BASE_COLOURS = (0.30, 0.38, 0.25, 0.07)

_GLASSES_FROM = 1.175
"""A face wears eyeglasses if its noise exceeds this: 12 % do."""

IDENTITY = (
    "face_width", "face_length", "jaw", "chin", "cheeks", "eye_size", "eye_distance", "eye_tilt", "eye_colour",
    "lid", "brow_height", "brow_thickness", "brow_arch", "nose_width", "nose_length", "nose_bridge", "mouth_width",
    "mouth_height", "lips", "ears", "skin", "skin_hue", "freckles", "wrinkles", "neck",
)  # fmt: skip
LOOKS = (
    "hair_style", "hair_volume", "hair_part", "hair_length", "hair_wave", "hair_fringe", "hair_shade", "hair_strands",
    "bald_style", "beard_style", "beard_length", "teeth", "glasses_style", "glasses_colour", "glasses_tint",
    "make_up", "make_up_hue", "lipstick", "lip_hue", "earrings", "earring_drop", "necklace", "hat", "hat_hue",
)  # fmt: skip
SCENE = (
    "yaw", "pitch", "shift_x", "shift_y", "scale", "gaze", "light_side", "light_height", "light_hardness",
    "light_warmth", "exposure", "backdrop", "backdrop_hue", "backdrop_hue2", "backdrop_tone", "backdrop_tone2",
    "backdrop_place", "backdrop_place2", "clothes", "clothes_hue", "clothes_tone", "collar",
)  # fmt: skip
IMAGE_NOISE = (*IDENTITY, *LOOKS, *SCENE)
"""The noise from which a picture is drawn, besides the attributes: each uniform on (0, 1)."""


def draw_noise(rows: int, stream: tuple[int, int], confounding: float) -> dict[str, Tensor]:
    """All noise of rows 0..rows-1 of a stream: name -> float32 (rows,), uniform or, for age to smile, normal.

    Args:
        rows: How many.
        stream: Seed and split of the draws.
        confounding: Correlation of the noise of eyeglasses with that of age, from a cause that is not recorded.
    """
    names = (*ATTRIBUTES, "greying", *IMAGE_NOISE)
    noise = {name: _uniform(rows, (*stream, crc32(name.encode()))) for name in names}
    for name in ("age", "smile", "eyeglasses", "greying"):
        noise[name] = torch.special.ndtri(noise[name].double()).float()
    noise["eyeglasses"] = confounding * noise["age"] + sqrt(1 - confounding**2) * noise["eyeglasses"]
    return noise


def _uniform(rows: int, stream: tuple[int, ...]) -> Tensor:
    """Uniform on (0, 1), the ends excluded; row i is the same however many rows there are."""
    steps = np.random.default_rng(np.random.SeedSequence(stream)).integers(0, 2**23, rows)
    return torch.from_numpy(((steps + 0.5) / 2**23).astype(np.float32))


def fill_in(noise: Columns, known: Columns) -> dict[str, Tensor]:
    """The attributes that follow from noise: bool, float32 or, for hair, long, of shape (N,).

    Args:
        noise: From `draw_noise`.
        known: attribute -> value for each row: the acted attributes, which keep their values whatever their causes.
    """
    found: dict[str, Tensor] = dict(known)
    for name in ATTRIBUTES:
        if name not in found:
            found[name] = _assign(name, noise, found)
    return {name: found[name] for name in ATTRIBUTES}


def _assign(name: str, noise: Columns, x: Columns) -> Tensor:
    """The structural assignment of one attribute, from its noise and its causes."""
    match name:
        case "male":
            return noise["male"] < 0.42
        case "age":
            return 18 + 62 * torch.sigmoid(1.4 * noise["age"] - 1.1)
        case "smile":
            return torch.sigmoid(1.5 * noise["smile"])
        case "eyeglasses":
            return noise["eyeglasses"] > _GLASSES_FROM
        case "beard":
            logit = torch.where(x["male"], -0.5 + 0.02 * (x["age"] - 40), -6.0)
            return noise["beard"] < torch.sigmoid(logit)
        case "bald":
            logit = torch.where(x["male"], -2.2 + 0.06 * (x["age"] - 45), -7.0)
            return noise["bald"] < torch.sigmoid(logit)
    borders = torch.tensor(_BASE_COLOURS[:-1], device=noise["hair"].device).cumsum(0)
    colour = torch.bucketize(noise["hair"], borders)
    return torch.where(x["age"] > 57 + 9 * noise["greying"], HAIR.index("grey"), colour)
