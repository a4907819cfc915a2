import pytest
import torch

from causalcf.core.errors import DataError
from causalcf.metrics import bootstrap, bootstrap_interval, f1_interval


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    scores = torch.randn(20_000, dtype=torch.float64)
    found = bootstrap_interval(scores, resamples=2000)
    half = 1.96 * float(scores.std()) / len(scores) ** 0.5
    assert found.value == pytest.approx(float(scores.mean()))
    # A quantile of 2000 resamples has a relative error of about 3 %: 0.1 is beyond three of them.
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)
    assert (found.level, found.n) == (0.95, 20_000)


def test_it_covers_the_truth_as_often_as_it_says():
    """400 data sets; 0.9 is known to +-0.015, and percentile intervals of 50 rows lose about 0.01."""
    covered = sum(
        found.low <= 0 <= found.high
        for found in (bootstrap_interval(torch.randn(50), level=0.9, resamples=200, seed=i) for i in range(400))
    )
    assert 0.83 <= covered / 400 <= 0.95


def test_any_statistic_of_rows():
    scores = torch.randn(500)
    median = bootstrap_interval(scores, lambda x: x.median(-1).values)
    assert median.low < median.value < median.high
    pairs = torch.stack([scores, 2 * scores + 1], 1)
    ratio = bootstrap_interval(pairs, lambda x: (x[..., 1] - x[..., 0]).mean(-1))
    assert ratio.value == pytest.approx(float(scores.mean()) + 1, abs=1e-6)


def test_seeds_and_chunks(monkeypatch):
    scores = torch.rand(300)
    whole = bootstrap_interval(scores, seed=1)
    assert whole == bootstrap_interval(scores, seed=1)
    assert whole != bootstrap_interval(scores, seed=2)
    monkeypatch.setattr(bootstrap, "CHUNK", 1000)
    assert whole == bootstrap_interval(scores, seed=1)


def test_booleans_and_constants():
    assert bootstrap_interval(torch.ones(10, dtype=torch.bool)).low == 1
    assert f1_interval(torch.ones(10).long(), torch.ones(10).long()).high == 1


def test_resamples_without_positives_are_left_out():
    target = torch.zeros(20).long()
    target[0] = 1
    found = f1_interval(target, target)
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_what_has_no_interval():
    with pytest.raises(DataError, match="needs at least 2 rows, 'scores' has 1"):
        bootstrap_interval(torch.ones(1))
    with pytest.raises(DataError, match="lies between 0 and 1"):
        bootstrap_interval(torch.ones(3), level=95)
    with pytest.raises(DataError, match="has no interval"):
        bootstrap_interval(torch.ones(3), lambda x: x.sum(-1) / 0)
