"""Loaders of the objects that a command line names: actions, mechanisms, data sets, models, judges.

As in `causalcf.cli`, torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from causalcf.catalogue import DATASETS
from causalcf.cli.folder import is_folder, load_folder, test_split
from causalcf.cli.parse import named, parse_residual
from causalcf.core.errors import DataError

if TYPE_CHECKING:
    from causalcf.benchmark import Benchmark
    from causalcf.data import Batch
    from causalcf.evaluation.records import Records
    from causalcf.predictors import Predictors
    from causalcf.scm.counterfactual import Counterfactual
    from causalcf.scm.model import StructuralCausalModel
    from causalcf.variables import Variable


__all__ = [
    "acted_values",
    "all_scores",
    "fit_of",
    "is_sheet",
    "knowing_truth",
    "load_benchmark",
    "load_classifier",
    "load_data",
    "load_model",
    "load_split",
    "named",
    "naming",
    "of_sheet",
    "parse_residual",
    "truth_of",
]


def load_classifier(given: str | None, data: str, device: str) -> tuple[Any, Variable | None]:
    """A classifier to explain, and the variable of its output.

    It is a predictor's file, a Python file that defines `classifier`, or one that comes along.

    Args:
        given: The file, or None for the predictor of a class that comes along with the data set. A Python file
            may define `variable` too.
        data: The data set's name.
        device: Where it goes.

    Raises:
        DataError: There is none.
    """
    import runpy

    from causalcf import predictors
    from causalcf.predictors.shipped import known
    from causalcf.variables.codes import Categorical

    if given is not None and given.endswith(".py"):
        defined = runpy.run_path(given)
        if "classifier" not in defined:
            raise DataError(f"--classifier {given}: the file must define `classifier`, a torch module giving logits.")
        return defined["classifier"], defined.get("variable")
    if given is not None:
        predictor = predictors.Predictor.load(given, device=device)
        return predictor, predictor.variable
    classes = []
    if known(data):
        shipped = predictors.pretrained(data, device=device)
        classes = [shipped[node] for node in shipped if isinstance(shipped[node].variable, Categorical)]
    if not classes:
        raise DataError(
            f"No classifier comes along with '{data}'. Give one: --classifier FILE, made by `causalcf predictors"
            f" {data} --out FOLDER`, or a Python file that defines `classifier`."
        )
    return classes[0], classes[0].variable


def of_sheet(**options: Any) -> dict[str, Any]:
    """The options of a CSV file that are given."""
    return {name: value for name, value in options.items() if value}


def is_sheet(name: str) -> bool:
    """Whether a name is that of a CSV file rather than of a data set."""
    return Path(name).suffix.lower() in (".csv", ".tsv", ".txt")


def load_data(
    name: str,
    root: Path | None,
    split: str,
    variables: Mapping[str, Variable] = MappingProxyType({}),
    *,
    nodes: Collection[str] | None = None,
    fit: str | None = None,
    **options: Any,
) -> Any:
    """A data set by its name, the columns of a CSV file as they are written, or a folder of pictures with a table.

    Args:
        name: A data set, or the path of a CSV file, which has no splits, or of a folder.
        root: The folder of the data set.
        split: Its split.
        variables: What the model says of the columns: a category's text is a name, even if it looks like a number.
        nodes: The model's nodes, which are read from a folder; by default those of `variables`, or all columns.
        fit: What becomes of a folder's pictures of another size.
        options: `encoding`, `missing` and `key` of a CSV file.

    Raises:
        DataError: There is no such data set, a root for a file or folder, or options of a CSV file for anything else.
    """
    from causalcf import datasets

    if fit is not None and (is_sheet(name) or not is_folder(name)):
        meant = f", or write ./{name} for the folder of that name" if Path(name).is_dir() else ""
        raise DataError(f"--fit {fit} is for a folder of pictures, and '{name}' is none. Leave the option out{meant}.")
    if is_sheet(name):
        if root is not None:
            raise DataError(f"--root {root}: {name} is a file by itself. Leave the option out.")
        return _load_sheet(name, variables, variables if nodes is None else nodes, **options)
    if options:
        raise DataError(f"--{next(iter(options))} is for CSV files, and '{name}' is a data set. Leave the option out.")
    if is_folder(name):
        if root is not None:
            raise DataError(f"--root {root}: {name} is a folder by itself. Leave the option out.")
        return load_folder(name, split, variables, variables if nodes is None else nodes, fit)
    if name not in DATASETS:
        raise DataError(
            f"There is no data set '{name}'. Known: {list(DATASETS)}, or the path of a .csv file, or of a folder of"
            " pictures with metadata.csv."
        )
    return datasets.load(name, root, split)


def _load_sheet(
    path: str,
    variables: Mapping[str, Variable],
    nodes: Collection[str],
    encoding: str | None = None,
    missing: Sequence[str] | None = None,
    key: Sequence[str] | None = None,
) -> Batch:
    """The columns of a CSV file, yet to be read as variables, with the columns that name the rows as labels."""
    import pandas as pd

    from causalcf.data import Batch, read_csv

    columns = read_csv(path, variables, values=nodes or None, encoding=encoding, missing=missing or ())
    unknown = [name for name in key or () if name not in columns]
    if unknown:
        raise DataError(f"--key {unknown[0]}: {path} has no such column. It has {list(columns)}.")
    others = {name: values for name, values in columns.items() if name not in nodes} if nodes else {}
    names = list(key or naming(others))
    labels = None
    if names:
        labels = pd.MultiIndex.from_arrays([columns[name] for name in names], names=names)
        labels = labels.get_level_values(0) if len(names) == 1 else labels
    values: Any = {name: column for name, column in columns.items() if name not in names or name in nodes}
    return Batch(values, labels=labels)


def naming(columns: Mapping[str, Any]) -> list[str]:
    """Columns that name the rows: one with another text in each, or several whose names say that they do so together.

    A column of numbers names the rows if its own name says so, or if it counts them.

    Example:
        >>> import numpy as np
        >>> naming({"sex": np.array(["f", "m", "f"]), "patient": np.array(["p1", "p2", "p3"])})
        ['patient']
    """
    import pandas as pd

    from causalcf.data.inference import NAMED_ID

    whole = {name: values for name, values in columns.items() if not (values == "").any()}
    called = [name for name in whole if NAMED_ID.search(name)]
    for name in [*called, *whole]:
        texts = whole[name].tolist()
        if len(set(texts)) == len(texts) and (name in called or _counts(texts)):
            return [name]
    together = pd.MultiIndex.from_arrays([whole[name] for name in called]) if len(called) > 1 else None
    return called if together is not None and together.is_unique else []


def _counts(texts: Sequence[str]) -> bool:
    """Whether different texts are consecutive whole numbers, or all contain something other than a number."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return not any(text.replace(",", ".").replace(".", "").lstrip("+-").isdigit() for text in texts)
    return numbers == [numbers[0] + i for i in range(len(numbers))]


