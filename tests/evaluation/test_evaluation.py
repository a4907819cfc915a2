"""`evaluate`: known models score as they must, in the right order, with the truth beside every score."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import networkx as nx
import pandas as pd
import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf import predictors
from causalcf.core.errors import DataError, GraphError, UnknownNodeError
from causalcf.datasets.bars import CENTRES, Bars, draw
from causalcf.datasets.base import Dataset
from causalcf.evaluation.evaluate import select_rows
from causalcf.evaluation.records import Record, Records
from causalcf.evaluation.scores import SCORES
from causalcf.mechanisms import Mechanism, Recipe
from causalcf.mechanisms.base import Kind, Parents
from causalcf.predictors import Predictor, Predictors

ALL = tuple(name for name in SCORES if name != "log density")  # of these models none has a density
DRAWN = ("sample fid", "uncertainty")  # by seeds of their batches


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


class Unsure(PerfectBars):
    """Knows where the bar is to a tenth of a pixel only, and says so when asked for samples."""

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        found = super().abduct(x, pa)
        return {"u": found["u"] + 0.1 * torch.randn(len(x))} if sample else found

    def is_random(self, *, sample: bool) -> bool:
        return sample


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
    models = {"perfect": PerfectBars(), "ignores": IgnoresParents(), "noise": Noisy(), "unsure": Unsure()}
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
        if record.node == "image" and record.identity is not None and not record.metric.startswith("sample"):
            assert math.isclose(record.value, record.identity, rel_tol=1e-5, abs_tol=1e-5), record
    side = found.one(metric="effectiveness", do="side", node="side")
    assert side.value < 0.05, "no bar moved"
    assert side.identity == side.value


def test_noise_scores_as_noise(results: dict[str, Records]) -> None:
    for do in ("width", "brightness", "side"):
        record = results["noise"].one(metric="truth error", do=do, node="image")
        assert record.noise is not None
        assert math.isclose(record.value, record.noise, rel_tol=0.05)


RANKED: dict[str, tuple[dict[str, str], str]] = {
    "effectiveness": (
        {"metric": "effectiveness", "do": "width", "node": "width"},
        "perfect < ignores, perfect < noise",
    ),
    "truth error": ({"metric": "truth error", "do": "side", "node": "image"}, "perfect < ignores < noise"),
    "composition": ({"metric": "composition(10)"}, "perfect = ignores < noise"),
    "reversibility": ({"metric": "reversibility", "do": "width"}, "perfect = ignores < noise"),
    "fid": ({"metric": "fid", "do": "width"}, "perfect < noise, ignores < noise"),  # realism is blind to ignorance
    "kid": ({"metric": "kid", "do": "width"}, "perfect < noise, ignores < noise"),
    "sample fid": ({"metric": "sample fid"}, "perfect < noise"),
    "cld": ({"metric": "cld: closer than images of the new value", "do": "width"}, "ignores < perfect < noise"),
    "unchanged": ({"metric": "unchanged", "do": "side", "node": "width"}, "perfect = ignores = noise"),
    "sharpness": ({"metric": "sharpness", "do": "side"}, "perfect < noise"),
    "uncertainty": ({"metric": "abduction std", "do": "side"}, "perfect < unsure"),
}
"""Score -> a question, and the order of models by its value; `=` within a hundredth of a grey level."""


def test_every_score_ranks_models() -> None:
    assert {*RANKED, "log density"} == set(SCORES)


@pytest.mark.parametrize("name", RANKED)
def test_models_are_ranked_as_they_should_be(name: str, results: dict[str, Records]) -> None:
    wanted, order = RANKED[name]

    def value(model: str) -> float:
        found = [r for r in results[model] if all(getattr(r, k).split("[")[0] == v for k, v in wanted.items())]
        assert len(found) == 1
        return found[0].value

    for chain in order.split(", "):
        models, signs = chain.split()[::2], chain.split()[1::2]
        for first, sign, second in zip(models, signs, models[1:], strict=False):
            a, b = value(first), value(second)
            assert math.isclose(a, b, abs_tol=0.01) if sign == "=" else a < b, f"{first} {a}, {second} {b}"


def test_log_density_tells_data_from_noise(test: Bars) -> None:
    scm = ccf.SCM(test.graph, mechanisms={"image": ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))})
    found = ccf.evaluate(scm.fit(test, epochs=1, seed=0, progress=False), test, ["log density"], n=100)
    record = found.one()
    assert record.noise is not None
    assert record.value > record.noise
    assert (record.unit, record.better, record.judge) == ("nats", "higher", "bound of 8 draws")
    assert "counterfactuals" not in found.seconds, "nothing is acted on"
    with pytest.raises(DataError, match=r"'log density' needs mechanisms that all have a density"):
        ccf.evaluate(_scm(PerfectBars()), test, ["log density"], n=20)


def test_judges_read_a_set_of_images_once(test: Bars, judges: Predictors, monkeypatch: pytest.MonkeyPatch) -> None:
    """The factual images, noise and each answer, however many actions and scores ask for them."""
    counts: list[int] = []
    pooled = Predictor.pooled
    monkeypatch.setattr(Predictor, "pooled", lambda self, image: counts.append(len(image)) or pooled(self, image))
    scm = _scm(IgnoresParents())
    ccf.evaluate(scm, test, ["effectiveness", "fid"], predictors=judges, reference=test[:100], n=60)
    sets = 3 + 3 + 2  # answers, truths, the factual images and noise
    assert sum(n for n in counts if n > 1) == 3 * 60 * sets + 100  # and the real images, by one judge


def test_ensembles_judge_as_their_members_do(test: Bars, judges: Predictors) -> None:
    together = Predictors([predictors.Ensemble([judge]) for judge in judges.values()])
    options: Any = {"metrics": ["effectiveness", "composition"], "n": 60}
    alone, members = (ccf.evaluate(_scm(PerfectBars()), test, predictors=p, **options) for p in (judges, together))
    assert [r.value for r in alone] == [r.value for r in members]


def test_every_score_carries_what_it_needs(results: dict[str, Records], judges: Predictors) -> None:
    for record in results["perfect"]:
        assert (record.n, record.seed, record.device, record.abduction) == (200, 3, "cpu", "mean")
        assert math.isfinite(record.value)
        if record.interval is not None:
            assert record.interval[0] <= record.value + 1e-9
            assert record.value <= record.interval[1] + 1e-9
        if record.metric == "effectiveness":
            assert record.judge == judges[record.node].signature
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


def test_batches_do_not_matter(
    test: Bars, judges: Predictors, latents: ccf.SCM, monkeypatch: pytest.MonkeyPatch
) -> None:
    scm = _scm(ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8)))
    metrics = [name for name in ALL if name not in DRAWN]
    options: Any = {"predictors": judges, "latents": latents, "reference": test, "metrics": metrics, "n": 60}
    whole = ccf.evaluate(scm, test, **options)
    monkeypatch.setattr("causalcf.evaluation.inquiry.BATCH", 7)
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


UNITS = {
    ("effectiveness", "width"): ("px", "lower"),
    ("effectiveness", "brightness"): ("grey levels", "lower"),
    ("effectiveness", "side"): ("accuracy", "higher"),
    ("truth error", "image"): ("grey levels", "lower"),
    ("truth error", "brightness"): ("grey levels", "lower"),
    ("composition(1)", "image"): ("grey levels", "lower"),
    ("composition(10)", "image"): ("grey levels", "lower"),
    ("composition(1) embedding", "image"): ("features", "lower"),
    ("composition(10) embedding", "image"): ("features", "lower"),
    ("reversibility", "image"): ("grey levels", "lower"),
    ("fid", "image"): ("features²", "lower"),
    ("kid", "image"): ("", "lower"),
    ("sample fid", "image"): ("features²", "lower"),
    ("cld", "image"): ("", "lower"),
    ("cld: closer than images of the new value", "image"): ("", "lower"),
    ("cld: farther than images of the old value", "image"): ("", "lower"),
    ("unchanged", "width"): ("share", "higher"),
    ("unchanged", "brightness"): ("share", "higher"),
    ("unchanged", "side"): ("share", "higher"),
    ("sharpness", "image"): ("grey levels²", ""),
    ("abduction std", "image"): ("grey levels", ""),
}
"""Score and node -> unit and direction of better; those of numbers are the variable's."""


