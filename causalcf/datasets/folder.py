"""Your own pictures as a data set: a folder with a table, a data frame, or any items one after another."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causalcf.core.columns import Column
from causalcf.core.errors import CausalCFWarning, DataError, MissingFileError
from causalcf.core.signatures import checked
from causalcf.core.surroundings import callers_line
from causalcf.data import columns, infer_variables, read, read_csv
from causalcf.datasets.base import Dataset
from causalcf.datasets.decoded import Decoded
from causalcf.datasets.pictures import CHANNELS, Fit, as_pixels
from causalcf.graph import CausalGraph, load_graph
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical
from causalcf.variables.image import Image

__all__ = ["FILE_NAME", "SPLIT", "Pictures", "folder_splits", "folder_table", "from_folder", "from_frame", "from_items"]

FILE_NAME = "file_name"
"""The column that names the pictures, as the ImageFolder convention has it."""

SPLIT = "split"
"""The column that says which split a row belongs to; it is not an attribute."""

_CONVENTION = f"It needs a table with a column '{FILE_NAME}' that names the picture of each row, and its attributes."


class Pictures(Dataset):
    """Pictures with attributes. They are kept as bytes and become floats in [0, 1] when rows are taken."""


@checked
def from_folder(
    root: str | Path,
    table: str = "metadata.csv",
    *,
    size: int | tuple[int, int] | None = None,
    graph: str | Path | CausalGraph | None = None,
    variables: Mapping[str, Variable] | None = None,
    split: str | None = None,
    mode: str | None = None,
    fit: Fit = "pad",
) -> Pictures:
    """A folder of pictures and a table: one row a picture, `file_name` and its attributes.

    This is the ImageFolder convention: `root/metadata.csv` names files below `root`. PNG, JPEG, WebP, TIFF and what
    else Pillow reads; grey, colour, or 16 bits, which are scaled to 8. Transparent parts become black, and a picture
    is turned as its camera says. Pictures are decoded when rows are asked for; what needs them all, as `fit` does,
    decodes them once, into a cache (`causalcf data cache`).

    Args:
        root: The folder.
        table: The file name of the table in it.
        size: Height and width of the images, px, or one number for both; by default those of the graph's image, or 64.
        graph: The causal graph: which columns are read. Without one all columns are, and the data set's own graph has
            no edges: name your hypothesis when you build the model.
        variables: column -> variable, where the graph declares none. Other variables are inferred from the values:
            text is a Categorical, true/false a Boolean, numbers are Real. Without a graph, a column that suggests no
            variable, such as one of names, is left out with a warning.
        split: The rows whose column `split` says so, or the folder `root/<split>` with a table of its own; by default
            all rows of `root`'s table.
        mode: "RGB", or "L" for grey; by default that of the graph's image, or "RGB".
        fit: How a picture of another size is fitted. "pad": it is resized to fit inside, the rest is black. "crop":
            it is resized to cover, and the overhang is cut off. "stretch": height and width are resized each by
            itself. "exact": it is refused.

    Raises:
        MissingFileError: The folder, its table or a picture is not there.
        DataError: A row has no picture, or a column is not there; and once it is read, a picture is damaged or does not
            fit. Each is named.

    Example:
        >>> portraits = from_folder("portraits", size=(64, 64), fit="crop")  # doctest: +SKIP
        >>> portraits[:8]["image"].shape  # doctest: +SKIP
        torch.Size([8, 3, 64, 64])
    """
    folder, values = folder_table(root, table, variables or _variables_of(graph), split)
    names = values.pop(FILE_NAME)
    values.pop(SPLIT, None)
    names = [str(name) for name in names]
    _refuse_empty(names, str(folder / table), FILE_NAME)
    plan = _Plan.of(graph, variables, list(values), size, mode, fit)
    called = partial(_called, str(folder / table), names)
    what = f"{(folder / table).absolute()}{f', {split}' if split else ''}"
    return plan.gather(values, _pictures(plan, [folder / name for name in names], called, what, show=False))


@checked
def from_frame(
    frame: Any,
    image: str = "image",
    *,
    root: str | Path = ".",
    size: int | tuple[int, int] | None = None,
    graph: str | Path | CausalGraph | None = None,
    variables: Mapping[str, Variable] | None = None,
    mode: str | None = None,
    fit: Fit = "pad",
    progress: bool = True,
) -> Pictures:
    """A data frame, or a mapping of columns, one of which holds pictures: paths, arrays or Pillow pictures.

    Args:
        frame: A pandas or polars frame, or a mapping of columns.
        image: The column of pictures: paths, bytes of files, Pillow pictures, arrays of (H, W) or (H, W, C) as bytes,
            16 bits or floats in [0, 1], or tensors of (C, H, W). The node is the graph's image, or "image".
        root: The folder that paths start from.
        size: As for `from_folder`, like all that follows.
        graph: The causal graph.
        variables: column -> variable.
        mode: "RGB" or "L".
        fit: "pad", "crop", "stretch" or "exact".
        progress: Show a bar on a terminal while pictures are read that are no files.

    Raises:
        MissingFileError: A picture is not there.
        DataError: As for `from_folder`.

    Example:
        >>> squares = {"image": np.zeros((4, 8, 8), np.uint8), "side": ["left", "right", "left", "right"]}
        >>> from_frame(squares, size=8, mode="L")[:2]["image"].shape
        torch.Size([2, 1, 8, 8])
    """
    values, _ = columns(frame)
    _require([image], values, "The table")
    given = values.pop(image)
    _refuse_empty(given, "The table", image)
    pictures = [Path(root) / value if isinstance(value, str | Path) else value for value in given]
    plan = _Plan.of(graph, variables, list(values), size, mode, fit)
    called = partial(_called, f"'{image}'", pictures)
    return plan.gather(values, _pictures(plan, pictures, called, f"pictures in {Path(root).resolve()}", progress))


@checked
def from_items(
    items: Iterable[Any],
    image: str = "image",
    *,
    names: Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    graph: str | Path | CausalGraph | None = None,
    variables: Mapping[str, Variable] | None = None,
    mode: str | None = None,
    fit: Fit = "pad",
) -> Pictures:
    """Items one after another, each a mapping: a Hugging Face `Dataset`, a torch `Dataset`, a generator.

    Each picture is reduced to its bytes before the next is asked for.

    Args:
        items: An iterable of mappings of column -> value, all with the same columns; a finite torch `Dataset` too.
        image: The column of the picture.
        names: Of the parts of an item, where items are tuples: `("image", "digit")`.
        size: As for `from_folder`, like all that follows.
        graph: The causal graph.
        variables: column -> variable.
        mode: "RGB" or "L".
        fit: "pad", "crop", "stretch" or "exact".

    Raises:
        DataError: An item is no mapping, or has other columns than the first; and as for `from_folder`.

    Example:
        >>> from_items([(np.zeros((8, 8), np.uint8), i) for i in range(3)], names=("image", "digit"), size=8, mode="L")
        Pictures(digit: (3,), image: (3, 1, 8, 8))
    """
    rows: dict[str, list[Any]] = {}
    pixels: list[Tensor] = []
    plan: _Plan | None = None
    for row, item in enumerate(_mappings(items, names)):
        if plan is None:
            _require([image], item, "Item 0")
            rows = {name: [] for name in item if name != image}
            plan = _Plan.of(graph, variables, list(rows), size, mode, fit)
        if item.keys() != {*rows, image}:
            raise DataError(f"Item {row} has {sorted(item)}: expected {sorted([*rows, image])}, as the first has.")
        pixels.append(torch.from_numpy(plan.decode(item[image], f"'{image}' of item {row}")))
        for name, values in rows.items():
            value = item[name]
            values.append(value.item() if isinstance(value, Tensor) and value.ndim == 0 else value)
    if plan is None:
        raise DataError("There are no items. Give at least one.")
    return plan.gather({name: np.asarray(values) for name, values in rows.items()}, torch.stack(pixels))


def folder_splits(root: str | Path, table: str = "metadata.csv") -> list[str]:
    """The splits of a folder: those its column `split` names, or its folders that have a table of their own.

    Raises:
        MissingFileError: There is no such folder, or no table in it.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise MissingFileError(f"There is no folder {root}.")
    if (root / table).is_file():
        return sorted({str(name) for name in _table(root / table).get(SPLIT, [])})
    inside = sorted(path.parent.name for path in root.glob(f"*/{table}"))
    if not inside:
        raise MissingFileError(f"There is no {table} in {root}. {_CONVENTION}")
    return inside


