"""CelebA: faces with attributes, read from the files as they are distributed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from causalcf.core.errors import DataError, MissingFileError
from causalcf.datasets.base import Dataset, check_split, file_in, find_folder
from causalcf.graph import CausalGraph, load_graph
from causalcf.variables.image import Image

__all__ = ["CelebA"]

PARTITIONS = {"train": 0, "valid": 1, "test": 2}
"""The splits, as list_eval_partition.txt numbers them."""

CROP = 150
"""Side of the square cut from the middle of each 178 x 218 picture, px."""

_REMEDY = (
    "Get 'Align&Cropped Images', list_attr_celeba.txt and list_eval_partition.txt from"
    " https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and unpack them there."
)

_NEGATED = {"beard": "No_Beard"}
"""Nodes whose column states their opposite."""


class CelebA(Dataset):
    """CelebA as an image node and boolean attribute nodes, those of the graph.

    Each picture is cut to the middle 150 x 150 and resized to the graph's image size. A node is read from
    the attribute of its name (`smiling` from `Smiling`); `beard` is the opposite of `No_Beard`. Pictures
    are kept as bytes and become floats in [0, 1] when they are asked for: take rows, not the whole set.

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
        lists = ["list_attr_celeba.txt", "list_eval_partition.txt"]
        folder = find_folder("CelebA", root, lists, inside=["celeba"], remedy=_REMEDY)
        names = _names_of_split(file_in(folder, lists[1]), split)
        attributes = _read_attributes(file_in(folder, lists[0]), names)
        values: dict[str, Tensor] = {}
        for node, variable in graph.variables.items():
            if isinstance(variable, Image):
                values[node] = _read_images(folder / "img_align_celeba", names, variable.height, variable.width)
            else:
                values[node] = _attribute(node, attributes)
        super().__init__(values, graph)


def _names_of_split(path: Path, split: str) -> list[str]:
    """File names of the pictures of a split."""
    pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"{path} is damaged: expected 'name number' on each line. {_REMEDY}")
    return [name for name, partition in pairs if partition == str(PARTITIONS[split])]


def _read_attributes(path: Path, names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """attribute -> whether each named picture has it, shape (N,)."""
    _, header, *lines = path.read_text(encoding="utf-8").splitlines()
    columns = header.split()
    rows = {fields[0]: fields[1:] for fields in (line.split() for line in lines) if fields}
    lost = [name for name in names if len(rows.get(name, [])) != len(columns)]
    if lost:
        raise DataError(f"{path} has no full row for {len(lost)} pictures (for example {lost[0]}). {_REMEDY}")
    table = np.array([rows[name] for name in names]).reshape(len(names), len(columns)) == "1"
    return {column: table[:, i] for i, column in enumerate(columns)}


def _attribute(node: str, attributes: dict[str, NDArray[np.bool_]]) -> Tensor:
    """The values of an attribute node, bool of shape (N,)."""
    column = _NEGATED.get(node, node)
    by_name = {name.lower(): values for name, values in attributes.items()}
    if column.lower() not in by_name:
        raise DataError(f"CelebA has no attribute '{node}'. It has {sorted(by_name)}.")
    return torch.from_numpy(by_name[column.lower()] ^ (node in _NEGATED))


def _read_images(folder: Path, names: list[str], height: int, width: int) -> Tensor:
    """The named pictures as bytes of shape (N, 3, height, width)."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise MissingFileError(
            f"CelebA needs {missing[0]}: not found in {folder} (with {len(missing)} of {len(names)} missing). {_REMEDY}"
        )
    images = torch.empty(len(names), 3, height, width, dtype=torch.uint8)

    def load(row: int) -> None:
        images[row] = torch.from_numpy(_read_image(folder / names[row], height, width))

    with ThreadPoolExecutor() as pool:  # Pillow decodes without holding the interpreter's lock
        for _ in pool.map(load, range(len(names))):
            pass
    return images


def _read_image(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """One picture, cut and resized, as bytes of shape (3, height, width)."""
    with Pillow.open(path) as picture:
        left, top = (picture.width - CROP) // 2, (picture.height - CROP) // 2
        square = picture.convert("RGB").crop((left, top, left + CROP, top + CROP))
    small = square.resize((width, height), Pillow.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
