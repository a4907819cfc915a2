"""One picture, in any form, converted to bytes of a given size and mode."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps
from torch import Tensor

from causalcf.core.errors import DataError, MissingFileError

__all__ = ["CHANNELS", "Fit", "as_pixels"]

Fit = Literal["pad", "crop", "stretch", "exact"]
"""How a picture of another size is made to fit; `from_folder` says what each does."""

CHANNELS = {"L": 1, "RGB": 3}
"""Channels of a mode, as Pillow names it."""

_MIDDLE = (0.5, 0.5)


def as_pixels(value: Any, name: str, size: tuple[int, int], mode: str, fit: Fit) -> NDArray[np.uint8]:
    """A picture as bytes of shape (channels, height, width).

    Args:
        value: A path, the bytes of a file, a Pillow picture, an array of shape (H, W) or (H, W, C), a tensor of shape
            (C, H, W), or a mapping with "bytes" or "path", as Hugging Face stores pictures.
        name: Its name in errors.
        size: Height and width, px.
        mode: "RGB" or "L", which is grey.
        fit: How a picture of another size is made to fit.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is damaged, no picture, or of a kind that cannot be read without a choice.

    Example:
        >>> as_pixels(np.full((2, 4), 255, np.uint8), "a line", (2, 2), "L", "pad").tolist()
        [[[255, 255], [0, 0]]]
    """
    picture = _flat(_opened(value, name), mode, name)
    height, width = size
    if picture.size != (width, height):
        picture = _fitted(picture, (width, height), fit, name)
    pixels = np.asarray(picture)
    return np.array(pixels[None] if mode == "L" else pixels.transpose(2, 0, 1), order="C")  # Pillow's own is read-only


def _opened(value: Any, name: str) -> Pillow.Image:
    """A decoded picture, turned as its camera says."""
    if isinstance(value, Mapping):  # a Hugging Face picture that is not decoded
        value = value["path"] if value.get("bytes") is None else value["bytes"]
    if isinstance(value, np.ndarray | Tensor):
        return _of_array(value, name)
    if isinstance(value, str | Path) and not Path(value).is_file():
        raise MissingFileError(f"{name}: there is no such file.")
    if isinstance(value, str | Path):
        value = Path(value).read_bytes()  # so that no file stays open, whatever comes
    if not isinstance(value, bytes | Pillow.Image):
        raise DataError(f"{name} is {type(value).__name__}: expected a path, bytes, an array or a Pillow picture.")
    try:
        picture = value if isinstance(value, Pillow.Image) else Pillow.open(io.BytesIO(value))
        picture.load()
        turned = ImageOps.exif_transpose(picture)
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:  # what Pillow's decoders raise
        what = (
            "no picture that can be read" if isinstance(error, Pillow.UnidentifiedImageError) else f"damaged: {error}"
        )
        raise DataError(f"{name} is {what}. Replace it, or drop its row.") from None
    if picture.format == "TIFF" and getattr(picture, "n_frames", 1) > 1:
        raise DataError(f"{name} has {picture.n_frames} pages: expected one picture. Write each page to its own file.")  # type: ignore[attr-defined]
    return turned


def _of_array(value: np.ndarray | Tensor, name: str) -> Pillow.Image:
    """An array (H, W) or (H, W, C), or a tensor (C, H, W), as a picture of 8 or 16 bits."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if isinstance(value, Tensor) and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise DataError(
            f"{name} has shape {tuple(value.shape)}: expected an array of (H, W) or (H, W, C) with 1, 3 or 4 channels,"
            " or a tensor of (C, H, W)."
        )
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # so that NaN is refused too
            raise DataError(f"{name} holds floats outside [0, 1]: scale them, or give bytes.")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = _eight_bits(array)
    elif array.dtype != np.uint8:
        raise DataError(f"{name} holds {array.dtype}: expected uint8, uint16, bool, or floats in [0, 1].")
    return Pillow.fromarray(np.ascontiguousarray(array))


def _eight_bits(array: np.ndarray) -> NDArray[np.uint8]:
    """0..65535 to 0..255; Pillow's own conversion cuts at 255."""
    return np.rint(array / 257).astype(np.uint8)


def _flat(picture: Pillow.Image, mode: str, name: str) -> Pillow.Image:
    """The picture in its mode: 16 bits scaled to 8, transparent parts on black."""
    if picture.mode.startswith("I"):
        array = np.asarray(picture)
        if array.min() < 0 or array.max() > 65535:
            raise DataError(f"{name} has more than 16 bits a pixel: convert it to 8 or 16 bits.")
        picture = Pillow.fromarray(_eight_bits(array))
    if picture.mode == "F":
        raise DataError(f"{name} holds 32-bit floats, whose range nobody says: convert it to 8 or 16 bits.")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        opaque = picture.convert("RGBA")
        picture = Pillow.alpha_composite(Pillow.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque)
    return picture.convert(mode)


def _fitted(picture: Pillow.Image, size: tuple[int, int], fit: Fit, name: str) -> Pillow.Image:
    """The picture at a size (width, height)."""
    filter = Pillow.Resampling.BILINEAR  # Pillow widens it when it shrinks, so that nothing is skipped
    match fit:
        case "pad":
            return ImageOps.pad(picture, size, filter, color=0, centering=_MIDDLE)
        case "crop":
            return ImageOps.fit(picture, size, filter, centering=_MIDDLE)
        case "stretch":
            return picture.resize(size, filter)
        case "exact":
            raise DataError(
                f"{name} has {picture.height} x {picture.width} px: expected {size[1]} x {size[0]}."
                ' Resize it, or say how to: fit="pad", "crop" or "stretch".'
            )
    raise DataError(f"fit={fit!r}: choose one of {list(get_args(Fit))}.")
