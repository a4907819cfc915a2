"""What the scenarios read from the files that the command line writes."""

import csv
import json
from pathlib import Path
from typing import Any

from PIL import Image as Pillow


def provenance_of(picture: Path) -> dict[str, Any]:
    """The record that a picture carries."""
    with Pillow.open(picture) as image:
        return json.loads(image.text["provenance"])  # type: ignore[attr-defined]


def lines_of(table: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with table.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))
