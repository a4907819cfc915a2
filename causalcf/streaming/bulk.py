"""Counterfactuals of any number of rows, in shards: what is finished stays, whatever happens to the process.

Shards are cut by row numbers alone, and blocks within a shard. So it does not matter how many processes there are, in
which order they work, and how often they are killed: the files are the same, to the byte.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from torch import Tensor

from causalcf.core.atomic import write_atomically
from causalcf.core.digests import digest, named
from causalcf.core.draws import told_apart
from causalcf.core.errors import DataError
from causalcf.core.files import write_json
from causalcf.core.provenance import provenance
from causalcf.core.settings import COUNT
from causalcf.core.signatures import checked
from causalcf.core.surroundings import callers_line
from causalcf.core.untrusted import read_json
from causalcf.data import Batch
from causalcf.datasets.shards import MANIFEST, Manifest, Shard, require_pyarrow
from causalcf.scm.action import Dos, read_worlds
from causalcf.scm.model import StructuralCausalModel
from causalcf.scm.residual import recorded
from causalcf.scm.rows import read_rows, unneeded
from causalcf.streaming import told
from causalcf.streaming.query import BulkQuery

__all__ = ["bulk"]

SHARD_BYTES = 2**23
"""About how large a shard is: what a kill can lose, and what processes share the work in."""

SHARD_ROWS = 2**16
"""The most rows of a shard, where rows are small."""

BLOCK_BYTES = 2**20
"""About how large the rows of a block are: a network's inner values take some ten times that."""


