"""Does the data contradict the graph: the independences that it implies, tested, beside graphs with permuted names."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import erfc, sqrt

import torch
from torch import Tensor

from causalcf.core import seeding
from causalcf.graph import CausalGraph
from causalcf.graph.identification import Mixed
from causalcf.variables import Variable

__all__ = ["Columns", "Independence", "beside_permuted", "dependence", "implied", "scores", "standardised"]

FAR = 3.0
"""Standard deviations beyond which columns are cut: products of rare values would make p-values too small."""

WAVES = 60
"""Random cosines in a regression."""

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties tried, as shares of the number of rows."""


@dataclass(frozen=True)
class Independence:
    """One independence that a graph implies, tested.

    Args:
        a: A node.
        b: Another.
        given: The nodes that separate them.
        p: The p-value.
        size: How strongly what is left of the two goes together: the largest correlation.
    """

    a: str
    b: str
    given: tuple[str, ...]
    p: float
    size: float

    @property
    def words(self) -> str:
        """In words."""
        given = f", given {', '.join(self.given)}" if self.given else ""
        return f"{self.a} and {self.b} independent{given}"


def scores(variable: Variable, x: Tensor) -> Tensor:
    """A node as standardised columns, (N, k), in 64 bits: of a number powers of its normal score, else codes."""
    if variable.discrete:
        columns = variable.features(x).double()
        columns = columns[:, 1:] if columns.shape[1] > 1 else columns
    else:
        ranked = x.double().sort().values  # equal values share the middle of their ranks
        ranks = (torch.searchsorted(ranked, x.double()) + torch.searchsorted(ranked, x.double(), right=True)) / 2
        score = torch.special.ndtri(ranks / len(x))
        columns = torch.stack([score, score.square(), score**3 - 3 * score], 1)
    return standardised(columns)


def standardised(columns: Tensor) -> Tensor:
    """Columns with mean 0 and spread 1, without those that do not spread; far values count as far only."""
    columns = columns - columns.mean(0)
    spread = columns.std(0, unbiased=False)
    columns = (columns[:, spread > 1e-9] / spread[spread > 1e-9]).clamp(-FAR, FAR)
    return columns - columns.mean(0)


@dataclass
class Columns:
    """Nodes of some rows as columns, and what is left of each after regression on others, kept.

    Args:
        columns: node -> (N, k), standardised.
        seed: Seed of the random cosines.
    """

    columns: Mapping[str, Tensor]
    seed: int
    _left: dict[tuple[str, tuple[str, ...]], Tensor] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(next(iter(self.columns.values())))

    def left(self, node: str, given: tuple[str, ...]) -> Tensor:
        """What regression on other nodes leaves of a node's columns, (N, k).

        Ridge regression on the columns and on random cosines of them (Rahimi and Recht, "Random Features for
        Large-Scale Kernel Machines", 2007), the penalty by generalised cross-validation (Golub, Heath, Wahba 1979).
        """
        if not given:
            return self.columns[node]
        key = (node, given)
        if key not in self._left:
            design = torch.cat([self.columns[other] for other in given], 1)
            generator = torch.Generator().manual_seed(seeding.derive(self.seed, "waves", *given) % 2**62)
            waves = torch.randn(design.shape[1], WAVES, generator=generator, dtype=torch.float64)
            phase = torch.rand(WAVES, generator=generator, dtype=torch.float64) * 2 * torch.pi
            cosines = torch.cos(design @ waves.to(design) / design.shape[1] ** 0.5 + phase.to(design))
            design = torch.cat([design, cosines - cosines.mean(0)], 1)
            self._left[key] = _ridge(design, self.columns[node])
        return self._left[key]

    def test(self, a: str, b: str, given: Collection[str]) -> Independence:
        """The generalised covariance measure of two nodes given others.

        References:
            Shah and Peters, "The Hardness of Conditional Independence Testing and the Generalised Covariance Measure",
            2020, equation 3.
        """
        named = tuple(sorted(given))
        p, size = dependence(self.left(a, named), self.left(b, named))
        return Independence(a, b, named, p, size)


