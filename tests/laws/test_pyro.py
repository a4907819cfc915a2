"""The Pyro program and the fast path are one model: handlers, inference and ChiRho agree with the verbs."""

import copy
import subprocess
import sys

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.reparam import TransformReparam
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import DensityError

NOISY = ("x", "y", "p", "i", "b", "c", "v")


@pytest.fixture(scope="module")
def flows() -> ccf.SCM:
    """Three flows, each of another support, in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, generator=generator)
    y = (0.5 * x + 0.3 * torch.randn(500, generator=generator)).exp()
    z = 10 * torch.sigmoid(0.5 * (x - y) + torch.randn(500, generator=generator))
    variables = {"x": ccf.Real(), "y": ccf.Positive(), "z": ccf.Interval(0, 10)}
    scm = ccf.SCM([("x", "y"), ("x", "z"), ("y", "z")], variables)
    return scm.fit({"x": x, "y": y, "z": z}, epochs=100, seed=0, precision="64-true", progress=False)


@pytest.fixture(scope="module")
def image() -> ccf.SCM:
    """A small VAE below a flow."""
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(200, generator=generator)
    picture = (t[:, None, None, None] * torch.rand(200, 1, 8, 8, generator=generator)).clamp(0, 1)
    scm = ccf.SCM(
        [("t", "image")],
        {"t": ccf.Real(), "image": ccf.Image(1, 8, 8)},
        {"image": ccf.mechanisms.VAE(latent=3, widths=(8, 8, 8))},
    )
    return scm.fit({"t": t, "image": picture}, epochs=1, seed=0, progress=False)


def _observed(scm: ccf.SCM, x: ccf.Batch, without: str = "") -> dict[str, Tensor]:
    return {node: x[node] for node in scm.graph.nodes if node != without}


def test_the_program_samples_every_node_in_one_plate(mixed: ccf.SCM, image: ccf.SCM) -> None:
    trace = pyro.poutine.trace(mixed.model).get_trace(6)
    assert [name for name, site in trace.nodes.items() if site["type"] == "sample" and name != "rows"] == [
        *mixed.graph.nodes
    ]
    for node, variable in mixed.variables.items():
        site = trace.nodes[node]
        assert site["value"].shape == (6, *variable.event_shape)
        assert site["fn"].batch_shape == (6,)
        assert not variable.outside(site["value"]).any()
        assert [frame.name for frame in site["cond_indep_stack"]] == ["rows"]
    assert {"t", "image.z", "image"} <= pyro.poutine.trace(image.model).get_trace(2).nodes.keys()
    assert "image.eps" not in pyro.poutine.trace(image.model).get_trace(2).nodes


def test_a_node_may_be_called_like_the_plate() -> None:
    scm = ccf.SCM([("rows", "world")], {"rows": ccf.Real(), "world": ccf.Real()})
    drawn = pyro.poutine.trace(scm.model).get_trace(3)
    assert {"rows", "world"} <= drawn.nodes.keys()
    assert drawn.nodes["rows"]["value"].shape == (3,)


def test_log_prob_sum_is_the_sum_of_our_densities(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    model = pyro.condition(mixed.model, data={node: rows[node] for node in NOISY})
    trace = pyro.poutine.trace(model).get_trace(rows.rows)
    trace.compute_log_prob()
    ours = {node: mixed.mechanisms[node].dist({p: rows[p] for p in mixed.graph.parents(node)}) for node in NOISY}
    for node, law in ours.items():
        assert torch.allclose(trace.nodes[node]["log_prob"], law.log_prob(rows[node]), atol=1e-5)


def test_the_joint_density_is_that_of_the_program(flows: ccf.SCM) -> None:
    x = flows.sample(50, seed=0)
    trace = pyro.poutine.trace(pyro.condition(flows.model, data=dict(x))).get_trace(50)
    assert torch.allclose(trace.log_prob_sum(), flows.log_prob(x).total.sum(), rtol=1e-12)


def test_the_importance_bound_lies_below_and_grows_with_particles(image: ccf.SCM) -> None:
    x = image.sample(100, seed=0, out_of_support="clip")
    one, many = (image.log_prob(x, particles=k, seed=0) for k in (1, 64))
    assert one.lower_bounds == ("image",)
    assert many["image"].mean() > one["image"].mean()
    assert torch.equal(one["t"], many["t"])


def test_a_node_set_by_pyro_do_is_what_its_children_see(flows: ccf.SCM) -> None:
    """The mean of a child under pyro.do and under our sample(do=): 4.5 standard errors, false alarm 7e-6."""
    n = 20_000
    with torch.no_grad():
        theirs = pyro.do(flows.model, data={"y": torch.tensor(2.0, dtype=torch.float64)})(n)
    ours = flows.sample(n, do={"y": 2.0}, seed=0)
    assert torch.equal(theirs["y"], ours["y"])
    error = (theirs["z"].mean() - ours["z"].mean()).abs()
    assert error < 4.5 * ours["z"].std() * (2 / n) ** 0.5
    assert (ours["z"].mean() - flows.sample(n, seed=0)["z"].mean()).abs() > 0.3


def test_pearls_three_steps_by_handlers_are_the_fast_path(flows: ccf.SCM) -> None:
    """Abduct by condition and TransformReparam, act by do, predict by conditioning on the noise."""
    x = flows.sample(40, seed=0)
    reparam = {node: TransformReparam() for node in flows.graph.nodes}
    observed = pyro.poutine.reparam(pyro.condition(flows.model, data=dict(x)), config=reparam)
    trace = pyro.poutine.trace(observed).get_trace(40)
    noise = {name: site["value"] for name, site in trace.nodes.items() if name.endswith("_base")}
    abducted = flows.abduct(x)
    for node in flows.graph.nodes:
        assert torch.equal(noise[f"{node}_base"], abducted[f"{node}.u"])

    value = torch.full((40,), 1.5, dtype=torch.float64)
    for node in flows.graph.nodes:
        acted = pyro.do(flows.model, data={node: value})  # do is innermost
        by_handlers = pyro.condition(pyro.poutine.reparam(acted, config=reparam), data=noise)(40)
        fast = flows.counterfactual(x, {node: value}, recompute="all")
        for other in flows.graph.nodes:
            assert torch.equal(by_handlers[other], fast[other])


@pytest.mark.parametrize("node", ["x", "y", "z"])
def test_chirho_worlds_are_our_worlds(flows: ccf.SCM, node: str) -> None:
    """World 0 of ChiRho is the observed one, world 1 the acted one, with the same noise."""
    from chirho.counterfactual.handlers import MultiWorldCounterfactual
    from chirho.indexed.ops import IndexSet, gather
    from chirho.interventional.handlers import do
    from chirho.observational.handlers import condition

    x, value = flows.sample(30, seed=0), torch.tensor(1.5, dtype=torch.float64)
    ours = flows.counterfactual(x, {node: value})
    with MultiWorldCounterfactual(first_available_dim=-2), do(actions={node: value}), condition(data=dict(x)):
        worlds = flows.model(30)
        for other in flows.graph.nodes:
            factual, acted = (gather(worlds[other], IndexSet(**{node: {i}}), event_dim=0) for i in (0, 1))
            assert torch.allclose(factual.expand(1, 30)[0], x[other], atol=1e-12)
            assert torch.allclose(acted.expand(1, 30)[0], ours[other], atol=1e-9)


def test_chirho_acts_on_the_noise_we_abducted(flows: ccf.SCM) -> None:
    """Noise without a worlds dimension meets parents with one, and broadcasts."""
    from chirho.counterfactual.handlers import MultiWorldCounterfactual
    from chirho.interventional.handlers import do

    x, value = flows.sample(30, seed=0), torch.tensor(1.5, dtype=torch.float64)
    noise = {f"{node}_base": flows.abduct(x)[f"{node}.u"] for node in flows.graph.nodes}
    reparam = {node: TransformReparam() for node in flows.graph.nodes}
    with (
        MultiWorldCounterfactual(first_available_dim=-2),
        do(actions={"y": value}),
        pyro.condition(data=noise),
        pyro.poutine.reparam(config=reparam),
    ):
        worlds = flows.model(30)
    ours = flows.counterfactual(x, {"y": value})
    assert torch.allclose(worlds["z"].reshape(2, 30)[0], x["z"], atol=1e-9)
    assert torch.allclose(worlds["z"].reshape(2, 30)[1], ours["z"], atol=1e-9)


def test_chirho_draws_the_interventional_world(flows: ccf.SCM) -> None:
    """Unconditioned worlds share noise: only descendants differ, and each is positive, or in its interval."""
    from chirho.counterfactual.handlers import TwinWorldCounterfactual
    from chirho.interventional.handlers import do

    with TwinWorldCounterfactual(first_available_dim=-2), do(actions={"y": torch.tensor(1.5, dtype=torch.float64)}):
        worlds = flows.model(30)
    assert worlds["x"].shape == (30,)
    assert (worlds["y"].reshape(2, 30)[1] == 1.5).all()
    assert not flows.variables["z"].outside(worlds["z"].reshape(-1)).any()


def test_a_noiseless_node_cannot_be_conditioned_on_elsewhere(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    data = {node: rows[node] for node in mixed.graph.nodes}
    consistent = pyro.condition(mixed.model, data=data)
    pyro.poutine.trace(consistent).get_trace(rows.rows).compute_log_prob()
    elsewhere = pyro.condition(mixed.model, data=data | {"d": rows["d"] + 1})
    with pytest.raises(DensityError, match="'d' is deterministic given its noise"):
        pyro.poutine.trace(elsewhere).get_trace(rows.rows).compute_log_prob()
    acted = pyro.do(mixed.model, data={"d": rows["d"] + 1})(rows.rows)
    assert torch.equal(acted["d"], rows["d"] + 1)


def test_a_number_in_pyro_do_reaches_every_row(mixed: ccf.SCM) -> None:
    for node, value in (("x", torch.tensor(0.5)), ("b", torch.tensor(True)), ("c", torch.tensor(2))):
        drawn = pyro.do(mixed.model, data={node: value})(5)
        assert torch.equal(drawn[node], value.expand(5))


def test_predictive_draws_from_the_program(mixed: ccf.SCM) -> None:
    drawn = Predictive(mixed.model, num_samples=3)(4)
    assert drawn["p"].shape == (3, 4)
    assert (drawn["p"] > 0).all()


def test_svi_trains_an_amortised_mechanism_and_that_one_alone(image: ccf.SCM) -> None:
    pyro.clear_param_store()
    scm, other = copy.deepcopy(image), copy.deepcopy(image)
    x = scm.sample(64, seed=0, out_of_support="clip")
    data = {node: x[node].clamp(0, 1) if node == "image" else x[node] for node in x}
    scm.mechanisms["image"].requires_grad_(True)
    parameters = list(scm.mechanisms["image"].parameters())

    def model() -> None:
        pyro.module("first", scm.mechanisms["image"])
        pyro.condition(scm.model, data=data)(64)

    before = [parameter.detach().clone() for parameter in other.parameters()]
    svi = SVI(model, lambda: scm.guide(data), pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    losses = [svi.step() for _ in range(30)]
    assert sum(losses[-5:]) < sum(losses[:5]) - 5 * 64
    assert any(parameter.grad is not None for parameter in parameters)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
    assert all(
        parameter.data_ptr() != twin.data_ptr()
        for parameter, twin in zip(scm.parameters(), other.parameters(), strict=True)
    )
    pyro.clear_param_store()


def test_the_guide_samples_the_latents_from_their_posterior(image: ccf.SCM) -> None:
    x = image.sample(5, seed=0, out_of_support="clip")
    trace = pyro.poutine.trace(image.guide).get_trace(x)
    assert [name for name, site in trace.nodes.items() if site["type"] == "sample" and name != "rows"] == ["image.z"]
    mean = image.abduct(x)["image.z"]
    assert torch.allclose(trace.nodes["image.z"]["fn"].mean, mean, atol=1e-6)


def test_importing_and_querying_leave_the_process_as_it_was() -> None:
    """zuko switches validation off for every distribution, and Pyro's parameter store is global."""
    script = """
import torch
from torch.distributions import Distribution, Normal
import pyro
before = Distribution._validate_args, torch.get_default_dtype(), torch.get_num_threads(), torch.random.initial_seed()
constraints = Distribution.__dict__["arg_constraints"]
import causalcf as ccf
x = torch.randn(50, generator=torch.Generator().manual_seed(0))
state = torch.get_rng_state()
scm = ccf.SCM([("x", "y")]).fit({"x": x, "y": x + 0.1 * x**2}, epochs=1, seed=0, progress=False)
scm.counterfactual({"x": x, "y": x}, do={"x": 1.0})
pyro.poutine.trace(scm.model).get_trace(3)
scm.sample(3, seed=0)
try:
    Normal(0.0, -1.0)
except ValueError:
    print("validated")
after = Distribution._validate_args, torch.get_default_dtype(), torch.get_num_threads(), torch.random.initial_seed()
print(before == after, Distribution.__dict__["arg_constraints"] is constraints, dict(pyro.get_param_store()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["validated", "True True {}"], done.stderr
