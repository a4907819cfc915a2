"""What every query owes, driven by the registry: a new one inherits the suite by adding a row."""

# ruff: noqa: ARG005 - every row is called alike
import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import causalcf as ccf
import causalcf.queries as Q
from causalcf.core.errors import NotFittedError, UnknownNodeError
from causalcf.queries import QUERIES, Estimate, Estimates, Recourse, Sensitivity
from causalcf.queries.examples import linear

ARMS = {"treated": 1.0, "control": 0.0}
SOON = {"draws": 200}


@dataclass(frozen=True)
class Row:
    """How to call a query.

    Args:
        ask: Model, rows of it, name of the cause and options -> the answer.
        draws: Whether the answer depends on a seed in the linear model.
    """

    ask: Callable[..., Any]
    draws: bool = False


def _unit(rows: Any) -> dict[str, Any]:
    return dict(rows[:4])


def _recourse(scm, rows, x, **options):
    wide = {"low": -20.0, "high": 20.0}
    return Q.recourse(scm, lambda r: r["y"] - 9.0, _unit(rows), may_change={x: wide}, **options)


CASES = {
    "effect": Row(lambda s, r, x, **o: Q.effect(s, x, lambda v: v["y"] ** 2, **ARMS, **SOON, **o), draws=True),
    "effect on treated": Row(lambda s, r, x, **o: Q.effect_on_treated(s, x, "y", r, control=0.0, **o)),
    "mediation": Row(lambda s, r, x, **o: Q.mediation(s, x, "m", lambda v: v["m"] * v["y"], **SOON, **o), draws=True),
    "necessity": Row(
        lambda s, r, x, **o: (
            Q.necessity(s, x, "y", treated=lambda v: v > 0, control=lambda v: v <= 0, above=0.0, **SOON, **o)
            if x == "w"
            else Q.necessity(s, "b", "y", above=0.0, **SOON, **o)
        ),
        draws=True,
    ),
    "quantiles": Row(lambda s, r, x, **o: Q.quantiles(s, "y", do={x: 1.0}, **SOON, **o), draws=True),
    "density": Row(
        lambda s, r, x, **o: Q.density(s, "y", torch.linspace(-3, 3, 5), do={x: 1.0}, **SOON, **o), draws=True
    ),
    "change": Row(
        lambda s, r, x, **o: Q.attribute_change(s, _shifted(s), "y" if x == "x" else x, **SOON, **o), draws=True
    ),
    "path effect": Row(lambda s, r, x, **o: Q.path_effect(s, x, "y", r, along=[("x", "y")], to=1.0, **o)),
    "fairness": Row(lambda s, r, x, **o: Q.counterfactual_fairness(s, lambda v: v["y"], r, protected=x, to=1.0, **o)),
    "recourse": Row(_recourse),
    "bounds": Row(lambda s, r, x, **o: Q.bounds(s, "b" if x == "x" else x, "y", above=0.0, **SOON, **o), draws=True),
    "sensitivity": Row(
        lambda s, r, x, **o: Q.sensitivity(
            s,
            lambda m: Q.effect(m, x, lambda v: v["y"] ** 2, **ARMS, **SOON, **o),
            confounded=("x", "m"),
            strength=[0.0, 0.4],
        ),
        draws=True,
    ),
    "outlier": Row(
        lambda s, r, x, **o: Q.attribute_outlier(s, "y" if x == "x" else x, _unit(r), **SOON, **o), draws=True
    ),
}


def model() -> ccf.SCM:
    """The linear example with a Boolean root b that adds 1 to y."""
    edges = [("x", "m"), ("x", "y"), ("m", "y"), ("b", "y")]
    variables = {**dict.fromkeys("xmy", ccf.Real()), "b": ccf.Boolean()}
    scm = ccf.SCM(edges, variables, {node: ccf.mechanisms.LinearGaussian() for node in "xmy"})
    for node in "xm":
        scm.mechanisms[node].load_state_dict(linear().mechanisms[node].state_dict())
    order = list(scm.mechanisms["y"].parents)
    weights = {"x": 0.5, "m": 2.0, "b": 1.0}
    scm.mechanisms["y"].weight.data = torch.cat(
        [torch.full((scm.variables[parent].num_features,), weights[parent]) for parent in order]
    )
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    return scm


