import copy
import importlib.util
import itertools
import json
import pickle
import time
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import causalcf.graph.files
from causalcf.core.errors import CausalCFError, GraphError, UnknownNodeError
from causalcf.graph import CausalGraph, graph_names, load_graph
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.image import Image
from causalcf.variables.scalar import Interval, Positive, Real

DOCUMENT = {
    "directed": True,
    "multigraph": False,
    "graph": {"schema": 1, "name": "two", "title": "", "reference": ""},
    "nodes": [{"id": "a", "kind": "Real"}, {"id": "b", "kind": "Interval", "low": 0, "high": 1}],
    "edges": [{"source": "a", "target": "b"}],
}


@st.composite
def dags(draw):
    """Random DAGs of up to 8 nodes, declared in an order that need not be topological."""
    names = draw(st.permutations("abcdefgh"[: draw(st.integers(1, 8))]))
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    graph = nx.DiGraph()
    graph.add_nodes_from(draw(st.permutations(names)))
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return graph


# ---------------------------------------------------------------------- relations


@settings(deadline=None, max_examples=60)
@given(dags())
def test_relations_agree_with_networkx(dag):
    graph = CausalGraph(dag)
    place = {node: i for i, node in enumerate(graph.nodes)}
    assert set(graph.nodes) == set(dag)
    assert set(graph.edges) == set(dag.edges)
    assert all(place[cause] < place[effect] for cause, effect in dag.edges)
    for node in dag:
        for ours, theirs in [
            (graph.parents(node), dag.predecessors(node)),
            (graph.children(node), dag.successors(node)),
            (graph.ancestors([node]), nx.ancestors(dag, node)),
            (graph.descendants([node]), nx.descendants(dag, node)),
        ]:
            assert set(ours) == set(theirs)
            assert list(ours) == sorted(ours, key=place.__getitem__)


@settings(deadline=None, max_examples=60)
@given(dags(), st.data())
def test_mutilation_cuts_the_edges_into_the_nodes_and_no_others(dag, data):
    graph = CausalGraph(dag, {node: Real(unit=node) for node in dag}, name="n", title="t", reference="r")
    acted = data.draw(st.sets(st.sampled_from(graph.nodes)))
    cut = graph.mutilate(acted)
    assert set(cut.edges) == {edge for edge in graph.edges if edge[1] not in acted}
    assert set(cut.nodes) == set(graph.nodes)
    assert dict(cut.variables) == dict(graph.variables)
    assert (cut.name, cut.title, cut.reference) == ("n", "t", "r")
    assert set(graph.edges) == set(dag.edges), "the graph itself must not change"


@settings(deadline=None, max_examples=60)
@given(dags())
def test_a_graph_survives_json_and_pickle(dag):
    variables = {node: Positive() for node in list(dag)[::2]}
    graph = CausalGraph(dag, variables, name="n", title="t", reference="r")
    for other in (
        CausalGraph.from_json(json.loads(json.dumps(graph.to_json()))),
        pickle.loads(pickle.dumps(graph)),
        copy.deepcopy(graph),
    ):
        assert other == graph
        assert hash(other) == hash(graph)
        assert other.nodes == graph.nodes
        assert (other.name, other.title, other.reference) == ("n", "t", "r")


def test_ties_in_the_order_are_broken_by_declaration():
    edges = [("t", "x"), ("d", "x")]
    assert CausalGraph(edges).nodes == ("t", "d", "x")
    assert CausalGraph(edges[::-1]).nodes == ("d", "t", "x")


def test_descendants_of_several_nodes_hold_those_that_another_causes():
    graph = CausalGraph([("a", "b"), ("b", "c")])
    assert graph.descendants(["a", "b"]) == ("b", "c")
    assert graph.ancestors(["b", "c"]) == ("a", "b")
    assert graph.descendants([]) == ()


def test_equality_is_of_nodes_edges_and_variables_not_of_names():
    graph = CausalGraph([("a", "b"), ("c", "b")], {"a": Real()})
    assert graph == CausalGraph([("c", "b"), ("a", "b")], {"a": Real()}, name="other")
    assert graph != CausalGraph([("a", "b"), ("c", "b")], {"a": Positive()})
    assert graph != CausalGraph([("a", "b")], {"a": Real()})
    assert graph != "graph"


