"""Rows and actions far from all data: answers are finite and inside the support, or the row is refused by name."""

import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, InterventionError

FAR = (1e3, 1e8, 1e30)


@pytest.mark.parametrize("value", FAR)
@pytest.mark.parametrize("node", ["x", "y", "p", "v"])
def test_a_row_with_an_enormous_value(mixed: ccf.SCM, rows: ccf.Batch, node: str, value: float) -> None:
    there = {name: x.clone() for name, x in rows.items()}
    there[node][:3] = value
    for do in ({}, {"x": 0.0}, {"y": ccf.shift(1.0)}, {"p": 2.0}):
        try:
            cf = mixed.counterfactual(there, do, seed=0)
        except DataError:  # refused: some node would not be finite
            continue
        for name, variable in mixed.variables.items():
            assert not variable.outside(cf[name]).any()
            assert not cf[name].is_floating_point() or bool(torch.isfinite(cf[name]).all()), name


@pytest.mark.parametrize("value", FAR)
def test_an_enormous_action(mixed: ccf.SCM, rows: ccf.Batch, value: float) -> None:
    cf = mixed.counterfactual(rows, [{"x": value}, {"y": -value}, {"p": value}], seed=0)
    for name, variable in mixed.variables.items():
        found = cf[name].flatten(0, 1)
        assert not variable.outside(found).any()
        assert not found.is_floating_point() or bool(torch.isfinite(found).all()), name


def test_acting_with_the_observed_value_changes_no_bit(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    for node in ("x", "y", "b", "c", "p", "i"):
        cf = mixed.counterfactual(rows, {node: rows[node]}, seed=0)
        for name in ("x", "y", "p", "i", "v", "b", "c"):
            assert torch.equal(cf[name], rows[name]), (node, name)


def test_noise_that_is_not_finite_is_named(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    noise = mixed.abduct(rows, seed=0)
    broken = noise.replace({"y.u": torch.full((rows.rows,), torch.nan)})
    with pytest.raises(DataError, match=r"'y' comes out NaN or infinite in 64 of 64 rows: the noise \['y.u'\]"):
        mixed.predict(broken, {"x": 1.0})


def test_weights_that_are_not_finite_are_named() -> None:
    x = torch.randn(100)
    linear = {node: ccf.mechanisms.LinearGaussian() for node in "xy"}
    scm = ccf.SCM([("x", "y")], mechanisms=linear).fit({"x": x, "y": x}, seed=0, progress=False)
    scm.mechanisms["y"].weight.data.fill_(torch.nan)
    with pytest.raises(DataError, match=r"LinearGaussian's own \['weight'\] are not finite"):
        scm.counterfactual({"x": [0.0], "y": [0.0]}, {"x": 1.0})


def test_a_node_scaled_by_zero_has_no_density(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    without = {node: value for node, value in rows.items() if node != "d"}
    with pytest.raises(InterventionError, match=r"scales \['y'\] by 0, which leaves a point mass"):
        mixed.do({"y": ccf.scale(0)}).log_prob(without)
