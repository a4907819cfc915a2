"""Where a search ended, row by row, and the way there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

__all__ = ["REASONS", "Found", "Reason", "Trajectory", "padded"]

Reason = Literal["reached", "max steps", "nan gradient", "stuck", "no crossing", "missed"]
REASONS: tuple[Reason, ...] = ("reached", "max steps", "nan gradient", "stuck", "no crossing", "missed")
"""Why a row ended.

reached: the target is; max steps: the search used all of its steps; nan gradient: it met a gradient that is not
finite; stuck: no step is left that it may take; no crossing: the path never enters the target; missed: the learned
map does not reach the target.
"""

Trajectory = list[tuple[Tensor, Tensor]]
"""The rows that are still under way at each step, and their codes; step 0 has them all."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Where an explainer ended, by row.

    Args:
        code: (N, D) latent code, or (N, *event_shape) values of the node for methods that act on it. A row that
            failed holds its best attempt, the one with the highest probability of the target.
        steps: (N,) steps taken until then.
        reason: (N,) long, an index into `REASONS`.
        trajectory: The way there, if asked for; a row's last entry is its `code`.
    """

    code: Tensor
    steps: Tensor
    reason: Tensor
    trajectory: Trajectory = field(default_factory=list)

    @property
    def reached(self) -> Tensor:
        """(N,) bool."""
        return self.reason == 0

    @classmethod
    def join(cls, parts: Sequence[Found]) -> Found:
        """The results of consecutive blocks of rows, joined: the inverse of `Query.blocks`.

        Example:
            >>> parts = [Found(code=torch.ones(2, 3), steps=torch.zeros(2), reason=torch.zeros(2))] * 2
            >>> Found.join(parts).code.shape
            torch.Size([4, 3])
        """
        if len(parts) == 1:
            return parts[0]
        first = 0
        steps: list[Trajectory] = [[] for _ in range(max(len(part.trajectory) for part in parts))]
        for part in parts:
            for step, (rows, codes) in zip(steps, part.trajectory, strict=False):  # a block may take fewer steps
                step.append((first + rows, codes))
            first += len(part.code)
        return cls(
            code=torch.cat([part.code for part in parts]),
            steps=torch.cat([part.steps for part in parts]),
            reason=torch.cat([part.reason for part in parts]),
            trajectory=[(torch.cat([r for r, _ in step]), torch.cat([codes for _, codes in step])) for step in steps],
        )


def padded(trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """A trajectory as codes (N, T, ...), each row's last one repeated, and the rows' lengths (N,).

    Every row is in the first step; it may sit out later ones, and its frames then close up.
    """
    first = trajectory[0][1]
    lengths = torch.zeros(len(first), dtype=torch.long, device=first.device)
    code = first.new_zeros(len(first), len(trajectory), *first.shape[1:])
    for rows, codes in trajectory:
        code[rows, lengths[rows]] = codes
        lengths[rows] += 1
    longest = int(lengths.max())
    last = torch.arange(longest, device=first.device).expand(len(first), -1).minimum(lengths[:, None] - 1)
    return code[torch.arange(len(first), device=first.device)[:, None], last], lengths