def _shifted(scm: ccf.SCM) -> ccf.SCM:
    other = copy.deepcopy(scm)
    other.mechanisms["x"].intercept.data += 1.0
    return other


@pytest.fixture(scope="module")
def scm() -> ccf.SCM:
    return model()


@pytest.fixture(scope="module")
def rows(scm):
    return scm.sample(64, seed=3)


def numbers(answer: Any) -> list[float]:
    """All numbers of an answer."""
    if isinstance(answer, Estimate):
        return [answer.value, answer.low, answer.high]
    if isinstance(answer, Sensitivity):
        return [n for one in answer.estimates for n in numbers(one)]
    if isinstance(answer, Recourse):
        return [*answer.cost.flatten().tolist(), *answer.works.double().flatten().tolist()]
    if isinstance(answer, torch.Tensor):
        return answer.double().flatten().tolist()
    parts = answer.values() if hasattr(answer, "values") else [answer]
    return [n for part in parts for n in (numbers(part) if not isinstance(part, float) else [part])]


each = pytest.mark.parametrize("name", sorted(QUERIES))


def test_every_query_has_a_row() -> None:
    assert set(CASES) == set(QUERIES)


@each
def test_it_says_what_it_asks_how_and_whence(name) -> None:
    query = QUERIES[name]
    text = inspect.getdoc(query.function) or ""
    assert query.asks.endswith("?")
    assert query.rung in (2, 3)
    for part in ("References:", "Args:", "Example:\n    >>> "):
        assert part in text, f"{name} has no {part}"
    documented = text.split("Args:")[1]
    for argument in inspect.signature(query.function).parameters:
        assert f"\n    {argument}: " in documented, f"{name} does not say what {argument} is"


@each
def test_answers_are_finite_and_inside_their_intervals(name, scm, rows) -> None:
    answer = CASES[name].ask(scm, rows, "x", **_seed(name, 0))
    found = numbers(answer)
    assert found
    assert all(math.isfinite(number) for number in found)
    parts = answer.values() if isinstance(answer, Estimates) else [answer] if isinstance(answer, Estimate) else []
    for part in parts:
        assert part.low <= part.value <= part.high
        assert part.assumptions
        assert part.draws > 1


def _seed(name: str, seed: int) -> dict[str, int]:
    if name == "sensitivity" or "seed" in inspect.signature(QUERIES[name].function).parameters:
        return {"seed": seed}
    return {}


@each
def test_the_same_seed_gives_the_same_and_another_another(name, scm, rows) -> None:
    one, again, other = (numbers(CASES[name].ask(scm, rows, "x", **_seed(name, seed))) for seed in (5, 5, 6))
    assert one == again
    assert not CASES[name].draws or one != other


@each
def test_asking_changes_nothing(name, scm, rows) -> None:
    weights = {key: value.clone() for key, value in scm.state_dict().items()}
    values = {node: value.clone() for node, value in rows.items()}
    graph, seen = scm.graph, copy.deepcopy(scm.seen)
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    CASES[name].ask(scm, rows, "x", **_seed(name, 0))
    assert all(torch.equal(value, scm.state_dict()[key]) for key, value in weights.items())
    assert all(torch.equal(value, rows[node]) for node, value in values.items())
    assert scm.graph is graph
    assert scm.seen == seen
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpys).all()


@each
def test_it_answers_in_64_bits_as_in_32(name, scm, rows) -> None:
    double = model().double()
    wide = {node: value.double() if value.is_floating_point() else value for node, value in rows.items()}
    ours = numbers(CASES[name].ask(scm, rows, "x", **_seed(name, 0)))
    theirs = numbers(CASES[name].ask(double, ccf.Batch(wide), "x", **_seed(name, 0)))
    assert ours == pytest.approx(theirs, rel=0.05, abs=0.05)


@each
def test_an_unfitted_model_is_not_asked(name, rows) -> None:
    new = ccf.SCM(model().graph, mechanisms={node: ccf.mechanisms.LinearGaussian() for node in "xmy"})
    with pytest.raises(NotFittedError, match=r"not fitted. Call scm.fit"):
        CASES[name].ask(new, rows, "x", **_seed(name, 0))


@each
def test_an_unknown_node_is_named_with_those_there_are(name, scm, rows) -> None:
    with pytest.raises(UnknownNodeError, match=r"'w'.*'m'"):
        CASES[name].ask(scm, rows, "w", **_seed(name, 0))
