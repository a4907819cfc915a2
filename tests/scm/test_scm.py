"""The model's verbs, its densities, the models made from it, and what it says to bad input."""

import copy
import pickle
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal, Uniform

import causalcf as ccf
from causalcf.core.errors import (
    CausalCFError,
    CheckpointError,
    DataError,
    DensityError,
    GraphError,
    InterventionError,
    MechanismError,
    NotFittedError,
    SupportError,
    UnknownNodeError,
)
from causalcf.scm.abduction import Noise

# ---------------------------------------------------------------------- building


def test_a_graph_may_be_networkx_ours_edges_a_name_or_a_path(tmp_path: object) -> None:
    edges = [("x", "y")]
    for graph in (nx.DiGraph(edges), ccf.CausalGraph(edges), edges):
        assert ccf.SCM(graph).graph.edges == (("x", "y"),)
    assert "image" in ccf.load_graph("morphomnist")
    path = f"{tmp_path}/g.json"
    ccf.CausalGraph(edges, {"x": ccf.Real(), "y": ccf.Positive()}).save(path)
    assert isinstance(ccf.SCM(path).variables["y"], ccf.Positive)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([("x", "y"), ("y", "x")],), GraphError, "The graph has a cycle: .*Remove one of its edges"),
        (([("x", "x")],), GraphError, r"Nodes \['x'\] cause themselves"),
        (([("x", "y")], {"z": ccf.Real()}), UnknownNodeError, r"Variables are declared for \['z'\]"),
        (([("x", "y")], {}, {"z": ccf.mechanisms.Flow()}), UnknownNodeError, r"Mechanisms are given for \['z'\]"),
        (
            ([("x", "y")], {"x": ccf.Real(), "y": ccf.Boolean()}, {"y": ccf.mechanisms.Flow()}),
            MechanismError,
            "Flow cannot model 'y', a Boolean: it takes a Real, Positive, Interval or Vector",
        ),
        (
            ([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}, {"y": "flow"}),
            MechanismError,
            "The mechanism of 'y' must be a Mechanism, got str",
        ),
        (
            ([("x", "y")], {"x": ccf.Real(), "y": ccf.Image(1, 8, 8)}),
            MechanismError,
            "'y' is an Image and has no default mechanism. Name one: .*VAE",
        ),
        (
            ([("x", "y")], {"x": ccf.Image(1, 8, 8), "y": ccf.Real()}, {"x": ccf.mechanisms.VAE()}),
            MechanismError,
            r"Flow of 'y' cannot take the image parents \['x'\]",
        ),
        (
            ([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}, {"x": ccf.mechanisms.Deterministic(lambda _: 1)}),
            MechanismError,
            "Deterministic of 'x' needs parents",
        ),
        (("no-such-graph",), GraphError, "There is no graph 'no-such-graph'.*Known graphs: .*morphomnist"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_model_that_cannot_be_is_refused(arguments: tuple, error: type[CausalCFError], message: str) -> None:
    with pytest.raises(error, match=message):
        ccf.SCM(*arguments)


def test_mechanisms_are_copied_and_follow_from_variables(mixed: ccf.SCM) -> None:
    flow = ccf.mechanisms.Flow(bins=4)
    scm = ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}, {"x": flow, "y": flow})
    assert scm.mechanisms["x"] is not scm.mechanisms["y"]
    assert (scm.mechanisms["x"].bins, flow.node) == (4, "")
    assert {node: type(mechanism).__name__ for node, mechanism in mixed.mechanisms.items()} == {
        **dict.fromkeys(("x", "y", "p", "i", "v"), "Flow"),
        "b": "Boolean",
        "c": "Categorical",
        "d": "Deterministic",
    }
    assert list(mixed.mechanisms) == list(mixed.graph.nodes)
    assert "  c: Categorical(x, b)" in repr(mixed)
    assert "  x: ?()" in repr(ccf.SCM([("x", "y")]))


# ---------------------------------------------------------------------- before and during fit


