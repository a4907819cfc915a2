"""What each parent does to an image on average, pixel by pixel, in closed form."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

__all__ = ["Average", "garrote", "least_squares", "reach"]

ROWS = 1000
"""Rows a part."""

SURE = 3.0
"""Standard errors from 0 up to which an average effect does not count."""

RIDGE = 1.0
"""Added to the sums of squares: a category of a few rows has a small effect, and collinear ones share theirs."""


class Average(nn.Module):
    r"""The mean image, and the part of it that is linear in the parents: :math:`m + B\,c(pa)`, by least squares.

    Networks find a parent of few pixels last: it hardly pays, while the light and the wall are not drawn yet. Least
    squares find it at once, where it acts on average; the networks learn what differs from the average. An effect of a
    feature on a pixel within three standard errors from 0 does not count, and one beyond counts the more the further
    it is (by the nonnegative garrote), so that a wall that is brighter behind a few people by chance does not change
    with their glasses.

    References:
        Breiman, "Better Subset Regression Using the Nonnegative Garrote", 1995.

    Args:
        context: Features of the encoded parents.
        shape: Of the image, (C, H, W).

    Example:
        >>> average = Average(1, (1, 2, 2))
        >>> c = torch.linspace(-1, 1, 400)[:, None]
        >>> average.calibrate(0.5 + 0.2 * c[:, :, None, None] * torch.eye(2), c)
        >>> average(torch.ones(1, 1)).round(decimals=2)
        tensor([[[[0.7000, 0.5000],
                  [0.5000, 0.7000]]]])
    """

    weight: Tensor

    def __init__(self, context: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("weight", torch.zeros(context + 1, prod(shape)))

    def forward(self, c: Tensor) -> Tensor:
        """The average image (N, C, H, W) of encoded parents (N, context)."""
        return (_beside_one(c) @ self.weight).unflatten(1, self.shape)

    @torch.no_grad()
    def calibrate(self, x: Tensor, c: Tensor) -> None:
        """Least squares of images (N, C, H, W) on encoded parents (N, context)."""
        self.weight.copy_(garrote(*least_squares(x, c)))


def least_squares(x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of a one and of features (N, F) on every pixel of images (N, C, H, W), and their standard errors.

    Both have the shape (1 + F, C H W), in double precision. A thousand images are read at a time.
    """
    regressors = _beside_one(c).double()
    gram = regressors.T @ regressors
    inverse = torch.linalg.inv(gram + RIDGE * torch.eye(len(gram)).to(gram))
    products = squares = torch.zeros((), dtype=torch.float64, device=c.device)
    for start in range(0, len(c), ROWS):
        part = x[start : start + ROWS].flatten(1)
        products = products + (regressors[start : start + ROWS].to(part).T @ part).double()
        squares = squares + part.square().sum(0).double()
    weight = inverse @ products
    # The sum of squared residuals without a second pass over the images.
    left = (squares - (weight * (2 * products - gram @ weight)).sum(0)).clamp_min(0)
    return weight, (inverse.diag()[:, None] * left / max(1, len(c) - len(gram))).sqrt()


def garrote(weight: Tensor, error: Tensor) -> Tensor:
    """Weights of a one and of features (1 + F, P), of which those within three standard errors from 0 are 0.

    Beyond, a weight keeps the share 1 - (3 errors / weight)^2 of itself. The first row stays.
    """
    kept = (1 - (SURE * error / weight).square()).clamp_min(0).nan_to_num(0.0)
    kept[0] = 1
    return kept * weight


def reach(x: Tensor, c: Tensor) -> Tensor:
    """Where parents act on average: a weight a pixel, (C, H, W), 1 on average.

    Every feature of the parents has the same share of the weight, however few pixels it acts on; in each it goes by
    the square of its effect. The channels of a pixel weigh the same.

    Args:
        x: Images, (N, C, H, W).
        c: Encoded parents, (N, context).
    """
    squares = garrote(*least_squares(x, c))[1:].square().unflatten(1, tuple(x.shape[1:])).mean(1)
    share = squares / squares.sum((1, 2), keepdim=True).clamp_min(1e-12)
    found = share.sum((1, 2)) > 0.5  # those of which nothing can be told from chance have no share
    weights = share[found].mean(0) * share[0].numel() if bool(found.any()) else torch.ones_like(share[0])
    return weights.expand(tuple(x.shape[1:])).to(x.dtype)


def _beside_one(c: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(c[:, :1]), c], 1)
