import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from causalcf.core.errors import DataError, MissingFileError, UnknownNodeError
from causalcf.data import Batch, infer_variable, infer_variables, read, read_csv, to_frame
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.image import Image
from causalcf.variables.scalar import Real, Vector


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "height": np.array([1.6, 1.7, 1.8]),
            "colour": ["red", "blue", "red"],
            "member": [True, False, True],
            "size": pd.Categorical(["s", "l", "s"]),
        },
        index=["anna", "bo", "cleo"],
    )


# ---------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2, 4]),
        (torch.tensor([4, 0, 0]), [4, 0, 0]),
        (np.array([3, 1]), [3, 1]),
        ([2], [2]),
        (torch.tensor([True, False, False, True, False]), [0, 3]),
        (np.array([False] * 5), []),
    ],
)
@pytest.mark.parametrize("labels", [None, torch.arange(5) + 10, np.array(list("abcde"))])
def test_rows_are_selected_with_their_labels(key, rows, labels):
    batch = Batch({"x": torch.arange(5.0), "image": torch.rand(5, 1, 2, 2)}, labels)
    part = batch[key]
    assert isinstance(part, Batch)
    assert part.rows == len(rows)
    assert part["x"].tolist() == rows
    assert torch.equal(part["image"], batch["image"][rows])
    assert list(part.index) == [batch.index[row] for row in rows]


@pytest.mark.parametrize("key", [slice(2, 3), [2], torch.tensor([False, False, True])])
def test_rows_of_raw_columns_are_selected_too(key):
    part = Batch({"name": np.array(["a", "b", "c"]), "x": np.arange(3.0)})[key]
    assert (part["name"].tolist(), part["x"].tolist(), part.index.tolist()) == (["c"], [2.0], [2])


def test_labels_survive_a_selection_of_a_selection():
    batch = Batch({"x": torch.arange(10.0)})
    assert batch[2:8][torch.tensor([True, False, True, False, False, False])].index.tolist() == [2, 4]


def test_a_batch_is_a_frozen_mapping_of_nodes():
    batch = Batch({"x": torch.zeros(3), "y": torch.ones(3)})
    assert list(batch) == ["x", "y"]
    assert len(batch) == 2
    assert batch.rows == 3
    assert "x" in batch
    assert "z" not in batch
    assert repr(batch) == "Batch(x: (3,), y: (3,))"
    with pytest.raises(TypeError):
        batch["x"] = torch.zeros(3)  # type: ignore[index]
    assert Batch({}).rows == 0


def test_a_batch_says_what_it_lacks():
    batch = Batch({"x": torch.zeros(3)})
    with pytest.raises(UnknownNodeError, match=r"no 'z' among \['x'\]"):
        batch["z"]
    assert batch.get("z") is None
    with pytest.raises(DataError, match=r"a slice, a list or a mask, got 0. For one row: batch\[i : i \+ 1\]"):
        batch[0]


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(DataError, match=r"same number of rows, got {'x': 3, 'y': 2}"):
        Batch({"x": torch.zeros(3), "y": torch.zeros(2)})
    with pytest.raises(DataError, match=r"same number of rows, got {'x': 3, 'y': 2}"):
        read({"x": [1, 2, 3], "y": [1, 2]}, {"x": Real(), "y": Real()})
    with pytest.raises(DataError, match="2 labels for 3 rows"):
        Batch({"x": torch.zeros(3)}, np.array(["a", "b"]))


# ---------------------------------------------------------------------- variables from values


@pytest.mark.parametrize(
    ("values", "variable"),
    [
        ([1, 2], Real()),
        ([0.5, 2], Real()),
        (torch.zeros(2), Real()),
        (np.array([1, 2], dtype=np.uint8), Real()),
        ([True, False], Boolean()),
        (torch.tensor([True]), Boolean()),
        (["b", "a", "b"], Categorical(["a", "b"])),
        (np.array(["b", "a"], dtype=object), Categorical(["a", "b"])),
        (pd.Series(["b", "a"]), Categorical(["a", "b"])),
        (pd.Series(["b", "a"], dtype="category"), Categorical(["a", "b"])),
        (np.array(["b", "a"], dtype=np.dtypes.StringDType()), Categorical(["a", "b"])),
    ],
)
def test_values_suggest_their_variable(values, variable):
    assert infer_variable("x", values) == variable


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 1, 4, 4)), r"'x' has shape \(3, 1, 4, 4\).*Declare it.*ccf\.Image"),
        (np.array([{}, {}]), r"'x' holds object values \(dict\)"),
        (pd.Series(["a", None, "b"]), "'x' has no value in 1 of 3 rows"),
        (np.array(["a", None, np.nan], dtype=object), "no value in 2 of 3 rows"),
        (["a", "", "b"], "no value in 1 of 3 rows"),
        (["a", "a"], r"'x' is \['a'\] in every row"),
    ],
)
def test_values_that_suggest_none_say_why(values, message):
    with pytest.raises(DataError, match=message):
        infer_variable("x", values)


