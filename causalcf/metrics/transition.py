"""COUT: how soon a classifier changes its mind while the changed pixels are put in, the most changed first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.metrics.checks import check_pair, check_shapes
from causalcf.metrics.features import evaluating

__all__ = ["aupc", "cout", "transition_curves"]

Classifier = Callable[[Tensor], Tensor]


@checked
def transition_curves(
    x: Tensor, factual: Tensor, classifier: Classifier, *, steps: int = 28, batch_size: int = 1000
) -> Tensor:
    """Class probabilities while pixels go from the factual into the counterfactual, (N, steps + 1, K).

    Pixels are ordered by the size of their change, summed over channels, the largest first; equal changes by
    position, row by row. Each step puts in an equal share of all pixels. The first frame is the factual, the last
    the counterfactual.

    Args:
        x: Counterfactual images, shape (N, C, H, W).
        factual: Their factuals, of the same shape.
        classifier: Maps images to logits (N, K).
        steps: Number of steps T.
        batch_size: Images a call of the classifier.

    Raises:
        DataError: The shapes differ, NaN, or no images.

    Example:
        >>> classifier = lambda x: torch.stack([-x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1)
        >>> transition_curves(torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), classifier, steps=4).shape
        torch.Size([2, 5, 2])
    """
    check_pair(x, factual)
    if x.ndim != 4:
        raise DataError(f"COUT needs images (N, C, H, W), got {tuple(x.shape)}.")
    if steps < 1:
        raise DataError(f"COUT needs at least 1 step, got {steps}.")
    change = (x - factual).abs().sum(1).flatten(1)
    rank = change.argsort(dim=1, descending=True, stable=True).argsort(dim=1).view(len(x), 1, *x.shape[2:])
    bounds = torch.linspace(0, change.shape[1], steps + 1, device=x.device).round()
    rows = max(1, batch_size // (steps + 1))
    curves = []
    with evaluating(classifier):
        for parts in zip(x.split(rows), factual.split(rows), rank.split(rows), strict=True):
            frames = _frames(*parts, bounds)
            curves.append(classifier(frames.flatten(0, 1)).softmax(-1).unflatten(0, frames.shape[:2]))
    return torch.cat(curves)


def _frames(x: Tensor, factual: Tensor, rank: Tensor, bounds: Tensor) -> Tensor:
    """Images along the way, (N, T + 1, C, H, W)."""
    inserted = rank[:, None] < bounds[:, None, None, None]
    return torch.where(inserted, x[:, None], factual[:, None])


@checked
def aupc(curves: Tensor, classes: Tensor) -> Tensor:
    """Area under the curve of one class's probability, (N,), 0..1, by trapezoids whose weights sum to 1.

    Whether higher is better depends on the class: it is for the target, and lower for the factual's. (Khorram and
    Fuxin, 2022, eq. 8.)

    Args:
        curves: Probabilities (N, T + 1, K).
        classes: A class for each row, (N,).

    Example:
        >>> aupc(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([1]))
        tensor([0.5000])
    """
    chosen = curves.gather(2, classes.long()[:, None, None].expand(-1, curves.shape[1], 1)).squeeze(2)
    return torch.trapezoid(chosen, dx=1 / (curves.shape[1] - 1), dim=1)


@checked
def cout(
    x: Tensor,
    factual: Tensor,
    source: Tensor,
    target: Tensor,
    classifier: Classifier,
    *,
    steps: int = 28,
    batch_size: int = 1000,
) -> Tensor:
    """Counterfactual transition: AUPC of the target class minus that of the factual's, (N,), -1..1; higher is better.

    It rewards few changes with a large effect, and is blind to realism: adversarial attacks score .47. A
    counterfactual that equals its factual gets the difference of the two probabilities there.

    References:
        Khorram and Fuxin, "Cycle-Consistent Counterfactuals by Latent Transformations", 2022, section 4.3.1.

    Args:
        x: Counterfactual images, shape (N, C, H, W).
        factual: Their factuals, of the same shape.
        source: The factuals' classes, (N,).
        target: The classes asked for, (N,).
        classifier: Maps images to logits (N, K).
        steps: Number of steps T.
        batch_size: Images a call of the classifier.

    Raises:
        DataError: The shapes differ, NaN, or no images.

    Example:
        >>> classifier = lambda x: 40 * torch.stack([0.5 - x.mean((1, 2, 3)), x.mean((1, 2, 3)) - 0.5], 1)
        >>> zero, one = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
        >>> abs(round(cout(one, zero, torch.tensor([0]), torch.tensor([1]), classifier).item(), 3))
        0.0
    """
    check_shapes(source, target)
    if len(source) != len(x):
        raise DataError(f"Expected a class a row: {len(x)} images, {len(source)} classes; all need one shape (N,).")
    curves = transition_curves(x, factual, classifier, steps=steps, batch_size=batch_size)
    return aupc(curves, target) - aupc(curves, source)
