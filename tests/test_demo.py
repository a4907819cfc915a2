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
    monkeypatch.setattr(demo, "SMALL", ccf.mechanisms.VAE(latent=4, widths=(8, 8, 8)))
    out = tmp_path / "new" / "demo"
    records = run_demo(out, seed=1, epochs=1, progress=False)
    names = {"first.png", "counterfactuals.png", "graph.png", "training.png", "scores.json", "model.safetensors"}
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
    assert len({record["epoch"] for record in scm.history if record["node"] == "intensity"}) == demo.NUMBER_EPOCHS


class ReachedError(Exception):
    """Fitting was about to begin."""


def test_the_first_picture_is_there_and_named_before_anything_is_fitted(tmp_path, capsys, monkeypatch):
    def fit(*_, **__):
        raise ReachedError

    drawn = []
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(demo, "Digits", lambda split: drawn.append(split) or Few(split))
    monkeypatch.setattr(ccf.SCM, "fit", fit)
    picture, whole = demo.plot_counterfactual, []
    monkeypatch.setattr(
        demo, "plot_counterfactual", lambda cf, truth: whole.append((cf, truth)) or picture(cf, truth=truth)
    )
    with pytest.raises(ReachedError):
        run_demo(tmp_path / "demo", progress=False)
    printed = capsys.readouterr().out
    assert str(tmp_path / "demo" / "first.png") in printed
    assert matplotlib.image.imread(tmp_path / "demo" / "first.png")[..., :3].std() > 0.02
    assert drawn == ["test", "train"]
    assert printed.index("first.png") < printed.index("600 + 60 handwritten digits"), (
        "before the training digits are drawn"
    )
    # The shipped model has never seen these digits: what it answers is near the truth that is drawn beside it.
    (cf, truth), *more = whole
    assert not more
    for world, true in enumerate(truth):
        error = 255 * (cf["image"][world] - true["image"]).abs().mean()
        assert error < 255 * (cf.factual["image"] - true["image"]).abs().mean() / 3


@pytest.mark.parametrize("do", [1.0, 3.0, 5.0])
def test_the_effect_is_what_a_whole_counterfactual_says(do):
    test, scm = Few("test"), ccf.pretrained("morphomnist-vae")
    (row,) = [row for row in effect_on_intensity(scm, test) if row["thickness"] == do]
    assert row["model"] == pytest.approx(
        float(scm.counterfactual(test[:], do={"thickness": do})["intensity"].mean()), rel=1e-6
    )
    assert row["truth"] == pytest.approx(float(test.truth(test[:], do={"thickness": do})["intensity"].mean()), rel=1e-6)
