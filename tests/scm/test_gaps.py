"""A gap in a column that the question does not need does not stop it, and stays a gap."""

import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=300)})
    frame["y"] = frame.x + draw.normal(size=300)
    frame["c"] = draw.choice(["a", "b", "z"], 300)
    frame["b"] = draw.random(300) < 0.5
    frame["w"] = draw.normal(size=300) + (frame.c == "a")
    return frame


@pytest.fixture(scope="module")
def scm(frame: pd.DataFrame) -> ccf.SCM:
    both = ccf.mechanisms.Deterministic(lambda pa: pa["w"] + pa["c"].to(pa["w"]))
    scm = ccf.SCM([("x", "y"), ("c", "w"), ("b", "w"), ("w", "d"), ("c", "d")], {"d": ccf.Real()}, {"d": both})
    short = {node: ccf.mechanisms.Recipe(epochs=1, min_steps=3, batch_size=64, lr=1e-2) for node in frame}
    return scm.fit(frame, recipes=short, seed=0, progress=False)


@pytest.fixture
def holes(frame: pd.DataFrame) -> pd.DataFrame:
    holes = frame[:6].astype({"c": object, "b": object})
    holes.loc[1, "c"] = None
    holes.loc[2, "b"] = pd.NA
    return holes


def test_categories_and_booleans_may_lack_where_no_answer_depends_on_them(
    scm: ccf.SCM, frame: pd.DataFrame, holes: pd.DataFrame
) -> None:
    cf, whole = (scm.counterfactual(rows, {"x": 1.0}, seed=0) for rows in (holes, frame[:6]))
    assert torch.equal(cf["y"], whole["y"])
    told = cf.to_frame()
    assert told["c"].isna().tolist() == [False, True, False, False, False, False]
    assert told["b"].isna().tolist() == [False, False, True, False, False, False]
    assert told["c"].drop(1).tolist() == frame["c"][:6].drop(1).tolist()
    assert told["b"].drop(2).tolist() == frame["b"][:6].drop(2).tolist()
    assert cf["d"].isnan().tolist() == [False, True, False, False, False, False]  # what follows from a gap is one
    assert torch.equal(cf["d"][2:], whole["d"][2:])
    assert not cf.check().extrapolates[3:].all()


@pytest.mark.parametrize("do", [{"c": "a"}, {"w": 1.0}, {"b": True, "c": "a"}], ids=str)
def test_where_an_answer_depends_on_them_they_are_asked_for(scm: ccf.SCM, holes: pd.DataFrame, do: dict) -> None:
    with pytest.raises(DataError, match="'c' has no value in 1 of 6 rows"):
        scm.counterfactual(holes, do, seed=0)


def test_codes_with_gaps_are_numbers() -> None:
    read = {
        "c": (ccf.Categorical(["a", "b"]), ["b", None, "a"]),
        "o": (ccf.Ordinal([1, 2]), [2, np.nan, 1]),
        "b": (ccf.Boolean(), pd.array([True, None, False], dtype="boolean")),
        "none": (ccf.Boolean(), [None, None, None]),
    }
    for name, (variable, values) in read.items():
        x = variable.read(name, values, torch.float32, torch.device("cpu"), gaps=True)
        assert x.isnan().tolist() == ([True] * 3 if name == "none" else [False, True, False])
        assert name == "none" or (x[0], x[2]) == (1, 0)
        with pytest.raises(DataError):
            variable.read(name, values, torch.float32, torch.device("cpu"))
