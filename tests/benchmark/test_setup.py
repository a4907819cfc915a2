"""What enters the benchmark: a file of one's own, fitted once, and told apart by its settings."""

from pathlib import Path
from typing import Any

import pytest

import causalcf as ccf
from causalcf import benchmark as benchmark_tables
from causalcf.benchmark import Benchmark, truth_row
from causalcf.core.errors import DataError, MissingFileError
from causalcf.datasets.bars import Bars
from causalcf.mechanisms import Recipe


def test_an_answer_in_a_file_enters_the_leaderboard(bench: Benchmark, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def counterfactual(x, do):\n    return {'image': 0 * x['image']}\n")
    answer = benchmark_tables.read_mechanism_file(path)
    assert benchmark_tables.fitted_once(answer, path, lambda: bench.train, tmp_path) is answer
    row = truth_row(bench.test, answer, "mine", ["width"], n=50, seeds=(0,))
    truth = truth_row(bench.test, "identity", "identity", ["width"], n=50, seeds=(0,))
    assert row["do(width)"]["error"] > truth["do(width)"]["error"]


def test_a_mechanism_in_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    code = (
        "import causalcf as ccf",
        "recipe = ccf.mechanisms.Recipe(epochs=1)",
        "mechanism = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=recipe)",
    )
    path.write_text("\n".join(code))
    assert isinstance(benchmark_tables.read_mechanism_file(path), ccf.mechanisms.VAE)


def test_a_file_with_nothing_to_score_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for wrong in ("answer = 42\n", "mechanism = 42\n"):
        path.write_text(wrong)
        with pytest.raises(DataError, match=r"mine.py defines none of: counterfactual\(x, do\), scm, mechanism"):
            benchmark_tables.read_mechanism_file(path)
    with pytest.raises(MissingFileError, match="no file"):
        benchmark_tables.read_mechanism_file(tmp_path / "none.py")


MINE = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=Recipe(epochs=1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file that this mechanism is said to come from."""
    path = tmp_path / "mine.py"
    path.write_text("mechanism = ...\n")
    return path


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[ccf.SCM]:
    """Every model that was fitted since; how well it fits does not matter here."""
    fits, fit = [], ccf.SCM.fit

    def counted(scm: ccf.SCM, *given: Any, **options: Any) -> ccf.SCM:
        fits.append(scm)
        return fit(scm, *given, **options, epochs=1, progress=False)

    monkeypatch.setattr(ccf.SCM, "fit", counted)
    return fits


def test_a_mechanism_of_ones_own_is_fitted_once(path: Path, fits: list[ccf.SCM], tmp_path: Path) -> None:
    """What was kept answers as what was fitted."""
    data = Bars(40, seed=1)
    first, again = (benchmark_tables.fitted_once(MINE, path, lambda: data, tmp_path / "models") for _ in range(2))
    assert len(fits) == 1
    assert benchmark_tables.model_digest(first) == benchmark_tables.model_digest(again)
    assert [kept.suffix for kept in (tmp_path / "models").iterdir()] == [".safetensors"]


def test_it_is_fitted_again_for_another_file_or_other_data(path: Path, fits: list[ccf.SCM], tmp_path: Path) -> None:
    small, other = Bars(40, seed=1), Bars(40, seed=2)
    benchmark_tables.fitted_once(MINE, path, lambda: small, tmp_path / "models")
    benchmark_tables.fitted_once(MINE, path, lambda: other, tmp_path / "models")
    path.write_text("mechanism = ... \n")
    benchmark_tables.fitted_once(MINE, path, lambda: small, tmp_path / "models")
    assert len(fits) == 3


def test_models_of_the_same_weights_and_other_settings_are_others() -> None:
    """A flow in 4 steps and in 20 has the same weights and gives other answers."""
    mechanisms = ccf.mechanisms
    graph = Bars(2).graph

    def made(**options: Any) -> str:
        diffusion = mechanisms.Diffusion(widths=(8, 8, 8), **options)
        return benchmark_tables.model_digest(ccf.SCM(graph, mechanisms={"image": diffusion}))

    assert made(steps=20) == made(steps=20) != made(steps=4)