def test_records_say_unit_and_direction(results: dict[str, Records]) -> None:
    found = {(r.metric.split("[")[0], r.node): (r.unit, r.better) for r in results["perfect"]}
    assert found == UNITS


@pytest.mark.parametrize(
    ("score", "needs"),
    [
        ("effectiveness", ("image", "predictors")),
        ("truth error", ("truth",)),
        ("composition", ("image",)),
        ("reversibility", ("image",)),
        ("fid", ("image", "reference", "features")),
        ("kid", ("image", "reference", "features")),
        ("sample fid", ("image", "reference", "features")),
        ("cld", ("image", "reference", "latents")),
        ("unchanged", ()),
        ("sharpness", ("image",)),
        ("uncertainty", ("image",)),
        ("log density", ("image", "density")),
    ],
)
def test_scores_need_what_their_metrics_need(score: str, needs: tuple[str, ...]) -> None:
    assert SCORES[score].needs == needs
    rows = {"x": torch.randn(30), "y": torch.randn(30)}
    scm = ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}).fit(rows, epochs=1, seed=0, progress=False)
    found = ccf.evaluate(scm, rows, [score], n=20, optional=True)
    wanted = {"image": "a graph with an image", "truth": "a truth method", "predictors": "predictors=", "density": ""}
    said = found.missing.get(score, "")
    for need in needs:
        assert wanted.get(need, f"{need}=") in said
    assert bool(said) == bool(needs)


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