def _ridge(design: Tensor, target: Tensor) -> Tensor:
    """The residuals of ridge regression, each column with its own penalty."""
    u, s, _ = torch.linalg.svd(design, full_matrices=False)
    inside = u.T @ target
    best, least = target, torch.full((target.shape[1],), torch.inf, dtype=target.dtype, device=target.device)
    for penalty in PENALTIES:
        shrink = s.square() / (s.square() + penalty * len(target))
        residual = target - u @ (shrink[:, None] * inside)
        loss = residual.square().mean(0) / (1 - shrink.sum() / len(target)) ** 2
        best, least = torch.where(loss < least, residual, best), torch.minimum(loss, least)
    return best


def dependence(a: Tensor, b: Tensor) -> tuple[float, float]:
    """p-value and size of the dependence of what is left of two nodes, (N, k) and (N, l).

    Each pair of columns gives a statistic that is standard normal where they are independent; the largest counts, and
    its p-value is taken times their number (Bonferroni).
    """
    products = (a[:, :, None] * b[:, None, :]).flatten(1)
    if not products.shape[1]:
        return 1.0, 0.0
    spread = products.std(0).clamp_min(1e-12)
    statistic = float((products.mean(0).abs() / spread).max()) * sqrt(len(products))
    scale = (a.square().mean(0)[:, None] * b.square().mean(0)[None, :]).sqrt().flatten().clamp_min(1e-12)
    size = float((products.mean(0).abs() / scale).max())
    return min(1.0, products.shape[1] * erfc(statistic / sqrt(2))), size


def implied(mixed: Mixed, nodes: Collection[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Pairs of nodes that a graph takes to be independent given others, with one such set each.

    Args:
        mixed: The graph.
        nodes: Those that can be tested; the sets are made of them, too.
    """
    order = [node for node in mixed.parents if node in nodes]
    for a, b in itertools.combinations(order, 2):
        if a in mixed.parents[b] or frozenset((a, b)) in mixed.arcs:
            continue
        sets = (mixed.parents[b], (*mixed.parents[a], *mixed.parents[b]), mixed.causes([a, b]), ())
        for some in sets:
            given = tuple(node for node in order if node in some and node not in (a, b))
            if mixed.separated([a], [b], given):
                yield a, b, given
                break


def beside_permuted(graph: CausalGraph, columns: Columns, level: float, times: int) -> tuple[float, list[float]]:
    """The share of implied independences that data reject, of a graph and of others: the same with permuted names.

    Permutations that claim the same independences as the graph are left out: data cannot tell them from it.

    References:
        Eulig, Mastakouri, Bloebaum, Hardt, Janzing, "Toward Falsifying Causal Graphs Using a Permutation-Based Test",
        2023.

    Args:
        graph: The graph.
        columns: The data.
        level: p-values below this count as rejections.
        times: How many permutations to try.
    """
    names = [node for node in graph.nodes if node in columns.columns]
    claims = list(implied(graph.mixed, names))
    generator = torch.Generator().manual_seed(seeding.derive(columns.seed, "permutations") % 2**62)

    def pairs(renamed: Mapping[str, str]) -> set[frozenset[str]]:
        return {frozenset((renamed[a], renamed[b])) for a, b, _ in claims}

    def share(renamed: Mapping[str, str]) -> float:
        found = [columns.test(renamed[a], renamed[b], [renamed[node] for node in given]).p for a, b, given in claims]
        return sum(p < level for p in found) / len(found)

    own, others = {node: node for node in names}, []
    for _ in range(times):
        order = torch.randperm(len(names), generator=generator).tolist()
        renamed = {node: names[i] for node, i in zip(names, order, strict=True)}
        if pairs(renamed) != pairs(own):
            others.append(share(renamed))
    return share(own), others
