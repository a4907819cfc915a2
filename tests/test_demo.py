"""`causalcf demo` from nothing to a scored counterfactual, at one epoch."""

import json

import matplotlib.image
import pytest

import causalcf as ccf
from causalcf.demo import effect_on_intensity, run_demo


def test_the_demo_leaves_pictures_scores_and_a_model(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    out = tmp_path / "new" / "demo"
    records = run_demo(out, seed=1, epochs=1, progress=False)
    names = {"counterfactuals.png", "graph.png", "training.png", "scores.json", "model.safetensors"}
    assert {path.name for path in out.iterdir()} == names
    for picture in out.glob("*.png"):
        assert matplotlib.image.imread(picture)[..., :3].std() > 0.02

    printed = capsys.readouterr().out
    assert all(name in "".join(printed.split()) for name in names)
    assert "Effect on intensity" in printed

    document = json.loads((out / "scores.json").read_text())
    assert document["records"] == json.loads(json.dumps(records))
    assert document["provenance"]["seed"] == 1
    scored = {(r["metric"], r["do"], r["node"], r["residual"]): r for r in records}
    # Attributes are well fitted whatever the image's epochs: the truth is known, so this is a real test.
    intensity = scored["truth error", "thickness", "intensity", 1.0]
    assert intensity["value"] < 4 < intensity["doing_nothing"]
    assert scored["composition(1)", "", "image", 1.0]["value"] < 1e-3
    for row in document["effect"]:
        assert row["model"] == pytest.approx(row["truth"], abs=12)

    scm = ccf.SCM.load(out / "model.safetensors")
    assert effect_on_intensity(scm, ccf.datasets.Digits("test")) == document["effect"]
