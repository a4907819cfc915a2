"""`causalcf benchmark`: rows kept and computed alone, one self-contained page, the leaderboard of truths."""

import csv
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import causalcf as ccf
from causalcf import benchmark as benchmark_tables
from causalcf import cli, predictors
from causalcf.benchmark import Benchmark, truth_row
from causalcf.benchmark.cells import number
from causalcf.benchmark.page import findings
from causalcf.core.errors import DataError, DensityError, MissingFileError
from causalcf.datasets.bars import Bars
from causalcf.evaluation.records import Record, Records
from causalcf.mechanisms import Recipe
from causalcf.predictors import Predictor, Predictors

NODES = ("width", "brightness", "side")


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def out(bench: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    benchmark_tables.run(bench, folder, n=60)
    return folder


def test_the_page_stands_alone(out: Path) -> None:
    page = (out / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page), "it needs nothing but itself"
    assert "<script" not in page
    assert page.count("data:image/png;base64,") == 2 * (len(NODES) + 1)
    assert "do(width) sets width" in page, "what it explains is of this data set"
    assert "thickness" not in page
    for text in ("Distance to the true counterfactual", "Effectiveness", "Composition", "the truth", "doing nothing"):
        assert text in page


def test_the_page_says_which_actions_leave_no_trace(bench: Benchmark) -> None:
    """An action whose image is the factual one is named; the truth itself is not."""
    made = [
        Record(
            "effectiveness",
            "width",
            "width",
            value,
            None,
            None,
            "px",
            "lower",
            0.1,
            1.5,
            2.0,
            60,
            0,
            "cpu",
            1.0,
            "mean",
            "",
        )
        for value in (1.4, bench.predictors["width"].score.value)  # type: ignore[union-attr]
    ]
    ignoring, obeying = findings(bench, {"idle": Records((made[0],))}), findings(bench, {"good": Records((made[1],))})
    assert len(ignoring) == 1
    assert "idle all but ignores do(width)" in ignoring[0]
    assert not obeying


def test_the_page_says_when_samples_are_no_pictures(bench: Benchmark) -> None:
    """By ratio nearer to noise than to real images."""
    fields: dict[str, Any] = {
        "unit": "features²",
        "better": "lower",
        "truth": None,
        "identity": 1.0,
        "noise": 100.0,
        "judge": "net",
    }
    fields |= {"n": 60, "seed": 0, "device": "cpu", "residual": 1.0, "abduction": "mean", "low": None, "high": None}
    for value, told in ((9.0, 0), (11.0, 1)):
        record = Record(metric="sample fid[net]", do="", node="image", value=value, **fields)
        said = findings(bench, {"ours": Records((record,))})
        assert len(said) == told
    assert "Samples of ours are not like the data: FID 11.0" in said[0]


def test_the_summary_has_a_line_per_model_and_says_what_is_missing(bench: Benchmark, tmp_path: Path) -> None:
    """Truth, composition, judges, samples, cost; a mechanism without a density has a dash and the reason."""

    class Implicit(ccf.mechanisms.VAE):
        def dist(self, pa: Any, latents: Any = None) -> Any:
            raise DensityError("no density")

    scm = ccf.SCM(bench.train.graph, mechanisms={"image": Implicit(latent=2, widths=(8, 8, 8))})
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    models = {"small": bench.models["small"], "implicit": lambda: scm}
    benchmark_tables.run(replace(bench, models=models), tmp_path, n=60)
    summary, _, rest = (tmp_path / "summary.md").read_text(encoding="utf-8").partition("### Distance to the true")
    lines = [[cell.strip() for cell in line.split(" | ")] for line in summary.splitlines() if line.startswith("| ")]
    table = {line[0].removeprefix("| "): dict(zip(lines[0], line, strict=True)) for line in lines}
    names = {f"{model}, residual {r}" for model in models for r in (0, 1)}
    assert set(table) == {"model", "---", *names, "the truth", "doing nothing", "noise"}
    small, implicit = table["small, residual 1"], table["implicit, residual 1"]
    assert small.keys() >= {
        "truth error of the image, grey levels ↓: do(width)",
        "composition, grey levels ↓: 10 cycles",
        "width: MAE, px ↓: do(side)",
        "side: accuracy ↑: do(side)",
        "samples: FID ↓",
        "cost: parameters",
        "cost: images/s |",
    }
    assert small["cost: parameters"].endswith(" M")
    assert float(small["log density: nats ↑"])
    assert implicit["log density: nats ↑"] == "– no density"
    assert table["the truth"]["truth error of the image, grey levels ↓: do(width)"] == "0"
    assert "log density of implicit is not there: needs mechanisms that all have a density" in rest


def test_the_costs_of_a_model_are_those_of_all_its_training_and_of_every_abduction(
    bench: Benchmark, tmp_path: Path
) -> None:
    class Slow(ccf.mechanisms.VAE):
        def abduct(self, x: torch.Tensor, pa: Any, *, sample: bool = False) -> Any:
            time.sleep(1e-3 * len(x))
            return super().abduct(x, pa, sample=sample)

    scm = ccf.SCM(bench.train.graph, mechanisms={"image": Slow(latent=2, widths=(8, 8, 8))})
    scm.fit(bench.train, epochs=1, seed=0, progress=False)
    scm.provenance = {"seconds": 5.0, "tuned": {}, "pretrained": {"seconds": 60.0}}
    benchmark_tables.run(replace(bench, models={"slow": lambda: scm}), tmp_path, n=20)
    facts = json.loads((tmp_path / "rows" / "slow.json").read_text())["facts"]
    assert facts["training_seconds"] == 65
    assert 0 < facts["images_per_second"] < 1000


def test_tables_are_written_as_csv_and_json_too(out: Path) -> None:
    with open(out / "results.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["model"] for line in lines} == {"small", "same"}
    assert {"metric", "value", "low", "truth", "identity", "noise", "seed", "judge"} <= lines[0].keys()
    document = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert set(document["rows"]) == {"small", "same"}
    assert document["rows"]["small"]["scores"]["records"] == document["rows"]["same"]["scores"]["records"]


def test_rows_are_kept_and_one_is_computed_again_alone(bench: Benchmark, out: Path) -> None:
    said: list[str] = []
    benchmark_tables.run(bench, out, n=60, progress=said.append)
    assert said == ["small: kept", "same: kept"]
    before = (out / "rows" / "same.json").read_bytes()
    said.clear()
    benchmark_tables.run(bench, out, n=60, only=["small"], progress=said.append)
    assert "same: kept" in said
    assert "small: effectiveness" in said
    assert (out / "rows" / "same.json").read_bytes() == before


def test_other_settings_are_not_kept(bench: Benchmark, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr("causalcf.benchmark.rows._row", computed)
    benchmark_tables.run(bench, out, n=60)
    for other, n in (
        (bench, 61),
        (replace(bench, test=Bars(200, seed=3)), 60),
        (replace(bench, train=Bars(400, seed=3)), 60),
        (replace(bench, nodes=NODES[:2]), 60),
        (replace(bench, files={"small": "another file"}), 60),
    ):
        with pytest.raises(InterruptedError):
            benchmark_tables.run(other, out, n=n)


def test_the_floors_of_the_truth(bench: Benchmark) -> None:
    test = bench.test
    options: Any = {"n": 50, "seeds": (0, 1)}
    again = truth_row(test, "re-rendering", "re-rendering", ["width"], **options)
    nothing = truth_row(test, "identity", "identity", ["width", "brightness"], **options)
    assert again["do(width)"]["error"] < 1e-4
    assert nothing["do(width)"]["error"] > 5
    ours = truth_row(test, bench.models["small"](), "small", ["brightness"], **options)
    assert ours["do(brightness)"]["error"] > 0
    assert ours["seeds"] == [0, 1]
    known = truth_row(test, lambda x, do: test.truth(x, do), "oracle", ["width"], **options)
    assert known["do(width)"]["error"] == 0
    assert (
        truth_row(test, "identity", "identity", ["width"], **options)["do(width)"]["error"]
        == (nothing["do(width)"]["error"])
    )


def test_a_file_of_ones_own_enters_the_leaderboard(bench: Benchmark, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def counterfactual(x, do):\n    return {'image': 0 * x['image']}\n")
    answer = benchmark_tables.read_mechanism_file(path)
    assert benchmark_tables.fitted_once(answer, path, lambda: bench.train, tmp_path) is answer
    row = truth_row(bench.test, answer, "mine", ["width"], n=50, seeds=(0,))
    truth = truth_row(bench.test, "identity", "identity", ["width"], n=50, seeds=(0,))
    assert row["do(width)"]["error"] > truth["do(width)"]["error"]
    code = (
        "import causalcf as ccf",
        "recipe = ccf.mechanisms.Recipe(epochs=1)",
        "mechanism = ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=recipe)",
    )
    path.write_text("\n".join(code))
    assert isinstance(benchmark_tables.read_mechanism_file(path), ccf.mechanisms.VAE)
    for wrong in ("answer = 42\n", "mechanism = 42\n"):
        path.write_text(wrong)
        with pytest.raises(DataError, match=r"mine.py defines none of: counterfactual\(x, do\), scm, mechanism"):
            benchmark_tables.read_mechanism_file(path)
    with pytest.raises(MissingFileError, match="no file"):
        benchmark_tables.read_mechanism_file(tmp_path / "none.py")


def test_a_mechanism_of_ones_own_is_fitted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again only for another file or other data; what was kept answers as what was fitted."""
    path, found = tmp_path / "mine.py", ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8), recipe=Recipe(epochs=1))
    path.write_text("mechanism = ...\n")
    fits, fit = [], ccf.SCM.fit

    def counted(scm: ccf.SCM, *given: Any, **options: Any) -> ccf.SCM:
        fits.append(scm)
        return fit(scm, *given, **options, epochs=1, progress=False)  # how well it fits does not matter here

    monkeypatch.setattr(ccf.SCM, "fit", counted)
    small, other = Bars(40, seed=1), Bars(40, seed=2)
    first, again = (benchmark_tables.fitted_once(found, path, lambda: small, tmp_path / "models") for _ in range(2))
    assert len(fits) == 1
    assert benchmark_tables.model_digest(first) == benchmark_tables.model_digest(again)
    assert [kept.suffix for kept in (tmp_path / "models").iterdir()] == [".safetensors"]
    benchmark_tables.fitted_once(found, path, lambda: other, tmp_path / "models")
    path.write_text("mechanism = ... \n")
    benchmark_tables.fitted_once(found, path, lambda: small, tmp_path / "models")
    assert len(fits) == 3


def test_models_of_the_same_weights_and_other_settings_are_others() -> None:
    """A flow in 4 steps and in 20 has the same weights and gives other answers."""
    mechanisms = ccf.mechanisms
    graph = Bars(2).graph

    def made(**options: Any) -> str:
        diffusion = mechanisms.Diffusion(widths=(8, 8, 8), **options)
        return benchmark_tables.model_digest(ccf.SCM(graph, mechanisms={"image": diffusion}))

    assert made(steps=20) == made(steps=20) != made(steps=4)


def test_lines_of_other_data_or_seeds_are_computed_again(tmp_path: Path) -> None:
    said: list[str] = []
    entries: Any = {"identity": ("identity", lambda: "identity")}
    options: Any = {"n": 20, "progress": said.append}
    for test, seeds, kept in (
        (Bars(50, seed=1), (0, 1), False),
        (Bars(50, seed=1), (0, 1), True),
        (Bars(50, seed=2), (0, 1), False),
        (Bars(50, seed=2), (0,), False),
    ):
        benchmark_tables.leaderboard(test, entries, ["width"], tmp_path, seeds=seeds, **options)
        assert (said.pop() == "identity: kept") == kept


def test_bad_input(bench: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no models \['large'\]. There are: \['small', 'same'\]"):
        benchmark_tables.run(bench, tmp_path, only=["large"])
    with pytest.raises(DataError, match=r"no floor 'ceiling'"):
        truth_row(bench.test, "ceiling", "ceiling", ["width"], n=5, seeds=(0,))
    with pytest.raises(DataError, match=r"gives images \(1, 1, 16, 16\) for \(5, 1, 16, 16\)"):
        truth_row(bench.test, lambda _x, _do: {"image": torch.zeros(1, 1, 16, 16)}, "bad", ["width"], n=5, seeds=(0,))
    same: Any = {name: ("", lambda: "identity") for name in ("intensity ratio", "intensity-ratio")}
    with pytest.raises(DataError, match="would be kept in one file"):
        benchmark_tables.leaderboard(bench.test, same, ["width"], tmp_path)


@pytest.mark.parametrize(
    ("value", "text"), [(0.98754, "0.988"), (12.345, "12.3"), (0.0743, "0.0743"), (123.4, "123"), (0.0, "0")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_any_data_set_with_an_image_has_its_tables(bench: Benchmark, tmp_path: Path, capsys: Any) -> None:
    """By its row in the catalogue: its title, its residuals, its judges in a folder."""
    bench.models["small"]().save(tmp_path / "vae.safetensors")
    for judge in bench.predictors.values():
        judge.save(tmp_path / "judges" / predictors.file_name("bars", judge.target))
    asked = ["benchmark", "tables", "--data", "bars", "--n", "60", "--quiet", "--out", str(tmp_path / "out")]
    models = ["--model", str(tmp_path / "vae.safetensors"), "--predictors", str(tmp_path / "judges")]
    cli.app([*asked, *models], prog_name="causalcf", standalone_mode=False)
    assert str(tmp_path / "out" / "index.html") in capsys.readouterr().out.replace("\n", "")
    assert "Counterfactual images on bars" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    row = json.loads((tmp_path / "out" / "rows" / "vae.json").read_text(encoding="utf-8"))
    assert row["settings"]["residuals"] == ["1.0", "0.0"]
    assert row["settings"]["nodes"] == list(NODES)
    with pytest.raises(DataError, match=r"--data adult: the tables are of images. Data sets that have one: digits"):
        cli.app([*asked[:3], "adult", *models], prog_name="causalcf", standalone_mode=False)
    with pytest.raises(DataError, match=r"Fit one, causalcf fit bars --data bars --mechanism image=VAE"):
        cli.app(asked, prog_name="causalcf", standalone_mode=False)


def test_the_leaderboard_acts_where_the_truth_is_known(tmp_path: Path, capsys: Any) -> None:
    asked = ["benchmark", "truth", "--data", "bars", "--n", "20", "--out", str(tmp_path)]
    cli.app(asked, prog_name="causalcf", standalone_mode=False)
    said = capsys.readouterr().out
    assert {path.stem for path in tmp_path.glob("*.json")} == {"identity", "re-rendering"}, "bars have no intensity"
    assert all(f"do({node})" in line for line in said.splitlines() for node in NODES)
    row = json.loads((tmp_path / "re-rendering.json").read_text(encoding="utf-8"))
    assert row["do(width)"]["error"] == 0
    assert row["unit"] == "grey levels"
