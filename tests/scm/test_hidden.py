"""Hidden causes: which answers of a model are right all the same, by enumeration, and the warnings for the others."""

import itertools
import warnings

import networkx as nx
import numpy as np
import pytest
import torch
from graph.enumerated import World, graph_of, random_graph

import causalcf as ccf
from causalcf.core.errors import CausalCFWarning
from causalcf.queries import effect, mediation, path_effect, quantiles
from causalcf.scm.hidden import answers, mistaken


def multiplied(world: World, do: dict[str, int]) -> np.ndarray:
    """What a model makes of the law of the data: the mechanisms P(v | parents) of what is not acted on, multiplied."""
    seen, axis = world.law({}), {v: i for i, v in enumerate(world.nodes)}
    factors = []
    for v in world.nodes:
        if v in do:
            factors += [np.eye(2)[do[v]], [axis[v]]]
            continue
        family = [axis[p] for p in (*world.graph.parents(v), v)]
        joint = np.einsum(seen, list(axis.values()), family)
        factors += [joint / joint.sum(-1, keepdims=True), family]
    return np.einsum(*factors, list(axis.values()), optimize=True)


def test_where_it_is_said_that_a_model_answers_it_does() -> None:
    """Random graphs: right where `answers` says so; and where it does not, seldom right by chance."""
    right, wrong, chance = 0, 0, 0
    for seed in range(60):
        graph = random_graph(4, seed)
        world = World(graph, seed)
        for x, y in itertools.combinations(graph.nodes, 2):
            if x not in graph.ancestors([y]):
                continue
            truth = world.probability(world.law({x: 1}), {y: 1})
            off = abs(world.probability(multiplied(world, {x: 1}), {y: 1}) - truth)
            if answers(graph, [x], [y]):
                right += 1
                assert off < 1e-12, (graph, x, y)
            else:
                wrong += 1
                chance += off < 1e-9
    assert right > 50
    assert wrong > 50
    assert chance < 0.05 * wrong


def test_mechanisms_that_a_hidden_cause_is_in() -> None:
    assert mistaken(graph_of("xmy", ["xm", "my"], ["xy"]), "xmy") == ["y"], "x is a back door from m to y"
    assert mistaken(graph_of("zxy", ["zx", "xy"], ["xy"]), "zxy") == ["y"]
    assert mistaken(graph_of("xyz", ["xy"], ["xz", "zy"]), "xyz") == [], "z is a collider"
    assert mistaken(graph_of("xyz", ["xy", "xz"], ["zy"]), "xyz") == []


def fitted(graph: ccf.CausalGraph, rows) -> ccf.SCM:
    linear = {node: ccf.mechanisms.LinearGaussian() for node in graph.nodes}
    return ccf.SCM(graph, dict.fromkeys(graph.nodes, ccf.Real()), linear).fit(rows, seed=0, progress=False)


