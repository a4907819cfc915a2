"""Random causal models: a graph, a variable of any kind for each node, any mechanism that goes with it, random weights.

Everything follows from the number of the model: `random_model(7)` is the same one everywhere.
"""

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import networkx as nx
import torch
from torch import Tensor, nn

import causalcf as ccf
from causalcf.core import draws
from causalcf.mechanisms import Mechanism, Recipe
from causalcf.mechanisms.flow import InvertibleMechanism
from causalcf.variables import Variable

__all__ = ["KINDS", "Model", "random_model", "rows_of"]

DATA = 200
"""Rows that scales are taken from."""

FITTED = 0.02
"""Share of the models that are fitted for a few steps."""

AFFINE = 0.35
"""Share of the models whose flows are affine, so that all of their answers have a closed form."""


@dataclass
class Model:
    """A random model.

    Args:
        seed: Its number.
        scm: The model itself, ready to be asked.
        affine: Whether its flows are affine maps.
        fitted: Whether it was fitted for a few steps.
        ranges: node -> how far its ordinary values spread.
        drawn: Ordinary rows, once they were drawn.
    """

    seed: int
    scm: ccf.SCM
    affine: bool
    fitted: bool
    ranges: dict[str, float] = field(default_factory=dict)
    drawn: ccf.Batch | None = None

    @property
    def kinds(self) -> dict[str, str]:
        """node -> variable and mechanism, for the table of what was tried."""
        return {n: f"{m.variable.kind} {type(m).__name__}" for n, m in self.scm.mechanisms.items()}

    @property
    def closed(self) -> bool:
        """Whether every answer has a closed form."""
        return self.affine and not any(v.kind == "Vector" for v in self.scm.variables.values())

    @property
    def double(self) -> bool:
        """Whether it computes in 64 bits."""
        return self.scm.dtype == torch.float64

    def generator(self, purpose: int) -> torch.Generator:
        """Random numbers of its own."""
        return torch.Generator().manual_seed(1000 * self.seed + purpose)


# ---------------------------------------------------------------------- what a node may be


class Scores(nn.Module):
    """A classifier of any parents: a linear map of all their numbers."""

    def __init__(self, outputs: int, draw: random.Random) -> None:
        super().__init__()
        self.outputs, self.slope = outputs, draw.uniform(-2, 2)

    def forward(self, *parents: Tensor) -> Tensor:
        total = _total(dict(enumerate(parents)))
        steps = torch.arange(1, self.outputs + 1).to(total) * self.slope
        return torch.tanh(total).unsqueeze(-1) * steps + steps.flip(0)


def _total(pa: dict) -> Tensor:
    like = next((x for x in pa.values() if x.is_floating_point()), torch.zeros(()))
    return torch.stack([x.to(like).reshape(len(x), -1).mean(1) for x in pa.values()]).mean(0)


def _exceeds(pa: dict) -> Tensor:
    return _total(pa) > 0.5


def _whole(pa: dict) -> Tensor:
    return (5 * torch.tanh(_total(pa)).abs()).floor()


def _hidden(draw: random.Random) -> tuple[int, ...]:
    return draw.choice([(4,), (8,), (8, 8)])


def _interval(draw: random.Random) -> Variable:
    low = draw.choice([0.0, -1.0, 64.0, -1e4, 1e5])
    return ccf.Interval(low, low + draw.choice([1.0, 191.0, 0.1, 1e4]) * max(1.0, abs(low) * 1e-2))


m = ccf.mechanisms
KINDS: list[tuple[Callable[[random.Random], Variable], Callable[[random.Random], Mechanism]]] = [
    (lambda _: ccf.Real(), lambda d: m.Flow(bins=d.choice([2, 8]), hidden=_hidden(d))),
    (lambda _: ccf.Real(), lambda d: m.AdditiveNoise(hidden=_hidden(d))),
    (lambda _: ccf.Real(), lambda _: m.LinearGaussian()),
    (lambda _: ccf.Positive(), lambda d: m.Flow(hidden=_hidden(d))),
    (_interval, lambda d: m.Flow(hidden=_hidden(d))),
    (lambda d: ccf.Vector(d.randint(1, 3)), lambda d: m.Flow(hidden=_hidden(d))),
    (lambda _: ccf.Boolean(), lambda d: m.Boolean(hidden=_hidden(d))),
    (lambda d: ccf.Categorical(d.randint(2, 12)), lambda d: m.Categorical(hidden=_hidden(d))),
    (lambda d: ccf.Ordinal(d.randint(2, 9)), lambda d: m.Ordinal(hidden=_hidden(d))),
    (lambda _: ccf.Count(), lambda d: m.Count(hidden=_hidden(d), components=d.randint(1, 5))),
]
"""What a node may be, with parents or without."""

