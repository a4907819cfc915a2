"""What the library costs, measured beside what it replaces: `python -m causalcf.costs`.

Both sides run in one process, in turns (A B A B ...), on one thread, in CPU seconds, so that other
work on the machine falls on both alike; the medians are compared. Weights are not trained: what a
network costs does not depend on them.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor

from causalcf import predictors
from causalcf.core import seeding
from causalcf.core._zuko import zuko
from causalcf.core.provenance import provenance
from causalcf.costs.bare_loops import LOOPS, Setting, sides
from causalcf.data import Batch
from causalcf.datasets.synthetic import Heteroscedastic
from causalcf.evaluation import evaluate
from causalcf.graph import load_graph
from causalcf.mechanisms import GAN, HVAE, VAE, Diffusion, Flow, LinearGaussian, Mechanism, Recipe
from causalcf.reference import latent_space, pretrained
from causalcf.scm.model import StructuralCausalModel
from causalcf.training import Fit, Trainer, plan
from causalcf.training.progress import Report

__all__ = [
    "IMAGES",
    "Cost",
    "Program",
    "Speed",
    "evaluation",
    "images",
    "imports",
    "main",
    "memory",
    "run",
    "searches",
    "speed",
    "speed_table",
    "speeds",
    "step",
    "table",
    "tabular",
    "training",
]

IMAGES: dict[str, tuple[Mechanism, Mechanism]] = {
    "VAE": (VAE(), VAE(widths=(8, 8, 8))),
    "HVAE": (HVAE(), HVAE(widths=(8, 8, 8, 8))),
    "GAN": (GAN(), GAN(widths=(8, 8, 8))),
    "Diffusion, 5 steps": (Diffusion(steps=5), Diffusion(widths=(8, 8, 8), steps=2)),
}
"""Image mechanisms by name: as they come (a flow in fewer steps, to answer in seconds), and a small one for tests."""


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


@dataclass(frozen=True)
class Speed:
    """How fast an image mechanism is on one device.

    Args:
        name: The mechanism.
        device: What it ran on.
        parameters: How many weights it has.
        training: Images a second that its first stage trains on.
        counterfactuals: Counterfactual images a second, from abduction to prediction.
    """

    name: str
    device: str
    parameters: int
    training: float
    counterfactuals: float


# ---------------------------------------------------------------------- the benchmarks


def images(*, rows: int = 256, repeats: int = 9, widths: tuple[int, int, int] = (32, 64, 96)) -> Cost:
    """Image counterfactuals of the MorphoMNIST graph against its mechanisms' networks called by hand."""
    scm, x = _unfitted("morphomnist", {"image": VAE(widths=widths)}), _images(rows)
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


def step(name: str, mechanism: Mechanism, *, steps: int = 4, batch_size: int = 64, repeats: int = 9) -> Cost:
    """Steps of `fit` on an image mechanism's first stage, against a bare loop over the same losses.

    Clipping, averaging, counting what is not finite, and seeds are on our side only.
    """
    trainer, bare, x = _trainer(mechanism, steps * batch_size, batch_size)
    turns = trainer.stage.turns
    moved = {
        turn: [bare.get_parameter(n) for n, p in trainer.mechanism.named_parameters() if p in trainer.players[turn].own]
        for turn in turns
    }
    optimizers = {turn: torch.optim.AdamW(moved[turn], lr=1e-3, fused=True) for turn in turns}
    parents = {parent: x[parent] for parent in bare.parents}

    def by_hand() -> None:
        for i in torch.randperm(x.rows).split(batch_size):
            rows = x["image"][i], {parent: value[i] for parent, value in parents.items()}
            for turn in turns:
                optimizers[turn].zero_grad()
                getattr(bare, turn.loss)(*rows).backward(inputs=moved[turn])
                optimizers[turn].step()

    what = f"{name} training, {steps} steps of {batch_size} images"
    return _compare(what, lambda: trainer.train_epoch(Report()), by_hand, repeats, 1.1, "at most 1.1 times")


def searches(setting: Setting | None = None, *, repeats: int = 7) -> list[Cost]:
    """The explainers' searches against loops of the same networks with as many evaluations."""
    setting = setting or Setting()
    return [
        _compare(f"{name}, {setting.rows} rows", *sides(name, setting), repeats, 1.2, "at most 1.2 times")
        for name in LOOPS
    ]


