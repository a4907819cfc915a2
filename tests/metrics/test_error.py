"""Distances row by row, in the units people think in."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from causalcf.core.errors import DataError
from causalcf.metrics import absolute_error, grey_level_error, rmse


@given(seed=st.integers(0, 100), shift=st.floats(-1, 1))
def test_grey_levels_by_hand(seed, shift):
    x = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(seed))
    expected = torch.tensor(
        [
            255 * sum(abs(float(a) - float(b)) for a, b in zip(i.flatten(), (i + shift).flatten(), strict=True)) / 40
            for i in x
        ]
    )
    torch.testing.assert_close(grey_level_error(x, x + shift), expected, atol=1e-4, rtol=1e-5)


def test_black_to_white_is_255_and_a_grey_level_is_1():
    black = torch.zeros(2, 3, 8, 8)
    assert grey_level_error(black, torch.ones_like(black)).tolist() == [255, 255]
    torch.testing.assert_close(grey_level_error(black, black + 1 / 255), torch.ones(2))


@pytest.mark.parametrize("error", [grey_level_error, absolute_error])
@given(seed=st.integers(0, 50))
def test_distances_are_symmetric_and_zero_only_at_home(error, seed):
    draw = torch.Generator().manual_seed(seed)
    shape = (4, 1, 3, 3) if error is grey_level_error else (4, 2)
    x, y, z = (torch.rand(shape, generator=draw) for _ in range(3))
    torch.testing.assert_close(error(x, y), error(y, x))
    assert not error(x, x).any()
    assert (error(x, y) > 0).all()
    assert (error(x, z) <= error(x, y) + error(y, z) + 1e-4).all()
    torch.testing.assert_close(error(x, y)[1:2], error(x[1:2], y[1:2]))  # a row's score is its own


def test_absolute_error_of_numbers_and_vectors():
    assert absolute_error(torch.tensor([1.0, -2.0]), torch.tensor([3.0, -2.5])).tolist() == [2.0, 0.5]
    assert absolute_error(torch.tensor([[0.0, 1.0]]), torch.tensor([[4.0, 1.0]])).tolist() == [2.0]


def test_rmse_weighs_large_errors_more():
    x = torch.zeros(4)
    assert rmse(x, torch.tensor([1.0, 1.0, 1.0, 1.0])) == rmse(x, torch.tensor([2.0, 0.0, 0.0, 0.0])) == 1
    assert rmse(x, x) == 0


@pytest.mark.parametrize("error", [grey_level_error, absolute_error, rmse])
def test_shapes_must_match(error):
    with pytest.raises(DataError, match=r"\(2, 1, 4, 4\).*\(2, 1, 4, 5\)"):
        error(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 5))
