"""Objectives are minimised in turn, each by its own part, to the same result again."""

import pytest
import torch
from torch import nn

from causalcf.core.descent import Objective, descend
from causalcf.core.errors import DataError, TrainingError


def _regression(seed: int, **options: object) -> tuple[nn.Linear, list[dict[str, float]]]:
    torch.manual_seed(0)
    line, x = nn.Linear(3, 1), torch.randn(64, 3)
    y = x @ torch.tensor([1.0, -2.0, 0.5])
    objective = Objective([line], lambda rows: (line(x[rows])[:, 0] - y[rows]).square().mean())
    return line, descend({"fit": objective}, 64, batch_size=16, seed=seed, **options)  # type: ignore[arg-type]


def test_it_finds_the_minimum_and_says_how_it_went() -> None:
    line, history = _regression(0, epochs=100, lr=0.05, decay=True)
    assert torch.allclose(line.weight, torch.tensor([[1.0, -2.0, 0.5]]), atol=1e-3)
    assert [record["epoch"] for record in history] == list(range(1, 101))
    assert history[-1]["fit"] < 1e-4 < history[0]["fit"]
    assert not line.weight.requires_grad


def test_the_seed_decides() -> None:
    first, again, other = (_regression(seed, epochs=2)[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_player_moves_its_own_part() -> None:
    """The second objective's loss is large in the first's weights, which it must not touch."""
    torch.manual_seed(0)
    a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    one = torch.ones(1, 1)
    objectives = {
        "a": Objective([a], lambda _: (a(one) - 1).square().sum()),
        "b": Objective([b], lambda _: (b(one) + a(one)).square().sum() + 100 * (a(one) + 5).square().sum()),
    }
    descend(objectives, 4, epochs=300, batch_size=4, lr=0.05)
    assert float(a.weight) == pytest.approx(1, abs=1e-2)
    assert float(b.weight) == pytest.approx(-1, abs=1e-2)


def test_failures_are_told() -> None:
    line = nn.Linear(1, 1)
    with pytest.raises(DataError, match="no rows"):
        descend({"x": Objective([line], lambda _: line.weight.sum())}, 0, epochs=1, batch_size=1)
    with pytest.raises(TrainingError, match=r"\['x'\] was NaN or infinite in epoch 1"):
        descend({"x": Objective([line], lambda _: line.weight.sum() / 0)}, 4, epochs=1, batch_size=2)