@pytest.fixture(scope="module")
def rows() -> dict[str, torch.Tensor]:
    """z -> x -> m -> y with a hidden cause of x and y: x moves y by 1.2, and z moves x by .7."""
    u, z, a, b, c = torch.randn(5, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = 0.7 * z + u + 0.5 * a
    m = 0.8 * x + 0.5 * b
    return {"z": z, "x": x, "m": m, "y": 1.5 * m + 2 * u + 0.5 * c}


FRONT = ccf.CausalGraph([("x", "m"), ("m", "y")], confounded=[("x", "y")])
BOW = ccf.CausalGraph([("x", "y")], confounded=[("x", "y")])


@pytest.fixture(scope="module")
def front(rows) -> ccf.SCM:
    with pytest.warns(CausalCFWarning, match=r"mechanisms of \['y'\] are fitted to how these nodes go together"):
        return fitted(FRONT, {v: rows[v] for v in "xmy"})


@pytest.fixture(scope="module")
def bow(rows) -> ccf.SCM:
    with pytest.warns(CausalCFWarning, match=r"hidden causes are shared by 'x' and 'y'. Before you act, .*do=\['x'\]"):
        return fitted(BOW, {v: rows[v] for v in "xy"})


def test_effects_that_are_not_identified_are_warned_of(bow) -> None:
    with pytest.warns(CausalCFWarning, match=r"P\(y \| do\(x\)\) is not identified. .*hedge"):
        found = effect(bow, "x", "y", treated=1.0, control=0.0)
    assert found.value > 2, "not 1.2: the warning is right"
    with pytest.warns(CausalCFWarning, match="is not identified"):
        quantiles(bow, "y", do={"x": 1.0}, draws=100)
    with pytest.warns(CausalCFWarning, match="is not identified"):
        effect(bow, "x", lambda rows: rows["y"] ** 2, treated=1.0, control=0.0, draws=100)


def test_effects_by_another_formula_are_warned_of_with_the_formula(front) -> None:
    with pytest.warns(CausalCFWarning, match=r"identified, but not by this model.*Σ_\{m\} P\(m \| x\).*\(front door\)"):
        found = effect(front, "x", "y", treated=1.0, control=0.0)
    assert found.value > 2, "not 1.2: the warning is right"


def test_effects_that_hidden_causes_do_not_touch_are_not_warned_of(front, rows) -> None:
    assert effect(front, "x", "m", treated=1.0, control=0.0).value == pytest.approx(0.8, abs=0.02)
    apart = fitted(ccf.CausalGraph([("z", "x"), ("z", "y")], confounded=[("x", "y")]), {v: rows[v] for v in "zxy"})
    assert effect(apart, "z", "y", treated=1.0, control=0.0).value == pytest.approx(0.84, abs=0.07)


def test_counterfactuals_are_warned_of_where_their_mechanisms_are_mistaken(front) -> None:
    x = front.sample(3, seed=0)
    with pytest.warns(CausalCFWarning, match=r"counterfactual values of \['y'\] are not identified"):
        front.counterfactual(x, do={"x": 1.0})
    front.counterfactual(x, do={"y": 1.0})
    front.counterfactual(x, do={"m": 1.0, "y": 0.0})
    with pytest.warns(CausalCFWarning, match=r"\['y'\]"):
        front.counterfactual(x, do=[{"y": 1.0}, {"m": ccf.shift(1.0)}])


def test_noise_that_is_drawn_is_another_where_a_hidden_cause_is_in_it() -> None:
    graph = graph_of("xyz", ["xy"], ["yz"])
    scm = ccf.SCM(graph)
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    with pytest.warns(CausalCFWarning, match=r"\['y'\] are not identified: hidden causes are shared by 'y' and 'z'"):
        scm.counterfactual(scm.sample(3, seed=0), do={"x": True}, seed=0)


def test_a_loop_is_warned_of_once(bow) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for seed in range(3):
            effect(bow, "x", "y", treated=1.0, control=0.0, draws=50, seed=seed)
    assert len(said) == 1


def test_the_front_door_by_paths(rows) -> None:
    """The arrow x -> y stands for what goes together through the hidden cause; the effect runs past it."""
    seen = fitted(ccf.CausalGraph([("x", "m"), ("m", "y"), ("x", "y")]), {v: rows[v] for v in "xmy"})
    through = [("x", "m"), ("m", "y")]
    part = {v: rows[v][:2000] for v in "xmy"}
    moved = [path_effect(seen, "x", "y", part, along=through, to=to).value for to in (1.0, 0.0)]
    assert moved[0] - moved[1] == pytest.approx(1.2, abs=0.03)
    assert mediation(seen, "x", "m", "y", draws=2000).indirect.value == pytest.approx(1.2, abs=0.03)


def test_the_instrument_by_two_effects(rows) -> None:
    seen = fitted(ccf.CausalGraph([("z", "x"), ("z", "y")]), {v: rows[v] for v in "zxy"})
    onto = {node: effect(seen, "z", node, treated=1.0, control=0.0, draws=100).value for node in "xy"}
    assert onto["y"] / onto["x"] == pytest.approx(1.2, abs=0.06)


def test_models_keep_hidden_causes(bow, tmp_path) -> None:
    bow.save(tmp_path / "bow.safetensors")
    again = ccf.SCM.load(tmp_path / "bow.safetensors")
    assert again.graph == bow.graph
    assert again.graph.confounded == (("x", "y"),)
    wider = bow.attach("label", lambda y: torch.stack([y, -y], 1), parents=["y"])
    assert wider.graph.confounded == (("x", "y"),)
    with pytest.warns(CausalCFWarning, match="is not identified"):
        effect(again, "x", "y", treated=1.0, control=0.0, draws=50)


def test_arcs_are_drawn_dashed_and_cut_by_actions() -> None:
    def dashed(ax):
        return [line for line in ax.lines if line.get_linestyle() == "--"]

    plain = ccf.CausalGraph(nx.DiGraph(FRONT.networkx)).draw(noise=False)
    assert not dashed(plain)
    assert len(dashed(FRONT.draw(noise=False))) == 1
    crosses = [line for line in FRONT.draw(do=["y"], noise=False).lines if line.get_marker() == "x"]
    assert len(crosses) == 2, "the arrow into y and the hidden cause"
