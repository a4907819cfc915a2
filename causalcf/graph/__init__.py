"""The causal hypothesis: a directed acyclic graph whose nodes are variables, and the files that hold one."""

from causalcf.graph.causal import CausalGraph, Description, site
from causalcf.graph.document import SCHEMA
from causalcf.graph.files import GRAPHS, graph_names, load_graph

__all__ = ["GRAPHS", "SCHEMA", "CausalGraph", "Description", "graph_names", "load_graph", "site"]
