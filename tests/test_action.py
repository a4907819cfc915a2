"""What may be done, and what is said to those who do something else."""

import re

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, MultivariateNormal, Normal, Uniform

import causalcf as ccf
from causalcf.core.errors import CausalCFError, DataError, InterventionError, SupportError, UnknownNodeError


def _act(scm: ccf.SCM, rows: ccf.Batch, **options: object) -> object:
    def act(do: object) -> ccf.Counterfactual:
        return scm.counterfactual(rows[:5], do, seed=0, **options)  # type: ignore[arg-type]

    return act


def test_a_value_may_be_a_number_an_array_a_list_or_a_tensor(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    act = _act(mixed, rows)
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    for do, expected in [
        ({"x": 1.5}, [1.5] * 5),
        ({"x": 2}, [2.0] * 5),
        ({"x": values}, values),
        ({"x": np.array(values)}, values),
        ({"x": torch.tensor(values, dtype=torch.float64)}, values),
        ({"x": np.float32(1.5)}, [1.5] * 5),
    ]:
        assert act(do)["x"].tolist() == expected
        assert act(do)["x"].dtype == torch.float32
    assert act({"v": [1.0, 2.0]})["v"].tolist() == [[1.0, 2.0]] * 5
    assert act({"v": torch.arange(10.0).reshape(5, 2)})["v"].tolist() == torch.arange(10.0).reshape(5, 2).tolist()


def test_a_number_that_could_be_a_name_or_a_code_is_refused() -> None:
    data = {"c": ["1", "2", "3", "1"] * 5, "y": np.arange(20.0)}
    linear = {"y": ccf.mechanisms.LinearGaussian()}
    scm = ccf.SCM([("c", "y")], mechanisms=linear).fit(data, seed=0, progress=False)
    x = {"c": ["1", "3"], "y": [1.0, 2.0]}
    with pytest.raises(DataError, match=r"'c' got numbers, which could be its categories \['1', '2', '3'\] or"):
        scm.counterfactual(x, do={"c": 2})
    assert scm.counterfactual(x, do={"c": "2"})["c"].tolist() == [1, 1]


def test_a_category_may_be_a_name_a_code_or_one_of_these_a_row(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    act = _act(mixed, rows)
    names = ["red", "blue", "green", "red", "blue"]
    assert act({"c": "red"})["c"].tolist() == [2] * 5
    assert act({"c": 2})["c"].tolist() == [2] * 5
    assert act({"c": np.int64(1)})["c"].tolist() == [1] * 5
    assert act({"c": names})["c"].tolist() == [2, 0, 1, 2, 0]
    assert act({"c": np.array(names, dtype=object)})["c"].tolist() == [2, 0, 1, 2, 0]
    assert act({"c": torch.tensor([0, 1, 2, 0, 1])})["c"].tolist() == [0, 1, 2, 0, 1]
    assert act({"b": True})["b"].tolist() == [True] * 5
    assert act({"b": 0})["b"].dtype == torch.bool


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        ({"nose": 1.0}, UnknownNodeError, r"do names \['nose'\], neither nodes \['x', .*\] nor latent sites \['x.u'"),
        ({"x.z": 1.0}, UnknownNodeError, r"do names \['x.z'\]"),
        ({"d.u": 1.0}, UnknownNodeError, r"do names \['d.u'\]"),
        ({"x": 1.0, "x.u": 0.0}, InterventionError, r"do sets \['x.u'\] and also the node itself"),
        ("x", InterventionError, "do must map nodes to actions, as in .*; got 'x'"),
        ([{"x": 1.0}, 3], InterventionError, "do must map nodes to actions, as in .*; got 3"),
        ([], InterventionError, "do is an empty list: ask for at least one world"),
        ({"x": float("nan")}, DataError, "'x' has NaN or infinite values in 5 of 5 rows"),
        ({"x": float("inf")}, DataError, "'x' has NaN or infinite values"),
        ({"x.u": float("nan")}, DataError, "'x.u' has NaN or infinite values"),
        ({"x": [1.0, 2.0]}, DataError, r"do\(x\) has shape \(2,\): expected a number, or one for each of the 5 rows"),
        ({"x": torch.ones(5, 1)}, DataError, r"do\(x\) has shape \(5, 1\)"),
        ({"v": torch.ones(3)}, DataError, r"do\(v\) has shape \(3,\): expected one value of shape \(2,\)"),
        ({"x": None}, InterventionError, r"do\(x\) got a NoneType, None, but 'x' is a Real: expected numbers"),
        ({"x": "red"}, InterventionError, r"do\(x\) got text, 'red', but 'x' is a Real"),
        ({"x": [[1.0], [1.0, 2.0]]}, InterventionError, r"do\(x\) got a list"),
        ({"p": -1.0}, SupportError, r"'p' must be above 0: 5 of 5 rows are not \(for example -1\). Choose a value"),
        ({"i": 10.5}, SupportError, r"'i' must be in \[0, 10\]: 5 of 5 rows"),
        ({"i": [1.0, 2.0, 3.0, 4.0, 11.0]}, SupportError, "1 of 5 rows are not"),
        ({"b": 0.5}, SupportError, "'b' must be True or False"),
        ({"c": "purple"}, SupportError, r"'c' has no category 'purple'. It has \['blue', 'green', 'red'\]"),
        ({"c": ["blue", "purple", "red", "red", "red"]}, SupportError, "'c' has no category 'purple'"),
        ({"c": 3}, SupportError, "'c' must be one of the categories"),
        ({"c": 1.5}, SupportError, "'c' must be one of the categories .* it has fractional"),
        ({"c": ccf.shift(1)}, InterventionError, "'c' is a Categorical: it cannot be shifted or scaled"),
        ({"b": ccf.scale(2)}, InterventionError, "'b' is a Boolean: it cannot be shifted or scaled"),
        ({"x": ccf.shift(float("nan"))}, DataError, "The shift or scale of 'x' has NaN"),
        (
            {"x": ccf.shift([1.0, 2.0])},
            DataError,
            r"The shift or scale of 'x' has shape \(2,\): expected a number or 5",
        ),
        ({"x": ccf.shift(torch.ones(3, 5))}, DataError, r"The shift or scale of 'x' has shape \(3, 5\)"),
        ({"x": ccf.scale("big")}, InterventionError, r"do\(x\) got text, 'big'"),
        ({"p": ccf.scale(-1.0)}, SupportError, 'Change the action, or pass out_of_support="clip"'),
        ({"y": lambda: 1.0}, InterventionError, r"do\(y\) is a function that does not take one argument"),
        ({"y": lambda _a, _b: 1.0}, InterventionError, r"wrap it: ccf.given_factual\(fn\)"),
        ({"y": ccf.given_factual(lambda _: 1.0)}, InterventionError, r"do\(y\) .* does not take two arguments"),
        ({"y": lambda pa: pa["x"][:2]}, DataError, r"do\(y\) has shape \(2,\)"),
        ({"y": lambda pa: pa["x"] * torch.nan}, DataError, "'y' has NaN"),
        ({"y.u": lambda pa: pa["x"] * torch.nan}, DataError, "'y.u' has NaN"),
        (
            {"y": lambda pa: pa["z"]},
            InterventionError,
            r"function of do\(y\) raises KeyError: 'z'. It gets",
        ),
        ({0: 1.0}, InterventionError, "do names 0: nodes and sites are named by text"),
        ({"x": torch.ones(5, device="meta")}, InterventionError, r"do\(x\) got a Tensor .* without values"),
        ({"x": torch.ones(5).to_sparse()}, InterventionError, r"do\(x\) got a Tensor .* sparse tensor"),
        (
            {"x": Normal(torch.zeros(3), 1.0)},
            InterventionError,
            r"The distribution for 'x' gives values of shape \(3,\)",
        ),
        ({"i": Uniform(20.0, 21.0)}, SupportError, r"'i' must be in \[0, 10\]: 5 of 5 rows"),
    ],
    # Addresses of functions differ between processes; test ids may not.
    ids=lambda value: re.sub(r" at 0x\w+", "", str(value))[:40] if not isinstance(value, type) else "",
)
def test_a_bad_action_is_named_with_the_remedy(
    mixed: ccf.SCM, rows: ccf.Batch, do: object, error: type[CausalCFError], message: str
) -> None:
    with pytest.raises(error, match=message):
        _act(mixed, rows)(do)


