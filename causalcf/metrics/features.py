"""Feature extractors: images in, vectors out, under a name that results carry.

Scores by different extractors are not comparable, so that a result is named by its extractor:
`fid[inception]`, `fid[morphomnist-classifier]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked

__all__ = ["Extractor", "FeatureNetwork", "Features", "evaluating", "extract", "metric_name"]


class Features(Protocol):
    """Anything with a name that maps images (N, C, H, W) in [0, 1] to vectors (N, d)."""

    name: str

    def __call__(self, images: Tensor, /) -> Tensor:
        """Features of shape (N, d)."""


class Extractor(nn.Module):
    """A named feature extractor made of any function or module.

    Args:
        name: How results name it.
        function: Maps images (N, C, H, W) in [0, 1] to (N, d).

    Example:
        >>> Extractor("pixels", lambda x: x.flatten(1))(torch.zeros(2, 1, 4, 4)).shape
        torch.Size([2, 16])
    """

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.name = name
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


class FeatureNetwork(nn.Module):
    """Small image classifier whose penultimate layer is a data set's own feature space.

    Four convolutions that halve the image, a hidden layer (the features), and the logits.

    Args:
        classes: Number of categories it tells apart.
        channels: Channels of its images.
        size: Height and width of its images, a multiple of 16.
        features: Width of the feature space.
        width: Channels after the first convolution.

    Example:
        >>> network = FeatureNetwork(10, size=32)
        >>> x = torch.rand(5, 1, 32, 32)
        >>> network(x).shape, network.features(x).shape
        (torch.Size([5, 10]), torch.Size([5, 64]))
    """

    def __init__(self, classes: int, *, channels: int = 1, size: int = 32, features: int = 64, width: int = 16) -> None:
        super().__init__()
        if size % 16:
            raise DataError(f"A feature network takes images whose side is a multiple of 16, got {size}.")
        self.config = {"classes": classes, "channels": channels, "size": size, "features": features, "width": width}
        widths = [channels, width, 2 * width, 4 * width, 4 * width]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.SiLU()]
        self.body = nn.Sequential(*blocks, nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(widths[-1] * (size // 16) ** 2, features), nn.SiLU())
        self.head = nn.Linear(features, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate activations, shape (N, features)."""
        return self.hidden(self.body(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (N, classes)."""
        return self.head(self.features(images))

    def extractor(self, name: str) -> Extractor:
        """Its feature space as an extractor; the name should tell the data set and the version."""
        return Extractor(name, _Penultimate(self))


class _Penultimate(nn.Module):
    """The features of a network, as a module, so that evaluation mode reaches the network."""

    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.features(images)


@contextmanager
def evaluating(network: object) -> Iterator[None]:
    """Evaluation mode and no gradients within the block; every submodule's mode is given back after it.

    Example:
        >>> network = nn.Dropout()
        >>> with evaluating(network):
        ...     network.training
        False
        >>> network.training
        True
    """
    modules = [m for m in network.modules() if m.training] if isinstance(network, nn.Module) else []
    for module in modules:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in modules:
            module.training = True


@checked
def extract(images: Tensor, features: Callable[[Tensor], Tensor], *, batch_size: int = 250) -> Tensor:
    """Features of all images, batch by batch, in evaluation mode, on the images' device.

    Raises:
        DataError: No images, or the extractor's output is not (N, d).

    Example:
        >>> extract(torch.rand(10, 1, 4, 4), Extractor("pixels", lambda x: x.flatten(1)), batch_size=3).shape
        torch.Size([10, 16])
    """
    if not images.shape[0]:
        raise DataError("There are no images to take features of.")
    device = _device_of(features, images.device)
    with evaluating(features):
        found = torch.cat([features(batch.to(device)).to(images.device) for batch in images.split(batch_size)])
    if found.ndim != 2 or found.shape[0] != images.shape[0]:
        raise DataError(
            f"A feature extractor gives (N, d), this one {tuple(found.shape)} for {images.shape[0]} images."
        )
    return found


def _device_of(network: object, default: torch.device) -> torch.device:
    """Where a network's parameters are."""
    parameters = network.parameters() if isinstance(network, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), default)


class Named(Protocol):
    """Anything with a name: a feature extractor, a perceptual network."""

    name: str


@checked
def metric_name(metric: str, network: Named) -> str:
    """The name of a score that depends on an extractor or a perceptual network.

    Example:
        >>> metric_name("fid", Extractor("inception", nn.Identity()))
        'fid[inception]'
    """
    return f"{metric}[{network.name}]"
