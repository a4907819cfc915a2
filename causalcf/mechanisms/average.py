"""What each parent does to an image on average, pixel by pixel, in closed form."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causalcf.core.columns import Column

__all__ = ["Average", "least_squares"]

ROWS = 1000
"""Rows a part."""

SURE = 3.0
"""Standard errors from 0 up to which an average effect does not count."""

NEAR = 2
"""Pixels around an average effect in which it may lie in a single image."""

RIDGE = 1.0
"""Added to the sums of squares: a category of a few rows has a small effect, and collinear ones share theirs."""


class Average(nn.Module):
    r"""An image that is linear in its parents, with effects that differ from image to image.

    .. math:: m + g_0(z) + \sum_f c_f(pa)\,(B_f + M_f\,g_f(z))

    with the features c of the parents, m and B by least squares, and networks g, whose share of the effect of a feature
    is confined to where it acts on average, :math:`M_f`, two pixels around that included.

    Networks find a parent of few pixels last: it hardly pays, while the light and the wall are not drawn yet. Least
    squares find it at once, where it acts on average; the networks learn what differs from the average. Every effect of
    a feature on a pixel is taken three standard errors nearer to 0, and one within them is none, so that a wall that is
    brighter behind a few people by chance does not change with their glasses.

    References:
        Hastie and Tibshirani, "Varying-Coefficient Models", 1993.

    Args:
        context: Features of the encoded parents.
        shape: Of the image, (C, H, W).

    Example:
        >>> average = Average(1, (1, 2, 2))
        >>> c = torch.linspace(-1, 1, 400)[:, None]
        >>> average.calibrate(0.5 + 0.2 * c[:, :, None, None] * torch.eye(2), c)
        >>> average(torch.ones(1, 1), torch.zeros(1, 2, 2, 2)).round(decimals=2)
        tensor([[[[0.7000, 0.5000],
                  [0.5000, 0.7000]]]])
    """

    weight: Tensor

    def __init__(self, context: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("weight", torch.zeros(context + 1, prod(shape)))
        self.register_buffer("mask", torch.zeros(context, *shape[1:]))

    def forward(self, c: Tensor, image: Tensor) -> Tensor:
        """The image (N, C, H, W) of encoded parents (N, context).

        Args:
            c: Encoded parents.
            image: What the networks add to the average image, and to the effect of each feature,
                (N, (1 + context) C, H, W).
        """
        own, effects = image.split([self.shape[0], image.shape[1] - self.shape[0]], 1)
        added = torch.einsum("nf,nfchw,fhw->nchw", c, effects.unflatten(1, (-1, self.shape[0])), self.mask)
        return own + added + (_beside_one(c) @ self.weight).unflatten(1, self.shape)

    @torch.no_grad()
    def calibrate(self, x: Tensor | Column, c: Tensor, gain: Tensor | None = None) -> None:
        """Least squares of images (N, C, H, W), over their gain, on encoded parents (N, context)."""
        self.weight.copy_(_certain(*least_squares(x, c, gain)))
        effects = self.weight[1:].unflatten(1, self.shape).abs().amax(1)
        near = F.max_pool2d(effects[:, None], 2 * NEAR + 1, 1, NEAR)[:, 0]
        self.mask.copy_(near > 0)


def least_squares(x: Tensor | Column, c: Tensor, gain: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weights of a one and of features (N, F) on every pixel of images (N, C, H, W), and their standard errors.

    With a gain, (N, 1, 1, 1), on the images over it. Both have the shape (1 + F, C H W), in double precision. A
    thousand images are read at a time.
    """
    regressors = _beside_one(c).double()
    gram = regressors.T @ regressors
    inverse = torch.linalg.inv(gram + RIDGE * torch.eye(len(gram)).to(gram))
    products = squares = torch.zeros((), dtype=torch.float64, device=c.device)
    for start in range(0, len(c), ROWS):
        part = x[start : start + ROWS]
        part = (part if gain is None else part / gain[start : start + ROWS]).flatten(1)
        products = products + (regressors[start : start + ROWS].to(part).T @ part).double()
        squares = squares + part.square().sum(0).double()
    weight = inverse @ products
    # The sum of squared residuals without a second pass over the images.
    left = (squares - (weight * (2 * products - gram @ weight)).sum(0)).clamp_min(0)
    return weight, (inverse.diag()[:, None] * left / max(1, len(c) - len(gram))).sqrt()


def _certain(weight: Tensor, error: Tensor) -> Tensor:
    """Weights of a one and of features (1 + F, P), each three standard errors nearer to 0; those within are 0.

    A soft threshold (Donoho, "De-noising by Soft-Thresholding", 1995). The first row, the mean, stays.
    """
    nearer = torch.copysign((weight.abs() - SURE * error).clamp_min(0), weight)
    nearer[0] = weight[0]
    return nearer


def _beside_one(c: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(c[:, :1]), c], 1)
