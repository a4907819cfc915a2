"""The command line: the verbs of the API, with results as files that say how they were made.

torch and everything above it are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from causalcf.arguments import (
    acted_values,
    all_scores,
    load_classifier,
    load_data,
    load_model,
    load_split,
    named,
    parse_device,
    parse_do,
    parse_epochs,
    parse_explainer,
    parse_mechanisms,
    parse_residual,
    parse_target,
    parse_weights,
    slice_rows,
    truth_of,
)
from causalcf.errors import CausalCFError, DataError

if TYPE_CHECKING:
    from causalcf.scm import StructuralCausalModel

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
data_app = typer.Typer(help="Make data sets.", no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(data_app, name="data")
benchmark_app = typer.Typer(
    help="The papers' tables, ours beside theirs; and the leaderboard of true counterfactuals.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(benchmark_app, name="benchmark")

Out = Annotated[Path, typer.Option(help="Folder for the results; made if it does not exist.")]
Seed = Annotated[int, typer.Option(help="What every random choice follows from.")]
DataName = Annotated[
    str, typer.Option(help="A data set (digits, morphomnist, mnist, celeba, adult) or the path of a CSV file.")
]
Root = Annotated[Path | None, typer.Option(help="Folder of the data set; by default $CAUSALCF_DATA.")]
Split = Annotated[str | None, typer.Option(help="Which split of the data set; by default test.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Residuals = Annotated[
    list[str] | None,
    typer.Option(
        "--residual",
        help="A residual to score, again for another: a scale, 1 being abduction, or lengths over which it fades,"
        " thickness=1,digit=0. By default 1 and 0; for MorphoMNIST's tables also the lengths above.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.", callback=parse_device)]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", min=1)]
Precision = Annotated[str, typer.Option(help="32-true, bf16-mixed, 64-true.")]
Validation = Annotated[float, typer.Option(help="Share of the rows to validate on.")]
FirstRows = Annotated[int | None, typer.Option(help="Use only the first rows.", min=1)]
Epochs = Annotated[int | None, typer.Option(help="Passes over the data.", min=0)]
Resume = Annotated[bool, typer.Option(help="Go on from a killed run's checkpoint (OUT.checkpoint).")]
Half = Annotated[list[str] | None, typer.Option(help="Store this node's weights in half precision.")]

UsageError: Any = typer.BadParameter.__base__
"""What a wrong command line raises; typer brings its own copy of click, or uses click's."""


def main() -> None:
    """Entry point: bad input ends with one line on standard error and exit code 2."""
    warnings.showwarning = _show_warning
    try:
        sys.exit(app(prog_name="causalcf", standalone_mode=False))
    except UsageError as error:
        if error.__class__.__name__ == "NoArgsIsHelpError":  # a command without arguments: not an error to us
            error.show()
            sys.exit(2)
        where = error.ctx.command_path if error.ctx else "causalcf"
        _fail(f"{error.format_message().rstrip('.')}. Try: {where} --help", where)
    except (CausalCFError, OSError) as error:
        _fail(str(error))
    except typer.Abort:
        _fail("stopped.", code=130)


