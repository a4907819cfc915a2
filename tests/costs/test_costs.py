"""The benchmarks run and say what they measured; how fast they were is for `python -m causalcf.costs`."""

import json
import math
from pathlib import Path

import pytest
import torch

from causalcf.costs import run as costs_run
from causalcf.costs.bare_loops import LOOPS
from causalcf.costs.counterfactuals import Program
from causalcf.costs.measure import Cost, one_thread
from causalcf.costs.models import IMAGES
from causalcf.costs.pictures import reading
from causalcf.costs.throughput import speeds


@pytest.fixture(scope="module")
def costs() -> list[Cost]:
    return list(costs_run.run(quick=True))


def test_every_benchmark_measures_both_sides(costs: list[Cost]):
    assert len({cost.name for cost in costs}) == len(costs) > 6 + len(IMAGES)
    for cost in costs:
        assert math.isfinite(cost.ours), cost
        assert cost.reference > 0, cost
        assert cost.ratio == pytest.approx(cost.ours / cost.reference)
        assert cost.unit in ("ms", "s", "MiB")


def test_a_verdict_is_given_where_something_is_promised(costs: list[Cost]):
    assert all((cost.kept is None) == (cost.promise == "") for cost in costs)
    assert sum(cost.kept is not None for cost in costs) == 7 + len(IMAGES) + len(LOOPS)


def test_the_shares_of_an_evaluation_are_all_of_it(costs: list[Cost]):
    shares = {cost.name.rpartition(": ")[2]: cost.ratio for cost in costs if cost.name.startswith("share of")}
    assert {"counterfactuals", "effectiveness", "composition", "cld"} < set(shares)
    assert sum(shares.values()) == pytest.approx(1)


def test_every_image_mechanism_is_timed():
    measured = speeds(quick=True)
    assert {one.name for one in measured} == {*IMAGES}
    assert all(min(one.training, one.counterfactuals, one.parameters) > 0 for one in measured)


def test_the_peak_memory_of_fit_does_not_grow_with_the_rows(costs: list[Cost]):
    (cost,) = (cost for cost in costs if cost.name.startswith("peak memory of fit, 5,000 pictures over 700"))
    assert cost.kept, f"{cost.ours:.0f} MiB; the rows have {cost.reference:.0f} MiB as bytes, four times that as floats"


def test_reading_pictures_is_measured_beside_a_plain_loader():
    assert min(reading(rows=10, batch_size=4, repeats=1).values()) > 0


def test_the_result_is_a_table_and_a_file_with_its_provenance(tmp_path: Path, capsys, monkeypatch, costs: list[Cost]):
    monkeypatch.setattr(costs_run, "run", lambda **_: costs)
    costs_run.main(tmp_path / "b.json", quick=True)
    document = json.loads((tmp_path / "b.json").read_text())
    assert [cost["name"] for cost in document["costs"]] == [cost.name for cost in costs]
    assert {one["name"] for one in document["speeds"]} == {*IMAGES}
    assert document["provenance"]["versions"]["torch"] == torch.__version__
    printed = capsys.readouterr().out
    assert "ratio" in printed
    assert "Images a second" in printed


def test_the_threads_are_put_back(costs: list[Cost]):
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_reference_program_is_a_counterfactual():
    """Nothing done, the hand-written program gives the factual back, so it does the same work as ours."""
    x = {name: torch.randn(50) for name in "XYZ"} | {"X": torch.ones(50)}
    acted = Program().counterfactual(x, 1.0)
    for name in "YZ":
        torch.testing.assert_close(acted[name], x[name], atol=1e-4, rtol=0)
