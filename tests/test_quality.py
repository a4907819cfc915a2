"""What was promised of fitted models, measured against the truth: tables, a small training run, the reference model."""

import pytest
from tabular import answer

import causalcf as ccf
from causalcf.datasets import synthetic
from causalcf.metrics import rmse


def score(scm, data, **options):
    """Truth error and composition under do(thickness), do(intensity)."""
    return ccf.evaluate(scm, data, ["truth error", "composition"], do=["thickness", "intensity"], **options)


def errors(records):
    """(do, node, residual) -> mean error."""
    return {(r.do, r.node, r.residual): r.value for r in records.select(metric="truth error")}


@pytest.mark.parametrize(
    ("oracle", "y", "z"), [(synthetic.AdditiveNoise(), 0.040, 0.055), (synthetic.Heteroscedastic(), 0.060, 0.065)]
)
def test_five_lines_answer_a_table(oracle, y, z):
    rows, others = oracle.sample(10_000, seed=1), oracle.sample(10_000, seed=1001)
    cf, truth = answer(rows, others, seed=1), oracle.counterfactual(others, do={"X": 1.0})
    assert float(rmse(cf["Y"].double(), truth["Y"])) <= y
    assert float(rmse(cf["Z"].double(), truth["Z"])) <= z


def test_a_small_training_run_beats_doing_nothing():
    train, test = ccf.datasets.Digits("train"), ccf.datasets.Digits("test")
    scm = ccf.SCM(train.graph, mechanisms={"image": ccf.mechanisms.VAE(latent=8, widths=(16, 16, 16))})
    scm.fit(train, epochs={"thickness": 40, "intensity": 40, "image": 3}, seed=0, progress=False)
    records = score(scm, test, n=100)
    found = errors(records)
    nothing = {(r.do, r.node): r.identity for r in records}
    assert found["thickness", "image", 1.0] < 0.7 * nothing["thickness", "image"]
    assert found["intensity", "image", 1.0] < 0.2 * nothing["intensity", "image"]
    assert found["thickness", "intensity", 1.0] < 4.0


@pytest.mark.slow
def test_a_whole_training_run_is_close_to_the_truth():
    train, test = ccf.datasets.Digits("train"), ccf.datasets.Digits("test")
    scm = ccf.SCM(train.graph, mechanisms={"image": ccf.mechanisms.VAE()})
    scm.fit(train, epochs={"image": 30}, seed=0, progress=False)
    found = errors(score(scm, test, n=None))
    assert found["thickness", "image", 1.0] < 2.7
    assert found["intensity", "image", 1.0] < 0.5


def test_the_reference_model_is_as_good_as_its_card_says(data_root):
    scm, test = ccf.pretrained("morphomnist-vae"), ccf.datasets.MorphoMNIST(data_root, "test")
    records = score(scm, test, n=100, seed=3)
    found = errors(records)
    assert found["thickness", "image", 1.0] < 2.0
    assert found["intensity", "image", 1.0] < 0.6
    assert found["thickness", "intensity", 1.0] < 0.5
    drift = {(r.metric, r.residual): r.value for r in records.select(node="image", do="")}
    assert drift["composition(1)", 1.0] < 1e-3
    assert drift["composition(10)", 1.0] < 1e-3
    assert drift["composition(1)", 0.0] < 4.2
    assert drift["composition(10)", 0.0] < 9.9
