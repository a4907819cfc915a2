"""Protocols that pictures need of the objects they show; pictures do not know the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import networkx as nx
from torch import Tensor

from causalcf.variables import Variable

__all__ = ["Answer", "Explained", "Graph", "Search"]


class Graph(Protocol):
    """A causal graph whose nodes are variables."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names in topological order."""
        ...

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """(cause, effect) pairs."""
        ...

    @property
    def confounded(self) -> tuple[tuple[str, str], ...]:
        """Pairs of nodes that share a hidden cause."""
        ...

    @property
    def variables(self) -> Mapping[str, Variable]:
        """node -> variable, as far as they are known."""
        ...

    @property
    def networkx(self) -> nx.DiGraph:
        """The same as a networkx graph."""
        ...

    def __contains__(self, node: object) -> bool: ...

    def parents(self, node: str) -> tuple[str, ...]:
        """Direct causes."""
        ...

    def children(self, node: str) -> tuple[str, ...]:
        """Direct effects."""
        ...

    def require(self, node: str) -> str:
        """The node itself, or an error that names those there are."""
        ...


class Answer(Protocol):
    """A counterfactual: node -> tensor, and how it was computed."""

    @property
    def graph(self) -> Graph: ...
    @property
    def worlds(self) -> Sequence[Any]: ...
    @property
    def flat_noise(self) -> Any: ...
    @property
    def do(self) -> Any: ...
    @property
    def residual(self) -> Any: ...
    @property
    def recompute(self) -> str: ...
    @property
    def listed(self) -> bool: ...
    @property
    def num_samples(self) -> int | None: ...
    @property
    def rows(self) -> int: ...
    @property
    def factual(self) -> Mapping[str, Tensor] | None: ...
    @property
    def index(self) -> Any: ...
    @property
    def clipped(self) -> Mapping[str, int]: ...
    def __getitem__(self, node: str, /) -> Tensor: ...
    def world(self, i: int) -> Answer:
        """One of the worlds asked for."""
        ...

    def sample(self, j: int) -> Answer:
        """One of the samples."""
        ...


class Search(Protocol):
    """The way a search took: probabilities, doubts and images along it."""

    @property
    def lengths(self) -> Tensor: ...
    @property
    def probability(self) -> Tensor: ...
    @property
    def epistemic(self) -> Tensor: ...
    @property
    def image(self) -> Tensor: ...


class Explained(Protocol):
    """An explanation: rows as they were, as they would have to be, and how the search ended."""

    @property
    def scm(self) -> Any: ...
    @property
    def node(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def factual(self) -> Mapping[str, Tensor]: ...
    @property
    def counterfactual(self) -> Tensor: ...
    @property
    def probability(self) -> Tensor: ...
    @property
    def reached(self) -> Tensor: ...
    @property
    def reason(self) -> Sequence[Any]: ...
    @property
    def stream(self) -> Search | None: ...
    def columns(self) -> Mapping[str, Sequence[Any]]:
        """Name -> the cells of a table's column, one a row."""
        ...
