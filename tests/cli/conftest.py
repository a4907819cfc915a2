"""What the scenarios of the command line share: a model of digits, a table, and a model of the table."""

from pathlib import Path

import numpy as np
import pytest

import causalcf as ccf


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A file with a barely trained model of the digits."""
    path = tmp_path_factory.mktemp("model") / "digits.safetensors"
    vae = ccf.mechanisms.VAE(latent=4, widths=(8, 8, 8))
    scm = ccf.SCM("morphomnist", mechanisms={"image": vae})
    scm.fit(ccf.datasets.Digits("train")[:200], epochs=1, seed=0, progress=False).save(path)
    return path


@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    """A CSV file of a chain x -> y with a boolean and a category."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    lines = [
        f"{a},{2 * a + b},{'true' if a > 0 else 'false'},{'red' if b > 0 else 'blue'}"
        for a, b in zip(x, 0.1 * rng.normal(size=60), strict=True)
    ]
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text("\n".join(["x,y,b,c", *lines]) + "\n")
    return path


@pytest.fixture(scope="session")
def fitted(run, table, tmp_path_factory) -> tuple[Path, str]:
    """The file of a linear model of the table, and what was said while it was fitted."""
    folder = tmp_path_factory.mktemp("fitted")
    graph, file = folder / "graph.json", folder / "out" / "model.safetensors"
    ccf.CausalGraph(
        [("x", "y"), ("x", "b"), ("y", "c")],
        {"x": ccf.Real(), "y": ccf.Real(), "b": ccf.Boolean(), "c": ccf.Categorical(["blue", "red"])},
    ).save(graph)
    options = ["--mechanism", "x=LinearGaussian", "--mechanism", "y=LinearGaussian", "--epochs", "1", "--seed", "3"]
    code, out, err = run("fit", graph, "--data", table, "--out", file, "--quiet", *options)
    assert (code, err) == (0, "")
    return file, out
