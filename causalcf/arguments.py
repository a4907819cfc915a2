"""What the command line's arguments stand for: actions, mechanisms, data sets, models, judges.

As in `causalcf.cli`, torch is imported inside the functions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from causalcf.errors import DataError, InterventionError

if TYPE_CHECKING:
    from causalcf.benchmark_tables import Benchmark
    from causalcf.counterfactual import Counterfactual
    from causalcf.data import Batch
    from causalcf.explainers import Explainer
    from causalcf.predictors import Predictors
    from causalcf.records import Records
    from causalcf.residual import Residual
    from causalcf.scm import StructuralCausalModel
    from causalcf.variables import Variable

Value = TypeVar("Value")

__all__ = [
    "acted_values",
    "all_scores",
    "load_benchmark",
    "load_classifier",
    "load_data",
    "load_model",
    "load_split",
    "named",
    "parse_device",
    "parse_do",
    "parse_epochs",
    "parse_explainer",
    "parse_mechanisms",
    "parse_residual",
    "parse_target",
    "parse_weights",
    "slice_rows",
    "truth_of",
]


def parse_do(text: str, variables: Mapping[str, Variable]) -> dict[str, Any]:
    """The actions of one world from text: `a=1,b+=2,c-=2,d*=0.5,e=name`.

    Args:
        text: Actions, separated by commas.
        variables: node -> variable; a Categorical takes names, a Boolean true or false.

    Raises:
        InterventionError: The text is not a list of actions.

    Example:
        >>> from causalcf.variables import Categorical, Positive
        >>> parse_do("thickness+=4, digit=7", {"thickness": Positive(), "digit": Categorical(10)})
        {'thickness': Shift(amount=4.0), 'digit': '7'}
    """
    from causalcf.action import scale, shift

    if not text.strip():
        raise InterventionError("An action is empty. Write node=4, node+=1, node*=0.8 or node=name.")
    actions: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"([^=]+?)\s*([-+*]?=)\s*(\S.*)", part)
        if match is None:
            raise InterventionError(f"Cannot read the action '{part}'. Write node=4, node+=1, node*=0.8 or node=name.")
        target, operator, value = match.groups()
        if target in actions:
            raise InterventionError(f"Two actions on '{target}' in one world. Give --do twice for two worlds.")
        if operator == "=":
            actions[target] = _value(part, value, variables.get(target))
        elif operator == "*=":
            actions[target] = scale(_number(part, value))
        else:
            actions[target] = shift(_number(part, value) * (-1 if operator == "-=" else 1))
    return actions


def _value(part: str, value: str, variable: Variable | None) -> Any:
    from causalcf.variables import Boolean, Categorical

    if isinstance(variable, Categorical):
        return value
    if isinstance(variable, Boolean):
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if value.lower() not in words:
            raise InterventionError(f"Cannot read the action '{part}': expected true or false.")
        return words[value.lower()]
    return _number(part, value)


def _number(part: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InterventionError(f"Cannot read the action '{part}': '{value}' is not a number.") from None


def named(option: str, pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Pairs of a name and what it stands for, as a mapping.

    Raises:
        DataError: Two have the same name, of which a mapping would lose one.

    Example:
        >>> named("--do", [("digit", 2), ("thickness", 1)])
        {'digit': 2, 'thickness': 1}
    """
    found: dict[str, Value] = {}
    for name, value in pairs:
        if name in found:
            raise DataError(f"{option}: '{name}' is given twice. Each may be given once, and no two may share a name.")
        found[name] = value
    return found


