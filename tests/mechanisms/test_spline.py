"""The affine spline against zuko's own affine and rational-quadratic transforms, which it replaces."""

import pytest
import torch
from zuko.transforms import ComposedTransform, MonotonicAffineTransform, MonotonicRQSTransform

from causalcf.mechanisms.spline import AffineSpline

BINS = 8


def _zuko(parameters: torch.Tensor) -> ComposedTransform:
    shift, scale, widths, heights, slopes = parameters.split([1, 1, BINS, BINS, BINS - 1], -1)
    affine = MonotonicAffineTransform(shift.squeeze(-1), scale.squeeze(-1))
    return ComposedTransform(affine, MonotonicRQSTransform(widths, heights, slopes))


@pytest.fixture(params=[0.3, 1.0, 3.0])
def case(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters from tame to wild, and values inside and outside the spline's range."""
    parameters = request.param * torch.randn(2000, 1, 3 * BINS + 1, dtype=torch.float64)
    return parameters, 4 * torch.randn(2000, 1, dtype=torch.float64)


def test_it_equals_zukos_transforms(case):
    parameters, x = case
    y, ladj = AffineSpline(parameters).call_and_ladj(x)
    expected, expected_ladj = _zuko(parameters).call_and_ladj(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(ladj, expected_ladj, rtol=0, atol=1e-8)


def test_the_inverse_undoes_it(case):
    parameters, x = case
    spline = AffineSpline(parameters)
    torch.testing.assert_close(spline.inv(spline(x)), x, rtol=0, atol=1e-6)


def test_the_jacobian_is_the_derivative(case):
    parameters, x = case
    x.requires_grad_()
    y, ladj = AffineSpline(parameters).call_and_ladj(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope.log(), ladj, rtol=0, atol=1e-8)


def test_it_goes_on_without_a_break_past_its_range():
    spline = AffineSpline(torch.randn(3 * BINS + 1, dtype=torch.float64).index_fill(0, torch.tensor([0, 1]), 0.0))
    x = torch.tensor([-9.0, -5 - 1e-9, -5 + 1e-9, 5 - 1e-9, 5 + 1e-9, 9.0], dtype=torch.float64)
    torch.testing.assert_close(spline(x), x, rtol=0, atol=1e-7)


def test_zeros_give_the_identity_and_one_law_serves_every_row():
    x = torch.randn(50, 1)
    torch.testing.assert_close(AffineSpline(torch.zeros(1, 3 * BINS + 1))(x), x)


def test_wild_parameters_stay_finite_in_single_precision():
    parameters = 1e4 * torch.randn(1000, 3 * BINS + 1)
    y, ladj = AffineSpline(parameters).call_and_ladj(torch.randn(1000))
    assert torch.isfinite(y).all()
    assert torch.isfinite(ladj).all()


def test_slopes_that_differ_a_thousandfold_leave_no_nan_in_32_bits():
    parameters = 10 * torch.randn(20_000, 1, 3 * BINS + 1, generator=torch.Generator().manual_seed(0))
    spline = AffineSpline(parameters)
    knots = spline.knots[..., 1, 1:-1].reshape(20_000, BINS - 1)  # there, rounding left less than nothing under a root
    for y in (*knots.unbind(1), torch.full((20_000,), 5.0), torch.full((20_000,), 1e4)):
        assert bool(torch.isfinite(spline.inv(y.unsqueeze(1))).all())
