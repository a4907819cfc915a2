"""`causalcf ask`: the queries as commands."""

import json

import pytest


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["effect", "morphomnist-vae", "width", "intensity"], "no node 'width'"),
        (["effect", "morphomnist-vae", "thickness", "digit"], "('digit', '0')"),
        (["mediation", "morphomnist-vae", "intensity", "thickness", "digit=3"], "does not mediate"),
        (["necessity", "morphomnist-vae", "digit", "intensity", "--treated", "3", "--control", "1"], "not an event"),
        (["quantiles", "morphomnist-vae", "intensity", "--out", "q.txt", "--draws", "50"], ".json, or draw it"),
    ],
)
def test_what_cannot_be_asked_ends_with_one_line(run, words, message):
    code, _, err = run("ask", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
