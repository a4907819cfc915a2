"""Anti-causal predictors: they learn, keep their word about themselves, and refuse what they cannot do."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import causalcf as ccf
from causalcf import predictors
from causalcf.core.errors import (
    CheckpointError,
    DataError,
    GraphError,
    MechanismError,
    NotFittedError,
    UnknownNodeError,
)
from causalcf.mechanisms import Recipe
from causalcf.predictors import Ensemble, Jitter, Predictor, Predictors

RECIPE = Recipe(epochs=12, batch_size=64, lr=5e-3, warmup=20, ema=0.9)
SMALL = {"widths": (8, 8, 16, 16), "hidden": 32}


def _predictor(target: str, **options: object) -> Predictor:
    variables = ccf.datasets.Bars(2).variables
    return Predictor(target, variables[target], variables["image"], **SMALL, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bars() -> ccf.datasets.Bars:
    return ccf.datasets.Bars(1500, seed=1)


@pytest.fixture(scope="module")
def judges(bars: ccf.datasets.Bars) -> Predictors:
    given = {"brightness": bars.variables["brightness"]}
    made = [_predictor("width", given=given), _predictor("brightness"), _predictor("side")]
    test = ccf.datasets.Bars(300, seed=2)
    for predictor in made:
        predictors.fit(predictor, bars, recipe=RECIPE, test=test, name="bars", progress=False)
    return Predictors(made)


def test_they_learn(judges: Predictors) -> None:
    """Far better than the best constant: mean absolute deviations are 1 px and about 45 grey levels."""
    width, brightness, side = (judges[node].score for node in ("width", "brightness", "side"))
    assert width is not None
    assert width.value < 0.25
    assert brightness is not None
    assert brightness.value < 10
    assert side is not None
    assert side.value > 0.98
    assert (width.metric, side.metric, width.unit, width.n, width.data) == ("mae", "accuracy", "px", 300, "bars test")


def test_training_repeats(bars: ccf.datasets.Bars) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1)
    twice = [
        predictors.fit(_predictor("width"), bars[:200], recipe=recipe, seed=3, progress=False).signature
        for _ in range(2)
    ]
    assert twice[0] == twice[1]


def test_a_checkpoint_that_is_refused_costs_no_weights(bars: ccf.datasets.Bars, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1)
    judge = predictors.fit(_predictor("side"), bars[:100], recipe=recipe, progress=False)
    before, path = judge.signature, tmp_path / "a.checkpoint"
    path.write_bytes(b"of another run")
    with pytest.raises(CheckpointError, match="exists already"):
        predictors.fit(judge, bars[:100], recipe=recipe, seed=1, checkpoint=path, progress=False)
    assert judge.signature == before


def test_arrays_serve_as_tensors_do(bars: ccf.datasets.Bars) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1)
    given = {"brightness": bars.variables["brightness"]}
    arrays = {node: value.numpy() for node, value in bars[:100].items()}
    fitted = [
        predictors.fit(_predictor("side", given=given), rows, test=rows, recipe=recipe, progress=False)
        for rows in (bars[:100], arrays)
    ]
    assert fitted[0].signature == fitted[1].signature
    assert fitted[0].score == fitted[1].score
    both = Ensemble(fitted)
    assert torch.equal(both.read(arrays), both.read(bars[:100]))
    with pytest.raises(DataError, match="'image' has NaN or infinite values in 100 of 100 rows"):
        predictors.fit(fitted[0], {**arrays, "image": np.full_like(arrays["image"], np.nan)})


def test_a_killed_run_resumes(bars: ccf.datasets.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=3)
    options = {"recipe": recipe, "progress": False, "checkpoint": tmp_path / "a.checkpoint"}
    whole = predictors.fit(_predictor("side"), bars[:200], recipe=recipe, progress=False)

    write, calls = ccf.training.resume.write_file, []

    def killed(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ccf.training.resume, "write_file", killed)
    with pytest.raises(KeyboardInterrupt):
        predictors.fit(_predictor("side"), bars[:200], **options)  # type: ignore[arg-type]
    monkeypatch.setattr(ccf.training.resume, "write_file", write)
    resumed = predictors.fit(_predictor("side"), bars[:200], resume=True, **options)  # type: ignore[arg-type]
    assert resumed.signature == whole.signature


def test_a_file_gives_the_same_predictor(judges: Predictors, tmp_path: Path) -> None:
    width, test = judges["width"], ccf.datasets.Bars(50, seed=3)
    width.save(tmp_path / "width.safetensors", half=False)
    again = Predictor.load(tmp_path / "width.safetensors")
    assert again.signature == width.signature
    assert again.score == width.score
    torch.testing.assert_close(again.read(test), width.read(test), rtol=0, atol=0)
    width.save(tmp_path / "half.safetensors")
    half = Predictor.load(tmp_path / "half.safetensors")
    assert half.signature == width.signature, "storing in half precision keeps the signature"
    torch.testing.assert_close(half.read(test), width.read(test), rtol=0, atol=0.02)


def test_parts_share_no_rows(judges: Predictors, bars: ccf.datasets.Bars) -> None:
    tune, judge = predictors.part(bars.rows, "tune"), predictors.part(bars.rows, "judge")
    assert not set(tune.tolist()) & set(judge.tolist())
    assert len(tune) + len(judge) == bars.rows
    assert judges["width"].trained_share(judge) == 1
    assert judges["width"].trained_share(tune) == 0
    assert judges["width"].trained_share(torch.tensor([10**6])) == 0


def test_the_mode_does_not_matter_and_is_put_back(judges: Predictors) -> None:
    test, side = ccf.datasets.Bars(20, seed=4), judges["width"]
    said = side.read(test)
    side.train()
    torch.testing.assert_close(side.read(test), said, rtol=0, atol=0)
    assert side.training
    side.eval()


def test_a_batch_gives_what_single_rows_give(judges: Predictors) -> None:
    test = ccf.datasets.Bars(9, seed=4)
    singly = torch.cat([judges["width"].read(test[[i]]) for i in range(test.rows)])
    torch.testing.assert_close(judges["width"].read(test), singly)


def test_jitter_keeps_labels_true() -> None:
    """A bar twice as bright is a bar of twice the brightness; a shift moves it and nothing else."""
    image = torch.zeros(64, 1, 8, 8)
    image[:, :, 3:5, 3:5] = 0.5
    changed, columns = Jitter(2, 0.25, ("b",))(image, {"b": torch.full((64,), 127.5), "t": torch.ones(64)})
    torch.testing.assert_close(changed.flatten(1).amax(1) * 255, columns["b"])
    assert len(columns["b"].unique()) > 10
    assert bool((columns["t"] == 1).all())
    torch.testing.assert_close(changed.sum((1, 2, 3)), 4 * columns["b"] / 255)
    assert len(changed.sum((1, 2)).argmax(1).unique()) > 2


def test_one_look_serves_any_reading(judges: Predictors, bars: ccf.datasets.Bars) -> None:
    """A judge, and an ensemble of judges of different widths, read the same off what they saw as off the images."""
    first, image = judges["side"], bars.variables["image"]
    wide: Any = Predictor("side", bars.variables["side"], image, widths=(4, 8, 12), hidden=8)  # type: ignore[arg-type]
    test = ccf.datasets.Bars(50, seed=5)
    for judge in (*judges.values(), Ensemble([first, wide])):
        with torch.no_grad():
            pooled = judge.pooled(test["image"])
        assert torch.equal(judge.read({**test, "image": pooled}), judge.read(test))
        told = {name: test[name] for name in judge.given}
        assert torch.equal(judge.features(pooled, told), judge.features(test["image"], told))


def test_an_ensemble_judges_together(judges: Predictors, bars: ccf.datasets.Bars) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=4)
    others = [predictors.fit(_predictor("side"), bars, recipe=recipe, seed=s, progress=False) for s in (1, 2)]
    together, test = Ensemble([judges["side"], *others]), ccf.datasets.Bars(100, seed=5)
    assert float((together.read(test) == test["side"]).double().mean()) > 0.9
    assert together.spread(test).shape == (100,)
    assert together.signature.count("+") == 2
    assert dict(Predictors([together]))["side"] is together
    with pytest.raises(DataError, match="one law"):
        Ensemble([judges["side"], judges["width"]])


def test_judges_that_come_along_keep_the_promise() -> None:
    """On the real test set: digits .990, intensity 1.5 grey levels, thickness given intensity .075 px."""
    shipped = predictors.pretrained("morphomnist")
    scores = {node: shipped[node].score for node in ("digit", "intensity", "thickness")}
    assert all(score is not None and score.n == 10_000 for score in scores.values())
    assert scores["digit"].value >= 0.990  # type: ignore[union-attr]
    assert scores["intensity"].value <= 1.5  # type: ignore[union-attr]
    assert scores["thickness"].value <= 0.075  # type: ignore[union-attr]
    assert list(shipped["thickness"].given) == ["intensity"]


def test_their_recorded_scores_are_what_one_measures(data_root: Path) -> None:
    test = ccf.datasets.MorphoMNIST(data_root, "test")[:1000]
    for node, predictor in predictors.pretrained("morphomnist").items():
        measured = predictor.measure(test)
        assert predictor.score is not None
        # 1000 of the 10,000 rows: five standard errors; errors spread at most 1.5 times their mean
        tolerance = 5 * (0.1 if node == "digit" else 1.5 * predictor.score.value) / 1000**0.5
        assert abs(measured.value - predictor.score.value) < tolerance


def test_bad_input() -> None:
    bars = ccf.datasets.Bars(100)
    variables = bars.variables
    with pytest.raises(DataError, match=r"there is nothing to predict"):
        predictors.fit(_predictor("width"), {**bars, "width": torch.ones(100)}, progress=False)
    with pytest.raises(DataError, match=r"'side' has one class"):
        predictors.fit(_predictor("side"), {**bars, "side": torch.ones(100).long()}, progress=False)
    with pytest.raises(DataError, match=r"lack \['width'\]"):
        predictors.fit(_predictor("width"), {"image": bars["image"]}, progress=False)
    with pytest.raises(MechanismError, match=r"takes a scalar"):
        Predictor("image", variables["image"], variables["image"])  # type: ignore[arg-type]
    with pytest.raises(NotFittedError, match="not fitted"):
        _predictor("width").save("nowhere.safetensors")
    with pytest.raises(DataError, match=r"takes images \(1, 16, 16\)"):
        _predictor("width").predict(torch.zeros(1, 1, 8, 8))
    with pytest.raises(DataError, match=r"must be given \['brightness'\]"):
        _predictor("width", given={"brightness": variables["brightness"]}).predict(bars["image"])
    with pytest.raises(UnknownNodeError, match=r"no judge predictors of 'nothing'.*causalcf predictors nothing"):
        predictors.pretrained("nothing")
    with pytest.raises(DataError, match=r"no part 'half'"):
        predictors.part(3, "half")  # type: ignore[arg-type]
    with pytest.raises(MechanismError, match="no classes"):
        _predictor("width").probabilities(bars["image"])


def test_a_predictor_for_another_graph(judges: Predictors) -> None:
    with pytest.raises(GraphError, match=r"for another graph: .*'width'"):
        judges.check(ccf.load_graph("morphomnist").variables)
    two = {**ccf.datasets.Bars(2).variables, "side": ccf.Categorical(2)}
    with pytest.raises(GraphError, match=r"q\(side \| image\) is for another graph"):
        judges.check(two)
    with pytest.raises(UnknownNodeError, match="no predictor of 'height'"):
        judges["height"]


def test_a_model_file_is_not_a_predictor(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    ccf.SCM([("a", "b")]).fit({"a": torch.randn(50), "b": torch.randn(50)}, epochs=1, seed=0, progress=False).save(path)
    with pytest.raises(CheckpointError, match="not a predictor"):
        Predictor.load(path)


def test_a_score_says_what_a_constant_would_score() -> None:
    """Of 100 rows 10 wear glasses; 8 of them are seen, and 2 others besides."""
    true = torch.arange(100) < 10
    read = (torch.arange(100) >= 2) & (torch.arange(100) < 12)
    no, yes = predictors.score.class_scores(read, true, ["no", "yes"])
    assert (yes.name, yes.share, yes.recall) == ("yes", 0.1, 0.8)
    assert yes.f1 == pytest.approx(0.8)
    assert yes.base == pytest.approx(2 / 11), "all said to wear glasses: recall 1, precision .1"
    assert (no.share, no.recall) == pytest.approx((0.9, 88 / 90))


def test_scores_of_each_class_are_kept(judges: Predictors, tmp_path: Path) -> None:
    judges["side"].save(tmp_path / "side.safetensors")
    again = Predictor.load(tmp_path / "side.safetensors").score
    assert again == judges["side"].score
    assert again is not None
    assert [c.share for c in again.classes] == pytest.approx([0.25, 0.5, 0.25], abs=0.07)
    assert again.base == max(c.share for c in again.classes)
    assert judges["width"].score.base > 0.5  # type: ignore[union-attr,operator]


def test_faces_are_mirrored_cut_and_tinted() -> None:
    """A picture that brightens from left to right: mirrored in half of the rows, less steep where it is enlarged."""
    torch.manual_seed(0)
    image = torch.linspace(0.2, 0.8, 16).expand(200, 3, 16, 16)
    mirrored, _ = Jitter(flip=True)(image, {})
    slope = mirrored[:, 0, 8, -1] - mirrored[:, 0, 8, 0]
    assert slope.abs().allclose(torch.full((200,), 0.6), atol=1e-5)
    assert (slope > 0).double().mean() == pytest.approx(0.5, abs=0.1)
    cut, _ = Jitter(crop=0.2)(image, {})
    slope = cut[:, 0, 8, -2] - cut[:, 0, 8, 1]
    assert bool((slope > 0.6 * 13 / 15 * 0.75).all())
    assert slope.min() < 0.6 * 13 / 15 * 0.85
    tinted, _ = Jitter(colour=0.2)(image, {})
    factors = (tinted[:, :, 8, 9] - tinted[:, :, 8, 6]) / (image[:, :, 8, 9] - image[:, :, 8, 6])
    assert factors.min() == pytest.approx(0.8, abs=0.02)
    assert factors.max() == pytest.approx(1.2, abs=0.02)
    assert bool((factors.std(1) > 0).all()), "each channel by itself"


@pytest.mark.parametrize(
    ("jitter", "target", "variable"),
    [
        (Jitter(colour=0.1), "hair", ccf.Categorical(["black", "brown"])),
        (Jitter(colour=0.1), "look", ccf.Categorical(["black hair", "bald"])),
        (Jitter(flip=True), "digit", ccf.Categorical(10)),
        (Jitter(flip=True), "looks", ccf.Categorical(["left", "right"])),
        (Jitter(crop=0.1), "thickness", ccf.Positive()),
        (Jitter(brightness=0.5), "intensity", ccf.Real()),
    ],
)
def test_a_change_of_what_is_predicted_is_refused_by_name(jitter: Jitter, target: str, variable: Any) -> None:
    with pytest.raises(MechanismError, match=rf"jitter with \w+=.* would change '{target}'.* Leave \w+ out"):
        Predictor(target, variable, ccf.Image(3, 16, 16), jitter=jitter)


def test_shares_of_a_jitter_are_shares() -> None:
    with pytest.raises(MechanismError, match="A predictor's jitter: crop must be"):
        Jitter(crop=1.5)
