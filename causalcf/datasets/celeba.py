"""CelebA: faces with attributes, read from the files as they are distributed."""

from __future__ import annotations

import csv
import gzip
import warnings
import zlib
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from causalcf.core.columns import Column
from causalcf.core.errors import DataError, MissingFileError
from causalcf.core.signatures import checked
from causalcf.core.surroundings import callers_line
from causalcf.datasets.base import Dataset, check_split, file_in, find_folder
from causalcf.datasets.decoded import Decoded
from causalcf.graph import CausalGraph, load_graph
from causalcf.variables.image import Image

__all__ = ["CelebA"]

PARTITIONS = {"train": 0, "valid": 1, "test": 2}
"""The splits, as list_eval_partition.txt numbers them."""

LONGEST = 2**28
"""Bytes of a list that are read from a gzipped file; the lists have 25 million."""

WIDTH, HEIGHT = 178, 218
"""Size of an aligned picture, px."""

CROP = 150
"""Side of the square cut from the middle of such a picture, px."""

_REMEDY = (
    "Get 'Align&Cropped Images', list_attr_celeba.txt and list_eval_partition.txt from"
    " https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and unpack them there."
)

_NEGATED = {"beard": "No_Beard"}
"""Nodes whose column states their opposite."""


@checked
class CelebA(Dataset):
    """CelebA as an image node and boolean attribute nodes, those of the graph.

    Each picture is cut to the middle 150 x 150 and resized to the graph's image size. Copies whose pictures are
    smaller or larger are cut in proportion; square ones, which were cut before, are taken whole, with a warning.
    The lists may be CSV files, as some mirrors have them. A node is read from the attribute of its name (`smiling`
    from `Smiling`); `beard` is the opposite of `No_Beard`. Pictures
    are decoded when rows are asked for, and once for all, into a cache, when all are needed.

    Args:
        root: Folder of `img_align_celeba/`, `list_attr_celeba.txt` and `list_eval_partition.txt`, or a
            folder that holds it as `celeba/`; by default the environment variable CAUSALCF_DATA.
        split: `"train"` (162,770), `"valid"` (19,867) or `"test"` (19,962).
        graph: Which nodes to read: a CausalGraph, or the name of one, such as `"celeba-complex"`.

    Raises:
        MissingFileError: Says which file is missing, where it was looked for, and how to get it.
        DataError: No such split, damaged files, or a node that CelebA does not have.

    References:
        Liu, Luo, Wang, Tang: Deep Learning Face Attributes in the Wild, 2015.

    Example:
        >>> CelebA("data", split="valid")[:8]["image"].shape  # doctest: +SKIP
        torch.Size([8, 3, 64, 64])
    """

    def __init__(
        self,
        root: str | Path | None = None,
        split: Literal["train", "valid", "test"] = "train",
        *,
        graph: str | CausalGraph = "celeba",
    ) -> None:
        check_split(split, list(PARTITIONS))
        graph = load_graph(graph) if isinstance(graph, str) else graph
        folder, lists = _find(root)
        names = _names_of_split(lists[1], split)
        attributes = _read_attributes(lists[0], names)
        values: dict[str, Tensor | Column] = {}
        for node, variable in graph.variables.items():
            if isinstance(variable, Image):
                values[node] = _read_images(_pictures(folder), names, split, variable.height, variable.width)
            else:
                values[node] = _attribute(node, attributes)
        super().__init__(values, graph)


def _find(root: str | Path | None) -> tuple[Path, list[Path]]:
    """The folder, and its lists of attributes and of splits: as text, else as CSV."""
    text, sheets = (
        [f"list_{name}.{ending}" for name in ("attr_celeba", "eval_partition")] for ending in ("txt", "csv")
    )
    try:
        folder, lists = find_folder("CelebA", root, text, inside=["celeba"], remedy=_REMEDY), text
    except MissingFileError as missing:
        try:
            folder, lists = find_folder("CelebA", root, sheets, inside=["celeba"], remedy=_REMEDY), sheets
        except MissingFileError:
            raise missing from None
    return folder, [file_in(folder, name) for name in lists]


def _pictures(folder: Path) -> Path:
    """The folder of the pictures; in some copies it lies within one of its own name."""
    inner = folder / "img_align_celeba" / "img_align_celeba"
    return inner if inner.is_dir() else inner.parent


