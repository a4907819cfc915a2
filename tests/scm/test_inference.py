"""What is missing, inferred: closed forms for linear Gaussian models and categories, Pyro for the rest."""

import warnings

import pyro
import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.errors import DataError
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
    draws, log_weights = inference._weighted(scm.graph, scm.mechanisms, scm.read(ROWS), missing, 20_000, {})
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
