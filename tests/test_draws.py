"""Random numbers that belong to rows: laws, independence, and what they do not depend on."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import distributions as laws

from causalcf.core import draws
from causalcf.core.laws import sampled

LIKE = torch.empty(0, dtype=torch.float64)
Z = 4.5
"""Standard errors that a mean may be off by: a true one fails with probability 7e-6, and seeds are fixed."""


def _keys(n: int, seed: int = 0) -> Tensor:
    return draws.row_keys(torch.arange(n), seed)


def test_draws_follow_from_the_row_alone() -> None:
    keys = _keys(50)
    order = torch.randperm(50)
    with draws.by_row(keys, "x"):
        whole = [draws.uniform((50, 3), LIKE), draws.normal((50,), LIKE), draws.gumbel((50, 2), LIKE)]
    with draws.by_row(keys[order][:7], "x"):
        some = [draws.uniform((7, 3), LIKE), draws.normal((7,), LIKE), draws.gumbel((7, 2), LIKE)]
    assert all(torch.equal(a[order[:7]], b) for a, b in zip(whole, some, strict=True))


def test_draws_leave_torchs_state_alone() -> None:
    state = torch.get_rng_state()
    with draws.by_row(_keys(5)):
        draws.normal((5,), LIKE)
    sampled(laws.Poisson(3.0), _keys(5))
    assert torch.equal(torch.get_rng_state(), state)


def test_what_they_are_for_sets_them_apart() -> None:
    """Pairwise correlations of n = 20,000 normal draws stay below 4.5 / sqrt(n)."""
    n = 20_000
    found = []
    for seed, purpose in ((0, "x"), (0, "y"), (1, "x")):
        with draws.by_row(_keys(n, seed), purpose):
            found += [draws.normal((n,), LIKE), draws.normal((n,), LIKE)]
    found += [found[0].roll(1), found[1].square() - 1]
    off = torch.corrcoef(torch.stack(found)) - torch.eye(len(found), dtype=torch.float64)
    assert float(off.abs().max()) < Z / n**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_draws_fill_the_open_interval(dtype: torch.dtype) -> None:
    n = 100_000
    with draws.by_row(_keys(n)):
        u = draws.uniform((n,), torch.empty(0, dtype=dtype))
    assert u.dtype == dtype
    assert 0 < float(u.min()) < float(u.max()) < 1
    counts = torch.histc(u.double(), 20, 0, 1)
    assert float(((counts - n / 20) ** 2 / (n / 20)).sum()) < 60, "chi squared of 19 degrees: p < 5e-6"


@pytest.mark.parametrize(
    "law",
    [
        laws.Normal(1.0, 2.0),
        laws.Uniform(-1.0, 3.0),
        laws.Exponential(0.5),
        laws.Laplace(0.0, 1.0),
        laws.Gamma(2.0, 0.5),
        laws.Chi2(3.0),
        laws.LogNormal(0.0, 0.5),
        laws.Bernoulli(0.3),
        laws.Categorical(torch.tensor([0.2, 0.5, 0.3])),
        laws.Poisson(2.0),
        laws.Beta(2.0, 5.0),
        laws.MixtureSameFamily(laws.Categorical(torch.tensor([0.3, 0.7])), laws.Normal(torch.tensor([-2.0, 1.0]), 0.5)),
    ],
    ids=lambda law: type(law).__name__,
)
def test_a_law_is_drawn_by_row(law: laws.Distribution) -> None:
    n = 2000
    keys = _keys(n)
    drawn = sampled(law, keys)
    assert torch.equal(sampled(law, keys[-3:]), drawn[-3:])
    truth = law.sample(torch.Size([400_000])).double()
    x = drawn.double()
    assert abs(float(x.mean() - truth.mean())) < Z * float(truth.std()) / n**0.5
    fourth = (truth - truth.mean()).pow(4).mean()
    error = ((fourth - truth.var() ** 2) / n) ** 0.5
    assert abs(float(x.var() - truth.var())) < 2 * Z * float(error)


def test_vectors_are_drawn_by_row() -> None:
    law = laws.MultivariateNormal(torch.tensor([1.0, -1.0]), torch.tensor([[2.0, 0.9], [0.9, 1.0]]))
    drawn = sampled(law, _keys(5000))
    assert torch.allclose(drawn.T.cov(), law.covariance_matrix, atol=0.2)
    assert sampled(laws.Dirichlet(torch.ones(3)), _keys(4)).shape == (4, 3)


def test_a_law_for_each_row_is_drawn_by_row() -> None:
    law = laws.Normal(torch.arange(4.0), 1e-3)
    drawn = sampled(law, _keys(4), shared=False)
    assert drawn.round().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "labels",
    [
        ["anna", "berta", "a much longer name"],
        np.array(["2024-01-01", "2024-01-02", "2025-01-01"], dtype="datetime64[D]"),
        [("a", 1), ("a", 2), ("b", 1)],
        [0.5, 1.5, 2.5],
        [10**15, 7, -3],
        np.array([7, 8, 9], dtype=object),
    ],
)
def test_a_label_has_a_key_of_its_own_whatever_stands_beside_it(labels: object) -> None:
    keys = draws.label_keys(labels)
    assert len(keys.unique()) == 3
    assert torch.equal(draws.label_keys(labels[1:2]), keys[1:2])


def test_a_number_is_the_same_label_in_any_type() -> None:
    kinds = [torch.tensor([3]), np.array([3], dtype=np.int32), np.array([3], dtype=object), [3]]
    assert len({int(draws.label_keys(kind)) for kind in kinds}) == 1


def test_labels_that_repeat_get_other_draws_each_time() -> None:
    keys = draws.row_keys(torch.tensor([4, 9, 4, 4]), 0)
    assert len(keys.unique()) == 4
    assert torch.equal(keys[:2], draws.row_keys(torch.tensor([4, 9]), 0))
