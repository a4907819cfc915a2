"""Answers known in closed form: the oracles of `ccf.datasets.synthetic` share no code with what they judge.

Monte Carlo tolerances are z standard errors wide; with z = 4.5 a true answer fails with probability
7e-6 a comparison, and seeds are fixed.
"""

from collections.abc import Mapping
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import causalcf as ccf
from causalcf.datasets import synthetic
from causalcf.datasets.synthetic import gumbel_max_counterfactual
from causalcf.scm.abduction import Noise

Z = 4.5


# ---------------------------------------------------------------------- linear-Gaussian


def _linear(oracle: synthetic.LinearGaussian) -> ccf.SCM:
    """An SCM with the oracle's coefficients, read off its counterfactual means, not off its internals."""
    graph = oracle.graph
    scm = ccf.SCM(graph, mechanisms={node: ccf.mechanisms.LinearGaussian() for node in graph.nodes}).double()
    zeros = {node: torch.zeros(1, dtype=torch.float64) for node in graph.nodes}
    units = {node: torch.ones(1, dtype=torch.float64) for node in graph.nodes}
    intercepts = {node: oracle.predict(zeros, {p: 0.0 for p in graph.nodes if p != node})[node] for node in graph.nodes}
    for node, mechanism in scm.mechanisms.items():
        others = {p: 0.0 for p in graph.nodes if p != node}
        mechanism.intercept.data.copy_(intercepts[node].squeeze())
        scale = oracle.predict(zeros | {node: units[node]}, others)[node] - intercepts[node]
        mechanism.log_scale.data.copy_(scale.log().squeeze())
        weights = [oracle.predict(zeros, {**others, p: 1.0})[node] - intercepts[node] for p in graph.parents(node)]
        mechanism.weight.data.copy_(torch.cat(weights) if weights else torch.zeros(0))
        mechanism.fitted = True
    return scm


@given(st.integers(0, 10_000), st.integers(2, 7), st.floats(-3, 3))
def test_linear_gaussian_counterfactuals_are_the_closed_form(seed: int, nodes: int, value: float) -> None:
    oracle = synthetic.LinearGaussian.random(nodes, seed=seed)
    scm, x = _linear(oracle), oracle.sample(50, seed=seed)
    one, two = oracle.graph.nodes[seed % nodes], oracle.graph.nodes[(seed + 1) % nodes]
    for do in ({one: value}, {one: value, two: x[two].flip(0)}):
        cf, truth = scm.counterfactual(x, do), oracle.counterfactual(x, do)
        for node in oracle.graph.nodes:
            assert torch.allclose(cf[node], truth[node], rtol=1e-11, atol=1e-11)
    assert torch.allclose(scm.log_prob(x).total, oracle.log_prob(x), rtol=1e-11, atol=1e-11)


def test_linear_gaussian_noise_is_the_closed_form() -> None:
    oracle = synthetic.LinearGaussian.random(6, seed=3)
    x = oracle.sample(50, seed=0)
    noise, truth = _linear(oracle).abduct(x), oracle.abduct(x)
    assert all(torch.allclose(noise[f"{node}.u"], truth[node], atol=1e-12) for node in oracle.graph.nodes)


def test_interventional_means_are_the_closed_form() -> None:
    oracle = synthetic.LinearGaussian.random(5, density=0.8, seed=1)
    node, n = oracle.graph.nodes[1], 20_000
    drawn, mean = _linear(oracle).sample(n, do={node: 2.0}, seed=0), oracle.mean({node: 2.0})
    for name in oracle.graph.nodes:
        error = abs(float(drawn[name].mean()) - mean[name])
        assert error <= Z * float(drawn[name].std()) / n**0.5 + 1e-12


def test_least_squares_recovers_the_counterfactuals() -> None:
    """Coefficients from n rows are off by about 1/sqrt(n); the counterfactual error follows."""
    oracle = synthetic.LinearGaussian.random(4, density=1.0, seed=2)
    scm = ccf.SCM(oracle.graph, mechanisms={node: ccf.mechanisms.LinearGaussian() for node in oracle.graph.nodes})
    scm.fit(oracle.sample(20_000, seed=0), seed=0, precision="64-true", progress=False)
    x, do = oracle.sample(500, seed=1), {oracle.graph.nodes[0]: 1.0}
    cf, truth = scm.counterfactual(x, do), oracle.counterfactual(x, do)
    for node in oracle.graph.nodes:
        assert float((cf[node] - truth[node]).square().mean().sqrt()) < 0.05


# ---------------------------------------------------------------------- discrete


def _discrete() -> tuple[ccf.SCM, synthetic.Discrete]:
    """An SCM that holds the oracle's tables: one-layer networks with a weight per combination of parents."""
    oracle = synthetic.Discrete()
    scm = ccf.SCM(
        oracle.graph, mechanisms={"B": _Table(oracle.tables["B"]), "C": _TableOfTwo(oracle.tables["C"])}
    ).double()
    scm.mechanisms["A"].bias.data.fill_(log(oracle.tables["A"][1] / oracle.tables["A"][0]))
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    return scm, oracle


