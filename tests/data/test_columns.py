"""Columns that are read when rows are asked for: they give what the same data in memory give, and read no more."""

import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf.core.columns import BLOCK, Array, Column, Held, Store, by_blocks
from causalcf.core.digests import digest
from causalcf.core.errors import DataError
from causalcf.data import Batch, numbers, read

PIXELS = torch.randint(256, (20, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
FLOATS = PIXELS.float() / 255
IMAGE = ccf.Image(1, 4, 4)


class Watched(Store):
    """Bytes that remember which rows were read, call by call."""

    def __init__(self, values: Tensor) -> None:
        super().__init__(tuple(values.shape))
        self.values, self.taken = values, []

    def take(self, rows: Tensor) -> Tensor:
        self.taken.append(rows.tolist())
        return self.values[rows]


@pytest.mark.parametrize(
    "store", [Held(PIXELS), Array(PIXELS.numpy()), Watched(PIXELS)], ids=lambda s: type(s).__name__
)
@pytest.mark.parametrize(
    "key",
    [slice(None), slice(2, 9, 3), slice(-3, None), [3, 3, -1], torch.tensor([7, 0]), FLOATS[:, 0, 0, 0] > 0.5, []],
    ids=str,
)
def test_rows_are_those_of_a_tensor_to_the_last_bit(store, key):
    key = torch.tensor(key, dtype=torch.long) if isinstance(key, list) else key
    column = Column(store)
    assert torch.equal(column[key], FLOATS[key])
    assert torch.equal(column.select(key)[:], FLOATS[key])
    assert torch.equal(column.select(slice(1, None)).select(slice(4))[:], FLOATS[1:5])
    assert torch.equal(column.to(dtype=torch.float64)[key], FLOATS[key].double())
    assert column.select(key).shape == FLOATS[key].shape


@pytest.mark.parametrize("key", [[20], [-21], [0, 99], [True, False]])
def test_rows_that_are_not_there_are_refused(key):
    with pytest.raises(IndexError, match="20"):
        Column(Held(PIXELS))[torch.tensor(key)]


def test_one_row_is_a_slice():
    with pytest.raises(IndexError, match="a slice, a list or a mask, got 3"):
        Column(Held(PIXELS))[3]


def test_a_file_that_is_mapped_is_read_where_rows_are_asked_for(tmp_path):
    np.save(tmp_path / "bytes.npy", PIXELS.numpy())
    np.save(tmp_path / "floats.npy", FLOATS.numpy())
    for name in ("bytes.npy", "floats.npy"):
        held = read({"image": np.load(tmp_path / name, mmap_mode="r")}, {"image": IMAGE}).held["image"]
        assert isinstance(held, Column)
        assert torch.equal(held[3:5], FLOATS[3:5])


def test_a_batch_reads_what_is_asked_for_and_no_more():
    store = Watched(PIXELS)
    batch = Batch({"x": torch.arange(20.0), "image": Column(store)})
    some = batch.select(torch.tensor([5, 2, 9]))[1:]
    assert "image: (20, 1, 4, 4)" in repr(batch)
    assert "image" in batch
    assert "pixels" not in batch
    assert Batch(batch).rows == batch.like(batch.held).rows == 20
    assert store.taken == [[2, 9]]
    assert torch.equal(some["image"], FLOATS[[2, 9]])
    assert isinstance(some.held["image"], Tensor)
    assert torch.equal(Batch.join(batch.blocks(7))["image"], FLOATS)
    assert store.taken[1:] == [list(range(7)), list(range(7, 14)), list(range(14, 20))]
    assert torch.equal(batch.walk(6, lambda part: part["image"].sum((1, 2, 3))), FLOATS.sum((1, 2, 3)))
    assert torch.equal(batch["image"], FLOATS)


def test_what_is_told_apart_by_digests_is_the_same_in_memory_and_not():
    assert digest(Column(Held(PIXELS))) == digest(FLOATS)


def test_blocks_are_joined():
    many = torch.arange(2.0 * BLOCK + 3)
    assert torch.equal(by_blocks(many, lambda part, rows: part + many[rows]), 2 * many)


def test_a_column_can_be_sent_to_another_process():
    assert torch.equal(pickle.loads(pickle.dumps(Column(Array(PIXELS.numpy())).select([3])))[:], FLOATS[3:4])


@pytest.mark.parametrize("values", [PIXELS, PIXELS.numpy(), Column(Held(PIXELS))], ids=lambda v: type(v).__name__)
def test_bytes_are_images(values):
    batch = read({"image": values}, {"image": IMAGE}, dtype=torch.float64)
    assert isinstance(batch.held["image"], Column)
    assert torch.equal(batch["image"], FLOATS.double())
    assert torch.equal(IMAGE.read("image", values, torch.float32, torch.device("cpu")), FLOATS)
    assert numbers({"image": values}, ["image"])["image"].shape == PIXELS.shape


def test_bytes_of_one_dimension_are_numbers():
    assert numbers({"digit": torch.tensor([7], dtype=torch.uint8)}, ["digit"])["digit"].tolist() == [7]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.ones(2, 1, 4, 4, dtype=torch.uint8), r"'image' holds bytes \(uint8\) 0 and 1 alone.* 255 is white"),
        (torch.zeros(2, 4, 4, 1, dtype=torch.uint8), r"expected shape \(N, 1, 4, 4\), got \(2, 4, 4, 1\). .*transpose"),
        (Column(Held(PIXELS[..., :3])), r"expected shape \(N, 1, 4, 4\), got \(20, 1, 4, 3\)\.$"),
    ],
)
def test_bytes_that_are_no_such_image_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        read({"image": values}, {"image": IMAGE})


def test_an_image_is_not_read_to_be_refused():
    store = Watched(PIXELS)
    with pytest.raises(DataError, match=r"'image' has shape \(20, 1, 4, 4\).*ccf.Image"):
        ccf.SCM([("x", "image")]).fit({"x": torch.rand(20), "image": Column(store)})
    assert not store.taken
