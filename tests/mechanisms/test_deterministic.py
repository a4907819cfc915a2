"""Noiseless nodes: functions and classifiers of their parents."""

import pytest
import torch
from torch import nn

import causalcf as ccf
from causalcf.core.errors import DensityError, MechanismError


def test_a_function_needs_no_data_and_no_training(rows: ccf.Batch) -> None:
    scm = ccf.SCM(
        [("x", "s"), ("s", "y")],
        {"s": ccf.Real()},
        {"s": ccf.mechanisms.Deterministic(lambda pa: pa["x"].square())},
    ).fit({"x": rows["x"], "y": rows["y"]}, epochs=1, seed=0, progress=False)
    assert {record["node"] for record in scm.history} == {"x", "y"}
    cf = scm.counterfactual({"x": [3.0], "y": [1.0]}, {"x": 2.0})
    assert cf["s"].item() == 4.0
    assert cf.factual is not None
    assert cf.factual["s"].item() == 9.0
    assert "s.u" not in cf.noise
    assert (scm.sample(9, seed=0)["s"] >= 0).all()
    with pytest.raises(DensityError, match=r"'s' is a deterministic function of \['x'\].*Condition on its parents"):
        scm.mechanisms["s"].dist({})


def test_a_module_inside_moves_with_the_model(rows: ccf.Batch) -> None:
    class Doubles(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.k = nn.Parameter(torch.tensor(2.0))

        def forward(self, pa: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.k * pa["x"]

    module = Doubles()
    scm = ccf.SCM([("x", "s")], {"x": ccf.Real(), "s": ccf.Real()}, {"s": ccf.mechanisms.Deterministic(module)})
    scm.fit({"x": rows["x"]}, epochs=1, seed=0, precision="64-true", progress=False)
    assert scm.mechanisms["s"].fn.k.dtype == torch.float64
    assert module.k.dtype == torch.float32, "the caller's module stays as it was"
    assert torch.equal(scm.sample(4, seed=0)["s"], 2 * scm.sample(4, seed=0)["x"])


@pytest.mark.parametrize("what", [lambda pa: pa["x"][:1], lambda pa: pa["x"].tolist(), lambda _: 1.0])
def test_what_a_function_gives_is_checked(what: object) -> None:
    mechanism = ccf.mechanisms.Deterministic(what).bind("s", ccf.Real(), {"x": ccf.Real()})  # type: ignore[arg-type]
    with pytest.raises(MechanismError, match=r"The function of 's' must give a tensor of shape \(3,\), got"):
        mechanism.predict({}, {"x": torch.zeros(3)})


def test_a_classifier_reads_its_parents_in_the_order_given() -> None:
    parents = {"a": ccf.Real(), "b": ccf.Real()}
    pa = {"a": torch.ones(2), "b": torch.zeros(2)}
    for inputs, expected in (((), [1.0, 1.0]), (("b", "a"), [-1.0, -1.0])):
        f = ccf.mechanisms.Classifier(lambda first, second: first - second, inputs=inputs)
        assert f.bind("y", ccf.Real(), parents).predict({}, pa).tolist() == expected
