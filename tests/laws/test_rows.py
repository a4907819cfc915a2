"""An answer belongs to its row: any batch, order, thread and process gives the same, and torch's state stays."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Beta, Gamma, Normal

import causalcf as ccf

DOS = [{"x": 0.5}, {"y": Normal(0.0, 1.0)}, {"x": Gamma(2.0, 1.0)}, {"c": "red", "y": ccf.shift(1.0)}]


def _values(cf: ccf.Counterfactual, node: str) -> Tensor:
    return cf[node].to(torch.float64)


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal but for the rounding of products, which depends on the size of a batch."""
    return torch.equal(a, b) if not a.is_floating_point() else torch.allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("do", DOS, ids=str)
def test_a_row_gets_the_same_answer_in_any_batch_and_order(mixed: ccf.SCM, rows: ccf.Batch, do: dict) -> None:
    whole = mixed.counterfactual(rows, do, seed=3)
    order = torch.randperm(rows.rows)
    turned = mixed.counterfactual(rows[order], do, seed=3)
    parts = [mixed.counterfactual(part, do, seed=3) for part in rows.blocks(7)]
    for node in mixed.graph.nodes:
        assert _same(whole[node][order], turned[node]), node
        assert _same(whole[node], torch.cat([part[node] for part in parts])), node


def test_labels_decide_not_places(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    named = ccf.Batch(dict(rows), np.array([f"row {i}" for i in range(rows.rows)]))
    alone = mixed.counterfactual(named[10:20], {"x": 0.5}, seed=0)["c"]
    assert torch.equal(mixed.counterfactual(named, {"x": 0.5}, seed=0)["c"][10:20], alone)


def test_samples_of_a_unit_differ_and_the_first_is_the_one_asked_for_alone(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    many = mixed.counterfactual(rows, {"x": Beta(2.0, 2.0)}, num_samples=5, seed=0)
    one = mixed.counterfactual(rows, {"x": Beta(2.0, 2.0)}, seed=0)
    assert torch.equal(many["x"][0], one["x"])
    assert len(many["x"][:, 0].unique()) == 5
    assert _same(many["x"][2][:9], mixed.counterfactual(rows[:9], {"x": Beta(2.0, 2.0)}, num_samples=5, seed=0)["x"][2])


def test_draws_from_the_model_do_not_depend_on_how_many(mixed: ccf.SCM) -> None:
    few, many = mixed.sample(5, seed=1), mixed.sample(50, seed=1)
    assert all(_same(few[node], many[node][:5]) for node in mixed.graph.nodes)


def test_threads_give_what_one_gives_and_the_state_stays(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    def ask(seed: int) -> Tensor:
        return mixed.counterfactual(rows, {"x": Beta(2.0, 2.0)}, seed=seed)["c"]

    alone = [ask(seed) for seed in range(8)]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, list(range(8)) * 6))
    assert all(torch.equal(answer, alone[i % 8]) for i, answer in enumerate(together))
    assert torch.equal(torch.get_rng_state(), state)


def test_questions_leave_torchs_state_alone(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    state = torch.get_rng_state()
    mixed.sample(5, seed=0)
    cf = mixed.counterfactual(rows, {"x": 0.5}, seed=0)
    cf.check()
    scm = ccf.SCM([("x", "y")], mechanisms={node: ccf.mechanisms.LinearGaussian() for node in "xy"})
    xy = {"x": rows["x"], "y": rows["y"]}
    scm.fit(xy, seed=0, progress=False).log_prob(xy)
    scm.counterfactual(xy, {"x": 1.0})
    assert torch.equal(torch.get_rng_state(), state)


class Foreign(ccf.mechanisms.LinearGaussian):
    """A mechanism of somebody else's, which draws from torch's own state."""

    draws_by_row = False

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {"u": torch.randn(n, dtype=self.dtype)}


def test_a_mechanism_that_draws_from_torch_is_seeded_and_kept_apart() -> None:
    x = torch.randn(100)
    scm = ccf.SCM([("x", "y")], mechanisms={"x": Foreign(), "y": Foreign()}).fit(
        {"x": x, "y": x}, seed=0, progress=False
    )
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: scm.sample(6, seed=2)["x"], range(20)))
    assert all(torch.equal(drawn[0], other) for other in drawn)
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------------- answers travel


def _mean(cf: ccf.Counterfactual) -> float:
    return float(cf["p"].mean())


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["copy", "pickle"])
def test_answers_and_noise_can_be_copied_and_pickled(mixed: ccf.SCM, rows: ccf.Batch, travel: object) -> None:
    mapping = {"x": lambda _: torch.zeros(64)}
    for do in ({"x": 0.5}, [{"x": 0.5}, {"y": ccf.shift(1.0)}], {"x": Normal(0.0, 1.0)}, mapping):
        cf = mixed.counterfactual(rows, do, seed=0)
        again = travel(cf)
        assert all(torch.equal(again[node], cf[node]) for node in cf)
        assert again.seed == cf.seed
        assert all(torch.equal(again.noise[name], cf.noise[name]) for name in cf.noise)
    noise = travel(mixed.abduct(rows, seed=0))
    assert torch.equal(noise["b.u"], mixed.abduct(rows, seed=0)["b.u"])
    assert dict(travel(mixed.variables)) == dict(mixed.variables)


def test_an_answer_is_checked_where_it_arrives(rows: ccf.Batch) -> None:
    scm = ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}).fit(
        {"x": rows["x"], "y": rows["y"]}, epochs=1, seed=0, progress=False
    )
    cf = scm.counterfactual({"x": rows["x"], "y": rows["y"]}, {"x": 100.0})
    assert bool(pickle.loads(pickle.dumps(cf)).check().extrapolates.all())


def test_answers_go_to_a_process_pool(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    answers = [mixed.counterfactual(rows, {"x": float(value)}, seed=0) for value in range(2)]
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert list(pool.map(_mean, answers)) == [_mean(cf) for cf in answers]


# ---------------------------------------------------------------------- and are nobody else's


def test_writing_into_an_answer_leaves_the_callers_tensors_alone(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    mine = {node: value.clone() for node, value in rows.items()}
    acted = torch.linspace(-1, 1, rows.rows)
    cf = mixed.counterfactual(mine, {"y": acted}, seed=0, recompute="descendants")
    for tensors in (cf, cf.factual, cf.noise):
        for name in tensors:
            tensors[name].zero_()
    assert all(torch.equal(mine[node], rows[node]) for node in mine)
    assert torch.equal(acted, torch.linspace(-1, 1, rows.rows))


def test_autocast_around_a_question_changes_nothing(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    plain = mixed.counterfactual(rows, {"x": 0.5}, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        within = mixed.counterfactual(rows, {"x": 0.5}, seed=0)
    assert all(torch.equal(plain[node], within[node]) for node in plain)
