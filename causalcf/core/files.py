"""Results written as JSON and CSV, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from causalcf.core.checkpoint import write_atomically
from causalcf.core.settings import plain

__all__ = ["write_csv", "write_json"]


def write_json(path: str | Path, document: Mapping[str, Any]) -> Path:
    """Write a JSON file, atomically; numbers that JSON has no word for, NaN and infinities, as null."""
    text = json.dumps(_finite(document), indent=1, default=str, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())
    return Path(path)


def _finite(value: Any) -> Any:
    """The value, with None for each number in it that is not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    value = plain(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_csv(path: str | Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> Path:
    """Write columns of equal length as a CSV file, atomically."""
    import csv
    import io

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_atomically(path, text.getvalue().encode())
    return Path(path)
