import shutil

import numpy as np
import pytest
import torch

from causalcf.core.errors import DataError, InterventionError, MissingFileError, SupportError
from causalcf.data import Batch
from causalcf.datasets import MNIST, MorphoMNIST, make_morphomnist
from causalcf.datasets.glyphs import intensity_from_noise, noise_from_intensity, sample_attributes
from causalcf.datasets.morphology import measure_intensity
from causalcf.datasets.morphomnist import attributes_csv, read_attributes


@pytest.fixture(scope="module")
def tiny(tiny_root):
    """A made MorphoMNIST of 12 test images."""
    make_morphomnist(tiny_root / "mnist", tiny_root / "morphomnist", mode="fast", splits=["test"], progress=False)
    return MorphoMNIST(tiny_root, split="test")


@pytest.fixture(scope="module")
def real(data_root):
    return MorphoMNIST(data_root, split="test")


# ---------------------------------------------------------------- reading


def test_variables_and_units(tiny):
    assert {name: tuple(value.shape) for name, value in tiny.items()} == {
        "thickness": (12,),
        "intensity": (12,),
        "digit": (12,),
        "image": (12, 1, 32, 32),
    }
    assert tiny["digit"].dtype == torch.long
    assert tiny["image"].dtype == tiny["thickness"].dtype == torch.float32
    assert 0 <= tiny["image"].min() < tiny["image"].max() <= 1
    assert set(tiny.variables) == set(tiny)
    assert set(tiny.graph.parents("image")) == {"thickness", "digit", "intensity"}
    for name, variable in tiny.variables.items():
        variable.check(name, tiny[name])


def test_root_is_the_folder_its_parent_or_the_environment(tiny, tiny_root, monkeypatch):
    assert torch.equal(MorphoMNIST(tiny_root / "morphomnist", split="test")["image"], tiny["image"])
    monkeypatch.setenv("CAUSALCF_DATA", str(tiny_root))
    assert torch.equal(MorphoMNIST(split="test")["image"], tiny["image"])


def test_missing_files_say_which_where_and_how(tmp_path, monkeypatch):
    with pytest.raises(
        MissingFileError, match=r"MorphoMNIST needs train-images-idx3-ubyte, .*train-morpho\.csv"
    ) as info:
        MorphoMNIST(tmp_path)
    assert str(tmp_path / "morphomnist") in str(info.value)
    assert "causalcf data morphomnist --mnist DIR --out DIR" in str(info.value)
    monkeypatch.delenv("CAUSALCF_DATA", raising=False)
    with pytest.raises(MissingFileError, match=r"no folder given\. Pass root=\.\.\., or set CAUSALCF_DATA"):
        MorphoMNIST()


def test_the_one_missing_file_is_named_alone(tiny_root, tmp_path, tiny):
    shutil.copytree(tiny_root / "morphomnist", tmp_path / "morphomnist")
    (tmp_path / "morphomnist" / "t10k-morpho.csv").unlink()
    with pytest.raises(MissingFileError, match=r"MorphoMNIST needs t10k-morpho\.csv: not found in"):
        MorphoMNIST(tmp_path, split="test")


def test_unknown_split(tiny_root):
    with pytest.raises(DataError, match=r"There is no split 'valid'\. Choose one of"):
        MorphoMNIST(tiny_root, split="valid")
    with pytest.raises(DataError, match="There is no split 'valid'"):
        MNIST(tiny_root, split="valid")


def test_tables_that_do_not_fit(tiny, tiny_root, tmp_path):
    copy = tmp_path / "morphomnist"
    shutil.copytree(tiny_root / "morphomnist", copy)
    table = copy / "t10k-morpho.csv"
    table.write_text("index,thickness,intensity\n0,1.0,100.0\n")
    with pytest.raises(DataError, match=r"12 images, but t10k-morpho\.csv has 1 rows"):
        MorphoMNIST(copy, split="test")
    table.write_text("index,thickness\n0,1.0\n")
    with pytest.raises(DataError, match=r"lacks the columns \['intensity'\]"):
        MorphoMNIST(copy, split="test")
    table.write_text("index,thickness,intensity\n0,thick,100.0\n")
    with pytest.raises(DataError, match="is damaged"):
        MorphoMNIST(copy, split="test")


def test_table_round_trip_is_exact(tmp_path):
    columns = [x.astype(np.float32) for x in sample_attributes(50, seed=0)]
    attributes = dict(zip(("thickness", "intensity"), columns, strict=True))
    (tmp_path / "t.csv").write_bytes(attributes_csv(attributes))
    for name, column in read_attributes(tmp_path / "t.csv").items():
        np.testing.assert_array_equal(column, attributes[name])


def test_mnist_reads_images_and_refuses_morphomnist(tiny, tiny_root):
    data = MNIST(tiny_root, split="train")
    assert data["image"].shape == (24, 1, 28, 28)
    assert data["digit"][:10].tolist() == list(range(10))
    assert data.graph.parents("image") == ("digit",)
    with pytest.raises(DataError, match="holds MorphoMNIST, not MNIST"):
        MNIST(tiny_root / "morphomnist", split="test")
    with pytest.raises(MissingFileError, match="MNIST needs train-images-idx3-ubyte"):
        MNIST(tiny_root / "nowhere")


# ---------------------------------------------------------------- the true model


def test_noise_and_intensity_invert_each_other():
    thickness, intensity = sample_attributes(1000, seed=0)
    noise = noise_from_intensity(intensity, thickness)
    np.testing.assert_allclose(intensity_from_noise(thickness, noise), intensity, rtol=1e-12)


