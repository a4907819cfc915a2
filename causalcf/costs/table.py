"""Costs and speeds as tables to print."""

from __future__ import annotations

from typing import Any

from causalcf.costs.measure import Cost
from causalcf.costs.throughput import Speed

__all__ = ["speed_table", "table"]


def table(costs: list[Cost]) -> Any:
    """The costs as a rich table."""
    from rich.table import Table

    view = Table(title="causalcf against what it replaces (medians; one thread)")
    for heading in ("", "ours", "reference", "ratio", "promise", "kept"):
        view.add_column(heading, justify="left" if heading in ("", "promise") else "right")
    for cost in costs:
        numbers = (f"{cost.ours:.3g} {cost.unit}", f"{cost.reference:.3g} {cost.unit}", f"{cost.ratio:.3f}")
        view.add_row(cost.name, *numbers, cost.promise, {True: "yes", False: "NO", None: ""}[cost.kept])
    return view


def speed_table(measured: list[Speed]) -> Any:
    """The speeds as a rich table."""
    from rich.table import Table

    view = Table(title="Images a second (32 x 32, the MorphoMNIST graph)")
    for heading in ("", "device", "weights", "training", "counterfactuals"):
        view.add_column(heading, justify="left" if heading in ("", "device") else "right")
    for one in measured:
        view.add_row(one.name, one.device, f"{one.parameters:,}", f"{one.training:,.0f}", f"{one.counterfactuals:,.0f}")
    return view
