"""An oracle of causal effects: binary nodes and hidden causes, all laws by enumeration."""

import itertools
import random

import networkx as nx
import numpy as np

import causalcf as ccf


class World:
    """Binary nodes with random tables, each arc a binary hidden cause; all laws by enumeration."""

    def __init__(self, graph: ccf.CausalGraph, seed: int) -> None:
        self.nodes, self.graph = graph.nodes, graph
        rng = np.random.default_rng(seed)
        self.hidden = [tuple(arc) for arc in graph.confounded]
        self.prior = rng.uniform(0.2, 0.8, len(self.hidden))
        self.tables = {}
        for v in self.nodes:
            inputs = len(graph.parents(v)) + sum(v in arc for arc in self.hidden)
            self.tables[v] = rng.uniform(0.1, 0.9, (2,) * inputs)

    def law(self, do: dict[str, int]) -> np.ndarray:
        """The joint law of the nodes under actions, one axis a node."""
        axis = {name: i for i, name in enumerate((*self.nodes, *self.hidden))}
        factors = []
        for arc, p in zip(self.hidden, self.prior, strict=True):
            factors += [np.array([1 - p, p]), [axis[arc]]]
        for v in self.nodes:
            if v in do:
                factors += [np.eye(2)[do[v]], [axis[v]]]
                continue
            inputs = [axis[a] for a in (*self.graph.parents(v), *(arc for arc in self.hidden if v in arc))]
            factors += [np.stack([1 - self.tables[v], self.tables[v]], -1), [*inputs, axis[v]]]
        return np.einsum(*factors, list(range(len(self.nodes))), optimize=True)

    def probability(self, joint: np.ndarray, event: dict[str, int]) -> float:
        return float(joint[tuple(event.get(v, slice(None)) for v in self.nodes)].sum())


def random_graph(n: int, seed: int) -> ccf.CausalGraph:
    rng = random.Random(seed)
    names = [f"v{i}" for i in range(n)]
    pairs = list(itertools.combinations(names, 2))
    edges = [pair for pair in pairs if rng.random() < 0.5]
    arcs = [pair for pair in pairs if rng.random() < 0.35]
    return graph_of(names, edges, arcs)


def graph_of(names, edges, arcs) -> ccf.CausalGraph:
    graph = nx.DiGraph(edges)
    graph.add_nodes_from(names)
    return ccf.CausalGraph(graph, dict.fromkeys(names, ccf.Boolean()), confounded=[tuple(arc) for arc in arcs])