def test_a_graph_does_not_follow_the_graph_it_was_made_from():
    dag = nx.DiGraph([("a", "b")])
    graph = CausalGraph(dag)
    dag.add_edge("b", "c")
    assert graph.nodes == ("a", "b")
    with pytest.raises(nx.NetworkXError, match=r"[Ff]rozen"):
        graph.networkx.add_edge("b", "c")
    with pytest.raises(TypeError):
        graph.variables["a"] = Real()  # type: ignore[index]


def test_new_nodes_and_variables_give_new_graphs():
    graph = CausalGraph([("a", "b")], {"a": Real()})
    wider = graph.with_node("y", Categorical(3), ["b"])
    assert wider.parents("y") == ("b",)
    assert "y" not in graph
    assert graph.with_variables({"a": Positive(), "b": Boolean()}).variables == {"a": Positive(), "b": Boolean()}
    with pytest.raises(GraphError, match="already has a node 'b'"):
        graph.with_node("b", Real(), [])
    with pytest.raises(UnknownNodeError, match="no node 'q'"):
        graph.with_node("y", Real(), ["q"])


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a")]), r"cycle: a -> b -> c -> a\. Remove"),
        (nx.DiGraph([("a", "a"), ("a", "b")]), r"Nodes \['a'\] cause themselves"),
        (nx.Graph([("a", "b")]), r"Expected a networkx\.DiGraph, got Graph"),
        (nx.MultiDiGraph([("a", "b")]), "got MultiDiGraph"),
        (nx.DiGraph(), "no nodes"),
        (nx.DiGraph([("a", "image.z")]), r"Bad node name 'image\.z'.*without a dot"),
        (nx.DiGraph([(1, 2)]), "Bad node name 1"),
        (nx.DiGraph([("a", " ")]), "Bad node name ' '"),
    ],
)
def test_bad_graphs_are_refused(graph, message):
    with pytest.raises(GraphError, match=message):
        CausalGraph(graph)


@pytest.mark.parametrize("ask", ["parents", "children", "require"])
def test_unknown_nodes_are_named_with_the_known_ones(ask):
    with pytest.raises(UnknownNodeError, match=r"no node 'q'. Its nodes are \['a', 'b'\]"):
        getattr(CausalGraph([("a", "b")]), ask)("q")


@pytest.mark.parametrize("ask", ["ancestors", "descendants", "mutilate"])
def test_unknown_nodes_among_several_are_named(ask):
    with pytest.raises(UnknownNodeError, match="no node 'q'"):
        getattr(CausalGraph([("a", "b")]), ask)(["a", "q"])


def test_variables_of_unknown_nodes_are_refused():
    with pytest.raises(UnknownNodeError, match=r"declared for \['q'\], which the graph lacks: \['a', 'b'\]"):
        CausalGraph([("a", "b")], {"q": Real()})


def test_an_unknown_node_is_a_key_error_that_reads_as_a_sentence():
    with pytest.raises(KeyError) as caught:
        CausalGraph([("a", "b")]).parents("q")
    assert isinstance(caught.value, CausalCFError)
    assert str(caught.value).startswith("The graph has no node 'q'.")


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("name", graph_names())
def test_shipped_graphs_survive_the_round_trip(name, tmp_path):
    graph = load_graph(name)
    assert graph.name == name
    assert graph.title
    assert graph.reference
    assert set(graph.variables) == set(graph.nodes), "every node of a shipped graph has a variable"
    graph.save(tmp_path / "copy.json")
    again = load_graph(tmp_path / "copy.json")
    assert again == graph
    assert again.nodes == graph.nodes
    document, written = json.loads((causalcf.graph.GRAPHS / f"{name}.json").read_text("utf-8")), graph.to_json()
    for part in ("directed", "multigraph", "graph"):
        assert document[part] == written[part]
    for node in document["nodes"]:
        assert node in written["nodes"]
    for edge in document["edges"]:
        assert edge in written["edges"]


def test_the_promised_graphs_are_there():
    assert {
        "adult",
        "celeba",
        "celeba-complex",
        "chain",
        "collider",
        "fork",
        "front-door",
        "morphomnist",
    } <= set(graph_names())


def test_the_morphomnist_graph_is_the_published_one():
    graph = load_graph("morphomnist")
    assert graph.parents("image") == ("thickness", "intensity", "digit")
    assert graph.parents("intensity") == ("thickness",)
    assert dict(graph.variables) == {
        "thickness": Positive(unit="px"),
        "intensity": Interval(64, 255, unit="grey levels"),
        "digit": Categorical(10),
        "image": Image(1, 32, 32),
    }


