"""Sensitivity and bounds: closed forms, laws that must not move, and worlds with a hidden cause that is known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

import causalcf as ccf
from causalcf.core.errors import DataError, InterventionError, UnknownNodeError
from causalcf.queries import (
    bounds,
    effect,
    effect_on_treated,
    mediation,
    necessity,
    sensitivity,
    with_hidden_cause,
)
from causalcf.queries.copula import normal_below
from causalcf.queries.examples import linear, switch


def on(x: str, y: str, **options):
    return lambda scm: effect(scm, x, y, treated=1.0, control=0.0, draws=100, **options)


def odds(strength: float) -> float:
    return strength / math.sqrt(1 - strength**2)


@pytest.fixture(scope="module")
def events() -> ccf.SCM:
    return switch()


def probit(strength: float) -> ccf.SCM:
    """x and y with the law of x = [h > .2], y = [s > .5 - .9 x], h and s standard normal with this correlation."""
    scm = ccf.SCM(
        [("x", "y")], {"x": ccf.Boolean(), "y": ccf.Boolean()}, {"y": ccf.mechanisms.Boolean(hidden=())}
    ).double()

    def below(h: float, s: float) -> float:
        return float(multivariate_normal.cdf([h, s], cov=[[1, strength], [strength, 1]]))

    p0 = 1 - below(0.2, 0.5) / norm.cdf(0.2)
    p1 = 1 - (norm.cdf(-0.4) - below(0.2, -0.4)) / norm.sf(0.2)
    scm.mechanisms["x"].bias.data.fill_(math.log(norm.sf(0.2) / norm.cdf(0.2)))
    layer = next(m for m in scm.mechanisms["y"].network.modules() if isinstance(m, torch.nn.Linear))
    pa = {"x": torch.tensor([False, True])}
    width = float(scm.mechanisms["y"].encoder(pa).diff(dim=0))
    logits = [math.log(p / (1 - p)) for p in (p0, p1)]
    layer.weight.data.fill_((logits[1] - logits[0]) / width)
    layer.bias.data.zero_()
    layer.bias.data.fill_(logits[0] - float(scm.mechanisms["y"].logits(pa)[0]))
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    return scm


def test_the_bivariate_normal_is_scipys() -> None:
    h, k = (torch.from_numpy(np.random.default_rng(seed).normal(size=40) * 1.5) for seed in (0, 1))
    for strength in (-0.9, -0.3, 0.0, 0.5, 0.95):
        wanted = [
            multivariate_normal.cdf([a, b], cov=[[1, strength], [strength, 1]]) for a, b in zip(h, k, strict=True)
        ]
        assert np.allclose(normal_below(h, k, strength), wanted, atol=2e-6)
    assert float(normal_below(torch.tensor([math.inf]), torch.tensor([1.0]), 0.5)) == pytest.approx(norm.cdf(1.0))


def test_the_linear_effect_is_the_closed_form_and_turns_at_the_correlation() -> None:
    found = sensitivity(linear(), on("x", "m"), confounded=("m", "x"))
    for strength, estimate in zip(found.strengths, found.estimates, strict=True):
        assert estimate.value == pytest.approx(0.6 - odds(strength), abs=1e-5)
    assert found.turns == pytest.approx(0.6 / math.sqrt(1.36), abs=2e-3)
    assert found.pair == ("x", "m")
    assert "0.6 at strength 0 of a hidden cause of x and m" in repr(found)
    assert "at 0.51 it crosses 0" in repr(found)


def test_what_follows_from_the_effect_moves_with_it() -> None:
    found = sensitivity(linear(), on("x", "y"), confounded=("x", "m"), strength=[-0.5, 0.0, 0.5], conclusion=1.0)
    assert [e.value for e in found.estimates] == pytest.approx(
        [1.7 + 2 * odds(0.5), 1.7, 1.7 - 2 * odds(0.5)], abs=1e-5
    )
    assert odds(found.turns) == pytest.approx(0.35, abs=3e-3), "where 1.7 - 2 odds = 1"


def test_a_hidden_cause_of_mediator_and_outcome_moves_paths_and_not_the_total() -> None:
    for part, slope in (("direct", 0.6), ("indirect", -0.6), ("total", 0.0)):
        found = sensitivity(
            linear(), lambda m, part=part: mediation(m, "x", "m", "y", draws=100)[part], confounded=("m", "y"),
            strength=[0.0, 0.5],
        )  # fmt: skip
        assert found.at(0.5).value - found.at(0.0).value == pytest.approx(slope * odds(0.5), abs=1e-5)


def test_a_conclusion_that_holds_at_all_strengths_asked_does_not_turn() -> None:
    found = sensitivity(linear(), on("x", "m"), confounded=("x", "m"), strength=[-0.4, 0.0, 0.4])
    assert found.turns is None
    assert "stays on its side of 0" in repr(found)


def test_the_law_of_what_is_observed_is_that_of_the_model(events) -> None:
    plain, other = linear().sample(20_000, seed=0), with_hidden_cause(linear(), ("m", "y"), 0.8).sample(20_000, seed=1)
    ours, theirs = (np.cov(np.stack([rows[v].numpy() for v in "xmy"])) for rows in (plain, other))
    assert np.allclose(ours, theirs, rtol=0.06, atol=0.06)
    drawn = with_hidden_cause(events, ("x", "y"), 0.8).sample(40_000, seed=1)
    for x, p in ((True, 0.8), (False, 0.3)):
        # Within four standard errors of .0035, and .02 for the fit of `switch`.
        assert float(drawn["y"][drawn["x"] == x].double().mean()) == pytest.approx(p, abs=0.035)


def test_at_the_strength_of_the_world_the_answer_is_the_worlds() -> None:
    """Data made with noises that go together by .6: at strength .6 the model gives the effect that made them."""
    h, e = torch.randn(2, 50_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, y = h, 1.2 * h + 0.6 * h + 0.8 * e
    nodes = {node: ccf.mechanisms.LinearGaussian() for node in "xy"}
    scm = ccf.SCM([("x", "y")], dict.fromkeys("xy", ccf.Real()), nodes).fit({"x": x, "y": y}, seed=0, progress=False)
    found = sensitivity(scm, on("x", "y"), confounded=("x", "y"), strength=[0.0, 0.6])
    assert found.at(0.0).value == pytest.approx(1.8, abs=0.02)
    assert found.at(0.6).value == pytest.approx(1.2, abs=0.02)


@pytest.mark.parametrize("strength", [-0.7, 0.6])
def test_events_at_the_strength_of_the_world(strength) -> None:
    """x = [h > .2], y = [s > .5 - .9 x]: the effect is P(s > -.4) - P(s > .5), whatever goes together."""
    scm = probit(strength)

    def ask(model):
        return effect(model, "x", "y", treated=True, control=False, draws=40_000)

    found = sensitivity(scm, ask, confounded=("x", "y"), strength=[0.0, strength])
    truth = norm.sf(-0.4) - norm.sf(0.5)
    assert abs(found.at(0.0).value - truth) > 0.15
    assert found.at(strength).value == pytest.approx(truth, abs=0.01)
    # One unit's two worlds: y_1 and not y_0 is -.4 < s < .5.
    both = necessity(with_hidden_cause(scm, ("x", "y"), strength), "x", "y").both
    assert both.value == pytest.approx(norm.cdf(0.5) - norm.cdf(-0.4), abs=0.01)


def test_observed_rows_keep_the_noise_that_gave_them(events) -> None:
    """Rows need no hidden cause; acting as they were changes nothing; on the treated, the closed form."""
    scm = with_hidden_cause(linear(), ("x", "m"), 0.5)
    rows = linear().sample(50, seed=0)
    same = scm.counterfactual(rows, do={"x": rows["x"]})
    assert torch.allclose(same["y"], rows["y"], atol=1e-5)
    treated = rows[rows["x"] > 1]
    found = effect_on_treated(scm, "x", "m", treated, control=0.0)
    assert found.value == pytest.approx((0.6 - odds(0.5)) * float(treated["x"].mean()), abs=1e-4)
    model = with_hidden_cause(events, ("x", "y"), -0.6)
    rows = events.sample(300, seed=1)
    same = model.counterfactual(rows, do={"x": rows["x"]}, seed=0)
    assert bool((same["y"] == rows["y"]).all())
    noise = model.abduct(rows, seed=0)
    again = model.predict(noise, recompute="all")
    assert bool((again["x"] == rows["x"]).all() & (again["y"] == rows["y"]).all())


def test_categories_run_in_their_order() -> None:
    scm = ccf.SCM([("c", "o")], {"c": ccf.Categorical(["a", "b", "d"]), "o": ccf.Ordinal(3)})
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    base = scm.sample(20_000, seed=0)
    drawn = with_hidden_cause(scm, ("c", "o"), 0.7).sample(20_000, seed=3)
    for c in range(3):
        ours, theirs = (torch.bincount(rows["o"][rows["c"] == c], minlength=3) for rows in (base, drawn))
        assert torch.allclose(ours / ours.sum(), theirs / theirs.sum(), atol=0.03)

    def ask(model):
        return effect(model, "c", lambda rows: rows["o"].double(), treated=2, control=0, draws=4000)

    found = sensitivity(scm, ask, confounded=("c", "o"), strength=[0.0, 0.7])
    # Undone by acting: a high c no longer comes with a high o. Equal thirds: the means differ by what went together.
    assert found.at(0.7).value < found.at(0.0).value - 0.5


def test_the_curve_is_drawn(tmp_path) -> None:
    found = sensitivity(linear(), on("x", "m"), confounded=("x", "m"))
    ax = found.plot().axes[0]
    assert any("turns at 0.51" in text.get_text() for text in ax.texts)
    assert ax.get_xlabel() == "strength of a hidden cause of x and m (correlation of the noises)"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"confounded": ("x", "w")}, UnknownNodeError, "no node 'w'"),
        ({"confounded": "xy"}, InterventionError, r"name two nodes, confounded=\('x', 'y'\)"),
        ({"strength": [0.0, 1.0]}, DataError, "between -1 and 1"),
        ({"strength": [0.0]}, DataError, "at least two"),
        ({"query": lambda m: mediation(m, "x", "m", "y", draws=50)}, DataError, "gives Estimates, .*take a part"),
    ],
)
def test_what_cannot_be_asked_is_refused(change, error, message) -> None:
    asked = {"query": on("x", "m"), "confounded": ("x", "m"), **change}
    with pytest.raises(error, match=message):
        sensitivity(linear(), asked.pop("query"), **asked)


def test_a_strength_needs_an_arrow_and_one_noise() -> None:
    scm = ccf.SCM(
        [("x", "y"), ("x", "v"), ("x", "w")],
        {"x": ccf.Real(), "y": ccf.Real(), "v": ccf.Vector(2), "w": ccf.Count()},
    )
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    with pytest.raises(InterventionError, match=r"neither is a parent of the other.*ccf.trust_report"):
        with_hidden_cause(scm, ("y", "v"), 0.5)
    with pytest.raises(DataError, match=r"'v' is a Vector.*its noise is not one number"):
        with_hidden_cause(scm, ("x", "v"), 0.5)
    with pytest.raises(DataError, match=r"'w' is a Count.*its noise is not one number"):
        with_hidden_cause(scm, ("x", "w"), 0.5)


# ---------------------------------------------------------------------- bounds


def test_bounds_are_the_formula_and_hold_the_truth_of_worlds_that_look_alike(events) -> None:
    rows = events.sample(4000, seed=0)
    found = bounds(events, "x", "y", data=rows)
    x, y = rows["x"], rows["y"]
    assert found.treated_low.value == pytest.approx(float((x & y).double().mean()))
    assert found.treated_high.value == pytest.approx(1 - float((x & ~y).double().mean()))
    assert found.control_high.value == pytest.approx(1 - float((~x & ~y).double().mean()))
    assert found.effect_high.value - found.effect_low.value == pytest.approx(1.0)
    assert found.treated_low.draws == 4000
    assert bounds(events, "x", "y", draws=4000).treated_low.value == pytest.approx(found.treated_low.value, abs=0.03)
    for strength in (-0.9, 0.0, 0.9):
        model = with_hidden_cause(events, ("x", "y"), strength)
        moved = effect(model, "x", "y", treated=True, control=False, draws=4000).value
        assert found.effect_low.value - 0.03 < moved < found.effect_high.value + 0.03


def test_bounds_are_met_by_worlds_at_the_ends() -> None:
    """x = [h > 0], y = [s > t_x] with s = h: all that x does not show is as high, or as low, as it can be."""
    scm = probit(0.6)
    found = bounds(scm, "x", "y", draws=40_000)
    high = effect(with_hidden_cause(scm, ("x", "y"), -0.99), "x", ("y", True), treated=True, control=False).value
    assert high == pytest.approx(found.effect_high.value, abs=0.05)


def test_bounds_of_numbers_need_a_threshold(events) -> None:
    scm = linear()
    with pytest.raises(DataError, match="'x' is a Real"):
        bounds(scm, "x", "y", treated=1.0, control=0.0, above=0.0)
    with pytest.raises(DataError, match="not an event"):
        bounds(scm, "x", "y", treated=lambda x: x > 0, control=lambda x: x <= 0)
    found = bounds(scm, "x", "y", treated=lambda x: x > 0, control=lambda x: x <= 0, above=0.0)
    assert 0 < found.treated_low.value < found.treated_high.value < 1
    with pytest.raises(InterventionError, match="cause and outcome at once"):
        bounds(events, "x", "x")
