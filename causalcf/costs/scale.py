"""How time and memory grow with rows, worlds, nodes and pixels: `python -m causalcf.costs.scale`.

Processor time of one thread, the least of several calls; memory is what the process needed at most beyond what it held
before the call (Linux; elsewhere it is not measured). Weights are not trained: costs do not depend on them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import typer

from causalcf.core.files import write_json
from causalcf.core.provenance import provenance
from causalcf.costs.measure import one_thread
from causalcf.costs.models import noise_images, unfitted
from causalcf.data import Batch
from causalcf.graph import CausalGraph
from causalcf.mechanisms import VAE
from causalcf.variables.image import Image
from causalcf.variables.scalar import Real

__all__ = ["Growth", "growths", "main"]


@dataclass(frozen=True)
class Growth:
    """Costs of one call as one size grows.

    Args:
        name: Which size, and of what.
        sizes: What was measured.
        milliseconds: Processor time of each.
        mebibytes: Most memory of each; empty where it is not measured.
    """

    name: str
    sizes: tuple[int, ...]
    milliseconds: tuple[float, ...]
    mebibytes: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """b of time = a size^b between the two largest sizes."""
        return _exponent(self.sizes, self.milliseconds)

    @property
    def memory_exponent(self) -> float | None:
        """The same of memory."""
        return _exponent(self.sizes, self.mebibytes) if self.mebibytes and min(self.mebibytes[-2:]) > 0 else None


def _exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """
    Example:
        >>> _exponent([1, 2, 4], [7, 8, 16])
        1.0
    """
    return float(np.log(costs[-1] / costs[-2]) / np.log(sizes[-1] / sizes[-2]))


def growths(*, small: bool = False, repeats: int = 5) -> list[Growth]:
    """All of them; `small` keeps sizes small, for tests."""
    plans: dict[str, tuple[Callable[[int], Callable[[], object]], Sequence[int]]] = {
        "rows of 32 x 32 images": (_image_rows, (4, 8) if small else (32, 64, 128, 256, 512)),
        "rows of a table": (partial(_chain, 4), (10, 20) if small else (100, 1_000, 10_000, 100_000)),
        "worlds of 64 images": (_worlds, (1, 2) if small else (1, 2, 4, 8, 16)),
        "nodes in a chain, 1,000 rows": (lambda nodes: _chain(nodes, 1_000), (2, 4) if small else (4, 8, 16, 32, 64)),
        "side of 16 images, px": (_sides, (8, 16) if small else (16, 32, 64, 128)),
    }
    with one_thread():
        return [_growth(name, make, sizes, repeats) for name, (make, sizes) in plans.items()]


def _growth(name: str, make: Callable[[int], Callable[[], object]], sizes: Sequence[int], repeats: int) -> Growth:
    times, peaks = [], []
    for size in sizes:
        ask = make(size)
        ask()
        times.append(min(_milliseconds(ask) for _ in range(repeats)))
        peak = _peak(ask)
        peaks += [] if peak is None else [peak]
    return Growth(name, tuple(sizes), tuple(times), tuple(peaks))


def _milliseconds(ask: Callable[[], object]) -> float:
    start = time.process_time()
    ask()
    return 1e3 * (time.process_time() - start)


def _peak(ask: Callable[[], object]) -> float | None:
    """MiB that a call needs at most beyond what is held before it; None where the system does not tell."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before = _status("VmRSS")
        answer = ask()
        after = _status("VmHWM")
    except OSError:
        return None
    del answer
    return (after - before) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


# ---------------------------------------------------------------------- what is asked


def _image_rows(rows: int) -> Callable[[], object]:
    scm, x = unfitted("morphomnist", {"image": VAE()}), noise_images(rows)
    return lambda: scm.counterfactual(x, {"thickness": 4.0})


def _worlds(worlds: int) -> Callable[[], object]:
    scm, x = unfitted("morphomnist", {"image": VAE()}), noise_images(64)
    do: list[Mapping[str, float]] = [{"thickness": 2.0 + 2.0 * i / worlds} for i in range(worlds)]
    return lambda: scm.counterfactual(x, do)


def _chain(nodes: int, rows: int) -> Callable[[], object]:
    """x0 -> x1 -> ..., each a flow given the one before."""
    names = [f"x{i}" for i in range(nodes)]
    graph = CausalGraph(list(pairwise(names)), dict.fromkeys(names, Real()))
    scm = unfitted(graph)
    x = Batch({name: torch.linspace(-1, 1, rows) for name in names})
    return lambda: scm.counterfactual(x, {"x0": 1.0})


def _sides(side: int) -> Callable[[], object]:
    graph = CausalGraph([("x", "image")], {"x": Real(), "image": Image(1, side, side)})
    scm = unfitted(graph, {"image": VAE()})
    x = Batch({"x": torch.zeros(16), "image": torch.full((16, 1, side, side), 0.5)})
    return lambda: scm.counterfactual(x, {"x": 1.0})


def main(out: Path = Path("scale.json"), repeats: int = 5) -> None:
    """Measure how costs grow, print a table, and write OUT as JSON."""
    from rich.console import Console
    from rich.table import Table

    found = growths(repeats=repeats)
    table = Table("what grows", "sizes", "ms of processor time", "time as size^", "MiB", "memory as size^")
    for one in found:
        memory = "" if one.memory_exponent is None else f"{one.memory_exponent:.2f}"
        numbers = [", ".join(f"{value:.3g}" for value in values) for values in (one.milliseconds, one.mebibytes)]
        sizes = ", ".join(f"{size:,}" for size in one.sizes)
        table.add_row(one.name, sizes, numbers[0], f"{one.exponent:.2f}", numbers[1], memory)
    Console(width=140).print(table)
    document = {"growths": [asdict(one) for one in found], "provenance": provenance(seed=0, repeats=repeats)}
    Console().print(f"Written to {write_json(out, document)}.")


if __name__ == "__main__":
    typer.run(main)
