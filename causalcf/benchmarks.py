"""What the library costs, measured beside what it replaces: `python -m causalcf.benchmarks`.

Both sides run in one process, in turns (A B A B ...), on one thread, in CPU seconds, so that other
work on the machine falls on both alike; the medians are compared. Weights are not trained: what a
network costs does not depend on them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor

from causalcf import seeding
from causalcf._zuko import zuko
from causalcf.data import Batch
from causalcf.datasets.synthetic import Heteroscedastic
from causalcf.graph import load_graph
from causalcf.mechanisms import Flow, LinearGaussian, Recipe
from causalcf.mechanisms.vae import VAE
from causalcf.provenance import provenance
from causalcf.scm import StructuralCausalModel

__all__ = ["Cost", "Program", "images", "imports", "main", "memory", "run", "table", "tabular", "training"]


@dataclass(frozen=True)
class Cost:
    """One measurement of both sides.

    Args:
        name: What was measured.
        ours: What causalcf took.
        reference: What the other side took.
        unit: Of both.
        ratio: `ours / reference`.
        promise: What design.md promises, in words; empty where it promises nothing.
        kept: Whether the promise was kept; None without one.
    """

    name: str
    ours: float
    reference: float
    unit: str
    ratio: float
    promise: str
    kept: bool | None


# ---------------------------------------------------------------------- the benchmarks


def images(*, rows: int = 256, repeats: int = 9, widths: tuple[int, int, int] = (32, 64, 96)) -> Cost:
    """Image counterfactuals of the MorphoMNIST graph against its mechanisms' networks called by hand."""
    scm = _unfitted("morphomnist", {"image": VAE(widths=widths)})
    with seeding.seeded(0):
        x = Batch(
            {
                "thickness": 2 + torch.rand(rows),
                "intensity": 100 + 50 * torch.rand(rows),
                "digit": torch.randint(10, (rows,)),
                "image": torch.rand(rows, 1, 32, 32),
            }
        )
    flow, vae = cast(Flow, scm.mechanisms["intensity"]), cast(VAE, scm.mechanisms["image"])

    def by_hand() -> Tensor:
        thickness = torch.full((rows,), 4.0)
        u = flow.abduct(x["intensity"], {"thickness": x["thickness"]})
        intensity = flow.predict(u, {"thickness": thickness})
        before = {name: x[name] for name in ("thickness", "digit", "intensity")}
        after = {"thickness": thickness, "digit": x["digit"], "intensity": intensity}
        z, _ = vae.encode(x["image"], before)
        mean, std = vae.decode(z, before)
        new_mean, new_std = vae.decode(z, after)
        return (new_mean + new_std * (x["image"] - mean) / std).clamp(0, 1)

    def ours() -> Tensor:
        return scm.counterfactual(x, do={"thickness": 4.0})["image"]

    _same(ours(), by_hand())
    return _compare(f"image counterfactuals, {rows} rows", ours, by_hand, repeats, 1.05, "at most 1.05 times")


def tabular(rows: int = 10_000, *, repeats: int = 21) -> Cost:
    """Counterfactuals of a three-node model against a hand-written zuko program."""
    scm = _unfitted(Heteroscedastic().graph)
    x = {name: value.float() for name, value in Heteroscedastic().sample(rows).items()}
    program = Program()
    promise, words = (0.5, "at most half the time") if rows == 1 else (1 / 1.3, "at least 1.3 times as fast")
    return _compare(
        f"tabular counterfactuals, {rows} row{'s' * (rows > 1)}",
        lambda: scm.counterfactual(x, do={"X": 1.0})["Z"],
        lambda: program.counterfactual(x, 1.0)["Z"],
        repeats,
        promise,
        words,
    )


def imports(*, repeats: int = 5) -> Cost:
    """`import causalcf`, and all that asking a model needs, on top of torch, Pyro, zuko and networkx."""
    script = """
import time
start = time.process_time()
import torch, pyro, zuko, networkx
middle = time.process_time()
import causalcf
causalcf.SCM([("x", "y")], {"x": causalcf.Real(), "y": causalcf.Real()})
print(middle - start, time.process_time() - middle)
"""
    pairs = [[float(part) for part in _python(script).split()] for _ in range(repeats)]
    reference, added = (median(side) for side in zip(*pairs, strict=True))
    return Cost(
        "import causalcf, after its dependencies",
        added,
        reference,
        "s",
        added / reference,
        "adds less than 0.5 s",
        added < 0.5,
    )


def memory(worlds: int = 16, *, rows: int = 500, side: int = 96) -> Cost:
    """How much peak memory grows from one world to several, against the bytes they give back."""
    peak_of_one, held_by_one, peak, held = map(float, _python(_MEMORY, rows, side, worlds).split())
    grown, given = (peak - peak_of_one) / 2**20, (held - held_by_one) / 2**20
    return Cost(
        f"peak memory, {worlds} worlds over 1",
        grown,
        given,
        "MiB",
        grown / given,
        "grows as the outputs do (within a tenth)",
        grown / given <= 1.1,
    )


