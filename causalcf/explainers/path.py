"""The path engine: where a path through the latent space first enters the target.

A path gives a code for every share alpha in [0, 1] of the way. One decode of a few alphas brackets the first
crossing; halving the bracket finds it. No gradient is needed, so the classifier may be a black box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from causalcf.explainers.found import REASONS, Found, Trajectory, padded
from causalcf.explainers.query import Query
from causalcf.explainers.targets import l1, logit

__all__ = ["Path", "follow", "line", "paced", "verdict"]

REACHED, NO_CROSSING, MISSED = (REASONS.index(r) for r in ("reached", "no crossing", "missed"))

Path = Callable[[Query, Tensor], Tensor]
"""Rows and their alphas (N,) to codes (N, D)."""


@dataclass
class _Bracket:
    """Alphas around the crossing of each row: the target is not reached at `low`, and is at `high`."""

    low: Tensor
    high: Tensor
    beyond: Tensor
    """How far above the threshold the progress at `high` is."""


def follow(
    query: Query,
    path: Path,
    *,
    gamma: float = 0.5,
    tolerance: float = 0.05,
    alphas: int = 8,
    halvings: int = 10,
    frames: int = 0,
) -> Found:
    """The first point of a path, from alpha 0, at which the target is reached.

    Args:
        query: The rows.
        path: The path of each row.
        gamma: Probability of the target to reach; a regression has to reach its target.
        tolerance: A row ends where its probability (or value) is beyond that by at most as much.
        alphas: Points of the coarse grid, evenly spaced from 0 to 1; a target that is entered and left between
            two of them is missed.
        halvings: Of the bracket, at most.
        frames: Length of the stream, evenly spaced along the path up to the end; 0 for none.

    Returns:
        The code at the crossing and the number of evaluations; rows whose path never enters the target hold the
        point that comes closest.
    """
    grid = torch.linspace(0, 1, alphas, dtype=query.start.dtype, device=query.start.device)
    progress = _progress_along(query, path, grid)
    beyond = progress - (0.0 if query.explained.regression else gamma)
    inside = beyond >= 0
    crosses = inside.any(1)
    first = torch.where(crosses, inside.int().argmax(1), progress.nan_to_num(-torch.inf).argmax(1))
    bracket = _Bracket(grid[(first - 1).clamp_min(0)], grid[first], beyond.gather(1, first[:, None])[:, 0])
    steps = torch.full_like(first, alphas)
    _halve(query, path, bracket, steps, crosses & (first > 0), gamma=gamma, tolerance=tolerance, halvings=halvings)
    reason = torch.where(crosses, REACHED, NO_CROSSING)
    rows = torch.arange(query.rows, device=query.start.device)
    shares = torch.linspace(0, 1, frames, dtype=query.start.dtype, device=query.start.device) if frames else ()
    trajectory = [(rows, path(query, share * bracket.high)) for share in shares]
    return Found(code=path(query, bracket.high), steps=steps, reason=reason, trajectory=trajectory)


def _halve(
    query: Query,
    path: Path,
    bracket: _Bracket,
    steps: Tensor,
    going: Tensor,
    *,
    gamma: float,
    tolerance: float,
    halvings: int,
) -> None:
    """Narrow the brackets of the rows that are going, in place, until each is within the tolerance."""
    for _ in range(halvings):
        rows = torch.nonzero(going & (bracket.beyond > tolerance))[:, 0]
        if not len(rows):
            return
        part = query[rows]
        middle = (bracket.low[rows] + bracket.high[rows]) / 2
        progress = part.progress(part.ask(path(part, middle)))
        beyond = progress - (0.0 if query.explained.regression else gamma)
        inside = beyond >= 0
        bracket.high[rows] = torch.where(inside, middle, bracket.high[rows])
        bracket.low[rows] = torch.where(inside, bracket.low[rows], middle)
        bracket.beyond[rows] = torch.where(inside, beyond, bracket.beyond[rows])
        steps[rows] += 1


def _progress_along(query: Query, path: Path, grid: Tensor) -> Tensor:
    """Progress at every alpha of the grid, (N, A), in one evaluation."""
    rows = torch.arange(query.rows, device=grid.device).repeat_interleave(len(grid))
    wide = query[rows]
    return wide.progress(wide.ask(path(wide, grid.repeat(query.rows)))).view(query.rows, len(grid))


def paced(query: Query, trajectory: Trajectory, *, frames: int, pace: float) -> Trajectory:
    """The same way in other steps: evenly spaced in the classifier's answer, and in the image.

    Args:
        query: The rows.
        trajectory: The way, in the steps of a search.
        frames: How many there shall be.
        pace: How much of the pace is set by the image's change; the rest by the target's logit (of a regression,
            the value): 0 gives steps of equal logit, 1 steps of equal change.
    """
    code, lengths = padded(trajectory)
    dense = 4 * frames
    at = torch.linspace(0, 1, dense, dtype=code.dtype, device=code.device) * (lengths[:, None] - 1)
    points = _between(code, at)
    height, image = [], []
    for k in range(dense):
        values = query.decode(points[:, k])
        members = query.explained.members(points[:, k] if query.reads_codes else values)
        height.append(logit(query.outputs(members)))
        image.append(values)
    # A logit that falls for a while takes no time of its own: the pace follows its highest value so far.
    raised = torch.stack(height, 1).cummax(1).values
    changes = torch.stack([l1(a, b) for a, b in pairwise(image)], 1).cumsum(1)
    changed = torch.nn.functional.pad(changes, (1, 0))
    progress = pace * _share(changed) + (1 - pace) * _share(raised)
    levels = torch.linspace(0, 1, frames, dtype=code.dtype, device=code.device).expand(len(code), -1).contiguous()
    above = torch.searchsorted(progress.contiguous(), levels).clamp(1, dense - 1)
    low, high = progress.gather(1, above - 1), progress.gather(1, above)
    share = above - 1 + ((levels - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    codes = _between(points, share)
    rows = torch.arange(len(code), device=code.device)
    return [(rows, codes[:, k]) for k in range(frames)]


def _between(code: Tensor, at: Tensor) -> Tensor:
    """Codes (N, K, D) at fractional steps (N, K) of codes (N, T, D)."""
    low = at.floor().long().clamp(0, max(code.shape[1] - 2, 0))
    high = (low + 1).clamp_max(code.shape[1] - 1)
    rows = torch.arange(len(code), device=code.device)[:, None]
    return torch.lerp(code[rows, low], code[rows, high], (at - low)[..., None])


def _share(rising: Tensor) -> Tensor:
    """Rising values (N, T) from 0 to 1; of a row that does not rise, 0 to 1 evenly."""
    low, high = rising[:, :1], rising[:, -1:]
    even = torch.linspace(0, 1, rising.shape[1], dtype=rising.dtype, device=rising.device).expand_as(rising)
    return torch.where(high > low, (rising - low) / (high - low).clamp_min(1e-12), even)


def line(query: Query, alpha: Tensor) -> Tensor:
    """The straight line from the start to the constant `end`, (N, D): (1 - alpha) start + alpha end."""
    return torch.lerp(query.start, query.constants["end"], alpha.view(-1, *[1] * (query.start.ndim - 1)))


def verdict(query: Query, code: Tensor, *, gamma: float = 0.5, steps: int = 1, stream: bool = False) -> Found:
    """Judge a learned map's codes: a row is reached where the probability of the target is at least gamma.

    Args:
        query: The rows.
        code: (N, ...) what the map gave.
        gamma: Probability of the target to reach.
        steps: Applications of the map.
        stream: Keep the start and the end, the only two frames there are.
    """
    progress = query.progress(query.ask(code))
    reason = torch.where(query.met(progress, gamma), REACHED, MISSED)
    every = torch.arange(query.rows, device=code.device)
    trajectory = [(every, query.start), (every, code)] if stream else []
    return Found(code=code, steps=torch.full_like(reason, steps), reason=reason, trajectory=trajectory)
