"""Answers do not depend on torch's contexts, threads or processes, and no question moves torch's random state."""

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import causalcf as ccf
from causalcf.mechanisms import Recipe

NORMAL = Normal(torch.tensor(0.0), torch.tensor(1.0))
SCORES = nn.Linear(2, 3)
VARIABLES = {
    "x": ccf.Real(),
    "y": ccf.Real(),
    "p": ccf.Positive(),
    "i": ccf.Interval(0, 10),
    "b": ccf.Boolean(),
    "c": ccf.Categorical(["blue", "green", "red"]),
    "v": ccf.Vector(2),
    "n": ccf.Count(),
    "o": ccf.Ordinal(4),
}
EDGES = ["xy", "xi", "yp", "yb", "xc", "bc", "pv", "iv", "xn", "no"]


def _data(n: int = 150) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    e = torch.randn(10, n, generator=draw)
    x, y = e[0], e[0] + e[1]
    n_ = (e[2] + x).exp().round().clamp_max(40)
    return {
        "x": x,
        "y": y,
        "p": (0.3 * y + e[3]).exp(),
        "i": 10 * torch.sigmoid(x + e[4]),
        "b": y + e[5] > 0,
        "c": (x + e[6]).round().clamp(-1, 1).long() + 1,
        "v": e[7:9].T.contiguous(),
        "n": n_,
        "o": (n_ / 3 + e[9]).round().clamp(0, 3).long(),
    }


DATA = _data()


def _fit() -> ccf.SCM:
    """A few steps of every kind of mechanism, and one that is solved in closed form."""
    short = {node: Recipe(epochs=1, min_steps=3, batch_size=64, lr=1e-2) for node in VARIABLES}
    scm = ccf.SCM([(a, b) for a, b in EDGES], VARIABLES, {"y": ccf.mechanisms.LinearGaussian()})
    return scm.fit(DATA, recipes=short, seed=0, progress=False)


@pytest.fixture(scope="module")
def scm() -> ccf.SCM:
    return _fit()


X = ccf.Batch({node: value[:20] for node, value in DATA.items()})
GAPS = {node: value for node, value in X.items() if node not in "yn"}

VERBS: dict[str, Callable[[ccf.SCM], Any]] = {
    "read": lambda scm: scm.read(X),
    "sample": lambda scm: scm.sample(16, do={"x": 1.0}, seed=0),
    "abduct": lambda scm: scm.abduct(X, seed=0),
    "predict": lambda scm: scm.predict(scm.abduct(X, seed=0), [{"x": 0.5}, {"y": ccf.shift(1.0)}], seed=0),
    "counterfactual": lambda scm: scm.counterfactual(X, [{"x": NORMAL}, {"c": "red"}], seed=0, num_samples=3),
    "site": lambda scm: scm.counterfactual(X, {"y.u": 0.5, "v.u": [0.0, 1.0]}, seed=0),
    "function": lambda scm: scm.counterfactual(X, {"y": lambda pa: 2 * pa["x"]}, seed=0),
    "lists": lambda scm: scm.counterfactual({n: v.tolist() for n, v in X.items()}, {"y": [0.5] * X.rows}, seed=0),
    "infer": lambda scm: scm.infer(GAPS, num_samples=300, seed=0).draws,
    "log_prob": lambda scm: scm.log_prob(X),
    "check": lambda scm: scm.counterfactual(X, {"x": 0.5}, seed=0).check().extrapolates,
    "frame": lambda scm: scm.counterfactual(X, {"x": 0.5}, seed=0).to_frame().to_csv(),
    "attach": lambda scm: scm.attach("l", SCORES, ["v"]).counterfactual(X, {"x": 0.5}, seed=0),
    "effect": lambda scm: str(ccf.queries.effect(scm, "x", "p", treated=1.0, control=0.0, draws=50)),
    "copy": lambda scm: copy.deepcopy(scm.counterfactual(X, {"x": 0.5}, seed=0)),
    "fit": lambda _: _fit().state_dict(),
}


@contextmanager
def _default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default type": lambda: _default_type(torch.float64),
    "half type": lambda: _default_type(torch.bfloat16),
    "device context": lambda: torch.device("meta"),
    "default device": _default_device,
}


