"""A model in a file: safetensors with a JSON header, never code."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causalcf.core.checkpoint import load_tensors, read_file, write_file
from causalcf.core.errors import CheckpointError
from causalcf.graph import CausalGraph
from causalcf.mechanisms import MECHANISMS, Mechanism

__all__ = ["Saved", "read_model", "write_model"]


def write_model(
    path: str | Path,
    graph: CausalGraph,
    mechanisms: Mapping[str, Mechanism],
    dtype: torch.dtype,
    facts: Mapping[str, Any],
    half: Collection[str],
) -> None:
    """Write a model, atomically.

    Args:
        path: Where.
        graph: Its graph.
        mechanisms: node -> fitted mechanism.
        dtype: The type it computes in.
        facts: History, provenance and what it has seen, JSON-able.
        half: Nodes whose weights are stored in half precision.
    """
    for node in half:
        graph.require(node)
    header = {
        "kind": "scm",
        "dtype": str(dtype).removeprefix("torch."),
        "graph": graph.to_json(),
        "mechanisms": {
            node: {"type": type(mechanism).__name__, "config": mechanism.config}
            for node, mechanism in mechanisms.items()
        },
        **facts,
    }
    # Buffers hold data scales, which half precision may not be able to.
    weights = {node: {name for name, _ in mechanism.named_parameters()} for node, mechanism in mechanisms.items()}
    tensors = {
        f"{node}.{name}": tensor.half() if node in half and name in weights[node] else tensor
        for node, mechanism in mechanisms.items()
        for name, tensor in mechanism.saved_state().items()
    }
    write_file(path, header, tensors)


@dataclass(frozen=True)
class Saved:
    """What a model's file holds.

    Args:
        path: The file.
        header: Its JSON.
        tensors: `"node.name"` -> weights.
        mechanisms: node -> unbound mechanism, from the file's settings or as given.
    """

    path: str | Path
    header: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    mechanisms: Mapping[str, Mechanism]

    @property
    def graph(self) -> CausalGraph:
        """The model's graph."""
        return CausalGraph.from_json(self.header["graph"])

    @property
    def dtype(self) -> torch.dtype:
        """The type it computes in."""
        return getattr(torch, self.header["dtype"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per node, stage and epoch."""
        return self.header["history"]

    @property
    def provenance(self) -> dict[str, Any]:
        """How it was made."""
        return self.header["provenance"]

    @property
    def seen(self) -> dict[str, dict[str, Any]]:
        """What it has seen of its data; empty in the oldest files."""
        return self.header.get("seen", {})

    def load_into(self, mechanisms: Mapping[str, Mechanism]) -> None:
        """Put the weights into bound mechanisms, which are fitted then."""
        for node, mechanism in mechanisms.items():
            for name in mechanism.training_only:
                delattr(mechanism, name)
            own = {n.removeprefix(f"{node}."): t for n, t in self.tensors.items() if n.split(".")[0] == node}
            load_tensors(mechanism, own, self.path, f"the {type(mechanism).__name__} of '{node}'")
            mechanism.fitted = True


def read_model(path: str | Path, given: Mapping[str, Mechanism]) -> Saved:
    """Read a model's file.

    Args:
        path: The file.
        given: Mechanisms that a file cannot hold.

    Raises:
        CheckpointError: The file is damaged, of another program or version, needs mechanisms that are not given, or
            they are given with other settings than the file's.
    """
    header, tensors = read_file(path)
    if header.get("kind") != "scm":
        raise CheckpointError(f"{path} holds a {header.get('kind')} state, not a model. Resume it with fit.")
    mechanisms = dict(given)
    for node, record in header["mechanisms"].items():
        if node not in mechanisms:
            mechanisms[node] = _from_record(path, node, record)
        else:
            _require_settings(path, node, record, mechanisms[node])
    return Saved(path, header, tensors, mechanisms)


def _require_settings(path: str | Path, node: str, record: Mapping[str, Any], given: Mechanism) -> None:
    """Refuse a mechanism whose settings are not those of the file: it would answer otherwise, and say nothing."""
    recorded = json.loads(json.dumps(record["config"]))
    own = json.loads(json.dumps({name: given.config.get(name) for name in recorded}))
    if record["type"] == type(given).__name__ and own != recorded:
        wrong = {name: value for name, value in recorded.items() if own[name] != value}
        raise CheckpointError(f"{path}: the {record['type']} of '{node}' was made with {wrong}. Give it with the same.")


def _from_record(path: str | Path, node: str, record: Mapping[str, Any]) -> Mechanism:
    kind = record["type"]
    if kind not in MECHANISMS or MECHANISMS[kind].holds_code:
        raise CheckpointError(
            f"{path}: the {kind} of '{node}' holds code, which a file cannot."
            f" Give it: SCM.load(path, mechanisms={{'{node}': ...}})."
        )
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in record["config"].items()}
    return MECHANISMS[kind](**config)  # type: ignore[arg-type]
