import gzip

import pytest

from causalcf.core.errors import DataError, MissingFileError, SupportError
from causalcf.datasets import Adult

HEADER = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,"
    "race,sex,capital-gain,capital-loss,hours-per-week,native-country,class\n"
)
ROWS = (
    "39,State-gov,77516,Bachelors,13,Never-married,Adm-clerical,Not-in-family,White,Male,2174,0,40,United-States,<=50K\n"
    "50, ?, 83311, Bachelors, 13, Married-civ-spouse, ?, Husband, White, Male, 0, 0, 13, United-States, >50K\n"
)


@pytest.fixture
def write(tmp_path):
    def write_adult(text):
        with gzip.open(tmp_path / "adult.csv.gz", "wt") as file:
            file.write(text)
        return tmp_path

    return write_adult


def test_reads_blanks_and_missing_values(write):
    data = Adult(write(HEADER + ROWS))
    assert data["age"].tolist() == [39, 50]
    names = {node: data.variables[node].categories for node in ("occupation", "income", "marital-status")}
    assert [names["occupation"][code] for code in data["occupation"]] == ["Adm-clerical", "Unknown"]
    assert [names["income"][code] for code in data["income"]] == ["<=50K", ">50K"]
    assert set(data) == set(data.graph.nodes)


def test_train_and_test_rows_are_all_rows_once(write):
    """A person is in one split, always the same."""
    folder = write(
        HEADER + "".join(ROWS.splitlines(keepends=True)[0].replace("39,", f"{age},", 1) for age in range(1, 101))
    )
    splits = [Adult(folder, split)["age"].tolist() for split in ("train", "test")]
    assert [len(ages) for ages in splits] == [80, 20]
    assert sorted(splits[0] + splits[1]) == Adult(folder)["age"].tolist() == list(range(1, 101))
    assert splits == [Adult(folder, split)["age"].tolist() for split in ("train", "test")]
    with pytest.raises(DataError, match="There is no split 'valid'"):
        Adult(folder, "valid")


def test_real_file(data_root):
    data = Adult(data_root)
    assert data.rows == 32_561
    assert data["income"].float().mean().item() == pytest.approx(0.2408, abs=1e-4)
    for name, variable in data.variables.items():
        variable.check(name, data[name])


def test_errors(write, tmp_path):
    with pytest.raises(MissingFileError, match=r"Adult needs adult\.csv: not found in"):
        Adult(tmp_path)
    with pytest.raises(DataError, match=r"lacks the columns \['age'\]"):
        Adult(write((HEADER + ROWS).replace("age,", "years,")))
    with pytest.raises(DataError, match="'age': could not convert string to float: 'Unknown'"):
        Adult(write((HEADER + ROWS).replace("39,", "?,", 1)))
    with pytest.raises(SupportError, match="'sex' has no category 'M'"):
        Adult(write((HEADER + ROWS).replace(" Male", " M")))
