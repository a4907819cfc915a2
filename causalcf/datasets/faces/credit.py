"""The truth of an explanation: the part of a change of a picture that the attribute asked for causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Credit", "credit", "directions"]


@dataclass(frozen=True)
class Credit:
    r"""Shares of the squared change of each row's picture; `target`, `other` and `rest` add up to 1.

    For a row with factual noise u, an attribute's *true changes* are image(do(attribute = v)) - image, for values v
    over its range, the noise held. Let T be the span of the target's true changes, those through its effects
    included, and O that of the true changes of all other attributes, each alone. With P the orthogonal projection on
    a span, the change e of an explanation is split into

    .. math:: \|e\|^2 = \|P_T e\|^2 + \big(\|P_{T + O} e\|^2 - \|P_T e\|^2\big) + \|e - P_{T + O} e\|^2.

    A change that could be either is credited to the target. A row that did not change at all has NaN.

    Args:
        target: Share of the target's own doing, (N,).
        other: Share that the other attributes add to it, (N,): short cuts.
        rest: Share of no attribute's doing, (N,): another person, another light, specks.
        others: attribute -> share that it would add to the target's alone, (N,).
        size: Root mean square of the change over pixels and channels, in grey levels, (N,).
    """

    target: Tensor
    other: Tensor
    rest: Tensor
    others: Mapping[str, Tensor]
    size: Tensor


def directions(image: Tensor, worlds: Sequence[Tensor]) -> Tensor:
    """True changes (N, K, P) of pictures towards K worlds, in double precision."""
    return torch.stack([(world - image).flatten(1) for world in worlds], 1).double()


def credit(change: Tensor, own: Tensor, others: Mapping[str, Tensor]) -> Credit:
    """Split changes (N, C, H, W) among directions (N, K, P) of the target's own and of others."""
    change = change.flatten(1).double()
    total = change.square().sum(1)
    mine = _explained(change, own)
    added = {name: (_explained(change, torch.cat([own, ds], 1)) - mine) / total for name, ds in others.items()}
    both = _explained(change, torch.cat([own, *others.values()], 1))
    size = 255 * change.square().mean(1).sqrt()
    shares = (mine / total, (both - mine) / total, (total - both) / total)
    target, other, rest = (share.float() for share in shares)
    return Credit(target, other, rest, {name: share.float() for name, share in added.items()}, size.float())


def _explained(change: Tensor, directions: Tensor) -> Tensor:
    """Squared length of the projection of each change (N, P) on the span of its directions (N, K, P)."""
    weights = (directions @ change[:, :, None])[..., 0]
    gram = directions @ directions.mT
    inverse = torch.linalg.pinv(gram, rtol=1e-9, hermitian=True)
    return (weights[:, None] @ inverse @ weights[:, :, None])[:, 0, 0]
