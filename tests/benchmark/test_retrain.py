"""A model is made again by the commands in its file: a fit, or a fit and then its fine-tuning."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import causalcf as ccf
from causalcf import benchmark as benchmark_tables
from causalcf import cli, predictors
from causalcf.benchmark import retrain
from causalcf.benchmark.retrain import refit_arguments
from causalcf.cli import learn
from causalcf.core.errors import CausalCFError, DataError
from causalcf.datasets.bars import Bars
from causalcf.mechanisms import Recipe
from causalcf.predictors import Predictor


def _same(one: Path, other: Path) -> bool:
    first, second = (ccf.SCM.load(path).state_dict() for path in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line in this process, under the name that the shell would give it."""

    def run(arguments: list[str], _processes: int = 1) -> None:
        monkeypatch.setattr("sys.argv", ["causalcf", *arguments])
        cli.app(arguments, prog_name="causalcf", standalone_mode=False)

    return run


@pytest.fixture
def tuned(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model that was fitted and then fine-tuned from the command line."""
    bars = Bars(200, seed=0)
    monkeypatch.setattr(learn, "load_data", lambda *_, **__: bars)
    bars.graph.save(tmp_path / "bars.json")
    reader = Predictor("side", bars.variables["side"], bars.variables["image"], widths=(4, 8), hidden=8)  # type: ignore[arg-type]
    predictors.fit(reader, bars, which="tune", recipe=Recipe(epochs=1, batch_size=32), progress=False)
    reader.save(tmp_path / "readers" / "bars.side.tune.safetensors")
    options = ["--data", "bars", "--epochs", "1", "--threads", "1", "--quiet"]
    mechanism = "image=VAE(latent=2, widths=(8, 8, 8))"
    first = str(tmp_path / "first.safetensors")
    run(["fit", str(tmp_path / "bars.json"), "--mechanism", mechanism, "--seed", "1", *options, "--out", first])
    readers = ["--predictors", str(tmp_path / "readers")]
    tuned = tmp_path / "tuned.safetensors"
    run(["finetune", *options, first, *readers, "--slack", "0.5", "--seed", "2", "--out", str(tuned)])
    return tuned


def test_a_fitted_model_is_made_again_by_its_own_command(tmp_path: Path) -> None:
    old, new = tmp_path / "old.safetensors", tmp_path / "models" / "new.safetensors"
    graph, table = tmp_path / "graph.json", tmp_path / "table.csv"
    ccf.CausalGraph([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}).save(graph)
    table.write_text("x,y\n" + "".join(f"{i % 7},{i % 5 + i % 7}\n" for i in range(60)))
    command = f"causalcf fit {graph} --data {table} --mechanism y=Flow --epochs 1 --threads 1 --quiet --out {old}"
    cli.app(shlex.split(command)[1:], prog_name="causalcf", standalone_mode=False)
    benchmark_tables.refit({"command": command}, new)
    assert ccf.SCM.load(new).provenance["command"].startswith("causalcf fit")
    assert _same(old, new)


@pytest.fixture
def record(tmp_path: Path, tuned: Path) -> dict[str, Any]:
    """How that model was made; what it was tuned from is gone, and must be made again too."""
    (tmp_path / "first.safetensors").unlink()
    return ccf.SCM.load(tuned).provenance


@pytest.fixture
def made(run: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that run to make a model again."""
    made: list[str] = []

    def recorded(arguments: list[str], processes: int) -> None:
        made.append(arguments[0])
        run(arguments, processes)

    monkeypatch.setattr(retrain, "_run", recorded)
    return made


def test_a_tuned_model_is_fitted_and_tuned_again(
    tmp_path: Path, tuned: Path, record: dict[str, Any], made: list[str]
) -> None:
    again = benchmark_tables.refit(record, tmp_path / "models" / "again.safetensors")
    assert _same(tuned, again)
    assert made == ["fit", "finetune"]
    assert [path.name for path in again.parent.glob("*.safetensors")] == ["again.safetensors"]


@pytest.mark.usefixtures("made")
def test_what_was_made_again_can_be_made_again(tmp_path: Path, tuned: Path, record: dict[str, Any]) -> None:
    made_again = ccf.SCM.load(benchmark_tables.refit(record, tmp_path / "models" / "again.safetensors")).provenance
    for old, new in ((record, made_again), (record["made_from"], made_again["made_from"])):
        assert (new["seed"], new["rows"], new["precision"]) == (old["seed"], old["rows"], old["precision"])
    assert made_again["tuned"]["level"] == record["tuned"]["level"]
    third = benchmark_tables.refit(made_again, tmp_path / "third" / "again.safetensors")
    assert _same(tuned, third)


@pytest.fixture
def killed(record: dict[str, Any], run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that ran until the second one was killed, and those that run from then on."""
    made: list[str] = []

    def killed(arguments: list[str], processes: int) -> None:
        if arguments[0] == "finetune" and made == ["fit"]:
            made.append("killed")
            raise CausalCFError("killed")
        made.append(arguments[0])
        run(arguments, processes)

    monkeypatch.setattr(retrain, "_run", killed)
    with pytest.raises(CausalCFError, match="killed"):
        benchmark_tables.refit(record, tmp_path / "models" / "again.safetensors")
    return made


def test_a_killed_run_goes_on_from_the_first_step(
    tmp_path: Path, tuned: Path, record: dict[str, Any], killed: list[str]
) -> None:
    out = tmp_path / "models" / "again.safetensors"
    benchmark_tables.refit(record, out)
    assert killed == ["fit", "killed", "finetune"]
    assert _same(tuned, out)


def test_a_step_that_another_command_has_made_is_not_taken_for_it(
    tmp_path: Path, tuned: Path, record: dict[str, Any], made: list[str]
) -> None:
    out = tmp_path / "models" / "again.safetensors"
    out.parent.mkdir()
    ccf.SCM.load(tuned).save(out.with_name("again.step1.safetensors"))
    benchmark_tables.refit(record, out)
    assert made == ["fit", "finetune"]
    assert _same(tuned, out)


def test_what_is_not_recorded_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "_run", None)  # nothing runs before all is known
    out = tmp_path / "m.safetensors"
    fit, tune = "causalcf fit chain --data t.csv --out a.safetensors", "causalcf finetune a.safetensors --data t.csv"
    for command in ("", "python train.py", "causalcf demo", "rm -r ."):
        with pytest.raises(DataError, match="not made by `causalcf fit` or `finetune` but by"):
            benchmark_tables.refit({"command": command}, out)
        with pytest.raises(DataError, match="not made by `causalcf fit` or `finetune` but by"):
            benchmark_tables.refit({"command": tune, "made_from": {"command": command}}, out)
    for record in ({}, {"made_from": {"command": fit}}):
        with pytest.raises(DataError, match="but by an unrecorded command"):
            benchmark_tables.refit(record, out)
    for record in ({"command": tune}, {"command": tune, "made_from": {}}):
        with pytest.raises(DataError, match=r"made by `causalcf finetune a\.safetensors.*how the model that it"):
            benchmark_tables.refit(record, out)


def test_arguments_are_kept_but_for_where_it_goes() -> None:
    command = "causalcf finetune --quiet --do digit=2 morphomnist-vae --out=runs/tuned.safetensors --resume --seed 3"
    words = ["finetune", "--quiet", "--do", "digit=2", "morphomnist-vae", "--seed", "3", "--out", "m.safetensors"]
    assert refit_arguments(command, "m.safetensors", root="data", device="cuda") == [
        *(*words, "--root", "data", "--device", "cuda")
    ]
    elsewhere = "causalcf fit chain --root=/data/resume/x --no-resume --out old.safetensors"
    kept = ["fit", "chain", "--root=/data/resume/x", "--out", "m.safetensors"]
    assert refit_arguments(elsewhere, "m.safetensors") == kept
    words[4] = "before.safetensors"
    assert refit_arguments(command, "m.safetensors", model="before.safetensors") == words


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("causalcf fit chain --data t.csv --plugin evil.py", "has the option '--plugin', which `fit` and `finetune`"),
        ("causalcf fit chain --checkpoint=/etc/passwd", "has the option '--checkpoint'"),
        ("causalcf fit chain -o evil", "has the option '-o'"),
        ("causalcf fit chain --threads 1000000", "made with 1000000 threads: expected 1 to"),
        ("causalcf fit chain --threads=-1", "made with -1 threads"),
        ("causalcf fit 'chain", "but by `causalcf fit 'chain`"),
    ],
)
def test_a_file_decides_nothing_else_of_what_runs(command: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        refit_arguments(command, "m.safetensors")


@pytest.mark.parametrize("processes", [0, 10**9, "2; rm -r .", None, True, 2.0])
def test_the_number_of_processes_is_checked(processes: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "_run", None)
    record = {"command": "causalcf fit chain --data t.csv", "processes": processes}
    with pytest.raises(DataError, match="processes: expected 1 to"):
        benchmark_tables.refit(record, tmp_path / "m.safetensors")


def test_processes_that_trained_together_do_so_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def recorded(command: list[str], **_: Any) -> Any:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(retrain.subprocess, "run", recorded)
    command = "causalcf fit chain --data t.csv --out a.safetensors"
    for processes in (1, 2):
        benchmark_tables.refit({"command": command, "processes": processes}, tmp_path / "b.safetensors")
    assert "torch.distributed.run" not in ran[0]
    at = ran[1].index("--nproc-per-node")
    assert ran[1][1:3] == ["-m", "torch.distributed.run"]
    assert ran[1][at + 1] == "2"
    assert ran[1][-6:] == ["fit", "chain", "--data", "t.csv", "--out", str(tmp_path / "b.safetensors")]


def test_every_reference_model_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ccf.pretrained_names():
        made: list[list[str]] = []

        def recorded(arguments: list[str], _processes: int, made: list[list[str]] = made) -> None:
            made.append(arguments)
            Path(arguments[-1]).touch()

        monkeypatch.setattr(retrain, "_run", recorded)
        record = ccf.pretrained(name).provenance
        benchmark_tables.refit(record, tmp_path / f"{name}.safetensors")
        steps = ["fit", "finetune"] if "tuned" in record else ["fit"]
        assert [words[0] for words in made] == steps, name
        assert made[-1][-2:] == ["--out", str(tmp_path / f"{name}.safetensors")]
        if "tuned" in record:
            assert made[1][1] == made[0][-1], "the second step tunes what the first one has made"
