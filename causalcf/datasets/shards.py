"""Answers in shards, as `causalcf.bulk` writes them: which files there are, and the data set that they hold.

A folder has a manifest, and for each shard a Parquet file of scalar nodes, a safetensors file of the others, and last
a record in JSON: a shard without its record does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causalcf.core.columns import Column, Store
from causalcf.core.errors import DataError, FileError, MissingFileError
from causalcf.core.signatures import checked
from causalcf.core.untrusted import doubting, read_json
from causalcf.data import read
from causalcf.datasets.base import Dataset
from causalcf.graph import CausalGraph
from causalcf.variables.image import Image

__all__ = ["FORMAT", "MANIFEST", "Manifest", "Shard", "Shards", "from_shards", "require_pyarrow"]

FORMAT = 1
"""Version of the layout."""

MANIFEST = "manifest.json"


def require_pyarrow() -> Any:
    """The module `pyarrow.parquet`.

    Raises:
        MissingFileError: It is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingFileError(
            "Shards hold Parquet files: pip install 'causalcf[bulk]', which brings pyarrow."
        ) from None
    return parquet


@dataclass(frozen=True)
class Shard:
    """The files of one shard.

    Args:
        folder: Where.
        number: Which one, from 0.
    """

    folder: Path
    number: int

    @property
    def table(self) -> Path:
        """Scalar nodes, a line for each world, sample and row."""
        return self.folder / f"{self.number:06d}.parquet"

    @property
    def tensors(self) -> Path:
        """Images and what else is more than a number, in the same lines."""
        return self.folder / f"{self.number:06d}.safetensors"

    @property
    def record(self) -> Path:
        """What the shard holds; written last."""
        return self.folder / f"{self.number:06d}.json"

    def done(self) -> dict[str, Any] | None:
        """The record, if the shard is whole: all its files are there, as long as it says; else None."""
        if not self.record.is_file():
            return None
        with doubting(self.record):
            record = read_json(self.record.read_bytes())
            sizes = {self.folder / name: size for name, size in record["files"].items()}
        whole = all(path.is_file() and path.stat().st_size == size for path, size in sizes.items())
        return record if whole else None


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Args:
        query: The question, as JSON: what must be the same for a run to go on.
        graph: The model's graph.
        rows: How many rows were asked about.
        shard: Rows a shard.
        worlds: How many.
        samples: How many.
        headings: The columns of world, sample and row label, and then of what else names the rows.
        provenance: How it came about.
    """

    query: Mapping[str, Any]
    graph: CausalGraph
    rows: int
    shard: int
    worlds: int
    samples: int
    headings: tuple[str, ...]
    provenance: Mapping[str, Any]

    @property
    def shards(self) -> int:
        """How many shards there are when all are done."""
        return -(-self.rows // self.shard)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read a folder's manifest.

        Raises:
            MissingFileError: There is none.
            CheckpointError: It is damaged, or of another version.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise MissingFileError(f"{folder} has no {MANIFEST}: it holds no shards. Write some with causalcf.bulk.")
        with doubting(path):
            document = read_json(path.read_bytes())
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']!r}, not {FORMAT}")
            names = ("query", "rows", "shard", "worlds", "samples", "provenance")
            facts = {name: document[name] for name in names}
            return cls(graph=CausalGraph.from_json(document["graph"]), headings=tuple(document["headings"]), **facts)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        facts = {name: value for name, value in vars(self).items() if name != "graph"}
        return {"kind": "bulk", "format": FORMAT, **facts, "graph": self.graph.to_json()}


class Shards(Dataset):
    """The rows of one world and sample, as they would have been; `manifest` tells the question.

    Images stay in their files until rows are taken. `index` and `labels` are those of the rows that were asked about.
    """

    manifest: Manifest


class Mapped(Store):
    """A node's values in the safetensors files of shards, which are mapped into memory.

    Args:
        files: One a shard.
        node: The name of the tensor.
        lines: The lines of the rows, of each shard.
    """

    def __init__(self, files: Sequence[Path], node: str, lines: Sequence[np.ndarray]) -> None:
        self.files, self.node, self.lines = list(files), node, list(lines)
        self.ends = np.cumsum([len(of_shard) for of_shard in lines])
        self._maps: dict[int, np.ndarray] = {}
        first = self._map(0)
        super().__init__((int(self.ends[-1]), *first.shape[1:]), first.itemsize)

    def take(self, rows: Tensor) -> Tensor:
        wanted = rows.numpy()
        shards = np.searchsorted(self.ends, wanted, side="right")
        found = np.empty((len(wanted), *self.shape[1:]), self._map(0).dtype)
        for number in np.unique(shards).tolist():
            here = shards == number
            start = self.ends[number] - len(self.lines[number])
            found[here] = self._map(number)[self.lines[number][wanted[here] - start]]
        return torch.from_numpy(found)

    def _map(self, number: int) -> np.ndarray:
        if number not in self._maps:
            self._maps[number] = _mapped(self.files[number], self.node)
        return self._maps[number]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_maps": {}}  # another process maps the files itself


TYPES = {"F32": np.float32, "F64": np.float64, "U8": np.uint8}
"""The numbers of a safetensors file, as its header calls them."""


def _mapped(path: Path, name: str) -> np.ndarray:
    """A tensor of a safetensors file as an array that the system reads when it is looked at.

    Raises:
        FileError: There is no such tensor, or the file is damaged.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            tensor = read_json(file.read(min(length, path.stat().st_size)))[name]
        offset = 8 + length + tensor["data_offsets"][0]
        return np.memmap(path, TYPES[tensor["dtype"]], "r", offset, tuple(tensor["shape"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _damaged(path, error) from error


@checked
def from_shards(folder: str | Path, *, world: int = 0, sample: int = 0) -> Shards:
    """The answers that `causalcf.bulk` has written, as a data set: to train a classifier on, say.

    Args:
        folder: Where they are.
        world: Which world, where several were asked for.
        sample: Which draw, where several were asked for.

    Raises:
        MissingFileError: There are none, or shards are missing: the run has not ended.
        DataError: There is no such world or sample.
        FileError: A file is damaged.

    Example:
        >>> thick = from_shards("answers")  # doctest: +SKIP
        >>> thick[:64]["image"].shape  # doctest: +SKIP
        torch.Size([64, 1, 32, 32])
    """
    require_pyarrow()
    folder = Path(folder).expanduser()
    manifest = Manifest.load(folder)
    for name, given, there in (("world", world, manifest.worlds), ("sample", sample, manifest.samples)):
        if not 0 <= given < there:
            raise DataError(f"{name}={given}: {folder} has {there}, counted from 0.")
    shards = [Shard(folder, number) for number in range(manifest.shards)]
    missing = [shard.number for shard in shards if shard.done() is None]
    if missing:
        raise MissingFileError(
            f"{folder}: {len(missing)} of {len(shards)} shards are not there, the first is {missing[0]}. Run what wrote"
            " it again: it goes on where it stopped."
        )
    tables = [_columns(shard, manifest, world, sample) for shard in shards]
    return _joined(tables, [shard.tensors for shard in shards], manifest)


def _columns(shard: Shard, manifest: Manifest, world: int, sample: int) -> dict[str, np.ndarray]:
    """The columns of a shard's lines of one world and sample, and as "" which lines these are."""
    of_world, of_sample, *naming = manifest.headings
    scalars = [node for node, variable in manifest.graph.variables.items() if not variable.event_shape]
    try:
        table = require_pyarrow().read_table(shard.table, columns=[of_world, of_sample, *naming, *scalars])
        columns = {name: table[name].to_numpy() for name in table.column_names}
        lines = np.flatnonzero((columns[of_world] == world) & (columns[of_sample] == sample))
        return {"": lines} | {name: columns[name][lines] for name in (*naming, *scalars)}
    except (OSError, ValueError, LookupError) as error:  # pyarrow's errors are among these
        raise _damaged(shard.table, error) from error


def _joined(tables: Sequence[Mapping[str, np.ndarray]], files: Sequence[Path], manifest: Manifest) -> Shards:
    """All rows, read as the graph's variables say; images are yet to be read."""
    import pandas as pd

    variables = manifest.graph.variables
    values: dict[str, Any] = {}
    for node, variable in variables.items():
        if variable.event_shape:
            store = Mapped(files, node, [table[""] for table in tables])
            column = Column(store, dtype=torch.float64 if store.itemsize == 8 else torch.float32)
            values[node] = column if isinstance(variable, Image) else column[:]
        else:
            values[node] = np.concatenate([table[node] for table in tables])
    found = Shards(read(values, variables, gaps=variables.keys()), manifest.graph)
    row, *keys = manifest.headings[2:]
    index = np.concatenate([table[row] for table in tables])
    found.index = torch.from_numpy(index) if index.dtype.kind == "i" else index
    if keys:
        parts = [np.concatenate([table[key] for table in tables]) for key in keys]
        labels = pd.MultiIndex.from_arrays(parts, names=keys)
        found.labels = labels.get_level_values(0) if len(keys) == 1 else labels
    found.manifest = manifest
    return found


def _damaged(path: Path, error: Exception) -> FileError:
    record = path.with_suffix(".json")
    return FileError(f"{path} is damaged ({str(error)[:200]}). Remove {record}, and run what wrote it again.")