def parse_epochs(options: Sequence[str], nodes: Sequence[str]) -> int | dict[str, int] | None:
    """`["20"]` for every node, `["image=20", ...]` by node, or both: the first for the nodes that are not named.

    Example:
        >>> parse_epochs(["20"], ["x", "y"]), parse_epochs(["20", "y=3"], ["x", "y"])
        (20, {'x': 20, 'y': 3})
    """
    pairs = []
    for option in options:
        node, _, number = option.rpartition("=")
        if not number.isdigit():
            raise DataError(f"--epochs {option}: expected a number, or node=number.")
        pairs.append((node or "all nodes", int(number)))
    by_node = named("--epochs", pairs)
    default = by_node.pop("all nodes", None)
    if default is None or not by_node:
        return by_node or default
    return dict.fromkeys(nodes, default) | by_node


def parse_weights(options: Sequence[str]) -> dict[str, float] | None:
    """Nodes with weights from `node` or `node=weight`; None if there are none.

    Example:
        >>> parse_weights(["digit=2", "thickness"])
        {'digit': 2.0, 'thickness': 1.0}
    """
    pairs = []
    for option in options:
        node, _, weight = option.partition("=")
        try:
            pairs.append((node, float(weight or 1)))
        except ValueError:
            raise DataError(f"--do {option}: expected node, or node=weight.") from None
    return named("--do", pairs) or None


def parse_residual(text: str) -> Residual:
    """A scale of the residual noise from a number, or how it fades from `node=length,node=length`.

    Example:
        >>> parse_residual("0.5"), parse_residual("thickness=1,digit=0")
        (0.5, Fading(thickness=1, digit=0))
    """
    from causalcf.residual import Fading

    try:
        if "=" not in text:
            return float(text)
        parts = [part.split("=") for part in text.split(",")]
        lengths = [(node.strip(), float(length)) for node, length in parts]
    except ValueError:
        raise InterventionError(
            f"--residual {text}: expected a number, 1 for abduction, or lengths over which the residual fades, such as"
            " thickness=1,digit=0."
        ) from None
    return Fading(named(f"--residual {text}", lengths))


def parse_mechanisms(options: Sequence[str]) -> dict[str, Any]:
    """Mechanisms from `node=Name`, `node=Name(key=value, ...)` or `node=HVAE.preset('32', ...)`."""
    from causalcf.mechanisms import MECHANISMS

    chosen = []
    for option in options:
        node, _, call = option.partition("=")
        made = _parse_call(option, call, "mechanism", MECHANISMS)
        try:
            chosen.append((node, made()))
        except TypeError as error:
            raise DataError(f"--mechanism {option}: {error}.") from None
    return named("--mechanism", chosen)


def parse_explainer(option: str, scm: StructuralCausalModel, **arguments: Any) -> Explainer:
    """An explainer from a file, or from `Name` or `Name(key=value, ...)` with the arguments the command line gives it.

    Args:
        option: The method, for example `"Clarity(gamma=0.99)"` or `"clarity.safetensors"`.
        scm: The model.
        arguments: `node`, `classifier` and `variable`.

    Raises:
        DataError: There is no such method, or it lacks an option of this name.
    """
    from causalcf.explainers import EXPLAINERS, Explainer

    if option.endswith(".safetensors"):
        return Explainer.load(option, scm, classifier=arguments["classifier"])
    made = _parse_call(option, option, "method", EXPLAINERS)
    if made.args:
        raise DataError(f"--method {option}: settings have names, 'Name(key=value)'.")
    try:
        return made(scm, **arguments)
    except TypeError as error:
        raise DataError(f"--method {option}: {error}.") from None


