"""The common part of all data sets: a batch that knows its causal graph, and how their files are found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from causalcf.core.columns import Column, as_column
from causalcf.core.errors import DataError, MissingFileError
from causalcf.data import Batch
from causalcf.graph import CausalGraph
from causalcf.variables import Variable

__all__ = ["ROOT_VARIABLE", "Dataset", "check_split", "find_folder"]

ROOT_VARIABLE = "CAUSALCF_DATA"
"""Environment variable that names the folder of data sets, used when no root is given."""


class Dataset(Batch):
    """A whole data set, in data units, with the causal graph that belongs to it.

    Rows selected from it are plain batches that keep `index`, the row numbers within the data set. Images may be
    bytes, or a column: they become floats in [0, 1] when they are asked for, so take rows, not the whole.

    Args:
        values: node -> tensor or column of shape (N, *event_shape), images as floats or bytes.
        graph: The causal graph, with a variable for each node.
    """

    def __init__(self, values: Mapping[str, Tensor | Column], graph: CausalGraph) -> None:
        held = values.held if isinstance(values, Batch) else values
        columns = {name: as_column(value) for name, value in held.items()}
        super().__init__({name: held[name] if column is None else column for name, column in columns.items()})
        self.graph = graph

    @property
    def variables(self) -> Mapping[str, Variable]:
        """node -> Variable, as the graph declares them."""
        return self.graph.variables

    def _repr_html_(self) -> str:
        return self._as_html(self.variables)


def find_folder(
    data_set: str, root: str | Path | None, files: Sequence[str], *, inside: Sequence[str], remedy: str
) -> Path:
    """The first folder that holds all files: the root itself, or one of the folders inside it.

    Args:
        data_set: Its name, for the error.
        root: The folder itself or its parent; by default the environment variable CAUSALCF_DATA.
        files: Names of files that must all be there, gzipped (with `.gz` added) or not.
        inside: Folders below the root to look into as well.
        remedy: How to get the files: one sentence.

    Raises:
        MissingFileError: Says which file is missing, where it was looked for, and the remedy.
    """
    chosen = os.environ.get(ROOT_VARIABLE) if root is None else root
    if not chosen:
        raise MissingFileError(
            f"{data_set}: no folder given. Pass root=..., or set {ROOT_VARIABLE} to the folder of data sets. {remedy}"
        )
    folders = [Path(chosen).expanduser(), *(Path(chosen).expanduser() / name for name in inside)]
    lacking = {folder: [name for name in files if not has_file(folder, name)] for folder in folders}
    for folder, lacks in lacking.items():
        if not lacks:
            return folder
    # The folder that holds most of the files is the one that was meant.
    closest = min(lacking.values(), key=len)
    looked = " or ".join(str(folder) for folder in folders)
    raise MissingFileError(f"{data_set} needs {', '.join(closest)}: not found in {looked}. {remedy}")


def has_file(folder: Path, name: str) -> bool:
    """Whether a folder holds a file, as it is or gzipped."""
    return (folder / name).is_file() or (folder / f"{name}.gz").is_file()


def file_in(folder: Path, name: str) -> Path:
    """Path of a file that `has_file` found; the gzipped one if there are both."""
    gzipped = folder / f"{name}.gz"
    return gzipped if gzipped.is_file() else folder / name


def check_split(split: str, known: Sequence[str]) -> None:
    """Raise `DataError` if there is no such split."""
    if split not in known:
        raise DataError(f"There is no split {split!r}. Choose one of {list(known)}.")