NOISELESS: list[tuple[Callable[[random.Random], Variable], Callable[[random.Random], Mechanism]]] = [
    (lambda _: ccf.Real(), lambda _: m.Deterministic(_total)),
    (lambda _: ccf.Boolean(), lambda _: m.Deterministic(_exceeds)),
    (lambda _: ccf.Count(), lambda _: m.Deterministic(_whole)),
    (lambda _: ccf.Categorical(4), lambda d: m.Classifier(Scores(4, d))),
    (lambda _: ccf.Boolean(), lambda d: m.Classifier(Scores(1, d))),
]
"""What a node with parents may be, besides."""


# ---------------------------------------------------------------------- a model


def random_model(seed: int) -> Model:
    """The model of a number."""
    draw = random.Random(seed)
    names = [f"n{i}" for i in range(draw.choice([1, 2, 3, 3, 4, 4, 5, 7]))]
    density = draw.uniform(0.2, 1.0)
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((a, b) for j, b in enumerate(names) for a in names[:j] if draw.random() < density)
    parts = {
        name: draw.choice(NOISELESS if graph.in_degree(name) and draw.random() < 0.12 else KINDS) for name in names
    }
    variables = {name: variable(draw) for name, (variable, _) in parts.items()}
    scm = ccf.SCM(graph, variables, {name: mechanism(draw) for name, (_, mechanism) in parts.items()})
    scm = scm.double() if draw.random() < 0.5 else scm
    model = Model(seed, scm, affine=draw.random() < AFFINE, fitted=draw.random() < FITTED)
    _randomise(model, draw)
    if model.fitted:
        _fit(model)
    return model


@torch.no_grad()
def _randomise(model: Model, draw: random.Random) -> None:
    """Random weights, in topological order, scales being taken from data as `fit` takes them."""
    generator, values = model.generator(0), {}
    for node, mechanism in model.scm.mechanisms.items():
        pa = {parent: values[parent] for parent in model.scm.graph.parents(node)}
        if mechanism.sites:
            data = _data(mechanism.variable, draw, generator, mechanism.dtype)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mechanism.calibrate(data, pa)
            _weights(mechanism, draw, generator, data, pa)
            if model.affine and isinstance(mechanism, InvertibleMechanism):
                _straighten(mechanism)
        with draws.by_row(draws.row_keys(torch.arange(DATA), model.seed), node):
            noise = mechanism.sample_noise(DATA)
        values[node] = mechanism.variable.project(mechanism.predict(noise, pa))
        mechanism.fitted = True
    model.ranges = {node: _range(x) for node, x in values.items() if x.is_floating_point()}


def _range(x: Tensor) -> float:
    x = x[torch.isfinite(x)].double()
    width = float(x.amax() - x.amin())
    return width or float(x.abs().amax()) or 1.0


