"""From attributes and noise to measures: how wide, how high, which colour. One number per face each.

Lengths are in head units: half a face is some 0.46 wide, the eyes lie at y = 0, the chin at 0.64, y downwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causalcf.datasets.faces.canvas import HEAD, Canvas, smoothstep
from causalcf.datasets.faces.model import HAIR

__all__ = ["Traits", "mix", "palette", "traits_of"]

Columns = Mapping[str, Tensor]

SKIN = ((0.965, 0.815, 0.735), (0.925, 0.745, 0.635), (0.85, 0.645, 0.505), (0.66, 0.455, 0.335), (0.43, 0.285, 0.21))
HAIR_COLOURS = {
    "black": (0.10, 0.085, 0.085),
    "brown": (0.35, 0.22, 0.14),
    "blond": (0.83, 0.66, 0.40),
    "red": (0.66, 0.28, 0.11),
    "grey": (0.72, 0.71, 0.71),
}
IRIS = ((0.24, 0.14, 0.08), (0.38, 0.24, 0.12), (0.45, 0.38, 0.18), (0.32, 0.44, 0.36), (0.30, 0.46, 0.62))


class Traits:
    """Measures of N faces by name, each of shape (N, 1, 1), or (N, 3, 1, 1) for a colour."""

    def __init__(self, values: Columns) -> None:
        self._values = dict(values)

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, rows: Tensor) -> Traits:
        return Traits({name: value[rows] for name, value in self._values.items()})

    def x(self, canvas: Canvas, depth: float = 0.0) -> Tensor:
        """Columns of a canvas in the head's units, (N, 1, W), at a depth that moves as the head turns.

        The side that turns away is seen narrower.
        """
        x = (canvas.u - self.centre_x) / self.scale - self.yaw * depth
        return x * (1 + 0.5 * self.yaw * x) if depth else x

    def y(self, canvas: Canvas, depth: float = 0.0) -> Tensor:
        """Rows of a canvas in the head's units, (N, H, 1), at a depth that moves as the head nods."""
        return (canvas.v[:, None] - self.centre_y) / self.scale - self.pitch * depth

    def pixel(self, canvas: Canvas) -> Tensor:
        """Side of a pixel in the head's units, (N, 1, 1)."""
        return canvas.pixel / self.scale

    def light(self, x: Tensor) -> Tensor:
        """How bright a rounded thing is at each x of shape (N, 1, W): colours (N, 3, 1, W) multiply with it."""
        facing = (0.75 * self.light_z + self.light_x * (1.6 * x).clamp(-0.8, 0.8)).clamp_min(0)
        return (self.ambient + self.key * facing[:, None]).sqrt()