def _values(answer: Any) -> list[Any]:
    if isinstance(answer, Mapping):
        return [value for name in answer for value in _values(answer[name])]
    return [answer]


@pytest.fixture(scope="module")
def plain(scm: ccf.SCM) -> dict[str, list[Any]]:
    """The answers outside any context."""
    state = torch.get_rng_state()
    answers = {verb: _values(ask(scm)) for verb, ask in VERBS.items()}
    assert torch.equal(torch.get_rng_state(), state), "a question moved torch's random state"
    return answers


@pytest.mark.parametrize("context", CONTEXTS)
def test_no_context_changes_an_answer(scm: ccf.SCM, plain: dict[str, list[Any]], context: str) -> None:
    wrong, state = [], torch.get_rng_state()
    for verb, ask in VERBS.items():
        try:
            with CONTEXTS[context]():
                found = _values(ask(scm))
        except Exception as error:  # every verb is to be tried
            wrong.append(f"{verb}: {type(error).__name__}: {error}")
            continue
        same = [a == b if isinstance(a, str) else torch.equal(a, b) for a, b in zip(found, plain[verb], strict=True)]
        wrong += [verb] * (not all(same))
    assert not wrong
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------------- threads and processes


def _ask(scm: ccf.SCM, seed: int) -> dict[str, Tensor]:
    return dict(scm.counterfactual(X, {"x": NORMAL}, seed=seed)) | {"draw": scm.sample(5, seed=seed)["o"]}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_four_threads_give_what_one_gives(scm: ccf.SCM) -> None:
    alone = [_ask(scm, seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: _ask(scm, i % 4), range(24)))
    assert all(_same(answer, alone[i % 4]) for i, answer in enumerate(together))


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.trust)])
def test_a_process_gives_what_its_parent_gives(scm: ccf.SCM, start: str) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context(start)) as pool:
        found = pool.submit(_ask, scm, 1).result(300)
    assert _same(found, _ask(scm, 1))


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_whatever_is_answered_can_be_copied_and_sent(scm: ccf.SCM, travel: Callable[[Any], Any]) -> None:
    posterior = scm.infer(GAPS, num_samples=300, seed=0)
    answers: list[Any] = [
        scm.counterfactual(X, [{"x": 0.5}, {"c": "red"}], seed=0, num_samples=2),
        scm.abduct(X, seed=0),
        scm.log_prob(X),
        scm.read(X),
        posterior.draws,
        scm.variables,
        scm.state_dict(),
        scm.counterfactual(X, {"x": 0.5}, seed=0).factual,
    ]
    for answer in answers:
        again = travel(answer)
        assert type(again) is type(answer)
        found, expected = _values(again), _values(answer)
        assert all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(found, expected, strict=True))
    for answer in (
        posterior,
        scm.graph,
        scm.counterfactual(X, {"x": 0.5}, seed=0).check(),
        ccf.queries.effect(scm, "x", "p", treated=1.0, control=0.0, draws=50),
    ):
        assert str(travel(answer)) == str(answer)


# ---------------------------------------------------------------------- python -W error

PROGRAM = """
import torch, causalcf as ccf
x = torch.randn(200, generator=torch.Generator().manual_seed(0))
data = {"x": x, "y": 2 * x + 0.1 * torch.sin(99 * x), "b": x > 0}
short = {n: ccf.mechanisms.Recipe(epochs=1, min_steps=3, batch_size=64, lr=1e-2) for n in data}
scm = ccf.SCM([("x", "y"), ("x", "b")]).fit(data, seed=0, recipes=short, progress=False)
cf = scm.counterfactual({n: v[:5] for n, v in data.items()}, do={"x": ccf.shift(0.1)}, seed=0)
cf.check(), cf.to_frame(), scm.log_prob(data), scm.abduct(data, seed=0), str(cf), str(scm)
scm.save("model.safetensors")
ccf.SCM.load("model.safetensors").sample(5, seed=0)
"""


@pytest.mark.trust
def test_nothing_warns_that_should_not(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_question_without_a_seed_takes_one_number_and_no_more(scm: ccf.SCM) -> None:
    torch.manual_seed(3)
    first = scm.sample(5)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    torch.randint(2**31 - 1, ())
    assert torch.equal(torch.get_rng_state(), after)
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(scm.sample(5)["y"], first["y"])
