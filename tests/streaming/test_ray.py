"""A query is what Ray Data maps over blocks, with nothing of ours between: on two workers, one of which is killed."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import causalcf as ccf
from causalcf.costs.models import noise_images, unfitted
from causalcf.mechanisms import VAE

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings, not ours to fix
ray = pytest.importorskip("ray", reason="needs Ray: pip install 'causalcf[ray]'")

ROWS = 96


@pytest.fixture(scope="module")
def scm() -> ccf.SCM:
    return unfitted("morphomnist", {"image": VAE(widths=(8, 8, 8), latent=4)})


@pytest.fixture(scope="module")
def given():
    """Rows as Ray holds them, on two local workers."""
    import ray.data

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    ray.data.DataContext.get_current().enable_progress_bars = False
    columns = {"row": np.arange(ROWS), **{name: value.numpy() for name, value in noise_images(ROWS).items()}}
    yield ray.data.from_items([{name: value[i] for name, value in columns.items()} for i in range(ROWS)])
    ray.shutdown()


class Dying:
    """A query whose first worker to find no mark is killed in the middle of its block."""

    def __init__(self, query: ccf.BulkQuery, mark: Path) -> None:
        self.query, self.mark = query, mark

    def __call__(self, rows):
        answer = self.query(rows)
        if not self.mark.exists():
            self.mark.touch()
            os._exit(9)
        return answer


def test_two_workers_answer_as_one_call_and_a_killed_one_costs_no_row(scm, given, tmp_path):
    do = {"thickness": torch.distributions.Uniform(1.0, 5.0), "digit": "7"}
    query = ccf.BulkQuery(scm, do, seed=4)
    expected = scm.counterfactual(noise_images(ROWS), do, seed=4)
    answers = given.map_batches(Dying(query, tmp_path / "mark"), batch_size=16, batch_format="numpy").take_all()
    assert (tmp_path / "mark").exists()
    assert sorted(answer["row"] for answer in answers) == list(range(ROWS))
    for answer in answers:
        assert answer["digit"] == "7"
        for node in ("thickness", "intensity", "image"):
            np.testing.assert_allclose(answer[node], expected[node][answer["row"]].numpy(), rtol=1e-4, atol=1e-4)


def test_what_ray_gives_opens_as_a_data_set(scm, given):
    query = ccf.BulkQuery(scm, {"thickness": 4.0}, as_bytes=True)
    answers = given.map_batches(query, batch_size=32, batch_format="numpy").sort("row")
    items = ({**row, "image": torch.from_numpy(row["image"])} for row in answers.iter_rows())
    found = ccf.datasets.from_items(items, graph=scm.graph)
    expected = scm.counterfactual(noise_images(ROWS), {"thickness": 4.0}, seed=0)
    torch.testing.assert_close(found["intensity"], expected["intensity"], rtol=1e-4, atol=1e-4)
    assert (found["image"] - expected["image"]).abs().max() < 0.51 / 255
