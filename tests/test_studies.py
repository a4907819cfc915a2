"""The studies of explanations, at small size, on digits that need no download: every step, from training to figures."""

import csv
import json

import augmentation
import c3lt
import clarity
import losocs
import missing
import mixture_search
import peers
import pytest
import torch
import typer
from setting import Setting
from typer.testing import CliRunner

import causalcf as ccf
from causalcf.variables.codes import Categorical
from causalcf.variables.scalar import Interval
from causalcf.variables.table import Table

SMALL = ["--data", "digits", "--epochs", "1", "--steps", "4"]


def _run(study, out, *options):
    app = typer.Typer(add_completion=False)
    app.command()(study.main)
    result = CliRunner().invoke(app, [*SMALL, "--out", str(out), *options])
    assert result.exit_code == 0, result.exception
    return result.stdout


def _table(path):
    lines = list(csv.DictReader(path.read_text().splitlines()))
    return {line.pop(""): {name: float(value) for name, value in line.items()} for line in lines}


def test_losocs_writes_its_tables_and_figures(tmp_path):
    said = _run(losocs, tmp_path, "--n", "6", "--frames", "5")
    lines = _table(tmp_path / "streams.csv")
    assert lines["the factual"]["proximity"] == 0
    assert lines["paper"]["linearity"] == pytest.approx(0.58)
    cohorts = _table(tmp_path / "cohorts.csv")
    assert "random to random" in cohorts
    assert set(cohorts) <= set(losocs.COHORTS)
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("streams.png", "trajectories.png"))
    assert "even steps" in said
    text = (tmp_path / "streams.json").read_text()
    assert json.loads(text)["provenance"]["seed"] == 0
    assert "NaN" not in text


def test_clarity_asks_every_method_the_same_queries(tmp_path):
    _run(clarity, tmp_path, "--n", "6", "--members", "2", "--image-members", "2", "--rows", "200")
    lines = _table(tmp_path / "methods.csv")
    assert {"Schut", "REVISE-E", "latent classifier", "Clarity", "noise"} <= set(lines)
    assert all(lines[name]["steps"] <= 4 for name in ("image gradient", "REVISE", "Clarity"))
    assert (tmp_path / "methods.png").stat().st_size > 10_000


def test_peers_are_compared_where_they_are_installed(tmp_path, monkeypatch):
    black = peers.Peer("a peer", "math", lambda task: torch.zeros_like(task.x))
    absent = peers.Peer("nowhere-to-be-found", "nowhere_to_be_found", peers.our_pgd)
    same = peers.Peer("pytest", "pytest", peers.our_pgd)
    monkeypatch.setitem(peers.ALGORITHMS, "PGD", (peers.our_pgd, [black, absent, same]))
    said = _run(peers, tmp_path, "--n", "6", "--repeats", "1")
    lines = _table(tmp_path / "PGD.csv")
    assert set(lines) == {f"causalcf {ccf.__version__}", "a peer", f"pytest {pytest.__version__}"}
    assert lines[f"pytest {pytest.__version__}"]["images equal to ours"] == 1
    assert lines["a peer"]["images equal to ours"] == 0
    assert lines["a peer"]["times ours"] < 1
    assert "nowhere-to-be-found" in said.splitlines()[-1]
    assert {"elastic-net.csv", "pertinent-negatives.json"} <= {path.name for path in tmp_path.iterdir()}


def test_references_are_what_they_say():
    setting = Setting("digits")
    setting.classifier = setting.judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
    setting.autoencoders = None
    x, target = setting.queries(None, None, 10)
    source = setting.classifier(x).argmax(1)
    assert (source != target).all()
    found = setting.references(x, source, target)
    assert found["the factual"]["proximity"].sum() == 0
    assert found["the factual"]["valid"].sum() == 0
    assert found["noise"]["proximity"].mean() > found["real images of the target"]["proximity"].mean()


def test_networks_of_other_settings_are_not_taken(tmp_path):
    def bias(epochs, seed):
        return Setting("digits", tmp_path, epochs=epochs, seed=seed).classifier[0].bias

    first = bias(1, 0)
    files = list(tmp_path.iterdir())
    assert torch.equal(bias(1, 0), first)
    assert list(tmp_path.iterdir()) == files
    assert not torch.equal(bias(2, 0), first)
    assert not torch.equal(bias(1, 7), first)
    assert len(list(tmp_path.iterdir())) == 3


