"""Make the course's notebooks from their sources.

The sources are Python scripts in jupytext's percent format, so that changes can be read line by line. The notebooks
are written to `examples/course/notebooks/`, which git ignores.

Run it: python examples/course/make.py
With outputs and pictures inside: python examples/course/make.py --run
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import jupytext
import typer

HERE = Path(__file__).parent


def sources(chosen: list[str]) -> list[Path]:
    """The scripts in their order; of names such as `05`, those that begin so."""
    found = sorted(HERE.glob("[0-9][0-9]_*.py"))
    picked = [
        path for path in found if not chosen or any(path.name.startswith(name) for name in chosen)
    ]
    if not picked:
        raise typer.BadParameter(
            f"No page begins with {chosen}. There are {[path.stem for path in found]}."
        )
    return picked


def make(source: Path, out: Path, *, run: bool) -> Path:
    """Write one notebook, executed or not."""
    notebook = jupytext.read(source)
    if run:
        from nbclient import NotebookClient

        NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(out)}}
        ).execute()
    path = out / f"{source.stem}.ipynb"
    jupytext.write(notebook, path)
    return path


def main(
    chosen: Annotated[
        list[str] | None,
        typer.Argument(help="Pages, by the beginning of their names; all if none."),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Execute them, so that pictures are inside.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the notebooks.")] = HERE / "notebooks",
) -> None:
    """Make the course's notebooks from their sources."""
    out.mkdir(parents=True, exist_ok=True)
    for source in sources(chosen or []):
        started = time.perf_counter()
        path = make(source, out, run=run)
        typer.echo(f"{path} ({time.perf_counter() - started:.1f} s)")


if __name__ == "__main__":
    typer.run(main)
