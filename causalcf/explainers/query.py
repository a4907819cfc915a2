"""A question to an explainer, in tensors: rows, where the search starts, and what is wanted of each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from causalcf.core.errors import ExplanationError
from causalcf.explainers.classifier import Explained
from causalcf.mechanisms import Mechanism
from causalcf.variables import as_array
from causalcf.variables.codes import Categorical

__all__ = ["REASONS", "Found", "Query", "Reason", "Said", "Trail", "padded", "read_target"]

Reason = Literal["reached", "max steps", "nan gradient", "stuck", "no crossing", "missed"]
REASONS: tuple[Reason, ...] = ("reached", "max steps", "nan gradient", "stuck", "no crossing", "missed")
"""Why a row ended.

reached: the target is; max steps: the search used all of its steps; nan gradient: it met a gradient that is not
finite; stuck: no step is left that it may take; no crossing: the path never enters the target; missed: the learned
map does not reach the target.
"""


Trail = list[tuple[Tensor, Tensor]]
"""The rows that are still under way at each step, and their codes; step 0 has them all."""


@dataclass(frozen=True)
class Found:
    """Where an explainer ended, by row.

    Args:
        code: (N, D) latent code, or (N, *event_shape) values of the node for methods that act on it. A row that
            failed holds its best attempt, the one with the highest probability of the target.
        steps: (N,) steps taken until then.
        reason: (N,) long, an index into `REASONS`.
        trail: The way there, if asked for; a row's last entry is its `code`.
    """

    code: Tensor
    steps: Tensor
    reason: Tensor
    trail: Trail = field(default_factory=list)

    @property
    def reached(self) -> Tensor:
        """(N,) bool."""
        return self.reason == 0


@dataclass(frozen=True, eq=False)
class Query:
    """What an explainer searches with. Indexing selects rows.

    Args:
        node: The node that is explained.
        mechanism: Its mechanism.
        explained: The classifier.
        x: (N, *event_shape) factual values of the node.
        pa: Its parents' factual values.
        u: Its abducted noise, with the residual as the explanation holds it (0, or as abducted).
        sites: Noise sites the search moves; none where it acts on the node itself.
        start: (N, D) their abducted values, flattened and joined; x where it acts on the node itself.
        target: (N,) wanted class codes, or regression values.
        side: (N,) +1 where a regression has to rise to its target, -1 where it has to fall; for classes +1, or -1
            where the target is any class but this one.
        members: (M, N, K) what the classifier says of x.
        zeroed: Residual sites that the explanation sets to 0.
        latent: Whether the classifier reads codes instead of the node's values.
        constants: Further values that a method keeps per row.
        batch_size: Rows that are decoded and classified at once where nothing is searched.
    """

    node: str
    mechanism: Mechanism
    explained: Explained
    x: Tensor
    pa: Mapping[str, Tensor]
    u: Mapping[str, Tensor]
    sites: tuple[str, ...]
    start: Tensor
    target: Tensor
    side: Tensor
    members: Tensor
    zeroed: tuple[str, ...] = ()
    latent: bool = False
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    batch_size: int = 1024

    @property
    def rows(self) -> int:
        """N."""
        return self.x.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Query:
        def cut(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: value[rows] for name, value in values.items()}

        return replace(
            self,
            x=self.x[rows],
            pa=cut(self.pa),
            u=cut(self.u),
            start=self.start[rows],
            target=self.target[rows],
            side=self.side[rows],
            members=self.members[:, rows],
            constants=cut(self.constants),
        )

    def given(self, **constants: Tensor) -> Query:
        """The same query with further values per row, (N, ...)."""
        return replace(self, constants={**self.constants, **constants})

    # ------------------------------------------------------------------ codes and values

    def noise(self, code: Tensor) -> dict[str, Tensor]:
        """The node's noise with the searched sites taken from `code` (N, D)."""
        shapes = [self.u[site].shape[1:] for site in self.sites]
        parts = code.split([shape.numel() for shape in shapes], 1)
        moved = {s: part.unflatten(1, shape) for s, part, shape in zip(self.sites, parts, shapes, strict=True)}
        return {**self.u, **moved}

    def project(self, x: Tensor) -> Tensor:
        """The nearest values that the node can have."""
        return self.mechanism.variable.project(x)

    def decode(self, code: Tensor) -> Tensor:
        """The node's values that a code stands for, projected onto the support.

        The gradient is that of the values before projection: clamped pixels do not stop it.
        """
        if not self.sites:
            return code
        x = self.mechanism.predict(self.noise(code), self.pa)
        return _Projected.apply(x, self.project(x.detach()))  # type: ignore[no-any-return]

    def judged(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """The node's values that codes stand for, and what the classifier says of them, batch by batch."""
        images, members = [], []
        for start, part in zip(range(0, len(code), self.batch_size), code.split(self.batch_size), strict=True):
            images.append(self[start : start + self.batch_size].decode(part))
            members.append(self.explained.members(part if self.latent else images[-1]))
        return torch.cat(images), torch.cat(members, 1)

    def ask(self, code: Tensor) -> Tensor:
        """What the classifier says of a code, (M, N, K)."""
        return self.explained.members(code if self.latent else self.decode(code))

    # ------------------------------------------------------------------ how far a row has come

    def said(self, members: Tensor) -> Said:
        """What the classifier's outputs (M, N, K) mean for the target."""
        return Said(self, members)

    def progress(self, members: Tensor) -> Tensor:
        """(N,) probability of the target; of a regression, how far beyond its target it is (below 0: not yet)."""
        return self.said(members).progress

    def probability(self, members: Tensor) -> Tensor:
        """(N,) probability of the target; of a regression, its value."""
        return members.mean(0)[:, 0] if self.explained.regression else self.progress(members)

    def met(self, progress: Tensor, gamma: float) -> Tensor:
        """(N,) bool: whether the probability is gamma or more; a regression, at its target."""
        return progress >= (0.0 if self.explained.regression else gamma)


def padded(trail: Trail) -> tuple[Tensor, Tensor]:
    """A trail as codes (N, T, ...), each row's last one repeated, and the rows' lengths (N,).

    Every row is in the first step; it may sit out later ones, and its frames then close up.
    """
    first = trail[0][1]
    lengths = torch.zeros(len(first), dtype=torch.long, device=first.device)
    code = first.new_zeros(len(first), len(trail), *first.shape[1:])
    for rows, codes in trail:
        code[rows, lengths[rows]] = codes
        lengths[rows] += 1
    longest = int(lengths.max())
    last = torch.arange(longest, device=first.device).expand(len(first), -1).minimum(lengths[:, None] - 1)
    return code[torch.arange(len(first), device=first.device)[:, None], last], lengths


@dataclass(frozen=True)
class Said:
    """What a classifier says of one code per row, seen from the target.

    Args:
        query: The rows.
        members: (M, N, K) its outputs.
    """

    query: Query
    members: Tensor

    @cached_property
    def log_p(self) -> Tensor:
        """(M, N) log probability that each member gives the target class."""
        target = self.query.target.expand(self.members.shape[0], -1)[..., None]
        return self.members.log_softmax(-1).gather(-1, target)[..., 0]

    @property
    def progress(self) -> Tensor:
        """(N,) probability of the target; of a regression, how far beyond its target it is (below 0: not yet)."""
        if self.query.explained.regression:
            return self.query.side * (self.members.mean(0)[:, 0] - self.query.target)
        p = self.log_p.exp().mean(0)
        return torch.where(self.query.side > 0, p, 1 - p)


class _Projected(torch.autograd.Function):
    """The second argument, with the first one's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, projected: Tensor) -> Tensor:  # noqa: ARG004
        return projected

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004  # type: ignore[override]
        return gradient, None


def read_target(explained: Explained, target: Any, members: Tensor) -> tuple[Tensor, Tensor]:
    """A target as a value per row, (N,), with the side from which a regression comes to it.

    Args:
        explained: The classifier, whose variable is known by now.
        target: A class (code or name) or a regression value, for all rows or one per row; None for any class but
            the one that is predicted.
        members: (M, N, K) what the classifier says of the factual rows.

    Raises:
        SupportError: A class that does not exist.
        ExplanationError: Rows that are in their target already, or a target per row for another number of rows.
    """
    variable, rows, device = explained.variable, members.shape[1], members.device
    if variable is None:
        raise ExplanationError("What the classifier gives is not known before it has seen a row: check(node, x) first.")
    if target is None:
        return explained.predicted(members), -torch.ones(rows, dtype=members.dtype, device=device)
    if not isinstance(target, Tensor):
        array = as_array("target", target)
        target = array if isinstance(variable, Categorical) and array.dtype.kind in "US" else torch.as_tensor(array)
    single = target.ndim == 0
    wanted = variable.read("target", target.reshape(-1) if single else target, members.dtype, device)
    if not single and len(wanted) != rows:
        raise ExplanationError(f"There are {len(wanted)} targets for {rows} rows. Give one, or one per row.")
    wanted = wanted.expand(rows) if single else wanted
    predicted = explained.predicted(members)
    if explained.regression:
        side = torch.where(wanted >= predicted, 1.0, -1.0).to(members.dtype)
    else:
        wanted, side = wanted.long(), torch.ones(rows, dtype=members.dtype, device=device)
    there = wanted == predicted
    if there.any():
        where = torch.nonzero(there)[:5, 0].tolist()
        raise ExplanationError(
            f"{int(there.sum())} of {rows} rows (for example {where}) are in their target already: the classifier says"
            f" {wanted[there][0].item()} of the factual. Ask for another target, or leave these rows out, where"
            " explainer.predict(x) is the target."
        )
    return wanted, side