class _Table(ccf.mechanisms.Categorical):
    """Log-probabilities looked up in a table, in place of a network's."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def logits(self, pa: Mapping[str, Tensor]) -> Tensor:
        return self.table[pa["A"].long()].log()


class _TableOfTwo(ccf.mechanisms.Boolean):
    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def logits(self, pa: Mapping[str, Tensor]) -> Tensor:
        p = self.table[pa["A"].long(), pa["B"]]
        return (p[:, 1] / p[:, 0]).log()


def _share_is(seen: Tensor, truth: Tensor) -> None:
    """Shares (K,) of n draws against probabilities, one a row (N, K) or one for all (K,)."""
    n, k = len(seen), truth.shape[-1]
    rows = truth.expand(n, k)
    error = torch.nn.functional.one_hot(seen.long(), k).double().mean(0) - rows.mean(0)
    standard_error = (rows * (1 - rows)).mean(0).sqrt() / n**0.5
    assert (error.abs() <= Z * standard_error + 1e-9).all(), (error, standard_error)


@pytest.mark.parametrize("do", [{"A": True}, {"A": False}, {"B": 2}, {"A": False, "B": 0}], ids=str)
def test_discrete_counterfactuals_have_the_exact_probabilities(do: dict[str, int | bool]) -> None:
    """Row by row, given what was seen: P(B', C' | a, b, c) from the Gumbel-max race, in each cell of (a, b, c)."""
    scm, oracle = _discrete()
    x = oracle.sample(40_000, seed=0)
    cf, truth = scm.counterfactual(x, do, seed=1), oracle.counterfactual(x, do)
    for a in (0, 1):
        for b in range(3):
            for c in (0, 1):
                cell = (x["A"].long() == a) & (x["B"] == b) & (x["C"].long() == c)
                assert cell.any()
                for node in ("A", "B", "C"):
                    _share_is(cf[node][cell], truth[node][cell])


@pytest.mark.parametrize("do", [{"A": True}, {"A": False}, {"B": 1}], ids=str)
def test_the_marginal_of_counterfactuals_is_interventional(do: dict[str, int | bool]) -> None:
    scm, oracle = _discrete()
    n, truth = 40_000, oracle.probabilities(do)
    cf, drawn = scm.counterfactual(oracle.sample(n, seed=0), do, seed=1), scm.sample(n, do=do, seed=2)
    for node in ("B", "C"):
        _share_is(drawn[node], truth[node])
        _share_is(cf[node], truth[node])


@pytest.mark.parametrize("seed", range(3))
def test_the_null_intervention_keeps_every_label(seed: int) -> None:
    """100 % of 20,000 rows with ten categories, however sure the network is, in batches of any size."""
    torch.manual_seed(seed)
    scm = ccf.SCM([("x", "c"), ("x", "b"), ("c", "b")], {"x": ccf.Real(), "c": ccf.Categorical(10), "b": ccf.Boolean()})
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    generator = torch.Generator().manual_seed(seed)
    n = 20_000
    x = ccf.Batch(
        {
            "x": 3 * torch.randn(n, generator=generator),
            "c": torch.randint(10, (n,), generator=generator),  # labels the network finds as unlikely as can be
            "b": torch.rand(n, generator=generator) < 0.5,
        }
    )
    for confidence in (1.0, 30.0, 1e3, 1e4):
        for node in ("c", "b"):
            torch.nn.init.normal_(scm.mechanisms[node].network[-1].weight, std=confidence)
        noise = scm.abduct(x, seed=seed)
        for cf in (
            scm.counterfactual(x, {"x": x["x"]}, seed=seed),
            scm.predict(noise, {}, recompute="all"),
            *(
                scm.predict(Noise({s: u[part] for s, u in noise.items()}, x[part]), {}, recompute="all")
                for part in (slice(0, 1), slice(1, 8), slice(8, 9000))
            ),
        ):
            assert cf.factual is not None
            assert torch.equal(cf["c"], cf.factual["c"])
            assert torch.equal(cf["b"], cf.factual["b"])


def test_gumbel_max_is_counterfactually_stable() -> None:
    """A label gives way only to one whose odds against it rise (Oberst and Sontag 2019, definition 1)."""
    mechanism = ccf.mechanisms.Categorical().bind("c", ccf.Categorical(5), {"v": ccf.Vector(5)}).double()
    mechanism.logits = lambda pa: pa["v"]  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    before, after = 2 * torch.randn(2, 20_000, 5, generator=generator, dtype=torch.float64)
    x = torch.distributions.Categorical(logits=before).sample()
    other = mechanism.predict(mechanism.abduct(x, {"v": before}), {"v": after})
    rise = (after.log_softmax(-1) - before.log_softmax(-1)).gather
    changed = other != x
    assert 0.2 < changed.double().mean() < 0.9
    assert (rise(1, other[:, None]) >= rise(1, x[:, None]))[changed].all()
    expected = gumbel_max_counterfactual(before.softmax(-1), after.softmax(-1), x)
    ranked = expected.sort(1, descending=True)  # labels by how likely they are, or all shares would be a fifth
    _share_is(ranked.indices.argsort(1).gather(1, other[:, None]).squeeze(1), ranked.values)
    stays = expected.gather(1, x[:, None])
    _share_is(~changed, torch.cat([1 - stays, stays], 1))


def test_boolean_counterfactuals_have_the_analytic_probability() -> None:
    """P(Y' = 1 | Y = 1) = min(p', p) / p, and P(Y' = 1 | Y = 0) = max(p' - p, 0) / (1 - p)."""
    mechanism = ccf.mechanisms.Boolean().bind("y", ccf.Boolean(), {"l": ccf.Real()}).double()
    mechanism.logits = lambda pa: pa["l"]  # type: ignore[method-assign]
    n = 20_000
    for before, after in ((0.3, -1.0), (-2.0, 0.5), (1.0, 1.0), (8.0, -8.0)):
        p, q = torch.sigmoid(torch.tensor([before, after], dtype=torch.float64))
        for seen in (True, False):
            x, pa = torch.full((n,), seen), {"l": torch.full((n,), before, dtype=torch.float64)}
            other = mechanism.predict(mechanism.abduct(x, pa), {"l": torch.full((n,), after, dtype=torch.float64)})
            one = torch.minimum(p, q) / p if seen else (q - p).clamp_min(0) / (1 - p)
            _share_is(other, torch.stack([1 - one, one]))
