import numpy as np
import pytest
import torch

from causalcf.core.errors import DataError
from causalcf.metrics.protocol import draw_other_bin, draw_other_category


@pytest.fixture
def marginal():
    return torch.from_numpy(0.5 + np.random.default_rng(0).gamma(10, 0.2, 5000))


def bins_of(values, marginal, bins):
    scaled = (values - marginal.min()) / (marginal.max() - marginal.min())
    return (scaled * bins).long().clamp(max=bins - 1)


@pytest.mark.parametrize("bins", [2, 10])
def test_draws_come_from_the_marginal_in_another_bin(marginal, bins):
    values = marginal[:2000]
    drawn = draw_other_bin(values, marginal, bins=bins, seed=1)
    assert torch.isin(drawn, marginal).all()
    assert (bins_of(drawn, marginal, bins) != bins_of(values, marginal, bins)).all()


def test_draws_have_the_frequencies_of_the_other_bins(marginal):
    """Kolmogorov-Smirnov at 2.2 / sqrt(n): a false alarm in 8,000."""
    n = 20_000
    drawn = draw_other_bin(torch.full((n,), 2.5, dtype=torch.float64), marginal, seed=2).sort().values
    others = marginal[bins_of(marginal, marginal, 10) != bins_of(torch.tensor(2.5), marginal, 10)].sort().values
    expected = torch.searchsorted(others, drawn, right=True) / len(others)
    observed = torch.arange(1, n + 1) / n
    # Draws repeat values, so that the two step functions are compared after the last of equal ones.
    last = torch.cat([drawn[1:] != drawn[:-1], torch.tensor([True])])
    assert (observed - expected)[last].abs().max() < 2.2 / n**0.5


def test_same_seed_same_draws(marginal):
    values = marginal[:100]
    assert torch.equal(draw_other_bin(values, marginal, seed=3), draw_other_bin(values, marginal, seed=3))
    assert not torch.equal(draw_other_bin(values, marginal, seed=3), draw_other_bin(values, marginal, seed=4))


def test_values_beyond_the_marginal_count_to_the_nearest_bin(marginal):
    drawn = draw_other_bin(torch.tensor([-100.0, 100.0], dtype=torch.float64), marginal)
    assert bins_of(drawn[:1], marginal, 10) != 0
    assert bins_of(drawn[1:], marginal, 10) != 9


def test_other_categories():
    marginal = torch.tensor([0, 0, 1, 2, 2, 2])
    own = torch.arange(3).repeat_interleave(4000)
    drawn = draw_other_category(own, marginal, categories=3, seed=0)
    assert (drawn != own).all()
    share = (drawn[own == 1] == 2).float().mean()
    assert abs(share - 3 / 5) < 5 * (0.24 / 4000) ** 0.5  # five standard errors
    flipped = draw_other_category(torch.tensor([True, False]), torch.tensor([True, False]), categories=2)
    assert flipped.tolist() == [False, True]


def test_nothing_else_to_draw():
    with pytest.raises(DataError, match="are all in one bin or category"):
        draw_other_bin(torch.ones(3), torch.ones(5))
