"""A model in a file: safetensors with a JSON header, never code."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from causalcf.core.checkpoint import load_tensors, read_file, write_file
from causalcf.core.errors import CheckpointError
from causalcf.core.untrusted import Budget, doubting, require_sizes
from causalcf.graph import CausalGraph
from causalcf.mechanisms import MECHANISMS, Mechanism
from causalcf.variables.image import Image

__all__ = ["Saved", "read_model", "write_model"]

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float64)}
"""The dtypes of a model, by their names in a file."""

PIXELS = 2**24
"""Numbers that a value may have where no weights bear them out, as with images of convolutions."""


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
        facts: History, provenance and facts about its data, JSON-able.
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
    """The content of a model's file.

    Args:
        path: The file.
        graph: The model's graph.
        dtype: The type it computes in.
        tensors: `"node.name"` -> weights.
        mechanisms: node -> unbound mechanism, from the file's settings or as given.
        history: One record per node, stage and epoch.
        provenance: How it was made.
        seen: Summary of its training data; empty in the oldest files.
    """

    path: str | Path
    graph: CausalGraph
    dtype: torch.dtype
    tensors: Mapping[str, Tensor]
    mechanisms: Mapping[str, Mechanism]
    history: list[dict[str, Any]]
    provenance: dict[str, Any]
    seen: dict[str, dict[str, Any]]

    @contextmanager
    def held_to(self) -> Iterator[None]:
        """A context in which a model is made from the file's settings; it must not be larger than the file's weights.

        Raises:
            CheckpointError: The file's settings make no model, or a larger one.
        """
        with doubting(self.path), Budget(self.tensors, self.path):
            yield

    def load_into(self, mechanisms: Mapping[str, Mechanism]) -> None:
        """Put the weights into bound mechanisms, which makes them fitted."""
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
        raise CheckpointError(f"{path} holds a {str(header.get('kind'))[:40]} state, not a model. Resume it with fit.")
    with doubting(path):
        graph, records = CausalGraph.from_json(header["graph"]), dict(header["mechanisms"])
        mechanisms = dict(given)
        _require_weights(path, graph, records, tensors)
        for node in graph.nodes:
            if node in mechanisms:
                _require_settings(path, node, records[node], mechanisms[node])
            else:
                mechanisms[node] = _from_record(path, node, records[node], tensors)
        return Saved(
            path,
            graph,
            DTYPES[header["dtype"]],
            tensors,
            mechanisms,
            [dict(record) for record in header["history"]],
            dict(header["provenance"]),
            {node: _seen(graph, node, of_node) for node, of_node in header.get("seen", {}).items()},
        )


def _require_weights(
    path: str | Path, graph: CausalGraph, records: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Raise unless every node has a mechanism, every tensor a node, and no variable is larger than the weights."""
    owners = {name.split(".")[0] for name in tensors}
    if records.keys() != set(graph.nodes) or not owners <= records.keys():
        raise CheckpointError(
            f"{path} is inconsistent: its graph has the nodes {list(graph.nodes)[:20]}, its mechanisms are of"
            f" {list(records)[:20]} and its weights of {sorted(owners)[:20]}. Take another copy."
        )
    for node, record in records.items():
        known = MECHANISMS.get(record["type"])
        learns = known is not None and not known.holds_code
        if learns and node not in owners:
            raise CheckpointError(f"{path} holds no weights for the {record['type']} of '{node}'. Take another copy.")
        variable = graph.variables[node]
        if isinstance(variable, Image) or not learns:
            if max(variable.numel, variable.num_features) > max(PIXELS, *(t.numel() for t in tensors.values()), 1):
                raise CheckpointError(f"{path}: '{node}' is {variable.article} larger than all weights. Take another.")
        else:
            require_sizes({"size": variable.num_features}, tensors, f"{path}: '{node}', {variable.article},")


def _seen(graph: CausalGraph, node: str, of_node: Mapping[str, Any]) -> dict[str, Any]:
    """Check the facts of a node that a file holds: finite numbers, as many as the node's variable has.

    Raises:
        ValueError: It is something else, or of another node.
    """
    numel = graph.variables[graph.require(node)].numel
    for name, numbers in of_node.items():
        parts = numbers.values() if isinstance(numbers, Mapping) else [numbers]
        shapes = []
        for part in parts:
            values = torch.tensor(part, dtype=torch.float64)
            shapes.append(values.shape)
            if not torch.isfinite(values).all():
                raise ValueError(f"'{name}' of '{node}' is not finite")
        if name == "quantiles" and (len(shapes[0]) != 2 or shapes[0][0] != numel or shapes[0][1] < 2):
            raise ValueError(f"'{name}' of '{node}' has the shape {tuple(shapes[0])}")
    return dict(of_node)


def _require_settings(path: str | Path, node: str, record: Mapping[str, Any], given: Mechanism) -> None:
    """Refuse a mechanism whose settings differ from the file's: its answers would be wrong without a warning."""
    recorded = json.loads(json.dumps(record["config"]))
    own = json.loads(json.dumps({name: given.config.get(name) for name in recorded}))
    if record["type"] == type(given).__name__ and own != recorded:
        wrong = {name: value for name, value in recorded.items() if own[name] != value}
        raise CheckpointError(f"{path}: the {record['type']} of '{node}' was made with {wrong}. Give it with the same.")


def _from_record(path: str | Path, node: str, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Mechanism:
    kind = record["type"]
    if kind not in MECHANISMS or MECHANISMS[kind].holds_code:
        raise CheckpointError(
            f"{path}: the {kind} of '{node}' holds code, which a file cannot."
            f" Give it: SCM.load(path, mechanisms={{'{node}': ...}})."
        )
    settings = {field.name for field in fields(MECHANISMS[kind])} - {"recipe"}
    unknown = sorted(record["config"].keys() - settings)
    if unknown:
        raise CheckpointError(
            f"{path}: a {kind} has no settings {unknown[:5]}. Load it with the version that wrote it."
        )
    own = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] == node}
    require_sizes(record["config"], own, f"{path}: the {kind} of '{node}'")
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in record["config"].items()}
    return MECHANISMS[kind](**config)  # type: ignore[arg-type]