def folder_table(
    root: str | Path, table: str, variables: Mapping[str, Variable], split: str | None
) -> tuple[Path, dict[str, Any]]:
    """The columns of a folder's table, those of one split's rows alone, and the folder its file names start from.

    Raises:
        MissingFileError: There is no such folder, or no table in it.
        DataError: There is no such split, no rows, or no column of file names.
    """
    root = Path(root).expanduser()
    known = folder_splits(root, table)
    if split is not None and split not in known:
        has = f"It has {known}." if known else f"Add a column '{SPLIT}' to {table}, or leave the split out."
        raise DataError(f"{root} has no split '{split}'. {has}")
    inside = not (root / table).is_file()
    if inside and split is None:
        raise DataError(f"{root} has no {table} of its own, but splits that have: name one, split={known[0]!r}.")
    folder = root / split if inside and split else root
    values = _table(folder / table, variables)
    _require([FILE_NAME], values, str(folder / table), _CONVENTION)
    if split is not None and not inside:
        chosen = np.flatnonzero([str(name) == split for name in values[SPLIT]])
        values = {name: value[chosen] for name, value in values.items()}
    if not len(values[FILE_NAME]):
        raise DataError(f"{folder / table} has no rows. Add one for each picture.")
    return folder, values


@dataclass(frozen=True)
class _Plan:
    """The plan for reading a folder: a graph with its image's node, and how pictures become images."""

    graph: CausalGraph
    node: str
    variable: Image
    variables: Mapping[str, Variable]
    names: list[str]
    fit: Fit
    asked: bool  # whether somebody gave the graph; without one, columns that are no variable are left out

    @classmethod
    def of(
        cls,
        graph: str | Path | CausalGraph | None,
        variables: Mapping[str, Variable] | None,
        names: list[str],
        size: int | tuple[int, int] | None,
        mode: str | None,
        fit: Fit,
    ) -> _Plan:
        """Checked before any picture is read.

        Raises:
            DataError: The table lacks a node, the graph has no image or several, or the arguments contradict it.
        """
        if fit not in get_args(Fit):
            raise DataError(f"fit={fit!r}: choose one of {list(get_args(Fit))}.")
        given = load_graph(graph) if isinstance(graph, str | Path) else graph
        if given is None and "image" in names:
            raise DataError("A column is called 'image', as the node of the pictures is. Rename or drop it.")
        asked = given is not None
        given = _without_edges([*names, "image"]) if given is None else given
        declared = {**given.variables, **(variables or {})}
        node = _image_node(given, declared)
        others = [name for name in given.nodes if name != node]
        _require(others, dict.fromkeys(names), "The table", f"The graph's nodes are {list(given.nodes)}.")
        strange = [name for name in variables or {} if name not in given]
        if strange:
            raise DataError(f"variables= declares {strange}, which are not among {list(given.nodes)}.")
        return cls(given, node, _image(node, declared.get(node), size, mode), declared, others, fit, asked)

    @property
    def decode(self) -> partial[NDArray[np.uint8]]:
        """What makes bytes of the image's shape of one picture, given what to call it."""
        mode = "L" if self.variable.channels == 1 else "RGB"
        return partial(as_pixels, size=(self.variable.height, self.variable.width), mode=mode, fit=self.fit)

    def gather(self, values: Mapping[str, Any], pixels: Tensor | Column) -> Pictures:
        """The data set of a table's columns and all its pictures."""
        told: dict[str, Variable] = {}
        for name in [name for name in self.names if name not in self.variables]:
            try:
                told |= infer_variables(values, [name])
            except DataError as error:
                if self.asked:
                    raise
                warnings.warn(f"Left out: {error}", CausalCFWarning, stacklevel=callers_line())
        variables = {**told, **self.variables}
        names = [name for name in self.names if name in variables]
        attributes = read({name: values[name] for name in names}, {name: variables[name] for name in names})
        rows = {**attributes, self.node: pixels}
        graph = self.graph if self.asked else _without_edges([*names, self.node])
        graph = graph.with_variables({**variables, self.node: self.variable})
        return Pictures({name: rows[name] for name in graph.nodes}, graph)