def _fail(message: str, where: str = "causalcf", code: int = 2) -> NoReturn:
    print(f"{where}: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Counterfactual images and explanations on structural causal models."""
    if version:
        from causalcf import __version__

        typer.echo(f"causalcf {__version__}")
        raise typer.Exit


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as one line, without the place in the library it comes from."""
    print(f"causalcf: warning: {message}", file=sys.stderr)  # noqa: T201


@app.command()
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
    from causalcf.demo import run_demo

    run_demo(out, seed=seed, epochs=epochs, progress=not quiet)


@app.command(epilog="Example: causalcf graphs front-door --out front-door.png --do smoking")
def graphs(
    name: Annotated[str | None, typer.Argument(help="A graph's name or the path of a graph file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Draw it to this PNG or SVG.")] = None,
    do: Annotated[list[str] | None, typer.Option(help="Draw the graph after acting on this node.")] = None,
) -> None:
    """List the causal graphs that come along; with a name, check, describe and draw one."""
    from rich.console import Console
    from rich.table import Table

    from causalcf.graph import graph_names, load_graph
    from causalcf.variables import Categorical

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
        from causalcf.plots import save_figure
        from causalcf.provenance import provenance

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


@data_app.command(
    "morphomnist", epilog="Example: causalcf data morphomnist --mnist data/mnist --out data/morphomnist --workers 4"
)
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


@app.command(
    epilog="Example: causalcf fit morphomnist --data digits --mechanism image=VAE --epochs image=40 --out m.safetensors"
)
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
    rows: FirstRows = None,
    validation: Validation = 0.1,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Precision = "32-true",
    threads: Threads = None,
    resume: Resume = False,
    half: Half = None,
    quiet: Quiet = False,
) -> None:
    """Fit a causal model to data and write it to a file, with its training curves beside it."""
    from causalcf.scm import StructuralCausalModel

    _prepare_training(out, threads)
    scm = StructuralCausalModel(graph, mechanisms=parse_mechanisms(mechanism or []))
    _check_half(scm, half)
    table = load_data(data, root, "train", scm.variables)
    checkpoint = out.with_suffix(".checkpoint")
    scm.fit(
        table[:rows],
        validation=validation,
        epochs=parse_epochs(epochs or [], scm.graph.nodes),
        seed=seed,
        device=device,
        precision=precision,
        checkpoint=checkpoint,
        resume=resume,
        progress=not quiet,
    )
    _write_model(scm, out, data, half)
    checkpoint.unlink(missing_ok=True)


def _prepare_training(out: Path, threads: int | None) -> None:
    """Refuse what is no model file, and set the number of CPU threads."""
    import torch

    if out.suffix != ".safetensors":
        raise DataError(f"--out {out}: a model file ends in .safetensors.")
    if threads is not None:
        torch.set_num_threads(threads)


def _check_half(scm: StructuralCausalModel, half: list[str] | None) -> None:
    """Refuse to store what is not there in half precision, before anything is trained."""
    for node in half or ():
        scm.graph.require(node)


def _write_model(scm: StructuralCausalModel, out: Path, data: str, half: list[str] | None) -> None:
    """A model's file, its training curves beside it, and a summary on the screen."""
    from causalcf.plots import plot_history, save_figure
    from causalcf.report import print_fit

    scm.provenance |= {"data": data}
    scm.save(out, half=half or ())
    print_fit(scm)
    curves = out.with_suffix(".png")
    if any(record["epoch"] for record in scm.history):
        save_figure(plot_history(scm.history), curves, scm.provenance)
        typer.echo(curves)
    typer.echo(out)


@app.command(
    epilog="Example: causalcf finetune morphomnist-vae --data morphomnist --do digit=2 --do thickness --do intensity"
    " --half image --out tuned.safetensors"
)
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
    validation: Validation = 0.1,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Precision = "32-true",
    threads: Threads = None,
    resume: Resume = False,
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
    table = load_data(data, root, "train", scm.variables)
    checkpoint = out.with_suffix(".checkpoint")
    options: dict[str, Any] = {} if slack is None else {"slack": slack}
    scm.finetune(
        table[:rows],
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
        progress=not quiet,
        **options,
    )
    _write_model(scm, out, data, half)
    checkpoint.unlink(missing_ok=True)


@app.command(
    epilog="Example, three worlds: causalcf counterfactual m.safetensors --data digits --do thickness=4"
    " --do intensity-=50 --do 'thickness*=0.5,digit=7'"
)
def counterfactual(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a reference model.")],
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
    rows: Annotated[str, typer.Option(help="Rows: a number, or start:stop.")] = "6",
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
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Ask what observed rows would have been, had something been done; write pictures and tables."""
    from causalcf.report import print_counterfactual, write_counterfactual

    scm = load_model(model, device)
    table, source = load_split(data, root, split, scm.variables)
    x = slice_rows(table, rows)
    worlds = [parse_do(text, scm.variables) for text in do]
    cf = scm.counterfactual(
        x,
        worlds if len(worlds) > 1 else worlds[0],
        residual=parse_residual(residual),
        num_samples=num_samples,
        abduction=abduction,  # type: ignore[arg-type]
        out_of_support="clip" if clip else "raise",
        seed=seed,
    )
    true = [truth_of(data, table, x, do) for do in acted_values(cf, worlds)] if truth else []
    print_counterfactual(cf)
    facts = {"model": model, "data": source, "rows": rows, "do": do}
    for path in write_counterfactual(cf, out, seed=seed, device=device, truth=true, **facts):
        typer.echo(path)


@app.command(
    epilog="Example: causalcf evaluate m.safetensors --data digits --n 297 --out scores.json; with judges:"
    " causalcf evaluate morphomnist-vae --data morphomnist --metric effectiveness --metric cld"
)
def evaluate(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a reference model.")],
    data: DataName,
    root: Root = None,
    split: Split = None,
    n: Annotated[int | None, typer.Option(help="Rows to score; by default 1,000, or all if there are fewer.")] = None,
    do: Annotated[
        list[str] | None,
        typer.Option(help="Nodes to act on; by default all numbers and categories among the image's causes."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="A score, such as effectiveness, fid, cld; 'all' for all that can be computed."),
    ] = None,
    predictors: Annotated[
        str | None, typer.Option(help="Judges: a data set's name or a folder; by default those of the data set.")
    ] = None,
    vgg: Annotated[
        Path | None, typer.Option(help="VGG-16's file, vgg.pth beside it, for LPIPS; by default $CAUSALCF_WEIGHTS.")
    ] = None,
    residual: Residuals = None,
    out: Annotated[Path | None, typer.Option(help="File for the records (.json).")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Score a model against true counterfactuals, and its composition under null interventions.

    With --metric, --predictors or --vgg: any scores. Each is shown beside that of the truth, of doing nothing
    and of noise. What a score needs and is not there is said.
    """
    from causalcf.provenance import provenance
    from causalcf.report import print_records, write_json

    scm = load_model(model, device)
    table, source = load_split(data, root, split, scm.variables)
    names = metric or (["all"] if predictors or vgg else ["truth error", "composition"])
    if not metric and "truth error" in names and not hasattr(table, "truth"):
        raise DataError(
            f"'{data}' has no known truth. Data sets that have one: digits, morphomnist. Name scores that need"
            " none: --metric composition."
        )
    records = all_scores(scm, table, data, root, names, predictors, vgg, residuals=residual, do=do, n=n, seed=seed)
    print_records(records, title=f"{model} on {source}")
    if out is not None:
        facts = provenance(seed=seed, device=device, model=model, data=source)
        write_json(out, {"provenance": facts, **records.to_json()})
        typer.echo(out)


@app.command(
    epilog="Example: causalcf explain mnist-vae --data mnist --target 9 --rows 40; with a method's own settings:"
    " causalcf explain mnist-vae --data mnist --target 9 --method 'LoSoCs(gamma=0.99)' --stream"
)
def explain(
    model: Annotated[str, typer.Argument(help="A model file, or the name of a reference model.")],
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
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Ask what would have to change in an image for a classifier to call it something else.

    Rows that the classifier puts into the target already are left out.
    """
    import torch

    from causalcf.explainers.scores import scores
    from causalcf.report import print_explanation, write_explanation

    if save is not None and save.suffix != ".safetensors":
        raise DataError(f"--save {save}: the file of a method ends in .safetensors.")
    if method.endswith(".safetensors"):
        for option, given in (("--node", node), ("--train-rows", train_rows)):
            if given is not None:
                raise DataError(
                    f"{option} {given}: {method} holds a method that is fitted, and to its node. Leave it out."
                )
    scm = load_model(model, device)
    asked, variable = load_classifier(classifier, data, device)
    explainer = parse_explainer(method, scm, node=node or "image", classifier=asked, variable=variable)
    wanted = parse_target(target, variable)
    table, source = load_split(data, root, split, scm.variables)
    x = slice_rows(table, rows)
    if not explainer.fitted:
        explainer.fit(load_data(data, root, "train", scm.variables)[:train_rows], seed=seed)
    if save is not None:
        explainer.save(save)
    away = torch.nonzero(explainer.predict(x) != wanted)[:, 0].cpu()
    if not len(away):
        raise DataError(f"--target {target}: the classifier puts all of these rows there already. Ask for others.")
    explanation = explainer.explain(x[away], wanted, seed=seed, stream=stream)
    scored = {} if explanation.query.explained.regression else scores(explanation)
    print_explanation(explanation, scored)
    facts = {"model": model, "data": source, "rows": rows, "target": target, "settings": method}
    facts["classifier"] = classifier or data
    for path in write_explanation(explanation, scored, out, device=device, **facts):
        typer.echo(path)


@app.command(
    "predictors",
    epilog="Example, judges: causalcf predictors morphomnist --out judges; what fine-tunes:"
    " causalcf predictors morphomnist --part tune --out tuners",
)
def train_predictors(
    data: Annotated[str, typer.Argument(help="A data set with images: morphomnist, digits, mnist, celeba.")],
    out: Annotated[Path, typer.Option(help="Folder for the predictors, one file each; made if it does not exist.")],
    root: Root = None,
    target: Annotated[list[str] | None, typer.Option(help="Node to predict; by default the image's causes.")] = None,
    part: Annotated[
        str, typer.Option(help="Rows to train on: judge (five sixths), tune (the other sixth), all.")
    ] = "judge",
    epochs: Epochs = None,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed.")] = "bf16-mixed",
    threads: Threads = None,
    resume: Annotated[bool, typer.Option(help="Go on from a killed run's checkpoints.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train anti-causal predictors: networks that read an image's causes back, to judge counterfactuals.

    Judges and predictors that guide fine-tuning share no training rows.
    """
    import torch

    from causalcf import predictors
    from causalcf.training import recipe_of

    if threads is not None:
        torch.set_num_threads(threads)
    if data.endswith(".csv"):
        raise DataError(f"{data}: a CSV file has no images to read causes back from. Name a data set.")
    train, test = load_data(data, root, "train"), load_data(data, root, "test")
    for predictor in predictors.planned(data, train.graph, target):
        path = out / predictors.file_name(data, predictor.target, part)  # type: ignore[arg-type]
        checkpoint = path.with_suffix(".checkpoint")
        predictors.fit(
            predictor,
            train,
            which=part,  # type: ignore[arg-type]
            test=test,
            name=data,
            recipe=recipe_of(predictor, epochs),  # type: ignore[arg-type]
            seed=seed,
            device=device,
            precision=precision,
            checkpoint=checkpoint,
            resume=resume,
            progress=not quiet,
        )
        predictor.save(path)
        checkpoint.unlink(missing_ok=True)
        typer.echo(f"{path}: {predictor.score}")


Models = Annotated[
    list[str] | None, typer.Option(help="Reference models or model files; by default all reference models of the data.")
]
OwnFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--mechanism",
        help="A Python file that defines `scm`, a fitted model, or `mechanism`, an image mechanism, which is then"
        " fitted on the training split.",
    ),
]
Again = Annotated[list[str] | None, typer.Option(help="Compute this row again, even if it is there.")]
Retrain = Annotated[
    list[str] | None,
    typer.Option(
        help="Make this model again in OUT/models, by the commands in its file (a fit, or a fit and a fine-tuning), and"
        " compute its row."
    ),
]
Rows = Annotated[int, typer.Option(help="Test rows; 0 for all.", min=0)]
Judges = Annotated[Path | None, typer.Option(help="Folder of the judges; by default those that come along.")]
Latents = Annotated[
    Path | None,
    typer.Option(help="A fitted model of the images alone (graph morphomnist-image, celeba-image): the space of CLD."),
]
Vgg = Annotated[
    Path | None, typer.Option(help="VGG-16's file, vgg.pth beside it, for LPIPS; by default $CAUSALCF_WEIGHTS.")
]
Workers = Annotated[int, typer.Option(help="Processes that draw true counterfactuals.", min=1)]


@benchmark_app.command(
    "morphomnist", epilog="Example: causalcf benchmark morphomnist --n 0 --workers 4 --out runs/benchmark"
)
def benchmark_morphomnist(
    out: Out = Path("benchmark-morphomnist"),
    root: Root = None,
    model: Models = None,
    mechanism: OwnFiles = None,
    again: Again = None,
    retrain: Retrain = None,
    predictors: Judges = None,
    latents: Latents = None,
    vgg: Vgg = None,
    residual: Residuals = None,
    n: Rows = 1000,
    seed: Seed = 0,
    device: Device = "cpu",
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Tables 1, 3 and 5 of the counterfactual image benchmark, with published numbers and the truth beside ours.

    Writes one HTML page, a CSV, a JSON and a Markdown file. Rows that are there already are kept, so that a
    killed run goes on where it stopped.
    """
    compared = {"judges": predictors, "latents": latents, "vgg": vgg, "residuals": residual, "device": device}
    options = {"n": n, "seed": seed, "workers": workers, "quiet": quiet}
    _benchmark("morphomnist", out, root, model, mechanism, again or [], retrain or [], compared, **options)


@benchmark_app.command(
    "celeba",
    epilog="Example: causalcf predictors celeba --out judges; causalcf fit celeba --data celeba --mechanism image=VAE"
    " --out vae.safetensors; causalcf benchmark celeba --model vae.safetensors --predictors judges; for CLD:"
    " causalcf fit celeba-image --data celeba --mechanism image=VAE --out latents.safetensors",
)
def benchmark_celeba(
    out: Out = Path("benchmark-celeba"),
    root: Root = None,
    graph: Annotated[str, typer.Option(help="celeba (smiling, eyeglasses) or celeba-complex.")] = "celeba",
    model: Models = None,
    mechanism: OwnFiles = None,
    again: Again = None,
    retrain: Retrain = None,
    predictors: Judges = None,
    latents: Latents = None,
    vgg: Vgg = None,
    residual: Residuals = None,
    n: Rows = 1000,
    seed: Seed = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Tables 2, 4 and 5 of the counterfactual image benchmark, with published numbers beside ours.

    No models of CelebA come along: name fitted ones, and judges trained with `causalcf predictors`. Writes
    one HTML page, a CSV, a JSON and a Markdown file; rows that are there already are kept.
    """
    if graph not in ("celeba", "celeba-complex"):
        raise DataError(f"--graph {graph}: choose celeba or celeba-complex.")
    compared = {"judges": predictors, "latents": latents, "vgg": vgg, "residuals": residual, "device": device}
    options = {"n": n, "seed": seed, "workers": 1, "quiet": quiet}
    _benchmark(graph, out, root, model, mechanism, again or [], retrain or [], compared, **options)


def _benchmark(
    data: str,
    out: Path,
    root: Path | None,
    model: list[str] | None,
    mechanism: list[Path] | None,
    again: list[str],
    retrain: list[str],
    compared: dict[str, Any],
    *,
    n: int,
    quiet: bool,
    **options: Any,
) -> None:
    """The tables of a data set, some models fitted again before."""
    from causalcf.arguments import load_benchmark
    from causalcf.benchmark_tables import refit, run
    from causalcf.reference import pretrained_names

    names = model or [name for name in pretrained_names() if name.startswith(f"{data}-") and not mechanism]
    files = named("--model", ((Path(name).stem, name) for name in names))
    unknown = [name for name in retrain if name not in files]
    if unknown:
        raise DataError(f"--retrain: there are no models {unknown}. There are: {list(files)}.")
    for name in retrain:
        record = load_model(files[name], "cpu").provenance
        device = compared["device"]
        moved = device if device != "cpu" else ""
        files[name] = str(refit(record, out / "models" / f"{name}.safetensors", root=root, device=moved))
    benchmark = load_benchmark(data, root, list(files.values()), mechanism or [], out, **compared)
    progress = (lambda _text: None) if quiet else (lambda text: typer.echo(text, err=True))
    typer.echo(run(benchmark, out, n=n or None, only=[*again, *retrain], progress=progress, **options))


@benchmark_app.command(
    "truth", epilog="Example: causalcf benchmark truth --model morphomnist-vae --mechanism mine.py --out runs/truth"
)
def benchmark_truth(
    out: Out = Path("benchmark-truth"),
    data: DataName = "morphomnist",
    root: Root = None,
    model: Annotated[list[str] | None, typer.Option(help="Reference models or model files.")] = None,
    mechanism: Annotated[
        list[Path] | None,
        typer.Option(
            help="A Python file that defines `counterfactual(x, do)`, giving at least the image; or `scm`, a fitted"
            " model; or `mechanism`, an image mechanism, which is then fitted on the training split."
        ),
    ] = None,
    again: Annotated[list[str] | None, typer.Option(help="Compute this line again, even if it is there.")] = None,
    n: Annotated[int, typer.Option(help="Rows for each of the three frozen seeds.", min=1)] = 500,
    device: Device = "cpu",
    workers: Workers = 1,
) -> None:
    """How far counterfactual images are from the true ones: floors, models and mechanisms of your own.

    One JSON file per line of the leaderboard; lines that are there already are kept. The floors are doing nothing,
    multiplying by the true ratio of intensities, and drawing the factual image again, which is how far the truth
    itself can be trusted.
    """
    from causalcf.benchmark_tables import file_digest, fitted_once, identity, leaderboard, read_mechanism_file

    def own_model(path: Path) -> Any:
        return fitted_once(
            read_mechanism_file(path), path, lambda: load_data(data, root, "train"), out / "models", device
        )

    test = load_data(data, root, "test")
    if not hasattr(test, "truth"):
        raise DataError(f"'{data}' has no known truth. Data sets that have one: digits, morphomnist.")
    entries: list[tuple[str, Any]] = [
        (name, (name, lambda name=name: name)) for name in ("re-rendering", "intensity ratio", "identity")
    ]
    for name in model or []:
        scm = load_model(name, device)
        entries.append((Path(name).stem, (identity(scm), lambda scm=scm: scm)))
    for path in mechanism or []:
        if not path.is_file():
            raise DataError(f"--mechanism: there is no file {path}.")
        made = partial(own_model, path)
        entries.append((path.stem, (file_digest(path), made)))
    rows = leaderboard(
        test,
        named("--model, --mechanism", entries),
        ["thickness", "intensity"],
        out,
        n=n,
        again=again or (),
        workers=workers,
        progress=lambda text: typer.echo(text, err=True),
    )
    for row in rows:
        scores = "  ".join(
            f"do({node}) {row[f'do({node})']['error']:.3f} ± {row[f'do({node})']['over_seeds']:.3f}"
            for node in ("thickness", "intensity")
        )
        typer.echo(f"{row['name']:<24} {scores}  grey levels")


if __name__ == "__main__":
    main()
