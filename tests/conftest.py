"""One thread, a fixed seed, float32 unless a test says otherwise; real data where they are at hand."""

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import hypothesis
import matplotlib as mpl
import pytest
import torch

import causalcf as ccf
import causalcf.core._zuko  # before any test imports zuko itself, which would switch validation off for all of them
from causalcf import cli

mpl.use("Agg")
torch.set_num_threads(1)
# The same examples every time: a failure here is a failure everywhere.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, max_examples=25, database=None)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same random state and leaves torch's defaults alone."""
    torch.manual_seed(0)
    dtype = torch.get_default_dtype()
    yield
    assert torch.get_default_dtype() == dtype, "the test changed torch's default dtype"
    assert torch.distributions.Distribution._validate_args, "the test switched off argument validation"


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded pictures are not kept beyond the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSALCF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data (`$CAUSALCF_DATA`); a test that needs it says so when it is not set."""
    root = os.environ.get("CAUSALCF_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("needs real data: set CAUSALCF_DATA to a folder with morphomnist/, mnist/ and adult/")
    return Path(root)


@pytest.fixture(scope="session")
def run() -> Callable[..., tuple[int, str, str]]:
    """Run a command line as the shell would: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", ["/somewhere/bin/causalcf", *map(str, arguments)])
            patch.setattr(warnings, "showwarning", warnings.showwarning)
            patch.setenv("COLUMNS", "150")
            with pytest.raises(SystemExit) as end:
                cli.main()
        return int(end.value.code or 0), out.getvalue(), err.getvalue()

    return run


def _mixed_rows(n: int, seed: int) -> ccf.Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator=generator)
    y = x + 0.5 * torch.randn(n, generator=generator)
    p = (0.3 * y + 0.2 * torch.randn(n, generator=generator)).exp()
    i = 10 * torch.sigmoid(x + 0.5 * torch.randn(n, generator=generator))
    b = y + torch.randn(n, generator=generator) > 0
    c = (x + b + torch.randn(n, generator=generator)).round().clamp(0, 2).long()
    v = torch.stack([p, i], 1) + torch.randn(n, 2, generator=generator)
    return ccf.Batch({"x": x, "y": y, "p": p, "i": i, "b": b, "c": c, "v": v, "d": x + y})


@pytest.fixture(scope="session")
def rows() -> ccf.Batch:
    """64 units of the model `mixed`, of every kind of scalar node, a vector and a noiseless one."""
    return _mixed_rows(64, seed=1)


@pytest.fixture(scope="session")
def mixed() -> ccf.SCM:
    """A model with every kind of scalar node, a vector and a noiseless one, barely trained.

    Shared by many tests: a query never changes a model, and `test_laws.py` holds it to that.
    """
    return ccf.SCM(
        [
            ("x", "y"),
            ("x", "i"),
            ("y", "p"),
            ("y", "b"),
            ("x", "c"),
            ("b", "c"),
            ("p", "v"),
            ("i", "v"),
            ("x", "d"),
            ("y", "d"),
        ],
        {
            "x": ccf.Real(),
            "y": ccf.Real(),
            "p": ccf.Positive(unit="px"),
            "i": ccf.Interval(0, 10),
            "b": ccf.Boolean(),
            "c": ccf.Categorical(["blue", "green", "red"]),
            "v": ccf.Vector(2),
            "d": ccf.Real(),
        },
        {"d": ccf.mechanisms.Deterministic(lambda pa: pa["x"] + pa["y"])},
    ).fit(_mixed_rows(600, seed=0), epochs=3, seed=0, progress=False)