def _parse_call(option: str, text: str, what: str, known: Mapping[str, Any]) -> partial[Any]:
    """What `Name`, `Name(key=value, ...)` or `Name.preset('name', ...)` would call; values are Python literals."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        values = [ast.literal_eval(value) for value in call.args]
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("**")
        arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        prefix = "" if text == option else "node="
        raise DataError(f"--{what} {option}: expected {prefix}Name or '{prefix}Name(key=value)'.") from None
    kind, _, preset = ast.unparse(call.func).partition(".")
    if kind not in known:
        raise DataError(f"--{what} {option}: there is no {what} '{kind}'. Known: {list(known)}.")
    made = getattr(known[kind], "preset", None) if preset == "preset" else known[kind]
    if made is None or preset not in ("", "preset"):
        raise DataError(f"--{what} {option}: {kind} has no '{preset}'.")
    return partial(made, *values, **arguments)


def parse_device(text: str) -> str:
    """A device that this machine has.

    Raises:
        DataError: It has none of this name.

    Example:
        >>> parse_device("cpu")
        'cpu'
    """
    import torch

    try:
        device = torch.device(text)
        there = torch.get_device_module(device).device_count()
    except RuntimeError:
        device, there = torch.device("cpu"), 0
    if (device.index or 0) >= there:
        raise DataError(f"--device {text}: this machine has no such device. Name one it has: cpu, cuda, cuda:1, mps.")
    return text


def load_classifier(given: str | None, data: str, device: str) -> tuple[Any, Variable | None]:
    """A classifier to explain, and what it gives.

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
    from causalcf.variables import Categorical

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


def parse_target(text: str, variable: Variable | None) -> float:
    """A class's code from its name or number, or the value of a regression.

    Args:
        text: As given.
        variable: What the classifier gives; None for classes without names.

    Example:
        >>> from causalcf.variables import Boolean, Categorical
        >>> parse_target("cat", Categorical(("ape", "cat"))), parse_target("true", Boolean()), parse_target("4", None)
        (1, True, 4)
    """
    from causalcf.variables import Categorical

    if isinstance(variable, Categorical):
        return variable.code("--target", text)
    value = _value(f"--target {text}", text, variable)
    return int(value) if variable is None else value


def load_data(
    name: str, root: Path | None, split: str, variables: Mapping[str, Variable] = MappingProxyType({})
) -> Any:
    """A data set by its name, or the columns of a CSV file as they are written.

    Args:
        name: A data set, or the path of a CSV file, which has no splits.
        root: The folder of the data set.
        split: Its split.
        variables: What the model says of the columns: a category's text is a name, even if it looks like a number.

    Raises:
        DataError: There is no such data set, or a root for a CSV file.
    """
    from causalcf import datasets
    from causalcf.data import Batch, read_csv

    if name.endswith(".csv"):
        if root is not None:
            raise DataError(f"--root {root}: {name} is a file by itself. Leave the option out.")
        return Batch(read_csv(name, variables))  # type: ignore[arg-type]  # columns yet to be read as variables
    loaders = {
        "digits": lambda: datasets.Digits(split),  # type: ignore[arg-type]
        "morphomnist": lambda: datasets.MorphoMNIST(root, split),  # type: ignore[arg-type]
        "mnist": lambda: datasets.MNIST(root, split),  # type: ignore[arg-type]
        "celeba": lambda: datasets.CelebA(root, split),  # type: ignore[arg-type]
        "celeba-complex": lambda: datasets.CelebA(root, split, graph="celeba-complex"),  # type: ignore[arg-type]
        "adult": lambda: datasets.Adult(root, split),  # type: ignore[arg-type]
    }
    if name not in loaders:
        raise DataError(f"There is no data set '{name}'. Known: {list(loaders)}, or the path of a .csv file.")
    return loaders[name]()


def load_split(name: str, root: Path | None, split: str | None, variables: Mapping[str, Variable]) -> tuple[Any, str]:
    """The rows to ask about, by default of the test split, and what they are in a record, such as `digits:test`.

    Raises:
        DataError: A split of a CSV file is asked for.
    """
    if not name.endswith(".csv"):
        return load_data(name, root, split or "test", variables), f"{name}:{split or 'test'}"
    if split is not None:
        raise DataError(f"--split {split}: a CSV file has no splits. Name the file that holds these rows: --data.")
    return load_data(name, root, "test", variables), name


