"""CSV files as people have them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError
from causalcf.data import infer_variable, read_csv


@pytest.fixture
def write(tmp_path: Path):
    def made(content: str | bytes) -> Path:
        path = tmp_path / "t.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return made


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_encodings_and_line_ends_are_told_from_the_file(
    write, separator: str, encoding: str, end: str
) -> None:
    lines = ["job,age", "m\u00e9decin,40", "", '"clerk",41', ",", "  ", ""]
    path = write(end.join(lines).replace(",", separator).encode(encoding))
    columns = read_csv(path)
    assert {name: values.tolist() for name, values in columns.items()} == {
        "job": ["m\u00e9decin", "clerk"],
        "age": [40, 41],
    }


def test_another_encoding_is_said_with_its_byte_or_declared(write) -> None:
    path = write("job,y\nm\u00e9decin,1\n".encode("cp1252"))
    with pytest.raises(
        DataError, match=r"is not UTF-8 \(byte 0xe9 at position 7\). Save it as 'CSV UTF-8', or.*--encoding"
    ):
        read_csv(path)
    assert read_csv(path, encoding="cp1252")["job"].tolist() == ["m\u00e9decin"]
    with pytest.raises(DataError, match="there is no such encoding"):
        read_csv(path, encoding="klingon")
    with pytest.raises(DataError, match="NUL bytes"):
        read_csv(write("a,b\n1,2\n".encode("utf-16-le")))


@pytest.mark.parametrize("mark", ["", "NA", "n/a", "?", "-", "null", "#N/A", " "])
def test_marks_among_numbers_are_missing(write, mark: str) -> None:
    column = read_csv(write(f"x,y\n1,2\n{mark},3\n2.5,4\n"))["x"]
    assert column.dtype == float
    assert np.isnan(column).tolist() == [False, True, False]
    data = {"x": np.append(column, np.arange(5.0)), "y": np.arange(8.0)}
    with pytest.raises(DataError, match="'x' has NaN or infinite values in 1 of 8 rows"):
        ccf.SCM([("x", "y")], {"x": ccf.Real(), "y": ccf.Real()}).fit(data, progress=False)


def test_other_marks_are_declared_once_for_columns_of_any_kind(write) -> None:
    path = write("x,c\n1,a\n-9999,unknown\n2,b\n")
    assert read_csv(path)["x"].tolist() == [1, -9999, 2]
    columns = read_csv(path, missing=["-9999", "unknown"])
    assert np.isnan(columns["x"]).tolist() == [False, True, False]
    assert columns["c"].tolist() == ["a", "", "b"]


def test_what_is_no_number_in_a_column_of_numbers_is_named_with_its_row(write) -> None:
    column = read_csv(write("x,y\n1,2\n12 %,3\n2.5,4\n"), {"x": ccf.Real()})["x"]
    assert column.tolist() == [1.0, "12 %", 2.5]
    with pytest.raises(DataError, match=r"text in 1 of 3 rows \(row 1: '12 %'\), numbers in the others"):
        ccf.Real().read("x", column, torch.float32, torch.device("cpu"))
    assert ccf.Real().read("x", column[2:], torch.float32, torch.device("cpu")).tolist() == [2.5]


def test_marks_alone_are_categories(write) -> None:
    assert read_csv(write("x,y\nnone,1\nmissing,2\n"))["x"].tolist() == ["none", "missing"]


@pytest.mark.parametrize(
    ("cells", "expected"), [("yes,No,YES", [True, False, True]), ("true,FALSE,True", [True, False, True])]
)
def test_yes_and_no_are_booleans_unless_they_are_declared_names(write, cells: str, expected: list[bool]) -> None:
    path = write("b,y\n" + "".join(f"{cell},1\n" for cell in cells.split(",")))
    assert read_csv(path)["b"].tolist() == expected
    assert read_csv(path, {"b": ccf.Categorical(cells.split(","))})["b"].tolist() == cells.split(",")


def test_quotes_keep_separators_and_line_breaks(write) -> None:
    path = write('"yield, kg",note\n1,"a, b"\n2,"two\nlines"\n3, "after a blank"\n')
    columns = read_csv(path)
    assert columns["yield, kg"].tolist() == [1, 2, 3]
    assert columns["note"].tolist() == ["a, b", "two\nlines", "after a blank"]


def test_numbers_with_decimal_commas_are_read_where_commas_do_not_separate(write) -> None:
    assert read_csv(write("x;y\n1,5;2\n2,25;3\n"))["x"].tolist() == [1.5, 2.25]
    assert read_csv(write('x,y\n"1,234.5",2\n"2,000",3\n'))["x"].tolist() == ["1,234.5", "2,000"]


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("x;z\n1.234;0,5\n999;1,5\n", "x", ["1.234", "999"]),  # commas begin decimals, so points do not
        ("x\tz\n1,234\t0.5\n999\t1.5\n", "x", ["1,234", "999"]),
        ("x;z\n1,234;1\n2,345;2\n", "x", ["1,234", "2,345"]),  # either
        ("x;z\n1.234;1\n999;2\n", "x", ["1.234", "999"]),
        ("x;z\n1.234;1\n0.999;2\n", "x", [1.234, 0.999]),
        ("x\tz\n1.234\t1\n2.345\t2\n", "x", [1.234, 2.345]),
        ("x;z\n1,234;1\n2,5;2\n", "x", [1.234, 2.5]),
        ("x,z\n1.234,1\n2,2\n", "x", [1.234, 2.0]),
        ("x,z\n00501,1\n10115,2\n", "x", ["00501", "10115"]),
        ("x,z\ntrue,1\n0,2\nYes,3\n", "x", [True, False, True]),
        ("x,z\n0,1\n1,2\n", "x", [0.0, 1.0]),
        ("x,z\n1.#QNAN,1\n2,2\n", "z", [1.0, 2.0]),
        ("sep=|\nx|z, y\n1|2\n", "z, y", [2.0]),
    ],
)
def test_a_cell_that_may_be_two_numbers_stays_text(write, text: str, column: str, expected: list) -> None:
    assert read_csv(write(text))[column].tolist() == expected


def test_points_that_may_group_thousands_are_said(write) -> None:
    cells = [f"{1 + i // 500}.{i % 1000:03d}" if i >= 400 else str(i) for i in range(380, 460)]
    column = read_csv(write("x;y\n" + "".join(f"{cell};1\n" for cell in cells)))["x"]
    with pytest.raises(DataError, match=r"points may begin decimals or group thousands \(row 20: '1\.400'\)"):
        infer_variable("x", column)


def test_fields_may_be_long(write) -> None:
    assert len(read_csv(write(f'x,y\n1,"{"a" * 200_000}"\n'))["y"][0]) == 200_000


def test_what_pandas_writes_is_read(write, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, 2.5], "c": ["a", "b"]})
    frame.to_csv(tmp_path / "p.csv")
    assert read_csv(tmp_path / "p.csv")["Unnamed: 0"].tolist() == [0, 1]
    assert list(read_csv(write("x,y,\n1,2,\n"))) == ["x", "y"]


def test_columns_that_are_no_values_stay_as_they_are_written(write) -> None:
    columns = read_csv(write("id,x\n007,1\n010,2\n"), values=["x"])
    assert columns["id"].tolist() == ["007", "010"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("age,income,age\n1,2,3\n", r"has the column 'age' twice \(columns 1 and 3\). Rename one"),
        ("a,b\n1,2\n1\n", "line 3 does not have 2 fields"),
        ("a,b\n\n\n1,2\n1,2,3\n", "line 5 does not have 2 fields"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        ("a,b\n", "has a header and no rows"),
        ("\n\n", "is empty"),
        ("sep=;\n\n", "is empty"),
        ("a,b\n1,2\na,b\n3,4\n", "line 3 is the header again, as where files were joined"),
        (b"PK\x03\x04" + bytes(range(99)), "is no CSV file but a workbook.*pandas.read_excel"),
        (b"\x1f\x8b" + bytes(range(99)), "is no CSV file but compressed by gzip"),
        ('a,b\n1,"2\n', "line 2 cannot be read: unexpected end of data. Check its quotes"),
    ],
)
def test_files_that_would_lose_data_are_refused(write, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_csv(write(content))
