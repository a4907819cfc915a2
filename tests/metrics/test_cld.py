"""CLD against loops over pairs, as the definition reads."""

import math
import sys
import time

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from causalcf.core.errors import DataError
from causalcf.metrics import cld, equal_width_bins
from causalcf.metrics.cld import gaussian_kl, gaussian_kl_matrix

D = 3


def gaussians(n):
    return torch.randn(n, D, dtype=torch.float64), torch.randn(n, D, dtype=torch.float64) - 1


def kl(p, q):
    """KL of two single Gaussians, in nats per dimension, by torch."""
    first, second = (Independent(Normal(mean, (0.5 * log).exp()), 1) for mean, log in (p, q))
    return float(kl_divergence(first, second)) / D


def row(gaussians, i):
    return gaussians[0][i], gaussians[1][i]


def by_loops(counterfactual, factual, reference, labels, acted, reference_labels):
    closer, farther = [], []
    for i in range(len(labels)):
        div = kl(row(counterfactual, i), row(factual, i))
        distances = [kl(row(reference, j), row(factual, i)) for j in range(len(reference_labels))]
        new = [d for d, label in zip(distances, reference_labels, strict=True) if label == acted[i]]
        old = [d for d, label in zip(distances, reference_labels, strict=True) if label == labels[i]]
        closer.append(sum(d <= div for d in new) / len(new))
        farther.append(sum(d >= div for d in old) / len(old))
    value = [math.log(0.8 * math.exp(p) + 0.2 * math.exp(q)) for p, q in zip(closer, farther, strict=True)]
    return value, closer, farther


def test_cld_is_its_definition():
    counterfactual, factual, reference = gaussians(12), gaussians(12), gaussians(60)
    labels, reference_labels = torch.arange(12) % 3, torch.arange(60) % 3
    acted = (labels + 1) % 3
    found = cld(
        counterfactual, factual, reference, labels=labels, acted_labels=acted, reference_labels=reference_labels
    )
    expected = by_loops(counterfactual, factual, reference, labels, acted, reference_labels)
    for x, y in zip((found.value, found.p_counterfactual, found.p_factual), expected, strict=True):
        assert x.tolist() == pytest.approx(y, abs=1e-12)


def test_divergences_are_those_of_torch():
    p, q = gaussians(5), gaussians(7)
    matrix = gaussian_kl_matrix(p, q)
    for i in range(5):
        for j in range(7):
            assert float(matrix[i, j]) == pytest.approx(kl(row(p, i), row(q, j)), rel=1e-10)
    assert torch.allclose(gaussian_kl(p, (q[0][:5], q[1][:5])), matrix.diagonal(), rtol=1e-10)


def test_blocks_change_nothing(monkeypatch):
    given = gaussians(30), gaussians(30), gaussians(50)
    labels = {
        "labels": torch.arange(30) % 2,
        "acted_labels": 1 - torch.arange(30) % 2,
        "reference_labels": torch.arange(50) % 2,
    }
    whole = cld(*given, **labels).value
    monkeypatch.setattr(sys.modules["causalcf.metrics.cld"], "BLOCK", 40)  # the package's `cld` is the function
    assert torch.equal(cld(*given, **labels).value, whole)


def test_doing_nothing_has_a_known_score():
    """The counterfactual is the factual, itself among the reference: no rounding may call it farther."""
    factual = (1e3 + torch.randn(40, D).double(), torch.randn(40, D).double() - 12)
    labels = torch.arange(40) % 2
    found = cld(factual, factual, factual, labels=labels, acted_labels=1 - labels, reference_labels=labels)
    assert found.p_counterfactual.eq(0).all()
    assert found.p_factual.eq(1).all()
    assert torch.allclose(found.value, torch.tensor(math.log(0.8 + 0.2 * math.e)).double())
    assert float(found.value[0]) == pytest.approx(0.2954, abs=1e-4)


def test_images_unlike_any_real_one_are_far():
    """An encoder is unsure of them: their Gaussians are wide."""
    factual, reference = gaussians(20), gaussians(50)
    wide = torch.randn(20, D).double(), torch.full((20, D), 4.0).double()
    zeros = torch.zeros(20).long()
    found = cld(wide, factual, reference, labels=zeros, acted_labels=zeros, reference_labels=torch.zeros(50).long())
    assert float(found.p_counterfactual.mean()) > 0.8
    assert float(found.value.mean()) > 0.6


def test_images_of_the_reference_tie_with_themselves():
    reference = gaussians(40)
    factual = reference[0][:1], reference[1][:1]
    for j in range(1, 40):
        answer = reference[0][j : j + 1], reference[1][j : j + 1]
        zero = torch.zeros(1).long()
        found = cld(answer, factual, reference, labels=zero, acted_labels=zero, reference_labels=torch.zeros(40).long())
        assert float(found.p_counterfactual + found.p_factual) == pytest.approx(1 + 1 / 40)


def test_bins():
    reference = torch.tensor([0.0, 1, 2, 3, 10])
    assert equal_width_bins(reference, reference).tolist() == [0, 1, 2, 3, 9]
    # 4 and 8 lie in bins without reference: the nearest filled ones are those of 3 and 10.
    assert equal_width_bins(torch.tensor([-5.0, 4, 8, 99]), reference).tolist() == [0, 3, 9, 9]
    assert equal_width_bins(torch.tensor([0.0, 4.9, 5.0]), reference, bins=2).tolist() == [0, 0, 1]
    with pytest.raises(DataError, match=r"The attribute is constant, 2.0 in all 3 rows: it has no bins"):
        equal_width_bins(reference, torch.full((3,), 2.0))


def test_what_cld_cannot_score():
    given, zeros = (gaussians(4), gaussians(4), gaussians(9)), torch.zeros(4).long()
    good = {"labels": zeros, "acted_labels": zeros, "reference_labels": torch.zeros(9).long()}
    with pytest.raises(DataError, match=r"No reference image has the labels \[7\]"):
        cld(*given, **good | {"acted_labels": zeros + 7})
    with pytest.raises(DataError, match=r"'labels' must be codes of shape \(4,\), got torch.float32 \(4,\)"):
        cld(*given, **good | {"labels": zeros.float()})
    with pytest.raises(DataError, match="sum to 1"):
        cld(*given, **good, weights=(1, 1))


def test_ten_thousand_by_ten_thousand_takes_seconds():
    """Seconds of processor time, whatever else runs; all images share one label, which is the most work there is."""
    n = 10_000
    given = [gaussians(n) for _ in range(3)]
    zeros = torch.zeros(n).long()
    start = time.process_time()
    cld(*given, labels=zeros, acted_labels=zeros, reference_labels=zeros)
    assert time.process_time() - start < 20
