"""What is missing, inferred: closed forms for linear Gaussian models and categories, Pyro for the rest."""

import warnings

import pyro
import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import DataError, InterventionError
from causalcf.queries.examples import linear, switch
from causalcf.scm.inference import infer

ROWS = {"x": [1.0, -2.0, 0.5], "m": [0.0, 0.0, 2.0], "y": [3.0, 1.0, 0.0]}


def _asked(scm: ccf.SCM, rows: dict, lacks: dict[str, list[bool]], n: int = 4000, **options):
    x = scm.read(rows)
    missing = {node: torch.tensor(gaps) for node, gaps in lacks.items()}
    return infer(scm.graph, scm.mechanisms, x, missing, num_samples=n, seed=0, **options)


def test_linear_gaussian_models_are_conditioned_in_closed_form() -> None:
    # m | x, y: precision 1 + 4, mean (.6 x + 2 (y - .5 x)) / 5.
    found = _asked(linear(), ROWS, {"m": [True, True, False]}, n=20_000)
    assert found.exact
    x, y = torch.tensor(ROWS["x"]), torch.tensor(ROWS["y"])
    truth = (0.6 * x + 2 * (y - 0.5 * x)) / 5
    assert torch.allclose(found.mean("m")[:2], truth[:2], atol=0.02)
    assert float(found.draws["m"][:, 0].std()) == pytest.approx(5**-0.5, rel=0.03)
    assert bool((found.draws["m"][:, 2] == 2.0).all()), "what was observed stays"
    assert bool((found.effective - 20_000).abs().max() < 1)


def test_importance_sampling_meets_the_closed_form() -> None:
    scm = linear()
    exact = _asked(scm, ROWS, {"m": [True, True, False]}, n=20_000)
    from causalcf.scm import inference

    missing = {"m": torch.tensor([True, True, False])}
    draws, log_weights = inference._weighted(scm.graph, scm.mechanisms, scm.read(ROWS), missing, 20_000)
    weights = (log_weights - log_weights.logsumexp(0)).exp()
    mean = (weights * draws["m"]).sum(0)
    assert torch.allclose(mean.float(), exact.mean("m"), atol=0.05)


def test_missing_causes_are_inferred_from_their_effects() -> None:
    found = _asked(linear(), ROWS, {"x": [True, True, True], "m": [True, True, True]}, n=20_000)
    # y = 1.7 x + 2 u + e: E[x | y] = 1.7 y / (2.89 + 4 + 1).
    assert torch.allclose(found.mean("x"), 1.7 * torch.tensor(ROWS["y"]) / 7.89, atol=0.04)


def test_categories_are_summed_out() -> None:
    scm = switch()
    rows = {"x": [True, True], "y": [True, False]}
    found = _asked(scm, rows, {"x": [True, True]}, n=7)
    assert found.exact
    assert found.weights.shape == (2, 2), "one draw a combination"
    p_x = scm.log_prob({"x": [True], "y": [True]})["x"].exp()
    on = [scm.log_prob({"x": [True], "y": [value]})["y"].exp() for value in (True, False)]
    off = [scm.log_prob({"x": [False], "y": [value]})["y"].exp() for value in (True, False)]
    truth = torch.cat([p_x * a / (p_x * a + (1 - p_x) * b) for a, b in zip(on, off, strict=True)])
    assert torch.allclose(found.mean("x")[:, 1], truth.to(found.weights), atol=1e-6)


def test_pyros_importance_sampling_agrees() -> None:
    """Of the same program, conditioned on the same row, with the same prior as proposal."""
    scm = ccf.SCM([("x", "y"), ("y", "p")], {"x": ccf.Real(), "y": ccf.Real(), "p": ccf.Positive()})
    scm.fit({node: _many(node) for node in "xyp"}, epochs=3, seed=0, progress=False)
    evidence = {"x": torch.tensor([0.3]), "p": torch.tensor([1.5])}
    found = _asked(scm, {**evidence, "y": [0.0]}, {"y": [True]}, n=20_000)
    program = pyro.condition(scm.model, data=evidence)
    posterior = pyro.infer.Importance(program, num_samples=1500).run(1)
    weights = torch.stack([torch.as_tensor(w) for w in posterior.log_weights]).softmax(0)
    values = torch.stack([trace.nodes["y"]["value"][0] for trace in posterior.exec_traces])
    assert float(found.mean("y")) == pytest.approx(float((weights * values).sum()), abs=0.08)


def _many(node: str) -> Tensor:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(800, generator=g)
    y = x + 0.5 * torch.randn(800, generator=g)
    return {"x": x, "y": y, "p": (0.3 * y + 0.2 * torch.randn(800, generator=g)).exp()}[node]


def test_a_poor_posterior_is_said_to_be_poor() -> None:
    scm = ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()})
    scm.fit({"x": _many("x"), "y": _many("x") + 0.001 * _many("y")}, epochs=2, seed=0, progress=False)
    with pytest.warns(UserWarning, match=r"fewer than 10 effective draws .* Draw more, num_samples"):
        _asked(scm, {"x": [0.0], "y": [60.0]}, {"x": [True]}, n=200)


def test_nothing_missing_is_nothing_to_infer() -> None:
    found = _asked(linear(), ROWS, {"m": [False, False, False]}, n=3)
    assert found.exact
    assert found.missing == {}
    assert torch.equal(found.draws["y"][2], torch.tensor(ROWS["y"]))


