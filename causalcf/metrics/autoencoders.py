"""Autoencoders that judge counterfactuals: one of each class and one of all, trained side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core import seeding
from causalcf.core.descent import Objective, descend
from causalcf.core.errors import DataError
from causalcf.core.signatures import checked

__all__ = ["ClassAutoencoders", "fit_autoencoders"]


class ClassAutoencoders(nn.Module):
    """K + 1 convolutional autoencoders in grouped convolutions: images (N, C, H, W) to (N, K + 1, C, H, W).

    The last is that of all classes. Two convolutions, a pool to a quarter of the pixels, one map as the code, and
    the mirror image: the judges of IM1 and IM2 in the papers.

    References:
        Dhurandhar et al., "Explanations based on the Missing", 2018; Van Looveren and Klaise, "Interpretable
        Counterfactual Explanations Guided by Prototypes", 2021, supplement.

    Args:
        classes: K.
        channels: Of the images, whose sides are even.
        width: Channels of the convolutions.

    Example:
        >>> ClassAutoencoders(10)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 11, 1, 28, 28])
    """

    def __init__(self, classes: int, *, channels: int = 1, width: int = 16) -> None:
        super().__init__()
        self.classes, self.channels, self.judges = classes, channels, classes + 1
        m = self.judges

        def convolution(a: int, b: int) -> nn.Conv2d:
            return nn.Conv2d(m * a, m * b, 3, padding=1, groups=m)

        self.encoder = nn.Sequential(
            convolution(channels, width), nn.ReLU(), convolution(width, width), nn.ReLU(),
            nn.MaxPool2d(2), convolution(width, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            convolution(1, width), nn.ReLU(), nn.Upsample(scale_factor=2), convolution(width, width), nn.ReLU(),
            convolution(width, channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.apart(x[:, None].expand(-1, self.judges, *x.shape[1:]))

    def apart(self, x: Tensor) -> Tensor:
        """Reconstructions of (N, K + 1, C, H, W), each autoencoder its own images."""
        return self.decoder(self.encoder(x.flatten(1, 2))).unflatten(1, (self.judges, self.channels))

    def of_all(self, x: Tensor) -> Tensor:
        """Reconstruction by the autoencoder of all classes, (N, C, H, W): a judge of `reconstruction_error`."""
        return self(x)[:, -1]


@checked
def fit_autoencoders(
    images: Tensor, labels: Tensor, *, epochs: int = 4, batch_size: int = 64, seed: int = 0
) -> ClassAutoencoders:
    """Train the judges of IM1 and IM2 on real images by their squared error.

    An epoch gives each autoencoder N / (K + 1) rows of its own class, drawn at random.

    Args:
        images: Shape (N, C, H, W) in [0, 1]; take rows that the explainers are not asked about.
        labels: Classes 0..K-1, (N,).
        epochs: Passes.
        batch_size: Rows a step and autoencoder.
        seed: Seed of weights and rows.

    Raises:
        DataError: A class between 0 and the largest has no rows.
    """
    classes = int(labels.max()) + 1
    counts = torch.bincount(labels, minlength=classes)
    if int(counts.min()) < 1:
        raise DataError(f"There are no rows of the classes {(counts == 0).nonzero().flatten().tolist()}.")
    with seeding.seeded(seeding.derive(seed, "autoencoders"), images.device):
        judges = ClassAutoencoders(classes, channels=images.shape[1]).to(images.device)
    by_class = labels.argsort(stable=True)
    starts = torch.cat([counts.cumsum(0) - counts, torch.zeros_like(counts[:1])])
    sizes = torch.cat([counts, counts.sum(0, keepdim=True)])

    def loss(rows: Tensor) -> Tensor:
        at = (torch.rand(len(rows), classes + 1, device=images.device) * sizes).long() + starts
        batch = images[by_class[at]]
        return F.mse_loss(judges.apart(batch), batch)

    descend(
        {"autoencoders": Objective([judges], loss)},
        -(-len(images) // (classes + 1)),
        epochs=epochs, batch_size=batch_size, lr=2e-3, decay=True, seed=seed, device=images.device,
    )  # fmt: skip
    return judges