_MEMORY = """
import sys
import resource
import torch
import causalcf as ccf
from causalcf.mechanisms import Deterministic, LinearGaussian
torch.set_num_threads(1)
rows, side, k = map(int, sys.argv[1:])

def peak():  # of this program; getrusage would remember its parent's
    try:
        line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

bars = lambda pa: torch.sigmoid(pa["x"][:, None, None, None].expand(-1, 1, side, side))
variables = {"x": ccf.Real(), "image": ccf.Image(1, side, side)}
scm = ccf.SCM([("x", "image")], variables, {"x": LinearGaussian(), "image": Deterministic(bars)})
for mechanism in scm.mechanisms.values():
    mechanism.fitted = True
x = {"x": torch.randn(rows)}
for worlds in (1, k):
    cf = scm.counterfactual(x, do=[{"x": float(i)} for i in range(worlds)])
    tensors = [value for world in cf.worlds for value in world.values.values()]
    held = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors}
    print(peak(), sum(held.values()))
    del cf, tensors
"""


def training(*, steps: int = 100, repeats: int = 5) -> Cost:
    """`fit` against a bare loop over the same mechanism's loss."""
    data = {name: value.float() for name, value in Heteroscedastic().sample(1280).items() if name != "Z"}
    recipe = Recipe(epochs=max(1, steps // 2), batch_size=512, patience=steps)  # 1024 rows: two steps an epoch
    scm = StructuralCausalModel([("X", "Y")], mechanisms={"X": LinearGaussian(), "Y": Flow(recipe=recipe)})

    def ours() -> Any:
        return scm.fit(data, validation=0.2, seed=0, progress=False)

    ours()
    bare = _unfitted(Heteroscedastic().graph).mechanisms["Y"].requires_grad_(True)

    def by_hand() -> None:
        optimizer = torch.optim.AdamW(bare.parameters(), lr=recipe.lr)
        for _ in range(recipe.epochs):
            for i in torch.randperm(1024).split(512):
                optimizer.zero_grad()
                bare.loss(data["Y"][i], {"X": data["X"][i]}).backward()
                optimizer.step()

    return _compare(f"training, {2 * recipe.epochs} steps of 512 rows", ours, by_hand, repeats)


class Program:
    """The hand-written zuko program: three autoregressive neural spline layers for each of Y and Z."""

    def __init__(self) -> None:
        with seeding.seeded(0):
            # Their transforms alone: building zuko's distribution around them would cost the program more.
            self.y, self.z = (zuko.flows.NSF(1, parents, transforms=3).transform for parents in (1, 2))

    @torch.no_grad()
    def counterfactual(self, data: dict[str, Tensor], x: float) -> dict[str, Tensor]:
        """Y and Z had X been x, each (N,)."""
        X, Y, Z = (data[name][:, None] for name in "XYZ")
        u_y, u_z = self.y(X)(Y), self.z(torch.cat([X, Y], 1))(Z)
        acted = torch.full_like(X, x)
        new_y = self.y(acted).inv(u_y)
        new_z = self.z(torch.cat([acted, new_y], 1)).inv(u_z)
        return {"X": acted[:, 0], "Y": new_y[:, 0], "Z": new_z[:, 0]}


# ---------------------------------------------------------------------- measuring


def _compare(
    name: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    repeats: int,
    limit: float | None = None,
    promise: str = "",
) -> Cost:
    """Run both sides in turns, and compare the medians of their CPU milliseconds."""
    with _one_thread():
        ours(), reference()
        pairs = [(_milliseconds(ours), _milliseconds(reference)) for _ in range(repeats)]
    mine, other = (median(side) for side in zip(*pairs, strict=True))
    ratio = mine / other
    return Cost(name, mine, other, "ms", ratio, promise, None if limit is None else ratio <= limit)


def _milliseconds(f: Callable[[], object]) -> float:
    start = time.process_time()
    f()
    return 1e3 * (time.process_time() - start)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _unfitted(graph: Any, mechanisms: Any = None) -> StructuralCausalModel:
    """A model that answers with its initial weights."""
    scm = StructuralCausalModel(load_graph(graph) if isinstance(graph, str) else graph, mechanisms=mechanisms)
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    return scm


def _same(a: Tensor, b: Tensor) -> None:
    """Both sides must have computed the same thing."""
    if not torch.allclose(a, b, atol=1e-4):
        raise RuntimeError(f"The two sides differ by up to {float((a - b).abs().max()):g}.")


def _python(script: str, *arguments: object) -> str:
    """What a fresh Python process prints."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    # glibc then gives large freed blocks back at once, so that peaks are the program's own.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"A benchmark's process failed: {done.stderr.strip()[-500:]}")
    return done.stdout


# ---------------------------------------------------------------------- the report


def run(*, quick: bool = False) -> list[Cost]:
    """All benchmarks; `quick` keeps sizes and repeats small, for tests."""
    if quick:
        return [
            images(rows=4, repeats=1, widths=(8, 8, 8)),
            tabular(100, repeats=1),
            tabular(1, repeats=3),
            imports(repeats=1),
            memory(4, rows=50),
            training(steps=4, repeats=1),
        ]
    return [
        images(),
        tabular(10_000),
        tabular(1, repeats=201),
        imports(),
        memory(4),
        memory(16),
        training(),
    ]


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


def main(out: Path = Path("benchmarks.json"), quick: bool = False) -> None:
    """Measure what causalcf costs beside what it replaces; print a table and write OUT as JSON."""
    from rich.console import Console

    costs = run(quick=quick)
    Console().print(table(costs))
    document = {"costs": [asdict(cost) for cost in costs], "provenance": provenance(seed=0, quick=quick)}
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    Console().print(f"Written to {out}.")


if __name__ == "__main__":
    import typer

    typer.run(main)