def _variables_of(graph: str | Path | CausalGraph | None) -> Mapping[str, Variable]:
    if graph is None:
        return {}
    return (graph if isinstance(graph, CausalGraph) else load_graph(graph)).variables


def _without_edges(names: Sequence[str]) -> CausalGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    return CausalGraph(graph)


def _image_node(graph: CausalGraph, variables: Mapping[str, Variable]) -> str:
    """The node of the pictures: the one declared an Image, or else `image`."""
    images = [node for node, variable in variables.items() if isinstance(variable, Image)]
    if len(images) > 1 or (not images and "image" not in graph):
        raise DataError(
            f"The graph has {'several images, ' + str(images) if images else 'no image'} among {list(graph.nodes)}:"
            " expected one node that is declared an Image, or called 'image'."
        )
    return images[0] if images else "image"


def _image(node: str, declared: Variable | None, size: int | tuple[int, int] | None, mode: str | None) -> Image:
    """The image's variable: as declared, as asked for, and never both if they differ."""
    if mode is not None and mode not in CHANNELS:
        raise DataError(f"mode={mode!r}: choose one of {list(CHANNELS)}.")
    asked = (size, size) if isinstance(size, int) else size
    if declared is None:
        return Image(CHANNELS[mode or "RGB"], *(asked or (64, 64)))
    if not isinstance(declared, Image) or declared.channels not in CHANNELS.values():
        raise DataError(f"'{node}' is {declared}: expected an Image of 1 channel (grey) or 3 (colour).")
    wanted = Image(CHANNELS[mode] if mode else declared.channels, *(asked or (declared.height, declared.width)))
    if wanted.event_shape != declared.event_shape:
        raise DataError(
            f"'{node}' is declared {declared.event_shape}, and size= and mode= ask for {wanted.event_shape}."
            " Leave them out, or change the graph."
        )
    return declared


