"""Discrete mechanisms: closed-form roots, learned tables, noise that keeps what was seen."""

import pytest
import torch

import causalcf as ccf


def test_roots_are_frequencies_and_their_noise_is_their_value() -> None:
    generator = torch.Generator().manual_seed(0)
    c, b = torch.randint(3, (500,), generator=generator), torch.rand(500, generator=generator) < 0.2
    graph = ccf.CausalGraph([("c", "b")]).mutilate(["b"])
    scm = ccf.SCM(graph, {"c": ccf.Categorical(4), "b": ccf.Boolean()})
    scm.fit({"c": c, "b": b}, validation=0.5, seed=0, progress=False)
    assert [record["epoch"] for record in scm.history] == [0, 0]
    density = scm.log_prob({"c": c, "b": b})
    assert torch.isfinite(density.total).all()
    drawn = scm.sample(20_000, seed=0)
    assert 3 not in drawn["c"], "a category never seen has no weight"
    for k in range(3):
        p = density["c"][c == k][0].exp()
        assert abs((drawn["c"] == k).float().mean() - p) < 4.5 * (p * (1 - p) / 20_000).sqrt()
    noise = scm.abduct({"c": c, "b": b})
    assert torch.equal(noise["c.u"], c)
    assert torch.equal(noise["b.u"], b)
    assert noise.seed is None, "nothing was drawn"


def test_a_table_is_learned() -> None:
    """P(c | b) within 0.05 after a few epochs: twice the sampling error of 1000 rows a column."""
    generator = torch.Generator().manual_seed(0)
    b = torch.rand(2000, generator=generator) < 0.5
    table = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    c = torch.multinomial(table[b.long()], 1, generator=generator).squeeze(1)
    scm = ccf.SCM([("b", "c")], {"b": ccf.Boolean(), "c": ccf.Categorical(3)})
    scm.fit({"b": b, "c": c}, epochs=60, seed=0, progress=False)
    learned = scm.mechanisms["c"].dist({"b": torch.tensor([False, True])}).probs
    assert torch.allclose(learned, table, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gumbel_noise_of_the_seen_class_wins_by_the_margin(dtype: torch.dtype) -> None:
    mechanism = ccf.mechanisms.Categorical().bind("c", ccf.Categorical(3), {"v": ccf.Vector(3)}).to(dtype=dtype)
    mechanism.logits = lambda pa: pa["v"]  # type: ignore[method-assign]
    logits = torch.tensor([[0.0, 1e5, 3.0], [0.0, 0.0, 0.0], [-2e4, 0.0, 5.0]], dtype=dtype).repeat(500, 1)
    x = torch.tensor([0, 1, 2]).repeat(500)
    u = mechanism.abduct(x, {"v": logits})["u"]
    assert torch.isfinite(u).all()
    assert torch.equal(mechanism.predict({"u": u}, {"v": logits}), x)
    nudged = logits * (1 + 4 * torch.finfo(dtype).eps)
    assert torch.equal(mechanism.predict({"u": u}, {"v": nudged}), x)


def test_a_boolean_distribution_draws_and_scores_booleans() -> None:
    law = ccf.mechanisms.Boolean().bind("b", ccf.Boolean(), {}).dist({})
    drawn = law.expand([7]).sample()
    assert drawn.dtype == torch.bool
    assert drawn.shape == (7,) if drawn.ndim == 1 else drawn.shape[-1] == 7
    assert torch.allclose(
        law.log_prob(torch.tensor([True])).exp() + law.log_prob(torch.tensor([False])).exp(), torch.ones(1)
    )
