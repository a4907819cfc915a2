"""`causalcf ask`: the queries as commands."""

import json

import pytest

from causalcf.queries.examples import linear, switch


def test_an_effect_is_printed_and_written(run, tmp_path):
    words = ["ask", "effect", "morphomnist-vae", "thickness", "intensity", "--treated", "4", "--control", "2"]
    code, out, _ = run(*words, "--draws", "500", "--out", str(tmp_path / "effect.json"))
    assert code == 0
    assert "effect of thickness on intensity: 12" in out
    assert "no two nodes share a hidden cause" in out
    written = json.loads((tmp_path / "effect.json").read_text())
    assert 120 < written["estimates"]["effect"]["value"] < 135
    assert written["provenance"]["seed"] == 0


def test_answers_are_drawn(run, tmp_path):
    words = ["ask", "quantiles", "morphomnist-vae", "intensity", "--do", "thickness=4", "--draws", "100"]
    code, out, _ = run(*words, "--out", str(tmp_path / "q.png"))
    assert code == 0
    assert "quantile 0.5: 24" in out
    assert (tmp_path / "q.png").stat().st_size > 5000


def test_a_curve_over_hidden_causes_is_printed_and_drawn(run, tmp_path):
    linear().save(tmp_path / "m.safetensors")
    curve = tmp_path / "curve.png"
    code, out, _ = run("ask", "sensitivity", str(tmp_path / "m.safetensors"), "x", "m", "--out", str(curve))
    assert code == 0
    assert "effect of x on m: 0.6 at strength 0 of a hidden cause of x and m" in out
    assert "at 0.51 it crosses 0" in out
    assert curve.stat().st_size > 5000


def test_bounds_are_printed(run, tmp_path):
    switch().save(tmp_path / "m.safetensors")
    code, out, _ = run("ask", "bounds", str(tmp_path / "m.safetensors"), "x", "y", "--draws", "2000")
    assert code == 0
    assert "effect, low: -0.2" in out
    assert "hidden causes may be any" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["effect", "morphomnist-vae", "width", "intensity"], "no node 'width'"),
        (["effect", "morphomnist-vae", "thickness", "digit"], "('digit', '0')"),
        (["mediation", "morphomnist-vae", "intensity", "thickness", "digit=3"], "does not mediate"),
        (["necessity", "morphomnist-vae", "digit", "intensity", "--treated", "3", "--control", "1"], "not an event"),
        (["sensitivity", "morphomnist-vae", "digit", "intensity"], "neither is a parent of the other"),
        (["sensitivity", "morphomnist-vae", "thickness", "intensity", "--out", "c.json"], "the curve is drawn, .png"),
        (["quantiles", "morphomnist-vae", "intensity", "--out", "q.txt", "--draws", "50"], ".json, or draw it"),
    ],
)
def test_what_cannot_be_asked_ends_with_one_line(run, words, message):
    code, _, err = run("ask", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
