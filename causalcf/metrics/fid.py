"""Fréchet distance of two sets of images in a feature space."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.core.surroundings import callers_line
from causalcf.metrics.moments import FeatureMoments

__all__ = ["fid", "frechet_distance"]


@checked
def fid(real: Tensor | FeatureMoments, generated: Tensor | FeatureMoments) -> Tensor:
    r"""Fréchet distance of Gaussians fitted to features; squared features, 0 and up, lower is better.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    2017, eq. 6. Biased upwards by about d/n: compare only at equal n and with the same extractor, and
    name the result after it (`metric_name("fid", features)`).

    Args:
        real: Features (N, d), or their moments.
        generated: Features (M, d), or their moments.

    Returns:
        A float64 scalar.

    Warning:
        With no more images than dimensions a covariance is singular: the distance is defined, but its
        bias is as large as itself; a `UserWarning` says so.

    Raises:
        DataError: Fewer than 2 images in a set, NaN, or different dimensions.

    Example:
        >>> x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> fid(x, x + 1)
        tensor(4.0000, dtype=torch.float64)
    """
    first, second = _moments(real), _moments(generated)
    for name, moments in (("real", first), ("generated", second)):
        if moments.count < 2:
            raise DataError(f"FID needs at least 2 {name} images, got {moments.count}.")
    if first.mean.shape != second.mean.shape:
        raise DataError(f"The features have {len(first.mean)} and {len(second.mean)} dimensions: not one extractor's.")
    fewest, dimensions = min(first.count, second.count), len(first.mean)
    if fewest <= dimensions:
        warnings.warn(
            f"FID of {fewest} images in {dimensions} dimensions is strongly biased: use more images, a smaller"
            " feature space, or KID.",
            stacklevel=callers_line(),
        )
    return frechet_distance(*first.compute(), *second.compute())


@checked
def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    r""":math:`\|\mu_1 - \mu_2\|^2 + \mathrm{tr}(C_1 + C_2 - 2 (C_1 C_2)^{1/2})`, in float64.

    :math:`C_1 C_2` has the eigenvalues of the symmetric :math:`C_1^{1/2} C_2 C_1^{1/2}`, so that no root
    of a general matrix is needed, and singular covariances are no exception.

    D. C. Dowson, B. V. Landau, "The Fréchet distance between multivariate normal distributions", 1982.

    Args:
        mean1: Shape (d,).
        cov1: Symmetric, positive semidefinite, shape (d, d).
        mean2: Shape (d,).
        cov2: Like cov1.

    Example:
        >>> zero, one = torch.zeros(2), torch.eye(2)
        >>> frechet_distance(zero, one, zero, 4 * one)
        tensor(2., dtype=torch.float64)
    """
    mean1, cov1, mean2, cov2 = (t.double() for t in (mean1, cov1, mean2, cov2))
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = torch.linalg.eigvalsh(root @ cov2 @ root).clamp_min(0)
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * product.sqrt().sum()
    return distance.clamp_min(0)


def _moments(features: Tensor | FeatureMoments) -> FeatureMoments:
    return features if isinstance(features, FeatureMoments) else FeatureMoments().update(features)
