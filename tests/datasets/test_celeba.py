import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from causalcf.core.errors import DataError, MissingFileError
from causalcf.datasets import CelebA
from causalcf.graph import CausalGraph
from causalcf.variables.codes import Boolean
from causalcf.variables.image import Image

COLUMNS = ["Bald", "Eyeglasses", "Male", "No_Beard", "Smiling", "Young"]
ROWS = [[-1, 1, -1, 1, 1, 1], [1, -1, 1, -1, -1, -1], [-1, -1, 1, 1, 1, -1], [-1, -1, -1, 1, -1, 1]]
SPLITS = [0, 0, 1, 2]

SMILING = CausalGraph(
    [("smiling", "image"), ("beard", "image")],
    {"smiling": Boolean(), "beard": Boolean(), "image": Image(3, 64, 64)},
)


@pytest.fixture
def root(tmp_path):
    """Four pictures, blue outside the middle square and of one red level inside it."""
    names = [f"{i + 1:06d}.jpg" for i in range(4)]
    (tmp_path / "img_align_celeba").mkdir()
    for i, name in enumerate(names):
        pixels = np.zeros((218, 178, 3), np.uint8)
        pixels[..., 2] = 255
        pixels[34:184, 14:164] = [50 * (i + 1), 0, 0]
        Pillow.fromarray(pixels).save(tmp_path / "img_align_celeba" / name, quality=100, subsampling=0)
    lines = [f"{name}  " + "  ".join(map(str, row)) for name, row in zip(names, ROWS, strict=True)]
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(["4", " ".join(COLUMNS) + " ", *lines, ""]))
    partition = "".join(f"{name} {split}\n" for name, split in zip(names, SPLITS, strict=True))
    (tmp_path / "list_eval_partition.txt").write_text(partition)
    return tmp_path


def test_reads_the_split_and_cuts_the_middle(root):
    data = CelebA(root, split="train", graph=SMILING)
    assert data.rows == 2
    assert data["smiling"].tolist() == [True, False]
    assert data["beard"].tolist() == [False, True]
    image = data["image"]
    assert image.shape == (2, 3, 64, 64)
    assert image.dtype == torch.float32
    # JPEG rings at the edge of the square; inside it the levels are exact but for rounding.
    torch.testing.assert_close(255 * image[:, 0, 4:-4, 4:-4].mean((1, 2)), torch.tensor([50.0, 100.0]), atol=2, rtol=0)
    assert image[:, 2, 4:-4, 4:-4].max() < 0.03


def test_rows_are_floats_and_keep_their_index(root):
    rows = CelebA(root, split="train", graph=SMILING)[1:]
    assert rows["image"].dtype == torch.float32
    assert rows["image"].max() <= 1
    assert rows.index.tolist() == [1]
    assert torch.equal(rows["image"], CelebA(root, split="train", graph=SMILING)["image"][1:])


def test_other_splits_and_named_graphs(root):
    assert CelebA(root, split="valid", graph=SMILING).rows == 1
    assert CelebA(root, split="test", graph=SMILING)["smiling"].tolist() == [False]
    complex_graph = CelebA(root, split="train", graph="celeba-complex")
    assert set(complex_graph) >= {"young", "male", "beard", "bald", "image"}


def test_errors(root, tmp_path):
    with pytest.raises(MissingFileError, match=r"CelebA needs list_attr_celeba\.txt, list_eval_partition\.txt"):
        CelebA(root / "img_align_celeba", graph=SMILING)
    with pytest.raises(DataError, match="There is no split 'all'"):
        CelebA(root, split="all")
    other = CausalGraph([("hat", "image")], {"hat": Boolean(), "image": Image(3, 64, 64)})
    with pytest.raises(DataError, match=r"CelebA has no attribute 'hat'\. It has"):
        CelebA(root, graph=other)
    (root / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(MissingFileError, match=r"CelebA needs 000002\.jpg: .*1 of 2 missing"):
        CelebA(root, graph=SMILING)
    table = root / "list_attr_celeba.txt"
    table.write_text(table.read_text().replace("000001.jpg  -1", "000001.jpg"))
    with pytest.raises(DataError, match="no full row for 1 pictures"):
        CelebA(root, graph=SMILING)


def _resize(root, size):
    for path in (root / "img_align_celeba").iterdir():
        Pillow.open(path).resize(size).save(path, quality=100, subsampling=0)


def test_smaller_copies_are_cut_in_proportion(root):
    _resize(root, (89, 109))
    image = CelebA(root, graph=SMILING)["image"]
    torch.testing.assert_close(255 * image[:, 0, 8:-8, 8:-8].mean((1, 2)), torch.tensor([50.0, 100.0]), atol=3, rtol=0)
    assert image[:, 2, 8:-8, 8:-8].max() < 0.05


@pytest.mark.parametrize("side", [64, 256])
def test_squares_are_taken_whole_and_said(root, side):
    whole = torch.from_numpy(
        np.stack([
            np.asarray(Pillow.open(root / "img_align_celeba" / f"00000{i}.jpg").resize((64, 64)), np.float32)
            for i in (1, 2)
        ])
    ).permute(0, 3, 1, 2)  # fmt: skip
    _resize(root, (side, side))
    with pytest.warns(UserWarning, match=rf"are \({side}, {side}\) pixels, not 178 x 218: taken for faces that"):
        image = CelebA(root, graph=SMILING)["image"]
    assert (255 * image - whole).abs().mean() < 4, "no border, and nothing cut off"


def test_other_shapes_are_refused(root):
    _resize(root, (300, 200))
    with pytest.raises(DataError, match="is 300 x 200 pixels: expected 178 x 218"):
        CelebA(root, graph=SMILING)


def test_lists_as_csv_and_pictures_in_a_folder_within(root):
    expected = CelebA(root, graph=SMILING).loaded()
    for name, header in (("list_attr_celeba", "image_id," + ",".join(COLUMNS)), ("list_eval_partition", "image_id,p")):
        lines = (root / f"{name}.txt").read_text().splitlines()
        rows = [",".join(line.split()) for line in lines[2 if "attr" in name else 0 :] if line]
        (root / f"{name}.csv").write_text("\r\n".join([header, *rows, ""]), encoding="utf-8-sig")
        (root / f"{name}.txt").unlink()
    inner = root / "img_align_celeba" / "img_align_celeba"
    pictures = list((root / "img_align_celeba").iterdir())
    inner.mkdir()
    for path in pictures:
        path.rename(inner / path.name)
    found = CelebA(root, graph=SMILING)
    assert all(torch.equal(found[node], expected[node]) for node in expected)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list_attr_celeba.txt", b"", "it has no header"),
        ("list_attr_celeba.txt", b"9\nSmiling No_Beard\n", "it tells of 9 pictures and lists 0"),
        ("list_attr_celeba.txt", b"\xff\xfe", "is damaged"),
        ("list_attr_celeba.txt", b"2\nSmiling\n000001.jpg yes\n000002.jpg no\n", "attributes must be 1 or -1"),
        ("list_eval_partition.txt", b"000001.jpg 7\n", "the number 0, 1 or 2"),
        ("list_eval_partition.txt", b"../../secret.jpg 0\n", "expected names without a folder"),
        ("img_align_celeba/000001.jpg", b"no picture", "is damaged: cannot identify image file"),
        ("img_align_celeba/000001.jpg", None, "is damaged"),
    ],
)
def test_damaged_files_are_refused(root, name, content, message):
    path = root / name
    path.write_bytes(path.read_bytes()[:700] if content is None else content)
    with pytest.raises(DataError, match=message):
        _ = CelebA(root, graph=SMILING)["image"]
