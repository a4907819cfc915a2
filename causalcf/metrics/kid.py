"""Kernel distance of two sets of images in a feature space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite
from causalcf.metrics.moments import FeatureBank

__all__ = ["KernelDistance", "kid", "polynomial_mmd"]


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over subsets. Papers print 1000 times these."""

    value: float
    std: float
    subsets: int
    subset_size: int


@checked
def kid(
    real: Tensor | FeatureBank,
    generated: Tensor | FeatureBank,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    degree: int = 3,
    gamma: float | None = None,
    coef: float = 1.0,
    standardise: bool = False,
    seed: int = 0,
) -> KernelDistance:
    r"""Unbiased squared MMD with the kernel :math:`(\gamma x \cdot y + c)^3`; no unit, lower is better.

    0 in expectation for equal distributions, so that single values can be below 0. Binkowski et al.,
    "Demystifying MMD GANs", 2018, sec. 4. Unlike FID without bias at small n.

    The kernel was made for Inception's features, whose squares are below 1 on average. Where they are large, as those
    of a classifier's hidden layer are, the cube of the few largest is all that is left, and the value is noise in the
    thousands: take `standardise` there. Its values compare with each other, not with published ones.

    Args:
        real: Features (N, d), or a bank of them.
        generated: Features (M, d), or a bank of them.
        subsets: Number of random subsets.
        subset_size: Images in each, at most min(N, M).
        degree: Of the polynomial.
        gamma: Of the kernel, 1/d by default.
        coef: c of the kernel.
        standardise: Give every feature mean 0 and variance 1 over `real`; a constant one stays as it is, but for
            its mean.
        seed: Draws the subsets.

    Raises:
        DataError: Fewer images than a subset takes, NaN, or different dimensions.

    Example:
        >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> kid(x[:100], x[100:] + 1, subsets=10, subset_size=50).value > 0.5
        True
        >>> options = {"subsets": 10, "subset_size": 50, "standardise": True}
        >>> one, other = (kid(scale * x[:100], scale * x[100:], **options).value for scale in (1, 1000))
        >>> abs(one - other) < 1e-4
        True
    """
    first, second = _features(real), _features(generated)
    _check(first, second, subset_size)
    if standardise:
        mean, std = first.mean(0), first.std(0, unbiased=False)
        scale = torch.where(std > 0, std, torch.ones_like(std))
        first, second = (first - mean) / scale, (second - mean) / scale
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        x, y = (f[torch.randperm(len(f), generator=generator)[:subset_size].to(f.device)] for f in (first, second))
        values.append(polynomial_mmd(x, y, degree=degree, gamma=gamma, coef=coef))
    found = torch.stack(values)
    return KernelDistance(float(found.mean()), float(found.std(unbiased=False)), subsets, subset_size)


def polynomial_mmd(x: Tensor, y: Tensor, *, degree: int = 3, gamma: float | None = None, coef: float = 1.0) -> Tensor:
    r"""Unbiased squared maximum mean discrepancy of two samples of one size, in float64.

    Gretton et al., "A Kernel Two-Sample Test", 2012, Lemma 6, for a polynomial kernel.

    Args:
        x: Features (n, d).
        y: Features (n, d).
        degree: Of the kernel.
        gamma: Of the kernel, 1/d by default.
        coef: Of the kernel.

    Example:
        >>> x = torch.eye(3)
        >>> float(polynomial_mmd(x, x)) < 0  # unbiased: below 0 for a sample against itself
        True
    """
    x, y = x.double(), y.double()
    n, d = x.shape
    gamma = 1 / d if gamma is None else gamma

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.addmm(torch.full((), coef, dtype=a.dtype, device=a.device), a, b.T, alpha=gamma).pow_(degree)

    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (n * (n - 1))
    return within - 2 * xy.mean()


def _features(features: Tensor | FeatureBank) -> Tensor:
    return features.compute() if isinstance(features, FeatureBank) else features


def _check(real: Tensor, generated: Tensor, subset_size: int) -> None:
    check_finite(real=real, generated=generated)
    if real.shape[1:] != generated.shape[1:] or real.ndim != 2:
        raise DataError(
            f"Expected features (N, d) of one extractor, got {tuple(real.shape)}, {tuple(generated.shape)}."
        )
    if subset_size < 2:
        raise DataError(f"A subset needs at least 2 images, got subset_size={subset_size}.")
    fewest = min(len(real), len(generated))
    if fewest < subset_size:
        raise DataError(f"KID with subset_size={subset_size} needs as many images, got {fewest}. Pass a smaller one.")