def test_published_residuals_are_standard_normal(real):
    noise = noise_from_intensity(real["intensity"].double().numpy(), real["thickness"].double().numpy())
    # 10,000 draws: the mean is within 4 standard errors of 0, the deviation of 1 (false alarms 1 in 10,000).
    assert abs(noise.mean()) < 0.04
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * 10_000)


# ---------------------------------------------------------------- truth


def test_truth_draws_the_factual_again(tiny):
    assert torch.equal(tiny.truth(tiny, do={})["image"], tiny["image"])


def test_truth_draws_the_published_images_again(real):
    x = real[torch.arange(0, 10_000, 200)]
    truth = real.truth(x, do={})
    assert 255 * (truth["image"] - x["image"]).abs().mean() < 0.6
    assert torch.equal(truth.index, x.index)


def test_thickness_changes_intensity_and_image(tiny):
    x = tiny[2:8]
    cf = tiny.truth(x, do={"thickness": 4.0})
    assert list(cf) == list(tiny)
    assert (cf["thickness"] == 4).all()
    noise = noise_from_intensity(x["intensity"].double().numpy(), x["thickness"].double().numpy())
    expected = intensity_from_noise(np.full(6, 4.0), noise)
    np.testing.assert_allclose(cf["intensity"].numpy(), expected, rtol=1e-6)
    assert torch.equal(cf["digit"], x["digit"])
    assert cf.index.tolist() == [2, 3, 4, 5, 6, 7]
    assert (cf["image"] - x["image"]).abs().amax((1, 2, 3)).min() > 0.1


def test_intensity_changes_only_the_image(tiny):
    x = tiny[:5]
    per_row = torch.linspace(80, 200, 5)  # brighter ones are clipped at 255
    cf = tiny.truth(x, do={"intensity": per_row})
    assert torch.equal(cf["thickness"], x["thickness"])
    assert torch.equal(cf["intensity"], per_row)
    medians = measure_intensity(255 * cf["image"].squeeze(1).numpy())
    np.testing.assert_allclose(medians, per_row, atol=2)  # truncated to levels


def test_both_actions_together_and_one_by_one(tiny):
    x = tiny[:6]
    both = tiny.truth(x, do={"thickness": 3.0, "intensity": 120.0})
    assert (both["thickness"] == 3).all()
    assert (both["intensity"] == 120).all()
    steps = tiny.truth(tiny.truth(x, do={"thickness": 3.0}), do={"intensity": 120.0})
    assert torch.equal(both["image"], steps["image"])


def test_rows_do_not_depend_on_each_other_or_on_workers(tiny):
    x = tiny[torch.tensor([7, 3])]
    pair, single = (tiny.truth(rows, do={"thickness": 2.0})["image"] for rows in (x, tiny[3:4]))
    assert torch.equal(pair[1:], single)
    assert torch.equal(tiny.truth(x, do={"thickness": 2.0}, workers=2)["image"], pair)


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        ({"digit": 3}, InterventionError, r"No true counterfactual is known for do\(digit\)"),
        ({"image": 0}, InterventionError, r"The truth is known for \['thickness', 'intensity'\]"),
        ({"slant": 1}, InterventionError, r"do\(slant\)"),
        ({"thickness": "4"}, InterventionError, "takes a number or one number per row, got '4'"),
        ({"thickness": -1.0}, SupportError, "'thickness' must be above 0: 4 of 4 rows are not"),
        ({"thickness": 12.0}, DataError, "can be drawn up to 10 px, got 12"),
        ({"thickness": float("nan")}, DataError, "'thickness' has NaN or infinite values in 4 of 4 rows"),
        ({"intensity": 300.0}, SupportError, r"'intensity' must be in \[64, 255\]"),
        ({"intensity": torch.ones(3)}, DataError, r"one per row, shape \(4,\), got \(3,\)"),
    ],
)
def test_truth_refuses(tiny, do, error, message):
    with pytest.raises(error, match=message):
        tiny.truth(tiny[:4], do=do)


def test_truth_needs_the_index_and_the_attributes(tiny):
    with pytest.raises(DataError, match=r"needs .*index"):
        tiny.truth(dict(tiny[:4]), do={})
    with pytest.raises(DataError, match=r"needs \['digit'\]"):
        tiny.truth(Batch({name: tiny[name] for name in ("thickness", "intensity")}), do={})
    with pytest.raises(DataError, match=r"row numbers 0\.\.11 of the data set"):
        tiny.truth(Batch(dict(tiny[:2]), index=torch.tensor([0, 12])), do={})


def test_truth_needs_the_right_mnist(tiny, tiny_root, tmp_path):
    lonely = MorphoMNIST(tiny_root, split="test", mnist=tmp_path)
    with pytest.raises(MissingFileError, match=r"truth\(\) redraws plain MNIST.*Or pass MorphoMNIST"):
        lonely.truth(lonely[:1], do={})
    shutil.copytree(tiny_root / "mnist", tmp_path / "other")
    shutil.copy(tmp_path / "other/train-labels-idx1-ubyte.gz", tmp_path / "other/t10k-labels-idx1-ubyte.gz")
    shutil.copy(tmp_path / "other/train-images-idx3-ubyte.gz", tmp_path / "other/t10k-images-idx3-ubyte.gz")
    wrong = MorphoMNIST(tiny_root, split="test", mnist=tmp_path / "other")
    with pytest.raises(DataError, match="their labels differ"):
        wrong.truth(wrong[:1], do={})