def test_augmentation_turns_the_shortcut_round(tmp_path):
    train = ccf.datasets.Digits("train")
    rows, turned = augmentation.confounded(train, 20), augmentation.confounded(train, 20, turned=True)
    for chosen, sign in ((rows, 1), (turned, -1)):
        x = train[chosen]
        assert torch.corrcoef(torch.stack([x["thickness"], x["digit"].float()]))[0, 1] * sign > 0.8
    app = typer.Typer(add_completion=False)
    app.command()(augmentation.main)
    options = ["--data", "digits", "--model", "morphomnist-vae", "--rows", "5", "--epochs", "2", "--seeds", "1"]
    result = CliRunner().invoke(app, [*options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.exception
    lines = _table(tmp_path / "augmentation.csv")
    assert list(lines) == ["nothing", "noise of the same size", "counterfactuals of the model", "true counterfactuals"]
    assert all(0 <= line["turned round"] <= 1 for line in lines.values())
    again = ccf.datasets.from_shards(tmp_path / "counterfactuals")
    moved = train[again.index]["thickness"] != again["thickness"]
    assert moved.float().mean() > 0.8, "every row takes the thickness of another"


@pytest.mark.slow  # half a minute: six methods are trained
def test_c3lt_compares_takes_apart_and_debugs(tmp_path):
    said = _run(c3lt, tmp_path, "--n", "12", "--slow", "2", "--rows", "300", "--few", "150",
                "--passes", "1", "--rounds", "2")  # fmt: skip
    lines = _table(tmp_path / "methods.csv")
    assert {"C3LT", "ExplainGAN", "CycleGAN", "CEM", "CVE", "PGD", "noise"} <= set(lines)
    assert lines["CEM"]["rows"] == 2
    assert lines["the factual"]["valid"] == 0
    assert lines["C3LT, paper"]["10 IM2"] == pytest.approx(0.36)
    assert set(c3lt.ABLATION) < set(_table(tmp_path / "ablation.csv"))
    assert {"rigged, 4 to 9", "rigged, 4 to 1"} == set(_table(tmp_path / "rigged.csv"))
    assert "may never have seen" in said
    names = ("methods.png", "latents.png", "rigged.png", "steps.png")
    assert all((tmp_path / name).stat().st_size > 10_000 for name in names)


def test_queries_of_pairs_take_turns():
    setting = Setting("digits")
    setting.classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
    with torch.no_grad():  # says what the label is: the label is written into the first pixel
        setting.test["image"][:, 0, 0, 0] = setting.test["digit"] / 10
        weight, bias = setting.classifier[1].weight.zero_(), setting.classifier[1].bias
        weight[:, 0], bias[:] = 20 * torch.arange(10.0), -(torch.arange(10.0) ** 2)
    x, target = c3lt.queries(setting, 3)
    source = (10 * x[:, 0, 0, 0]).round().long()
    assert source[:6].tolist() == [3, 4, 5, 8, 9, 6]
    assert target[:6].tolist() == [8, 9, 6, 3, 4, 5]
    assert len(x) == 18


def test_mixture_search_repeats_and_averages(tmp_path):
    out = tmp_path / "mixture"
    app = typer.Typer(add_completion=False)
    app.command()(mixture_search.main)
    small = ["--data", "digits", "--repeats", "2", "--rows", "100", "--epochs", "1", "--n", "4", "--slow", "1",
             "--steps", "3", "--actor-steps", "3", "--out", str(out)]  # fmt: skip
    result = CliRunner().invoke(app, small)
    assert result.exit_code == 0, result.exception
    lines = _table(out / "methods.csv")
    assert {"MixtureSearch", "GDL", "CFProto", "CFRL", "the factual", "noise"} <= set(lines)
    assert lines["MixtureSearch"]["repeats"] == 2
    assert lines["CFProto"]["repeats"] == lines["CFProto"]["rows"] == 1
    assert lines["the factual"]["sparsity"] == lines["the factual"]["valid"] == 0
    assert len(json.loads((out / "methods.json").read_text())["classifier"]) == 2
    assert all((out / name).stat().st_size > 10_000 for name in ("methods.png", "lines.png", "latents.png"))


def test_mixture_search_of_a_table_keeps_categories():
    table = Table({"a": Interval(0, 1), "b": Categorical(["x", "y", "z"])})
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(400, generator=generator), torch.randint(3, (400,), generator=generator)
    problem = mixture_search.Problem(table, table.pack({"a": a, "b": b}), (a > 0.5).long(), ("low", "high"))
    repeat = mixture_search.Repeat.made(problem, 2, None, seed=0)
    assert len(repeat.train.x) == 320
    x = repeat.queries(5)
    assert (repeat.classifier(x).argmax(1) == 0).all()
    half = x.clone()
    half[:, 0], half[:, 1:] = 0.9, torch.tensor([0.2, 0.5, 0.3])
    found = mixture_search.score(repeat, half, x)
    assert found["valid"] == 1
    # The likeliest category counts: a row that had it has changed its number only.
    whole = table.project(half)
    assert found["sparsity"] == pytest.approx(float((whole - x).abs().sum(1).mean()))
    assert mixture_search.score(repeat, half, x, torch.zeros(5, dtype=torch.bool))["valid"] == 0


def test_the_study_of_gaps_tells_chance_from_choice():
    found = missing.study(rows=1500, seed=0)
    assert found["given y"]["by the model"] < 0.15 < 0.25 < found["given y"]["drop the rows"]
    assert found["by m itself"]["by the model"] > 0.15
