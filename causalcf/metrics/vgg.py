"""VGG-16's convolutions, for LPIPS and embeddings, with the published weights where they are at hand."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.features import Extractor
from causalcf.metrics.lpips import PerceptualNetwork
from causalcf.metrics.weights import find_weights

__all__ = ["VGG16", "as_colour", "vgg_features", "vgg_perception"]

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class VGG16(nn.Module):
    """The 13 convolutions of VGG-16: normalised images in, activations at the end of each block out.

    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    2015, configuration D. Parameters are named as in torchvision's file.

    Example:
        >>> [tuple(a.shape[1:]) for a in VGG16()(torch.zeros(1, 3, 32, 32))]
        [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        width = 3
        for block in BLOCKS:
            for channels in block:
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
                width = channels
            self.ends.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        if min(x.shape[-2:]) < 16:
            raise DataError(f"VGG-16 needs images of at least 16 x 16, got {x.shape[-2]} x {x.shape[-1]}.")
        found = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.ends:
                found.append(x)
        return found

    @classmethod
    def load(cls, path: str | Path | None = None, *, download: bool = False) -> VGG16:
        """VGG-16 with ImageNet weights; see `find_weights` for where they are looked for."""
        state = torch.load(find_weights("vgg16", path, download=download), map_location="cpu", weights_only=True)
        network = cls()
        network.load_state_dict({key: value for key, value in state.items() if key.startswith("features.")})
        return network.eval().requires_grad_(False)


class _Normalised(nn.Module):
    """Colour, shift and scale before a network."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: VGG16, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network((as_colour(images) - self.mean) / self.std)


class _Pooled(_Normalised):
    """The last block's activations, averaged over positions."""

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(images)[-1].mean((2, 3))


@checked
def vgg_perception(
    path: str | Path | None = None, linear: str | Path | None = None, *, download: bool = False
) -> PerceptualNetwork:
    """LPIPS on VGG-16, version 0.1, as `lpips[vgg]`.

    Args:
        path: VGG-16's file, or a folder with it.
        linear: The file of LPIPS's channel weights, or a folder with it.
        download: Fetch missing files.

    Raises:
        MissingFileError: Says which file is missing and how to get it.

    Example:
        >>> lpips(x, y, vgg_perception())  # doctest: +SKIP
    """
    network = VGG16.load(path, download=download)
    state = torch.load(find_weights("lpips-vgg", linear, download=download), map_location="cpu", weights_only=True)
    weights = [state[f"lin{i}.model.1.weight"] for i in range(len(BLOCKS))]
    return perception_of(network, weights)


def perception_of(network: VGG16, weights: list[Tensor]) -> PerceptualNetwork:
    """LPIPS with a given VGG-16 and channel weights; its inputs are scaled as LPIPS does from [-1, 1]."""
    mean = tuple((shift + 1) / 2 for shift in LPIPS_SHIFT)
    std = tuple(scale / 2 for scale in LPIPS_SCALE)
    return PerceptualNetwork("vgg", _Normalised(network, mean, std), weights)


@checked
def vgg_features(path: str | Path | None = None, *, download: bool = False) -> Extractor:
    """The last convolutions of VGG-16, averaged over positions (512 features), as `[vgg16]`.

    Raises:
        MissingFileError: Says how to get the weights.

    Example:
        >>> vgg_features()(images).shape  # doctest: +SKIP
        torch.Size([64, 512])
    """
    return Extractor("vgg16", _Pooled(VGG16.load(path, download=download), MEAN, STD))


def as_colour(images: Tensor) -> Tensor:
    """Grey images as colour images with three equal channels; colour images as they are.

    Raises:
        DataError: Neither 1 nor 3 channels.

    Example:
        >>> as_colour(torch.zeros(2, 1, 4, 4)).shape
        torch.Size([2, 3, 4, 4])
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"Expected images (N, 1 or 3, H, W), got {tuple(images.shape)}.")
    return images.expand(-1, 3, -1, -1)
