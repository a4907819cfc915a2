"""One draw a row from a distribution, by the rows' own random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import distributions as laws
from torch.distributions import Distribution

from causalcf.core import draws, seeding

__all__ = ["drawn", "sampled"]

HALVINGS = 80
"""Halvings of the interval that holds a quantile: more than the digits of a number."""


def sampled(law: Distribution, keys: Tensor, *, shared: bool = True) -> Tensor:
    """One draw a row, (rows, *batch_shape, *event_shape) of a law that all rows share.

    A row's draw follows from its key alone, with one exception: where the law differs from row to row and torch can
    neither give its quantiles nor its distribution function (a Beta for each row), it also follows from the place.

    Args:
        law: A distribution of torch or Pyro.
        keys: From `draws.row_keys`, (rows,).
        shared: Whether all rows share the law; otherwise the first dimension of its batch is the rows'.

    Example:
        >>> keys = draws.row_keys(torch.arange(3), 0)
        >>> three, one = (sampled(laws.Gamma(2.0, 1.0), some) for some in (keys, keys[2:]))
        >>> bool(three[2] == one)
        True
    """
    with torch.no_grad(), draws.by_row(keys, "law"):
        found = _drawn(law.expand((len(keys), *law.batch_shape)) if shared else law)
    return _by_torch(law, keys, shared=shared) if found is None else found


def drawn(law: Distribution) -> Tensor:
    """One draw of every entry of a law whose batch begins with the rows, by row inside `draws.by_row`."""
    found = _drawn(law)
    return law.sample() if found is None else found


def _drawn(law: Distribution) -> Tensor | None:
    """A draw made of uniform and normal ones; None if the law has no such formula."""
    match law:
        case laws.Independent():
            return _drawn(law.base_dist)
        case laws.Normal():
            return law.loc + law.scale * draws.normal(law.loc.shape, law.loc)
        case laws.MultivariateNormal():
            noise = draws.normal(law.loc.shape, law.loc)
            return law.loc + (law._unbroadcasted_scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        case laws.Bernoulli():
            return (draws.uniform(law.probs.shape, law.probs) < law.probs).to(law.probs)
        case laws.OneHotCategorical() | laws.Categorical():
            chosen = (law.logits + draws.gumbel(law.logits.shape, law.logits)).argmax(-1)
            one_hot = isinstance(law, laws.OneHotCategorical)
            return torch.nn.functional.one_hot(chosen, law.logits.shape[-1]).to(law.logits) if one_hot else chosen
        case laws.MixtureSameFamily():
            return _of_mixture(law)
        case laws.TransformedDistribution():
            found = _drawn(law.base_dist)
            for transform in law.transforms if found is not None else ():
                found = transform(found)
            return found
    return _by_quantile(law)


def _of_mixture(law: Any) -> Tensor | None:
    """A component, and then a draw of it."""
    chosen, parts = _drawn(law.mixture_distribution), _drawn(law.component_distribution)
    if chosen is None or parts is None:
        return None
    axis = len(law.batch_shape)
    index = chosen.reshape(*chosen.shape, *[1] * (parts.ndim - axis))
    return parts.gather(axis, index.expand(*chosen.shape, 1, *parts.shape[axis + 1 :])).squeeze(axis)


def _by_quantile(law: Distribution) -> Tensor | None:
    """The quantile at a uniform draw: given by the law, or sought by halving where it has a distribution function."""
    if law.event_shape:
        return None
    floating = (value for value in vars(law).values() if isinstance(value, Tensor) and value.is_floating_point())
    parameter = next(floating, None)
    if parameter is None:
        return None
    level = draws.uniform(law.batch_shape, parameter)
    for way in (law.icdf, lambda level: _sought(law.cdf, level)):
        try:
            return way(level)
        except NotImplementedError:
            continue
    return None


def _sought(cdf: Callable[[Tensor], Tensor], level: Tensor) -> Tensor:
    """Where a distribution function of a positive number reaches a level."""
    high = torch.ones_like(level)
    for _ in range(HALVINGS):
        high = torch.where(cdf(high) < level, 2 * high, high)
    low = torch.zeros_like(level)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = cdf(middle) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high


def _by_torch(law: Distribution, keys: Tensor, *, shared: bool) -> Tensor:
    """Draw with torch under a seed: a seed for each row, or one seed for all rows where their laws differ."""
    if not shared:
        with seeding.seeded(int(keys.sum()), keys.device):
            return law.sample()
    each = []
    for key in keys.tolist():
        with seeding.seeded(key, keys.device):
            each.append(law.sample())
    return torch.stack(each)
