"""The laws of counterfactuals, on random graphs with random mechanisms, in float64."""

from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

import causalcf as ccf
from causalcf.mechanisms import Mechanism
from causalcf.scm.abduction import Noise
from causalcf.variables import Variable

ROWS = 40
TOLERANCE = 1e-9
"""Largest error of what is computed again, as a share of the variable's range."""

NUMBERS: list[tuple[Variable, Callable[[], Mechanism]]] = [
    (ccf.Real(), ccf.mechanisms.Flow),
    (ccf.Real(), ccf.mechanisms.AdditiveNoise),
    (ccf.Real(), ccf.mechanisms.LinearGaussian),
    (ccf.Positive(), ccf.mechanisms.Flow),
    (ccf.Interval(64, 255), ccf.mechanisms.Flow),
    (ccf.Vector(2), ccf.mechanisms.Flow),
]
DISCRETE: list[tuple[Variable, Callable[[], Mechanism]]] = [
    (ccf.Boolean(), ccf.mechanisms.Boolean),
    (ccf.Categorical(4), ccf.mechanisms.Categorical),
]


@dataclass(frozen=True)
class Case:
    """A random model, rows of it, other values for every node, and a node to act on."""

    scm: ccf.SCM
    x: ccf.Batch
    other: ccf.Batch
    node: str
    second: str
    seed: int

    def __repr__(self) -> str:
        return f"Case({self.scm}, act on {self.node} and {self.second}, seed={self.seed})"

    @property
    def do(self) -> dict[str, Tensor]:
        return {self.node: self.other[self.node]}

    def unreached(self, *nodes: str) -> set[str]:
        """Nodes that an action on the given ones cannot move."""
        return {*self.scm.graph.nodes} - {*nodes} - {*self.scm.graph.descendants(nodes)}


@st.composite
def cases(draw: st.DrawFn, discrete: bool = True) -> Case:
    kinds = draw(st.lists(st.sampled_from(NUMBERS + DISCRETE * discrete), min_size=2, max_size=6))
    names = [f"n{i}" for i in range(len(kinds))]
    pairs = [(cause, effect) for j, effect in enumerate(names) for cause in names[:j]]
    edges = [pair for pair, kept in zip(pairs, draw(st.tuples(*[st.booleans()] * len(pairs))), strict=True) if kept]
    graph = nx.DiGraph(edges)
    graph.add_nodes_from(names)
    variables = {name: variable for name, (variable, _) in zip(names, kinds, strict=True)}
    mechanisms = {name: make() for name, (_, make) in zip(names, kinds, strict=True)}
    seed = draw(st.integers(0, 2**20))
    scm = ccf.SCM(graph, variables, mechanisms).double()
    torch.manual_seed(seed)
    _randomise(scm)
    node, second = draw(st.permutations(names))[:2]
    return Case(scm, scm.sample(ROWS, seed=seed), scm.sample(ROWS, seed=seed + 1), node, second, seed)


@torch.no_grad()
def _randomise(scm: ccf.SCM) -> None:
    """Random weights, in topological order, so that each encoder is calibrated on what its parents give."""
    values: dict[str, Tensor] = {}
    for node, mechanism in scm.mechanisms.items():
        for parameter in mechanism.parameters():
            fan_in = max(parameter[0].numel(), 1) if parameter.ndim > 1 else 4
            parameter.add_(0.3 * fan_in**-0.5 * torch.randn_like(parameter))
        mechanism.encoder.calibrate({parent: values[parent] for parent in scm.graph.parents(node)})
        pa = {parent: values[parent] for parent in scm.graph.parents(node)}
        values[node] = mechanism.predict(mechanism.sample_noise(400), pa)
        mechanism.fitted = True


def _assert_same(
    a: ccf.Counterfactual | ccf.Batch, b: ccf.Counterfactual | ccf.Batch, nodes: set[str] | None = None
) -> None:
    for node in a if nodes is None else nodes:
        assert a[node].dtype == b[node].dtype
        assert torch.equal(a[node], b[node]), node