def load_model(name: str, device: str) -> StructuralCausalModel:
    """A model file, or a reference model by its name."""
    from causalcf.reference import pretrained
    from causalcf.scm import StructuralCausalModel

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
    **options: Any,
) -> Records:
    """Scores of a model by their names, with judges, latent space and training images as far as they are there."""
    from causalcf.data import Batch
    from causalcf.evaluation import evaluate
    from causalcf.reference import latent_space
    from causalcf.scores import SCORES

    table = table if hasattr(table, "rows") else Batch(dict(table))
    wanted = None if "all" in names else list(names)
    compared = wanted is None or any("reference" in SCORES[name].needs for name in wanted if name in SCORES)
    return evaluate(
        scm,
        table,
        wanted,
        predictors=_judges(judges, data, scm),
        reference=load_data(data, root, "train") if compared and not data.endswith(".csv") else None,
        latents=latent_space(data, device=scm.device),
        perception=_perception(vgg),
        residuals=[parse_residual(text) for text in residuals or ("1", "0")],
        n=min(1000, table.rows) if n is None else n,
        progress=lambda text: typer.echo(text, err=True),
        **options,
    )


def _judges(given: str | None, data: str, scm: StructuralCausalModel) -> Predictors | None:
    """Predictors of a name or in a folder; unless one is given, those of the data if they read the model's nodes."""
    from causalcf import predictors
    from causalcf.predictors.shipped import known

    device = str(scm.device)
    if given is not None and Path(given).is_dir():
        return predictors.pretrained(data, folder=given, device=device)
    if given is not None:
        return predictors.pretrained(given, device=device)
    judges = predictors.pretrained(data, device=device) if known(data) else {}
    return judges if judges and set(judges) <= set(scm.graph.nodes) else None  # type: ignore[return-value]


RESIDUALS = {"morphomnist": ("1", "0", "thickness=1,digit=0")}
"""Benchmark -> residuals it scores, where they are not 1 and 0. Of .25 to 4 px, 1 was
best on the truth of 500 training images, for VAE, tuned VAE, HVAE and GAN alike; see docs/concepts.md."""


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
    """What the tables of a data set compare: models by name or file, mechanisms of one's own, judges, latent space."""
    from causalcf import predictors
    from causalcf.benchmark_tables import Benchmark, file_digest, fitted_once, read_mechanism_file
    from causalcf.mechanisms import Mechanism
    from causalcf.reference import latent_space
    from causalcf.scm import StructuralCausalModel

    if not models and not files:
        raise DataError(
            f"There are no reference models of {data}. Fit one, causalcf fit {data} --data {data} --mechanism image=VAE"
            " --out model.safetensors, and name it: --model model.safetensors."
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
        predictors=predictors.pretrained(data, folder=judges, device=device),
        latents=space,
        perception=_perception(vgg),
        features=_inception(),
        residuals=[parse_residual(text) for text in residuals or RESIDUALS.get(data, ("1", "0"))],
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


def truth_of(name: str, table: Any, x: Any, do: Mapping[str, Any]) -> Any:
    """The true counterfactual of some rows of a data set."""
    if not hasattr(table, "truth"):
        raise DataError(f"--truth: '{name}' does not know its true counterfactuals. digits and morphomnist do.")
    return table.truth(x, do)


def acted_values(cf: Counterfactual, worlds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The values that actions gave the nodes acted on, by world: what a shift or a scale came to.

    Latent sites, which no truth knows, keep the action itself.
    """
    views = [cf.world(i) for i in range(len(worlds))] if cf.listed else [cf]
    firsts = [view.sample(0) if cf.num_samples else view for view in views]
    return [
        {target: first.get(target, action) for target, action in world.items()}
        for first, world in zip(firsts, worlds, strict=True)
    ]


def slice_rows(table: Batch, rows: str) -> Batch:
    """Rows `6` (the first six) or `10:20` of a table, with their row numbers."""
    start, _, stop = rows.rpartition(":")
    if not stop.isdigit() or (start and not start.isdigit()):
        raise DataError(f"--rows {rows}: expected a number, or start:stop.")
    return table[int(start or 0) : int(stop)]
