"""The search engine against torch's own optimisers, and against searches whose end is known."""

from dataclasses import replace

import pytest
import torch
from explainers.models import images, linear_classifier, linear_scm, targets
from torch import Tensor

import causalcf as ccf
from causalcf.explainers.found import REASONS, padded
from causalcf.explainers.query import Query
from causalcf.explainers.search import (
    Adam,
    Descent,
    Evaluate,
    Evaluation,
    GreedyCoordinate,
    Keep,
    Proximal,
    Sign,
    Update,
    search,
)


def _query(n: int = 6, *, node: bool = False) -> Query:
    """Rows of the linear model, to be searched in latent space or in the image."""
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, n)
    kind = ccf.explainers.ImageGradient if node else ccf.explainers.REVISE
    explainer = kind(scm, classifier=f)
    return explainer.query({"image": x}, targets(f, x))


def _bowl(query: Query, code: Tensor) -> Evaluation:
    """Half the squared distance to 1, reached within a distance of .5."""
    loss = 0.5 * (code - 1).square().flatten(1).sum(1)
    return Evaluation(loss=loss, progress=-loss, met=loss < 0.125, cost=loss)


def _never(query: Query, code: Tensor) -> Evaluation:
    loss = 0.5 * (code - 1).square().flatten(1).sum(1)
    return Evaluation(loss=loss, progress=-loss, met=torch.zeros_like(loss, dtype=torch.bool), cost=loss)


def _recording(evaluate: Evaluate, codes: list[Tensor]) -> Evaluate:
    """The same, and every code it is asked about."""

    def recorded(query: Query, code: Tensor) -> Evaluation:
        codes.append(code.detach().clone())
        return evaluate(query, code)

    return recorded