@pytest.mark.parametrize(
    ("name", "cause", "effect", "adjusted"),
    [("chain", "exercise", "pulse", {"fitness"}), ("fork", "ice-cream", "drownings", {"temperature"})],
)
def test_teaching_graphs_separate_as_they_teach(name, cause, effect, adjusted):
    dag = load_graph(name).networkx
    assert not nx.is_d_separator(dag, {cause}, {effect}, set())
    assert nx.is_d_separator(dag, {cause}, {effect}, adjusted)


def test_the_collider_and_the_front_door_separate_as_they_teach():
    collider = load_graph("collider").networkx
    assert nx.is_d_separator(collider, {"talent"}, {"beauty"}, set())
    assert not nx.is_d_separator(collider, {"talent"}, {"beauty"}, {"famous"})
    front = load_graph("front-door")
    assert nx.is_d_separator(front.networkx, {"genotype"}, {"tar"}, {"smoking"})
    assert "cancer" in front.mutilate(["smoking"]).descendants(["smoking"])


def test_graph_files_are_found_inside_a_package_and_in_a_checkout(tmp_path):
    """A copy of graph/files.py in a package with `graphs/` in it, as in a wheel, or beside it, as in a checkout."""
    source = Path(causalcf.graph.files.__file__).read_text("utf-8")
    for folder in ("wheel/pkg/graphs", "checkout/graphs"):
        module = tmp_path / folder.split("/")[0] / "pkg" / "graph" / "graph_copy.py"
        (tmp_path / folder).mkdir(parents=True)
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(source, "utf-8")
        load_graph("chain").save(tmp_path / folder / "mine.json")
        spec = importlib.util.spec_from_file_location("graph_copy", module)
        spec.loader.exec_module(found := importlib.util.module_from_spec(spec))
        assert found.graph_names() == ("mine",)
        assert found.load_graph("mine").nodes == ("exercise", "fitness", "pulse")


def changed(**parts):
    return {**copy.deepcopy(DOCUMENT), **parts}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], 'node-link document with "nodes" and "edges"'),
        ({"nodes": []}, 'node-link document with "nodes" and "edges"'),
        (changed(nodes=["a"]), '"nodes" and "edges" lists of objects'),
        (changed(edges={"a": "b"}), '"nodes" and "edges" lists of objects'),
        (changed(graph=[]), '"graph" must be an object'),
        (changed(graph={"schema": 3}), "schema 3 is not supported; expected 1, or 2 with hidden causes"),
        (changed(confounded=["a", "b"]), r"list of pairs .* got 'a' among them"),
        (changed(confounded=[["a", "c"]]), r"confounded names \('a', 'c'\), but the graph has no node 'c'"),
        (changed(graph={}), "schema None is not supported"),
        (changed(directed=False), '"directed": true'),
        (changed(multigraph=True), '"multigraph": false'),
        (changed(nodes=[{"id": "a"}, {"id": "b"}, {"id": "a"}]), r"occur twice: \['a'\]"),
        (changed(nodes=[{"id": "a"}, {"kind": "Real"}]), "not declared among the nodes"),
        (changed(nodes=[{"id": "a"}, {"id": "b"}, {"id": "c.d"}]), r"Bad node name 'c\.d'"),
        (changed(edges=[{"source": "a", "target": "bb"}]), r"names \['bb'\], not declared among the nodes"),
        (changed(edges=[{"source": "a"}]), r"names \[None\], not declared"),
        (changed(edges=[{"source": "a", "target": "a"}]), "cause themselves"),
        (changed(edges=[{"source": "a", "target": "b"}, {"source": "b", "target": "a"}]), "cycle"),
        (changed(nodes=[{"id": "a", "kind": "Complex"}, {"id": "b"}]), "'a' has the unknown kind 'Complex'. Known"),
        (changed(nodes=[{"id": "a", "unit": "px"}, {"id": "b"}]), "'a' has the unknown kind None"),
        (changed(nodes=[{"id": "a", "kind": "Interval", "low": 0}, {"id": "b"}]), "'a' of kind Interval.*'high'"),
        (changed(nodes=[{"id": "a", "kind": "Real", "low": 0}, {"id": "b"}]), "'a' of kind Real.*'low'"),
        (
            changed(nodes=[{"id": "a", "kind": "Interval", "low": 3, "high": 2}, {"id": "b"}]),
            "'a' of kind Interval: .*low < high, got low=3, high=2",
        ),
        (changed(nodes=[{"id": "a", "kind": "Image", "shape": [32, 32]}, {"id": "b"}]), "'a' is an Image: expected"),
        (changed(nodes=[{"id": "a", "kind": "Image", "shape": [1, 0, 3]}, {"id": "b"}]), "at least 1, got"),
    ],
)
def test_bad_graph_files_are_refused_with_their_path(document, message, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(GraphError, match=message) as caught:
        load_graph(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b'{"nodes": [', b"\xff\xfe\x00"])