@checked
def bulk(
    scm: StructuralCausalModel,
    data: Any,
    do: Dos,
    out: str | Path,
    *,
    seed: int = 0,
    shard: int | None = None,
    block: int | None = None,
    progress: bool = True,
    facts: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Write the counterfactuals of all rows to a folder, in shards, in constant memory.

    Rows are read, asked about and written block after block. A shard whose files are there is left as it is: started
    again with the same question, a run that was killed goes on where it stopped. Under torchrun each process does its
    share, told by RANK and WORLD_SIZE. `causalcf.datasets.from_shards` opens the folder.

    What is drawn follows from seed, row label and node, so that neither the cut nor the number of processes matters.

    Args:
        scm: A fitted model.
        data: Observed rows. A data set or a `Batch` is read a block at a time; a frame or a mapping is read at once.
        do: Actions, or a list of them for several worlds; values may be one for each row.
        out: The folder, made if it does not exist.
        seed: What the random part is drawn with.
        shard: Rows a shard; by default as many as make about 8 MiB, and at most 65,536.
        block: Rows that are asked about at once; by default as many as make about 1 MiB.
        progress: Show a bar on a terminal.
        facts: Anything else to record, JSON-able.
        settings: As `BulkQuery` takes them: num_samples, abduction, residual, out_of_support, as_bytes.

    Returns:
        The folder.

    Raises:
        DataError, SupportError: Bad rows, with their numbers; or the folder holds the answers to another question, or
            about other rows.
        MissingFileError: pyarrow is not installed.
        CausalCFError: Whatever `scm.counterfactual` raises, before anything is written.

    Example:
        >>> thick = bulk(scm, data, {"thickness": 4.0}, out="thick")  # doctest: +SKIP
        >>> causalcf.datasets.from_shards(thick)  # doctest: +SKIP
        Shards(thickness: (60000,), intensity: (60000,), digit: (60000,), image: (60000, 1, 32, 32))
    """
    from rich.console import Console
    from rich.progress import track

    folder = Path(out).expanduser()
    job = _Job.of(BulkQuery(scm, do, seed, **settings), data, shard, block)
    manifest = job.manifest(facts or {})
    _claim(folder, manifest)
    rank, processes = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    console = Console(stderr=True)
    quiet = not (progress and rank == 0 and console.is_terminal)
    # Each process has its own shards whether they are there or not: the others may be writing theirs.
    for number in track(range(rank, manifest.shards, processes), "shards", console=console, disable=quiet):
        job.finish(Shard(folder, number))
    return folder


@dataclass(frozen=True)
class _Job:
    """One question about all rows.

    Args:
        query: The question.
        rows: What it is asked about.
        numbers: What draws follow from, (N,): the labels, told apart.
        shard: Rows a shard.
        block: Rows at a time.
    """

    query: BulkQuery
    rows: Batch
    numbers: Tensor
    shard: int
    block: int

    @classmethod
    def of(cls, query: BulkQuery, data: Any, shard: int | None, block: int | None) -> _Job:
        """A question about data as people have them.

        Raises:
            DataError: There are no rows, or sizes that are no numbers of rows.
        """
        for name, given in (("shard", shard), ("block", block)):
            if given is not None and given not in COUNT:
                raise DataError(f"{name} must be at least 1, got {given!r}: it is a number of rows.")
        require_pyarrow()
        scm, worlds = query.scm, read_worlds(query.do).each
        if not isinstance(data, Batch):
            data = _read(scm, data, query.do)
        if not data.rows:
            raise DataError("The data have no rows. Give at least one.")
        extra = [name for name in data if name not in scm.graph]
        if extra:
            warnings.warn(f"Ignoring {extra}: not nodes of the graph.", stacklevel=callers_line())
        size = 4 * sum(prod(variable.event_shape) for variable in scm.variables.values())
        lines = len(worlds) * (query.num_samples or 1)
        block = int(block or min(SHARD_ROWS, max(16, BLOCK_BYTES // size)))
        shard = int(shard or max(block, min(SHARD_ROWS, SHARD_BYTES // (size * lines))))
        return cls(query, data, told_apart(data.index), shard, block)

    def manifest(self, facts: Mapping[str, Any]) -> Manifest:
        """What the folder will hold: the question is tried on the first row, before anything is written."""
        first, query = slice(0, 1), self.query
        columns = list(self.answer(self.read(first), first))
        asked = {
            "model": told.of_model(query.scm),
            "do": told.told(query.do),
            "residual": recorded(query.residual),
            **{
                name: getattr(query, name)
                for name in ("seed", "num_samples", "abduction", "out_of_support", "as_bytes")
            },
            "rows": self.rows.rows,
            "shard": self.shard,
            "block": self.block,
        }
        return Manifest(
            query=asked,
            graph=query.scm.graph,
            rows=self.rows.rows,
            shard=self.shard,
            worlds=len(read_worlds(query.do).each),
            samples=query.num_samples or 1,
            headings=tuple(columns[: 2 + len(self._naming(first))]),
            provenance=provenance(seed=query.seed, device=query.scm.device, **facts),
        )

    def read(self, part: slice) -> Batch:
        """Some rows, checked, on the CPU, labelled by what draws follow from."""
        rows = self.rows[part]
        nodes = [node for node in self.query.scm.graph.nodes if node in rows]
        with _located(part):
            return _read(self.query.scm, Batch({n: rows[n] for n in nodes}, self.numbers[part]), self.query.do)

    def answer(self, rows: Batch, part: slice) -> dict[str, np.ndarray]:
        """The lines of rows that were read."""
        query, worlds = self.query, read_worlds(self.query.do)
        do = [told.of_rows(do, query.scm.graph, self.rows.rows, part, self.rows.labels) for do in worlds.each]
        naming = self._naming(part)
        with _located(part):
            return query.answer(rows, naming, do if worlds.listed else do[0])

    def _naming(self, part: slice) -> dict[str, Any]:
        labels = self.rows.labels
        return self.query.naming(self.rows.index[part], None if labels is None else labels[part])

    def finish(self, shard: Shard) -> None:
        """Answer a shard's rows and write its files; only see that they are about the same rows, if they are there."""
        first = shard.number * self.shard
        last = min(first + self.shard, self.rows.rows)
        there = shard.done()
        answers, seen = [], []
        for start in range(first, last, self.block):
            part = slice(start, min(start + self.block, last))
            rows = self.read(part)
            seen.append(digest(self.numbers[part], *named(rows)))
            if there is None:
                answers.append(self.answer(rows, part))
        data = digest(*seen, digits=16)
        if there is None:
            columns = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
            files = _write(shard, columns, self.query.scm)
            sizes = {path.name: path.stat().st_size for path in files}
            write_json(shard.record, {"rows": [first, last], "data": data, "files": sizes})
        elif there["data"] != data:
            raise DataError(
                f"{shard.folder} holds answers about other data: rows {first} to {last - 1} (counted from 0) differ."
                " Name another folder, or remove it."
            )


def _read(scm: StructuralCausalModel, data: Any, do: Dos) -> Batch:
    gaps = unneeded(scm.graph, read_worlds(do).each)
    return read_rows(scm.graph, scm.require_fitted(), data, scm.dtype, "cpu", gaps)


@contextmanager
def _located(part: slice) -> Iterator[None]:
    """Say which rows an error is about: those who raise it know only a block."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"Rows {part.start} to {part.stop - 1} of the data (counted from 0): {error}") from error


def _claim(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, or see that the one that is there tells the same question.

    Raises:
        DataError: It is another one.
    """
    if (folder / MANIFEST).is_file():
        there = Manifest.load(folder)
        asked = read_json(json.dumps(manifest.query))
        wrong = [name for name in asked if there.query.get(name) != asked[name]]
        if wrong:
            raise DataError(
                f"{folder} holds the answers to another question: {wrong[0]} was {there.query.get(wrong[0])!r} and is"
                f" {asked[wrong[0]]!r}. Name another folder, or remove it."
            )
        return
    write_json(folder / MANIFEST, manifest.document())


def _write(shard: Shard, columns: Mapping[str, np.ndarray], scm: StructuralCausalModel) -> list[Path]:
    """The files of a shard, each whole or not at all."""
    import pyarrow

    tensors = {node for node, variable in scm.variables.items() if variable.event_shape}
    table = pyarrow.table({name: values for name, values in columns.items() if name not in tensors})
    content = io.BytesIO()
    require_pyarrow().write_table(table, content)
    write_atomically(shard.table, content.getvalue())
    if not tensors:
        return [shard.table]
    write_atomically(shard.tensors, save({name: columns[name] for name in sorted(tensors)}))
    return [shard.table, shard.tensors]
