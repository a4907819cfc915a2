"""Pictures in files: decoded when they are asked for, once for all when all are, and never half kept."""

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import causalcf as ccf
from causalcf.core.errors import DataError, FileError, MissingFileError
from causalcf.datasets import cache, decoded, from_folder, from_frame
from causalcf.mechanisms import VAE, LinearGaussian, Recipe

ROWS = 2 * cache.BLOCK + 40
SIZE = 8


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of pictures of one grey level each, which tells the row, in three blocks."""
    folder = tmp_path_factory.mktemp("pictures")
    for row in range(ROWS):
        Pillow.new("L", (SIZE, SIZE), row % 251).save(folder / f"{row}.bmp")
    lines = [f"{row}.bmp,{row / ROWS:.4f}" for row in range(ROWS)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,width", *lines]))
    return folder


LEVELS = torch.arange(ROWS) % 251


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """A cache of one's own."""
    monkeypatch.setenv(cache.ROOT_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are decoded."""
    names = []
    decode = decoded._decoded
    monkeypatch.setattr(
        decoded, "_decoded", lambda jobs, how: (names.extend(path.name for _, path, _ in jobs), decode(jobs, how))[1]
    )
    return names


def _opened(folder, **options):
    return from_folder(folder, size=SIZE, mode="L", **options)


def _levels(data):
    return (255 * data["image"][:, 0, 0, 0]).round().long()


def test_only_what_is_asked_for_is_decoded(pictures, read, kept):
    data = _opened(pictures)
    assert not read
    assert _levels(data[[300, 2]]).tolist() == [49, 2]
    assert read == ["300.bmp", "2.bmp"]
    assert not kept.exists()


def test_all_are_decoded_once_and_kept(pictures, read):
    data = _opened(pictures).prepare()
    assert sorted(read) == sorted(f"{row}.bmp" for row in range(ROWS))
    read.clear()
    assert torch.equal(_levels(data), LEVELS)
    again = _opened(pictures)
    assert torch.equal(_levels(again), LEVELS)
    assert torch.equal(_levels(again.prepare()), LEVELS)
    assert not read


def test_some_rows_need_their_blocks_alone(pictures, read):
    data = _opened(pictures).select(slice(3)).prepare()
    assert len(read) == cache.BLOCK
    assert torch.equal(_levels(data), LEVELS[:3])
    assert torch.equal(_levels(_opened(pictures)[254:260]), LEVELS[254:260]), "some are kept, and some are not"


def test_a_column_of_files_can_be_sent_to_another_process(pictures):
    data = _opened(pictures).prepare()
    column = pickle.loads(pickle.dumps(data.held["image"]))
    assert torch.equal(column[5:7], data[5:7]["image"])


@pytest.mark.parametrize("change", ["time", "size", "fit"])
def test_what_made_it_is_what_it_is_known_by(pictures, read, change, tmp_path):
    _opened(pictures).prepare()
    read.clear()
    options = {"size": 4} if change == "size" else {"size": SIZE, "fit": "crop"} if change == "fit" else {"size": SIZE}
    if change == "time":
        os.utime(pictures / "7.bmp")
    from_folder(pictures, mode="L", **options).prepare()
    assert len(read) == ROWS


def test_a_run_that_was_killed_goes_on(pictures, read, monkeypatch):
    class Killed(BaseException):
        pass

    write = cache.Entry.write

    def killed(entry, block, pixels):
        write(entry, block, pixels[: 3 if block == 1 else None])  # the second block is torn
        if block == 1:
            raise Killed

    monkeypatch.setattr(cache.Entry, "write", killed)
    with pytest.raises(Killed):
        _opened(pictures).prepare()
    assert len(read) == 2 * cache.BLOCK
    monkeypatch.setattr(cache.Entry, "write", write)
    read.clear()
    with (next(cache.entries()).folder / "done").open("a") as file:
        file.write("\n2")  # a mark that the kill has cut short
    assert torch.equal(_levels(_opened(pictures).prepare()), LEVELS)
    assert sorted(read) == sorted(f"{row}.bmp" for row in range(cache.BLOCK, ROWS))


def test_a_damaged_picture_is_named_and_nothing_is_kept(pictures, kept, tmp_path):
    frame = {"image": [str(pictures / f"{row}.bmp") for row in range(300)], "width": np.linspace(0, 1, 300)}
    for row in (270, 290):
        (tmp_path / f"{row}.bmp").write_bytes(b"BM no picture")
        frame["image"][row] = str(tmp_path / f"{row}.bmp")
    data = from_frame(frame, size=SIZE, mode="L")
    scm = ccf.SCM([("width", "image")], data.variables, {"width": LinearGaussian(), "image": VAE(widths=(4, 4, 4))})
    with pytest.raises(DataError, match=r"row 270 \(counted from 0\), '.*270.bmp' is no picture .*\(2 of 300 pictures"):
        scm.fit(data, progress=False)
    assert not list(cache.entries())
    assert not scm.mechanisms["image"].fitted


def test_a_full_disk_is_said_before_and_while_it_fills(pictures, kept, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**20 // 50})())
        with pytest.raises(FileError, match=r"cannot be kept in .*pictures: .* needed, .* free\. Make room.*--clear"):
            _opened(pictures).prepare()
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(cache.Entry, "write", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(FileError, match=r"No space left on device\. Make room .*CAUSALCF_CACHE"):
        _opened(pictures).prepare()
    assert not list(cache.entries())


def test_a_folder_that_cannot_be_written(pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.ROOT_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(FileError, match="or name another folder in CAUSALCF_CACHE"):
        _opened(pictures).prepare()


@pytest.mark.parametrize("damage", ["about.json", "pixels"])
def test_an_entry_that_is_not_whole_is_made_again(pictures, read, damage):
    _opened(pictures).prepare()
    (next(cache.entries()).folder / damage).write_bytes(b"{")
    read.clear()
    assert torch.equal(_levels(_opened(pictures).prepare()), LEVELS)
    assert len(read) == ROWS


def test_a_picture_that_is_not_there_is_named_at_once(pictures):
    with pytest.raises(
        MissingFileError, match=r"'image', row 1 \(counted from 0\), '.*nowhere.png': there is no such file"
    ):
        from_frame({"image": [str(pictures / "0.bmp"), "nowhere.png"], "x": [1, 2]}, size=SIZE)


def test_fit_is_the_same_with_and_without_the_cache(pictures):
    def fitted(data):
        vae = VAE(latent=2, widths=(4, 4, 4), recipe=Recipe(epochs=1, batch_size=64))
        scm = ccf.SCM([("width", "image")], folder.variables, {"width": LinearGaussian(), "image": vae})
        return scm.fit(data, seed=0, epochs=1, progress=False).state_dict()

    folder = _opened(pictures)
    in_memory = fitted({"width": folder["width"], "image": (folder["image"] * 255).round().to(torch.uint8)})
    from_files = fitted(folder)
    assert len(list(cache.entries())) == 1
    assert all(torch.equal(from_files[name], in_memory[name]) for name in in_memory)


UNGUARDED = """
import os, sys
from causalcf.datasets import decoded, from_folder

print("started")
decoded.MANY = 1
os.cpu_count = lambda: 2
data = from_folder(sys.argv[1], size=8, mode="L").prepare()
print(*(255 * data["image"][:, 0, 0, 0]).round().int().tolist())
"""


def test_several_processes_decode_without_a_guard_in_the_script(pictures, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run([sys.executable, script, pictures], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    started, levels = done.stdout.splitlines()
    assert started == "started"
    assert [int(level) for level in levels.split()] == LEVELS.tolist()


def test_the_cache_is_listed_and_swept(pictures, run):
    _opened(pictures).select(slice(3)).prepare()
    code, said, _ = run("data", "cache")
    assert code == 0
    assert f"{cache.BLOCK} of {ROWS}" in said
    assert "1 x 8 x 8" in said
    assert "pad" in said
    code, said, _ = run("data", "cache", "--clear")
    assert code == 0
    assert said.startswith("1 sets of pictures removed")
    assert not list(Path(os.environ[cache.ROOT_VARIABLE]).rglob("*.*"))
