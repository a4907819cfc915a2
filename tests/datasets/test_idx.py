import gzip

import numpy as np
import pytest

from causalcf.core.errors import DataError
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