def _table(path: Path, variables: Mapping[str, Variable] | None = None) -> dict[str, Any]:
    """A table's columns; names of files and splits stay text even if they look like numbers."""
    text = Categorical(["", "text"])  # what `read_csv` leaves as it is written
    return dict(read_csv(path, {**(variables or {}), FILE_NAME: text, SPLIT: text}))


def _refuse_empty(pictures: Sequence[Any], what: str, column: str) -> None:
    """Raise `DataError` if rows have no picture."""
    empty = [
        row
        for row, value in enumerate(pictures)
        if value is None or (isinstance(value, str) and not value.strip()) or isinstance(value, float)  # NaN
    ]
    if empty:
        raise DataError(
            f"{what}: {len(empty)} of {len(pictures)} rows have no picture, the first is row {empty[0]} (counted from"
            f" 0): '{column}' is empty. Name its picture, or drop the row."
        )


def _require(wanted: Sequence[str], there: Iterable[str], what: str, remedy: str = "") -> None:
    """Raise `DataError` if a column is not there, with the one that is likely meant."""
    there = list(there)
    missing = [name for name in wanted if name not in there]
    if missing:
        close = difflib.get_close_matches(missing[0], there, 1)
        meant = f" Was '{close[0]}' meant?" if close else ""
        shown = f"a column '{missing[0]}'" if len(missing) == 1 else f"the columns {missing}"
        raise DataError(f"{what} lacks {shown}; it has {there}.{meant} {remedy}".rstrip())


def _mappings(items: Iterable[Any], names: Sequence[str] | None) -> Iterator[Mapping[str, Any]]:
    """The items as mappings; a torch Dataset, which may know no end, by its length."""
    by_number = hasattr(items, "__len__") and hasattr(items, "__getitem__") and not hasattr(items, "__iter__")
    for row, item in enumerate((items[i] for i in range(len(items))) if by_number else items):  # type: ignore[index, arg-type]
        if isinstance(item, Mapping):
            yield item
        elif names is not None and isinstance(item, Sequence) and len(item) == len(names):
            yield dict(zip(names, item, strict=True))
        else:
            parts = f" of {len(item)} parts" if isinstance(item, Sequence) and not isinstance(item, str) else ""
            raise DataError(
                f"Item {row} is {type(item).__name__}{parts}: expected a mapping of column -> value, or a tuple with a"
                " name for each part, names=('image', ...)."
            )


def _pictures(
    plan: _Plan, pictures: Sequence[Any], called: Callable[[int], str], what: str, show: bool
) -> Tensor | Column:
    """Pictures as bytes (N, *shape): read from their files when they are asked for, or at once if they are in memory.

    Raises:
        MissingFileError, DataError: The first picture that cannot be read, and how many more there are.
    """
    from rich.console import Console
    from rich.progress import track

    if all(isinstance(picture, Path) for picture in pictures):
        return Column(Decoded(pictures, plan.decode, plan.variable.event_shape, called, what))
    console, rows = Console(stderr=True), range(len(pictures))
    shown = track(rows, "pictures", console=console, disable=not (show and console.is_terminal))
    return torch.stack([torch.from_numpy(plan.decode(pictures[row], called(row))) for row in shown])


def _called(source: str, pictures: Sequence[Any], row: int) -> str:
    """What a row's picture is called in errors."""
    shown = f", {str(pictures[row])!r}" if isinstance(pictures[row], str | Path) else ""
    return f"{source}, row {row} (counted from 0){shown}"