def _assert_close(scm: ccf.SCM, a: ccf.Counterfactual | ccf.Batch, b: ccf.Counterfactual | ccf.Batch) -> None:
    """Numbers within `TOLERANCE` of the range, codes equal."""
    for node, variable in scm.variables.items():
        if variable.discrete:
            assert torch.equal(a[node], b[node]), node
        else:
            spread = float(b[node].amax() - b[node].amin())
            assert torch.allclose(a[node], b[node], rtol=0, atol=TOLERANCE * max(spread, 1.0)), node


@given(cases())
def test_doing_nothing_gives_the_factual_bit_for_bit(case: Case) -> None:
    for do in ({}, None):
        cf = case.scm.counterfactual(case.x, do)
        _assert_same(cf, case.x)
        assert cf.factual is not None
        _assert_same(cf, cf.factual)


@given(cases())
def test_abduction_then_every_mechanism_gives_the_factual(case: Case) -> None:
    _assert_close(case.scm, case.scm.counterfactual(case.x, {}, recompute="all"), case.x)


@given(cases())
def test_acting_with_the_observed_value_changes_nothing(case: Case) -> None:
    cf = case.scm.counterfactual(case.x, {case.node: case.x[case.node], case.second: case.x[case.second]})
    _assert_close(case.scm, cf, case.x)
    _assert_same(cf, case.x, case.unreached(case.node, case.second) | {case.node, case.second})


@given(cases())
def test_only_descendants_change_and_the_action_takes_effect(case: Case) -> None:
    cf = case.scm.counterfactual(case.x, case.do)
    _assert_same(cf, case.x, case.unreached(case.node))
    assert torch.equal(cf[case.node], case.other[case.node])


@given(cases())
def test_disjoint_hard_actions_commute(case: Case) -> None:
    noise = case.scm.abduct(case.x)
    one, two = case.do, {case.second: case.other[case.second]}
    _assert_same(case.scm.predict(noise, one | two), case.scm.predict(noise, two | one))


@given(cases())
def test_acting_also_with_what_the_action_brings_about_adds_nothing(case: Case) -> None:
    """Composition: if do(a) makes b = w, then do(a, b = w) is do(a) (Galles and Pearl 1998)."""
    noise = case.scm.abduct(case.x)
    acted = case.scm.predict(noise, case.do)
    again = case.scm.predict(noise, case.do | {case.second: acted[case.second]})
    _assert_close(case.scm, again, acted)


@given(cases())
def test_shift_by_zero_and_scale_by_one_change_nothing(case: Case) -> None:
    if case.scm.variables[case.node].discrete:
        with pytest.raises(ccf.CausalCFError, match=f"'{case.node}' is a .* cannot be shifted or scaled"):
            case.scm.counterfactual(case.x, {case.node: ccf.shift(0.0)})
        return
    for action in (ccf.shift(0.0), ccf.scale(1.0)):
        cf = case.scm.counterfactual(case.x, {case.node: action})
        _assert_close(case.scm, cf, case.x)
        _assert_same(cf, case.x, case.unreached(case.node))


@given(cases())
def test_a_function_of_the_parents_is_the_action_with_its_values(case: Case) -> None:
    """So is one of the factual, and setting a node's noise to what it was."""
    noise = case.scm.abduct(case.x)
    value, seen = case.other[case.node], []

    def by_parents(parents: dict[str, Tensor]) -> Tensor:
        seen.append(set(parents))
        return value

    expected = case.scm.predict(noise, case.do)
    _assert_same(case.scm.predict(noise, {case.node: by_parents}), expected)
    assert seen == [set(case.scm.graph.parents(case.node))]
    _assert_same(case.scm.predict(noise, {case.node: ccf.given_factual(lambda _pa, _factual: value)}), expected)
    same_noise = case.scm.predict(noise, {f"{case.node}.u": noise[f"{case.node}.u"]})
    _assert_close(case.scm, same_noise, case.x)


@given(cases())
def test_a_batch_gives_what_single_rows_give_with_the_same_noise(case: Case) -> None:
    noise = case.scm.abduct(case.x)
    batch = case.scm.predict(noise, case.do)
    assert noise.factual is not None
    rows = []
    for i in range(0, ROWS, 8):
        part = slice(i, i + 8) if i else slice(0, 1)
        one = Noise({site: u[part] for site, u in noise.items()}, noise.factual[part])
        rows.append((part, case.scm.predict(one, {case.node: case.other[case.node][part]})))
    for part, alone in rows:
        _assert_close(case.scm, alone, ccf.Batch({node: batch[node][part] for node in batch}))


