"""Folders, frames and items as data sets: every kind of picture, how it is made to fit, and what is refused."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Pillow

import causalcf as ccf
from causalcf.core.errors import CausalCFWarning, DataError, MissingFileError, SupportError
from causalcf.data import Batch
from causalcf.datasets import from_folder, from_frame, from_items

RED = (200, 0, 0)


def picture(height=8, width=8, colour=RED, mode="RGB"):
    return Pillow.new(mode, (width, height), colour)


def _bytes(data):
    """All pictures as they are kept."""
    return data.held["image"].store.take(torch.arange(data.rows))


@pytest.fixture
def folder(tmp_path):
    """Six red pictures with an age, a side and whether there are glasses."""
    lines = ["file_name,age,side,glasses"]
    for i in range(6):
        picture(colour=(40 * i, 0, 0)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{20 + i},{'left' if i % 2 else 'right'},{'true' if i > 2 else 'false'}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def rewrite(folder, old, new, count=1):
    path = folder / "metadata.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


# ---------------------------------------------------------------------- a data set like the others


def test_a_folder_is_a_data_set(folder):
    data = from_folder(folder, size=8)
    assert isinstance(data, ccf.datasets.Dataset)
    assert list(data) == ["age", "side", "glasses", "image"]
    assert data.variables == {
        "age": ccf.Real(),
        "side": ccf.Categorical(["left", "right"]),
        "glasses": ccf.Boolean(),
        "image": ccf.Image(3, 8, 8),
    }
    assert data["side"].tolist() == [1, 0, 1, 0, 1, 0]
    assert data.graph.edges == (), "nobody named a cause"
    for node, variable in data.variables.items():
        variable.check(node, data[node])


def test_pictures_are_kept_as_bytes_and_rows_are_floats(folder):
    data = from_folder(folder, size=8)
    assert data.held["image"].store.take(torch.arange(2)).dtype == torch.uint8
    rows = data[[3, 1]]
    assert type(rows) is Batch
    assert rows.index.tolist() == [3, 1]
    assert rows["image"].dtype == torch.float32
    torch.testing.assert_close(rows["image"][:, 0, 4, 4], torch.tensor([120 / 255, 40 / 255]))
    assert not rows["image"][:, 1:].any()


def test_a_graph_says_what_is_read(folder):
    graph = ccf.CausalGraph([("age", "face"), ("glasses", "face")], {"face": ccf.Image(1, 8, 4)})
    data = from_folder(folder, graph=graph, variables={"age": ccf.Positive(unit="years")})
    assert set(data) == {"age", "glasses", "face"}
    assert data["face"].shape == (6, 1, 8, 4)
    assert data.variables["age"] == ccf.Positive(unit="years")
    assert data.graph.parents("face") == ("age", "glasses")


def test_splits_are_a_column_or_folders(folder, tmp_path_factory):
    with pytest.raises(DataError, match=r"has no split 'test'\. Add a column 'split' to metadata.csv"):
        from_folder(folder, size=8, split="test")
    lines = (folder / "metadata.csv").read_text().splitlines()
    marked = [f"{line},{'split' if i == 0 else 'test' if i > 4 else 'train'}" for i, line in enumerate(lines)]
    (folder / "metadata.csv").write_text("\n".join(marked))
    assert from_folder(folder, size=8, split="test")["age"].tolist() == [24, 25]
    assert "split" not in from_folder(folder, size=8)
    with pytest.raises(DataError, match=r"has no split 'sixth'\. It has \['test', 'train'\]"):
        from_folder(folder, size=8, split="sixth")
    root = tmp_path_factory.mktemp("root")
    folder.rename(root / "train")
    assert from_folder(root, size=8, split="train").rows == 6
    with pytest.raises(DataError, match=r"no metadata.csv of its own.*split='train'"):
        from_folder(root, size=8)


def test_a_column_of_names_is_left_out_unless_a_graph_asks_for_it(folder):
    lines = [f"{i % 6}.png,{20.5 + i * i},person {i}" for i in range(30)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,age,name", *lines]))
    with pytest.warns(CausalCFWarning, match=r"Left out: 'name' is text with another value in each of 30 rows"):
        data = from_folder(folder, size=8)
    assert list(data) == ["age", "image"]
    with pytest.raises(DataError, match="it names the rows"):
        from_folder(folder, graph=ccf.CausalGraph([("name", "image")]))


def test_a_category_that_looks_like_a_number_is_a_name(folder):
    text = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text(text.replace("left", "7").replace("right", "3"))
    data = from_folder(folder, size=8, variables={"side": ccf.Categorical(["3", "7"])})
    assert data["side"].tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(SupportError, match="'side' has no category '7'"):
        from_folder(folder, size=8, variables={"side": ccf.Categorical(["3", "8"])})


# ---------------------------------------------------------------------- every kind of picture


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
def test_kinds_of_files(tmp_path, suffix):
    picture().save(tmp_path / f"a.{suffix}")
    data = from_frame({"path": [f"a.{suffix}"]}, "path", root=tmp_path, size=8)
    assert (data["image"][0, :, 4, 4] * 255 - torch.tensor(RED)).abs().max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_not_cut(tmp_path, suffix):
    grey = np.array([[0, 257, 25700, 65535]], np.uint16)
    Pillow.fromarray(grey).save(tmp_path / f"a.{suffix}")
    for source in ([f"a.{suffix}"], [grey]):
        data = from_frame({"image": source}, root=tmp_path, size=(1, 4), mode="L")
        assert _bytes(data).flatten().tolist() == [0, 1, 100, 255]
    colour = from_frame({"image": [f"a.{suffix}"]}, root=tmp_path, size=(1, 4))
    assert _bytes(colour)[0, 2].flatten().tolist() == [0, 1, 100, 255]


def test_what_is_transparent_lies_on_black_and_a_camera_s_turn_is_made():
    clear = Pillow.new("RGBA", (2, 2), (255, 255, 255, 0))
    turned = picture(1, 2)
    turned.putpixel((1, 0), (0, 0, 200))
    exif = Pillow.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    data = from_items([{"image": clear}, {"image": file.getvalue()}], size=2, fit="stretch")
    assert not data["image"][0].any()
    red, blue = data["image"][1, 0], data["image"][1, 2]
    assert (red[0] > red[1]).all()
    assert (blue[0] < blue[1]).all()


def test_arrays_and_tensors_of_every_kind_are_the_same_picture():
    bytes_ = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    tensor = torch.from_numpy(bytes_).permute(2, 0, 1)
    kinds = [bytes_, bytes_ / 255, bytes_.astype(np.uint16) * 257, tensor, tensor / 255, Pillow.fromarray(bytes_)]
    data = from_frame({"image": kinds}, size=4)
    assert all(torch.equal(each, tensor) for each in _bytes(data))
    bits = from_items([{"image": np.eye(4, dtype=bool)}], size=4, mode="L")
    assert torch.equal(bits["image"][0, 0], torch.eye(4))


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("pad", [[0, 1, 0], [0, 1, 0], [0, 1, 0]]),
        ("crop", [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        ("stretch", [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
    ],
)
def test_pictures_of_another_shape_are_made_to_fit(fit, expected):
    tall = np.full((9, 3), 255, np.uint8)
    assert from_items([{"image": tall}], size=3, mode="L", fit=fit)["image"][0, 0].tolist() == expected


def test_crop_keeps_the_middle_and_stretch_keeps_all():
    bands = np.repeat(np.array([0, 100, 200], np.uint8), 4)[:, None].repeat(4, 1)  # 12 x 4, three bands
    crop, stretch = (
        _bytes(from_items([{"image": bands}], size=4, mode="L", fit=fit))[0, 0] for fit in ("crop", "stretch")
    )
    assert crop.unique().tolist() == [100]
    assert stretch[0, 0] < 50
    assert stretch[-1, 0] > 150


# ---------------------------------------------------------------------- frames and items


def test_a_frame_of_paths_of_arrays_and_of_pillow_pictures(folder):
    frame = pd.read_csv(folder / "metadata.csv").rename(columns={"file_name": "path"})
    data = from_frame(frame, "path", root=folder, size=8)
    reference = from_folder(folder, size=8)
    assert data.variables == reference.variables
    assert all(torch.equal(data[node], reference[node]) for node in reference)
    frame["image"] = [Pillow.open(folder / path) for path in frame.pop("path")]
    assert torch.equal(from_frame(frame, size=8)["image"], reference["image"])


def test_a_torch_data_set_and_an_undecoded_hugging_face_one(folder):
    class Endless(torch.utils.data.Dataset):  # knows its length, and raises no IndexError
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return torch.full((3, 8, 8), i / 2), torch.tensor(i % 2 == 0)

    data = from_items(Endless(), names=("image", "even"), size=8)
    assert data.variables["even"] == ccf.Boolean()
    assert data["image"][:, 0, 0, 0].tolist() == [0, pytest.approx(0.5, abs=0.002), 1]
    stored = [{"image": {"bytes": (folder / f"{i}.png").read_bytes(), "path": None}, "label": float(i)} for i in (1, 2)]
    assert torch.equal(from_items(stored, size=8)["image"], from_folder(folder, size=8)[1:3]["image"])


# ---------------------------------------------------------------------- what is refused


def test_pictures_that_cannot_be_read_are_named(folder):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"metadata.csv, row 2 \(counted from 0\), '2.png' is damaged: .*drop its row"):
        from_folder(folder, size=8)[1:3]
    (folder / "1.png").write_text("no picture")
    with pytest.raises(DataError, match=r"'1.png' is no picture that can be read.*\(2 of 6 pictures cannot"):
        from_folder(folder, size=8).loaded()
    (folder / "0.png").unlink()
    with pytest.raises(MissingFileError, match=r"row 0 \(counted from 0\), '0.png': there is no such file"):
        from_folder(folder, size=8)


def test_a_picture_of_another_size_is_named_where_sizes_must_be_exact(folder):
    assert from_folder(folder, size=8, fit="exact").loaded().rows == 6
    picture(9, 8).save(folder / "4.png")
    with pytest.raises(DataError, match=r"row 4 .*'4.png' has 9 x 8 px: expected 8 x 8\. Resize it, or say how to"):
        from_folder(folder, size=8, fit="exact").loaded()


def test_a_row_without_a_picture(folder):
    rewrite(folder, "3.png", "")
    with pytest.raises(DataError, match=r"1 of 6 rows have no picture, the first is row 3 .*'file_name' is empty"):
        from_folder(folder, size=8)
    with pytest.raises(DataError, match=r"1 of 2 rows have no picture, the first is row 1 .*'image' is empty"):
        from_frame(pd.DataFrame({"image": ["0.png", None]}), root=folder, size=8)


def test_tables_without_the_columns_asked_for(folder):
    graph = ccf.CausalGraph([("age", "image")])
    rewrite(folder, "age", "Age")
    with pytest.raises(DataError, match=r"lacks a column 'age'; it has .*Was 'Age' meant\?"):
        from_folder(folder, graph=graph)
    rewrite(folder, "file_name", "file")
    with pytest.raises(DataError, match=r"lacks a column 'file_name'; .*Was 'file' meant\? It needs a table with"):
        from_folder(folder)
    with pytest.raises(DataError, match=r"The table lacks a column 'image'"):
        from_frame({"path": ["a.png"]})


def test_folders_without_a_table_or_rows(folder):
    with pytest.raises(MissingFileError, match=r"There is no folder .*nowhere"):
        from_folder(folder / "nowhere")
    with pytest.raises(MissingFileError, match=r"There is no faces.csv in .*a column 'file_name'"):
        from_folder(folder, "faces.csv")
    (folder / "metadata.csv").write_text("file_name,age\n")
    with pytest.raises(DataError, match=r"metadata.csv has a header and no rows"):
        from_folder(folder)


def test_what_contradicts_the_graph(folder):
    graph = ccf.CausalGraph([("age", "image")], {"image": ccf.Image(3, 8, 8)})
    with pytest.raises(DataError, match=r"'image' is declared \(3, 8, 8\), and size= and mode= ask for \(3, 16, 16\)"):
        from_folder(folder, graph=graph, size=16)
    with pytest.raises(DataError, match=r"\(1, 8, 8\)"):
        from_folder(folder, graph=graph, mode="L")
    with pytest.raises(DataError, match=r"no image among \['age', 'glasses'\]"):
        from_folder(folder, graph=ccf.CausalGraph([("age", "glasses")]))
    with pytest.raises(DataError, match=r"variables= declares \['hat'\]"):
        from_folder(folder, variables={"hat": ccf.Boolean()})
    for wrong, message in (({"fit": "squeeze"}, r"fit='squeeze': choose"), ({"mode": "CMYK"}, r"mode='CMYK': choose")):
        with pytest.raises(DataError, match=message):
            from_folder(folder, **wrong)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 2, 2)), r"'image' of item 0 has shape \(2, 2, 2\): expected an array of"),
        (np.full((2, 2), 1.5), r"holds floats outside \[0, 1\]"),
        (np.full((2, 2), np.nan), r"holds floats outside \[0, 1\]"),
        (np.zeros((2, 2), int), r"holds int64: expected uint8"),
        (7, r"is int: expected a path"),
        (Pillow.fromarray(np.zeros((2, 2), np.float32)), r"holds 32-bit floats"),
        (Pillow.fromarray(np.full((2, 2), 70000, np.int32)), r"has more than 16 bits"),
    ],
)
def test_values_that_are_no_pictures(value, message):
    with pytest.raises(DataError, match=message):
        from_items([{"image": value}], size=2)


def test_a_file_of_several_pages(tmp_path):
    picture().save(tmp_path / "a.tiff", save_all=True, append_images=[picture()])
    with pytest.raises(DataError, match=r"a.tiff' has 2 pages"):
        from_frame({"image": ["a.tiff"]}, root=tmp_path, size=8).loaded()


def test_items_that_differ():
    with pytest.raises(DataError, match=r"Item 1 has \['image'\]: expected \['age', 'image'\]"):
        from_items([{"image": picture(), "age": 1.0}, {"image": picture()}], size=8)
    with pytest.raises(DataError, match=r"Item 0 is tuple of 2 parts: expected a mapping"):
        from_items([(picture(), 1)], size=8)
    with pytest.raises(DataError, match=r"There are no items"):
        from_items([])
    with pytest.raises(DataError, match=r"A column is called 'image'"):
        from_frame({"image": [1], "path": [picture()]}, "path", size=8)
