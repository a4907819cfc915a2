"""Growth is measured at every size, and its exponent is that of the largest."""

import json
import sys

import pytest

from causalcf.costs import scale
from causalcf.costs.scale import Growth, growths


@pytest.fixture(scope="module")
def found() -> list[Growth]:
    return growths(small=True, repeats=1)


def test_time_and_memory_are_measured_at_every_size(found):
    assert len({one.name for one in found}) == len(found) == 5
    for one in found:
        assert len(one.sizes) == len(one.milliseconds) == 2
        assert min(one.milliseconds) > 0
        if sys.platform.startswith("linux"):
            assert len(one.mebibytes) == 2


def test_exponents_are_those_of_the_two_largest():
    growth = Growth("rows", (1, 10, 100), (5.0, 6.0, 600.0), (3.0, 4.0, 40.0))
    assert growth.exponent == pytest.approx(2)
    assert growth.memory_exponent == pytest.approx(1)
    assert Growth("rows", (1, 2), (1.0, 2.0), ()).memory_exponent is None


def test_the_result_is_a_table_and_a_file(found, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scale, "growths", lambda **_: found)
    scale.main(tmp_path / "scale.json")
    assert "memory as size^" in capsys.readouterr().out
    document = json.loads((tmp_path / "scale.json").read_text())
    assert [one["name"] for one in document["growths"]] == [one.name for one in found]