def test_every_question_needs_a_fitted_model(rows: ccf.Batch) -> None:
    unfitted = ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()})
    x = {"x": [1.0], "y": [1.0]}
    for ask in (
        lambda: unfitted.sample(2),
        lambda: unfitted.abduct(x),
        lambda: unfitted.counterfactual(x, {"x": 1.0}),
        lambda: unfitted.log_prob(x),
        lambda: unfitted.do({"x": 1.0}),
        lambda: unfitted.attach("z", nn.Linear(1, 2), parents=["x"]),
    ):
        with pytest.raises(NotFittedError, match=r"The mechanisms of \['x', 'y'\] are not fitted. Call scm.fit"):
            ask()
    with pytest.raises(NotFittedError, match=r"are not fitted. Call scm.fit"):
        ccf.SCM([("x", "y")]).counterfactual(x, {"x": 1.0})


def test_variables_are_told_from_a_frame_and_names_restored() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(size=80), "smoker": rng.random(80) < 0.4}, index=[f"p{i}" for i in range(80)]
    )
    frame["city"] = np.where(frame.smoker, "Rome", "Oslo")
    frame["note"] = 1
    scm = ccf.SCM([("age", "smoker"), ("smoker", "city")])
    with pytest.warns(UserWarning, match=r"Ignoring \['note'\]: not nodes of the graph") as warned:
        scm.fit(frame, epochs=1, seed=0, progress=False)
    assert len(warned) == 1
    assert [scm.variables[n] for n in ("age", "smoker", "city")] == [
        ccf.Real(),
        ccf.Boolean(),
        ccf.Categorical(["Oslo", "Rome"]),
    ]
    back = scm.counterfactual(frame.drop(columns="note").head(3), {"city": "Rome"}, seed=0).to_frame()
    assert list(back.index) == ["p0", "p1", "p2"]
    assert list(back.city) == ["Rome"] * 3
    assert back.smoker.dtype == bool


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": None}, DataError, r"The data lack \['x'\]"),
        ({"x": torch.ones(64, 2)}, DataError, r"'x' is a Real: expected shape \(N\), got \(64, 2\)"),
        ({"x": torch.ones(5)}, DataError, "All variables need the same number of rows"),
        ({"v": torch.ones(64, 3)}, DataError, r"'v' is a Vector: expected shape \(N, 2\), got \(64, 3\)"),
        (
            {"x": torch.full((64,), torch.nan)},
            DataError,
            "'x' has NaN or infinite values in 64 of 64 rows. Drop or impute",
        ),
        ({"p": torch.zeros(64)}, SupportError, "'p' must be above 0: 64 of 64 rows are not"),
        ({"i": torch.full((64,), 11.0)}, SupportError, r"'i' must be in \[0, 10\]"),
        ({"b": torch.full((64,), 2)}, SupportError, "'b' must be True or False"),
        ({"c": ["purple"] * 64}, SupportError, "'c' has no category 'purple'"),
        ({"c": torch.full((64,), 3)}, SupportError, "'c' must be one of the categories"),
        ({"x": ["a"] * 64}, DataError, "'x' is a Real: expected numbers, got"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_rows_are_refused_in_every_question(
    mixed: ccf.SCM, rows: ccf.Batch, change: dict, error: type[CausalCFError], message: str
) -> None:
    x = {name: value for name, value in {**rows, **change}.items() if value is not None}
    for ask in (
        lambda: mixed.counterfactual(x, {"x": 1.0}),
        lambda: mixed.abduct(x),
        lambda: mixed.log_prob(x),
        lambda: ccf.SCM(mixed.graph, mechanisms=mixed._given).fit(x, progress=False),
    ):
        with pytest.raises(error, match=message):
            ask()


def test_no_rows_are_refused(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    with pytest.raises(DataError, match="no rows"):
        mixed.counterfactual({name: value[:0] for name, value in rows.items()}, {"x": 1.0})
    with pytest.raises(DataError, match="n must be at least 1, got 0"):
        mixed.sample(0)
    with pytest.raises(DataError, match="Expected a mapping of arrays or tensors, or a data frame, got list"):
        mixed.abduct([1.0])


# ---------------------------------------------------------------------- sampling and acting


def test_samples_are_rows_in_data_units(mixed: ccf.SCM) -> None:
    drawn = mixed.sample(50, seed=0)
    assert isinstance(drawn, ccf.Batch)
    assert drawn.rows == 50
    for node, variable in mixed.variables.items():
        assert drawn[node].shape == (50, *variable.event_shape)
        assert not variable.outside(drawn[node]).any()
    acted = mixed.sample(50, do={"y": 1.0}, seed=0)
    assert torch.equal(acted["x"], drawn["x"]), "the same seed gives the same units in every world"
    assert torch.equal(acted["d"], acted["x"] + 1.0)


def test_a_view_of_an_acted_model_has_its_verbs(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    view = mixed.do({"y": 1.0})
    assert torch.equal(view.sample(9, seed=3)["b"], mixed.sample(9, do={"y": 1.0}, seed=3)["b"])
    noise = mixed.abduct(rows, seed=0)
    assert torch.equal(view.predict(noise)["v"], mixed.predict(noise, {"y": 1.0})["v"])
    with pytest.raises(UnknownNodeError, match=r"do names \['nose'\]"):
        mixed.do({"nose": 1.0})
    for ask in (lambda: mixed.sample(3, do=[{"x": 1.0}]), lambda: mixed.do([{"x": 1.0}])):
        with pytest.raises(InterventionError, match="takes one set of actions, not a list of worlds"):
            ask()


# ---------------------------------------------------------------------- densities


@pytest.fixture(scope="module")
def explicit(mixed: ccf.SCM, rows: ccf.Batch) -> ccf.SCM:
    """A model without noiseless nodes, whose joint density exists."""
    return ccf.SCM(
        [("x", "y"), ("y", "p"), ("y", "b"), ("p", "v")],
        {"x": ccf.Real(), "y": ccf.Real(), "p": ccf.Positive(), "b": ccf.Boolean(), "v": ccf.Vector(2)},
    ).fit({name: rows[name] for name in ("x", "y", "p", "b", "v")}, epochs=5, seed=0, progress=False)


def _of(scm: ccf.SCM, rows: ccf.Batch) -> dict[str, torch.Tensor]:
    return {node: rows[node] for node in scm.graph.nodes}


def test_the_density_factorises_over_nodes(explicit: ccf.SCM, rows: ccf.Batch) -> None:
    density = explicit.log_prob(_of(explicit, rows))
    assert tuple(density) == explicit.graph.nodes
    assert density.lower_bounds == ()
    assert torch.allclose(density.total, torch.stack([density[node] for node in density]).sum(0))
    flow = explicit.mechanisms["p"].dist({"y": rows["y"]})
    assert torch.allclose(density["p"], flow.log_prob(rows["p"]))


def test_a_noiseless_node_has_no_density(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    with pytest.raises(DensityError, match=r"'d' is a deterministic function of .*'x', 'y'.*: it has no density"):
        mixed.log_prob(rows)


def test_an_acted_density_is_the_truncated_factorisation(explicit: ccf.SCM, rows: ccf.Batch) -> None:
    x = _of(explicit, rows)
    plain = explicit.log_prob(x)
    value = x["y"].clone()
    value[1:] += 1
    set_to = explicit.do({"y": value}).log_prob(x)
    assert set_to["y"][0] == 0
    assert (set_to["y"][1:] == -torch.inf).all()
    assert torch.equal(set_to["p"], plain["p"])
    by_function = explicit.do({"y": lambda pa: pa["x"]}).log_prob({**x, "y": x["x"]})
    assert (by_function["y"] == 0).all()
    drawn = explicit.do({"y": Normal(1.0, 2.0), "b": Bernoulli(0.25)}).log_prob(x)
    assert torch.allclose(drawn["y"], Normal(1.0, 2.0).log_prob(x["y"]))
    assert torch.allclose(drawn["b"].exp(), torch.where(x["b"], 0.25, 0.75))
    bounded = explicit.do({"y": Uniform(0.0, 1.0)}).log_prob(x)["y"]
    inside = (x["y"] >= 0) & (x["y"] < 1)
    assert (bounded[inside] == 0).all()
    assert (bounded[~inside] == -torch.inf).all()


def test_the_density_of_shift_and_scale_is_a_change_of_variables(explicit: ccf.SCM, rows: ccf.Batch) -> None:
    x = _of(explicit, rows)
    flow, two = explicit.mechanisms["p"].dist({"y": x["y"]}), explicit.mechanisms["v"].dist({"p": x["p"]})
    shifted = explicit.do({"p": ccf.shift(0.5)}).log_prob({**x, "p": x["p"] + 0.5})
    assert torch.allclose(shifted["p"], flow.log_prob(x["p"]), atol=1e-3)
    impossible = explicit.do({"p": ccf.shift(100.0)}).log_prob(x)
    assert (impossible["p"] == -torch.inf).all()
    scaled = explicit.do({"v": ccf.scale([2.0, 4.0])}).log_prob({**x, "v": x["v"] * torch.tensor([2.0, 4.0])})
    assert torch.allclose(scaled["v"], two.log_prob(x["v"]) - torch.tensor(8.0).log(), atol=1e-4)
    by_row = torch.linspace(1, 2, rows.rows)
    stretched = explicit.do({"p": ccf.scale(by_row)}).log_prob({**x, "p": x["p"] * by_row})
    assert torch.allclose(stretched["p"], flow.log_prob(x["p"]) - by_row.log(), atol=1e-3)
    with pytest.raises(InterventionError, match=r"log_prob cannot act on the latent sites \['y.u'\]"):
        explicit.do({"y.u": 0.0}).log_prob(x)


# ---------------------------------------------------------------------- attaching a classifier


class _Reads(nn.Module):
    """Logits from two parents, in the order asked for; batch norm shows whether it was run in training."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, k)

    def forward(self, v: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(torch.cat([v, x[:, None]], 1)))


def test_a_classifier_is_a_noiseless_child(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    f = _Reads(4)
    weights = copy.deepcopy(f.state_dict())
    scm = mixed.attach("label", f, parents=["v", "x"])
    assert scm.variables["label"] == ccf.Categorical(4)
    assert scm.graph.parents("label") == ("x", "v")
    assert "label" not in mixed.graph
    cf = scm.counterfactual(rows, {"p": 3.0}, seed=0)
    with torch.no_grad():
        expected = f.eval()(cf["v"], cf["x"])
    assert torch.allclose(cf.logits["label"], expected, atol=1e-6)
    assert torch.equal(cf["label"], cf.logits["label"].argmax(1))
    assert cf.factual is not None
    assert torch.equal(cf.factual["label"], f(rows["v"], rows["x"]).argmax(1))
    assert all(torch.equal(weights[name], value) for name, value in f.state_dict().items())
    assert all(parameter.requires_grad for parameter in f.parameters()), "the caller's module stays as it was"
    assert torch.equal(cf["v"], mixed.counterfactual(rows, {"p": 3.0}, seed=0)["v"])
    worlds = scm.counterfactual(rows, [{"p": 3.0}, {"p": 1.0}], num_samples=2, seed=0)
    assert worlds.logits["label"].shape == (2, 2, 64, 4)
    assert scm.counterfactual(rows, {"c": 0}, seed=0).logits == {}, "nothing the label sees was touched"
    assert (scm.counterfactual(rows, {"label": 1}, seed=0)["label"] == 1).all()


def test_one_logit_is_a_boolean_and_a_regression_says_so(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    torch.manual_seed(1)
    for f in (nn.Linear(2, 1), lambda v: v[:, 0] - 2):
        scm = mixed.attach("flag", f, parents=["v"])
        assert scm.variables["flag"] == ccf.Boolean()
        cf = scm.counterfactual(rows, {"p": 1.0}, seed=0)
        assert torch.equal(cf["flag"], cf.logits["flag"] > 0)
    scm = mixed.attach("size", lambda v: v.sum(1), parents=["v"], variable=ccf.Real(unit="px"))
    cf = scm.counterfactual(rows, {"p": 1.0}, seed=0)
    assert torch.equal(cf["size"], cf["v"].sum(1))
    assert scm.attach("sign", lambda s: s, parents=["size"]).graph.ancestors(["sign"])


def test_a_classifier_that_does_not_fit_is_refused(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    with pytest.raises(UnknownNodeError, match="The graph has no node 'nose'"):
        mixed.attach("label", nn.Linear(2, 3), parents=["nose"], variable=ccf.Categorical(3))
    with pytest.raises(GraphError, match="The graph already has a node 'v'"):
        mixed.attach("v", nn.Linear(2, 3), parents=["v"])
    with pytest.raises(MechanismError, match=r"must give logits \(N, K\) or \(N,\) for N = 16, got \(16, 3, 1\)"):
        mixed.attach("label", lambda v: v.new_zeros(len(v), 3, 1), parents=["v"])
    with pytest.raises(MechanismError, match=r"must give 4 values a row \(Categorical.*, got 3"):
        mixed.attach("label", nn.Linear(2, 3), parents=["v"], variable=ccf.Categorical(4))
    wide = [False]
    scm = mixed.attach("label", lambda v: v.repeat(1, 2) if wide[0] else v, parents=["v"])
    wide[0] = True
    with pytest.raises(
        MechanismError, match=r"The classifier of 'label' must give logits of shape \(64, 2\), got \(64, 4\)"
    ):
        scm.counterfactual(rows, {"p": 1.0})


# ---------------------------------------------------------------------- copies and devices


def test_copies_are_equal_and_apart(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    twin = copy.deepcopy(mixed)
    one, two = (scm.counterfactual(rows, {"x": 1.0}, seed=0) for scm in (mixed, twin))
    assert all(torch.equal(one[node], two[node]) for node in one)
    storages = {parameter.data_ptr() for parameter in mixed.parameters()}
    assert storages.isdisjoint(parameter.data_ptr() for parameter in twin.parameters())
    graph = pickle.loads(pickle.dumps(mixed.graph))
    assert graph == mixed.graph
    assert graph.nodes == mixed.graph.nodes


def test_to_moves_type_and_results_follow(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    double = copy.deepcopy(mixed).to(torch.float64)
    assert double.dtype == torch.float64
    cf = double.counterfactual(rows, {"x": 1.0}, seed=0)
    assert (cf["v"].dtype, cf["b"].dtype, cf["c"].dtype) == (torch.float64, torch.bool, torch.long)
    assert torch.allclose(cf["v"].float(), mixed.counterfactual(rows, {"x": 1.0}, seed=0)["v"], atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cpu_and_gpu_agree(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    noise = mixed.abduct(rows, seed=0)
    there = copy.deepcopy(mixed).to("cuda")
    moved = Noise(
        {site: u.cuda() for site, u in noise.items()}, ccf.Batch({node: value.cuda() for node, value in rows.items()})
    )
    here, gpu = mixed.predict(noise, {"x": 1.0}), there.predict(moved, {"x": 1.0})
    for node, variable in mixed.variables.items():
        assert gpu[node].device.type == "cuda"
        assert torch.allclose(gpu[node].cpu().float(), here[node].float(), atol=0 if variable.discrete else 1e-4)
    assert there.counterfactual(rows, {"x": Normal(0.0, 1.0)}, seed=0)["v"].device.type == "cuda"


def test_a_given_mechanism_must_have_the_settings_of_the_file(tmp_path: Path) -> None:
    scm = ccf.SCM([("a", "b")], {"a": ccf.Real(), "b": ccf.Real()}, {"b": ccf.mechanisms.Flow(bins=4)})
    scm.fit({"a": torch.randn(50), "b": torch.randn(50)}, epochs=1, seed=0, progress=False).save(
        tmp_path / "m.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"was made with .*bins"):
        ccf.SCM.load(tmp_path / "m.safetensors", mechanisms={"b": ccf.mechanisms.Flow(bins=6)})
    ccf.SCM.load(tmp_path / "m.safetensors", mechanisms={"b": ccf.mechanisms.Flow(bins=4)})
