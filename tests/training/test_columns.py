"""Training on columns that are not in memory: the same bits, no more memory with more rows, each process its share."""

import sys
from typing import Any

import pytest
import torch
from data.test_columns import Watched

import causalcf as ccf
from causalcf import predictors
from causalcf.core.columns import BLOCK, Column
from causalcf.costs.pictures import fit_memory
from causalcf.mechanisms import GAN, VAE, LinearGaussian, Recipe
from causalcf.predictors import Predictor

ROWS = BLOCK + 60
X = torch.rand(ROWS, generator=torch.Generator().manual_seed(0))
SIDE = torch.arange(ROWS) // 2 % 2
LIGHT = (200 * X)[:, None, None, None] + 50 * torch.rand(ROWS, 3, 8, 8, generator=torch.Generator().manual_seed(1))
PIXELS = LIGHT.to(torch.uint8)
VARIABLES = {"x": ccf.Real(), "side": ccf.Categorical(2), "image": ccf.Image(3, 8, 8)}
EDGES = [("x", "image"), ("side", "image")]
RECIPE = Recipe(epochs=1, batch_size=64, accumulate=2)
KINDS = {
    "vae": VAE(latent=2, widths=(4, 4, 4), by_category=True, recipe=RECIPE),
    "gan": GAN(latent=2, widths=(4, 4, 4)),
}


def _fitted(image: Any, kind: str = "vae", **options: Any) -> ccf.SCM:
    mechanisms = {"x": LinearGaussian(), "image": KINDS[kind]}
    scm = ccf.SCM(EDGES, VARIABLES, mechanisms)
    return scm.fit({"x": X, "side": SIDE, "image": image}, epochs=1, seed=0, progress=False, **options)


def _tuner(image: Any) -> Predictor:
    judge = Predictor("side", VARIABLES["side"], VARIABLES["image"], widths=(4,), hidden=4)
    data = {"side": SIDE, "image": image}
    return predictors.fit(judge, data, which="tune", recipe=Recipe(epochs=1, batch_size=32), progress=False)


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[ccf.SCM, Watched]]:
    """In memory, and streamed: the model, and the store it was fitted on."""
    stores = {"memory": Watched(PIXELS), "streamed": Watched(PIXELS)}
    images = {"memory": PIXELS.float() / 255, "streamed": Column(stores["streamed"])}
    return {how: (_fitted(image), stores[how]) for how, image in images.items()}


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _losses(scm: ccf.SCM) -> list[Any]:
    return [(record["losses"], record["validation"]) for record in scm.history]


def test_a_model_is_the_same_to_the_last_bit(models: dict[str, tuple[ccf.SCM, Watched]]) -> None:
    memory, streamed = models["memory"][0], models["streamed"][0]
    assert _same(memory, streamed)
    assert _losses(memory) == _losses(streamed)
    assert memory.seen == streamed.seen


@pytest.mark.parametrize(("kind", "precision"), [("gan", "32-true"), ("vae", "64-true")])
def test_adversaries_and_64_bits_too(kind: str, precision: str) -> None:
    images = (PIXELS.float() / 255, PIXELS)
    memory, streamed = (_fitted(image, kind, precision=precision) for image in images)
    assert _same(memory, streamed)


def test_fit_never_reads_more_than_a_block(models: dict[str, tuple[ccf.SCM, Watched]]) -> None:
    taken = models["streamed"][1].taken
    assert max(map(len, taken)) <= max(BLOCK, 500)
    assert {row for rows in taken for row in rows} == set(range(ROWS))


def test_a_killed_run_goes_on_with_the_data_wherever_they_are(tmp_path) -> None:
    path = tmp_path / "run"
    whole = _fitted(PIXELS.float() / 255, checkpoint=path)
    again = _fitted(Column(Watched(PIXELS)), checkpoint=path, resume=True)
    assert _same(whole, again)


def test_predictors_and_finetuning_too(models: dict[str, tuple[ccf.SCM, Watched]]) -> None:
    store = Watched(PIXELS)
    images = (PIXELS.float() / 255, Column(store))
    tuners = [_tuner(image) for image in images]
    assert _same(*tuners)
    assert tuners[0].score == tuners[1].score
    recipe = Recipe(epochs=1, batch_size=64)
    tuned = [
        ccf.finetune(
            models["memory"][0], {"x": X, "side": SIDE, "image": image}, [tuners[0]], recipe=recipe, seed=0,
            progress=False,
        )
        for image in images[:1]
    ]  # fmt: skip
    scm = ccf.finetune(
        models["streamed"][0], {"x": X, "side": SIDE, "image": images[1]}, [tuners[0]], recipe=recipe, seed=0,
        progress=False,
    )  # fmt: skip
    assert _same(tuned[0], scm)
    assert max(map(len, store.taken)) <= BLOCK


def test_questions_scores_and_explanations_read_what_they_ask_about(models: dict[str, tuple[ccf.SCM, Watched]]) -> None:
    scm, store = models["memory"][0], Watched(PIXELS)
    floats = {"x": X, "side": SIDE, "image": PIXELS.float() / 255}
    data = ccf.Batch({"x": X, "side": SIDE, "image": Column(store)})
    do = {"x": 0.5}
    cf = scm.counterfactual(data[:5], do=do, seed=0)
    assert store.taken == [list(range(5))]
    memory = scm.counterfactual(ccf.Batch(floats)[:5], do=do, seed=0)
    assert torch.equal(cf["image"], memory["image"])
    assert torch.equal(cf.factual["image"], floats["image"][:5])
    store.taken.clear()
    found, expected = (ccf.evaluate(scm, x, ["composition"], n=20) for x in (data, floats))
    assert [record.value for record in found] == [record.value for record in expected]
    assert max(map(len, store.taken)) <= BLOCK
    explainer = ccf.explainers.REVISE(scm, classifier=_tuner(PIXELS), node="image", max_steps=2)
    answers = [explainer.explain(x, target=0, seed=0).counterfactual for x in (data[:3], ccf.Batch(floats)[:3])]
    assert torch.equal(*answers)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_memory_of_fit_does_not_grow_with_the_rows() -> None:
    cost = fit_memory(700, 5000)
    assert cost.ratio < 0.25, f"{cost.ours:.0f} MiB; the rows have {cost.reference:.0f} as bytes, four times as floats"
