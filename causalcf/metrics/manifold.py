"""Does a counterfactual lie where the data lie, by autoencoders that had no part in making it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_finite, check_floating, check_pair, check_rows
from causalcf.metrics.features import evaluating

__all__ = ["im1", "im2", "reconstruction_error"]

EPSILON = 1e-8
"""Keeps ratios finite."""


@checked
def reconstruction_error(x: Tensor, autoencoder: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean squared error of an autoencoder on the counterfactuals, (N,), in the variable's unit, squared, from 0; lower
    is better.

    Take an autoencoder other than the one that made them: a decoder rates its own images better than real ones.
    (Barr et al., "Counterfactual Explanations via Latent Space Projection and Interpolation", 2021.)

    Args:
        x: Counterfactuals, shape (N, ...).
        autoencoder: Maps them to their reconstructions.

    Raises:
        DataError: Integers, NaN, or an autoencoder that gives another shape.

    Example:
        >>> reconstruction_error(torch.ones(2, 1, 4, 4), lambda x: 0.5 * x)
        tensor([0.2500, 0.2500])
    """
    check_floating(x=x)
    check_rows(1, "A score", x=x)
    check_finite(x=x)
    with evaluating(autoencoder):
        again = autoencoder(x)
    check_pair(again, x)
    return (again - x).square().flatten(1).mean(1)


@checked
def im1(reconstructions: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Error of the target class's autoencoder over that of the source's, (N,), from 0; lower is better.

    Below 1 the counterfactual is nearer to the target class's images than to the source's. (Van Looveren and
    Klaise, "Interpretable Counterfactual Explanations Guided by Prototypes", 2021, eq. 9.)

    Args:
        reconstructions: By the K classes' autoencoders and then that of all classes, shape (N, K + 1, ...); see
            `ClassAutoencoders`.
        x: Counterfactuals, shape (N, ...).
        source: The factuals' classes, (N,).
        target: The classes asked for, (N,).

    Example:
        >>> x = torch.zeros(1, 1, 2, 2)
        >>> by_class = torch.stack([x + 2, x + 1, x], 1)
        >>> im1(by_class, x, torch.tensor([0]), torch.tensor([1]))
        tensor([0.2500])
    """
    _check(reconstructions, x, source, target)
    errors = (reconstructions - x[:, None]).square().flatten(2).sum(2)
    of_target, of_source = (errors.gather(1, c.long()[:, None]).squeeze(1) for c in (target, source))
    return of_target / (of_source + EPSILON)


@checked
def im2(reconstructions: Tensor, x: Tensor, target: Tensor) -> Tensor:
    """Distance of the target class's reconstruction to that of all, per intensity, (N,), from 0; lower is better.

    Squared distance over the sum of absolute pixels, so in the variable's unit: it depends on the range of the
    pixels, here [0, 1]. Papers print it times 10. (Van Looveren and Klaise, 2021, eq. 10.)

    Args:
        reconstructions: As for `im1`.
        x: Counterfactuals, shape (N, ...).
        target: The classes asked for, (N,).

    Example:
        >>> x = torch.ones(1, 1, 2, 2)
        >>> im2(torch.stack([x, x + 1, x], 1), x, torch.tensor([1]))
        tensor([1.])
    """
    _check(reconstructions, x, target, target)
    chosen = reconstructions[torch.arange(len(x), device=x.device), target.long()]
    apart = (chosen - reconstructions[:, -1]).square().flatten(1).sum(1)
    return apart / (x.abs().flatten(1).sum(1) + EPSILON)


def _check(reconstructions: Tensor, x: Tensor, *classes: Tensor) -> None:
    check_floating(reconstructions=reconstructions, x=x)
    check_rows(1, "A score", x=x)
    check_finite(reconstructions=reconstructions, x=x)
    shape = (reconstructions.shape[0], *reconstructions.shape[2:])
    if shape != tuple(x.shape) or any(len(c) != len(x) for c in classes):
        raise DataError(
            f"Expected reconstructions, images and classes of one shape a row, got {tuple(reconstructions.shape)},"
            f" {tuple(x.shape)} and {[tuple(c.shape) for c in classes]}."
        )
    if any(int(c.max()) >= reconstructions.shape[1] - 1 for c in classes):
        raise DataError(f"There are autoencoders of {reconstructions.shape[1] - 1} classes: a class is beyond them.")
