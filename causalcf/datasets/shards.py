"""Answers in shards, as `causalcf.bulk` writes them: which files there are, and the data set that they hold.

A folder has a manifest, and for each shard a Parquet file of scalar nodes, a safetensors file of the others, and last
a record in JSON: a shard without its record does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from causalcf.core.errors import DataError, FileError, MissingFileError
from causalcf.core.untrusted import doubting, read_json
from causalcf.data import read
from causalcf.datasets.base import Dataset
from causalcf.graph import CausalGraph

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

    `index` and `labels` are those of the rows that were asked about.
    """

    manifest: Manifest


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
    parts = [_part(shard, manifest, world, sample) for shard in shards]
    return _joined(parts, manifest)


def _part(shard: Shard, manifest: Manifest, world: int, sample: int) -> dict[str, Any]:
    """Columns and tensors of a shard's lines of one world and sample."""
    try:
        table = require_pyarrow().read_table(shard.table)
        columns = {name: table[name].to_numpy() for name in table.column_names}
        of_world, of_sample, *naming = manifest.headings
        chosen = np.flatnonzero((columns[of_world] == world) & (columns[of_sample] == sample))
        wanted = {*naming, *manifest.graph.nodes} & columns.keys()
        part: dict[str, Any] = {name: columns[name][chosen] for name in wanted}
        if shard.tensors.is_file():
            with safe_open(shard.tensors, "pt") as file:
                part |= {name: file.get_tensor(name)[torch.from_numpy(chosen)] for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, SafetensorError) as error:  # pyarrow's errors are the first two
        raise FileError(
            f"{shard.table} or {shard.tensors.name} is damaged ({str(error)[:200]}). Remove {shard.record}, and run"
            " what wrote it again."
        ) from error
    return part


def _joined(parts: list[dict[str, Any]], manifest: Manifest) -> Shards:
    """All rows, read as the graph's variables say."""
    import pandas as pd

    def whole(name: str) -> Any:
        pieces = [part[name] for part in parts]
        return torch.cat(pieces) if isinstance(pieces[0], Tensor) else np.concatenate(pieces)

    variables = manifest.graph.variables
    bytes_ = {node: whole(node) for node in variables if _is_bytes(parts[0][node])}
    others = {node: whole(node) for node in variables if node not in bytes_}
    values = read(others, {node: variables[node] for node in others}, gaps=others.keys())
    found = Shards({node: bytes_.get(node, values.get(node)) for node in variables}, manifest.graph)
    row, *keys = manifest.headings[2:]
    index = whole(row)
    found.index = torch.from_numpy(index) if index.dtype.kind == "i" else index
    if keys:
        labels = pd.MultiIndex.from_arrays([whole(key) for key in keys], names=keys)
        found.labels = labels.get_level_values(0) if len(keys) == 1 else labels
    found.manifest = manifest
    return found


def _is_bytes(values: Any) -> bool:
    return isinstance(values, Tensor) and values.dtype == torch.uint8
