import numpy as np
import pytest
import torch
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from causalcf.core.errors import DataError
from causalcf.datasets import Digits, digits, morphology
from causalcf.datasets.digits import INK, enlarge
from causalcf.datasets.glyphs import GlyphSCM, attributes_after, noise_from_intensity


def test_splits_cover_the_set_once():
    train, test = Digits("train"), Digits("test")
    assert (train.rows, test.rows) == (1500, 297)
    assert torch.bincount(torch.cat([train["digit"], test["digit"]])).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip
    assert train["image"].shape == (1500, 1, 32, 32)
    for name, variable in train.variables.items():
        variable.check(name, train[name])


def test_no_image_is_empty_and_noise_is_standard():
    data = Digits("train")
    assert (data["image"].amax((1, 2, 3)) > 0.2).all()
    noise = noise_from_intensity(data["intensity"].double().numpy(), data["thickness"].double().numpy())
    assert abs(noise.mean()) < 4 / 1500**0.5
    assert abs(noise.std() - 1) < 4 / 3000**0.5


def test_same_seed_same_bits_other_seed_other_values_same_digits():
    a, b, c = Digits("test", seed=3), Digits("test", seed=3), Digits("test", seed=4)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(a["digit"], c["digit"])
    assert not torch.equal(a["thickness"], c["thickness"])


def test_truth():
    data = Digits("test")
    x = data[10:30]
    assert torch.equal(data.truth(x, do={})["image"], x["image"])
    thick = data.truth(x, do={"thickness": 5.0})
    assert (thick["intensity"] >= x["intensity"])[x["thickness"] < 5].all()
    assert (thick["image"].sum((1, 2, 3)) > x["image"].sum((1, 2, 3))).float().mean() > 0.9


def test_a_glyph_is_measured_once_whatever_is_asked_of_it(monkeypatch):
    measured = []
    whole = morphology.stroke_thickness
    monkeypatch.setattr(morphology, "stroke_thickness", lambda x, scale: measured.append(len(x)) or whole(x, scale))
    data, scm = Digits("test"), GlyphSCM(digits._true_model("test").glyphs, mode="fast")
    first = scm.counterfactual(data[10:20], {})
    assert sum(measured) == 10
    for do in ({}, {"thickness": 4.0}, {"intensity": 90.0}, {"thickness": 1.0, "intensity": 200.0}):
        scm.counterfactual(data[10:20], do)
    scm.counterfactual(data[5:15], {"thickness": 2.0})
    assert sum(measured) == 15
    assert torch.equal(first["image"], data[10:20]["image"])
    Digits("test", seed=7).truth(data[:], {"thickness": 3.0})
    assert sum(measured) == 15, "the data set's own glyphs were measured when it was first drawn"


def test_what_follows_of_intensity_is_known_without_drawing(monkeypatch):
    x = Digits("test")[:30]
    wanted = [Digits("test").truth(x, do) for do in ({}, {"thickness": 4.0}, {"intensity": 90.0})]
    monkeypatch.setattr(GlyphSCM, "image", None)
    for do, truth in zip(({}, {"thickness": 4.0}, {"intensity": 90.0}), wanted, strict=True):
        thickness, intensity = attributes_after(x, do)
        assert np.array_equal(thickness.astype(np.float32), truth["thickness"].numpy())
        assert np.array_equal(intensity.astype(np.float32), truth["intensity"].numpy())
    with pytest.raises(DataError, match=r"do\(thickness\) takes a number or one per row, shape \(30,\)"):
        attributes_after(x, {"thickness": torch.ones(3)})


def test_enlarging_by_matrices_is_cubic_interpolation():
    small = load_digits(return_X_y=True)[0].reshape(-1, 8, 8)
    padded = np.pad(small / 16, ((0, 0), (1, 1), (1, 1)))
    large = zoom(padded, (1, 2.5, 2.5), order=3, mode="grid-constant", grid_mode=True)
    inked = np.pad(np.clip((large - INK) / (1 - INK), 0, 1), ((0, 0), (1, 2), (1, 2)))
    np.testing.assert_array_equal(enlarge(small), np.rint(255 * inked).astype(np.uint8))


@pytest.mark.parametrize("file", [digits._FILE, "nowhere.csv.gz"])
def test_the_digits_are_those_of_scikit_learn(file, monkeypatch):
    monkeypatch.setattr(digits, "_FILE", file)
    for found, wanted in zip(digits.read_digits(), load_digits(return_X_y=True), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


def test_unknown_split():
    with pytest.raises(DataError, match="There is no split 'dev'"):
        Digits("dev")