def test_shift_and_scale_act_on_the_output_in_the_acted_world(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    x = rows[:5]
    alone = mixed.counterfactual(x, {"y": ccf.shift(2.0)}, seed=0)
    assert torch.allclose(alone["y"], x["y"] + 2, atol=1e-5)
    both = mixed.counterfactual(x, {"x": 1.0, "y": ccf.shift(2.0)}, seed=0)
    moved = mixed.counterfactual(x, {"x": 1.0}, seed=0)
    assert torch.allclose(both["y"], moved["y"] + 2, atol=1e-6)
    assert not torch.allclose(moved["y"], x["y"], atol=1e-3), "the action on x must reach y"
    by_row = torch.arange(5.0)
    scaled = mixed.counterfactual(x, {"v": ccf.scale(by_row), "i": ccf.scale(0.5)}, seed=0)
    assert torch.allclose(scaled["i"], 0.5 * x["i"], atol=1e-5)
    half = mixed.counterfactual(x, {"i": ccf.scale(0.5)}, seed=0)
    assert torch.allclose(scaled["v"], by_row[:, None] * half["v"], atol=1e-5)
    component = mixed.counterfactual(x, {"v": ccf.shift([0.0, 3.0])}, seed=0)
    assert torch.allclose(component["v"], x["v"] + torch.tensor([0.0, 3.0]), atol=1e-5)


def test_a_function_sees_the_acted_parents_and_given_factual_the_row(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    act, x = _act(mixed, rows), rows[:5]
    cf = act({"x": 2.0, "y": lambda pa: 3 * pa["x"], "p": ccf.given_factual(lambda pa, row: row["p"] + pa["y"])})
    assert cf["y"].tolist() == [6.0] * 5
    assert torch.equal(cf["p"], x["p"] + 6.0)
    assert torch.equal(cf["d"], cf["x"] + cf["y"])
    assert act({"c": lambda _: "green"})["c"].tolist() == [1] * 5
    assert act({"x": lambda pa: float(len(pa))})["x"].tolist() == [0.0] * 5


def test_given_factual_needs_a_factual(mixed: ccf.SCM) -> None:
    do = {"y": ccf.given_factual(lambda _, row: row["y"])}
    with pytest.raises(InterventionError, match="given_factual needs an observed row"):
        mixed.sample(3, do=do, seed=0)
    with pytest.raises(InterventionError, match="given_factual needs an observed row"):
        mixed.do(do).sample(3)


def test_a_distribution_is_drawn_once_and_kept(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    act = _act(mixed, rows)
    do = {"x": Normal(0.0, 1.0), "b": Bernoulli(0.5), "c": Categorical(torch.ones(3)), "p": Uniform(1.0, 2.0)}
    do |= {"v": MultivariateNormal(torch.zeros(2), torch.eye(2)), "i": Uniform(torch.zeros(5), torch.arange(1.0, 6.0))}
    cf = act(do)
    for node in do:
        assert torch.equal(cf.noise[f"{node}.do"], cf[node])
        assert cf[node].dtype == rows[node].dtype
    assert (cf["i"] < torch.arange(1.0, 6.0)).all()
    turned = act(dict(reversed(do.items())))
    assert all(torch.equal(turned[node], cf[node]) for node in cf), "the order of the targets must not matter"
    assert not torch.equal(mixed.counterfactual(rows[:5], do, seed=1)["x"], cf["x"])
    twins = act({"x": Normal(0.0, 1.0), "y": Normal(0.0, 1.0)})
    assert not torch.equal(twins["x"], twins["y"])


def test_drawn_actions_are_independent_of_abducted_noise(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    """One seed starts both. Correlation of n pairs is below 4.5 / sqrt(n) with false alarm 7e-6."""
    x = rows[torch.arange(64).repeat(100)]
    noise = mixed.abduct(x, seed=0)
    drawn = mixed.predict(noise, {"x": Normal(0.0, 1.0)}, seed=0).noise["x.do"]
    for u in (noise["b.u"], *noise["c.u"].T):
        assert abs(float(torch.corrcoef(torch.stack([u, drawn]))[0, 1])) < 4.5 / len(drawn) ** 0.5


def test_latent_sites_are_targets(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    act, x = _act(mixed, rows), rows[:5]
    cf = act({"y.u": 0.0})
    assert torch.equal(cf["x"], x["x"])
    assert torch.allclose(cf["y"], mixed.mechanisms["y"].predict({"u": torch.zeros(5)}, {"x": x["x"]}))
    assert torch.equal(cf["d"], cf["x"] + cf["y"])
    shifted = act({"y.u": ccf.shift(1.0)})
    assert torch.allclose(mixed.abduct(shifted, seed=0)["y.u"], cf.noise["y.u"] + 1, atol=1e-3)
    middle = mixed.mechanisms["v"].predict({"u": torch.zeros(5, 2)}, {"i": x["i"], "p": x["p"]})
    assert torch.equal(act({"v.u": [0.0, 0.0]})["v"], middle)
    assert act({"c.u": [0.0, 0.0, 99.0]})["c"].tolist() == [2] * 5
    assert act({"b.u": 99.0})["b"].tolist() == [True] * 5


def test_clipping_is_asked_for_and_counted(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    clipped = _act(mixed, rows, out_of_support="clip")
    cf = clipped({"i": lambda _: torch.tensor([-5.0, 1.0, 2.0, 11.0, 12.0])})
    assert cf["i"].tolist() == [0.0, 1.0, 2.0, 10.0, 10.0]
    assert dict(cf.clipped) == {"i": 3}
    assert dict(clipped({"i": 5.0}).clipped) == {}
    assert dict(clipped([{"i": ccf.shift(99.0)}, {"i": ccf.shift(-99.0)}]).clipped) == {"i": 10}
    with pytest.raises(SupportError, match="'i' must be in"):
        clipped({"i": 11.0})
    with pytest.raises(DataError, match="'i' has NaN"):
        clipped({"i": lambda pa: pa["x"] * torch.nan})


def test_a_value_per_unit_serves_every_sample(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    values = torch.arange(5.0)
    cf = _act(mixed, rows, num_samples=3)(
        [
            {"x": values},
            {"x": ccf.shift(values)},
            {"x": lambda _: values},
            {"i": Uniform(values, values + 1)},
        ]
    )
    assert torch.equal(cf["x"][0], values.expand(3, 5))
    assert torch.allclose(cf["x"][1], rows["x"][:5] + values, atol=1e-5)
    assert torch.equal(cf["x"][2], values.expand(3, 5))
    drawn = cf["i"][3]
    assert ((drawn >= values) & (drawn <= values + 1)).all()
    assert not torch.equal(drawn[0], drawn[1])
