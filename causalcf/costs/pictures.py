"""Costs of pictures that are not in memory: training on them, the memory of `fit`, and how fast they are read.

`python -m causalcf.costs.pictures` also measures reading files, beside a plain loader of torch, in one run.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causalcf.core.columns import Array, Column
from causalcf.costs.measure import Cost, compare, python
from causalcf.costs.models import first_trainer
from causalcf.mechanisms import VAE, Mechanism
from causalcf.training import Trainer
from causalcf.training.progress import Report

__all__ = ["fit_memory", "main", "reading", "streamed"]


def streamed(mechanism: Mechanism, *, rows: int = 512, batch_size: int = 64, repeats: int = 7) -> Cost:
    """An epoch on bytes in a file that is mapped into memory, against one on floats in memory."""
    trainer, _, x = first_trainer(mechanism, rows, batch_size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bytes.npy"
        np.save(path, (255 * x["image"]).round().to(torch.uint8).numpy())
        mapped = x.like({**x.held, "image": Column(Array(np.load(path, mmap_mode="r")))})
        other = Trainer(trainer.job, "image", 0, mapped, mapped)
        return compare(
            f"{type(mechanism).__name__} training on {rows} pictures in a file, against floats in memory",
            lambda: other.train_epoch(Report()),
            lambda: trainer.train_epoch(Report()),
            repeats,
            1 / 0.9,
            "at least 90 % of the speed",
        )


def fit_memory(small: int = 700, large: int = 5000) -> Cost:
    """How much the peak memory of `fit` grows with the rows (3 x 64 x 64), against their bytes."""
    first, _, few, many = (int(kilobytes) / 1024 for kilobytes in python(_FIT, small, small, small, large).split())
    grown, given = max(many - few, 0.0), (large - small) * 3 * 64 * 64 / 2**20
    name = f"peak memory of fit, {large:,} pictures over {small:,} (after one fit {first:,.0f} MiB, then {many:,.0f})"
    return Cost(name, grown, given, "MiB", grown / given, "does not grow with the rows", grown / given < 0.25)


_FIT = """
import sys
import torch
import causalcf as ccf
from causalcf.core.columns import Column, Store
from causalcf.mechanisms import VAE, LinearGaussian, Recipe
torch.set_num_threads(1)

class Drawn(Store):  # pictures that take up no memory themselves
    def take(self, rows):
        pixels = (rows[:, None] * 7 + torch.arange(self.shape[1:].numel())) % 251
        return pixels.to(torch.uint8).view(-1, *self.shape[1:])

class Flat(VAE):  # one grey level for all pictures: cheap to train
    def build(self):
        super().build()
        self.level = torch.nn.Parameter(torch.zeros(()))

    def loss(self, x, pa):
        return (x - self.gain(pa) * self.level).square().mean()

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

def data(rows):
    return {"x": torch.rand(rows), "image": Column(Drawn((rows, 3, 64, 64)))}

for rows in map(int, sys.argv[1:]):
    image = Flat(latent=2, widths=(4, 4, 4), recipe=Recipe(batch_size=32))
    variables = {"x": ccf.Real(), "image": ccf.Image(3, 64, 64)}
    scm = ccf.SCM([("x", "image")], variables, {"x": LinearGaussian(), "image": image})
    scm.fit(data(rows), validation=data(64), epochs=1, seed=0, progress=False)
    print(peak())
"""


def reading(rows: int = 2000, batch_size: int = 64, repeats: int = 3) -> dict[str, float]:
    """Pictures a second, JPEG of 178 x 218 px to floats of 64 x 64, in random minibatches.

    Args:
        rows: How many pictures are drawn and written for it.
        batch_size: Of a minibatch.
        repeats: Rounds, in which all take their turn; the fastest counts, as other work only slows.

    Returns:
        "cold": decoded into the cache. "cached": read from it. "streamed": decoded whenever asked for. "DataLoader":
        what torch's own loader makes of the same files, with as many processes as there are CPUs, and with none.
    """
    from causalcf.datasets import CelebA
    from causalcf.datasets.cache import ROOT_VARIABLE, clear
    from causalcf.datasets.faces import write

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        before, os.environ[ROOT_VARIABLE] = os.environ.get(ROOT_VARIABLE), f"{folder}/cache"
        try:
            files = write(Path(folder) / "faces", "celeba", rows=rows)
            for _ in range(repeats):
                clear()
                for name, rate in _round(CelebA(files), files, batch_size):
                    found[name] = max(found.get(name, 0.0), rate)
        finally:
            os.environ.pop(ROOT_VARIABLE)
            os.environ |= {} if before is None else {ROOT_VARIABLE: before}
    return found


def _round(data: Any, files: Path, batch_size: int) -> Iterator[tuple[str, float]]:
    """Each way to read the pictures, once."""
    column, rows = data.held["image"], data.rows
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0)).split(batch_size)
    paths = [files / "img_align_celeba" / f"{row + 1:06d}.jpg" for row in range(rows)]
    yield "streamed", _rate(rows, lambda: [column[part] for part in order])
    for workers in (0, os.cpu_count() or 1):
        loader = torch.utils.data.DataLoader(_Plain(paths), batch_size, shuffle=True, num_workers=workers)
        yield f"DataLoader, {workers} processes", _rate(rows, lambda of=loader: list(of))  # type: ignore[misc]
    yield "cold", _rate(rows, data.prepare)
    yield "cached", _rate(rows, lambda: [column[part] for part in order])


class _Plain(torch.utils.data.Dataset[Tensor]):
    """What one writes by hand: open, cut, resize, divide."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image as Pillow

        with Pillow.open(self.paths[index]) as picture:
            square = picture.convert("RGB").crop((14, 34, 164, 184)).resize((64, 64), Pillow.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(square).transpose(2, 0, 1).copy()).float() / 255


def _rate(rows: int, f: Callable[[], object]) -> float:
    start = time.perf_counter()
    f()
    return rows / (time.perf_counter() - start)


def _lines(rows: int, few: int, many: int) -> Iterator[str]:
    for cost in (streamed(VAE()), fit_memory(few, many)):
        yield f"{cost.name}: {cost.ours:.4g} against {cost.reference:.4g} {cost.unit}, {cost.promise}: {cost.kept}"
    for name, rate in reading(rows).items():
        yield f"{name}: {rate:,.0f} pictures a second"


def main(rows: int = 2000, few: int = 10_000, many: int = 40_000) -> None:
    """Measure training on pictures in a file, the memory of `fit` at two sizes, and how fast pictures are read."""
    from rich.console import Console

    for line in _lines(rows, few, many):
        Console().print(line, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    import typer

    typer.run(main)
