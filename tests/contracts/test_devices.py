"""CPU and GPU agree within 1e-4 of a variable's range.

Without a GPU, a copy gives what the original gives, and all that it makes on its way lies where its inputs do.

The differences are recorded as properties of the tests, for reports (`--junitxml`).
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts import test_explainers, test_metrics
from contracts.elsewhere import Elsewhere, off
from contracts.test_mechanisms import CASES, Row, _id, _observed, _parents, _ready
from torch import Tensor

from causalcf.core.errors import DensityError
from causalcf.explainers import EXPLAINERS, Explainer
from causalcf.mechanisms import Mechanism
from causalcf.metrics import METRICS

THERE = "cuda" if torch.cuda.is_available() else "cpu"
WITHIN = 1e-4

Record = Callable[[str, object], None]


@contextmanager
def _precision(tf32: bool) -> Iterator[None]:
    """Convolutions in TF32, as torch has them on a GPU, or in full precision."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _there(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(THERE) for name, value in values.items()}


def _apart(here: Tensor, there: Tensor) -> float:
    """Largest difference, as a share of the range (of 1 at least); for codes, the share of rows that differ."""
    assert there.device.type == THERE
    there = there.cpu()
    if not here.is_floating_point():
        return float((here != there).double().mean())
    here, there = here.double(), there.double()
    return float((here - there).abs().max() / max(1.0, float(here.max() - here.min())))


def _density(mechanism: Mechanism, x: Tensor, u: Mapping[str, Tensor], pa: Mapping[str, Tensor]) -> Tensor:
    return mechanism.dist(pa, {site: u[site] for site in mechanism.latents}).log_prob(x)


@pytest.mark.parametrize(("name", "row"), CASES, ids=_id)
def test_mechanisms_agree(name: str, row: Row, record_property: Record) -> None:
    mechanism = _ready(row, torch.float32)
    twin = copy.deepcopy(mechanism).to(THERE)
    x, pa = _observed(row, mechanism, 64)
    u, other = mechanism.abduct(x, pa), _parents(row, 64, torch.float32, seed=4)
    worst = {}
    for tf32 in (True, False):
        with _precision(tf32), off(THERE):
            found = {"predict": _apart(mechanism.predict(u, other), twin.predict(_there(u), _there(other)))}
            if not mechanism.is_random(sample=False):
                again = twin.abduct(x.to(THERE), _there(pa))
                found |= {f"abduct {site}": _apart(u[site], again[site]) for site in u}
            try:
                here = _density(mechanism, x, u, pa)
            except DensityError:
                pass
            else:
                found["density"] = _apart(here, _density(twin, x.to(THERE), _there(u), _there(pa)))
            assert {drawn.device.type for drawn in twin.sample_noise(3).values()} <= {THERE}
        for what, difference in found.items():
            record_property(f"{name} {what}{' tf32' if tf32 else ''}", difference)
        worst[tf32] = max(found.values())
    assert worst[False] <= WITHIN
    if THERE == "cpu":
        assert worst[True] == 0.0


@pytest.mark.parametrize("name", METRICS)
def test_metrics_agree(name: str, record_property: Record) -> None:
    row = test_metrics.ROWS[name]
    given = [x.float() if x.is_floating_point() else x for x in row.make()]
    here = row.call(*given)
    with _precision(tf32=False), off(THERE):
        there = row.call(*(x.to(THERE) for x in given)).to(THERE)  # some scores are numbers of the host
    record_property(name, _apart(here, there))
    assert _apart(here, there) <= WITHIN


@pytest.mark.parametrize("name", EXPLAINERS)
def test_explainers_agree(name: str, record_property: Record, tmp_path: Path) -> None:
    """Fitted here, asked there; in double precision, so that rounding crosses no threshold."""
    here = test_explainers._explainer(name)
    rows, target = test_explainers._asked(here, test_explainers._rows(name, 64))
    there = _moved(here, test_explainers.ROWS[name], tmp_path / "explainer.safetensors")
    mine = here.explain(rows, target, seed=0)
    with off(THERE):
        other = there.explain(_there(rows), target.to(THERE), seed=0)
    difference = _apart(mine.counterfactual, other.counterfactual)
    record_property(name, difference)
    record_property(f"{name} reached", _apart(mine.reached, other.reached))
    assert difference <= WITHIN


def _moved(explainer: Explainer, row: test_explainers.Row, path: Path) -> Explainer:
    scm: Any = copy.deepcopy(explainer.scm).to(THERE)
    if not explainer.trains:
        return type(explainer)(scm, classifier=row.classifier(), **row.settings)
    explainer.save(path)
    return Explainer.load(path, scm, classifier=row.classifier())


def test_what_lies_elsewhere_is_seen() -> None:
    x = torch.ones(3)
    with Elsewhere():
        together = x + torch.zeros_like(x) + x.new_zeros(3) + torch.zeros(3, device=x.device)
        with pytest.raises(RuntimeError, match="device"):
            x + torch.zeros(3)
    assert torch.equal(together, x)