def test_every_node_that_changes_is_scored_in_its_unit() -> None:
    """Numbers in theirs, booleans by the share that is wrong, and no image is needed."""

    class World(Dataset):
        """heat = 10 light + u, lit = heat > 5."""

        def __init__(self, rows: int = 200) -> None:
            draw = torch.Generator().manual_seed(0)
            self.u, light = torch.randn(rows, generator=draw), torch.rand(rows, generator=draw)
            edges = [("light", "heat"), ("heat", "lit")]
            variables = {"light": ccf.Interval(0, 1), "heat": ccf.Real(unit="K"), "lit": ccf.Boolean()}
            super().__init__(self._see(light, 10 * light + self.u), ccf.CausalGraph(edges, variables))

        def _see(self, light: Tensor, heat: Tensor) -> dict[str, Tensor]:
            return {"light": light, "heat": heat, "lit": heat > 5}

        def truth(self, x: ccf.Batch, do: Mapping[str, Tensor]) -> ccf.Batch:
            light = do.get("light", x["light"])
            heat = do.get("heat", 10 * light + self.u[x.index] if "light" in do else x["heat"])
            return ccf.Batch(self._see(light, heat))

    world = World()
    mechanisms = {
        "light": ccf.mechanisms.Flow(),
        "heat": ccf.mechanisms.LinearGaussian(),
        "lit": ccf.mechanisms.Deterministic(lambda pa: pa["heat"] > 5),
    }
    scm = ccf.SCM(world.graph, mechanisms=mechanisms).fit(world, epochs=1, seed=0, progress=False)
    found = ccf.evaluate(scm, world, ["truth error"], n=100)
    assert {(r.do, r.node): r.unit for r in found} == {
        ("light", "heat"): "K",
        ("light", "lit"): "share wrong",
        ("heat", "lit"): "share wrong",
    }
    heat = found.one(do="light", node="heat")
    assert heat.identity is not None
    assert heat.value < 0.5 < heat.identity
    assert found.one(do="heat").value == 0


