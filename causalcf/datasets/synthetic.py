"""Small causal models whose answers are known in closed form: oracles for tests and for learning.

Written in plain torch, in float64. They share no code with the library they judge: noise is inverted
by formula, counterfactuals are solved or enumerated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import product
from math import log, pi
from typing import Any, ClassVar

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from causalcf.core.errors import DataError, InterventionError
from causalcf.core.signatures import checked
from causalcf.data import Batch
from causalcf.graph import CausalGraph
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.raw import read_raw
from causalcf.variables.scalar import Real

__all__ = ["AdditiveNoise", "Discrete", "Heteroscedastic", "LinearGaussian", "gumbel_max_counterfactual"]

Action = Mapping[str, float | Tensor]


class Oracle(ABC):
    """A model over real variables that is invertible in its noise, which is standard normal."""

    graph: CausalGraph

    @property
    def variables(self) -> Mapping[str, Variable]:
        """node -> Variable."""
        return self.graph.variables

    def sample_noise(self, n: int, *, seed: int = 0) -> Batch:
        """Draw the noise of n units: node -> standard normal tensor of shape (n,)."""
        generator = torch.Generator().manual_seed(seed)
        return Batch({node: torch.randn(n, generator=generator, dtype=torch.float64) for node in self.graph.nodes})

    def sample(self, n: int, *, seed: int = 0, do: Action | None = None) -> Batch:
        """Draw n units, observed or acted on; the same seed gives the same units in every world."""
        return self.predict(self.sample_noise(n, seed=seed), do)

    def counterfactual(self, x: Mapping[str, Tensor], do: Action) -> Batch:
        """The true counterfactual of units x: node -> tensor of shape (N,).

        Raises:
            InterventionError: `do` names a node that does not exist.
        """
        return self.predict(self.abduct(x), do)

    @abstractmethod
    def abduct(self, x: Mapping[str, Tensor]) -> Batch:
        """The noise of units x: node -> tensor of shape (N,)."""

    @abstractmethod
    def predict(self, noise: Mapping[str, Tensor], do: Action | None = None) -> Batch:
        """The units that have this noise, observed or acted on."""

    def _acted(self, do: Action | None, rows: int) -> dict[str, Tensor]:
        """The action as node -> float64 tensor of shape (rows,)."""
        unknown = [node for node in do or {} if node not in self.graph]
        if unknown:
            raise InterventionError(f"do names {unknown}; the nodes are {list(self.graph.nodes)}.")
        values = {node: read_raw(f"do({node})", value).numbers(node, "an action") for node, value in (do or {}).items()}
        return {node: value.to(torch.float64).expand(rows) for node, value in values.items()}


@checked
class LinearGaussian(Oracle):
    """Linear equations with normal noise: x_j = b_j + sum_i w_ij x_i + s_j u_j.

    In matrix form (I - W^T) x = b + s u, so that units, noise, means and covariances are all one linear
    solve; an action replaces the rows of the nodes acted on.

    Args:
        weights: (cause, effect) -> w.
        intercepts: node -> b, 0 by default; may name nodes without edges.
        scales: node -> s, above 0, 1 by default.

    Raises:
        GraphError: The weights do not form a directed acyclic graph.
        DataError: A scale is not above 0.

    Example:
        >>> chain = LinearGaussian({("a", "b"): 2.0, ("b", "c"): -1.0})
        >>> unit = Batch({"a": torch.tensor([1.0]), "b": torch.tensor([2.5]), "c": torch.tensor([0.0])})
        >>> chain.counterfactual(unit, do={"a": 0.0})["c"]
        tensor([2.], dtype=torch.float64)
        >>> chain.mean(do={"a": 3.0})["c"]
        -6.0
    """

    def __init__(
        self,
        weights: Mapping[tuple[str, str], float],
        *,
        intercepts: Mapping[str, float] | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        edges = nx.DiGraph(list(weights))
        edges.add_nodes_from([*(intercepts or {}), *(scales or {})])  # nodes without edges are named there
        self.graph = CausalGraph(edges, dict.fromkeys(edges, Real()))
        place = {node: i for i, node in enumerate(self.graph.nodes)}
        self._w = torch.zeros(len(place), len(place), dtype=torch.float64)
        for (cause, effect), weight in weights.items():
            self._w[place[cause], place[effect]] = weight
        self._b = torch.tensor([(intercepts or {}).get(node, 0.0) for node in place], dtype=torch.float64)
        self._s = torch.tensor([(scales or {}).get(node, 1.0) for node in place], dtype=torch.float64)
        if (self._s <= 0).any():
            raise DataError(f"Scales must be above 0, got {scales}.")

    @classmethod
    def random(cls, nodes: int = 5, *, density: float = 0.5, seed: int = 0) -> LinearGaussian:
        """A random model on nodes x0, x1, ...: each forward edge is there with probability `density`.

        Weights are +-[0.5, 1.5], intercepts [-1, 1], scales [0.5, 1.5], all uniform.

        Example:
            >>> LinearGaussian.random(3, density=1.0).graph.edges
            (('x0', 'x1'), ('x0', 'x2'), ('x1', 'x2'))
        """
        rng = np.random.default_rng(seed)
        names = [f"x{i}" for i in range(nodes)]
        pairs = [(cause, effect) for j, effect in enumerate(names) for cause in names[:j]]
        return cls(
            {pair: rng.choice([-1, 1]) * rng.uniform(0.5, 1.5) for pair in pairs if rng.random() < density},
            intercepts={name: rng.uniform(-1, 1) for name in names},
            scales={name: rng.uniform(0.5, 1.5) for name in names},
        )

    def abduct(self, x: Mapping[str, Tensor]) -> Batch:
        """u = (x - b - W^T x) / s."""
        values = self._stack(x)
        return self._batch((values - self._b - values @ self._w) / self._s)

    def predict(self, noise: Mapping[str, Tensor], do: Action | None = None) -> Batch:
        """x = (I - W^T)^-1 (b + s u), with the rows of the nodes acted on replaced."""
        right = self._b + self._s * self._stack(noise)
        acted = self._acted(do, len(right))
        for node, value in acted.items():
            right[:, self.graph.nodes.index(node)] = value
        return self._batch(torch.linalg.solve(self._system(acted), right.T).T)

    def log_prob(self, x: Mapping[str, Tensor]) -> Tensor:
        """Log density of units x, shape (N,)."""
        u = self._stack(self.abduct(x))
        return (-0.5 * u**2 - 0.5 * log(2 * pi) - self._s.log()).sum(1)

    def mean(self, do: Mapping[str, float] | None = None) -> dict[str, float]:
        """Mean of each node, observed or under an action."""
        zero = Batch({node: torch.zeros(1, dtype=torch.float64) for node in self.graph.nodes})
        return {node: value.item() for node, value in self.predict(zero, do).items()}

    def covariance(self, do: Mapping[str, float] | None = None) -> Tensor:
        """Covariance of the nodes in the graph's order, shape (d, d); nodes acted on have none."""
        acted = self._acted(do, 1)
        free = torch.tensor([node not in acted for node in self.graph.nodes], dtype=torch.float64)
        root = torch.linalg.solve(self._system(acted), torch.diag(self._s * free))
        return root @ root.T

    def _system(self, acted: Mapping[str, Tensor]) -> Tensor:
        """I - W^T, with the equations of the nodes acted on replaced by x_j = right-hand side."""
        free = torch.tensor([node not in acted for node in self.graph.nodes], dtype=torch.float64)
        return torch.eye(len(free), dtype=torch.float64) - free[:, None] * self._w.T

    def _stack(self, x: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([x[node].double() for node in self.graph.nodes], 1)

    def _batch(self, values: Tensor) -> Batch:
        return Batch(dict(zip(self.graph.nodes, values.unbind(1), strict=True)))


class ThreeNodes(Oracle):
    """X -> Y, X -> Z, Y -> Z with node = location(parents) + scale(parents) * u; X is standard normal.

    The equations are chosen so that a hand-written flow of three neural-spline layers, fitted to 10,000 rows,
    errs about as much as was measured for it when causal libraries were compared on such a graph.
    """

    def __init__(self) -> None:
        self.graph = CausalGraph([("X", "Y"), ("X", "Z"), ("Y", "Z")], dict.fromkeys("XYZ", Real()))

    @abstractmethod
    def scale_y(self, x: Tensor) -> Tensor:
        """Standard deviation of Y given X."""

    @abstractmethod
    def scale_z(self, x: Tensor, y: Tensor) -> Tensor:
        """Standard deviation of Z given X and Y."""

    def location_y(self, x: Tensor) -> Tensor:
        """Mean of Y given X."""
        return 0.5 * x + torch.sin(x)

    def location_z(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean of Z given X and Y."""
        return y + 0.5 * x * torch.tanh(y) - 0.5 * x

    def abduct(self, x: Mapping[str, Tensor]) -> Batch:
        """u = (node - location) / scale."""
        X, Y, Z = (x[node].double() for node in "XYZ")
        u_y = (Y - self.location_y(X)) / self.scale_y(X)
        u_z = (Z - self.location_z(X, Y)) / self.scale_z(X, Y)
        return Batch({"X": X, "Y": u_y, "Z": u_z})

    def predict(self, noise: Mapping[str, Tensor], do: Action | None = None) -> Batch:
        """node = location + scale u, in causal order."""
        u = {node: noise[node].double() for node in "XYZ"}
        acted = self._acted(do, len(u["X"]))
        X = acted.get("X", u["X"])
        Y = acted.get("Y", self.location_y(X) + self.scale_y(X) * u["Y"])
        Z = acted.get("Z", self.location_z(X, Y) + self.scale_z(X, Y) * u["Z"])
        return Batch({"X": X.clone(), "Y": Y.clone(), "Z": Z.clone()})

    def mean(self, do: Mapping[str, float] | None = None, *, points: int = 64) -> dict[str, float]:
        """Mean of each node, observed or under an action.

        By Gauss-Hermite quadrature over the noise of X and Y, exact to about 1e-8; the noise of Z has
        mean zero and drops out.
        """
        roots, weights = np.polynomial.hermite_e.hermegauss(points)
        grid = torch.cartesian_prod(torch.from_numpy(roots), torch.from_numpy(roots))
        mass = torch.from_numpy(np.outer(weights, weights).ravel() / weights.sum() ** 2)
        noise = Batch({"X": grid[:, 0], "Y": grid[:, 1], "Z": torch.zeros(len(grid), dtype=torch.float64)})
        return {node: float(mass @ value) for node, value in self.predict(noise, do).items()}


class AdditiveNoise(ThreeNodes):
    """Nonlinear additive noise: Y = X/2 + sin X + 0.35 u, Z = Y + X tanh(Y)/2 - X/2 + 0.4 u.

    Example:
        >>> model = AdditiveNoise()
        >>> units = model.sample(4)
        >>> bool((model.counterfactual(units, do={"Y": units["Y"]})["Z"] - units["Z"]).abs().max() < 1e-12)
        True
    """

    def scale_y(self, x: Tensor) -> Tensor:
        """0.35 everywhere."""
        return torch.full_like(x, 0.35)

    def scale_z(self, x: Tensor, y: Tensor) -> Tensor:
        """0.4 everywhere."""
        return torch.full_like(x, 0.4)


class Heteroscedastic(ThreeNodes):
    """The same means with noise whose scale depends on the parents, from 0.2 up.

    Example:
        >>> model = Heteroscedastic()
        >>> bool(model.scale_y(torch.tensor(2.0)) > model.scale_y(torch.tensor(-2.0)))
        True
    """

    def scale_y(self, x: Tensor) -> Tensor:
        """0.2 + 0.3 sigmoid(2 x) + 0.1 |x|."""
        return 0.2 + 0.3 * torch.sigmoid(2 * x) + 0.1 * x.abs()

    def scale_z(self, x: Tensor, y: Tensor) -> Tensor:
        """0.2 + 0.2 sigmoid(y - x) + 0.15 |x|."""
        return 0.2 + 0.2 * torch.sigmoid(y - x) + 0.15 * x.abs()


class Discrete:
    """A boolean A, a category B and a boolean C, with A -> B, A -> C, B -> C and known tables.

    Units choose by Gumbel-max: each category's log probability plus Gumbel noise, the largest wins. For
    two categories this is the logistic threshold. Counterfactuals are random, as several noises explain
    one unit; their probabilities are exact (`gumbel_max_counterfactual`, then enumeration of B).

    References:
        Oberst, Sontag: Counterfactual Off-Policy Evaluation with Gumbel-Max Structural Causal Models, 2019.

    Example:
        >>> model = Discrete()
        >>> unit = Batch({"A": torch.tensor([True]), "B": torch.tensor([2]), "C": torch.tensor([True])})
        >>> model.counterfactual(unit, do={"A": True})["B"]  # the null action keeps what was observed
        tensor([[0., 0., 1.]], dtype=torch.float64)
        >>> model.probabilities(do={"A": False})["B"]
        tensor([0.6000, 0.3000, 0.1000], dtype=torch.float64)
    """

    categories: ClassVar[dict[str, int]] = {"A": 2, "B": 3, "C": 2}
    """How many categories each node has."""

    def __init__(self) -> None:
        self.graph = CausalGraph(
            [("A", "B"), ("A", "C"), ("B", "C")],
            {"A": Boolean(), "B": Categorical(["low", "middle", "high"]), "C": Boolean()},
        )
        self.tables: dict[str, Tensor] = {
            "A": _table([0.6, 0.4]),
            "B": _table([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]]),
            "C": _table([[[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]], [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]]),
        }
        """Probabilities of A, of B given A (row), of C given A, B."""

    @property
    def variables(self) -> Mapping[str, Variable]:
        """node -> Variable."""
        return self.graph.variables

    def sample(self, n: int, *, seed: int = 0, do: Mapping[str, int | bool] | None = None) -> Batch:
        """Draw n units, observed or acted on; the same seed gives the same units in every world."""
        acted = self._acted(do)
        generator = torch.Generator().manual_seed(seed)
        uniform = {
            node: torch.rand(n, k, generator=generator, dtype=torch.float64) for node, k in self.categories.items()
        }
        noise = {node: -(-u.log()).log() for node, u in uniform.items()}
        code: dict[str, Tensor] = {}
        for node, u in noise.items():
            logits = self.tables[node][tuple(code[parent] for parent in self.graph.parents(node))].log()
            code[node] = torch.full((n,), acted[node]) if node in acted else (logits + u).argmax(-1)
        return Batch({"A": code["A"].bool(), "B": code["B"], "C": code["C"].bool()})

    def probabilities(self, do: Mapping[str, int | bool] | None = None) -> dict[str, Tensor]:
        """Exact marginal of each node, shape (k,), observed or under an action."""
        acted = self._acted(do)
        a, b, c = (_one_hot(acted[node], table) if node in acted else table for node, table in self.tables.items())
        joint = a[:, None, None] * b[:, :, None] * c
        return {"A": joint.sum((1, 2)), "B": joint.sum((0, 2)), "C": joint.sum((0, 1))}

    def counterfactual(self, x: Mapping[str, Tensor], do: Mapping[str, int | bool]) -> dict[str, Tensor]:
        """Exact counterfactual probabilities of each node for units x: shape (N, k).

        The noises of the nodes are independent given the unit, so that the joint probability of a
        counterfactual (a, b, c) is a product; C is summed over every (a, b).
        """
        acted = self._acted(do)
        observed = {node: x[node].long() for node in self.categories}
        rows = len(observed["A"])
        before = {"B": self.tables["B"][observed["A"]], "C": self.tables["C"][observed["A"], observed["B"]]}
        a = _fixed(acted["A"], rows, 2) if "A" in acted else torch.eye(2, dtype=torch.float64)[observed["A"]]
        zeros = {node: torch.zeros(rows, k, dtype=torch.float64) for node, k in self.categories.items()}
        result = zeros | {"A": a}
        for i, j in product(range(2), range(3)):
            b = self._choice("B", acted, before["B"], self.tables["B"][i], observed["B"])
            c = self._choice("C", acted, before["C"], self.tables["C"][i, j], observed["C"])
            weight = a[:, i] * b[:, j]
            result["B"][:, j] += weight
            result["C"] += weight[:, None] * c
        return result

    def _choice(self, node: str, acted: Mapping[str, int], before: Tensor, after: Tensor, observed: Tensor) -> Tensor:
        """Counterfactual probabilities (N, k) of a node whose probabilities were `before` and are `after`."""
        if node in acted:
            return _fixed(acted[node], len(observed), self.categories[node])
        return gumbel_max_counterfactual(before, after.expand_as(before), observed)

    def _acted(self, do: Mapping[str, int | bool] | None) -> dict[str, int]:
        for node, value in (do or {}).items():
            if node not in self.categories:
                raise InterventionError(f"do names '{node}'; the nodes are {list(self.categories)}.")
            if int(value) not in range(self.categories[node]):
                raise InterventionError(f"do({node}={value}): expected a code 0..{self.categories[node] - 1}.")
        return {node: int(value) for node, value in (do or {}).items()}


@checked
def gumbel_max_counterfactual(before: Tensor, after: Tensor, observed: Tensor) -> Tensor:
    r"""Exact counterfactual probabilities of a Gumbel-max choice.

    A Gumbel-max choice is a race: category k arrives at an exponential time of rate p_k and the first
    one is chosen. Seeing i first at time t, the others arrive later, without memory; the action divides
    the time of k by r_k = q_k / p_k. Integrating over t, for j other than i,

    .. math:: P(j) = q_j \int_{1/r_j}^{1/r_i} \Big(1 + \sum_{k \ne i} p_k (v r_k - 1)_+\Big)^{-2} dv,

    and the base is linear in v between the points 1/r_k, where the integral is elementary. A category
    whose ratio falls is never gained from one whose ratio rises (counterfactual stability).

    Args:
        before: Factual probabilities p, shape (N, K), all above 0.
        after: Probabilities q under the action, shape (N, K), all above 0.
        observed: The category that was chosen, shape (N,), long.

    Returns:
        Probabilities of shape (N, K).

    Example:
        >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.8, 0.2]])
        >>> gumbel_max_counterfactual(p, q, torch.tensor([1])), gumbel_max_counterfactual(p, q, torch.tensor([0]))
        (tensor([[0.6000, 0.4000]]), tensor([[1., 0.]]))
    """
    inverse_ratio = before / after
    knots = inverse_ratio.sort(-1).values
    left, right = knots[:, :-1, None], knots[:, 1:, None]  # segments, with an axis for the category
    end = inverse_ratio.gather(1, observed[:, None])
    others = torch.ones_like(before).scatter(1, observed[:, None], 0.0)

    def base(v: Tensor) -> Tensor:
        arrived = (v / inverse_ratio[:, None] - 1).clamp_min(0) * (before * others)[:, None]
        return 1 + arrived.sum(-1, keepdim=True)

    area = (right - left) / (base(left) * base(right))
    inside = (left >= inverse_ratio[:, None]) & (right <= end[:, None])
    moved = after * others * (area * inside).sum(1)
    return moved.scatter(1, observed[:, None], 1 - moved.sum(1, keepdim=True))


def _table(values: list[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _one_hot(code: int, like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=torch.float64)[code].expand_as(like)


def _fixed(code: int, rows: int, k: int) -> Tensor:
    return torch.eye(k, dtype=torch.float64)[code].expand(rows, k)