@given(cases(discrete=False))
def test_a_batch_gives_what_single_rows_give(case: Case) -> None:
    batch = case.scm.counterfactual(case.x, case.do)
    for i in (0, ROWS - 1):
        alone = case.scm.counterfactual(case.x[i : i + 1], {case.node: case.other[case.node][i : i + 1]})
        _assert_close(case.scm, alone, ccf.Batch({node: batch[node][i : i + 1] for node in batch}))


@given(cases())
def test_the_same_seed_gives_the_same_bits_and_torchs_own_state_stays(case: Case) -> None:
    state = torch.get_rng_state()
    first = case.scm.counterfactual(case.x, case.do, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    second = case.scm.counterfactual(case.x, case.do, seed=7)
    _assert_same(first, second)
    assert all(torch.equal(first.noise[site], second.noise[site]) for site in first.noise)
    _assert_same(case.scm.sample(5, seed=7), case.scm.sample(5, seed=7))


def _stochastic(case: Case) -> dict[str, object]:
    """A distribution on the first node that can take one, beside the hard action."""
    reals = [node for node, variable in case.scm.variables.items() if isinstance(variable, ccf.Real)]
    return {**dict.fromkeys(reals[:2], Normal(0.0, 1.0)), case.node: case.other[case.node]}


@given(cases())
def test_the_counterfactual_is_abduction_then_prediction(case: Case) -> None:
    do = _stochastic(case)
    composed = case.scm.predict(case.scm.abduct(case.x, seed=3), do, seed=3)
    _assert_same(case.scm.counterfactual(case.x, do, seed=3), composed)


@given(cases())
def test_a_list_of_worlds_gives_each_world_alone(case: Case) -> None:
    worlds = [case.do, {}, _stochastic(case), {case.second: case.other[case.second]}]
    cf = case.scm.counterfactual(case.x, worlds, seed=3)
    for i, do in enumerate(worlds):
        alone = case.scm.counterfactual(case.x, do, seed=3)
        _assert_same(cf.world(i), alone)
        for node, variable in case.scm.variables.items():
            assert cf[node].shape == (len(worlds), ROWS, *variable.event_shape)
            assert torch.equal(cf[node][i], alone[node])


@given(cases())
def test_samples_are_whole_counterfactuals(case: Case) -> None:
    do = _stochastic(case)
    certain = all(not v.discrete or not case.scm.graph.parents(n) for n, v in case.scm.variables.items())
    if certain and not any(isinstance(action, Normal) for action in do.values()):
        with pytest.raises(ccf.CausalCFError, match="nothing in this query is random"):
            case.scm.counterfactual(case.x, do, num_samples=3)
        return
    cf = case.scm.counterfactual(case.x, [do, {}], num_samples=3, seed=3)
    for node, variable in case.scm.variables.items():
        assert cf[node].shape == (2, 3, ROWS, *variable.event_shape)
    for j in range(3):
        _assert_same(cf.world(1).sample(j), case.x)
        one = cf.world(0).sample(j)
        assert isinstance(one.noise, Noise)
        drawn = {node: one.noise[f"{node}.do"] for node in one.graph.nodes if f"{node}.do" in one.noise}
        _assert_close(case.scm, case.scm.predict(one.noise, {**do, **drawn}), one)


@given(cases())
def test_no_query_changes_the_model(case: Case) -> None:
    before = {name: tensor.clone() for name, tensor in case.scm.state_dict().items()}
    order, modes = case.scm.graph, [module.training for module in case.scm.modules()]
    view = case.scm.do(case.do)
    view.predict(case.scm.abduct(case.x))
    view.sample(ROWS)
    view.log_prob(case.x)
    case.scm.counterfactual(case.x, [case.do, _stochastic(case)])
    case.scm.log_prob(case.x)
    after = case.scm.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert case.scm.graph is order
    assert [module.training for module in case.scm.modules()] == modes
    assert not any(parameter.requires_grad for parameter in case.scm.parameters())