def load_split(
    name: str, root: Path | None, split: str | None, variables: Mapping[str, Variable], **options: Any
) -> tuple[Any, str]:
    """The rows to ask about, by default of the test split, and their name in records, such as `digits:test`.

    Raises:
        DataError: A split of a CSV file is asked for.
    """
    if is_folder(name):
        split = test_split(name) if split is None else split
        return load_data(name, root, split or "", variables, **options), f"{name}:{split}" if split else name
    if not is_sheet(name):
        return load_data(name, root, split or "test", variables, **options), f"{name}:{split or 'test'}"
    if split is not None:
        raise DataError(f"--split {split}: a CSV file has no splits. Name the file that holds these rows: --data.")
    return load_data(name, root, "test", variables, **options), name


def fit_of(given: str | None, scm: StructuralCausalModel, data: str) -> str | None:
    """What becomes of a folder's pictures of another size: as it is said, or as the model was fitted."""
    return given or (scm.provenance.get("fit") if is_folder(data) else None)


def load_model(name: str, device: str) -> StructuralCausalModel:
    """A model file, or a reference model by its name."""
    from causalcf.reference import pretrained
    from causalcf.scm.model import StructuralCausalModel

    if Path(name).suffix == ".safetensors":
        return StructuralCausalModel.load(name, device=device)
    return pretrained(name, device=device)


def all_scores(
    scm: StructuralCausalModel,
    table: Any,
    data: str,
    root: Path | None,
    names: Sequence[str],
    judges: str | None,
    vgg: Path | None,
    *,
    n: int | None,
    residuals: Sequence[str] | None = None,
    fit: str | None = None,
    **options: Any,
) -> Records:
    """Scores of a model by their names, with judges, latent space and training images as far as they are there."""
    from causalcf.data import Batch
    from causalcf.evaluation import evaluate
    from causalcf.evaluation.scores import SCORES
    from causalcf.reference import latent_space

    if is_sheet(data):
        table = scm.read(table)
    table = table if hasattr(table, "rows") else Batch(dict(table))
    wanted = None if "all" in names else list(names)
    compared = wanted is None or any("reference" in SCORES[name].needs for name in wanted if name in SCORES)
    return evaluate(
        scm,
        table,
        wanted,
        predictors=_judges(judges, data, scm),
        reference=_training_rows(scm, data, root, fit) if compared else None,
        latents=latent_space(data, device=scm.device),
        perception=_perception(vgg),
        residuals=[parse_residual(text) for text in residuals or ("1", "0")],
        n=min(1000, table.rows) if n is None else n,
        progress=lambda text: typer.echo(text, err=True),
        **options,
    )


def _training_rows(scm: StructuralCausalModel, data: str, root: Path | None, fit: str | None) -> Any:
    """The rows of a data set to compare with; none if it has no split of them."""
    if is_sheet(data) or (is_folder(data) and test_split(data) is None):
        return None
    return load_data(data, root, "train", scm.variables, fit=fit)


