"""Random changes of training images that leave what is predicted true, and those that would not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from causalcf.core.errors import MechanismError
from causalcf.core.settings import Range, require_settings
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical

__all__ = ["Jitter"]

_CHANGED = {
    "flip": "left right side yaw gaze digit letter character parting",
    "crop": "thickness width height size scale length area zoom shift",
    "colour": "colour color hue tint tone skin hair warmth black brown blond blonde red grey gray green blue white",
    "brightness": "brightness intensity exposure light contrast dark",
}
"""Change -> words in the name of what is predicted, or of its classes, that say that it changes with it."""


@dataclass(frozen=True)
class Jitter:
    """Random changes of training images that leave their labels true.

    Args:
        shift: Largest shift in pixels, each way; only background may leave the frame.
        brightness: Darkest peak that images are rescaled to (the brightest is 1), or 0 for no
            rescaling. Half of the images are rescaled.
        scales: Nodes that are proportional to the brightness of the pixels; they are rescaled too.
        flip: Whether half of the images are mirrored, left to right.
        crop: Largest share of height and width that is cut off; the rest is enlarged to the whole.
        colour: How far each channel is scaled and moved: by factors of 1 - colour to 1 + colour, and by half as much.

    Raises:
        MechanismError: A share is not in 0..1.
    """

    shift: int = 0
    brightness: float = 0.0
    scales: tuple[str, ...] = ()
    flip: bool = False
    crop: float = 0.0
    colour: float = 0.0

    def __post_init__(self) -> None:
        share = Range(0, 1, below=True)
        require_settings(self, "A predictor's jitter", MechanismError, brightness=Range(0, 1), crop=share, colour=share)

    def require_true(self, target: str, variable: Variable) -> None:
        """Raise if what is predicted would change with the images.

        Its name, and those of its classes, tell: hair that is black, brown or blond changes with the colours.

        Raises:
            MechanismError: Names the change and the word.

        Example:
            >>> from causalcf.variables import Boolean
            >>> Jitter(colour=0.2).require_true("eyeglasses", Boolean())
        """
        names = [target, *(variable.categories if isinstance(variable, Categorical) else ())]
        words = {word for name in names for word in re.split(r"[^a-z]+", str(name).lower())}
        for change, changed in _CHANGED.items():
            hit = sorted(words & set(changed.split()))
            if getattr(self, change) and hit and target not in self.scales:
                raise MechanismError(
                    f"jitter with {change}={getattr(self, change)!r} would change '{target}' ('{hit[0]}'), and the"
                    f" predictor of it would learn what is false. Leave {change} out."
                )

    def __call__(self, image: Tensor, columns: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Changed images, and the columns that go with them."""
        columns = dict(columns)
        if self.brightness:
            peak = image.flatten(1).amax(1).clamp_min(1e-3)
            wanted = self.brightness + (1 - self.brightness) * torch.rand_like(peak)
            factor = torch.where(torch.rand_like(peak) < 0.5, wanted / peak, 1.0)
            image = image * factor[:, None, None, None]
            columns |= {name: columns[name] * factor for name in self.scales if name in columns}
        if self.colour:
            factor, offset = 2 * torch.rand(2, *image.shape[:2], 1, 1, device=image.device, dtype=image.dtype) - 1
            image = ((1 + self.colour * factor) * image + self.colour / 2 * offset).clamp(0, 1)
        if self.flip or self.crop:
            image = _seen_anew(image, flip=self.flip, crop=self.crop)
        return (_shifted(image, self.shift) if self.shift else image), columns


def _seen_anew(image: Tensor, *, flip: bool, crop: float) -> Tensor:
    """Images mirrored, half of them, and cut to a random window each, enlarged to the whole."""
    rows = len(image)
    size = 1 - crop * torch.rand(rows, device=image.device, dtype=image.dtype)
    place = (1 - size)[:, None] * (2 * torch.rand(rows, 2, device=image.device, dtype=image.dtype) - 1)
    mirrored = torch.rand(rows, device=image.device) < 0.5 if flip else torch.zeros(rows, device=image.device)
    across = torch.where(mirrored.bool(), -size, size)
    zeros = torch.zeros_like(size)
    maps = torch.stack([torch.stack([across, zeros, place[:, 0]], 1), torch.stack([zeros, size, place[:, 1]], 1)], 1)
    grid = F.affine_grid(maps, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def _shifted(image: Tensor, most: int) -> Tensor:
    """Each image moved by its own whole number of pixels, zeros moving in."""
    rows, _, height, width = image.shape
    padded = F.pad(image, (most,) * 4)
    down, right = torch.randint(2 * most + 1, (2, rows, 1), device=image.device)
    at_y = (down + torch.arange(height, device=image.device))[:, None, :, None]
    at_x = (right + torch.arange(width, device=image.device))[:, None, None, :]
    at_row = torch.arange(rows, device=image.device)[:, None, None, None]
    at_channel = torch.arange(image.shape[1], device=image.device)[None, :, None, None]
    return padded[at_row, at_channel, at_y, at_x]
