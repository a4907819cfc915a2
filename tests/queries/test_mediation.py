"""Mediation, necessity, laws and attributions against closed forms and counting."""

from math import log

import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, GraphError, InterventionError
from causalcf.queries import (
    attribute_change,
    attribute_outlier,
    density,
    mediation,
    necessity,
    quantiles,
    shapley,
)
from causalcf.queries.examples import linear, switch


def test_in_linear_models_direct_and_indirect_add_up() -> None:
    found = mediation(linear(), "x", "m", "y", treated=1.0, control=0.0)
    assert found.direct.value == pytest.approx(0.5, abs=1e-5)
    assert found.indirect.value == pytest.approx(1.2, abs=1e-5)
    assert found.total.value == pytest.approx(1.7, abs=1e-5)
    assert found.interaction.value == pytest.approx(0.0, abs=1e-5)


def test_what_takes_both_at_once_is_the_interaction() -> None:
    # y = m * x with m = .6 x + u: Y_{x1} - Y_{x0} = .6 + u, both natural effects 0 or u.
    found = mediation(linear(), "x", "m", lambda rows: rows["m"] * rows["x"], draws=40_000)
    assert found.direct.value == pytest.approx(0.0, abs=0.02), "E[M_0] = 0"
    assert found.indirect.value == pytest.approx(0.0, abs=1e-6)
    assert 0.6 in found.total
    assert found.interaction.value == pytest.approx(0.6, abs=1e-5)


def test_the_controlled_effect_holds_the_mediator() -> None:
    found = mediation(linear(), "x", "m", lambda rows: rows["m"] * rows["x"], mediator=3.0)
    assert found.controlled.value == pytest.approx(3.0, abs=1e-5)


def test_a_mediator_is_an_effect() -> None:
    with pytest.raises(InterventionError, match="'x' does not mediate 'm'"):
        mediation(linear(), "m", "x", "y")
    with pytest.raises(InterventionError, match="'y' does not mediate"):
        mediation(linear(), "x", "y", "y")


def test_probabilities_of_causation_follow_from_one_another() -> None:
    # Without confounding, with monotone noise: PNS = P(y|x) - P(y|not x), PN = PNS / P(y|x), PS = PNS / P(not y|not x).
    found = necessity(switch(), "x", "y", draws=40_000, seed=0)
    on, off = 0.8, 0.3
    assert found.both.value == pytest.approx(on - off, abs=0.03)
    assert found.necessity.value == pytest.approx((on - off) / on, abs=0.04)
    assert found.sufficiency.value == pytest.approx((on - off) / (1 - off), abs=0.04)
    assert found.both_low.value <= found.both.value + 0.01
    assert found.both.value <= found.both_high.value + 0.01
    assert found.both_high.value == pytest.approx(min(on, 1 - off), abs=0.03)


def test_an_event_is_needed() -> None:
    with pytest.raises(DataError, match="not an event, true or false"):
        necessity(linear(), "m", "y", treated=(0.0, 1.0), control=(-1.0, 0.0))


def _density(law: torch.distributions.Normal, level: str) -> float:
    return float(law.log_prob(law.icdf(torch.tensor(float(level)))).exp())


def test_quantiles_after_acting_are_the_normals() -> None:
    found = quantiles(linear(), "y", do={"x": 1.0}, at=[0.25, 0.5, 0.9], draws=40_000)
    law = torch.distributions.Normal(1.7, 5**0.5)
    for level, estimate in found.items():
        error = (estimate.high - estimate.low) / (2 * 1.96)
        assert abs(float(law.icdf(torch.tensor(float(level)))) - estimate.value) < 4.5 * error, level
        assert error == pytest.approx(
            (float(level) * (1 - float(level)) / 40_000) ** 0.5 / _density(law, level), rel=0.2
        )
    with pytest.raises(DataError, match="between 0 and 1"):
        quantiles(linear(), "y", at=[0.5, 1.0])


@pytest.mark.parametrize(("y", "tolerance"), [("y", 3e-3), (lambda rows: rows["y"], 2e-2)], ids=["exact", "kernel"])
def test_the_density_after_acting_is_the_normals(y, tolerance) -> None:
    grid = torch.linspace(-4, 8, 25)
    found = density(linear(), y, grid, do={"x": 1.0})
    truth = torch.distributions.Normal(1.7, 5**0.5).log_prob(grid).exp()
    assert torch.allclose(found, truth.double(), atol=tolerance)


def test_shares_are_shapleys() -> None:
    # The glove game: a and b have left gloves, c the right one; a pair is worth 1 (Shapley: 1/6, 1/6, 4/6).
    shares = shapley("abc", lambda s: torch.tensor(float("c" in s and len(s) > 1)))
    assert [round(float(v), 6) for v in shares.values()] == [round(1 / 6, 6), round(1 / 6, 6), round(4 / 6, 6)]
    with pytest.raises(DataError, match=r"2\^11 coalitions"):
        shapley("abcdefghijk", lambda _: torch.tensor(0.0))


def test_a_changed_mechanism_has_the_whole_change() -> None:
    old, new = linear(), linear()
    new.mechanisms["m"].intercept.data.fill_(1.0)
    new.mechanisms["x"].intercept.data.fill_(0.5)
    found = attribute_change(old, new, "y", draws=2000)
    assert found.m.value == pytest.approx(2.0, abs=1e-5)
    assert found.x.value == pytest.approx(0.85, abs=1e-5)
    assert found.y.value == pytest.approx(0.0, abs=1e-6)
    assert found.total.value == pytest.approx(2.85, abs=1e-5)
    with pytest.raises(GraphError, match="different graphs"):
        attribute_change(old, switch(), "y")


def test_an_outlier_is_blamed_on_its_noise() -> None:
    rows = {"x": [0.0, 3.0, 0.0], "m": [4.0, 1.8, 0.0], "y": [8.0, 5.1, 7.0]}
    shares = attribute_outlier(linear(), "y", rows, draws=1500)
    blamed = [max("xmy", key=lambda node: float(shares[node][i])) for i in range(3)]
    assert blamed == ["m", "x", "y"]
    assert torch.allclose(shares["x"] + shares["m"] + shares["y"], shares["score"])
    # y ~ N(0, .25 + 4 (.36 + 1) + 2 * .5 * 2 * .6 + 1): the score of 8 is minus the log of its two-sided tail.
    scale = (1.7**2 + 4 + 1) ** 0.5
    tail = 2 * (1 - torch.distributions.Normal(0.0, scale).cdf(torch.tensor(8.0)))
    assert float(shares["score"][0]) == pytest.approx(-log(float(tail)), abs=0.35)


def test_estimates_are_drawn(tmp_path) -> None:
    figure = mediation(linear(), "x", "m", "y", draws=100).plot()
    figure.savefig(tmp_path / "estimates.png")
    assert (tmp_path / "estimates.png").stat().st_size > 5000


def test_images_are_read_by_functions() -> None:
    scm = ccf.pretrained("morphomnist-vae")
    ink = ccf.queries.effect(
        scm, "thickness", lambda rows: rows["image"].flatten(1).sum(1), treated=4.0, control=2.0, draws=60
    )
    assert ink.low > 0, "thicker strokes have more ink"
    with pytest.raises(DataError, match="what to read off it"):
        ccf.queries.effect(scm, "thickness", "image", treated=4.0, control=2.0, draws=60)
