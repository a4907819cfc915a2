"""The commands that ask for effects: `causalcf ask effect | mediation | necessity | quantiles | ...`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from causalcf.cli.load import load_model
from causalcf.cli.options import Model, Seed
from causalcf.cli.parse import parse_do
from causalcf.core.errors import DataError

if TYPE_CHECKING:
    from causalcf.queries import Estimate, Estimates
    from causalcf.scm.model import StructuralCausalModel

__all__ = ["bounds", "effect", "mediation", "necessity", "quantiles", "sensitivity"]

Cause = Annotated[str, typer.Argument(help="The node that is acted on.")]
Outcome = Annotated[str, typer.Argument(help="A number or Boolean node, or NODE=CATEGORY for its probability.")]
Treated = Annotated[str, typer.Option(help="What the cause is set to.")]
Control = Annotated[str, typer.Option(help="What it is compared with.")]
Above = Annotated[float | None, typer.Option(help="The event is that a number is above this.")]
Draws = Annotated[int, typer.Option(help="Units drawn.", min=2)]
Written = Annotated[Path | None, typer.Option("--out", help="Write the answer to this JSON file, or draw it: .png.")]


def effect(
    model: Model,
    cause: Cause,
    outcome: Outcome,
    treated: Treated = "1",
    control: Control = "0",
    draws: Draws = 10_000,
    seed: Seed = 0,
    out: Written = None,
) -> None:
    """How much does the outcome move on average, if the cause is set?"""
    from causalcf import queries

    _ask(queries.effect, model, [cause], outcome, treated, control, out, draws=draws, seed=seed)


def mediation(
    model: Model,
    cause: Cause,
    mediator: Annotated[str, typer.Argument(help="The node in between; several, separated by commas.")],
    outcome: Outcome,
    treated: Treated = "1",
    control: Control = "0",
    draws: Draws = 10_000,
    seed: Seed = 0,
    out: Written = None,
) -> None:
    """How much of the effect goes through a mediator, and how much past it?"""
    from causalcf import queries

    nodes = [name.strip() for name in mediator.split(",")]
    _ask(queries.mediation, model, [cause, nodes], outcome, treated, control, out, draws=draws, seed=seed)


def necessity(
    model: Model,
    cause: Cause,
    outcome: Outcome,
    treated: Treated = "true",
    control: Control = "false",
    above: Above = None,
    draws: Draws = 20_000,
    seed: Seed = 0,
    out: Written = None,
) -> None:
    """Was the cause needed for the event, would it have been enough, or both?"""
    from causalcf import queries

    _ask(queries.necessity, model, [cause], outcome, treated, control, out, above=above, draws=draws, seed=seed)


def quantiles(
    model: Model,
    outcome: Outcome,
    do: Annotated[str | None, typer.Option(metavar="ACTIONS", help="What is done: 'thickness=4,digit=7'.")] = None,
    draws: Draws = 10_000,
    seed: Seed = 0,
    out: Written = None,
) -> None:
    """Where does the outcome lie, as it is observed or after acting?"""
    from causalcf import queries

    scm = load_model(model, "cpu")
    actions = None if do is None else parse_do(do, scm.variables)
    _show(queries.quantiles(scm, _outcome(outcome), do=actions, draws=draws, seed=seed), out, seed, model=model)


def bounds(
    model: Model,
    cause: Cause,
    outcome: Outcome,
    treated: Treated = "true",
    control: Control = "false",
    above: Above = None,
    draws: Draws = 20_000,
    seed: Seed = 0,
    out: Written = None,
) -> None:
    """What of an event's probability under action holds whatever the hidden causes?"""
    from causalcf import queries

    _ask(queries.bounds, model, [cause], outcome, treated, control, out, above=above, draws=draws, seed=seed)


def sensitivity(
    model: Model,
    cause: Cause,
    outcome: Outcome,
    treated: Treated = "1",
    control: Control = "0",
    confounded: Annotated[
        str | None, typer.Option(help="The two that share the hidden cause, A,B; by default cause and outcome.")
    ] = None,
    draws: Draws = 2000,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Draw the curve: .png.")] = None,
) -> None:
    """How strong must a hidden cause be to turn the sign of an effect?"""
    from causalcf import queries
    from causalcf.core.provenance import provenance
    from causalcf.plots import save_figure

    if out is not None and out.suffix != ".png":
        raise DataError(f"--out {out}: the curve is drawn, .png.")
    scm = load_model(model, "cpu")
    values, read = _values(scm, cause, treated, control), _outcome(outcome)
    pair = (cause, outcome.partition("=")[0].strip()) if confounded is None else tuple(confounded.split(","))

    def ask(model: StructuralCausalModel) -> Estimate:
        return queries.effect(model, cause, read, **values, draws=draws, seed=seed)

    found = queries.sensitivity(scm, ask, confounded=pair)  # type: ignore[arg-type]
    typer.echo(repr(found))
    if out is not None:
        save_figure(found.plot(), out, provenance(seed=seed, device="cpu", model=model))
        typer.echo(out)


def _ask(
    query: Callable[..., Estimate | Estimates],
    model: str,
    causes: Sequence[Any],
    outcome: str,
    treated: str,
    control: str,
    out: Path | None,
    *,
    seed: int,
    **options: Any,
) -> None:
    """Ask a fitted model what a cause, and what lies between, does to an outcome; print the answer, and write it."""
    scm = load_model(model, "cpu")
    values = _values(scm, causes[0], treated, control)
    found = query(scm, *causes, _outcome(outcome), **values, seed=seed, **options)
    _show(found, out, seed, model=model)


def _outcome(text: str) -> Any:
    node, equals, category = text.partition("=")
    return (node.strip(), category.strip()) if equals else text


def _values(scm: StructuralCausalModel, cause: str, treated: str, control: str) -> dict[str, Any]:
    """Both values of the cause, as actions are read."""
    scm.graph.require(cause)
    return {
        name: parse_do(f"{cause}={text}", scm.variables)[cause]
        for name, text in (("treated", treated), ("control", control))
    }


def _show(found: Estimate | Estimates, out: Path | None, seed: int, **facts: Any) -> None:
    """Print an answer with its assumptions, and write it."""
    from dataclasses import asdict

    from causalcf.core.files import write_json
    from causalcf.core.provenance import provenance
    from causalcf.queries import Estimate

    parts = {"effect": found} if isinstance(found, Estimate) else dict(found)
    typer.echo(repr(found))
    typer.echo(f"It holds if {'; '.join(next(iter(parts.values())).assumptions)}.")
    if out is None:
        return
    if out.suffix == ".png":
        from causalcf.plots import plot_estimates, save_figure

        title = found.name if isinstance(found, Estimate) else found.title
        figure = plot_estimates(title, list(parts.values()))
        save_figure(figure, out, provenance(seed=seed, device="cpu"))
    elif out.suffix == ".json":
        made = provenance(seed=seed, device="cpu") | facts
        write_json(out, {"estimates": {name: asdict(part) for name, part in parts.items()}, "provenance": made})
    else:
        raise DataError(f"--out {out}: write the answer as .json, or draw it as .png.")
    typer.echo(out)
