"""The commands that ask a model: graphs, counterfactual, explain; and those that make data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from causalcf.cli.load import (
    acted_values,
    fit_of,
    load_classifier,
    load_data,
    load_model,
    load_split,
    of_sheet,
    truth_of,
)
from causalcf.cli.options import DataName, Device, Encoding, Fit, Key, Missing, Model, Out, Quiet, Root, Seed, Split
from causalcf.cli.parse import parse_do, parse_explainer, parse_residual, parse_target, slice_rows
from causalcf.core.errors import DataError

__all__ = ["counterfactual", "data_faces", "data_morphomnist", "demo", "explain", "graphs"]


def demo(
    out: Out = Path("causalcf-demo"),
    seed: Seed = 0,
    epochs: Annotated[int, typer.Option(help="Passes of the image model over the data.", min=0)] = 16,
    quiet: Quiet = False,
) -> None:
    """A counterfactual image in seconds, and from nothing to a scored one in a minute; needs no download.

    Takes real handwritten digits that scikit-learn installs, draws them anew with a known thickness
    and intensity, and asks what each would have been with other strokes: first a model that comes along,
    then one that is fitted here. Both answers are compared with the truth.
    """
    from causalcf.cli.demo import run_demo

    run_demo(out, seed=seed, epochs=epochs, progress=not quiet)


def graphs(
    name: Annotated[str | None, typer.Argument(help="A graph's name or the path of a graph file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Draw it to this PNG or SVG.")] = None,
    do: Annotated[list[str] | None, typer.Option(help="Draw the graph after acting on this node.")] = None,
) -> None:
    """List the causal graphs that come along; with a name, check, describe and draw one."""
    from rich.console import Console
    from rich.table import Table

    from causalcf.graph import graph_names, load_graph
    from causalcf.variables.codes import Categorical

    console = Console()
    for option, given in (("--out", out), ("--do", do)):
        if name is None and given:
            raise DataError(f"{option}: which graph? Name one: causalcf graphs NAME --out FILE.")
    if do and out is None:
        raise DataError("--do: the graph is drawn after acting, to a file. Name it: --out FILE.png.")
    if name is None:
        table = Table("name", "nodes", "title")
        for known in graph_names():
            graph = load_graph(known)
            table.add_row(known, str(len(graph.nodes)), graph.title)
        console.print(table)
        return
    graph = load_graph(name)
    if out is not None:
        from causalcf.core.provenance import provenance
        from causalcf.plots import save_figure

        save_figure(graph.draw(do or []).figure, out, provenance(seed=None))
    table = Table(title=graph.title or graph.name)
    table.add_column("node", no_wrap=True)
    for heading in ("kind", "values", "causes"):
        table.add_column(heading, overflow="fold")
    for node, variable in graph.variables.items():
        values = ", ".join(variable.categories) if isinstance(variable, Categorical) else variable.support
        unit = f" ({variable.unit})" if variable.unit else ""
        table.add_row(node, variable.kind, values + unit, ", ".join(graph.parents(node)))
    console.print(table)
    if graph.reference:
        console.print(graph.reference, style="dim")
    if out is not None:
        typer.echo(out)


def data_faces(
    out: Annotated[Path, typer.Option(help="Folder for the new files; empty, or not there yet.")],
    layout: Annotated[
        str, typer.Option(help="folder: PNG files and metadata.csv; celeba: the files that CelebA is distributed as.")
    ] = "folder",
    rows: Annotated[int, typer.Option(help="How many faces; 80 % train, 10 % valid, 10 % test.", min=10)] = 10_000,
    size: Annotated[int, typer.Option(help="Height and width in px, for the layout folder.", min=8)] = 64,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw faces of known sex, age, smile, eyeglasses, beard, baldness and hair, and write them as files."""
    from causalcf.datasets.faces import write

    typer.echo(write(out, layout, rows=rows, size=size, seed=seed, progress=not quiet))  # type: ignore[arg-type]


