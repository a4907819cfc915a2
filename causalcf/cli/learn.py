"""The commands that learn: fit, finetune, predictors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from causalcf.catalogue import DATASETS
from causalcf.cli.folder import is_folder
from causalcf.cli.load import fit_of, is_sheet, load_data, load_model, of_sheet
from causalcf.cli.options import (
    Balance,
    Compile,
    DataName,
    Device,
    Encoding,
    Epochs,
    FirstRows,
    Fit,
    Gaps,
    Half,
    Key,
    Missing,
    Precision,
    Quiet,
    Resume,
    Root,
    Seed,
    Threads,
    Validation,
)
from causalcf.cli.parse import parse_epochs, parse_mechanisms, parse_residual, parse_weights
from causalcf.core.errors import DataError

if TYPE_CHECKING:
    from causalcf.scm.model import StructuralCausalModel

__all__ = ["finetune", "fit", "train_predictors"]


def fit(
    graph: Annotated[str, typer.Argument(help="A graph's name (see `causalcf graphs`) or a graph file.")],
    data: DataName,
    out: Annotated[Path, typer.Option(help="File for the fitted model (.safetensors).")],
    root: Root = None,
    mechanism: Annotated[
        list[str] | None,
        typer.Option(
            help="node=Name, such as image=VAE, 'image=VAE(latent=32)' or \"image=HVAE.preset('32')\"; the rest follow."
        ),
    ] = None,
    epochs: Annotated[
        list[str] | None, typer.Option(help="Passes over the data: a number for all nodes, or node=number.")
    ] = None,
    balance: Balance = None,
    rows: FirstRows = None,
    fit: Fit = None,
    validation: Validation = 0.1,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Precision = "32-true",
    threads: Threads = None,
    resume: Resume = False,
    compile: Compile = False,
    half: Half = None,
    encoding: Encoding = None,
    missing: Missing = None,
    gaps: Gaps = "refuse",
    key: Key = None,
    quiet: Quiet = False,
) -> None:
    """Fit a causal model to data and write it to a file, with its training curves beside it."""
    from causalcf.datasets import Dataset
    from causalcf.scm.incomplete import without_gaps
    from causalcf.scm.learning import declare
    from causalcf.scm.model import StructuralCausalModel

    _prepare_training(out, threads)
    mechanisms = parse_mechanisms(mechanism or [])
    _balance(mechanisms, balance or [])
    scm = StructuralCausalModel(graph, mechanisms=mechanisms)
    _check_half(scm, half)
    sheet = of_sheet(encoding=encoding, missing=missing, key=key)
    table = load_data(data, root, "train", scm.variables, nodes=scm.graph.nodes, fit=fit, **sheet)
    chosen, by_model = table.select(slice(rows)), gaps != "refuse"
    if len(scm.variables) < len(scm.graph.nodes):
        known = table if isinstance(table, Dataset) else without_gaps(scm.graph, chosen) if by_model else chosen
        declared = declare(scm.graph, known)
        typer.echo(declared.describe())
        scm = StructuralCausalModel(declared, mechanisms=mechanisms)
    checkpoint = out.with_suffix(".checkpoint")
    scm.fit(
        chosen,
        validation=validation,
        epochs=parse_epochs(epochs or [], scm.graph.nodes),
        seed=seed,
        device=device,
        precision=precision,
        checkpoint=None if by_model else checkpoint,
        resume=resume,
        compile=compile,
        missing=gaps,
        progress=not quiet,
    )
    _write_model(scm, out, data, half, fit)
    checkpoint.unlink(missing_ok=True)


def _balance(mechanisms: dict[str, Any], balance: list[str]) -> None:
    """Give the mechanisms that are named a recipe whose rows are balanced.

    Raises:
        DataError: There is something to balance, and no mechanism is named.
    """
    from dataclasses import replace

    from causalcf.training import recipe_of

    if balance and not mechanisms:
        raise DataError(f"--balance {balance[0]}: name the mechanism that it is for, --mechanism image=VAE.")
    for mechanism in mechanisms.values():
        mechanism.recipe = replace(recipe_of(mechanism), balance=tuple(balance))


def _prepare_training(out: Path, threads: int | None) -> None:
    """Raise if `out` is not the name of a model file; set the number of CPU threads."""
    import torch

    if out.suffix != ".safetensors":
        raise DataError(f"--out {out}: a model file ends in .safetensors.")
    if threads is not None:
        torch.set_num_threads(threads)


def _check_half(scm: StructuralCausalModel, half: list[str] | None) -> None:
    """Raise, before anything is trained, if a node to store in half precision is not in the graph."""
    for node in half or ():
        scm.graph.require(node)


def _write_model(scm: StructuralCausalModel, out: Path, data: str, half: list[str] | None, fit: str | None) -> None:
    """A model's file, its training curves beside it, and a summary on the screen."""
    from causalcf.plots import plot_history, save_figure
    from causalcf.report import print_fit

    scm.provenance |= {"data": data} | ({"fit": fit} if fit else {})  # so that questions read pictures likewise
    scm.save(out, half=half or ())
    print_fit(scm)
    curves = out.with_suffix(".png")
    if any(record["epoch"] for record in scm.history):
        save_figure(plot_history(scm.history), curves, scm.provenance)
        typer.echo(curves)
    typer.echo(out)


