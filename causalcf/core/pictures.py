"""Images as PNGs inside a page: one pixel a pixel, no resampling, no file."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
import torch
from torch import Tensor

__all__ = ["difference_url", "doubt_url", "image_url"]

MORE, LESS = (196, 62, 34), (37, 99, 168)
"""Colours of pixels that became brighter, and darker."""


def image_url(pixels: Tensor) -> str:
    """An image (c, h, w) in [0, 1] as the data URL of a PNG of bytes; of other than 3 channels, their mean.

    Example:
        >>> image_url(torch.zeros(1, 2, 2))[:22]
        'data:image/png;base64,'
    """
    shown = pixels.detach().cpu().float().clamp(0, 1)
    shown = shown if shown.shape[0] == 3 else shown.mean(0, keepdim=True)
    values = (shown * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return _url(values[..., 0] if values.shape[-1] == 1 else values)


def difference_url(difference: Tensor) -> str:
    """A signed difference (c, h, w) in [-1, 1]: red where brighter, blue where darker, clear where equal.

    Opacity is the 0.7th power of the difference, so that small ones can be seen on a light page and a dark one.
    """
    signed = difference.detach().cpu().float().mean(0).clamp(-1, 1)
    colour = torch.where(signed[..., None] > 0, torch.tensor(MORE), torch.tensor(LESS))
    opacity = (255 * signed.abs().pow(0.7)).round()[..., None]
    return _url(torch.cat([colour, opacity], -1).to(torch.uint8).numpy())


def doubt_url(draws: Tensor) -> str:
    """Standard deviation of several draws (s, c, h, w) pixel by pixel; white is 0.5, the most there can be."""
    return image_url(2 * draws.std(0, correction=0))


def _url(values: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(values).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
