"""The Inception features of published FID and KID scores, from a file of the original network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from causalcf.core.signatures import checked
from causalcf.metrics.features import Extractor
from causalcf.metrics.vgg import as_colour
from causalcf.metrics.weights import find_weights

__all__ = ["inception_features"]


@checked
def inception_features(
    path: str | Path | None = None, *, module: nn.Module | None = None, download: bool = False
) -> Extractor:
    """2048 features of the 2015 Inception network that published FIDs use, as `[inception]`.

    The network is not rebuilt here: it comes as NVIDIA's TorchScript of the original
    (`inception-2015-12-05.pt`, which resizes images itself), or as a module of your own.

    Warning:
        Some 3 images a second and core; and it knows photographs, not digits.

    Args:
        path: The TorchScript file, or a folder with it; see `find_weights`.
        module: Instead of a file, a module that maps images (N, 3, H, W) in [0, 1] to (N, 2048).
        download: Fetch the file if it is nowhere.

    Raises:
        MissingFileError: Says how to get the file.

    Example:
        >>> extractor = inception_features(module=nn.Flatten())  # a stand-in
        >>> extractor.name, extractor(torch.zeros(2, 1, 8, 8)).shape
        ('inception', torch.Size([2, 192]))
    """
    if module is None:
        script = torch.jit.load(str(find_weights("inception", path, download=download)), map_location="cpu")
        module = _Scripted(script)
    return Extractor("inception", _Coloured(module))


class _Scripted(nn.Module):
    """The TorchScript takes grey levels 0..255 and gives probabilities unless asked for features."""

    def __init__(self, script: nn.Module) -> None:
        super().__init__()
        self.script = script

    def forward(self, images: Tensor) -> Tensor:
        return self.script(255 * images.clamp(0, 1), return_features=True)


class _Coloured(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module(as_colour(images))