def test_files_that_are_not_json_are_refused(content, tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(GraphError, match="is not JSON"):
        load_graph(path)


def test_a_missing_graph_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(GraphError, match=r"no graph 'morphomnits' .*Known graphs: \[.*'morphomnist'"):
        load_graph("morphomnits")
    with pytest.raises(GraphError, match="no graph"):
        load_graph(tmp_path / "missing.json")


# ---------------------------------------------------------------------- other forms


MATRIX = np.array([[0, 1], [0, 0]])


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"smoking": ["cancer"]}, r"got dict: nx\.DiGraph\(\{\.\.\.\}\) reads node -> its effects; .*reverse"),
        ({"bp": ["hr"], "hr": []}, r"got dict: nx\.DiGraph"),
        ({"bp": "hr"}, r"got dict: write \{'cause': \['effect', \.\.\.\]\}"),
        ({"children": ["income"], "id": ["children"]}, r"nx\.tree_graph\(document\)"),
        ({"children": ["income"]}, r"nx\.DiGraph\(\{\.\.\.\}\) reads node -> its effects"),
        (nx.adjacency_data(nx.DiGraph([("a", "b")])), r"nx\.adjacency_graph\(document\)"),
        (nx.cytoscape_data(nx.DiGraph([("a", "b")])), r"nx\.cytoscape_graph\(document\)"),
        ([{"a", "b"}], "got set .* among them"),
        ([{"source": "a", "target": "b"}], "got dict .* among them"),
        ({"nodes": [], "links": []}, r'nx\.node_link_graph\(document, edges="links"\)'),
        (["ab", "bc"], r"got str 'ab' among them: write \('cause', 'effect'\)"),
        (["a"], "Nodes without edges are declared by variables"),
        ([("a", "b", 1.0)], "with 3 entries"),
        ([1, 2], "got int '1' among them"),
        ([(1, 2)], r"Bad node name 1.*nx\.relabel_nodes\(graph, str\)"),
        (MATRIX, r"got ndarray: nx\.relabel_nodes\(nx\.from_numpy_array.*row -> column as cause -> effect"),
        (MATRIX.tolist(), "got a matrix: nx"),
        (np.zeros((2, 3)), "got ndarray: nx"),
        (torch.zeros(2, 2), "got Tensor: nx"),
        (scipy.sparse.coo_array(MATRIX), "from_scipy_sparse_array"),
        (pd.DataFrame(MATRIX, index=["X", "Y"], columns=["X", "Y"]), r"nx\.from_pandas_adjacency"),
        (pd.DataFrame({"cause": ["a"], "effect": ["b"], "w": [1]}), r"nx\.from_pandas_edgelist"),
        (None, r"got NoneType: write \[\('cause', 'effect'\)"),
        (3, "got int: write"),
        (nx.DiGraph, "got type: write"),
        ("morphomnist", r"got str: causalcf\.load_graph"),
        (nx.MultiDiGraph([("a", "b")]), r"got MultiDiGraph: nx\.DiGraph\(graph\)"),
        (nx.Graph([("a", "b")]), "got Graph, whose edges have no direction"),
        ([("a\n", "b")], "characters that cannot be printed"),
    ],
    # Not its text: a set has another order in each process.
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_other_forms_of_a_graph_are_refused_with_the_call_that_helps(graph, message):
    with pytest.raises(GraphError, match=message):
        CausalGraph(graph)


def test_the_calls_that_errors_name_make_the_graph_that_was_meant():
    expected = CausalGraph([("X", "Y")])
    frame = pd.DataFrame(MATRIX, index=["X", "Y"], columns=["X", "Y"])
    from_matrix = nx.relabel_nodes(nx.from_numpy_array(MATRIX, create_using=nx.DiGraph), dict(enumerate("XY")))
    assert CausalGraph(nx.DiGraph({"X": ["Y"]})) == expected
    assert CausalGraph(nx.DiGraph({"Y": ["X"]}).reverse()) == expected
    assert CausalGraph(from_matrix) == expected
    assert CausalGraph(nx.from_pandas_adjacency(frame, create_using=nx.DiGraph)) == expected
    assert CausalGraph(np.array([["X", "Y"]])) == expected == CausalGraph(expected)
    assert CausalGraph(iter([["X", "Y"]])) == expected


