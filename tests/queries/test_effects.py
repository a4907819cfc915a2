"""Effects against closed forms: linear models by their weights, oracles by their means, events by counting."""

import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, InterventionError, UnknownNodeError
from causalcf.queries import effect, effect_on_treated
from causalcf.queries.examples import linear, switch

ARROWS = {"treated": 1.0, "control": 0.0}


def test_the_effect_is_the_sum_over_the_paths_of_the_products_of_their_weights() -> None:
    found = effect(linear(), "x", "y", **ARROWS, seed=0)
    assert found.value == pytest.approx(0.5 + 0.6 * 2.0, abs=1e-5), "noise cancels in a linear model"
    assert found.source == "draws"
    assert found.draws == 10_000


def test_the_effect_of_a_nonlinear_outcome_is_within_its_interval() -> None:
    # y | do(x) ~ N(1.7 x, 5), so E[y^2 | do(x)] = 2.89 x^2 + 5.
    found = effect(linear(), "x", lambda rows: rows["y"] ** 2, **ARROWS, draws=40_000, seed=1)
    assert 2.89 in found
    assert found.high - found.low < 0.25


def test_intervals_over_draws_hold_the_truth_as_often_as_they_say() -> None:
    held = [
        2.89 in effect(linear(), "x", lambda rows: rows["y"] ** 2, **ARROWS, draws=400, seed=seed)
        for seed in range(200)
    ]
    # Binomial(200, .95): 182 to 198 in 99 % of cases.
    assert 182 <= sum(held) <= 198


def test_a_probability_is_an_outcome() -> None:
    found = effect(switch(), "x", "y", treated=True, control=False, seed=0)
    assert found.value == pytest.approx(0.5, abs=0.04)
    assert effect(switch(), "x", ("y", True), treated=True, control=False, seed=0).value == found.value


def test_units_may_be_chosen_by_what_is_no_effect() -> None:
    scm = ccf.SCM(
        [("z", "y"), ("x", "y")],
        dict.fromkeys("xyz", ccf.Real()),
        {node: ccf.mechanisms.LinearGaussian() for node in "xyz"},
    )
    for node, weight in {"x": [], "z": [], "y": [1.0, 1.0]}.items():
        scm.mechanisms[node].weight.data.copy_(torch.tensor(weight))
        scm.mechanisms[node].fitted = True
    found = effect(scm, "x", lambda rows: rows["y"] * (rows["z"] > 0), **ARROWS, given={"z": (0.0, 10.0)}, seed=0)
    assert found.value == pytest.approx(1.0, abs=1e-5)
    assert 4500 < found.draws < 5500
    none = effect(scm, "x", lambda rows: rows["y"] * (rows["z"] > 0), **ARROWS, given={"z": lambda z: z < 0}, seed=0)
    assert none.value == pytest.approx(0.0, abs=1e-5)


def test_the_effect_on_the_treated_is_that_of_their_own_values() -> None:
    scm = linear()
    rows = scm.sample(500, seed=0)
    treated = rows[rows["x"] > 1]
    found = effect_on_treated(scm, "x", "y", treated, control=0.0)
    assert found.value == pytest.approx(1.7 * float(treated["x"].mean()), abs=1e-4)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda s: effect(s, "w", "y", **ARROWS), UnknownNodeError, "no node 'w'"),
        (lambda s: effect(s, "x", "x", **ARROWS), InterventionError, "cause and outcome at once"),
        (lambda s: effect(s, "x", ("y", "red"), **ARROWS), DataError, "has no categories"),
        (lambda s: effect(s, "x", "y", **ARROWS, given={"m": (0, 1)}), DataError, "follow from 'x'"),
        (lambda s: effect(s, "m", "y", **ARROWS, given={"x": 0.0}), DataError, r"Give a range: given=\{'x'"),
        (lambda s: effect(s, "m", "y", **ARROWS, given={"x": (90, 91)}), DataError, "0 rows are left"),
        (lambda s: effect(s, "x", "y", **ARROWS, draws=1), DataError, "draws must be at least 2"),
        (lambda s: effect(s, "x", "y", **ARROWS, refits=50), DataError, "data=..."),
        (lambda s: effect(s, "x", "y", **ARROWS, refits=5, data={}), DataError, "at least 20"),
        (lambda s: effect(s, "x", lambda rows: rows["y"][:, None], **ARROWS), DataError, "one number a row"),
    ],
)
def test_what_cannot_be_asked_is_refused(ask, error, message) -> None:
    with pytest.raises(error, match=message):
        ask(linear())


def test_a_category_has_no_mean() -> None:
    scm = ccf.SCM([("x", "c")], {"x": ccf.Real(), "c": ccf.Categorical(["a", "b"])})
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    with pytest.raises(DataError, match=r"no mean. Say of which category .*\('c', 'a'\)"):
        effect(scm, "x", "c", **ARROWS)


def test_refits_speak_of_the_data() -> None:
    scm = linear()
    rows = dict(scm.sample(200, seed=0))
    fitted = ccf.SCM(
        [("x", "m"), ("x", "y"), ("m", "y")],
        dict.fromkeys("xmy", ccf.Real()),
        {node: ccf.mechanisms.LinearGaussian() for node in "xmy"},
    ).fit(rows, validation=0.1, seed=0, progress=False)
    found = effect(fitted, "x", "y", **ARROWS, refits=40, data=rows, draws=100, seed=0)
    assert found.source == "refits"
    # The standard error of the total effect by regression of y on x: sqrt(5) / sqrt(200) = .158.
    assert 0.35 < found.high - found.low < 1.0
    assert 1.7 in found
