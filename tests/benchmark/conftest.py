"""What the scenarios of the benchmark share: one of bars, and the folder that it was written to."""

from pathlib import Path
from typing import Any

import pytest
from benchmark.bars import NODES

import causalcf as ccf
from causalcf import benchmark as benchmark_tables
from causalcf import predictors
from causalcf.benchmark import Benchmark
from causalcf.datasets.bars import Bars
from causalcf.mechanisms import Recipe
from causalcf.predictors import Predictor, Predictors


@pytest.fixture(scope="session")
def bench() -> Benchmark:
    train, test = Bars(400, seed=1), Bars(200, seed=2)
    vae = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))
    scm = ccf.SCM(train.graph, mechanisms={"image": vae}).fit(train, epochs=1, seed=0, progress=False)
    image: Any = train.variables["image"]
    judges = []
    for node in NODES:
        judge = Predictor(node, train.variables[node], image, widths=(4, 8), hidden=16)
        judges.append(predictors.fit(judge, train, recipe=Recipe(epochs=1, batch_size=64), progress=False))
    return Benchmark("bars", train, test, NODES, {"small": lambda: scm, "same": lambda: scm}, Predictors(judges))


@pytest.fixture(scope="session")
def out(bench: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    benchmark_tables.run(bench, folder, n=60)
    return folder