@pytest.mark.parametrize("variables", [["a"], {"a": "Real"}, {"a": Real}])
def test_what_is_no_variable_is_refused(variables):
    with pytest.raises(GraphError, match=r"causalcf\.Real\(\)"):
        CausalGraph([("a", "b")], variables)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digraph { X -> Y }", r"is a graph as text.*from_pydot"),
        ("strict digraph {}", "from_pydot"),
        ("dag { x -> y }", "DAGitty"),
        ("graph [ directed 1 ]", r"nx\.parse_gml"),
        ("<?xml version='1.0'?><graphml/>", r"nx\.parse_graphml"),
        ('{"nodes": [], "edges": []}', r"CausalGraph\.from_json\(json\.loads\(text\)\)"),
        ("X -> Y", "neither a name nor a path. Give pairs"),
        (None, "Expected the name or the path of a graph, got NoneType"),
        (nx.DiGraph([("a", "b")]), "got DiGraph"),
    ],
)
def test_a_graph_where_its_name_is_meant_is_refused(text, message):
    with pytest.raises(GraphError, match=message):
        load_graph(text)


def test_files_in_other_formats_are_refused_with_what_reads_them(tmp_path):
    graph = nx.DiGraph([("X", "Y")])
    nx.write_gml(graph, tmp_path / "g.gml")
    nx.write_graphml(graph, tmp_path / "g.graphml")
    (tmp_path / "g.dot").write_text("digraph { X -> Y }")
    (tmp_path / "g.unknown").write_text("?")
    for name, reader in (
        ("gml", "read_gml"),
        ("graphml", "read_graphml"),
        ("dot", "nx_pydot.read_dot"),
        ("unknown", "read_"),
    ):
        with pytest.raises(GraphError, match=rf"g\.{name} is no graph file of causalcf \(\.json\).*nx\.{reader}"):
            load_graph(tmp_path / f"g.{name}")
    with pytest.raises(GraphError, match=r"There is no graph .*it is not there"):
        load_graph(tmp_path / "none.gml")
    with pytest.raises(GraphError, match=r"There is no graph .*it is a folder"):
        load_graph(tmp_path)
    assert CausalGraph(nx.DiGraph(nx.read_gml(str(tmp_path / "g.gml")))).edges == (("X", "Y"),)


@pytest.mark.parametrize("edges", ["edges", "links"])
def test_networkxs_own_json_is_refused_with_what_reads_it(edges, tmp_path):
    path = tmp_path / "g.json"
    path.write_text(json.dumps(nx.node_link_data(nx.DiGraph([("X", "Y")]), edges=edges)))
    with pytest.raises(GraphError, match=rf'nx\.node_link_graph\(document, edges="{edges}"\)'):
        load_graph(path)
    path.write_text(json.dumps(nx.adjacency_data(nx.DiGraph([("X", "Y")]))))
    with pytest.raises(GraphError, match=r"nx\.adjacency_graph\(document\)"):
        load_graph(path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed(nodes=[{"id": None}, {"id": "b"}], edges=[]), 'A node has no "id"'),
        (changed(nodes=[{"id": None}, {"id": None}], edges=[]), r"Node ids occur twice: \['none'\]"),
        (changed(nodes=[{"id": ["a"]}], edges=[]), "Node ids must be text"),
        (changed(nodes=[{"id": 3}], edges=[]), "Node ids must be text, got 3"),
        (changed(edges=[{"source": ["a"], "target": "b"}]), "not declared among the nodes"),
        (changed(graph={"schema": True}), "schema True is not supported"),
        (changed(graph={"schema": 1, "title": 3}), '"title" of the graph must be text'),
        (changed(nodes=[{"id": "a", "kind": ["Real"]}, {"id": "b"}]), '"kind" must be text'),
        (changed(nodes=[{"id": "a", "kind": "Real", "unit": 5}, {"id": "b"}]), '"unit" must be text, got 5'),
        (changed(nodes=[{"id": "a", "kind": "Categorical", "categories": "abc"}, {"id": "b"}]), "list of texts"),
        (changed(nodes=[{"id": "a", "kind": "Categorical", "categories": [1, 2]}, {"id": "b"}]), "list of texts"),
        (changed(nodes=[{"id": "a", "kind": "Categorical", "categories": 10**8}, {"id": "b"}]), "list of texts"),
        (changed(nodes=[{"id": "a", "kind": "Interval", "low": 0, "high": 1e999}, {"id": "b"}]), "a finite number"),
        (changed(nodes=[{"id": "a", "kind": "Interval", "low": "0", "high": 1}, {"id": "b"}]), "a finite number"),
        (changed(nodes=[{"id": "a", "kind": "Vector", "d": 10**12}, {"id": "b"}]), "a whole number up to"),
        (changed(nodes=[{"id": "a", "kind": "Vector", "d": 2.5}, {"id": "b"}]), "a whole number up to"),
        (changed(nodes=[{"id": "a", "kind": "Image", "shape": [10**5] * 3}, {"id": "b"}]), "whose product is at most"),
        (changed(nodes=[{"id": "a", "kind": "Table", "columns": {"x": 1}}, {"id": "b"}]), "every column is an object"),
    ],
    ids=str,
)
def test_hostile_graph_files_are_refused(document, message, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(GraphError, match=message):
        load_graph(path)


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**6, "1" * 10**5])
def test_bombs_of_json_are_refused(text, tmp_path):
    path = tmp_path / "bomb.json"
    path.write_text(text, "utf-8")
    with pytest.raises(GraphError, match="is not JSON"):
        load_graph(path)


