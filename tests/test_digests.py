"""Digests are SHA-256 over parts in a row: what was written before must be found equal."""

import json
from hashlib import sha256

import numpy as np
import torch

from causalcf.benchmark.setup import data_digest as of_data
from causalcf.core.digests import digest, named, weights_digest
from causalcf.data import Batch


def test_parts_count_in_a_row() -> None:
    expected = sha256(b"name" + np.arange(3, dtype=np.int64).tobytes() + b"end").hexdigest()
    assert digest("name", torch.arange(3), b"end") == expected
    assert digest("name", torch.arange(3), "end", digits=12) == expected[:12]
    assert digest("name", torch.arange(4), "end") != expected


def test_values_of_every_type_count_as_they_lie_in_memory() -> None:
    for values in (np.array([True, False]), np.array(2.5), np.zeros((0, 3)), np.arange(6).reshape(2, 3).T):
        assert digest(torch.from_numpy(np.asarray(values))) == sha256(values.tobytes()).hexdigest()
    assert digest(torch.ones(2, dtype=torch.bfloat16)) == sha256(b"\x80\x3f" * 2).hexdigest()


def test_weights_have_one_digest_in_full_and_in_half_precision() -> None:
    weights = {"b": torch.tensor([0.1, 0.2]), "a": torch.tensor([3.0])}
    halves = [np.array([3.0], np.float16).tobytes(), np.array([0.1, 0.2], np.float16).tobytes()]
    facts = json.dumps({"k": 1}).encode()
    assert weights_digest(weights) == sha256(b"a" + halves[0] + b"b" + halves[1]).hexdigest()[:8]
    assert weights_digest(weights, {"k": 1}) == sha256(facts + b"a" + halves[0] + b"b" + halves[1]).hexdigest()[:8]
    assert weights_digest({name: value.half() for name, value in weights.items()}) == weights_digest(weights)


def test_data_are_known_by_all_scalars_and_the_first_images() -> None:
    rows = Batch({"x": torch.arange(150.0), "image": torch.rand(150, 1, 2, 2)})
    first = sha256(b"x" + rows["x"].numpy().tobytes() + b"image" + rows["image"][:100].numpy().tobytes())
    assert of_data(rows) == f"Batch, 150 rows, {first.hexdigest()[:12]}"
    assert (
        digest(*named(rows))
        == sha256(b"x" + rows["x"].numpy().tobytes() + b"image" + rows["image"].numpy().tobytes()).hexdigest()
    )