def _table(path: Path) -> list[list[str]]:
    """The fields of each line of a list: between blanks or, of a CSV file, commas."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LONGEST)
        lines = content.decode("utf-8-sig").splitlines()
        if ".csv" in path.suffixes:
            return [[field.strip() for field in row] for row in csv.reader(lines) if row]
        return [fields for fields in (line.split() for line in lines) if fields]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. {_REMEDY}") from None


def _names_of_split(path: Path, split: str) -> list[str]:
    """File names of the pictures of a split."""
    pairs = _table(path)
    if ".csv" in path.suffixes:
        pairs = pairs[1:]
    numbers = {str(number) for number in PARTITIONS.values()}
    if any(len(pair) != 2 or pair[1] not in numbers for pair in pairs):
        raise DataError(f"{path} is damaged: expected 'name number' on each line, the number 0, 1 or 2. {_REMEDY}")
    names = [name for name, partition in pairs if partition == str(PARTITIONS[split])]
    odd = next((name for name in names if Path(name).name != name), None)
    if odd is not None:
        raise DataError(f"{path} names the file {odd!r}: expected names without a folder. {_REMEDY}")
    return names


def _read_attributes(path: Path, names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """attribute -> whether each named picture has it, shape (N,)."""
    lines = _table(path)
    if ".csv" in path.suffixes:  # no count; the header names the column of names too
        lines = [["?"], *([lines[0][1:]] if lines else []), *lines[1:]]
    if len(lines) < 2:
        raise DataError(f"{path} is damaged: it has no header. {_REMEDY}")
    (count, *_), columns, *rest = lines
    if count.isdecimal() and int(count) != len(rest):
        raise DataError(f"{path} is damaged: it tells of {count} pictures and lists {len(rest)}. {_REMEDY}")
    rows = {fields[0]: fields[1:] for fields in rest}
    lost = [name for name in names if len(rows.get(name, [])) != len(columns)]
    if lost:
        raise DataError(f"{path} has no full row for {len(lost)} pictures (for example {lost[0]}). {_REMEDY}")
    values = np.array([rows[name] for name in names]).reshape(len(names), len(columns))
    if not np.isin(values, ["1", "-1", "0"]).all():
        raise DataError(f"{path} is damaged: attributes must be 1 or -1. {_REMEDY}")
    return {column: values[:, i] == "1" for i, column in enumerate(columns)}


def _attribute(node: str, attributes: dict[str, NDArray[np.bool_]]) -> Tensor:
    """The values of an attribute node, bool of shape (N,)."""
    column = _NEGATED.get(node, node)
    by_name = {name.lower(): values for name, values in attributes.items()}
    if column.lower() not in by_name:
        raise DataError(f"CelebA has no attribute '{node}'. It has {sorted(by_name)}.")
    return torch.from_numpy(by_name[column.lower()] ^ (node in _NEGATED))


def _read_images(folder: Path, names: list[str], split: str, height: int, width: int) -> Column:
    """The named pictures as bytes of shape (N, 3, height, width), decoded when they are asked for."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise MissingFileError(
            f"CelebA needs {missing[0]}: not found in {folder} (with {len(missing)} of {len(names)} missing). {_REMEDY}"
        )
    size = _size(folder / names[0]) if names else (WIDTH, HEIGHT)
    if size[0] == size[1]:
        warnings.warn(
            f"CelebA: pictures in {folder} are {size} pixels, not {WIDTH} x {HEIGHT}: taken for faces that"
            " were cut out before, and not cut again. They show more or less of a head than those of other copies.",
            stacklevel=callers_line(),
        )
    paths, decode = [folder / name for name in names], partial(_read_image, height=height, width=width)
    return Column(Decoded(paths, decode, (3, height, width), partial(_called, paths), f"CelebA in {folder}, {split}"))


def _called(paths: list[Path], row: int) -> str:
    return str(paths[row])


def _size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, which is not decoded."""
    try:
        with Pillow.open(path) as picture:
            _box(str(path), *picture.size)
            return picture.size
    except (OSError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged: {error}. {_REMEDY}") from None


def _read_image(path: Path, name: str, height: int, width: int) -> NDArray[np.uint8]:
    """One picture, cut and resized, as bytes of shape (3, height, width)."""
    try:
        with Pillow.open(path) as picture:
            square = picture.convert("RGB").crop(_box(name, *picture.size))
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:  # all that Pillow raises
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} is damaged: {error}. {_REMEDY}") from None
    small = square.resize((width, height), Pillow.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def _box(name: str, width: int, height: int) -> tuple[int, int, int, int]:
    """The box to cut from a picture of this size: the middle, in proportion; all of a square."""
    if width == height:
        return 0, 0, width, height
    if abs(width * HEIGHT / (height * WIDTH) - 1) > 0.03:
        raise DataError(
            f"{name} is {width} x {height} pixels: expected {WIDTH} x {HEIGHT}, as 'Align&Cropped Images' are, the same"
            f" in proportion, or squares. {_REMEDY}"
        )
    side = max(1, round(CROP * width / WIDTH))
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