def test_a_graph_of_100_000_nodes_takes_no_quadratic_time(tmp_path):
    names = [f"x{i}" for i in range(100_000)]
    path = tmp_path / "large.json"
    document = changed(nodes=[{"id": n} for n in names])
    document["edges"] = [{"source": a, "target": b} for a, b in itertools.pairwise(names)]
    path.write_text(json.dumps(document), "utf-8")
    started = time.process_time()
    graph = load_graph(path)
    assert graph.parents("x99999") == ("x99998",)
    assert len(graph.edges) == 99_999
    assert time.process_time() - started < 20, "some 2 s; quadratic it took hours"
    with pytest.raises(UnknownNodeError) as caught:
        graph.require("y")
    assert len(str(caught.value)) < 300


def test_a_graph_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "g.json"
    CausalGraph([("a", "b")]).save(path)
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        CausalGraph([("a", "c")]).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["g.json"]


def test_hidden_causes_are_kept_by_every_operation(tmp_path):
    graph = CausalGraph([("x", "m"), ("m", "y")], {"x": Real()}, name="front", confounded=[("y", "x"), ("x", "y")])
    assert graph.confounded == (("x", "y"),), "each pair once, causes first"
    assert CausalGraph(graph).confounded == graph.confounded
    assert CausalGraph(graph, confounded=[("m", "y")]).confounded == (("x", "y"), ("m", "y"))
    assert graph.with_variables({"m": Real()}).confounded == graph.confounded
    assert graph.with_node("label", Real(), ["y"]).confounded == graph.confounded
    assert graph.mutilate(["m"]).confounded == graph.confounded
    assert graph.mutilate(["y"]).confounded == (), "an action cuts the hidden cause, too"
    for again in (CausalGraph.from_json(graph.to_json()), pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):
        assert again == graph
        assert again.confounded == graph.confounded
    assert graph != CausalGraph([("x", "m"), ("m", "y")], {"x": Real()})
    graph.save(tmp_path / "front.json")
    assert load_graph(tmp_path / "front.json") == graph
    assert repr(graph) == "CausalGraph(front: x -> m, m -> y, x <-> y)"
    assert str(graph.describe()).endswith("\nx and y share a hidden cause")


def test_files_with_hidden_causes_say_that_they_are_newer():
    """A program that knows nothing of hidden causes must refuse the file, not read it as if there were none."""
    assert CausalGraph([("x", "y")], confounded=[("x", "y")]).to_json()["graph"]["schema"] == 2
    old = CausalGraph([("x", "y")]).to_json()
    assert old["graph"]["schema"] == 1
    assert "confounded" not in old


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([("x", "z")], UnknownNodeError, r"confounded names \('x', 'z'\), but the graph has no node 'z'"),
        ([("x", "x")], GraphError, "got 'x' twice in one pair"),
        ([("x", "y", "m")], GraphError, r"list of pairs .* got \"\('x', 'y', 'm'\)\" among them"),
        (["xy"], GraphError, "got 'xy' among them"),
        ("xy", GraphError, "got str 'xy'"),
        ({"x": "y"}, GraphError, "got dict"),
    ],
)
def test_what_is_no_hidden_cause_is_refused(pairs, error, message):
    with pytest.raises(error, match=message):
        CausalGraph([("x", "m"), ("m", "y")], confounded=pairs)
