"""Rows that are drawn by attribute: how often, and by which attributes they may be."""

import pytest
import torch

import causalcf as ccf
from causalcf import predictors
from causalcf.core.errors import TrainingError
from causalcf.data import Batch
from causalcf.mechanisms import VAE, Recipe
from causalcf.training.balancing import drawn_order, row_weights

KNOWN = {"glasses": ccf.Boolean(), "hair": ccf.Categorical(3)}


def test_values_come_equally_often_and_attributes_multiply() -> None:
    generator = torch.Generator().manual_seed(0)
    glasses = torch.rand(2000, generator=generator) < 0.1
    hair = torch.randint(3, (2000,), generator=generator).clamp_min(1) * (torch.rand(2000, generator=generator) < 0.7)
    rows = Batch({"glasses": glasses, "hair": hair})
    torch.manual_seed(0)
    order = drawn_order(20_000, None, torch.device("cpu"))
    assert order.sort().values.equal(torch.arange(20_000)), "each row once where nothing is balanced"
    weights = row_weights(rows, ["glasses", "hair"], KNOWN, "image")
    assert weights is not None
    torch.manual_seed(0)
    order = torch.cat([drawn_order(2000, weights, torch.device("cpu")) for _ in range(10)])
    assert glasses[order].double().mean() == pytest.approx(0.5, abs=0.03)
    shares = torch.bincount(hair[order], minlength=3) / len(order)
    assert shares[shares > 0].allclose(torch.full((int((shares > 0).sum()),), 1 / 3), atol=0.04)


def test_a_row_is_not_drawn_without_end() -> None:
    rows = Batch({"glasses": torch.arange(1000) == 0})
    weights = row_weights(rows, ["glasses"], KNOWN, "image")
    assert weights is not None
    assert weights.max() == 20


def test_a_model_is_balanced_by_the_classes_among_its_parents() -> None:
    bars = ccf.datasets.Bars(60)
    refused = r"'image' cannot be balanced by 'width'. It can be by \['side'\]"
    for name, match in (("width", refused), ("nose", "'image' cannot be balanced by 'nose'")):
        scm = ccf.SCM(bars.graph, mechanisms={"image": VAE(widths=(4, 4, 4))})
        with pytest.raises(TrainingError, match=match):
            scm.fit(bars, recipes={"image": Recipe(epochs=1, balance=(name,))}, progress=False, seed=0)
    with pytest.raises(TrainingError, match=r"balance names attributes, balance=\['side'\]"):
        Recipe(balance="side")  # type: ignore[arg-type]


def test_a_balanced_judge_does_not_weigh_its_classes_twice() -> None:
    bars = ccf.datasets.Bars(120)
    rows = {name: bars[name] for name in bars}
    weights = []
    for balance in ((), ("side",)):
        judge = predictors.Predictor(
            "side", bars.variables["side"], bars.variables["image"], widths=(4, 4), hidden=4  # type: ignore[arg-type]
        )  # fmt: skip
        recipe = Recipe(epochs=1, batch_size=16, balance=balance)
        predictors.fit(judge, rows, which="all", recipe=recipe, progress=False)
        weights.append(judge.weights.tolist())
    assert max(weights[0]) > 1.1, "half are in the middle"
    assert weights[1] == [1, 1, 1]
