"""Damage of files, drawn at random: of their bytes, of what they say of themselves, and of what they hold."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from causalcf.core.checkpoint import read_file, write_file

HOSTILE: tuple[Any, ...] = (
    *(None, True, "", "abc", "../../etc/passwd", "\ud800", "os.system", "load", "__class__", "x" * 10_000),
    *(0, -1, 1, 3, 10**9, 10**12, 10**30, -(10**9), 0.5, -0.5, 1e308, 1e999, float("nan")),
    *([], {}, [[]], [None], [10**9] * 3, [1, "a"], {"a": 1}, {"class": "Linear", "state": {"dict": []}}),
    *({"tensor": "no such"}, {"tuple": 3}, {"dict": 5}, {"dict": [["forward", 1]]}),
)
"""Values that a document may be given where another one stood."""

SAME_SIZE = {
    "F32": ["I32"],
    "I32": ["F32"],
    "F16": ["BF16", "I16"],
    "F64": ["I64"],
    "I64": ["F64"],
    "U8": ["I8", "BOOL"],
    "BOOL": ["U8", "I8"],
}


def damaged_bytes(content: bytes, draw: random.Random) -> bytes:
    """A file with some bytes changed, cut, doubled or lost."""
    what, at = draw.randrange(5), draw.randrange(len(content))
    if what == 0:
        return content[:at]
    changed = bytearray(content)
    if what == 1:
        del changed[at : at + draw.randint(1, 64)]
    elif what == 2:
        changed[at:at] = draw.randbytes(draw.randint(1, 64))
    else:  # mostly in the header, which is where it hurts
        for _ in range(draw.randint(1, 8)):
            at = draw.randrange(len(changed) if what == 3 else min(len(changed), 4000))
            changed[at] = draw.randrange(256)
    return bytes(changed)


def damaged_layout(content: bytes, draw: random.Random) -> bytes:
    """A safetensors file that says another type, shape, name or place of a tensor, its document left alone."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    name = draw.choice(names)
    entry, other = header[name], header[draw.choice(names)]
    what = draw.randrange(6)
    if what == 0 and entry["dtype"] in SAME_SIZE:
        entry["dtype"] = draw.choice(SAME_SIZE[entry["dtype"]])
    elif what == 1:
        entry["shape"] = entry["shape"][::-1] if len(set(entry["shape"])) > 1 else [1, *entry["shape"]]
    elif what == 2:
        entry["data_offsets"], other["data_offsets"] = other["data_offsets"], entry["data_offsets"]
    elif what == 3:
        entry["shape"] = [draw.choice([0, -1, 2**62, 10**9, 3, None, "a"]) for _ in range(draw.randrange(4))]
    elif what == 4:
        header[draw.choice(["x", "../x", "t.t", "", "node.q"])] = header.pop(name)
    else:
        entry[draw.choice(["dtype", "shape", "data_offsets"])] = draw.choice([v for v in HOSTILE if v != "\ud800"])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def forged(path: Path, draw: random.Random) -> None:
    """Rewrite a file of causalcf with another header and a digest that fits it."""
    header, tensors = read_file(path)
    header.pop("format", None)
    for _ in range(draw.randint(1, 2)):
        header = replaced(header, draw)
    write_file(path, header if isinstance(header, dict) else {"it": header}, tensors)


def replaced(document: Any, draw: random.Random) -> Any:
    """A document in which one part, at random, is something else, gone, or doubled."""
    if not isinstance(document, dict | list) or not document or draw.random() < 0.05:
        return draw.choice(HOSTILE)
    key = draw.choice(list(document)) if isinstance(document, dict) else draw.randrange(len(document))
    changed = document.copy()
    what = draw.random()
    if what < 0.12:
        del changed[key]
    elif what < 0.18 and isinstance(changed, list):
        changed.append(changed[key])
    elif what < 0.18:
        changed[draw.choice(["extra", "scm", "forward", "_private", "", "recipe"])] = draw.choice(HOSTILE)
    else:
        changed[key] = replaced(document[key], draw)
    return changed


def forged_tensors(path: Path, draw: random.Random) -> None:
    """Rewrite a file of causalcf with another tensor in place of one, and a digest that fits it."""
    header, tensors = read_file(path)
    header.pop("format", None)
    name = draw.choice(list(tensors))
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda t: torch.full_like(t, float("nan")) if t.is_floating_point() else t + 1,
        lambda t: t.double() if t.dtype != torch.float64 else t.float(),
        lambda t: t.long(),
        lambda t: t.bool(),
        lambda t: t[None],
        lambda t: t.flatten()[:-1],
        lambda _: torch.zeros(0, 2**40),
        lambda t: t.bfloat16() if t.is_floating_point() else t.float(),
    ]
    what = draw.randrange(len(ways) + 2)
    if what < len(ways):
        tensors[name] = ways[what](tensors[name])
    else:
        tensor = tensors.pop(name)
        if what == len(ways):
            tensors[draw.choice(["x", "image.q", "node.q.w", "trainer.optimizer.0.99.exp_avg", "weights.q"])] = tensor
    write_file(path, header, tensors)


def old(path: Path) -> None:
    """A file that nobody is writing: readers need not wait for it."""
    os.utime(path, (0, 0))


def without_layout(path: Path) -> None:
    """Rewrite a file as versions before it wrote it: without a digest of types and shapes."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    document = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["causalcf"])
    from causalcf.core import checkpoint

    del document["header"]["layout"]
    tensors = load(content)
    document["digest"] = checkpoint._digest(document["header"], tensors)
    path.write_bytes(save(tensors, metadata={"causalcf": json.dumps(document)}))
