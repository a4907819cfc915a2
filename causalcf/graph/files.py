"""Graph files: those that come with causalcf, by name, and any other, by path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causalcf.core.errors import GraphError
from causalcf.core.signatures import checked
from causalcf.core.untrusted import FAULTS, read_json
from causalcf.graph.causal import CausalGraph
from causalcf.graph.document import named

__all__ = ["GRAPHS", "graph_names", "load_graph"]

_INSIDE = Path(__file__).parent.parent / "graphs"
GRAPHS = _INSIDE if _INSIDE.is_dir() else Path(__file__).parent.parent.parent / "graphs"
"""The graph files: inside the package when installed from a wheel, else the checkout's folder."""

_READERS = {
    ".gml": "nx.read_gml({!r})",
    ".graphml": "nx.read_graphml({!r})",
    ".xml": "nx.read_graphml({!r})",
    ".gexf": "nx.read_gexf({!r})",
    ".dot": "nx.nx_pydot.read_dot({!r})",
    ".gv": "nx.nx_pydot.read_dot({!r})",
    ".net": "nx.read_pajek({!r})",
    ".adjlist": "nx.read_adjlist({!r}, create_using=nx.DiGraph)",
    ".edgelist": "nx.read_edgelist({!r}, create_using=nx.DiGraph)",
    ".txt": "nx.read_edgelist({!r}, create_using=nx.DiGraph)",
    ".csv": "nx.from_pandas_edgelist(pd.read_csv({!r}), 'cause', 'effect', create_using=nx.DiGraph)",
}
"""Extension of a foreign file -> the Python call that reads it."""

_TEXTS = (
    (("digraph", "strict digraph", "graph{", "graph {"), "nx.nx_pydot.from_pydot(pydot.graph_from_dot_data(text)[0])"),
    (("dag{", "dag {", "pdag"), "[('cause', 'effect'), ...], as DAGitty's arrows say"),
    (("graph [", "graph["), "nx.parse_gml(text)"),
    (("<",), "nx.parse_graphml(text)"),
    (("{", "["), "causalcf.CausalGraph.from_json(json.loads(text))"),
)
"""The first words of a graph in a text, and the call that reads it."""


@checked
def graph_names() -> tuple[str, ...]:
    """Names of the graphs that come with causalcf."""
    return tuple(sorted(path.stem for path in GRAPHS.glob("*.json")))


def load_graph(name_or_path: str | Path) -> CausalGraph:
    """Load a graph that comes with causalcf by its name, or any graph file by its path.

    Raises:
        GraphError: There is no such graph or file, or it is not a valid graph file.

    Example:
        >>> load_graph("morphomnist").parents("image")
        ('thickness', 'intensity', 'digit')
    """
    if not isinstance(name_or_path, str | Path):
        raise GraphError(
            f"Expected the name or the path of a graph, got {type(name_or_path).__name__}:"
            " causalcf.CausalGraph(...) makes one of a networkx.DiGraph or of (cause, effect) pairs."
        )
    _refuse_text(str(name_or_path))
    path = Path(name_or_path)
    if path.suffix.lower() != ".json":
        _refuse_other_files(path)
        path = GRAPHS / f"{name_or_path}.json"
    if not _is_file(path):
        raise GraphError(f"There is no graph '{name_or_path}' ({path}). Known graphs: {list(graph_names())}.")
    try:
        document = read_json(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:  # not JSON, or not even text
        raise GraphError(f"{path} is not JSON: {' '.join(str(error).split())[:200]}.") from None
    return _from_document(path, document)


def _from_document(path: Path, document: Any) -> CausalGraph:
    try:
        return CausalGraph.from_json(document)
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from None
    except FAULTS as error:
        raise GraphError(f"{path} is not a graph file: {type(error).__name__}, {str(error)[:200]}.") from error


def _refuse_text(text: str) -> None:
    """Raise if the text is a graph itself, in some language, instead of a name or a path."""
    start = text.strip().lower()
    for begins, remedy in _TEXTS:
        if start.startswith(begins) and not _is_file(Path(text)):
            call = remedy if remedy.startswith(("[", "causalcf")) else f"causalcf.CausalGraph(nx.DiGraph({remedy}))"
            raise GraphError(f"{text.strip()[:40]!r} is a graph as text, not a name or a path. Give {call}.")
    if "->" in text or "\n" in text or ";" in text:
        raise GraphError(f"{text.strip()[:40]!r} is neither a name nor a path. Give pairs: [('cause', 'effect'), ...].")


def _refuse_other_files(path: Path) -> None:
    """Raise if there is a file, but in another format than causalcf's."""
    reader = _READERS.get(path.suffix.lower())
    if _is_file(path) and path.suffix.lower() == ".safetensors":
        raise GraphError(f"{path} is a model, not a graph. Give its graph: causalcf.SCM.load({str(path)!r}).graph.")
    if _is_file(path):
        graph = f"nx.DiGraph({(reader or 'nx.read_...({!r})').format(str(path))})"
        raise GraphError(
            f"{path} is no graph file of causalcf (.json). Read it with networkx and hand that over:"
            f" causalcf.CausalGraph({graph}, variables)."
        )
    if reader or path.is_dir():
        what = "a folder" if path.is_dir() else "not there"
        raise GraphError(f"There is no graph '{path}': it is {what}. Known graphs: {named(graph_names())}.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False
