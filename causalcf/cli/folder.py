"""A folder of pictures with a table, where the command line takes a data set; and the draft of a graph file for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from causalcf.catalogue import DATASETS
from causalcf.core.errors import DataError, GraphError

if TYPE_CHECKING:
    from causalcf.graph import CausalGraph
    from causalcf.variables import Variable

__all__ = ["data_cache", "draft", "is_folder", "load_folder", "test_split"]

_LARGEST = 128
"""Side of pictures, px, up to which a draft keeps their size: larger ones train for long."""


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder rather than of a data set; `./digits` is a folder."""
    return name not in DATASETS and Path(name).is_dir()


def load_folder(
    name: str, split: str, variables: Mapping[str, Variable], nodes: Collection[str], fit: str | None = None
) -> Any:
    """The rows of a folder: of a split, or all of them for training if it has none.

    Args:
        name: The folder.
        split: Its split; "train" and "" are all rows where there are no splits.
        variables: What the model says of its nodes; its image says how large the pictures become, and whether grey.
        nodes: The nodes to read; none for all columns.
        fit: What becomes of pictures of another size; they are padded by default.
    """
    import networkx as nx

    from causalcf.datasets.folder import folder_splits, from_folder
    from causalcf.graph import CausalGraph

    graph = None
    if nodes:
        wanted = nx.DiGraph()
        wanted.add_nodes_from(nodes)
        graph = CausalGraph(wanted, variables)
    whole = split in ("", "train") and not folder_splits(name)
    return from_folder(name, graph=graph, split=None if whole else split, fit=fit or "pad")  # type: ignore[arg-type]


def test_split(name: str) -> str | None:
    """The split to ask about where none is named: "test" if the folder has splits."""
    from causalcf.datasets.folder import folder_splits

    return "test" if folder_splits(name) else None


def data_cache(
    clear: Annotated[bool, typer.Option("--clear", help="Empty it.")] = False,
) -> None:
    """List the decoded pictures that are kept on this machine, or sweep them away.

    Pictures are decoded once. They lie in $CAUSALCF_CACHE, or in the platform's cache folder.
    """
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    from causalcf.datasets import cache

    if clear:
        typer.echo(f"{cache.clear()} sets of pictures removed from {cache.cache_folder()}")
        return
    table = Table("pictures", "shape", "fit", "decoded", "MB", "last used")
    table.columns[0].overflow = "fold"
    for entry in cache.entries():
        about, used = entry.about, f"{datetime.fromtimestamp(entry.used()):%Y-%m-%d %H:%M}"
        rows, *shape = about.get("shape", (0,))
        what, how = str(about.get("what", "not whole")), str(about.get("decoded", {}).get("fit", ""))
        decoded, size = f"{entry.kept():,} of {rows:,}", f"{entry.size() / 1e6:,.1f}"
        table.add_row(what, " x ".join(map(str, shape)), how, decoded, size, used)
    Console().print(table)
    typer.echo(cache.cache_folder())