def speed(name: str, mechanism: Mechanism, device: str, *, rows: int | None = None, batch_size: int = 64) -> Speed:
    """Images a second of one mechanism of the MorphoMNIST graph, in training and in answers.

    On a GPU training is in bf16 mixed precision where the mechanism bears it, as one would.
    """
    rows = rows or (1024 if device == "cuda" else 256)  # what keeps it busy
    trainer, _, x = _trainer(mechanism, rows, batch_size, device)
    scm = _unfitted("morphomnist", {"image": mechanism}).to(device)
    weights = sum(parameter.numel() for parameter in trainer.mechanism.parameters())
    trained = _per_second(lambda: trainer.train_epoch(Report()), rows, device)
    answered = _per_second(lambda: scm.counterfactual(x, do={"thickness": 4.0}), rows, device)
    return Speed(name, torch.cuda.get_device_name() if device == "cuda" else device, weights, trained, answered)


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


def evaluation(*, rows: int = 1000) -> list[Cost]:
    """An evaluation of three actions: its judges beside the model's own passes, and each step's share of the whole."""
    wanted = ("effectiveness", "composition", "reversibility", "fid", "sample fid", "cld", "unchanged", "log density")
    with _one_thread():
        x = _images(rows)
        found = evaluate(
            pretrained("morphomnist-vae"),
            x,
            wanted,
            predictors=predictors.pretrained("morphomnist"),
            reference=x,
            latents=latent_space("morphomnist"),
            n=None,
            optional=True,  # a quick run has too few rows for FID
        )
    seconds, whole = found.seconds, sum(found.seconds.values())
    judges, passes = seconds["effectiveness"], seconds["counterfactuals"]
    name = f"effectiveness, {rows} rows, 3 actions, against the model's passes"
    shares = [
        Cost(f"share of an evaluation: {step}", took, whole, "s", took / whole, "", None)
        for step, took in seconds.items()
    ]
    return [Cost(name, judges, passes, "s", judges / passes, "", None), *shares]


# ---------------------------------------------------------------------- measuring


def _images(rows: int) -> Batch:
    """Rows of the MorphoMNIST graph, made of noise."""
    with seeding.seeded(0):
        return Batch(
            {
                "thickness": 2 + torch.rand(rows),
                "intensity": 100 + 50 * torch.rand(rows),
                "digit": torch.randint(10, (rows,)),
                "image": torch.rand(rows, 1, 32, 32),
            }
        )


def _trainer(mechanism: Mechanism, rows: int, batch_size: int, device: str = "cpu") -> tuple[Trainer, Mechanism, Batch]:
    """A trainer of an image mechanism's first stage, an untouched copy of the mechanism, and the rows to train on."""
    scm = _unfitted("morphomnist", {"image": mechanism}).to(device)
    x = Batch({name: value.to(device) for name, value in _images(rows).items()})
    image = scm.mechanisms["image"]
    image.calibrate(x["image"], {parent: x[parent] for parent in image.parents})
    first, *_ = plan(image)
    stage = replace(first, recipe=replace(cast(Recipe, first.recipe), batch_size=batch_size))
    precision = "bf16-mixed" if device == "cuda" else "32-true"
    parents = {"image": scm.graph.parents("image")}
    job = Fit(scm.mechanisms, parents, {"image": (stage,)}, scm.graph.to_json(), 0, precision=precision, progress=False)
    bare = copy.deepcopy(image).requires_grad_(True).train()
    return Trainer(job, "image", 0, x, x), bare, x


def _per_second(f: Callable[[], object], rows: int, device: str, repeats: int = 3) -> float:
    """Rows a second, by the median of some runs after the first; wall-clock time, as a GPU has no other."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        f()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return rows / median(times[1:])


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
            *(step(name, small, steps=1, batch_size=4, repeats=1) for name, (_, small) in IMAGES.items()),
            *evaluation(rows=20),
            *searches(Setting(rows=4, steps=2, widths=(8, 8, 8)), repeats=1),
        ]
    return [
        images(),
        tabular(10_000),
        tabular(1, repeats=201),
        imports(),
        memory(4),
        memory(16),
        training(),
        *(step(name, mechanism) for name, (mechanism, _) in IMAGES.items()),
        *evaluation(),
        *searches(),
    ]


def speeds(*, quick: bool = False) -> list[Speed]:
    """Images a second of every image mechanism, on one thread of the CPU, and on the GPU where there is one."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    options = {"rows": 8, "batch_size": 4} if quick else {}
    with _one_thread():
        return [speed(name, kinds[quick], device, **options) for name, kinds in IMAGES.items() for device in devices]


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


def main(out: Path = Path("benchmarks.json"), quick: bool = False) -> None:
    """Measure what causalcf costs beside what it replaces; print a table and write OUT as JSON."""
    from rich.console import Console

    costs, measured = run(quick=quick), speeds(quick=quick)
    Console().print(table(costs))
    Console().print(speed_table(measured))
    document = {
        "costs": [asdict(cost) for cost in costs],
        "speeds": [asdict(one) for one in measured],
        "provenance": provenance(seed=0, quick=quick),
    }
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    Console().print(f"Written to {out}.")


if __name__ == "__main__":
    import typer

    typer.run(main)
