"""Recourse and fairness: the cheapest advice by hand, advice that fails blindly, paths by their weights."""

import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, ExplanationError, GraphError, UnknownNodeError
from causalcf.queries import counterfactual_fairness, path_effect
from causalcf.queries.examples import linear

ROWS = {"x": [0.0, 1.0], "m": [0.0, 0.6], "y": [0.0, 1.7]}
WIDE = {"x": {"low": -10.0, "high": 10.0}, "m": {"low": -10.0, "high": 10.0}}


def _above(rows: ccf.Batch) -> torch.Tensor:
    return rows["y"] - 5.0


def test_the_cheapest_single_action_is_the_one_with_the_largest_effect() -> None:
    # y = .5 x + 2 m: m moves y by 2 a unit, x by 1.7; y must rise by 5 and by 3.3.
    advice = ccf.recourse(linear(), _above, ROWS, may_change=WIDE, cost={"x": 1.0, "m": 1.0}, at_once=1)
    assert torch.allclose(advice.cost[0], torch.tensor([2.5, 1.65], dtype=torch.float64), atol=0.02)
    assert advice.actions[0]["x"].isnan().all(), "x is left alone"
    assert advice.works.all()


def test_prices_change_the_advice() -> None:
    advice = ccf.recourse(linear(), _above, ROWS, may_change=WIDE, cost={"x": 1.0, "m": 3.0}, at_once=1)
    assert torch.allclose(advice.cost[0], torch.tensor([5 / 1.7, 3.3 / 1.7], dtype=torch.float64), atol=0.02)
    assert advice.actions[0]["m"].isnan().all()


def test_without_consequences_advice_costs_more_or_fails() -> None:
    only_x = {"x": {"low": -10.0, "high": 10.0}}
    rows = {"x": [0.0], "m": [0.0], "y": [0.0]}
    # The classifier reads x and m: 2 x + m > 6. By the model m follows x by .6: x = 6 / 2.6. Without, x = 3.
    wise = ccf.recourse(linear(), lambda r: 2 * r["x"] + r["m"] - 6, rows, may_change=only_x, cost={"x": 1.0})
    blind = ccf.recourse(
        linear(), lambda r: 2 * r["x"] + r["m"] - 6, rows, may_change=only_x, cost={"x": 1.0}, causal=False
    )
    assert float(wise.cost) == pytest.approx(6 / 2.6, abs=0.01)
    assert float(blind.cost) == pytest.approx(3.0, abs=0.01)
    # 2 x - m > 6: without the model x = 3 seems enough; m follows, and it is not.
    fooled = ccf.recourse(linear(), lambda r: 2 * r["x"] - m_of(r) - 6, rows, may_change=only_x, causal=False)
    assert not fooled.works.any()
    told = ccf.recourse(linear(), lambda r: 2 * r["x"] - m_of(r) - 6, rows, may_change=only_x)
    assert told.works.all()


def m_of(rows: ccf.Batch) -> torch.Tensor:
    return rows["m"]


def test_several_pieces_of_advice_act_on_different_nodes() -> None:
    advice = ccf.recourse(linear(), _above, ROWS, may_change=WIDE, cost={"x": 1.0, "m": 1.0}, k=3)
    assert advice.cost.shape == (3, 2)
    assert (advice.cost[0] <= advice.cost[1]).all()
    acted = [tuple(node for node, value in do.items() if not value[0].isnan()) for do in advice.actions]
    assert len(set(acted)) == 3
    assert advice.works.all()
    assert "50%" not in repr(advice)


def test_directions_and_bounds_are_kept() -> None:
    down = {"m": {"low": -10.0, "high": 10.0, "direction": "down"}}
    assert ccf.recourse(linear(), _above, ROWS, may_change=down).cost.isinf().all()
    narrow = {"m": {"low": -1.0, "high": 1.0}}
    nothing = ccf.recourse(linear(), _above, ROWS, may_change=narrow)
    assert nothing.cost.isinf().all()
    assert not nothing.works.any()


