"""MorphoMNIST with thickness and intensity: real handwriting under a known causal model."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causalcf.core.columns import Array, Column
from causalcf.core.errors import DataError, MissingFileError
from causalcf.core.signatures import checked
from causalcf.data import Batch
from causalcf.datasets.base import Dataset, check_split, file_in, find_folder
from causalcf.datasets.glyphs import CANVAS, GlyphSCM
from causalcf.datasets.mnist import PREFIXES, Split, idx_files, read_images_and_labels, read_mnist
from causalcf.datasets.morphology import Mode
from causalcf.graph import load_graph

__all__ = ["MorphoMNIST", "read_attributes"]

ATTRIBUTES = ("thickness", "intensity")

_REMEDY = "Make the files from MNIST: causalcf data morphomnist --mnist DIR --out DIR."


@checked
class MorphoMNIST(Dataset):
    """MorphoMNIST: `image` (N, 1, 32, 32) in [0, 1], `thickness` (px), `intensity` (grey levels), `digit`.

    Reads the files as published: images and labels as IDX, thickness and intensity as
    `{train,t10k}-morpho.csv`. The stored 28 x 28 images are padded with zeros to 32 x 32.

    Args:
        root: The folder of the files, or a folder that holds it as `morphomnist/`; by default the
            environment variable CAUSALCF_DATA.
        split: `"train"` (60,000) or `"test"` (10,000).
        mnist: The folder of plain MNIST, whose glyphs `truth` redraws; by default the folder `mnist/`
            beside the files. Read when `truth` is first called.

    Raises:
        MissingFileError: Says which file is missing, where it was looked for, and how to get it.
        DataError: No such split, or damaged files.

    References:
        Pawlowski, Castro, Glocker: Deep Structural Causal Models for Tractable Counterfactual
        Inference, 2020.

    Example:
        >>> data = MorphoMNIST("data", split="test")  # doctest: +SKIP
        >>> thick = data.truth(data[:64], do={"thickness": 4.0})  # doctest: +SKIP
        >>> thick["image"].shape  # doctest: +SKIP
        torch.Size([64, 1, 32, 32])
    """

    def __init__(
        self, root: str | Path | None = None, split: Split = "train", *, mnist: str | Path | None = None
    ) -> None:
        check_split(split, list(PREFIXES))
        table = attributes_file(split)
        folder = find_folder("MorphoMNIST", root, [*idx_files(split), table], inside=["morphomnist"], remedy=_REMEDY)
        images, labels = read_images_and_labels(folder, split)
        attributes = read_attributes(file_in(folder, table))
        if len(attributes["thickness"]) != len(images):
            raise DataError(f"{folder}: {len(images)} images, but {table} has {len(attributes['thickness'])} rows.")
        margin = (CANVAS - images.shape[-1]) // 2
        padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
        values = {name: torch.from_numpy(column) for name, column in attributes.items()}
        digit = torch.from_numpy(labels.astype(np.int64))
        image = Column(Array(padded[:, None]))
        super().__init__({**values, "digit": digit, "image": image}, load_graph("morphomnist"))
        self.split: Split = split
        self._folder = folder
        self._mnist = Path(mnist) if mnist is not None else folder.parent / "mnist"

    def truth(self, x: Mapping[str, Tensor], do: Mapping[str, float | Tensor], *, workers: int = 1) -> Batch:
        """The true counterfactual of rows of this data set, by the procedure that drew the published images.

        do(thickness) changes intensity and image, do(intensity) the image alone; do of both sets both.
        With do={} the factual values are drawn again, which differs from the published test images by
        0.3 grey levels a pixel: how far the redrawn truth itself can be trusted.

        Args:
            x: Rows of this data set, as in `data[:64]`.
            do: Value, or one value per row, for `thickness` (px, above 0 to 10) and `intensity`
                (grey levels, 64 to 255).
            workers: Processes to render with; one renders about 40 images a second, three times as many of glyphs that
                it has drawn before.

        Returns:
            Batch of `thickness`, `intensity`, `digit` and `image`, with the index of x.

        Raises:
            InterventionError: No truth is known for this action.
            SupportError: A value is outside its variable's support.
            DataError: x is not made of rows of this data set, or a value has the wrong shape.
            MissingFileError: Plain MNIST was not found.
        """
        return self._scm.counterfactual(x, do, workers)

    @cached_property
    def _scm(self) -> GlyphSCM:
        try:
            glyphs, labels = read_mnist(self._mnist, self.split)
        except MissingFileError as error:
            raise MissingFileError(
                f"truth() redraws plain MNIST. {error} Or pass MorphoMNIST(..., mnist=DIR)."
            ) from None
        if not np.array_equal(labels, self["digit"].numpy()):
            raise DataError(f"{self._mnist} is not the MNIST that {self._folder} was made from: their labels differ.")
        return GlyphSCM(glyphs, mode=rendering_mode(self._folder, self.split))


def attributes_file(split: Split) -> str:
    """Name of the table of thickness and intensity."""
    return f"{PREFIXES[split]}-morpho.csv"


def record_file(split: Split) -> str:
    """Name of the file that says how a split was made; the published data have none."""
    return f"{PREFIXES[split]}-made.json"


def rendering_mode(folder: Path, split: Split) -> Mode:
    """The mode the images of a folder were rendered in: as its record says, else as published."""
    path = folder / record_file(split)
    return json.loads(path.read_text(encoding="utf-8"))["mode"] if path.is_file() else "published"


def read_attributes(path: str | Path) -> dict[str, NDArray[np.float32]]:
    """Read a table with the columns index, thickness (px) and intensity (grey levels).

    Returns:
        `thickness` and `intensity`, float32 of shape (N,).

    Raises:
        DataError: The file lacks a column, or holds something other than numbers.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        lacks = [name for name in ATTRIBUTES if name not in header]
        if lacks:
            raise DataError(f"{path} lacks the columns {lacks}; it has {header}.")
        columns = [header.index(name) for name in ATTRIBUTES]
        try:
            table = np.array([[row[column] for column in columns] for row in rows], dtype=np.float32)
        except (IndexError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}. Make it again.") from None
    return {name: np.ascontiguousarray(column) for name, column in zip(ATTRIBUTES, table.reshape(-1, 2).T, strict=True)}


def attributes_csv(attributes: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The table that `read_attributes` reads, in the published layout; the round trip is exact."""
    columns = zip(*(attributes[name] for name in ATTRIBUTES), strict=True)
    lines = [f"{i},{thickness!s},{intensity!s}" for i, (thickness, intensity) in enumerate(columns)]
    return "\n".join(["index,thickness,intensity", *lines, ""]).encode()
