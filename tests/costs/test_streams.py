"""Every way of answering many rows is timed."""

import pytest

from causalcf.costs.streams import streams


@pytest.mark.slow  # a minute or more: ten processes are started
def test_every_way_answers_all_rows():
    found = streams(64, repeats=1, small=True)
    assert len({one.name for one in found}) == len(found) >= 4
    assert all(0 < one.seconds <= one.whole for one in found)
