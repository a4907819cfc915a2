"""A question to an explainer, in tensors: rows, where the search starts, and the target of each row."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from causalcf.core.errors import ExplanationError
from causalcf.core.surroundings import callers_line
from causalcf.data import Batch, align
from causalcf.explainers.classifier import Explained
from causalcf.explainers.protocol import Explaining
from causalcf.mechanisms import Mechanism
from causalcf.scm.abduction import Noise
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical
from causalcf.variables.raw import as_tensor, read_raw

__all__ = ["Outputs", "Query", "make_query", "parted", "read_target"]

AGREEMENT = 0.9
"""Share of rows on which a parent and the classifier must agree to be taken for the same thing."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Query:
    """The rows and targets that an explainer searches for. Indexing selects rows.

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
        members: (M, N, K) the classifier's answers to x.
        zeroed: Residual sites that the explanation sets to 0.
        reads_codes: Whether the classifier reads codes instead of the node's values.
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
    reads_codes: bool = False
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

    def blocks(self) -> Iterator[Query]:
        """The rows in consecutive blocks of at most `batch_size`."""
        for start in range(0, self.rows, self.batch_size):
            yield self[start : start + self.batch_size]

    def given(self, **constants: Tensor) -> Query:
        """The same query with further values per row, (N, ...)."""
        return replace(self, constants={**self.constants, **constants})

    # ------------------------------------------------------------------ codes and values

    def noise(self, code: Tensor) -> dict[str, Tensor]:
        """The node's noise with the searched sites taken from `code` (N, D)."""
        return {**self.u, **parted(code, self.u, self.sites)}

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
        """The node's values that codes stand for, and the classifier's outputs for them, batch by batch."""
        images, members = [], []
        for rows, part in zip(self.blocks(), code.split(self.batch_size), strict=True):
            images.append(rows.decode(part))
            members.append(self.explained.members(part if self.reads_codes else images[-1]))
        return torch.cat(images), torch.cat(members, 1)

    def ask(self, code: Tensor) -> Tensor:
        """The classifier's outputs for a code, (M, N, K)."""
        return self.explained.members(code if self.reads_codes else self.decode(code))

    # ------------------------------------------------------------------ how far a row has come

    def outputs(self, members: Tensor) -> Outputs:
        """The classifier's outputs (M, N, K), to be read against the target."""
        return Outputs(self, members)

    def progress(self, members: Tensor) -> Tensor:
        """(N,) probability of the target; of a regression, how far beyond its target it is (below 0: not yet)."""
        return self.outputs(members).progress

    def probability(self, members: Tensor) -> Tensor:
        """(N,) probability of the target; of a regression, its value."""
        return members.mean(0)[:, 0] if self.explained.regression else self.progress(members)

    def met(self, progress: Tensor, gamma: float) -> Tensor:
        """(N,) bool: whether the probability is gamma or more; a regression, at its target."""
        return progress >= (0.0 if self.explained.regression else gamma)


