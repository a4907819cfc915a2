"""Fitting to rows with gaps: right where dropping rows and filling in means are not, and refused where it cannot be."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, TrainingError
from causalcf.mechanisms import LinearGaussian

GRAPH = nx.DiGraph([("x", "m"), ("x", "y"), ("m", "y")])


def model():
    return ccf.SCM(GRAPH, variables=dict.fromkeys("xmy", ccf.Real()), mechanisms=dict.fromkeys("xmy", LinearGaussian()))


def effects(scm):
    """What one more of x does to m, and one more of m and of x to y."""
    at = scm.mechanisms["y"].predict
    zero = {"u": torch.zeros(3)}
    y = at(zero, {"x": torch.tensor([0.0, 0.0, 1.0]), "m": torch.tensor([0.0, 1.0, 0.0])})
    m = scm.mechanisms["m"].predict({"u": torch.zeros(2)}, {"x": torch.tensor([0.0, 1.0])})
    return [float(m[1] - m[0]), float(y[1] - y[0]), float(y[2] - y[0])]


@pytest.fixture(scope="module")
def whole():
    generator = torch.Generator().manual_seed(0)
    x, noise_m, noise_y = torch.randn(3, 3000, generator=generator)
    m = x + noise_m
    return {"x": x, "m": m, "y": m - x + noise_y}


@pytest.fixture(scope="module")
def gaps(whole):
    """m is missing where y is large: at random given y, but not completely."""
    gone = whole["y"] > 0.3
    return whole | {"m": torch.where(gone, torch.nan, whole["m"])}


def test_it_finds_the_effects_where_dropping_rows_does_not(whole, gaps):
    there = ~gaps["m"].isnan()
    dropped = model().fit({node: value[there] for node, value in whole.items()}, seed=0, progress=False)
    learned = model().fit(gaps, missing="model", seed=0, progress=False)
    assert effects(learned) == pytest.approx([1.0, 1.0, -1.0], abs=0.08)
    assert abs(effects(dropped)[1] - 1.0) > 0.25
    assert learned.provenance["gaps"] == {"m": int((~there).sum())}
    assert "made_from" not in learned.provenance


def test_few_whole_rows_are_enough(whole):
    holes = {node: value.clone() for node, value in whole.items()}
    for k, node in enumerate("xmy"):
        hole = torch.rand(3000, generator=torch.Generator().manual_seed(k)) < 0.45
        holes[node][hole] = torch.nan
    assert sum(~torch.stack([value.isnan() for value in holes.values()]).any(0)) < 600
    learned = model().fit(holes, missing="model", seed=0, progress=False)
    assert effects(learned) == pytest.approx([1.0, 1.0, -1.0], abs=0.15)


def test_the_same_seed_gives_the_same_model(gaps):
    state = torch.get_rng_state()
    some = {node: value[:600] for node, value in gaps.items()}
    first, second = (effects(model().fit(some, missing="model", seed=3, progress=False)) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


def test_without_gaps_it_is_the_plain_fit(whole):
    plain = model().fit(whole, seed=0, progress=False)
    assert effects(model().fit(whole, missing="model", seed=0, progress=False)) == effects(plain)


def test_names_with_gaps_are_told_from_what_is_there():
    rng = np.random.default_rng(0)
    kind = np.where(rng.random(400) < 0.4, "old", "new").astype(object)
    frame = pd.DataFrame({"kind": kind, "price": np.where(kind == "old", 5.0, 9.0) + rng.normal(size=400)})
    frame.loc[frame.index[::5], "kind"] = None
    scm = ccf.SCM(nx.DiGraph([("kind", "price")])).fit(frame, missing="model", epochs=2, seed=0, progress=False)
    assert scm.graph.variables["kind"].categories == ("new", "old")
    assert set(scm.sample(50, seed=0)["kind"].tolist()) == {0, 1}


def test_gaps_are_refused_by_default(gaps):
    with pytest.raises(DataError, match="'m' has NaN"):
        model().fit(gaps, seed=0, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "mean"}, r'missing must be "refuse" or "model", got \'mean\''),
        ({"nodes": ["m"]}, "which nodes does not fit. Leave nodes out"),
        ({"checkpoint": "run.ckpt"}, "which checkpoint does not fit"),
        ({"validation": {"x": [1.0]}}, "Give a share of the rows"),
    ],
)
def test_what_does_not_go_with_it_is_refused(gaps, options, message):
    with pytest.raises(TrainingError, match=message):
        model().fit(gaps, **{"missing": "model", "progress": False} | options)


def test_a_node_that_was_never_observed_is_named(whole):
    nothing = whole | {"m": torch.full((3000,), torch.nan)}
    with pytest.raises(DataError, match="'m' was never observed: all 3000 rows lack it"):
        model().fit(nothing, missing="model", progress=False)