def test_resampled_rows_follow_the_weights() -> None:
    found = _asked(switch(), {"x": [True], "y": [True]}, {"x": [True]}, n=1)
    share = found.resampled(4000)["x"].float().mean()
    assert float(share) == pytest.approx(float(found.mean("x")[0, 1]), abs=0.03)


def test_what_has_no_density_is_named() -> None:
    scm = ccf.pretrained("morphomnist-gan")
    x = scm.sample(2, seed=0)
    with warnings.catch_warnings(), pytest.raises(DataError, match="'image' has no density"):
        _asked(scm, dict(x), {"thickness": [True, True]}, n=20)


# ---------------------------------------------------------------------- the verbs


def test_rows_with_gaps_are_inferred_by_the_model() -> None:
    rows = {"x": [1.0, -2.0, 0.5], "m": [float("nan"), None, 2.0], "y": [3.0, 1.0, 0.0]}
    posterior = linear().infer(rows, num_samples=4000, seed=0)
    assert posterior.exact
    assert posterior.missing["m"].tolist() == [True, True, False]
    truth = torch.tensor([(0.6 + 2 * 2.5) / 5, (-1.2 + 2 * 2.0) / 5, 2.0])
    assert torch.allclose(posterior.mean("m"), truth, atol=0.03)


def test_a_counterfactual_of_a_row_with_a_gap_is_an_average_over_what_it_may_have_been() -> None:
    rows = {"x": [1.0], "y": [3.0]}
    cf = linear().counterfactual(rows, do={"x": 2.0}, missing="infer", num_samples=500, seed=0)
    assert cf["y"].shape == (500, 1)
    # In a linear model y moves by 1.7 whatever m was; m by .6 from what it may have been.
    assert torch.allclose(cf["y"], torch.tensor(4.7), atol=1e-4)
    assert float(cf["m"].mean()) == pytest.approx((0.6 + 2 * 2.5) / 5 + 0.6, abs=0.06)
    assert float(cf["m"].std()) == pytest.approx(5**-0.5, rel=0.12)
    again = linear().counterfactual(rows, do={"x": 2.0}, missing="infer", num_samples=500, seed=0)
    assert torch.equal(cf["m"], again["m"])


def test_a_row_is_inferred_alike_in_any_batch() -> None:
    x = linear().sample(5, seed=0)
    both = linear().infer({"x": x["x"], "y": x["y"]}, num_samples=6, seed=1)
    alone = linear().infer(ccf.Batch({"x": x["x"][3:4], "y": x["y"][3:4]}, x.index[3:4]), num_samples=6, seed=1)
    assert torch.allclose(both.draws["m"][:, 3], alone.draws["m"][:, 0])


def test_a_counterfactual_over_gaps_is_alike_in_any_batch() -> None:
    x = switch().sample(6, seed=0)
    rows = ccf.Batch({"y": x["y"]}, x.index)
    options = {"do": {"y": True}, "missing": "infer", "num_samples": 8, "seed": 1}
    both, alone = switch().counterfactual(rows, **options), switch().counterfactual(rows[4:5], **options)
    assert torch.equal(both["x"][:, 4], alone["x"][:, 0])


def test_categories_and_what_follows_without_noise() -> None:
    scm = switch().attach("label", lambda x: torch.where(x, 3.0, -3.0), parents=["x"])
    posterior = scm.infer({"y": [True, False]}, seed=0)
    assert posterior.exact
    assert torch.equal(posterior.draws["label"].bool(), posterior.draws["x"]), "what has no noise follows"
    assert float(posterior.mean("x")[0, 1]) > 0.65
    assert float(posterior.mean("x")[1, 1]) < 0.35


def test_an_image_alone_is_read_by_predictors() -> None:
    scm, judges = ccf.pretrained("morphomnist-vae"), ccf.predictors.pretrained("morphomnist")
    x = ccf.datasets.Digits("test")[:20]
    posterior = scm.infer({"image": x["image"]}, num_samples=30, predictors=judges, seed=0)
    assert not posterior.exact
    error = (posterior.mean("thickness") - x["thickness"]).abs().mean()
    assert float(error) < 0.3 * float(x["thickness"].std()), "of digits drawn by another hand than the judges learned"
    assert float((posterior.mean("digit").argmax(1) == x["digit"]).float().mean()) > 0.8
    cf = scm.counterfactual(
        {"image": x["image"]}, do={"thickness": 5.0}, missing="infer", predictors=judges, num_samples=4, seed=0
    )
    assert cf["image"].shape == (4, 20, 1, 32, 32)
    assert float(cf["image"].mean()) > float(x["image"].mean()), "thicker strokes have more ink"


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda s: s.infer({"w": [1.0]}), DataError, "Nothing was observed: the data have none of the nodes"),
        (lambda s: s.infer({"x": [float("nan")]}), DataError, "every value of every node is missing"),
        (lambda s: s.infer({"x": [1.0]}, num_samples=0), DataError, "num_samples must be at least 1"),
        (lambda s: s.infer({"x": [1.0]}, predictors={}), DataError, r"No predictor reads \['m', 'y'\]"),
        (lambda s: s.counterfactual({"x": [1.0]}, {}, missing="drop"), InterventionError, "choose one of"),
        (lambda s: s.counterfactual({"x": [1.0]}, {}, missing="infer"), InterventionError, "num_samples=100"),
        (lambda s: s.counterfactual({"x": [1.0]}, {}), DataError, r"The data lack \['m', 'y'\]"),
    ],
)
def test_what_cannot_be_inferred_is_refused(ask, error, message) -> None:
    with pytest.raises(error, match=message):
        ask(linear())
