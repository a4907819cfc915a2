"""One thread, a fixed seed, float32 unless a test says otherwise; real data where they are at hand."""

import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same random state and leaves torch's defaults alone."""
    torch.manual_seed(0)
    dtype = torch.get_default_dtype()
    yield
    assert torch.get_default_dtype() == dtype, "the test changed torch's default dtype"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data (`$CAUSALCF_DATA`); a test that needs it says so when it is not set."""
    root = os.environ.get("CAUSALCF_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("needs real data: set CAUSALCF_DATA to a folder with morphomnist/, mnist/ and adult/")
    return Path(root)
