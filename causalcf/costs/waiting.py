"""Where the host would wait for a device, and how often it launches something, counted on a CPU, by image mechanism.

`python -m causalcf.costs.waiting`. That nothing is added to a training step is tested: tests/training/test_waiting.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import typer

from causalcf.costs.counting import Watch
from causalcf.costs.models import IMAGES, first_trainer, noise_images, unfitted
from causalcf.training.trainer import ROWS

__all__ = ["Waiting", "main", "waiting"]

COUNT = 8
"""Rows that are asked about; how often the host waits does not depend on it."""


@dataclass(frozen=True)
class Waiting:
    """What one call launches and waits for.

    Args:
        mechanism: Of the image.
        call: A training step, the mechanism's own abduction or prediction, or the whole query do(thickness).
        launches: Operations that a device is given.
        waits: Operation -> how often the host waits for it.
    """

    mechanism: str
    call: str
    launches: int
    waits: dict[str, int]


def waiting(*, small: bool = False) -> list[Waiting]:
    """Every image mechanism; `small` takes small networks, whose waits are the same."""
    found = []
    for name, pair in IMAGES.items():
        mechanism = pair[1] if small else pair[0]
        trainer, _, _ = first_trainer(mechanism, COUNT, COUNT)
        scm, x = unfitted("morphomnist", {"image": mechanism}), noise_images(COUNT)
        image = scm.mechanisms["image"]
        pa = {parent: x[parent] for parent in image.parents}
        u = image.abduct_known(x["image"], pa)
        calls: dict[str, Callable[[], object]] = {
            "training step": partial(trainer.step, 1, {ROWS: torch.arange(COUNT)}),
            "abduction": partial(image.abduct_known, x["image"], pa),
            "prediction": partial(image.predict, u, pa),
            "query": partial(scm.counterfactual, x, {"thickness": 4.0}),
        }
        for call, ask in calls.items():
            ask()
            with Watch() as watch:
                ask()
            found.append(Waiting(name, call, watch.launches, dict(watch.waits)))
    return found


def main() -> None:
    """Print a line for each image mechanism and call."""
    from rich.console import Console
    from rich.table import Table

    table = Table("mechanism", "call", "launches", "waits", "for")
    for one in waiting():
        why = ", ".join(f"{count} {name}" for name, count in one.waits.items())
        table.add_row(one.mechanism, one.call, f"{one.launches:,}", str(sum(one.waits.values())), why)
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