def _data(variable: Variable, draw: random.Random, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Data that a node of this kind may have: any scale, heavy tails, outliers."""
    y = torch.randn((DATA, *variable.event_shape), generator=generator, dtype=torch.float64)
    if draw.random() < 0.2:  # heavy tails
        y = y * torch.randn(DATA, generator=generator).abs().pow(2).reshape(-1, *[1] * (y.ndim - 1))
    if isinstance(variable, ccf.Interval):
        return variable.bijector(draw.uniform(-2, 2) + y).to(dtype)  # type: ignore[operator]
    if isinstance(variable, ccf.Positive):
        x = (draw.uniform(-5, 5) + draw.uniform(0.1, 1.5) * y).exp()
    elif isinstance(variable, ccf.Count):
        x = (10 ** draw.uniform(-1, 4.5) * (0.5 * y).exp()).round().clamp_max(1e6)
    elif variable.discrete:
        x = torch.randint(getattr(variable, "k", 2), (DATA,), generator=generator)
        return x.bool() if variable.kind == "Boolean" else x
    else:
        scale = 10 ** draw.uniform(-3, 4)
        x = scale * (draw.choice([0.0, 0.0, 3.0, -50.0]) + y)
    if draw.random() < 0.1 and not isinstance(variable, ccf.Count):
        x[: DATA // 50] = x[: DATA // 50] * 1e4
    return x.to(dtype)


def _weights(
    mechanism: Mechanism, draw: random.Random, generator: torch.Generator, data: Tensor, pa: dict[str, Tensor]
) -> None:
    """Random weights, from tame ones to such as a network that is very sure has."""
    gain = draw.choice([0.3, 1.0, 1.0, 3.0])
    for parameter in mechanism.parameters():
        fan_in = max(parameter[0].numel(), 1) if parameter.ndim > 1 else 4
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.copy_((gain * fan_in**-0.5 * noise).to(parameter))
    if isinstance(mechanism, m.LinearGaussian):
        spread = float(data.double().std()) or 1.0
        mechanism.intercept.fill_(float(data.double().mean()))
        mechanism.log_scale.fill_(torch.tensor(spread).log() + draw.uniform(-2, 1))
        if mechanism.encoder.width:
            features = mechanism.encoder.raw(pa).double()
            mechanism.weight.mul_((spread / features.std(0).clamp_min(1e-6)).to(mechanism.weight))


def _straighten(mechanism: InvertibleMechanism) -> None:
    """Make a flow affine: its spline's parameters are zero, which is the identity, whatever the parents are."""
    free = 3 * getattr(mechanism, "bins", 0) + 1
    for name, parameter in mechanism.named_parameters():
        if name.startswith(("bijection.", "noise.")):
            axis = next((axis for axis in (0, 1) if parameter.ndim > axis and parameter.shape[axis] % free == 0), None)
            if axis is not None:
                bent = (torch.arange(parameter.shape[axis]) % free >= 2).reshape(-1, *[1] * (parameter.ndim - 1 - axis))
                parameter.masked_fill_(bent, 0.0)


def _fit(model: Model) -> None:
    """A few steps, on rows of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = model.scm.sample(DATA, seed=model.seed)
        short = {node: Recipe(epochs=1, min_steps=3, batch_size=64, lr=1e-3) for node in model.scm.graph.nodes}
        precision = "64-true" if model.double else "32-true"
        model.scm.fit(data, recipes=short, seed=model.seed, precision=precision, progress=False)
    model.affine = False


# ---------------------------------------------------------------------- rows to ask about


def rows_of(model: Model, where: str, n: int = 12) -> ccf.Batch:
    """Rows of a model: "ordinary" ones, ones at the "edges" of supports, ones with an outlier "far" away.

    Nodes without noise of their own are left to the model.
    """
    if model.drawn is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.drawn = model.scm.sample(n, seed=model.seed + 1)
    values = {node: x.clone() for node, x in model.drawn.items()}
    draw = random.Random(f"{model.seed} {where}")
    extremes = {"ordinary": lambda *_: [], "edges": _edges, "far": _outliers}[where]
    for node, variable in model.scm.variables.items():
        found = extremes(variable, model, node)
        for value in found:
            values[node][draw.randrange(n)] = value
    observed = {node: x for node, x in values.items() if model.scm.mechanisms[node].sites}
    return ccf.Batch(observed, torch.arange(n) + 10 * model.seed)


def _edges(variable: Variable, model: Model, node: str) -> list[float | int | bool]:
    tiny = torch.finfo(model.scm.dtype).tiny
    if isinstance(variable, ccf.Interval):
        return [variable.low, variable.high]
    if isinstance(variable, ccf.Positive):
        return [tiny, 1e-20]
    if isinstance(variable, ccf.Count):
        return [0, 0, min(10 * round(model.ranges[node]), 2**20)]
    if variable.kind == "Boolean":
        return [True, False]
    if variable.discrete:
        return [0, variable.num_features - 1, variable.num_features - 1]
    return [0.0, -0.0, tiny]


def _outliers(variable: Variable, model: Model, node: str) -> list[float | int | bool]:
    width = model.ranges.get(node, 1.0)
    if variable.discrete or isinstance(variable, ccf.Interval):
        return []
    if isinstance(variable, ccf.Count):
        return [min(100 * round(width), 2**20)]
    if isinstance(variable, ccf.Positive):
        return [1e30, 100 * width]
    return [1e30, -1e30, 1e8 * width, -20 * width]