def test_only_named_columns_are_inferred(frame):
    assert infer_variables(frame, ["height", "colour", "absent"]) == {
        "height": Real(),
        "colour": Categorical(["blue", "red"]),
    }


# ---------------------------------------------------------------------- reading and giving back


def test_a_frame_goes_in_and_comes_out_with_names_and_labels(frame):
    variables = infer_variables(frame, list(frame))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # columns of a frame are read-only arrays
        batch = read(frame, variables, dtype=torch.float64)
    assert batch["colour"].tolist() == [1, 0, 1]
    assert batch["member"].dtype == torch.bool
    assert list(batch.index) == ["anna", "bo", "cleo"]
    back = to_frame(batch, variables, batch.index)
    pd.testing.assert_frame_equal(back, frame.astype({"colour": back["colour"].dtype, "size": back["size"].dtype}))
    assert to_frame(batch[1:], variables, batch[1:].index)["size"].tolist() == ["l", "s"]


def test_integer_labels_become_a_tensor(frame):
    batch = read(frame.set_index(np.array([7, 8, 9]))[["height"]], {"height": Real()})
    assert isinstance(batch.index, torch.Tensor)
    assert batch.index.tolist() == [7, 8, 9]


def test_a_batch_reads_as_itself_with_its_labels():
    batch = Batch({"x": torch.rand(3)}, torch.tensor([5, 6, 7]))
    again = read(batch, {"x": Real()})
    assert torch.equal(again["x"], batch["x"])
    assert again.index.tolist() == [5, 6, 7]


def test_vectors_come_out_as_columns_and_images_are_left_out():
    variables = {"v": Vector(2), "image": Image(1, 2, 2), "x": Real()}
    batch = read({"v": [[1, 2]], "image": np.zeros((1, 1, 2, 2)), "x": [3]}, variables)
    assert to_frame(batch, variables, batch.index).to_dict("list") == {"v[0]": [1.0], "v[1]": [2.0], "x": [3.0]}


def test_extra_columns_give_one_warning():
    with pytest.warns(UserWarning, match=r"Ignoring \['y', 'z'\]: not nodes of the graph") as caught:
        batch = read({"x": [1.0], "y": [1.0], "z": ["a"]}, {"x": Real()})
    assert len(caught) == 1
    assert list(batch) == ["x"]


def test_missing_nodes_are_named_unless_they_are_optional():
    with pytest.raises(DataError, match=r"lack \['y'\]. The graph's nodes are \['x', 'y'\]; the data have \['x'\]"):
        read({"x": [1.0]}, {"x": Real(), "y": Real()})
    assert list(read({"x": [1.0]}, {"x": Real(), "y": Real()}, optional=frozenset({"y"}))) == ["x"]


def test_data_that_are_no_table_are_refused():
    with pytest.raises(DataError, match="Expected a mapping of arrays or tensors, or a data frame, got list"):
        read([1, 2], {"x": Real()})


# ---------------------------------------------------------------------- CSV files


def test_a_csv_file_gives_numbers_booleans_and_text(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("\ufeffage,member,name\n39,true,bo\n,False,anna\n", "utf-8")
    columns = read_csv(path)
    assert columns["age"].tolist()[0] == 39.0
    assert np.isnan(columns["age"][1])
    assert columns["member"].tolist() == [True, False]
    assert columns["name"].tolist() == ["bo", "anna"]


def test_a_category_of_a_csv_file_is_a_name_even_if_it_looks_like_a_number(tmp_path):
    path = tmp_path / "titanic.csv"
    path.write_text("pclass,seen,age\n1,false,4\n3,true,5\n", "utf-8")
    variables = {"pclass": Categorical(["1", "2", "3"]), "seen": Categorical(["true", "false"]), "age": Real()}
    batch = read(read_csv(path, variables), variables)
    assert batch["pclass"].tolist() == [0, 2]
    assert batch["seen"].tolist() == [1, 0]
    assert batch["age"].tolist() == [4.0, 5.0]
    assert to_frame(batch, variables, batch.index)["pclass"].tolist() == ["1", "3"]


@pytest.mark.parametrize(
    ("text", "message"), [("a,b\n1,2\n1\n", "line 3 does not have 2 fields"), ("", "is empty: expected a line")]
)
def test_bad_csv_files_are_refused(text, message, tmp_path):
    (tmp_path / "bad.csv").write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path / "bad.csv")
    with pytest.raises(MissingFileError, match=r"no file .*absent\.csv"):
        read_csv(tmp_path / "absent.csv")
