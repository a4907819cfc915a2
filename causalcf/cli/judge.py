"""The commands that measure: evaluate, and the benchmarks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from causalcf.catalogue import DATASETS
from causalcf.cli.load import all_scores, fit_of, knowing_truth, load_data, load_model, load_split, of_sheet
from causalcf.cli.options import (
    Again,
    DataName,
    Device,
    Encoding,
    Fit,
    Judges,
    Latents,
    Missing,
    Model,
    Models,
    Out,
    OwnFiles,
    Quiet,
    Residuals,
    Retrain,
    Root,
    Rows,
    Seed,
    Split,
    Vgg,
    Workers,
)
from causalcf.cli.parse import named
from causalcf.core.errors import DataError

__all__ = [
    "benchmark_celeba",
    "benchmark_faces",
    "benchmark_morphomnist",
    "benchmark_tables",
    "benchmark_truth",
    "evaluate",
]


def evaluate(
    model: Model,
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
    vgg: Vgg = None,
    residual: Residuals = None,
    out: Annotated[Path | None, typer.Option(help="File for the records (.json).")] = None,
    fit: Fit = None,
    encoding: Encoding = None,
    missing: Missing = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Score a model against true counterfactuals, and its composition under null interventions.

    With --metric, --predictors or --vgg: any scores. Each is shown beside that of the truth, of doing nothing
    and of noise. What a score needs and is not there is said.
    """
    from causalcf.core.files import write_json
    from causalcf.core.provenance import provenance
    from causalcf.report import print_records

    scm = load_model(model, device)
    fit = fit_of(fit, scm, data)
    sheet = of_sheet(encoding=encoding, missing=missing)
    table, source = load_split(data, root, split, scm.variables, fit=fit, **sheet)
    names = metric or (["all"] if predictors or vgg else ["truth error", "composition"])
    if not metric and "truth error" in names and not hasattr(table, "truth"):
        raise DataError(
            f"'{data}' has no known truth. Data sets that have one: {', '.join(knowing_truth())}. Name scores that"
            " need none: --metric composition."
        )
    asked: dict[str, Any] = {"residuals": residual, "fit": fit, "do": do, "n": n, "seed": seed}
    records = all_scores(scm, table, data, root, names, predictors, vgg, **asked)
    print_records(records, title=f"{model} on {source}")
    if out is not None:
        facts = provenance(seed=seed, device=device, model=model, data=source)
        write_json(out, {"provenance": facts, **records.to_json()})
        typer.echo(out)


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


def benchmark_faces(
    out: Out = Path("benchmark-faces"),
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
    """The same tables of drawn faces, whose true counterfactuals are known, with doing nothing and noise beside.

    Nothing has to be downloaded. Writes one HTML page, a CSV, a JSON and a Markdown file; rows that are there already
    are kept.
    """
    compared = {"judges": predictors, "latents": latents, "vgg": vgg, "residuals": residual, "device": device}
    options = {"n": n, "seed": seed, "workers": workers, "quiet": quiet}
    _benchmark("faces", out, None, model, mechanism, again or [], retrain or [], compared, **options)


def benchmark_tables(
    data: DataName,
    out: Out = Path("benchmark"),
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
    """The same tables of any data set with an image, beside the truth where it is known.

    Name fitted models, and judges trained with `causalcf predictors`. Writes one HTML page, a CSV, a JSON and a
    Markdown file; rows that are there already are kept.
    """
    if data not in DATASETS or not DATASETS[data].image:
        known = [name for name, source in DATASETS.items() if source.image]
        raise DataError(f"--data {data}: the tables are of images. Data sets that have one: {', '.join(known)}.")
    compared = {"judges": predictors, "latents": latents, "vgg": vgg, "residuals": residual, "device": device}
    options = {"n": n, "seed": seed, "workers": workers, "quiet": quiet}
    _benchmark(data, out, root, model, mechanism, again or [], retrain or [], compared, **options)


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
    from causalcf.benchmark import refit, run
    from causalcf.cli.load import load_benchmark
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
    multiplying by the true ratio of intensities where the data have any, and drawing the factual image again, which is
    how far the truth itself can be trusted.
    """
    from causalcf.benchmark import file_digest, fitted_once, leaderboard, model_digest, read_mechanism_file

    def own_model(path: Path) -> Any:
        return fitted_once(
            read_mechanism_file(path), path, lambda: load_data(data, root, "train"), out / "models", device
        )

    test = load_data(data, root, "test")
    if not hasattr(test, "truth"):
        raise DataError(f"'{data}' has no known truth. Data sets that have one: {', '.join(knowing_truth())}.")
    acted = DATASETS[data].truth
    floors = ("re-rendering", *["intensity ratio"][: "intensity" in acted], "identity")
    entries: list[tuple[str, Any]] = [(name, (name, lambda name=name: name)) for name in floors]
    for name in model or []:
        scm = load_model(name, device)
        entries.append((Path(name).stem, (model_digest(scm), lambda scm=scm: scm)))
    for path in mechanism or []:
        if not path.is_file():
            raise DataError(f"--mechanism: there is no file {path}.")
        made = partial(own_model, path)
        entries.append((path.stem, (file_digest(path), made)))
    rows = leaderboard(
        test,
        named("--model, --mechanism", entries),
        list(acted),
        out,
        n=n,
        again=again or (),
        workers=workers,
        progress=lambda text: typer.echo(text, err=True),
    )
    for row in rows:
        scores = "  ".join(
            f"do({node}) {row[f'do({node})']['error']:.3f} ± {row[f'do({node})']['over_seeds']:.3f}" for node in acted
        )
        typer.echo(f"{row['name']:<24} {scores}  {row['unit']}")
