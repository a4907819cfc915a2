"""Costs of explainers' searches, beside loops written by hand."""

from __future__ import annotations

from causalcf.costs.bare_loops import LOOPS, Setting, sides
from causalcf.costs.measure import Cost, compare

__all__ = ["searches"]


def searches(setting: Setting | None = None, *, repeats: int = 7) -> list[Cost]:
    """The explainers' searches against loops of the same networks with as many evaluations."""
    setting = setting or Setting()
    return [
        compare(f"{name}, {setting.rows} rows", *sides(name, setting), repeats, 1.2, "at most 1.2 times")
        for name in LOOPS
    ]
