import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed

from causalcf.core.errors import DataError
from causalcf.metrics import FeatureBank, FeatureMoments


@pytest.fixture
def features():
    return torch.randn(97, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64) + 3


def test_moments_are_mean_and_covariance(features):
    mean, covariance = FeatureMoments().update(features).compute()
    assert torch.allclose(mean, features.mean(0), atol=1e-14)
    assert torch.allclose(covariance, features.T.cov(), atol=1e-13)


@pytest.mark.parametrize("sizes", [[97], [1] * 97, [0, 50, 0, 47], [96, 1]])
def test_batches_and_merges_change_nothing(features, sizes):
    expected = FeatureMoments().update(features).compute()
    stepwise, merged = FeatureMoments(), FeatureMoments()
    for batch in features.split(sizes):
        stepwise.update(batch)
        merged = FeatureMoments().update(batch).merge(merged)
    for found in (stepwise, merged):
        assert found.count == 97
        assert all(torch.allclose(x, y, atol=1e-13) for x, y in zip(found.compute(), expected, strict=True))


def test_features_far_from_zero_lose_no_digits(features):
    near, far = FeatureMoments(), FeatureMoments()
    for batch in features.split(10):
        near.update(batch)
        far.update(batch + 1e6)
    assert torch.allclose(near.compute()[1], far.compute()[1], rtol=1e-8, atol=1e-8)


def test_merging_leaves_the_other_as_it_was(features):
    one, other = FeatureMoments(), FeatureMoments().update(features)
    before = other.state()
    one.merge(other).update(features)
    assert other.count == 97
    assert torch.equal(other.state()["scatter"], before["scatter"])
    first, second = FeatureBank(), FeatureBank().update(features)
    first.merge(second).update(features)
    assert len(second.compute()) == 97


def test_states_come_back(features):
    for kind in (FeatureMoments, FeatureBank):
        gathered = kind().update(features)
        again = kind.from_state(gathered.state())
        for x, y in zip(again.compute(), gathered.compute(), strict=True):
            assert torch.equal(x, y)


def test_bad_features(features):
    moments = FeatureMoments().update(features)
    with pytest.raises(DataError, match="Expected features of dimension 5, got 4"):
        moments.update(features[:, :4])
    with pytest.raises(DataError, match=r"shape \(N, d\), got \(97,\)"):
        moments.update(features[:, 0])
    with pytest.raises(DataError, match="at least 2 images, got 0"):
        FeatureMoments().compute()
    with pytest.raises(DataError, match="is empty"):
        FeatureBank().compute()
    with pytest.raises(DataError, match=r"different dimensions: \[4, 5\]"):
        FeatureBank().update(features).update(features[:, :4]).compute()


def _gather(rank, path, features):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{path}/meet", rank=rank, world_size=2)
    for kind in (FeatureMoments, FeatureBank):
        states = [None, None]
        distributed.all_gather_object(states, kind().update(features[rank::2]).state())
        merged = kind()
        for state in states:
            merged.merge(kind.from_state(state))
        torch.save(merged.state(), f"{path}/{kind.__name__}-{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_see_what_one_sees(features, tmp_path):
    mp.spawn(_gather, (str(tmp_path), features), nprocs=2)
    expected = FeatureMoments().update(features).compute()
    for rank in range(2):
        moments, bank = (
            kind.from_state(torch.load(tmp_path / f"{kind.__name__}-{rank}.pt", weights_only=True))
            for kind in (FeatureMoments, FeatureBank)
        )
        assert moments.count == 97
        assert all(torch.allclose(x, y, atol=1e-13) for x, y in zip(moments.compute(), expected, strict=True))
        assert torch.equal(bank.compute(), torch.cat([features[0::2], features[1::2]]))