def mix(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    """(1 - share) a + share b."""
    return a + (b - a) * share


def palette(colours: tuple[tuple[float, float, float], ...], place: Tensor) -> Tensor:
    """Colours (N, 3, 1, 1) between those of a palette, from 0 for the first to 1 for the last, place (N, 1, 1)."""
    anchors = torch.tensor(colours, device=place.device, dtype=place.dtype)
    steps = place.flatten().clamp(0, 1) * (len(colours) - 1)
    low = steps.floor().clamp(max=len(colours) - 2)
    colour = torch.lerp(anchors[low.long()], anchors[low.long() + 1], (steps - low)[:, None])
    return colour[:, :, None, None]


def hue(place: Tensor, saturation: Tensor | float, value: Tensor | float) -> Tensor:
    """Colours (N, 3, 1, 1) around the circle of hues, all arguments (N, 1, 1) in [0, 1]."""
    shifts = torch.tensor([0.0, 2 / 3, 1 / 3], device=place.device, dtype=place.dtype)[:, None, None]
    wave = 0.5 + 0.5 * torch.cos(2 * torch.pi * (place[:, None] + shifts))
    saturation, value = (
        torch.as_tensor(t, device=place.device).expand(place.shape)[:, None] for t in (saturation, value)
    )
    return value * (1 - saturation + saturation * wave)


def traits_of(attributes: Columns, noise: Columns) -> Traits:
    """All measures of the faces of these attributes and this noise, each column of shape (N,)."""
    u = {name: value[:, None, None] for name, value in noise.items()}
    n = {name: torch.special.ndtri(value).clamp(-2.2, 2.2) for name, value in u.items() if name not in _NORMAL}
    a = {name: value[:, None, None].float() for name, value in attributes.items()}
    found = {"male": a["male"], "smile": a["smile"], "beard": a["beard"], "bald": a["bald"], "glasses": a["eyeglasses"]}
    found["age"] = (a["age"] - 18) / 62
    found["old"] = smoothstep((a["age"] - 20) / 56)
    found |= _pose(n) | _skull(found, n) | _features(found, n, u) | _skin(found, n, u) | _light(n)
    found |= _hair(attributes["hair"], found, n, u)
    for name in _PASSED:  # noise that is used as it is
        found[name] = u[name]
    return Traits(found)


_NORMAL = ("age", "smile", "eyeglasses", "greying")
_PASSED = (
    "hair_part", "hair_wave", "hair_fringe", "hair_strands", "bald_style", "beard_style", "beard_length", "teeth",
    "glasses_style", "glasses_colour", "glasses_tint", "earrings", "necklace", "hat", "hat_hue", "backdrop",
    "backdrop_hue", "backdrop_hue2", "backdrop_tone", "backdrop_tone2", "backdrop_place", "backdrop_place2",
    "clothes", "clothes_hue", "clothes_tone", "collar", "wrinkles", "hair_length", "make_up_hue", "lip_hue",
    "earring_drop",
)  # fmt: skip


def _pose(n: Columns) -> dict[str, Tensor]:
    return {
        "yaw": 0.15 * n["yaw"],
        "pitch": 0.06 * n["pitch"],
        "centre_x": 0.03 * n["shift_x"],
        "centre_y": -0.03 + 0.025 * n["shift_y"],
        "scale": HEAD * (1 + 0.03 * n["scale"]),
    }


def _skull(f: Columns, n: Columns) -> dict[str, Tensor]:
    male, old = f["male"], f["old"]
    return {
        "width": 0.45 + 0.014 * n["face_width"] + 0.014 * male,
        "chin": 0.625 + 0.018 * n["face_length"] + 0.022 * male,
        "crown": -0.66 - 0.01 * n["face_length"],
        "jaw": 2.35 + 0.55 * male + 0.22 * n["jaw"] + 0.35 * old,
        "taper": 0.27 - 0.07 * male + 0.045 * n["chin"] - 0.06 * old,
        "cheeks": 1 + 0.25 * n["cheeks"] - 0.25 * old + 0.15 * (1 - male),
        "neck": 0.235 + 0.055 * male + 0.012 * n["neck"] + 0.01 * old,
        "ear": 1 + 0.09 * n["ears"] + 0.12 * old + 0.05 * male,
    }


def _features(f: Columns, n: Columns, u: Columns) -> dict[str, Tensor]:
    male, old, smile = f["male"], f["old"], f["smile"]
    return {
        "eye_x": 0.203 + 0.009 * n["eye_distance"],
        "eye_w": 0.1 + 0.005 * n["eye_size"] - 0.004 * male,
        "eye_h": (0.05 + 0.005 * n["eye_size"] - 0.006 * male - 0.009 * old) * (1 - 0.24 * smile),
        "eye_tilt": 0.008 + 0.007 * n["eye_tilt"] - 0.012 * old,
        "gaze": 0.008 * n["gaze"],
        "lid": 0.028 + 0.006 * n["lid"] - 0.004 * male,
        "lashes": 0.006 + 0.006 * (1 - male) + 0.004 * (1 - male) * u["make_up"],
        "brow_y": -0.146 - 0.012 * n["brow_height"] + 0.022 * male + 0.01 * old - 0.008 * smile,
        "brow_h": (0.020 + 0.0035 * n["brow_thickness"] + 0.009 * male) * (1 - 0.15 * old),
        "brow_arch": 0.028 + 0.009 * n["brow_arch"] - 0.012 * male,
        "nose_y": 0.262 + 0.014 * n["nose_length"] + 0.010 * male + 0.012 * old,
        "nose_w": (0.078 + 0.007 * n["nose_width"] + 0.008 * male + 0.006 * old) * (1 + 0.1 * smile),
        "nose_h": 1 + 0.2 * n["nose_bridge"] + 0.12 * male,
        "mouth_y": 0.412 + 0.008 * n["mouth_height"] + 0.008 * male,
        "mouth_w": (0.155 + 0.009 * n["mouth_width"] + 0.006 * male) * (1 + 0.27 * smile),
        "lips": (1 + 0.2 * n["lips"] - 0.2 * male) * (1 - 0.32 * old) * (1 - 0.15 * smile),
        "lipstick": (1 - male) * smoothstep(4 * u["lipstick"] - 1.6),
        "make_up": (1 - male) * smoothstep(4 * u["make_up"] - 2),
        "iris": palette(IRIS, u["eye_colour"]),
    }


def _skin(f: Columns, n: Columns, u: Columns) -> dict[str, Tensor]:
    place = u["skin"] ** 1.5
    skin = palette(SKIN, place)
    warm = torch.tensor([0.012, 0.0, -0.018], device=place.device)[:, None, None] * n["skin_hue"][:, None]
    grey = skin.mean(1, keepdim=True)
    skin = mix(skin + warm, grey * 1.01, 0.14 * f["old"][:, None])
    return {
        "skin": skin.clamp(0, 1),
        "fair": 1 - place,
        "freckles": smoothstep(6 * u["freckles"] - 4.6) * smoothstep(2.2 * (1 - place) - 0.7),
    }


def _light(n: Columns) -> dict[str, Tensor]:
    side = 0.30 * n["light_side"].sign() + 0.26 * n["light_side"]
    height = 0.48 + 0.2 * n["light_height"]
    length = (1 + side**2 + height**2).sqrt()
    hard = torch.sigmoid(0.3 + 0.8 * n["light_hardness"])
    exposure = 1 + 0.07 * n["exposure"]
    warmth = torch.tensor([0.07, 0.005, -0.08], device=side.device)[:, None, None] * n["light_warmth"][:, None]
    return {
        "light_x": side / length,
        "light_y": -height / length,
        "light_z": 1 / length,
        "hard": hard,
        "ambient": (exposure * (0.58 - 0.38 * hard))[:, None] * (1 - 0.4 * warmth),
        "key": (exposure * (0.46 + 0.45 * hard))[:, None] * (1 + warmth),
    }


def _hair(codes: Tensor, f: Columns, n: Columns, u: Columns) -> dict[str, Tensor]:
    colours = torch.tensor([HAIR_COLOURS[name] for name in HAIR], device=codes.device)
    hair = colours[codes][:, :, None, None] * (1 + 0.16 * n["hair_shade"])[:, None]
    # White hairs come before a head is grey: those of the old are paler than those of the young.
    hair = mix(hair, hair.mean(1, keepdim=True) + 0.08, 0.4 * f["old"][:, None]).clamp(0, 1)
    male, bald, style = f["male"], f["bald"], u["hair_style"]
    short = _step(style, mix(torch.full_like(male, 0.14), torch.full_like(male, 0.88), male))
    tied = (1 - short) * _step(u["hair_length"], torch.full_like(male, 0.22))
    curly = _step(u["hair_wave"], torch.full_like(male, 0.24))
    receding = (male * (0.35 * f["old"] + 0.12 * u["hair_fringe"])).clamp(0, 1)
    return {
        "hair": hair,
        "short": torch.maximum(short, tied),
        "tied": tied,
        "curly": curly,
        "shaved": bald * _step(u["bald_style"], torch.full_like(male, 0.35)),
        "volume": 0.055 + 0.014 * n["hair_volume"] - 0.012 * f["old"] + 0.03 * curly,
        "receding": receding,
    }


def _step(value: Tensor, below: Tensor) -> Tensor:
    """1 where a uniform noise is below a probability, else 0."""
    return (value < below).float()