def draft(
    data: Annotated[str, typer.Argument(help="A folder of pictures with metadata.csv, or a CSV file.")],
    out: Annotated[Path, typer.Option(help="The graph file to write (.json).")],
    edge: Annotated[
        list[str] | None,
        typer.Option(help="cause:effect, again for another; the pictures are called image: --edge age:image."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Height and width of the images, px; by default the pictures', or 64.", min=1)
    ] = None,
    grey: Annotated[bool | None, typer.Option(help="Grey or colour; by default as the pictures are.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Draft a graph file for your own data: your edges, with variables told from the values.

    Nodes are the columns that an edge names. What was guessed is printed: correct it in the file.
    """
    import networkx as nx
    from rich.console import Console
    from rich.table import Table

    from causalcf.graph import CausalGraph

    if out.suffix != ".json":
        raise DataError(f"--out {out}: a graph file ends in .json.")
    if out.exists() and not force:
        raise DataError(f"--out {out} is there already. Write over it with --force, or name another file.")
    edges = [_edge(text) for text in edge or ()]
    guesses = _guesses(data, [node for pair in edges for node in pair], size, grey)
    graph = nx.DiGraph()
    graph.add_nodes_from(guesses)
    graph.add_edges_from(edges)
    drafted = CausalGraph(graph, {node: variable for node, (variable, _) in guesses.items()}, name=out.stem)
    drafted.save(out)
    table = Table("node", "guessed", "because", "causes", title="Guesses: correct them in the file")
    for node in drafted.nodes:
        variable, why = guesses[node]
        table.add_row(node, variable.kind, why, ", ".join(drafted.parents(node)))
    Console().print(table)
    typer.echo(_next(drafted, data, out))
    typer.echo(out)


def _edge(text: str) -> tuple[str, str]:
    cause, colon, effect = (part.strip() for part in text.partition(":"))
    if not (cause and colon and effect):
        raise GraphError(f"--edge {text}: write cause:effect, such as --edge age:image.")
    return cause, effect


def _guesses(data: str, wanted: list[str], size: int | None, grey: bool | None) -> dict[str, tuple[Variable, str]]:
    """node -> its variable, and why it was chosen; all columns if no edge names one."""
    from causalcf.data import read_csv
    from causalcf.datasets.folder import FILE_NAME, SPLIT, folder_splits, folder_table

    folder = Path(data).is_dir()
    if folder:
        splits = folder_splits(data)
        inside = splits[0] if not (Path(data) / "metadata.csv").is_file() else None
        place, columns = folder_table(data, "metadata.csv", {}, inside)
        files = [place / str(name) for name in columns.pop(FILE_NAME)]
        columns.pop(SPLIT, None)
    else:
        columns = dict(read_csv(data))
    nodes = list(dict.fromkeys(wanted)) or [*columns, *(["image"] if folder else [])]
    there = [*columns, *(["image"] if folder else [])]
    unknown = [node for node in nodes if node not in there]
    if unknown:
        raise DataError(f"--edge: {data} has no column {unknown[0]!r}. It has {there}.")
    guesses: dict[str, tuple[Variable, str]] = {}
    for node in nodes:
        try:
            image = folder and node == "image"
            guesses[node] = _guess_image(files, size, grey) if image else _guess(node, columns[node])
        except DataError as error:
            if node in wanted or node == "image":
                raise
            typer.echo(f"Left out: {error}", err=True)
    return guesses


def _guess(node: str, values: Any) -> tuple[Variable, str]:
    """A column's variable: as a model would tell it, but 0 and 1 are false and true."""
    from causalcf.data import infer
    from causalcf.variables.codes import Boolean

    found = infer({node: values}, [node])[node]
    if not found.variable.discrete and {float(value) for value in values} == {0.0, 1.0}:
        return Boolean(), "only 0 and 1"
    return found.variable, f"{found.why}. {found.doubt}" if found.doubt else found.why


def _guess_image(files: list[Path], size: int | None, grey: bool | None) -> tuple[Variable, str]:
    """The image: as large as the pictures, if all have one size that is not large; grey, if the first hundred are."""
    from PIL import Image as Pillow

    from causalcf.core.errors import MissingFileError
    from causalcf.variables.image import Image

    sizes, modes = set(), set()
    for path in files[:100]:
        try:
            with Pillow.open(path) as picture:
                sizes.add((picture.height, picture.width))
                modes.add(picture.mode)
        except FileNotFoundError:
            raise MissingFileError(f"There is no picture {path}.") from None
        except OSError:
            raise DataError(f"{path} is no picture that can be read. Replace it, or drop its row.") from None
    (height, width), most = min(sizes), max(sizes)
    if size or (height, width) != most or max(most) > _LARGEST:
        height = width = size or 64
    if grey is None:
        grey = all(mode in ("1", "L", "LA") or mode.startswith("I") for mode in modes)
    least = min(sizes)
    sides = f"{least[0]} x {least[1]}" + (f" to {most[0]} x {most[1]}" if most != least else "")
    how = "" if sizes == {(height, width)} else ", padded with black to"
    shape = f" {height} x {width}" if how else ""
    return Image(1 if grey else 3, height, width), f"{'grey' if grey else 'colour'}, {sides} px{how}{shape}"


def _next(graph: CausalGraph, data: str, out: Path) -> str:
    """The next command for the user, given the new graph."""
    if not graph.edges:
        return "No edges yet: no column causes another. Name what you believe: --edge cause:effect."
    image = " --mechanism image=VAE" if "image" in graph else ""
    return f"Then: causalcf fit {out} --data {data}{image} --out model.safetensors"
