"""Inversion by descent: where it ends, and that rows keep to themselves."""

import pytest
import torch
from torch import Tensor

from causalcf.mechanisms.implicit import invert


def _curved(z: Tensor) -> Tensor:
    return torch.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1], (z[:, 0] * z[:, 1]).tanh()], 1)


def test_descent_ends_at_the_penalised_optimum() -> None:
    """Of (z - x)^2 + l z^2 it is x / (1 + l), which leaves l / (1 + l) x^2; a row stops within a percent of that."""
    x = torch.randn(5, 3, dtype=torch.float64)
    z, loss = invert(lambda z: z, x, torch.zeros_like(x), steps=600, lr=0.02, plausible=0.25)
    assert torch.allclose(z, x / 1.25, atol=0.1)
    assert torch.allclose(loss, (0.2 * x.square()).mean(1), rtol=0.01)


def test_what_is_found_does_not_depend_on_the_other_rows() -> None:
    truth = torch.randn(6, 2, dtype=torch.float64)
    x, start = _curved(truth), torch.randn(6, 2, dtype=torch.float64)
    z, loss = invert(_curved, x, start, steps=120)
    single = [invert(_curved, x[i : i + 1], start[i : i + 1], steps=120) for i in range(6)]
    assert torch.allclose(z, torch.cat([one for one, _ in single]), atol=1e-12)
    assert torch.allclose(loss, torch.cat([of_one for _, of_one in single]), atol=1e-12)


def test_a_row_that_is_there_stays_while_others_go_on() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    z, loss = invert(lambda z: z, x, torch.stack([x[0], torch.zeros(2)]), steps=300)
    assert torch.equal(z[0], x[0])
    assert (z[1] - x[1]).abs().max() < 0.05
    assert loss[0] == 0


def test_a_row_stops_for_good_once_it_gets_no_closer() -> None:
    """The loss cannot be lowered: after the patience no row is moved, and all later latents are the same."""
    seen: list[Tensor] = []

    def decode(z: Tensor) -> Tensor:
        seen.append(z.detach().clone())
        return 0 * z

    invert(decode, torch.ones(3, 2), torch.randn(3, 2), steps=60, plausible=1e-6)
    assert torch.equal(seen[-1], seen[-10])
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("lr", [0.05, 50.0])
def test_no_row_ends_worse_than_it_began(lr: float) -> None:
    x, start = torch.randn(20, 3), torch.randn(20, 2)
    z, loss = invert(_curved, x, start, steps=40, lr=lr)
    began = (_curved(start) - x).square().mean(1)
    assert (loss <= began).all()
    assert torch.allclose(loss, (_curved(z) - x).square().mean(1))
    if lr < 1:
        assert loss.mean() < 0.8 * began.mean()


def test_no_steps_give_the_start_and_no_gradient_is_left() -> None:
    start = torch.randn(4, 2)
    x = torch.randn(4, 3, requires_grad=True)
    z, loss = invert(_curved, x, start, steps=0)
    assert torch.equal(z, start)
    assert [z.requires_grad, loss.requires_grad] == [False, False]
    with torch.no_grad():
        z, loss = invert(_curved, x, start, steps=3)
    assert [z.requires_grad, loss.requires_grad] == [False, False]
