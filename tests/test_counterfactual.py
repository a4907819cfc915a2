"""The record of a counterfactual: its axes, its views and what it remembers."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.distributions import Normal

import causalcf as ccf
from causalcf.core.errors import InterventionError, UnknownNodeError
from causalcf.scm.abduction import Noise


def test_the_axes_are_worlds_samples_rows(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    x = rows[:5]
    one = mixed.counterfactual(x, {"x": 1.0}, seed=0)
    assert (one["y"].shape, one["v"].shape) == ((5,), (5, 2))
    worlds = mixed.counterfactual(x, [{"x": 1.0}, {"y": 0.0}, {}], seed=0)
    assert (worlds["y"].shape, worlds["v"].shape) == ((3, 5), (3, 5, 2))
    samples = mixed.counterfactual(x, {"x": 1.0}, num_samples=4, seed=0)
    assert (samples["y"].shape, samples["v"].shape) == ((4, 5), (4, 5, 2))
    both = mixed.counterfactual(x, [{"x": 1.0}, {}], num_samples=4, seed=0)
    assert (both["y"].shape, both["v"].shape) == ((2, 4, 5), (2, 4, 5, 2))
    assert both.noise["c.u"].shape == (4, 5, 3)
    assert (len(both), list(both), both.rows) == (8, list(mixed.graph.nodes), 5)


def test_it_is_a_frozen_mapping_that_remembers_the_question(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    cf = mixed.counterfactual(rows[:5], {"x": 1.0}, seed=3)
    assert (cf.seed, cf.residual, cf.abduction, cf.recompute, cf.do) == (3, 1.0, "mean", "descendants", {"x": 1.0})
    assert cf.factual is not None
    assert torch.equal(cf.factual["x"], rows["x"][:5])
    assert mixed.counterfactual(rows[:5], {}, abduction="sample").abduction == "sample"
    assert mixed.counterfactual(rows[:5], {}).seed is not None
    assert "do={'x': 1.0}" in repr(cf)
    with pytest.raises(TypeError, match="item assignment"):
        cf["x"] = torch.zeros(5)  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        cf.seed = 4  # type: ignore[misc]
    with pytest.raises(UnknownNodeError, match=r"The graph has no node 'nose'. Its nodes are"):
        cf["nose"]


def test_views_drop_an_axis(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    cf = mixed.counterfactual(rows[:5], [{"x": 1.0}, {"y": Normal(0.0, 1.0)}], num_samples=3, seed=0)
    world = cf.world(1)
    assert torch.equal(world["v"], cf["v"][1])
    assert list(world.do) == ["y"]  # type: ignore[arg-type]
    sample = world.sample(2)
    assert torch.equal(sample["v"], cf["v"][1, 2])
    assert torch.equal(sample["v"], cf.sample(2).world(1)["v"])
    assert torch.equal(sample["v"], cf.world(-1).sample(-1)["v"])
    assert isinstance(sample.noise, Noise)
    assert torch.equal(sample.noise["y.do"], sample["y"])
    assert torch.equal(world.noise["y.do"], cf["y"][1])
    assert "y.do" not in cf.noise, "only some worlds drew it"
    with pytest.raises(InterventionError, match="There is one world only"):
        world.world(0)
    with pytest.raises(InterventionError, match="There is one sample only"):
        sample.sample(0)
    with pytest.raises(IndexError, match="Sample 3 of 3"):
        cf.sample(3)
    with pytest.raises(IndexError):
        cf.world(2)


def test_worlds_share_noise_and_untouched_nodes_share_memory(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    cf = mixed.counterfactual(rows, [{"p": 1.0 + k} for k in range(10)], seed=0)
    assert cf["x"].shape == (10, 64)
    assert cf["x"].untyped_storage().nbytes() == 64 * 4, "one copy for all worlds"
    assert cf["v"].untyped_storage().nbytes() == 10 * 64 * 2 * 4
    assert cf.noise["x.u"].shape == (64,)


def test_noise_with_its_draws_predicts_the_same_world(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    cf = mixed.counterfactual(rows, {"x": Normal(0.0, 1.0)}, seed=0)
    again = mixed.predict(cf.noise, {"x": cf.noise["x.do"]})  # type: ignore[arg-type]
    assert all(torch.equal(cf[node], again[node]) for node in cf)


def test_samples_of_what_is_certain_are_refused(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    certain = ccf.SCM([("x", "y")]).fit({k: rows[k] for k in ("x", "y")}, epochs=1, seed=0, progress=False)
    x = {"x": [1.0], "y": [2.0]}
    with pytest.raises(InterventionError, match="num_samples was given, but nothing in this query is random"):
        certain.counterfactual(x, {"x": 1.0}, num_samples=2)
    assert certain.counterfactual(x, {"x": 1.0}).seed is None
    assert certain.counterfactual(x, {"x": Normal(0.0, 1.0)}, num_samples=2, seed=0)["y"].shape == (2, 1)
    for k in (0, -1):
        with pytest.raises(InterventionError, match=f"num_samples must be at least 1, got {k}"):
            mixed.counterfactual(rows, {"x": 1.0}, num_samples=k)
    with pytest.raises(InterventionError, match='abduction must be "mean" or "sample", got \'max\''):
        mixed.counterfactual(rows, {"x": 1.0}, abduction="max")  # type: ignore[arg-type]


def test_samples_differ_where_the_posterior_is_wide_and_factuals_stay(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    cf = mixed.counterfactual(rows, {"y": ccf.shift(2.0)}, num_samples=20, seed=0)
    assert 0 < cf["b"].float().std(0).mean() < 0.5
    assert torch.equal(cf["x"], rows["x"].expand(20, 64))
    assert cf.factual is not None
    assert torch.equal(cf.factual["b"], rows["b"])
    kept = mixed.counterfactual(rows, {}, num_samples=20, seed=0, recompute="all")
    assert torch.equal(kept["b"], rows["b"].expand(20, 64))
    assert torch.equal(kept["c"], rows["c"].expand(20, 64))


def test_frames_restore_names_labels_worlds_and_samples(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    x = ccf.Batch({node: rows[node][:3] for node in rows}, index=np.array(["ann", "bob", "cy"]))
    frame = mixed.counterfactual(x, {"c": "red"}, seed=0).to_frame()
    assert list(frame.index) == ["ann", "bob", "cy"]
    assert list(frame["c"]) == ["red"] * 3
    assert {"v[0]", "v[1]", "b"} <= {*frame.columns}
    both = mixed.counterfactual(x, [{"c": "red"}, {}], num_samples=2, seed=0).to_frame()
    assert both.index.names[:2] == ["world", "sample"]
    assert both.loc[(0, 1, "bob"), "c"] == "red"
    assert len(both) == 12


def test_index_labels_follow_rows_into_samples(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    cf = mixed.counterfactual(rows[10:15], {"x": 1.0}, num_samples=3, seed=0)
    assert cf.index.tolist() == [10, 11, 12, 13, 14]
    assert cf.sample(1).index.tolist() == [10, 11, 12, 13, 14]