def _judges(given: str | None, data: str, scm: StructuralCausalModel) -> Predictors | None:
    """Predictors of a name or in a folder; unless one is given, those of the data if they read the model's nodes."""
    from causalcf import predictors
    from causalcf.predictors.shipped import known

    device = str(scm.device)
    if given is not None and Path(given).is_dir():
        return predictors.pretrained(data, folder=given, device=device)
    if given is not None:
        if Path(given).name != given or is_sheet(given):
            raise DataError(f"--predictors {given}: there is no such folder. Give one, or a data set's name.")
        return predictors.pretrained(given, device=device)
    judges = predictors.pretrained(data, device=device) if known(data) else {}
    return judges if judges and set(judges) <= set(scm.graph.nodes) else None  # type: ignore[return-value]


def _judges_at_hand(data: str, folder: Path | None, device: str) -> Predictors:
    """Judges: those of a folder, or those that come along; none where there are none and the truth is known."""
    from causalcf import predictors
    from causalcf.predictors.shipped import known

    if folder is None and not known(data) and DATASETS[data].truth:
        return predictors.Predictors([])
    return predictors.pretrained(data, folder=folder, device=device)


def load_benchmark(
    data: str,
    root: Path | None,
    models: Sequence[str],
    files: Sequence[Path],
    out: Path,
    *,
    residuals: Sequence[str] | None = None,
    judges: Path | None = None,
    latents: Path | None = None,
    vgg: Path | None = None,
    device: str = "cpu",
) -> Benchmark:
    """The setup for the tables of a data set: models by name or file, the user's mechanisms, judges, latent space."""
    from causalcf.benchmark import Benchmark, file_digest, fitted_once, read_mechanism_file
    from causalcf.mechanisms import Mechanism
    from causalcf.reference import latent_space
    from causalcf.scm.model import StructuralCausalModel

    if not models and not files:
        raise DataError(
            f"There are no reference models of {data}. Fit one, causalcf fit {DATASETS[data].graph or 'GRAPH'} --data"
            f" {data} --mechanism image=VAE --out model.safetensors, and name it: --model model.safetensors."
        )
    train, test = load_data(data, root, "train"), load_data(data, root, "test")
    makers: list[tuple[str, Any]] = [(Path(name).stem, partial(load_model, name, device)) for name in models]
    for path in files:
        found = read_mechanism_file(path)
        if not isinstance(found, Mechanism | StructuralCausalModel):
            raise DataError(f"{path}: the tables need `scm` or `mechanism`; functions enter `benchmark truth`.")
        makers.append((path.stem, partial(fitted_once, found, path, lambda: train, out / "models", device)))
    space = latent_space(data, device=device) if latents is None else load_model(str(latents), device)
    return Benchmark(
        data,
        train,
        test,
        nodes=[node for node, variable in train.variables.items() if not variable.event_shape],
        models=named("--model, --mechanism", makers),
        predictors=_judges_at_hand(data, judges, device),
        latents=space,
        perception=_perception(vgg),
        features=_inception(),
        residuals=[parse_residual(text) for text in residuals or DATASETS[data].residuals],
        files={path.stem: file_digest(path) for path in files},
    )


def _inception() -> Any:
    """The extractor of published FIDs, if its file is in $CAUSALCF_WEIGHTS."""
    import os

    from causalcf.metrics import inception_features
    from causalcf.metrics.weights import VARIABLE, WEIGHTS

    folder = os.environ.get(VARIABLE)
    there = folder and (Path(folder) / WEIGHTS["inception"].file).is_file()
    return inception_features(folder) if there else None


def _perception(vgg: Path | None) -> Any:
    """The network of LPIPS: from a file, or from $CAUSALCF_WEIGHTS if both of its files are there."""
    import os

    from causalcf.metrics import vgg_perception
    from causalcf.metrics.weights import VARIABLE, WEIGHTS

    if vgg is not None:
        return vgg_perception(vgg, vgg.parent if vgg.is_file() else vgg)
    folder = os.environ.get(VARIABLE)
    if folder and all((Path(folder) / WEIGHTS[name].file).is_file() for name in ("vgg16", "lpips-vgg")):
        return vgg_perception(folder, folder)
    return None


def knowing_truth() -> list[str]:
    """The data sets whose true counterfactuals are known."""
    return [name for name, source in DATASETS.items() if source.truth]


def truth_of(name: str, table: Any, x: Any, do: Mapping[str, Any]) -> Any:
    """The true counterfactual of some rows of a data set."""
    if not hasattr(table, "truth"):
        known = " and ".join(knowing_truth())
        raise DataError(f"--truth: '{name}' does not know its true counterfactuals. {known} do.")
    return table.truth(x, do)


def acted_values(cf: Counterfactual, worlds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The values that actions gave the nodes acted on, by world: shifts and scales are worked out.

    Latent sites, which no truth knows, keep the action itself.
    """
    views = [cf.world(i) for i in range(len(worlds))] if cf.listed else [cf]
    firsts = [view.sample(0) if cf.num_samples else view for view in views]
    return [
        {target: first.get(target, action) for target, action in world.items()}
        for first, world in zip(firsts, worlds, strict=True)
    ]
