"""Make the MorphoMNIST files from plain MNIST: `causalcf data morphomnist`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from causalcf.core.errors import DataError, MissingFileError
from causalcf.core.signatures import checked
from causalcf.datasets.base import check_split
from causalcf.datasets.glyphs import sample_attributes, worker_pool
from causalcf.datasets.idx import idx_bytes, write_atomically
from causalcf.datasets.mnist import PREFIXES, Split, idx_files, read_mnist
from causalcf.datasets.morphology import MODES, Mode, render
from causalcf.datasets.morphomnist import attributes_csv, attributes_file, read_attributes, record_file

__all__ = ["make_morphomnist"]

SHARD = 500
"""Images per part file: about ten seconds of one process, the most that a kill can lose."""


@dataclass(frozen=True)
class _Job:
    """One split to be made: its glyphs, labels and attributes, and the folder of its finished shards."""

    glyphs: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    attributes: dict[str, NDArray[np.float32]]
    mode: Mode
    parts: Path

    @property
    def shards(self) -> list[slice]:
        return [slice(start, start + SHARD) for start in range(0, len(self.glyphs), SHARD)]

    def part(self, shard: slice) -> Path:
        return self.parts / f"{shard.start:06d}.npy"


@checked
def make_morphomnist(
    mnist: str | Path,
    out: str | Path,
    *,
    mode: Mode = "published",
    splits: Sequence[Split] = ("train", "test"),
    values: str | Path | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: bool = True,
) -> list[Path]:
    """Redraw MNIST with thickness and intensity from the true causal model, in the published layout.

    Work is done in shards, each kept until its split is complete: a run that was killed resumes where it
    stopped and gives the same bytes. The files of a split appear whole, at its end.

    Args:
        mnist: The folder of plain MNIST, or one that holds it as `mnist/`.
        out: Where the files go; made if it does not exist.
        mode: `"published"` (the procedure of the published data, about 45 images a second and
            process) or `"fast"` (about 450, within 0.9 grey levels a pixel of the published images).
        splits: Which splits to make.
        values: Folder of `{train,t10k}-morpho.csv` whose thickness and intensity are used, such as the
            published ones; by default they are drawn from the true model.
        seed: Decides the drawn values.
        workers: Processes. More than one needs `if __name__ == "__main__":` in a script.
        progress: Show a progress bar.

    Returns:
        The files made.

    Raises:
        MissingFileError: MNIST, or a table of values, was not found.
        DataError: No such mode or split, or the values do not fit the images.

    Example:
        >>> make_morphomnist("data/mnist", "data/morphomnist", workers=4)  # doctest: +SKIP
    """
    if mode not in MODES:
        raise DataError(f"Unknown mode {mode!r}. Known modes: {list(MODES)}.")
    for split in splits:
        check_split(split, list(PREFIXES))
    folder = Path(out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = {split: _plan(split, mnist, folder, mode, values, seed) for split in splits}
    made: list[Path] = []
    with _progress_bar(progress) as bar:
        for split, job in jobs.items():
            images = _images(job, workers, bar, split)
            files = _split_files(folder, split, job, images, {"mode": mode, "seed": None if values else seed})
            write_atomically(files)
            shutil.rmtree(job.parts)
            made += files
    return made


def _plan(split: Split, mnist: str | Path, folder: Path, mode: Mode, values: str | Path | None, seed: int) -> _Job:
    """Read the source files of a split."""
    glyphs, labels = read_mnist(mnist, split)
    if values is None:
        # Each split has its own stream, so that making one alone gives the same values.
        stream = np.random.SeedSequence([seed, list(PREFIXES).index(split)])
        columns = sample_attributes(len(glyphs), stream)
        attributes = {name: x.astype(np.float32) for name, x in zip(("thickness", "intensity"), columns, strict=True)}
    else:
        attributes = _given_attributes(Path(values).expanduser() / attributes_file(split), len(glyphs))
    source = hashlib.sha256(b"".join([mode.encode(), glyphs.tobytes(), attributes_csv(attributes)])).hexdigest()
    # Shards of another mode, seed or source land in another folder and are never mixed in.
    return _Job(glyphs, labels, attributes, mode, folder / f".parts-{PREFIXES[split]}-{source[:16]}")


def _given_attributes(path: Path, rows: int) -> dict[str, NDArray[np.float32]]:
    if not path.is_file():
        raise MissingFileError(f"The values {path} were not found. Leave values out to draw them from the true model.")
    attributes = read_attributes(path)
    if len(attributes["thickness"]) != rows:
        raise DataError(f"{path} has {len(attributes['thickness'])} rows for {rows} images of MNIST.")
    return attributes


def _images(job: _Job, workers: int, bar: Progress, split: Split) -> NDArray[np.uint8]:
    """Make the missing shards of a split, and put all together."""
    job.parts.mkdir(exist_ok=True)
    missing = [shard for shard in job.shards if not job.part(shard).is_file()]
    task = bar.add_task(f"{split} images", total=len(job.glyphs))
    bar.advance(task, len(job.glyphs) - sum(len(job.glyphs[shard]) for shard in missing))
    for shard in _render_shards(job, missing, workers):
        bar.advance(task, len(job.glyphs[shard]))
    return np.concatenate([np.load(job.part(shard)) for shard in job.shards])


def _render_shards(job: _Job, shards: list[slice], workers: int) -> Iterator[slice]:
    """Make part files, in this process or in several; yields each shard when its file is there."""
    if workers <= 1:
        for shard in shards:
            _render_shard(job.part(shard), *_inputs(job, shard))
            yield shard
        return
    with worker_pool(workers) as pool:
        futures = {pool.submit(_render_shard, job.part(shard), *_inputs(job, shard)): shard for shard in shards}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def _inputs(job: _Job, shard: slice) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64], Mode]:
    thickness, intensity = (job.attributes[name][shard].astype(np.float64) for name in ("thickness", "intensity"))
    return job.glyphs[shard], thickness, intensity, job.mode


def _render_shard(
    path: Path, glyphs: NDArray[np.uint8], thickness: NDArray[np.float64], intensity: NDArray[np.float64], mode: Mode
) -> None:
    images = render(glyphs, thickness, intensity, mode)
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        np.save(file, images)
    unfinished.replace(path)


def _split_files(
    folder: Path, split: Split, job: _Job, images: NDArray[np.uint8], record: dict[str, object]
) -> dict[Path, bytes]:
    """The files of a split and their contents; the images last, as their presence says it is complete."""
    images_name, labels_name = idx_files(split)
    return {
        folder / record_file(split): (json.dumps(record) + "\n").encode(),
        folder / attributes_file(split): attributes_csv(job.attributes),
        folder / f"{labels_name}.gz": idx_bytes(job.labels),
        folder / f"{images_name}.gz": idx_bytes(images),
    }


@contextmanager
def _progress_bar(show: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not show) as bar:
        yield bar
