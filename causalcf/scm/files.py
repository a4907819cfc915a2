"""A model in a file: safetensors with a JSON header, never code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalcf.core.errors import CheckpointError
from causalcf.mechanisms import MECHANISMS, Mechanism

__all__ = []


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