def finetune(
    model: Annotated[str, typer.Argument(help="A fitted model's file, or the name of a reference model.")],
    data: DataName,
    out: Annotated[Path, typer.Option(help="File for the fine-tuned model (.safetensors).")],
    root: Root = None,
    predictors: Annotated[
        str | None,
        typer.Option(
            help="A data set's name or a folder of predictors trained with --part tune; by default those of the data."
        ),
    ] = None,
    node: Annotated[str | None, typer.Option(help="The image to fine-tune; by default the only one.")] = None,
    do: Annotated[
        list[str] | None,
        typer.Option(help="Node to act on in training, or node=how often in proportion; by default all predicted."),
    ] = None,
    slack: Annotated[
        float | None,
        typer.Option(help="How far the image's own objective may end above its level (VAE: nats per pixel)."),
    ] = None,
    residual: Annotated[
        str | None,
        typer.Option(
            help="The residual to tune with: a scale, or lengths over which it fades, thickness=1,digit=0. By default"
            " half of the rows carry it whole, and half go without."
        ),
    ] = None,
    epochs: Epochs = None,
    rows: FirstRows = None,
    fit: Fit = None,
    validation: Validation = 0.1,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Precision = "32-true",
    threads: Threads = None,
    resume: Resume = False,
    compile: Compile = False,
    half: Half = None,
    quiet: Quiet = False,
) -> None:
    """Teach a fitted image mechanism to obey actions that it ignores.

    Predictors read the image's causes back from counterfactuals, and their error is minimised while the mechanism's
    own objective is held near its level by a Lagrange multiplier. They share no training rows with the judges.
    """
    from causalcf.predictors import pretrained

    _prepare_training(out, threads)
    scm = load_model(model, device)
    _check_half(scm, half)
    given = predictors or data
    folder = given if Path(given).is_dir() else None
    fit = fit_of(fit, scm, data)
    table = load_data(data, root, "train", scm.variables, nodes=scm.graph.nodes, fit=fit)
    checkpoint = out.with_suffix(".checkpoint")
    options: dict[str, Any] = {} if slack is None else {"slack": slack}
    scm.finetune(
        table.select(slice(rows)),
        pretrained(data if folder else given, which="tune", folder=folder, device=device),
        node=node,
        actions=parse_weights(do or []),
        residual=None if residual is None else parse_residual(residual),
        epochs=epochs,
        validation=validation,
        seed=seed,
        device=device,
        precision=precision,
        checkpoint=checkpoint,
        resume=resume,
        compile=compile,
        progress=not quiet,
        **options,
    )
    _write_model(scm, out, data, half, fit)
    checkpoint.unlink(missing_ok=True)


def train_predictors(
    data: Annotated[
        str,
        typer.Argument(
            help=f"A data set with images: {', '.join(name for name, source in DATASETS.items() if source.image)}; or"
            " a folder of pictures with metadata.csv, with --graph."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the predictors, one file each; made if it does not exist.")],
    root: Root = None,
    graph: Annotated[str | None, typer.Option(help="The graph file of a folder of pictures.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="Node to predict; by default the image's causes.")] = None,
    part: Annotated[
        str, typer.Option(help="Rows to train on: judge (five sixths), tune (the other sixth), all.")
    ] = "judge",
    epochs: Epochs = None,
    balance: Balance = None,
    fit: Fit = None,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Annotated[
        str | None,
        typer.Option(help="32-true or bf16-mixed; by default bf16-mixed on a GPU and 32-true elsewhere, as is faster."),
    ] = None,
    threads: Threads = None,
    resume: Annotated[bool, typer.Option(help="Go on from a killed run's checkpoints.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train anti-causal predictors: networks that read an image's causes back, to judge counterfactuals.

    Judges and predictors that guide fine-tuning share no training rows.
    """
    from dataclasses import replace

    import torch

    from causalcf import predictors
    from causalcf.training import recipe_of

    if threads is not None:
        torch.set_num_threads(threads)
    if is_sheet(data):
        raise DataError(f"{data}: a CSV file has no images to read causes back from. Name a data set.")
    train, test = _train_and_test(data, root, graph, fit)
    for predictor in predictors.planned(data, train.graph, target):
        path = out / predictors.file_name(data, predictor.target, part)  # type: ignore[arg-type]
        checkpoint = path.with_suffix(".checkpoint")
        predictors.fit(
            predictor,
            train,
            which=part,  # type: ignore[arg-type]
            test=test,
            name=data,
            recipe=replace(recipe_of(predictor, epochs), balance=tuple(balance or ())),  # type: ignore[arg-type]
            seed=seed,
            device=device,
            precision=precision or ("bf16-mixed" if device.startswith("cuda") else "32-true"),
            checkpoint=checkpoint,
            resume=resume,
            progress=not quiet,
        )
        predictor.save(path)
        checkpoint.unlink(missing_ok=True)
        typer.echo(f"{path}: {predictor.score}")
        for said in predictor.score.classes if predictor.score else ():
            typer.echo(f"  {said}")


def _train_and_test(data: str, root: Path | None, graph: str | None, fit: str | None) -> tuple[Any, Any]:
    """Both splits of a data set; a folder of pictures is read by its graph file.

    Raises:
        DataError: A folder without a graph, or without splits; or a graph for a data set that has its own.
    """
    if not is_folder(data):
        if graph is not None:
            raise DataError(f"--graph {graph}: '{data}' has its own graph. Leave the option out.")
        return load_data(data, root, "train", fit=fit), load_data(data, root, "test", fit=fit)
    if graph is None:
        raise DataError(f"{data}: which columns cause the image? Name the graph file: --graph FILE.json.")
    from causalcf.datasets import from_folder

    how: Any = fit or "pad"
    train = from_folder(data, graph=graph, split="train", fit=how)
    return train, from_folder(data, graph=train.graph, split="test", fit=how)
