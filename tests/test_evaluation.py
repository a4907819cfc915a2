"""Truth error and composition: a perfect model scores 0, doing nothing the floor, noise worse."""

from types import SimpleNamespace

import pytest
import torch

import causalcf as ccf
from causalcf.datasets.base import Dataset
from causalcf.errors import DataError
from causalcf.evaluation import composition, select_rows, truth_error

GRAPH = ccf.CausalGraph(
    [("light", "heat"), ("light", "image"), ("heat", "lit")],
    {
        "light": ccf.Interval(0, 1),
        "heat": ccf.Real(unit="K"),
        "lit": ccf.Boolean(),
        "image": ccf.Image(1, 8, 8),
    },
)


class World(Dataset):
    """Pictures of a pattern under a light that also warms: heat = 10 light + u, lit = heat > 5."""

    def __init__(self, rows=400):
        draw = torch.Generator().manual_seed(0)
        self.patterns, self.u = torch.rand(rows, 1, 8, 8, generator=draw), torch.randn(rows, generator=draw)
        super().__init__(self._see(torch.rand(rows, generator=draw), torch.arange(rows)), GRAPH)

    def _see(self, light, index, heat=None):
        heat = 10 * light + self.u[index] if heat is None else heat
        return {
            "light": light,
            "heat": heat,
            "lit": heat > 5,
            "image": light[:, None, None, None] * self.patterns[index],
        }

    def truth(self, x, do):
        return ccf.Batch(
            self._see(do.get("light", x["light"]), x.index, do.get("heat", x["heat"] if "light" not in do else None))
        )


def model(answer):
    """What evaluation needs of a model: its graph, its variables and its answers, here without options."""

    def counterfactual(x, do, **options):
        return answer(x, do)

    return SimpleNamespace(graph=GRAPH, variables=GRAPH.variables, counterfactual=counterfactual)


@pytest.fixture(scope="module")
def world():
    return World()


def perfect(world):
    return model(lambda x, do: {**world.truth(x, do), **do})


def identity():
    return model(lambda x, do: {**x, **do})


def noise():
    draw = torch.Generator().manual_seed(1)
    return model(
        lambda x, do: {
            "light": x["light"],
            "heat": 100 * torch.randn(x.rows, generator=draw),
            "lit": torch.rand(x.rows, generator=draw) > 0.5,
            "image": torch.rand(x["image"].shape, generator=draw),
            **do,
        }
    )


def scores(scm, world, **options):
    found = truth_error(scm, world, ["light", "heat"], **{"n": 200, **options})
    return {(record["do"], record["node"], record["residual"]): record for record in found}


def test_every_changed_node_is_scored_in_its_unit(world):
    found = scores(perfect(world), world)
    changed = {"light": {"heat", "lit", "image"}, "heat": {"lit"}}
    assert set(found) == {(do, node, r) for do, nodes in changed.items() for node in nodes for r in (1.0, 0.0)}
    units = {key[1]: record["unit"] for key, record in found.items()}
    assert units == {"heat": "K", "lit": "share wrong", "image": "grey levels"}


def test_a_perfect_model_scores_nothing(world):
    for record in scores(perfect(world), world).values():
        assert record["value"] == 0
        assert record["standard_error"] == 0
        assert record["doing_nothing"] > 0


def test_doing_nothing_scores_the_floor(world):
    for record in scores(identity(), world).values():
        assert record["value"] == pytest.approx(record["doing_nothing"], rel=1e-6)


def test_noise_is_worse_than_doing_nothing(world):
    found, floor = scores(noise(), world), scores(identity(), world)
    for key in (("light", "heat", 1.0), ("light", "image", 1.0)):
        assert found[key]["value"] > floor[key]["value"] > 0
    assert found["heat", "lit", 1.0]["value"] == pytest.approx(0.5, abs=0.15)  # 4 standard errors of 200 coin flips


def test_the_score_is_the_mean_error_with_its_standard_error(world):
    off = model(lambda x, do: {**world.truth(x, do), "heat": world.truth(x, do)["heat"] + x.index % 2, **do})
    record = scores(off, world, residuals=(1.0,))["light", "heat", 1.0]
    assert record["value"] == pytest.approx(0.5, abs=0.15)
    assert record["standard_error"] == pytest.approx(0.5 / 200**0.5, rel=0.05)
    assert (record["n"], record["seed"], record["metric"]) == (200, 0, "truth error")


def test_rows_and_values_follow_from_the_seed(world):
    found = [scores(identity(), world, seed=seed)["light", "image", 1.0]["value"] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert torch.equal(
        torch.as_tensor(select_rows(world, 50, 3).index), torch.as_tensor(select_rows(world, 50, 3).index)
    )
    assert len(set(select_rows(world, 400, 3).index.tolist())) == 400


@pytest.mark.parametrize("n", [0, 401])
def test_more_rows_than_there_are(world, n):
    with pytest.raises(DataError, match=f"Cannot select {n} of 400 rows"):
        select_rows(world, n, 0)


def fade(x, do, *, residual, seed, recompute):
    assert (do, recompute) == ({}, "all")
    return {**x, "image": x["image"] * (1.0 if residual else 0.5)}


def test_composition_counts_cycles(world):
    fading = SimpleNamespace(graph=GRAPH, variables=GRAPH.variables, counterfactual=fade)
    x = world[:100]
    found = {(r["metric"], r["residual"]): r["value"] for r in composition(fading, x, cycles=(1, 3))}
    mean = 255 * float(x["image"].mean())
    assert found["composition(1)", 1.0] == found["composition(3)", 1.0] == 0
    assert found["composition(1)", 0.0] == pytest.approx(mean / 2, rel=1e-5)
    assert found["composition(3)", 0.0] == pytest.approx(mean * 7 / 8, rel=1e-5)


def test_residual_1_composes_whatever_the_weights():
    """Why composition with the full residual proves nothing: an untrained VAE passes."""
    data = ccf.datasets.Digits("test")
    scm = ccf.SCM("morphomnist", mechanisms={"image": ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))})
    scm.fit(data[:40], epochs=1, validation=0.5, seed=0, progress=False)
    found = {(r["metric"], r["residual"]): r["value"] for r in composition(scm, data[:8])}
    assert found["composition(10)", 1.0] < 1e-3
    assert found["composition(1)", 0.0] > 3
