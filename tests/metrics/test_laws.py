"""Laws of distances, on any images: zero on equal, symmetry, triangle, translation, scale."""

import hypothesis.extra.numpy as hnp
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import causalcf.metrics as M
from causalcf.metrics.pairwise import mean_pairwise_difference

values = st.floats(0, 1, width=32)
triples = hnp.arrays("float64", (3, 4, 1, 5, 5), elements=values)
features = hnp.arrays("float64", st.tuples(st.just(2), st.integers(8, 12), st.just(3)), elements=values)
PIXELS = M.Extractor("pixels", lambda x: x.flatten(1))
DISTANCES = {
    "grey levels": M.grey_level_error,
    "composition": M.composition,
    "reversibility": M.reversibility,
    "absolute": M.absolute_error,
    "max": M.max_change,
    "embedding": lambda x, y: M.embedding_distance(x, y, PIXELS),
}
every_distance = pytest.mark.parametrize("name", DISTANCES)


@every_distance
@given(images=triples)
def test_metrics_are_metrics(name, images):
    d = DISTANCES[name]
    x, y, z = torch.from_numpy(images)
    assert torch.equal(d(x, x), torch.zeros(4, dtype=torch.float64))
    assert torch.equal(d(x, y), d(y, x))
    assert (d(x, z) <= d(x, y) + d(y, z) + 1e-9).all()


@every_distance
@given(images=triples, step=st.floats(-3, 3), factor=st.floats(0.1, 5))
def test_distances_know_no_origin_and_scale_with_images(name, images, step, factor):
    d = DISTANCES[name]
    x, y, _ = torch.from_numpy(images)
    assert torch.allclose(d(x + step, y + step), d(x, y), atol=1e-9)
    assert torch.allclose(d(factor * x, factor * y), factor * d(x, y), rtol=1e-9, atol=1e-9)


@given(images=triples)
def test_lpips_is_symmetric_and_zero_on_equal(images):
    network = M.PerceptualNetwork("pixels", lambda x: [x.expand(-1, 2, -1, -1) + torch.arange(2)[:, None, None]])
    x, y, _ = torch.from_numpy(images)
    assert torch.equal(M.lpips(x, x, network), torch.zeros(4, dtype=torch.float64))
    assert torch.allclose(M.lpips(x, y, network), M.lpips(y, x, network), atol=1e-15)


@given(sets=features)
def test_fid_is_symmetric_and_zero_on_equal(sets):
    x, y = torch.from_numpy(sets)
    assert float(M.fid(x, x)) == pytest.approx(0, abs=1e-7)
    assert float(M.fid(x, y)) == pytest.approx(float(M.fid(y, x)), abs=1e-6)


@given(sets=features, step=st.floats(-3, 3))
def test_fid_of_a_translation_is_its_square(sets, step):
    x, y = torch.from_numpy(sets)
    assert float(M.fid(x, x + step)) == pytest.approx(3 * step**2, abs=1e-6)
    assert float(M.fid(x + step, y + step)) == pytest.approx(float(M.fid(x, y)), abs=1e-6)


@given(sets=features)
def test_kid_is_symmetric(sets):
    x, y = torch.from_numpy(sets)
    forth, back = (M.kid(*pair, subsets=1, subset_size=len(x)).value for pair in ((x, y), (y, x)))
    assert forth == pytest.approx(back, abs=1e-12)


@given(x=hnp.arrays("float64", st.tuples(st.integers(2, 9), st.just(3)), elements=values))
def test_the_mean_over_pairs(x):
    x = torch.from_numpy(x)
    n = len(x)
    pairs = torch.stack([(x[i] - x[j]).abs() for i in range(n) for j in range(i)])
    assert torch.allclose(mean_pairwise_difference(x), pairs.mean(0), atol=1e-12)


@given(images=hnp.arrays("float64", (4, 3, 1, 6, 6), elements=values), step=st.floats(-1, 1))
def test_spreads_know_no_origin(images, step):
    x = torch.from_numpy(images)
    for spread in (M.abduction_std, M.abduction_spread):
        assert torch.allclose(spread(x + step), spread(x), atol=1e-9)
        assert (spread(x.abs() * 0 + 0.5) == 0).all()
    assert torch.allclose(M.sharpness(x[0] + step), M.sharpness(x[0]), atol=1e-6)
    assert torch.allclose(M.abduction_std_map(x), 255 * x.std(0), atol=1e-9)
    assert torch.allclose(M.abduction_std(x), M.abduction_std_map(x).square().flatten(1).mean(1).sqrt(), atol=1e-9)
