"""Tables with a causal graph."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Literal

import torch

from causalcf.core.errors import DataError
from causalcf.core.signatures import checked
from causalcf.data import read
from causalcf.datasets.base import Dataset, check_split, file_in, find_folder
from causalcf.graph import load_graph
from causalcf.variables.codes import Categorical

__all__ = ["Adult"]

_REMEDY = (
    "Get adult.data from https://archive.ics.uci.edu/dataset/2/adult and put it there as adult.csv,"
    " with the header line age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,"
    "race,sex,capital-gain,capital-loss,hours-per-week,native-country,class."
)

_COLUMNS = {"income": "class"}
"""Columns of the file that are called otherwise in the graph."""


@checked
class Adult(Dataset):
    """UCI Adult: census records of 32,561 people and whether they earn over 50,000 dollars a year.

    The nodes are those of `load_graph("adult")`: age, education-num and hours-per-week as numbers; sex,
    race, marital-status, relationship, occupation and income as categories. Missing occupations, which
    are mostly those of people who do not work, are the category `"Unknown"`.

    Args:
        root: The folder of `adult.csv` (or `.csv.gz`), or a folder that holds it as `adult/`; by
            default the environment variable CAUSALCF_DATA.
        split: `"all"` rows of the file, or those of `"train"` or `"test"`, a fifth that is drawn once for all: the
            file has no split of its own.

    Raises:
        MissingFileError: The file was not found; says where it was looked for and how to get it.
        DataError: No such split, or the file lacks columns, or has a category that the graph does not know.

    References:
        Becker, Kohavi: Adult, UCI Machine Learning Repository, 1996.

    Example:
        >>> Adult("data")["age"].shape  # doctest: +SKIP
        torch.Size([32561])
    """

    def __init__(self, root: str | Path | None = None, split: Literal["all", "train", "test"] = "all") -> None:
        check_split(split, ["all", "train", "test"])
        graph = load_graph("adult")
        folder = find_folder("Adult", root, ["adult.csv"], inside=["adult"], remedy=_REMEDY)
        columns = _read_columns(file_in(folder, "adult.csv"), list(graph.nodes))
        raw = {
            node: columns[node] if isinstance(variable, Categorical) else _numbers(node, columns[node])
            for node, variable in graph.variables.items()
        }
        people = read(raw, graph.variables)
        super().__init__(people if split == "all" else people[_drawn(people.rows, test=split == "test")], graph)


def _drawn(rows: int, *, test: bool) -> torch.Tensor:
    """Which rows are the test split's, or the train split's, in the file's order."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    held_out = rows // 5
    return (order[:held_out] if test else order[held_out:]).sort().values


def _read_columns(path: Path, nodes: list[str]) -> dict[str, list[str]]:
    """The columns of the nodes as text; copies of the file differ in blanks around values and in `?`."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        lacks = [_COLUMNS.get(node, node) for node in nodes if _COLUMNS.get(node, node) not in (rows.fieldnames or [])]
        if lacks:
            raise DataError(f"{path} lacks the columns {lacks}; it has {rows.fieldnames}. {_REMEDY}")
        table = list(rows)
    return {node: [_clean(row[_COLUMNS.get(node, node)]) for row in table] for node in nodes}


def _clean(value: str | None) -> str:
    text = (value or "?").strip()
    return "Unknown" if text == "?" else text


def _numbers(node: str, values: list[str]) -> torch.Tensor:
    try:
        return torch.tensor([float(value) for value in values])
    except ValueError as error:
        raise DataError(f"'{node}': {error}. Drop or impute these rows first.") from None