def test_residual_1_composes_whatever_the_weights(test: Bars) -> None:
    """Why composition with the full residual proves nothing: a hardly trained VAE passes."""
    found = ccf.evaluate(_scm(ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))), test, ["composition"], n=50)
    assert found.one(metric="composition(10)", residual=1.0).value < 1e-3
    assert found.one(metric="composition(1)", residual=0.0).value > 3


def test_rows_follow_from_the_seed(test: Bars) -> None:
    first, again, other = (select_rows(test, 50, seed).index.tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(select_rows(test, 300, 3).index.tolist())) == 300


def test_optional_scores_that_fail_are_listed(test: Bars, train: Bars, judges: Predictors) -> None:
    wanted = ["effectiveness", "fid", "cld"]
    found = ccf.evaluate(_scm(PerfectBars()), test, wanted, predictors=judges, reference=train, n=20, optional=True)
    assert {r.metric for r in found} == {"effectiveness"}
    assert "at least 50 images" in found.missing["fid"]
    assert "latents=" in found.missing["cld"]


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
    with pytest.raises(DataError, match=r"residuals=\(\): give a sequence"):
        ccf.evaluate(scm, test, residuals=(), n=20)
    other = Predictor("digit", ccf.Categorical(10), ccf.Image(1, 32, 32), widths=(4,), hidden=4)
    with pytest.raises(GraphError, match=r"q\(digit \| image\) is for another graph: \['digit'\]"):
        ccf.evaluate(scm, test, predictors=[other], n=20)
    with pytest.raises(GraphError, match=r"latents= is for another graph: expected one node, 'image' \(1, 16, 16\)"):
        ccf.evaluate(scm, test, latents=scm, n=20)
    with pytest.raises(DataError, match=r"true counterfactual of do\(\) is not known"):
        ccf.evaluate(scm, test, ["truth error"], do=[], n=20)


def test_data_are_read_as_fit_reads_them(test: Bars) -> None:
    """A data frame, arrays, lists; a node that follows from others may be missing."""
    scm = _tabular()
    rows = {node: test[node] for node in ("width", "brightness", "side")}
    expected = ccf.evaluate(scm, rows, ["unchanged"], n=50)
    for data in (
        pd.DataFrame({node: value.numpy() for node, value in rows.items()}),
        {node: value.numpy() for node, value in rows.items()},
        {node: value.tolist() for node, value in rows.items()},
    ):
        assert ccf.evaluate(scm, data, ["unchanged"], n=50) == expected


def _tabular() -> ccf.SCM:
    bars = Bars(200)
    rows = {node: bars[node] for node in ("width", "brightness", "side")}
    edges = [("width", "brightness"), ("side", "brightness"), ("width", "area")]
    variables = {node: bars.variables[node] for node in rows} | {"area": ccf.Real()}
    area = ccf.mechanisms.Deterministic(lambda pa: pa["width"].square())
    return ccf.SCM(edges, variables, {"area": area}).fit(rows, epochs=1, seed=0, progress=False)


def test_a_model_in_double_precision_is_judged(test: Bars, judges: Predictors) -> None:
    scm = _scm(ccf.mechanisms.VAE(latent=4, widths=(8, 8, 8)))
    scm.fit(test, epochs=1, seed=0, progress=False)
    single = ccf.evaluate(scm, test, ["effectiveness", "composition"], predictors=judges, n=20)
    double = ccf.evaluate(scm.double(), test, ["effectiveness", "composition"], predictors=judges, n=20)
    for a, b in zip(single, double, strict=True):
        assert a.value == pytest.approx(b.value, rel=0.02, abs=0.02)
