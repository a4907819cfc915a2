"""FID and KID against torchmetrics, and on Gaussians whose distance is known."""

import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from causalcf.core.errors import DataError
from causalcf.metrics import FeatureBank, FeatureMoments, fid, frechet_distance, kid
from causalcf.metrics.kid import polynomial_mmd

DIMENSIONS = 16


@pytest.fixture
def sets():
    """Correlated features of two sets, as tiny images for torchmetrics."""
    mixing = torch.randn(DIMENSIONS, DIMENSIONS, dtype=torch.float64)
    x = torch.randn(300, DIMENSIONS, dtype=torch.float64) @ mixing / 9 + 0.5
    y = torch.randn(200, DIMENSIONS, dtype=torch.float64) @ mixing.flip(0) / 7 + 0.4
    return x, y


def as_images(features):
    return features.reshape(-1, 1, 4, 4)


def test_fid_is_that_of_torchmetrics(sets):
    x, y = sets
    oracle = FrechetInceptionDistance(feature=nn.Flatten(), input_img_size=(1, 4, 4), normalize=True)
    oracle = oracle.set_dtype(torch.float64)
    oracle.update(as_images(x), real=True)
    oracle.update(as_images(y), real=False)
    assert float(fid(x, y)) == pytest.approx(float(oracle.compute()), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kid_is_that_of_torchmetrics(sets):
    x, y = sets[0][:200], sets[1]
    oracle = KernelInceptionDistance(feature=nn.Flatten(), subsets=1, subset_size=200, normalize=True)
    oracle.update(as_images(x), real=True)
    oracle.update(as_images(y), real=False)
    found = kid(x, y, subsets=1, subset_size=200)
    assert found.value == pytest.approx(float(oracle.compute()[0]), rel=1e-6)


def test_the_frechet_distance_of_known_gaussians():
    """Commuting covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    s1, s2 = torch.rand(2, 6, dtype=torch.float64)
    s1[0], s2[1] = 0, 0  # singular ones too
    mean = torch.randn(6, dtype=torch.float64)
    found = frechet_distance(mean, basis * s1.square() @ basis.T, 0 * mean, basis * s2.square() @ basis.T)
    assert float(found) == pytest.approx(float(mean.square().sum() + (s1 - s2).square().sum()), abs=1e-7)


def test_mmd_is_the_mean_over_pairs():
    x, y = torch.randn(2, 7, 3, dtype=torch.float64)

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    pairs = [(i, j) for i in range(7) for j in range(7)]
    within = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in pairs if i != j) / 42
    across = sum(k(x[i], y[j]) for i, j in pairs) / 49
    assert float(polynomial_mmd(x, y)) == pytest.approx(float(within - 2 * across), rel=1e-12)


def test_kid_is_unbiased_where_fid_is_not():
    """50 pairs of samples from one distribution: KID's mean is within four standard errors of 0."""
    values = torch.tensor([kid(*torch.randn(2, 40, 8), subsets=1, subset_size=40).value for _ in range(50)])
    assert abs(values.mean()) < 4 * values.std() / 50**0.5
    few, many = fid(*torch.randn(2, 40, 8)), fid(*torch.randn(2, 4000, 8))
    assert few > 10 * many


def test_kid_subsets():
    x, y = torch.randn(2, 100, 4)
    found = kid(x, y + 1, subsets=20, subset_size=50, seed=1)
    assert found == kid(x, y + 1, subsets=20, subset_size=50, seed=1)
    assert found != kid(x, y + 1, subsets=20, subset_size=50, seed=2)
    assert found.std > 0
    bank = FeatureBank().update((y + 1)[:30]).merge(FeatureBank().update((y + 1)[30:]))
    assert kid(x, bank, subsets=20, subset_size=50, seed=1) == found


def test_standardised_kid_does_not_depend_on_the_scale_of_features(sets):
    x, y = sets
    options = {"subsets": 5, "subset_size": 100, "standardise": True}
    plain, scaled = kid(x, y, **options), kid(1000 * x + 3, 1000 * y + 3, **options)
    assert scaled.value == pytest.approx(plain.value, rel=1e-9)
    assert kid(1000 * x, 1000 * y, subsets=5, subset_size=100).value > 1e6 * abs(plain.value)
    # What is standard already stays as it is; a feature that is constant does no harm.
    z = (x - x.mean(0)) / x.std(0, unbiased=False)
    assert kid(z, y, **options).value == pytest.approx(kid(z, y, subsets=5, subset_size=100).value, rel=1e-9)
    assert kid(torch.full_like(x, 2.0), torch.full_like(y, 2.0), **options).value == 0


def test_moments_do_for_features(sets):
    x, y = sets
    moments = FeatureMoments().update(x[:100]).update(x[100:])
    assert float(fid(moments, y)) == pytest.approx(float(fid(x, y)), rel=1e-12)


def test_too_few_images():
    x = torch.randn(5, 4)
    with pytest.raises(DataError, match="at least 2 generated images, got 1"):
        fid(x, x[:1])
    with pytest.warns(UserWarning, match="FID of 3 images in 4 dimensions is strongly biased"):
        fid(x, x[:3])
    with pytest.raises(DataError, match=r"subset_size=1000 needs as many images, got 5\. Pass a smaller one"):
        kid(x, x)
    with pytest.raises(DataError, match="at least 2 images, got subset_size=1"):
        kid(x, x, subset_size=1)
    with pytest.raises(DataError, match="4 and 3 dimensions"):
        fid(x, x[:, :3])
    with pytest.raises(DataError, match=r"one extractor, got \(5, 4\), \(5, 3\)"):
        kid(x, x[:, :3], subset_size=5)