def test_categories_and_attached_classifiers(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    def f(y: torch.Tensor) -> torch.Tensor:
        return torch.stack([-y, y], 1)

    scm = mixed.attach("label", f, parents=["y"])
    some = rows[rows["y"] < 0][:5]
    advice = ccf.recourse(scm, "label", some, target=1, may_change={"x": {"low": -3.0, "high": 5.0}, "c": {}})
    assert advice.works.all()
    frame = advice.to_frame()
    assert list(frame.columns) == ["x", "c", "cost", "works"]
    assert (frame["c"] == "").all(), "the category causes no y"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"may_change": {}}, DataError, "every node is immutable"),
        ({"may_change": {"w": {}}}, UnknownNodeError, "no node 'w'"),
        ({"may_change": {"x": {}}}, DataError, "between which values"),
        ({"may_change": {"x": {"low": 2, "high": 1}}}, DataError, "between which values"),
        ({"may_change": {"x": {"low": 0, "high": 1, "direction": "left"}}}, DataError, "'up', 'down' or 'any'"),
        ({"cost": {"x": -1.0}}, DataError, "cost of 'x' must be a number >= 0"),
        ({"cost": {"y": 1.0}}, DataError, "cost names 'y', which may not change"),
        ({"cost": lambda _node, before, after: before - after}, DataError, "negative or NaN"),
        ({"target": "yes"}, DataError, "a function's classes have no names"),
        ({"k": 0}, DataError, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(change, error, message) -> None:
    with pytest.raises(error, match=message):
        ccf.recourse(linear(), _above, ROWS, **{"may_change": WIDE, **change})


def test_rows_that_are_there_already_are_named() -> None:
    with pytest.raises(ExplanationError, match="1 of 2 rows have class 1 already, the first is row 1"):
        ccf.recourse(linear(), lambda rows: rows["y"] - 1.0, ROWS, may_change=WIDE)


def test_path_effects_add_up_in_linear_models() -> None:
    scm, rows = linear(), linear().sample(50, seed=0)
    direct = path_effect(scm, "x", "y", rows, along=[("x", "y")], to=rows["x"] + 1)
    through = path_effect(scm, "x", "y", rows, along=[("x", "m"), ("m", "y")], to=rows["x"] + 1)
    whole = path_effect(scm, "x", "y", rows, along=scm.graph.edges, to=rows["x"] + 1)
    assert direct.value == pytest.approx(0.5, abs=1e-5)
    assert through.value == pytest.approx(1.2, abs=1e-5)
    assert whole.value == pytest.approx(1.7, abs=1e-5)
    broken = path_effect(scm, "x", "y", rows, along=[("x", "m")], to=rows["x"] + 1)
    assert broken.value == 0.0, "a path that does not reach the outcome carries nothing"
    with pytest.raises(GraphError, match=r"the graph has no \[\('y', 'x'\)\]"):
        path_effect(scm, "x", "y", rows, along=[("y", "x")], to=0.0)
    with pytest.raises(GraphError, match="no arrow starts at 'x'"):
        path_effect(scm, "x", "y", rows, along=[("m", "y")], to=0.0)


def test_what_comes_along_fair_arrows_is_no_wrong() -> None:
    scm, rows = linear(), linear().sample(400, seed=0)

    def decide(batch: ccf.Batch) -> torch.Tensor:
        return (batch["y"] > 0).float()

    unfair = counterfactual_fairness(scm, decide, rows, protected="x", to=rows["x"] + 2)
    less = counterfactual_fairness(scm, decide, rows, protected="x", to=rows["x"] + 2, fair=[("x", "m")])
    none = counterfactual_fairness(scm, decide, rows, protected="x", to=rows["x"] + 2, fair=[("x", "m"), ("m", "y")])
    assert unfair["changed"].value > less["changed"].value > 0
    assert none["changed"].value == pytest.approx(less["changed"].value)
    y = rows["y"]
    assert unfair["changed"].value == pytest.approx(float(((y <= 0) & (y + 3.4 > 0)).float().mean()), abs=0.01)
    assert less["changed"].value == pytest.approx(float(((y <= 0) & (y + 1.0 > 0)).float().mean()), abs=0.01)
