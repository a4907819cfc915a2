"""`causalcf app`: the page on which a slider moves another world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from causalcf.cli.folder import is_folder, test_split
from causalcf.cli.load import fit_of, is_sheet, load_classifier, load_model, load_split
from causalcf.cli.options import DataName, Device, Fit, Model, Root, Seed, Split

if TYPE_CHECKING:
    from causalcf.app.explain import Classified
    from causalcf.app.session import Session

__all__ = ["page"]


def page(
    model: Model = "morphomnist-vae-tuned",
    data: DataName = "digits",
    root: Root = None,
    split: Split = None,
    fit: Fit = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            help="What the tab Explain is about: a predictor's file, or a Python file that defines `classifier` and"
            " `variable`; by default the one that comes along with the data or the model, if there is one."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen. 127.0.0.1 is this machine alone; 0.0.0.0 lets everybody in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any that is free.", min=0, max=65535)] = 8765,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Drag a slider and see the same unit in another world, beside the truth where it is known.

    Prints the address of a page for the browser and serves it until Ctrl-C. The page calls no other server.
    """
    from causalcf.app.server import build, listen, serve
    from causalcf.app.session import Session, Source
    from causalcf.app.state import State

    listening = listen(host, port)
    scm = load_model(model, device)
    fit = fit_of(fit, scm, data)
    table, name = load_split(data, root, split, scm.variables, fit=fit)
    source = Source(model, name, _model_code(model, device), _data_code(data, root, split, fit))
    session = Session(scm, table, source, State(seed=seed))
    served = build(session, _classified(session, classifier, data, model, device))
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"http://{shown}:{listening.getsockname()[1]}/")
    serve(served, listening)


def _classified(session: Session, given: str | None, data: str, model: str, device: str) -> Classified | None:
    """The classifier to explain: as given, or that of the data's or the model's name; None if there is none."""
    from causalcf.app.explain import Classified
    from causalcf.app.session import literal
    from causalcf.predictors.shipped import known

    if given is not None:
        f, variable = load_classifier(given, data, device)
        file = literal(given)
        code = f"f = ccf.predictors.Predictor.load({file})\nvariable = f.variable"
        if given.endswith(".py"):
            code = f"import runpy\nown = runpy.run_path({file})\nf, variable = own['classifier'], own.get('variable')"
        return Classified(session, f, variable, given, code)
    for name in (data, model.partition("-")[0]):
        if not is_sheet(name) and known(name):
            f, variable = load_classifier(None, name, device)
            code = f'f = ccf.predictors.pretrained("{name}")["{f.target}"]\nvariable = f.variable'
            return Classified(session, f, variable, f"The classifier of {name}, which reads the {f.target}", code)
    return None


def _model_code(model: str, device: str) -> str:
    """The Python that `load_model` stands for."""
    from causalcf.app.session import literal

    where = "" if device == "cpu" else f", device={literal(device)}"
    return f"ccf.{'SCM.load' if Path(model).suffix == '.safetensors' else 'pretrained'}({literal(model)}{where})"


def _data_code(data: str, root: Path | None, split: str | None, fit: str | None = None) -> str:
    """The Python that `load_split` stands for."""
    from causalcf.app.session import literal

    if is_sheet(data):
        return f"ccf.Batch(ccf.data.read_csv({literal(data)}, scm.variables))"
    if is_folder(data):
        known = split or test_split(data)
        options = [f"{name}={literal(value)}" for name, value in (("split", known), ("fit", fit)) if value]
        return f"ccf.datasets.from_folder({', '.join([literal(data), 'graph=scm.graph', *options])})"
    folder = "" if root is None else f", root={literal(str(root))}"
    return f"ccf.datasets.load({literal(data)}{folder}, split={literal(split or 'test')})"
