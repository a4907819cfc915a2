"""The path engine against crossings that are known in closed form."""

from itertools import pairwise

import pytest
import torch
from explainers.models import LATENT, images, linear_scm
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import causalcf as ccf
from causalcf.explainers.found import REASONS
from causalcf.explainers.path import follow, line, paced, verdict
from causalcf.explainers.query import Query
from causalcf.explainers.targets import l1


class AlongFirst(nn.Module):
    """Two classes, told by the first latent of the linear model: the logit is `slope` times it."""

    def __init__(self, slope: float = 3.0) -> None:
        super().__init__()
        self.slope = slope
        self.register_buffer("weight", linear_scm().mechanisms["image"].weight[:, 0].clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * (x.flatten(1) - 0.5) @ self.weight


def _query(n: int = 40) -> Query:
    scm, f = linear_scm(), AlongFirst()
    x = images(scm, n)
    explainer = ccf.explainers.REVISE(scm, classifier=f)
    x = x[explainer.predict(x) == 0]
    query = explainer.query({"image": x}, 1)
    return query.given(end=query.start + torch.eye(LATENT, dtype=x.dtype)[0] * 2)


def _crossing(query: Query, gamma: float) -> Tensor:
    """Share of the way at which the probability is gamma: the logit is 3 z, and z grows by 2."""
    wanted = torch.tensor(gamma, dtype=torch.float64).logit() / 3
    return (wanted - query.start[:, 0]) / 2


@given(gamma=st.sampled_from([0.5, 0.7, 0.9]), tolerance=st.sampled_from([0.05, 0.01, 1e-4]), alphas=st.integers(2, 9))
def test_the_crossing_is_found(gamma: float, tolerance: float, alphas: int) -> None:
    query = _query()
    found = follow(query, line, gamma=gamma, tolerance=tolerance, alphas=alphas, halvings=40)
    share = (found.code - query.start)[:, 0] / 2
    crosses = _crossing(query, gamma) <= 1
    assert torch.equal(found.reached, crosses)
    p = query.progress(query.ask(found.code))[crosses]
    assert bool((p >= gamma).all())
    assert bool((p <= gamma + tolerance).all())
    assert bool((share[crosses] >= _crossing(query, gamma)[crosses] - 1e-9).all())


def test_few_evaluations_are_made() -> None:
    query = _query()
    found = follow(query, line, tolerance=0.05)
    assert bool((found.steps <= 8 + 4).all())
    assert bool((found.steps >= 8).all())


def test_a_path_that_never_enters_the_target_is_a_failure_with_its_best_point() -> None:
    query = _query()
    away = query.given(end=query.start - torch.eye(LATENT, dtype=torch.float64)[0])
    found = follow(away, line)
    assert {REASONS[i] for i in found.reason} == {"no crossing"}
    assert torch.equal(found.code, query.start), "the start is closest"


def test_a_start_inside_the_target_is_taken() -> None:
    """An image whose reconstruction alone has another class."""
    query = _query()
    inside = query.given(end=query.start + 5)
    found = follow(inside, lambda q, alpha: line(q, alpha * 0 + 1))
    assert torch.equal(found.code, inside.constants["end"])
    assert bool(found.reached.all())


def test_the_first_of_several_crossings_is_found() -> None:
    """A path that enters the target twice: up, down, up."""
    query = _query()

    def winding(query: Query, alpha: Tensor) -> Tensor:
        height = (alpha * 2.5 * torch.pi).sin()
        return query.start.clone().index_fill(1, torch.tensor([0]), 0.0) + (
            height[:, None] * torch.eye(LATENT, dtype=torch.float64)[0]
        )

    found = follow(query, winding, gamma=0.9, tolerance=1e-6, halvings=40, alphas=16)
    wanted = torch.tensor(0.9, dtype=torch.float64).logit() / 3
    assert torch.allclose(found.code[:, 0], wanted.expand(query.rows), atol=0.01)  # some pixels are clamped


def test_the_stream_of_a_path_is_even() -> None:
    query = _query()
    found = follow(query, line, frames=5)
    codes = torch.stack([code for _, code in found.trajectory], 1)
    assert torch.equal(codes[:, 0], query.start)
    assert torch.allclose(codes[:, -1], found.code)
    steps = codes.diff(dim=1)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps))


def test_a_verdict_is_that_of_the_classifier() -> None:
    query = _query()
    code = query.start + torch.linspace(-1, 2, query.rows, dtype=torch.float64)[:, None]
    found = verdict(query, code, gamma=0.5)
    assert torch.equal(found.reached, code[:, 0] >= 0)
    assert {REASONS[i] for i in found.reason} == {"reached", "missed"}


@pytest.mark.parametrize("pace", [0.0, 0.5, 1.0])
def test_a_paced_stream_has_the_same_ends_and_even_steps(pace: float) -> None:
    """A way whose steps grow: straight, so that logit and image are even together."""
    query = _query()
    rows = torch.arange(query.rows)
    shares = [(k / 10) ** 3 for k in range(11)]
    trajectory = [(rows, line(query, torch.full((query.rows,), share, dtype=torch.float64))) for share in shares]
    codes = torch.stack([code for _, code in paced(query, trajectory, frames=9, pace=pace)], 1)
    assert codes.shape[1] == 9
    assert torch.allclose(codes[:, 0], query.start)
    assert torch.allclose(codes[:, -1], query.constants["end"])
    if pace == 0:
        logits = query.explained.members(query.decode(codes[:, 4]))[0, :, 1]
        ends = [query.explained.members(query.decode(codes[:, k]))[0, :, 1] for k in (0, 8)]
        assert torch.allclose(logits, (ends[0] + ends[1]) / 2, atol=0.02)
    if pace == 1:
        images = [query.decode(codes[:, k]) for k in range(9)]
        changes = torch.stack([l1(a, b) for a, b in pairwise(images)], 1)
        assert bool((changes.std(1) / changes.mean(1) < 0.03).all())


def test_a_stream_that_does_not_move_is_paced_by_its_steps() -> None:
    query = _query()
    rows = torch.arange(query.rows)
    trajectory = paced(query, [(rows, query.start)] * 3, frames=4, pace=0.5)
    assert len(trajectory) == 4
    assert all(torch.equal(code, query.start) for _, code in trajectory)