def data_morphomnist(
    mnist: Annotated[Path, typer.Option(help="Folder of plain MNIST (IDX files, gzipped or not).")],
    out: Annotated[Path, typer.Option(help="Folder for the new files.")],
    mode: Annotated[str, typer.Option(help="published: as the published data; fast: ten times as fast.")] = "published",
    splits: Annotated[list[str] | None, typer.Option("--split", help="train or test; both by default.")] = None,
    values: Annotated[
        Path | None, typer.Option(help="Folder of morpho.csv tables to take thickness and intensity from.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Make MorphoMNIST from plain MNIST: strokes redrawn with known thickness and intensity.

    Work is kept in shards: a run that is killed goes on where it stopped.
    """
    from causalcf.datasets import make_morphomnist

    made = make_morphomnist(
        mnist,
        out,
        mode=mode,  # type: ignore[arg-type]
        splits=splits or ("train", "test"),  # type: ignore[arg-type]
        values=values,
        seed=seed,
        workers=workers,
        progress=not quiet,
    )
    for path in made:
        typer.echo(path)


def counterfactual(
    model: Model,
    data: DataName,
    do: Annotated[
        list[str],
        typer.Option(
            metavar="ACTIONS",
            help="What is done in one world: 'thickness=4,digit=7', 'thickness+=1', 'intensity*=0.8'."
            " Give the option again for another world; every world starts from the same abduction.",
        ),
    ],
    root: Root = None,
    split: Split = None,
    rows: Annotated[
        str,
        typer.Option(
            help="Rows: a number, or start:stop; or all, which are streamed into shards in constant memory. A run that"
            " was killed then goes on where it stopped, and torchrun shares the work."
        ),
    ] = "6",
    out: Out = Path("counterfactual"),
    residual: Annotated[
        str,
        typer.Option(
            help="Scale of the residual noise, 1 being abduction, or lengths over which it fades: thickness=1,digit=0."
        ),
    ] = "1",
    num_samples: Annotated[int | None, typer.Option(help="Draws of a random counterfactual.")] = None,
    abduction: Annotated[str, typer.Option(help="mean or sample of amortised posteriors.")] = "mean",
    clip: Annotated[bool, typer.Option(help="Clip generated actions to the support instead of refusing.")] = False,
    truth: Annotated[bool, typer.Option(help="Show the true counterfactual too, where the data set knows it.")] = False,
    block: Annotated[int | None, typer.Option(help="With --rows all: rows asked about at once.", min=1)] = None,
    as_bytes: Annotated[
        bool, typer.Option("--bytes", help="With --rows all: images as bytes, a quarter of the space.")
    ] = False,
    fit: Fit = None,
    encoding: Encoding = None,
    missing: Missing = None,
    key: Key = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Ask what observed rows would have been under an action; write pictures and tables."""
    from causalcf.report import print_counterfactual, write_counterfactual
    from causalcf.training.processes import own

    whole = rows == "all"
    for option, given, fits in (("--truth", truth, not whole), ("--block", block, whole), ("--bytes", as_bytes, whole)):
        if given and not fits:
            raise DataError(f"{option} does not go with --rows {rows}. Leave one of them out.")
    scm = load_model(model, str(own(device)))
    sheet = of_sheet(encoding=encoding, missing=missing, key=key)
    table, source = load_split(data, root, split, scm.variables, fit=fit_of(fit, scm, data), **sheet)
    worlds = [parse_do(text, scm.variables) for text in do]
    asked: dict[str, Any] = {
        "residual": parse_residual(residual),
        "num_samples": num_samples,
        "abduction": abduction,
        "out_of_support": "clip" if clip else "raise",
        "seed": seed,
    }
    actions = worlds if len(worlds) > 1 else worlds[0]
    facts = {"model": model, "data": source, "rows": rows, "do": do}
    if whole:
        from causalcf.streaming import bulk

        typer.echo(bulk(scm, table, actions, out, block=block, as_bytes=as_bytes, facts=facts, **asked))
        return
    x = slice_rows(table, rows)
    cf = scm.counterfactual(x, actions, **asked)
    true = [truth_of(data, table, x, do) for do in acted_values(cf, worlds)] if truth else []
    print_counterfactual(cf)
    for path in write_counterfactual(cf, out, seed=seed, device=device, truth=true, **facts):
        typer.echo(path)


def explain(
    model: Model,
    data: DataName,
    target: Annotated[str, typer.Option(help="The class (or the value of a regression) to reach.")],
    method: Annotated[
        str,
        typer.Option(help="REVISE, Clarity, LoSoCs, C3LT, ...: 'Name', 'Name(key=value)', or a file made by --save."),
    ] = "REVISE",
    classifier: Annotated[
        str | None,
        typer.Option(
            help="What to explain: a predictor's file, or a Python file that defines `classifier`, a torch module"
            " giving logits; by default the predictor that comes along with the data."
        ),
    ] = None,
    node: Annotated[str | None, typer.Option(help="The node to explain; by default image.")] = None,
    root: Root = None,
    split: Split = None,
    rows: Annotated[str, typer.Option(help="Rows: a number, or start:stop.")] = "12",
    train_rows: Annotated[
        int | None, typer.Option(help="Train the method on the first rows of the train split.", min=1)
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="File (.safetensors) for what the method learned; give it as --method later.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Keep and show every step.")] = False,
    out: Out = Path("explanation"),
    fit: Fit = None,
    encoding: Encoding = None,
    missing: Missing = None,
    key: Key = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Ask what would have to change in an image for a classifier to call it something else.

    Rows that the classifier puts into the target already are left out.
    """
    from causalcf.explainers.scores import scores
    from causalcf.report import print_explanation, write_explanation

    _check_method(method, save, node, train_rows)
    scm = load_model(model, device)
    asked, variable = load_classifier(classifier, data, device)
    explainer = parse_explainer(method, scm, node=node or "image", classifier=asked, variable=variable)
    wanted = parse_target(target, variable)
    sheet = of_sheet(encoding=encoding, missing=missing, key=key)
    fit = fit_of(fit, scm, data)
    table, source = load_split(data, root, split, scm.variables, fit=fit, **sheet)
    x = slice_rows(table, rows)
    if not explainer.fitted:
        explainer.fit(load_data(data, root, "train", scm.variables, fit=fit, **sheet)[:train_rows], seed=seed)
    if save is not None:
        explainer.save(save)
    away = (explainer.predict(x) != wanted).cpu()
    if not bool(away.any()):
        raise DataError(f"--target {target}: the classifier puts all of these rows there already. Ask for others.")
    explanation = explainer.explain(x[away.nonzero()[:, 0]], wanted, seed=seed, stream=stream)
    scored = {} if explanation.query.explained.regression else scores(explanation)
    print_explanation(explanation, scored)
    facts = {"model": model, "data": source, "rows": rows, "target": target, "settings": method}
    facts["classifier"] = classifier or data
    for path in write_explanation(explanation, scored, out, device=device, **facts):
        typer.echo(path)


def _check_method(method: str, save: Path | None, node: str | None, train_rows: int | None) -> None:
    """Raise `DataError` for a file to save to with another ending, and for options that a fitted method settles."""
    if save is not None and save.suffix != ".safetensors":
        raise DataError(f"--save {save}: the file of a method ends in .safetensors.")
    if not method.endswith(".safetensors"):
        return
    for option, given in (("--node", node), ("--train-rows", train_rows)):
        if given is not None:
            raise DataError(f"{option} {given}: {method} holds a method that is fitted, and to its node. Leave it out.")
