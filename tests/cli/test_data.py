"""`causalcf data`: MorphoMNIST made from MNIST."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import causalcf as ccf
from causalcf.datasets.digits import enlarge
from causalcf.datasets.idx import idx_bytes, write_atomically


@pytest.fixture
def mnist(tmp_path):
    """Twelve digits in the files of MNIST."""
    pixels, labels = load_digits(return_X_y=True)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for prefix, rows in {"train": slice(0, 8), "t10k": slice(8, 12)}.items():
        images = idx_bytes(enlarge(pixels[rows].reshape(-1, 8, 8)))
        write_atomically(
            {
                folder / f"{prefix}-images-idx3-ubyte.gz": images,
                folder / f"{prefix}-labels-idx1-ubyte.gz": idx_bytes(labels[rows].astype(np.uint8)),
            }
        )
    return folder


def test_data_morphomnist_makes_a_data_set(run, mnist, tmp_path):
    out = tmp_path / "made"
    code, text, _ = run("data", "morphomnist", "--mnist", mnist, "--out", out, "--mode", "fast", "--quiet")
    assert code == 0
    assert sorted(text.splitlines()) == sorted(str(path) for path in out.iterdir())
    assert ccf.datasets.MorphoMNIST(out, "train").rows == 8


def test_data_morphomnist_has_two_modes(run, mnist, tmp_path):
    code, _, err = run("data", "morphomnist", "--mnist", mnist, "--out", tmp_path / "made", "--mode", "slow")
    assert code == 2
    assert "Unknown mode 'slow'" in err
