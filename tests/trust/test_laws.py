"""The laws of counterfactuals on random models of every variable and mechanism, to the edges of supports and beyond.

`CAUSALCF_TRUST_SEED=n` tries the model of one number alone; `CAUSALCF_TRUST_MODELS=n` tries so many.
"""

import os

import pytest
import torch
from trust.laws import ALLOWED, LAWS, Tally, examine

MANY = 10_000

UNIFORM = 2.5
"""Kolmogorov's statistic, sqrt(n) D, above which levels are not uniform: p < 1e-5."""


def _try(seeds: range | list[int]) -> Tally:
    tally = Tally()
    for seed in seeds:
        examine(seed, tally)
    print(tally.table())
    return tally


def _judge(tally: Tally) -> None:
    broken = {law: f for law, f in tally.broken.items() if len(f) > ALLOWED.get(law, 0.0) * tally.tried[law]}
    details = [f"{law}, model {seed}: {detail}" for law, found in broken.items() for seed, detail in found[:5]]
    assert not broken, "\n".join(details)


def _statistic(levels: torch.Tensor) -> float:
    ranked = levels.sort().values
    n = len(ranked)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return float(torch.maximum((steps[1:] - ranked).max(), (ranked - steps[:-1]).max())) * n**0.5


def test_some_random_models() -> None:
    tally = _try(range(60))
    _judge(tally)
    assert all(tally.tried[law] for law in LAWS), "a law was never tried"
    # Noise that is abducted from draws of the model has the law that noise is drawn from.
    assert _statistic(torch.cat(tally.levels)) < UNIFORM


@pytest.mark.trust
def test_many_random_models() -> None:
    alone, many = os.environ.get("CAUSALCF_TRUST_SEED"), int(os.environ.get("CAUSALCF_TRUST_MODELS", MANY))
    tally = _try([int(alone)] if alone else range(1000, 1000 + many))
    _judge(tally)
    if not alone:
        statistic = _statistic(torch.cat(tally.levels))
        print(f"levels of abducted noise: {sum(map(len, tally.levels)):,}, Kolmogorov's statistic {statistic:.2f}")
        assert statistic < UNIFORM
