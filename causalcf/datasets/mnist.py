"""MNIST: 70,000 handwritten digits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causalcf.core.columns import Array, Column
from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.datasets.base import Dataset, check_split, file_in, find_folder
from causalcf.datasets.idx import read_idx
from causalcf.graph import load_graph

__all__ = ["MNIST", "PREFIXES", "Split", "read_mnist"]

Split = Literal["train", "test"]

PREFIXES: dict[str, str] = {"train": "train", "test": "t10k"}
"""How the files of each split begin."""

_REMEDY = (
    "Get train- and t10k- images-idx3-ubyte.gz and labels-idx1-ubyte.gz from"
    " https://ossci-datasets.s3.amazonaws.com/mnist/ and put them there."
)


@checked
class MNIST(Dataset):
    """MNIST as `image` (N, 1, 28, 28) in [0, 1] and `digit` (N,), with the graph digit -> image.

    Args:
        root: The folder of the IDX files, or a folder that holds it as `mnist/` or `MNIST/raw/`;
            by default the environment variable CAUSALCF_DATA.
        split: `"train"` (60,000) or `"test"` (10,000).

    Raises:
        MissingFileError: Says which file is missing, where it was looked for, and how to get it.
        DataError: No such split, or a damaged file.

    References:
        LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998.

    Example:
        >>> MNIST("data", split="test")["image"].shape  # doctest: +SKIP
        torch.Size([10000, 1, 28, 28])
    """

    def __init__(self, root: str | Path | None = None, split: Split = "train") -> None:
        images, labels = read_mnist(root, split)
        super().__init__(
            {"image": Column(Array(images[:, None])), "digit": torch.from_numpy(labels.astype(np.int64))},
            load_graph("mnist"),
        )


def read_mnist(root: str | Path | None, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The bytes of MNIST: images (N, 28, 28) and labels (N,). Arguments and errors as for `MNIST`."""
    check_split(split, list(PREFIXES))
    files = idx_files(split)
    folder = find_folder("MNIST", root, files, inside=["mnist", "MNIST/raw"], remedy=_REMEDY)
    if (folder / f"{PREFIXES[split]}-morpho.csv").is_file():
        # MorphoMNIST uses the same file names; taking it for MNIST would go unnoticed.
        raise DataError(f"{folder} holds MorphoMNIST, not MNIST. {_REMEDY}")
    return read_images_and_labels(folder, split)


def idx_files(split: Split) -> list[str]:
    """Names of the files of a split: images, labels."""
    return [f"{PREFIXES[split]}-images-idx3-ubyte", f"{PREFIXES[split]}-labels-idx1-ubyte"]


def read_images_and_labels(folder: Path, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (N, H, W) and labels (N,) of a split, as bytes.

    Raises:
        DataError: A file is damaged, or the two do not belong together.
    """
    images, labels = (read_idx(file_in(folder, name)) for name in idx_files(split))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(f"{folder}: images {images.shape} and labels {labels.shape} do not belong together.")
    if labels.size and labels.max() > 9:
        row = int((labels > 9).argmax())
        raise DataError(
            f"{folder}: the label of row {row} is {labels[row]}, where digits 0 to 9 are expected. {_REMEDY}"
        )
    return images, labels


def to_unit(images: NDArray[np.uint8]) -> Tensor:
    """Bytes (N, H, W) as floats (N, 1, H, W) in [0, 1]."""
    return torch.from_numpy(images[:, None].astype(np.float32) / np.float32(255))
