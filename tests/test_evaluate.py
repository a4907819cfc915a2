"""`evaluate`: known models score as they must, in the right order, with the truth beside every score."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import networkx as nx
import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf import predictors
from causalcf.datasets.bars import CENTRES, Bars, draw
from causalcf.errors import DataError, GraphError, UnknownNodeError
from causalcf.mechanisms import Mechanism, Recipe
from causalcf.mechanisms.base import Kind, Parents
from causalcf.predictors import Predictor, Predictors
from causalcf.records import Record, Records

ALL = ("effectiveness", "truth error", "composition", "reversibility", "fid", "kid", "cld", "unchanged", "sharpness")


@dataclass(eq=False, repr=False)
class PerfectBars(Mechanism):
    """The true image mechanism: abducts how far the bar was moved from where its left edge is."""

    kind: ClassVar[Kind] = "implicit"

    def solve(self, x: Tensor, pa: Parents) -> bool:
        return True

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        return x.new_zeros(())

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        covered = x[:, 0, 8] * 255 / pa["brightness"][:, None]
        first = (covered > 1e-6).long().argmax(1)
        left = first + 1 - covered.gather(1, first[:, None])[:, 0]
        return {"u": left + pa["width"] / 2 - torch.tensor(CENTRES)[pa["side"]]}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        return draw(pa["width"], pa["brightness"], pa["side"], u["u"])

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {"u": 2 * torch.rand(n) - 1}


class IgnoresParents(PerfectBars):
    """Gives the factual image back whatever is done."""

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        return {"u": x}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        return u["u"]

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {"u": torch.rand(n, 1, 16, 16)}


class Noisy(IgnoresParents):
    """Gives noise, the same for all rows."""

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        return torch.rand(u["u"].shape, generator=torch.Generator().manual_seed(0))


@dataclass(eq=False, repr=False)
class TrueBrightness(Mechanism):
    """brightness := 64 + 191 sigmoid(width - 3 + e / 2)."""

    kind: ClassVar[Kind] = "invertible"

    def solve(self, x: Tensor, pa: Parents) -> bool:
        return True

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        return x.new_zeros(())

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        return {"u": 2 * (torch.logit((x.double() - 64) / 191) - (pa["width"].double() - 3))}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        return (64 + 191 * torch.sigmoid(pa["width"] - 3 + u["u"] / 2)).float()

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {"u": torch.randn(n)}


def _scm(image: Mechanism) -> ccf.SCM:
    bars = Bars(200)
    return ccf.SCM(bars.graph, mechanisms={"image": image, "brightness": TrueBrightness()}).fit(
        bars, epochs=1, seed=0, progress=False
    )


@pytest.fixture(scope="module")
def train() -> Bars:
    return Bars(1200, seed=1)


@pytest.fixture(scope="module")
def test() -> Bars:
    return Bars(300, seed=2)


@pytest.fixture(scope="module")
def judges(train: Bars) -> Predictors:
    recipe = Recipe(epochs=10, batch_size=64, lr=5e-3, warmup=20, ema=0.9)
    made = []
    for target in ("width", "brightness", "side"):
        image: Any = train.variables["image"]
        predictor = Predictor(target, train.variables[target], image, widths=(8, 8, 16, 16), hidden=32)
        made.append(predictors.fit(predictor, train, recipe=recipe, progress=False))
    return Predictors(made)


@pytest.fixture(scope="module")
def latents(train: Bars) -> ccf.SCM:
    graph = nx.DiGraph()
    graph.add_node("image")
    vae = ccf.mechanisms.VAE(latent=4, widths=(8, 8, 8))
    scm = ccf.SCM(graph, {"image": train.variables["image"]}, {"image": vae})
    return scm.fit({"image": train["image"][:400]}, epochs=2, seed=0, progress=False)


@pytest.fixture(scope="module")
def results(judges: Predictors, latents: ccf.SCM, train: Bars, test: Bars) -> dict[str, Records]:
    models = {"perfect": PerfectBars(), "ignores": IgnoresParents(), "noise": Noisy()}
    options: Any = {"predictors": judges, "latents": latents, "reference": train[:400], "n": 200, "seed": 3}
    return {name: ccf.evaluate(_scm(image), test, ALL, **options) for name, image in models.items()}


def test_a_perfect_model_scores_as_the_truth(results: dict[str, Records]) -> None:
    for record in results["perfect"]:
        if record.metric == "truth error":
            assert record.value < 0.01, record
        elif record.truth is not None:
            assert math.isclose(record.value, record.truth, rel_tol=0.02, abs_tol=0.02), record
        elif record.metric.startswith(("composition", "reversibility")):
            assert record.value < 0.01, record
    assert {r.metric for r in results["perfect"] if r.truth is not None} >= {"effectiveness", "truth error", "cld"}


def test_a_model_that_ignores_parents_scores_as_the_identity(results: dict[str, Records]) -> None:
    found = results["ignores"]
    for record in found:
        if record.node == "image" and record.identity is not None and record.metric != "unchanged":
            assert math.isclose(record.value, record.identity, rel_tol=1e-5, abs_tol=1e-5), record
    side = found.one(metric="effectiveness", do="side", node="side")
    assert side.value < 0.05, "no bar moved"
    assert side.identity == side.value


def test_noise_scores_as_noise(results: dict[str, Records]) -> None:
    for do in ("width", "brightness", "side"):
        record = results["noise"].one(metric="truth error", do=do, node="image")
        assert record.noise is not None
        assert math.isclose(record.value, record.noise, rel_tol=0.05)


@pytest.mark.parametrize(
    "wanted",
    [
        {"metric": "effectiveness", "do": "width", "node": "width"},
        {"metric": "effectiveness", "do": "side", "node": "side"},
        {"metric": "truth error", "do": "width", "node": "image"},
        {"metric": "truth error", "do": "side", "node": "image"},
    ],
)
def test_models_are_ranked_as_they_should_be(results: dict[str, Records], wanted: dict[str, str]) -> None:
    perfect, ignores, noise = (results[name].one(**wanted) for name in ("perfect", "ignores", "noise"))
    better = (lambda a, b: a > b) if perfect.better == "higher" else (lambda a, b: a < b)
    assert better(perfect.value, ignores.value)
    if wanted != {"metric": "effectiveness", "do": "side", "node": "side"}:  # by chance right a third of the time
        assert better(ignores.value, noise.value) or wanted["metric"] == "effectiveness"


def test_every_score_carries_what_it_needs(results: dict[str, Records], judges: Predictors) -> None:
    for record in results["perfect"]:
        assert (record.n, record.seed, record.device, record.abduction) == (200, 3, "cpu", "mean")
        assert math.isfinite(record.value)
        if record.interval is not None:
            assert record.interval[0] <= record.value + 1e-9
            assert record.value <= record.interval[1] + 1e-9
        if record.metric == "effectiveness":
            assert record.judge == judges[record.node].identity
    fid = results["perfect"].select(do="one at random")
    assert {r.metric.split("[")[0] for r in fid} == {"fid", "kid"}
    assert all(r.judge.startswith("q(side | image)#") for r in fid)
    assert set(results["perfect"].seconds) >= {"counterfactuals", "truth", *ALL}


def test_a_seed_repeats_and_another_does_not(test: Bars, judges: Predictors) -> None:
    scm = _scm(ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8)))
    options: Any = {"metrics": ["effectiveness", "truth error"], "predictors": judges, "n": 60}
    first, again, other = (ccf.evaluate(scm, test, seed=s, **options) for s in (0, 0, 1))
    assert first.records == again.records
    assert first.records != other.records


def test_batches_do_not_matter(test: Bars, judges: Predictors, monkeypatch: pytest.MonkeyPatch) -> None:
    scm = _scm(ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8)))
    options: Any = {"metrics": ["effectiveness", "truth error", "composition"], "predictors": judges, "n": 60}
    whole = ccf.evaluate(scm, test, **options)
    monkeypatch.setattr(ccf.scores, "BATCH", 7)
    monkeypatch.setattr(ccf.predictors.network, "BATCH", 11)
    for record, split in zip(whole, ccf.evaluate(scm, test, **options), strict=True):
        assert math.isclose(record.value, split.value, rel_tol=1e-4, abs_tol=1e-4), record


def test_nets_are_evaluated_in_eval_mode_and_given_back_as_they_were(
    test: Bars, judges: Predictors, latents: ccf.SCM
) -> None:
    scm = _scm(ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8)))
    options: Any = {"predictors": judges, "latents": latents, "reference": test, "n": 60, "do": ["side"]}
    quiet = ccf.evaluate(scm, test, **options)
    for network in (scm, latents, *judges.values()):
        network.train()
    latents.mechanisms["image"].eval()  # a state of mixed modes
    modes = [m.training for net in (scm, latents, *judges.values()) for m in net.modules()]
    loud = ccf.evaluate(scm, test, **options)
    assert modes == [m.training for net in (scm, latents, *judges.values()) for m in net.modules()]
    assert quiet.records == loud.records
    for network in (scm, latents, *judges.values()):
        network.eval()


def test_truth_is_kept_in_a_folder(test: Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scm = _scm(PerfectBars())
    first = ccf.evaluate(scm, test, ["truth error"], n=40, cache=tmp_path)
    assert len(list(tmp_path.glob("truth-*.safetensors"))) == 3
    monkeypatch.setattr(Bars, "truth", lambda *_: pytest.fail("drawn again"))
    assert ccf.evaluate(scm, test, ["truth error"], n=40, cache=tmp_path).records == first.records


def test_what_cannot_be_computed_is_listed(test: Bars) -> None:
    found = ccf.evaluate(_scm(PerfectBars()), dict(test), n=20)
    assert {r.metric for r in found} == {"composition(1)", "composition(10)", "reversibility", "unchanged"}
    assert set(found.missing) == {"effectiveness", "truth error", "fid", "sample fid", "cld"}
    assert "training split" in found.missing["cld"]


def test_records_search_write_and_read(results: dict[str, Records]) -> None:
    found = results["perfect"]
    assert Records.from_json(found.to_json()) == found
    frame = found.to_frame()
    assert list(frame.columns) == list(Record.__dataclass_fields__)
    assert len(frame) == len(found)
    with pytest.raises(DataError, match=r"3 records have .*expected one"):
        found.one(metric="reversibility")
    with pytest.raises(DataError, match=r"Records have no \['colour'\]"):
        found.select(colour="red")


def test_booleans_are_scored_by_f1_too(train: Bars) -> None:
    """A node that says whether the bar is right of the middle."""
    right = {"right": train["side"] == 2, "image": train["image"]}
    scm = ccf.SCM(
        [("right", "image")],
        {"right": ccf.Boolean(), "image": train.variables["image"]},
        {"image": ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))},
    ).fit(right, epochs=1, seed=0, progress=False)
    image: Any = train.variables["image"]
    judge = Predictor("right", ccf.Boolean(), image, widths=(8, 8), hidden=16)
    predictors.fit(judge, right, recipe=Recipe(epochs=4, batch_size=64, lr=5e-3), progress=False)
    found = ccf.evaluate(scm, right, ["effectiveness"], predictors=[judge], n=100)
    assert {r.metric for r in found} == {"effectiveness", "effectiveness (F1)"}


def test_bad_input(test: Bars, train: Bars, judges: Predictors, latents: ccf.SCM) -> None:
    scm = _scm(PerfectBars())
    with pytest.raises(DataError, match=r"'truth error' needs data whose true counterfactuals are known"):
        ccf.evaluate(scm, dict(test), ["truth error"], n=20)
    with pytest.raises(DataError, match=r"'effectiveness' needs predictors="):
        ccf.evaluate(scm, test, ["effectiveness"], n=20)
    with pytest.raises(DataError, match=r"'cld' needs reference= .* and latents="):
        ccf.evaluate(scm, test, ["cld"], n=20)
    with pytest.raises(DataError, match=r"'fid' needs features=, or predictors= with a classifier"):
        ccf.evaluate(scm, test, ["fid"], reference=train, n=20)
    with pytest.raises(DataError, match=r"no scores \['beauty'\]. Known: \['effectiveness'"):
        ccf.evaluate(scm, test, ["beauty"], n=20)
    with pytest.raises(DataError, match=r"fid needs at least 50 images in this feature space, got 20"):
        ccf.evaluate(scm, test, ["fid"], predictors=judges, reference=train, n=20)
    with pytest.raises(DataError, match=r"kid needs at least 50 images"):
        ccf.evaluate(scm, test, ["kid"], predictors=judges, reference=train, n=20)
    with pytest.raises(DataError, match=r"do\(width\): .*all in one bin.*Leave 'width' out of do="):
        ccf.evaluate(scm, {**test, "width": torch.full((300,), 2.0)}, ["unchanged"], n=20)
    with pytest.raises(DataError, match=r"Cannot select 9999 of 300 rows"):
        ccf.evaluate(scm, test, n=9999)
    with pytest.raises(UnknownNodeError, match="height"):
        ccf.evaluate(scm, test, do=["height"], n=20)
    with pytest.raises(DataError, match=r"do\(image\): values are drawn for numbers and categories"):
        ccf.evaluate(scm, test, do=["image"], n=20)
    with pytest.raises(DataError, match=r"The data lack \['side'\]"):
        ccf.evaluate(scm, {k: v for k, v in test.items() if k != "side"}, n=20)
    with pytest.raises(DataError, match="No residual scale"):
        ccf.evaluate(scm, test, residuals=(), n=20)
    other = Predictor("digit", ccf.Categorical(10), ccf.Image(1, 32, 32), widths=(4,), hidden=4)
    with pytest.raises(GraphError, match=r"q\(digit \| image\) is for another graph: \['digit'\]"):
        ccf.evaluate(scm, test, predictors=[other], n=20)
    with pytest.raises(DataError, match=r"true counterfactual of do\(\) is not known"):
        ccf.evaluate(scm, test, ["truth error"], do=[], n=20)
