"""`causalcf trust`: whether to trust a model, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from causalcf.cli.load import load_model, load_split, of_sheet
from causalcf.cli.options import DataName, Device, Encoding, Key, Missing, Model, Root, Seed, Split
from causalcf.core.errors import DataError

__all__ = ["trust"]


def trust(
    model: Model,
    data: DataName,
    root: Root = None,
    split: Split = None,
    n: Annotated[int, typer.Option(help="Most rows to look at.", min=100)] = 1000,
    out: Annotated[Path, typer.Option("--out", help="The page to write (.html).")] = Path("trust.html"),
    encoding: Encoding = None,
    missing: Missing = None,
    key: Key = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Whether to trust a model: does the data contradict its graph, does it fit, and what can data not tell?

    Give rows that it was not fitted on. Prints a verdict, and writes one page with all that was looked at.
    """
    from causalcf.trust import trust_report

    if out.suffix != ".html":
        raise DataError(f"--out {out}: the report is a page, .html.")
    scm = load_model(model, device)
    sheet = of_sheet(encoding=encoding, missing=missing, key=key)
    rows, source = load_split(data, root, split, scm.variables, **sheet)
    report = trust_report(scm, rows, n=n, seed=seed, model=model, source=source)
    typer.echo(str(report))
    typer.echo(report.save(out))