@dataclass(frozen=True)
class Outputs:
    """The classifier's outputs for one code per row, with the target that they are read against.

    Args:
        query: The rows and their targets.
        members: (M, N, K) outputs of every member.
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


def _name(variable: Variable, value: Tensor) -> str:
    """A class by its name, where it has one; a number as it is."""
    return variable.categories[int(value)] if isinstance(variable, Categorical) else str(value.item())


def parted(code: Tensor, u: Mapping[str, Tensor], sites: Sequence[str]) -> dict[str, Tensor]:
    """The sites whose flattened values a code (N, D) joins, in the shapes that they have in `u`.

    Example:
        >>> parted(torch.ones(2, 3), {"a": torch.ones(1, 2), "b": torch.ones(1, 1)}, ["a", "b"])["a"].shape
        torch.Size([2, 2])
    """
    shapes = [u[site].shape[1:] for site in sites]
    parts = code.split([shape.numel() for shape in shapes], 1)
    return {site: part.unflatten(1, shape) for site, part, shape in zip(sites, parts, shapes, strict=True)}


def read_target(explained: Explained, target: Any, members: Tensor) -> tuple[Tensor, Tensor]:
    """A target as a value per row, (N,), with the side from which a regression comes to it.

    Args:
        explained: The classifier, whose variable is known by now.
        target: A class (code or name) or a regression value, for all rows or one per row; None for any class but
            the one that is predicted.
        members: (M, N, K) the classifier's answers to the factual rows.

    Raises:
        SupportError: A class that does not exist.
        ExplanationError: Rows that are in their target already, or a target per row for another number of rows.
    """
    variable, rows, device = explained.variable, members.shape[1], members.device
    if variable is None:
        raise ExplanationError("The classifier's variable is not known before it was asked: call check(node, x) first.")
    if target is None:
        return explained.predicted(members), -torch.ones(rows, dtype=members.dtype, device=device)
    raw = read_raw("target", target)
    single = raw.shape == ()
    raw = replace(raw, values=raw.values.reshape(-1)) if single else raw
    # A number is a class's code, even where the class's name is another number.
    codes = raw.kind == "numbers" and not isinstance(raw.values, Tensor)
    wanted = variable.read("target", as_tensor(raw.array) if codes else raw, members.dtype, device)
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
            f" {_name(variable, wanted[there][0])} of the factual. Ask for another target, or leave these rows out,"
            " where explainer.predict(x) is the target."
        )
    return wanted, side


def make_query(explainer: Explaining, noise: Noise, factual: Batch, target: Any) -> Query:
    """The question that an explainer searches with.

    Args:
        explainer: The explainer asked.
        noise: The rows' abducted noise.
        factual: The rows.
        target: As `read_target` takes it.

    Raises:
        MechanismError: The classifier does not fit the node.
        ExplanationError: It gives probabilities, or no gradient where one is needed; rows are in their target already.
        SupportError: A class that does not exist.
    """
    mechanism, explained, x = explainer.mechanism, explainer.explained, factual[explainer.node]
    latent = explainer.acts_on == "latents"
    zeroed = mechanism.residual_sites if latent and not explainer.carry_residual else ()
    u = noise.of(explainer.node, mechanism)
    u |= {suffix: torch.zeros_like(u[suffix]) for suffix in zeroed}
    start = explainer.joined(u) if latent else x
    classified = start if explainer.reads_codes else x
    members = explained.check(explainer.node, classified, explainer.batch_size)
    if explainer.gradients:
        explained.check_gradient(classified)
    wanted, side = read_target(explained, align("target", target, factual.labels), members)
    if latent:
        _warn_of_meaning(explainer, factual, members)
    return Query(
        node=explainer.node,
        mechanism=mechanism,
        explained=explained,
        x=x,
        pa=explainer.parents_of(factual),
        u=u,
        sites=explainer.sites if latent else (),
        start=start,
        target=wanted,
        side=side,
        members=members,
        zeroed=zeroed,
        reads_codes=explainer.reads_codes,
        batch_size=explainer.batch_size,
    )


def _warn_of_meaning(explainer: Explaining, factual: Batch, members: Tensor) -> None:
    """Warn of a parent that means the class: it holds the image to its class, whatever the latents."""
    predicted, classes = explainer.explained.predicted(members), explainer.explained.variable
    for parent, value in explainer.parents_of(factual).items():
        variable = explainer.scm.variables[parent]
        if not (isinstance(variable, Categorical) and isinstance(classes, Categorical) and variable.k == classes.k):
            continue
        agreement = (value == predicted).sum().item() / len(predicted)
        if agreement >= AGREEMENT:
            warnings.warn(
                f"The parent '{parent}' of '{explainer.node}' means what the classifier says (they agree in"
                f" {agreement:.0%} of the rows), and an explanation holds it at its factual value: the latents can"
                f" hardly reach the target. Use a generator without that parent, or ask the causal question,"
                f" scm.counterfactual(x, do={{'{parent}': target}}).",
                stacklevel=callers_line(),
            )
