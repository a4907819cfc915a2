import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from causalcf.core.errors import DataError
from causalcf.datasets import MNIST
from causalcf.datasets.idx import idx_bytes, read_idx, write_atomically


def test_round_trip_gzipped_and_plain(tmp_path):
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    content = idx_bytes(array)
    write_atomically({tmp_path / "a.gz": content, tmp_path / "a": gzip.decompress(content)})
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


def test_equal_arrays_give_equal_bytes():
    array = np.zeros((5, 28, 28), np.uint8)
    assert idx_bytes(array) == idx_bytes(array.copy())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(np.zeros(100, np.uint8))[:-12], "is damaged"),
        (gzip.decompress(idx_bytes(np.zeros((3, 2), np.uint8)))[:-1], "needs 6 bytes, got 5"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "not an IDX file of unsigned bytes"),
        (b"", "is damaged"),
    ],
)
def test_damaged_files_say_so(tmp_path, content, message):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_atomically({path: "not bytes"})  # type: ignore[dict-item]
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def _header(*shape):
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(_header(3) + bytes(2**28)), "needs 3 bytes, got more than 3"),
        (gzip.compress(_header(2**10, 2**10, 2**10) + bytes(2**22)), "cannot hold the shape"),
        (gzip.compress(_header(2**32 - 1, 2**32 - 1)), "cannot hold the shape"),
        (_header(2**32 - 1), "cannot hold the shape"),
        (_header(*[1] * 200) + b"1", "cannot hold the shape"),
        (_header(5) + bytes(6), "needs 5 bytes, got more than 5"),
    ],
    ids=["a bomb", "a bomb that says so", "a claim", "a plain claim", "200 axes", "too long"],
)
def test_claims_are_not_allocated(tmp_path, content, message):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=message):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_labels_that_are_no_digits_are_refused(tmp_path):
    write_atomically({
        tmp_path / "t10k-images-idx3-ubyte.gz": idx_bytes(np.zeros((3, 28, 28), np.uint8)),
        tmp_path / "t10k-labels-idx1-ubyte.gz": idx_bytes(np.array([1, 200, 3], np.uint8)),
    })  # fmt: skip
    with pytest.raises(DataError, match="the label of row 1 is 200, where digits 0 to 9 are expected"):
        MNIST(tmp_path, split="test")
