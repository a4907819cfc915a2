"""The command line: the verbs of the API, with results as files that say how they were made.

torch and everything above it are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer

from causalcf.cli.ask import counterfactual, data_faces, data_morphomnist, demo, explain, graphs
from causalcf.cli.folder import data_cache, draft
from causalcf.cli.judge import (
    benchmark_celeba,
    benchmark_faces,
    benchmark_morphomnist,
    benchmark_tables,
    benchmark_truth,
    evaluate,
)
from causalcf.cli.learn import finetune, fit, train_predictors
from causalcf.cli.page import page
from causalcf.cli.questions import bounds, effect, mediation, necessity, quantiles, sensitivity
from causalcf.cli.trust import trust
from causalcf.core.errors import CausalCFError

__all__ = ["app", "main"]


@dataclass(frozen=True)
class Command:
    """One row of the command line: a name, the function behind it, and an example for `--help`."""

    name: str
    function: Callable[..., None]
    example: str = ""


COMMANDS = (
    Command("demo", demo),
    Command("app", page, "Example: causalcf app morphomnist-hvae --data digits --port 0"),
    Command("graphs", graphs, "Example: causalcf graphs front-door --out front-door.png --do smoking"),
    Command(
        "draft",
        draft,
        "Example: causalcf draft portraits --edge age:image --edge glasses:image --out portraits.json",
    ),
    Command(
        "fit",
        fit,
        "Example: causalcf fit morphomnist --data digits --mechanism image=VAE --epochs image=40 --out m.safetensors",
    ),
    Command(
        "finetune",
        finetune,
        "Example: causalcf finetune morphomnist-vae --data morphomnist --do digit=2 --do thickness --do "
        "intensity --half image --out tuned.safetensors",
    ),
    Command(
        "counterfactual",
        counterfactual,
        "Example, three worlds: causalcf counterfactual m.safetensors --data digits --do thickness=4 --do "
        "intensity-=50 --do 'thickness*=0.5,digit=7'",
    ),
    Command(
        "evaluate",
        evaluate,
        "Example: causalcf evaluate m.safetensors --data digits --n 297 --out scores.json; with judges: "
        "causalcf evaluate morphomnist-vae --data morphomnist --metric effectiveness --metric cld",
    ),
    Command("trust", trust, "Example: causalcf trust m.safetensors --data test.csv --out trust.html"),
    Command(
        "explain",
        explain,
        "Example: causalcf explain mnist-vae --data mnist --target 9 --rows 40; with a method's own settings:"
        " causalcf explain mnist-vae --data mnist --target 9 --method 'LoSoCs(gamma=0.99)' --stream",
    ),
    Command(
        "predictors",
        train_predictors,
        "Example, judges: causalcf predictors morphomnist --out judges; what fine-tunes: causalcf predictors "
        "morphomnist --part tune --out tuners",
    ),
)

ASK_COMMANDS = (
    Command(
        "effect", effect, "Example: causalcf ask effect morphomnist-vae thickness intensity --treated 4 --control 2"
    ),
    Command(
        "mediation",
        mediation,
        "Example: causalcf ask mediation m.safetensors sex education income --treated Male --control Female",
    ),
    Command("necessity", necessity, "Example: causalcf ask necessity m.safetensors smoking cancer --out causes.png"),
    Command("quantiles", quantiles, "Example: causalcf ask quantiles morphomnist-vae intensity --do thickness=4"),
    Command("bounds", bounds, "Example: causalcf ask bounds m.safetensors smoking cancer"),
    Command(
        "sensitivity",
        sensitivity,
        "Example: causalcf ask sensitivity morphomnist-vae thickness intensity --treated 4 --control 2 --out curve.png",
    ),
)

DATA_COMMANDS = (
    Command("cache", data_cache, "Example: causalcf data cache --clear"),
    Command("faces", data_faces, "Example: causalcf data faces --out data/faces --layout celeba --rows 20000"),
    Command(
        "morphomnist",
        data_morphomnist,
        "Example: causalcf data morphomnist --mnist data/mnist --out data/morphomnist --workers 4",
    ),
)

BENCHMARK_COMMANDS = (
    Command(
        "morphomnist",
        benchmark_morphomnist,
        "Example: causalcf benchmark morphomnist --n 0 --workers 4 --out runs/benchmark",
    ),
    Command(
        "celeba",
        benchmark_celeba,
        "Example: causalcf predictors celeba --out judges; causalcf fit celeba --data celeba --mechanism "
        "image=VAE --out vae.safetensors; causalcf benchmark celeba --model vae.safetensors --predictors "
        "judges; for CLD: causalcf fit celeba-image --data celeba --mechanism image=VAE --out "
        "latents.safetensors",
    ),
    Command(
        "faces",
        benchmark_faces,
        "Example: causalcf fit faces --data faces --rows 6000 --mechanism \"image=VAE.preset('colour')\" --out "
        "vae.safetensors; causalcf benchmark faces --model vae.safetensors",
    ),
    Command(
        "truth",
        benchmark_truth,
        "Example: causalcf benchmark truth --model morphomnist-vae --mechanism mine.py --out runs/truth",
    ),
    Command(
        "tables",
        benchmark_tables,
        "Example: causalcf predictors bars --out judges; causalcf fit bars --data bars --mechanism image=VAE --out "
        "vae.safetensors; causalcf benchmark tables --data bars --model vae.safetensors --predictors judges",
    ),
)


def _group(help: str, commands: tuple[Command, ...]) -> typer.Typer:
    group = typer.Typer(help=help, no_args_is_help=True, rich_markup_mode="rich")
    for command in commands:
        group.command(command.name, epilog=command.example)(command.function)
    return group


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for _row in COMMANDS:
    app.command(_row.name, epilog=_row.example)(_row.function)
app.add_typer(_group("Ask a model for effects, their paths, and probabilities of causation.", ASK_COMMANDS), name="ask")
app.add_typer(_group("Make data sets; decoded pictures.", DATA_COMMANDS), name="data")
app.add_typer(
    _group("The papers' tables, ours beside theirs; and the leaderboard of true counterfactuals.", BENCHMARK_COMMANDS),
    name="benchmark",
)

UsageError: Any = typer.BadParameter.__base__
"""The exception for a wrong command line; typer brings its own copy of click, or uses click's."""


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
