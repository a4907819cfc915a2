"""Faces as files: a folder of pictures with a table, or exactly the files that CelebA is distributed as."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from causalcf.core.checkpoint import write_atomically
from causalcf.core.errors import DataError
from causalcf.datasets.faces.dataset import SPLITS, Faces
from causalcf.datasets.faces.listing import CELEBA_COLUMNS, celeba_attributes
from causalcf.datasets.faces.model import ATTRIBUTES, HAIR

__all__ = ["write"]

Layout = Literal["folder", "celeba"]

CELEBA_SIZE = (178, 218)
"""Width and height of CelebA's pictures, px."""

_CROP = 150  # what the square of `Faces` becomes in them; it is what the loader of CelebA cuts out
_SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
_AT_A_TIME = 256
_QUALITY = 95  # of JPEGs; a PNG loses nothing and takes no notice


def write(
    folder: str | Path,
    layout: Layout = "folder",
    *,
    rows: int = 10_000,
    size: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write faces as files: 80 % of them are `Faces("train")`, 10 % `"valid"` and 10 % `"test"`, from row 0 on.

    The layout `"folder"` is a PNG for each face in `train/`, `valid/` and `test/`, and `metadata.csv` with the
    columns `file_name`, `split`, `row` and the attributes. The layout `"celeba"` is that of the distributed CelebA:
    `img_align_celeba/000001.jpg` (178 x 218), `list_attr_celeba.txt` with its 40 columns and
    `list_eval_partition.txt`; `CelebA(folder)` reads them. There, young is under 40 and smiling a smile above 0.5.

    The tables are written last: a folder that has them is whole.

    Args:
        folder: Where the files go; made if it does not exist.
        layout: `"folder"` or `"celeba"`.
        rows: How many faces.
        size: Height and width of the pictures in px, for the layout `"folder"`.
        seed: Seed of the draws.
        progress: Show a progress bar.

    Returns:
        The folder.

    Raises:
        DataError: No such layout, fewer than 10 rows, or the folder holds something already.

    Example:
        >>> write("faces", "celeba", rows=1000)  # doctest: +SKIP
    """
    if layout not in ("folder", "celeba"):
        raise DataError(f"Unknown layout {layout!r}. Known layouts: ['folder', 'celeba'].")
    if rows < 10:
        raise DataError(f"Faces are split into train, valid and test: rows must be at least 10, got {rows}.")
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty. Name a new folder, or remove its files.")
    counts = {split: round(_SHARES[split] * rows) for split in ("valid", "test")}
    faces = {
        split: Faces(split, rows=counts.get(split, rows - sum(counts.values())), size=size, seed=seed)
        for split in SPLITS
    }
    writer = _write_folder if layout == "folder" else _write_celeba
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("faces", total=rows)
        writer(folder, faces, lambda n: bar.advance(task, n))
    return folder


def _write_folder(folder: Path, faces: Mapping[str, Faces], advance: Callable[[int], None]) -> None:
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(["file_name", "split", "row", *ATTRIBUTES])
    for split, data in faces.items():
        names = [f"{split}/{row:06d}.png" for row in range(data.rows)]
        (folder / split).mkdir(parents=True)
        for rows in _slices(data.rows):
            pictures = data.draw(rows)
            _save([folder / name for name in names[rows]], pictures)
            advance(len(pictures))
        columns = [_as_written(name, data[name]) for name in ATTRIBUTES]
        lines.writerows(
            [name, split, row, *values] for row, (name, *values) in enumerate(zip(names, *columns, strict=True))
        )
    write_atomically(folder / "metadata.csv", table.getvalue().encode())


def _as_written(name: str, values: Tensor) -> list[object]:
    """An attribute as a table holds it: names of colours, 0 and 1, numbers to the last bit."""
    if name == "hair":
        return [HAIR[code] for code in values.tolist()]
    return [str(x) for x in values.numpy()] if values.is_floating_point() else values.int().tolist()


def _write_celeba(folder: Path, faces: Mapping[str, Faces], advance: Callable[[int], None]) -> None:
    (folder / "img_align_celeba").mkdir(parents=True)
    attributes, partition = [], []
    first = 1
    for number, data in enumerate(faces.values()):
        names = [f"{first + row:06d}.jpg" for row in range(data.rows)]
        for rows in _slices(data.rows):
            pictures = data.draw(rows, *CELEBA_SIZE[::-1], reach=(CELEBA_SIZE[0] / _CROP, CELEBA_SIZE[1] / _CROP))
            paths = [folder / "img_align_celeba" / name for name in names[rows]]
            _save(paths, pictures)
            advance(len(pictures))
        table = celeba_attributes(data)
        attributes += [f"{name} " + " ".join(f"{x:2d}" for x in row) for name, row in zip(names, table, strict=True)]
        partition += [f"{name} {number}" for name in names]
        first += data.rows
    header = [str(len(attributes)), " ".join(CELEBA_COLUMNS) + " "]
    write_atomically(folder / "list_eval_partition.txt", "\n".join([*partition, ""]).encode())
    write_atomically(folder / "list_attr_celeba.txt", "\n".join([*header, *attributes, ""]).encode())


def _slices(rows: int) -> list[slice]:
    return [slice(start, min(start + _AT_A_TIME, rows)) for start in range(0, rows, _AT_A_TIME)]


def _save(paths: list[Path], pictures: Tensor) -> None:
    """Pictures (N, 3, H, W), bytes, as files of the kind that their names end with."""
    arrays = pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def save(path: Path, array: NDArray[np.uint8]) -> None:
        Pillow.fromarray(array).save(path, quality=_QUALITY)

    with ThreadPoolExecutor() as pool:  # Pillow encodes without holding the interpreter's lock
        for _ in pool.map(save, paths, arrays):
            pass
