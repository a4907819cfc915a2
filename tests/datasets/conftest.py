"""A tiny MNIST on disk, made of scikit-learn's digits, in the layout of the real one."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from causalcf.datasets.digits import enlarge
from causalcf.datasets.idx import idx_bytes, write_atomically

ROWS = {"train": 24, "t10k": 12}


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `mnist/` with 24 training and 12 test digits."""
    root = tmp_path_factory.mktemp("data")
    pixels, labels = load_digits(return_X_y=True)
    (root / "mnist").mkdir()
    start = 0
    for prefix, rows in ROWS.items():
        part = slice(start, start + rows)
        write_atomically(
            {
                root / "mnist" / f"{prefix}-images-idx3-ubyte.gz": idx_bytes(enlarge(pixels[part].reshape(-1, 8, 8))),
                root / "mnist" / f"{prefix}-labels-idx1-ubyte.gz": idx_bytes(labels[part].astype(np.uint8)),
            }
        )
        start += rows
    return root
