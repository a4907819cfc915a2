"""Launches and waits are counted for every image mechanism: none in a training step, few in a query."""

from causalcf.costs import waiting
from causalcf.costs.models import IMAGES


def test_no_network_waits_and_a_query_only_to_check(capsys, monkeypatch):
    found = waiting.waiting(small=True)
    assert {(one.mechanism, one.call) for one in found} == {
        (name, call) for name in IMAGES for call in ("training step", "abduction", "prediction", "query")
    }
    for one in found:
        assert one.launches > 10
        if one.call == "training step":
            assert one.waits == {}, one
        if one.call == "query":
            assert sum(one.waits.values()) > 0, "checks of what is asked read numbers: the count sees them"
    monkeypatch.setattr(waiting, "waiting", lambda: found)
    waiting.main()
    assert "training step" in capsys.readouterr().out