@pytest.mark.parametrize("lr", [0.01, 0.3])
def test_adam_is_torchs(lr: float) -> None:
    query = _query()
    code = query.start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([code], lr)
    trajectory = [code.detach().clone()]
    for _ in range(20):
        optimizer.zero_grad()
        (0.5 * (code - 1).square()).sum().backward()
        optimizer.step()
        trajectory.append(code.detach().clone())
    found = search(query, _never, Adam(lr), max_steps=20, keep="last", stream=True)
    assert len(found.trajectory) == 21
    for (_, ours), theirs in zip(found.trajectory, trajectory, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_descent_halves_the_distance() -> None:
    query = _query()
    found = search(query, _never, Descent(0.5), max_steps=10, stream=True)
    assert torch.allclose(found.trajectory[10][1] - 1, (query.start - 1) / 2**10)
    assert {REASONS[i] for i in found.reason} == {"max steps"}
    assert bool((found.steps == 10).all())


def test_a_row_ends_at_its_first_hit() -> None:
    query = _query(20)
    found = search(query, _bowl, Descent(0.5), max_steps=10)
    distance = (query.start - 1).square().sum(1).sqrt()
    expected = (distance / 0.5).log2().clamp_min(0).ceil().long()  # halved until it is below .5
    assert torch.equal(found.steps, expected)
    assert torch.allclose(found.code - 1, (query.start - 1) * 0.5 ** found.steps[:, None])
    assert bool(found.reached.all())


@pytest.mark.parametrize("every", [2, 3, 10, 100])
@pytest.mark.parametrize("keep", ["first", "best", "last"])
def test_when_the_host_looks_does_not_matter(every: int, keep: Keep) -> None:
    query = _query(20)
    once = search(query, _bowl, Adam(0.3), max_steps=30, keep=keep)
    seldom = search(query, _bowl, Adam(0.3), max_steps=30, keep=keep, check_every=every)
    assert torch.equal(once.code, seldom.code)
    assert torch.equal(once.steps, seldom.steps)
    assert torch.equal(once.reason, seldom.reason)


def test_a_row_that_starts_at_its_target_takes_no_step() -> None:
    found = search(
        _query(),
        lambda _, z: Evaluation(loss=z.sum(1), progress=z[:, 0], met=torch.ones(len(z)).bool()),
        Adam(0.1),
        max_steps=5,
    )
    assert not found.steps.any()
    assert bool(found.reached.all())


def test_no_steps_at_all() -> None:
    query = _query()
    found = search(query, _never, Adam(0.1), max_steps=0)
    assert torch.equal(found.code, query.start)
    assert {REASONS[i] for i in found.reason} == {"max steps"}


def test_a_failed_row_holds_its_best_attempt() -> None:
    """A search that overshoots: the best attempt is not the last."""
    query = _query()
    found, whole = (search(query, _never, Adam(1.0), max_steps=7, keep=k, stream=True) for k in ("first", "last"))
    codes = torch.stack([code for _, code in whole.trajectory], 1)
    best = (codes - 1).square().sum(2).argmin(1)
    assert torch.equal(found.code, codes[torch.arange(query.rows), best])
    way, lengths = padded(found.trajectory)
    assert torch.equal(lengths, best + 1), "the trajectory ends where the best attempt is"
    assert torch.equal(way[:, -1], found.code)


def test_best_keeps_the_cheapest_that_reaches_the_target() -> None:
    query = _query(20)
    found, whole = (search(query, _bowl, Adam(0.3), max_steps=40, keep=k, stream=True) for k in ("best", "last"))
    codes = torch.stack([code for _, code in whole.trajectory], 1)
    losses = 0.5 * (codes - 1).square().sum(2)
    assert torch.equal(found.code, codes[torch.arange(20), losses.argmin(1)])
    assert bool((found.steps == 40).all())
    assert torch.equal(padded(found.trajectory)[0][:, -1], found.code)


def test_last_keeps_the_last() -> None:
    query = _query()
    found = search(query, _bowl, Descent(0.5), max_steps=12, keep="last", stream=True)
    assert torch.equal(found.code, found.trajectory[-1][1])
    assert bool(found.reached.all())
    missed = search(query, _never, Descent(0.5), max_steps=12, keep="last")
    assert {REASONS[i] for i in missed.reason} == {"max steps"}


def test_rows_with_nan_gradients_leave_and_the_others_go_on() -> None:
    query = _query(8).given(bad=torch.tensor([True, False] * 4))

    def evaluate(query: Query, code: Tensor) -> Evaluation:
        bowl = _bowl(query, code)
        broken = torch.where(query.constants["bad"], torch.nan, 1.0)
        return replace(bowl, loss=bowl.loss * broken, met=bowl.met & ~query.constants["bad"])

    found = search(query, evaluate, Adam(0.3), max_steps=30)
    assert [REASONS[i] for i in found.reason] == ["nan gradient", "reached"] * 4
    assert torch.equal(found.code[::2], query.start[::2])
    alone = search(_query(8), _bowl, Adam(0.3), max_steps=30)
    assert torch.equal(found.code[1::2], alone.code[1::2])


def test_evaluations_are_only_those_needed() -> None:
    """Finished rows leave the batch: as many rows are evaluated as there are steps in all."""
    query = _query(20)
    evaluated = 0

    def counting(query: Query, code: Tensor) -> Evaluation:
        nonlocal evaluated
        evaluated += len(code)
        return _bowl(query, code)

    found = search(query, counting, Descent(0.2), max_steps=100)
    assert len(found.steps.unique()) > 1
    assert evaluated == int((found.steps + 1).sum())


# ---------------------------------------------------------------------- updates


def _one_step(update: Update, query: Query, gradient: Tensor) -> Tensor:
    code, _ = update.step(query, query.start, gradient, update.start(query.start), 1)
    return code


def test_sign_steps_stay_in_the_ball_and_in_the_box() -> None:
    query = _query(node=True)
    gradient = torch.randn_like(query.start)
    moved = _one_step(Sign(0.1, 0.04), query, gradient)
    expected = (query.x - 0.04 * gradient.sign()).clamp(0, 1)
    assert torch.allclose(moved, expected)


def test_the_greedy_step_moves_the_most_salient_pixel_that_can_move() -> None:
    query = _query(node=True)
    x = query.start.clone()
    x[:, 0, 3, 3] = 1.0
    gradient = 0.1 * torch.rand_like(x)
    gradient[:, 0, 3, 3] = -9.0  # the largest, but at 1 already
    gradient[:, 0, 5, 6] = -3.0
    update = GreedyCoordinate(0.2, 1)
    code, state = update.step(query, x, gradient, update.start(x), 1)
    change = code - x
    assert bool((change[:, 0, 5, 6] > 0).all())
    assert bool(((change != 0).flatten(1).sum(1) == 1).all())
    again, _ = update.step(query, code, gradient, state, 2)
    assert torch.equal(again[:, 0, 5, 6], code[:, 0, 5, 6]), "each pixel once"


def test_a_greedy_search_without_pixels_left_is_stuck() -> None:
    query = _query(node=True)
    found = search(query, _never, GreedyCoordinate(1.0, 1), max_steps=500)
    assert {REASONS[i] for i in found.reason} == {"stuck"}
    assert bool((found.steps <= 65).all())


def test_the_proximal_step_thresholds_the_change() -> None:
    query = _query(node=True)
    gradient = torch.randn_like(query.start)
    moved = _one_step(Proximal(0.05, 0.03, 10), query, gradient)
    shrunk = -0.05 * gradient
    shrunk = shrunk.sign() * (shrunk.abs() - 0.03).clamp_min(0)
    assert torch.allclose(moved, (query.x + shrunk).clamp(0, 1))
    more = _one_step(Proximal(0.05, 0.03, 10, sign=1), query, gradient)
    assert bool((more >= query.x).all())
    less = _one_step(Proximal(0.05, 0.03, 10, sign=-1), query, gradient)
    assert bool((less <= query.x).all())


def test_fista_finds_the_lasso_solution() -> None:
    """For half the squared distance to a, thresholded by beta in each step of length 1, that is soft thresholding."""
    query = _query(node=True)
    goal = (query.x + 0.2 * torch.randn_like(query.x)).clamp(0.05, 0.95)

    def evaluate(query: Query, x: Tensor) -> Evaluation:
        loss = 0.5 * (x - query.constants["goal"]).square().flatten(1).sum(1)
        change = (x - query.x).abs().flatten(1).sum(1)
        return Evaluation(loss=loss, progress=-loss, met=torch.ones_like(loss).bool(), cost=loss + 0.1 * change)

    found = search(query.given(goal=goal), evaluate, Proximal(1.0, 0.1, 100_000), max_steps=200, keep="best")
    change = goal - query.x
    expected = query.x + change.sign() * (change.abs() - 0.1).clamp_min(0)
    assert torch.allclose(found.code, expected, atol=1e-3)
