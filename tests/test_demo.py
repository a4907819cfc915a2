"""`causalcf demo` from nothing to a scored counterfactual, at one epoch."""

import json

import matplotlib.image
import pytest

import causalcf as ccf
from causalcf.cli import demo
from causalcf.cli.demo import effect_on_intensity, run_demo


class Few(ccf.datasets.Digits):
    """The first digits of each split, so that the demo takes seconds."""

    def __init__(self, split):
        super().__init__(split)
        rows = self[: {"train": 600, "test": 60}[split]]
        self._values, self.rows, self.index = dict(rows), rows.rows, rows.index


def test_the_demo_leaves_pictures_scores_and_a_model(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(demo, "Digits", Few)
    monkeypatch.setattr(demo, "VAE", lambda: ccf.mechanisms.VAE(latent=4, widths=(8, 8, 8)))
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
    assert ccf.Records.from_json(document) == records
    assert document["provenance"]["seed"] == 1
    # Attributes are well fitted whatever the image's epochs: the truth is known, so this is a real test.
    intensity = records.one(metric="truth error", do="thickness", node="intensity", residual=1.0)
    assert intensity.value < 6 < intensity.identity / 4
    assert records.one(metric="composition(1)", residual=1.0).value < 1e-3
    for row in document["effect"]:
        assert row["model"] == pytest.approx(row["truth"], abs=12)

    scm = ccf.SCM.load(out / "model.safetensors")
    assert effect_on_intensity(scm, Few("test")) == document["effect"]
