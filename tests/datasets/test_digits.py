import pytest
import torch

from causalcf.core.errors import DataError
from causalcf.datasets import Digits
from causalcf.datasets.glyphs import noise_from_intensity


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


def test_unknown_split():
    with pytest.raises(DataError, match="There is no split 'dev'"):
        Digits("dev")
