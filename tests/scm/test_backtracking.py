"""Backtracking against closed forms in linear Gaussian models, and against the conditions of a minimum elsewhere."""

import pytest
import torch
from matplotlib.text import Text

import causalcf as ccf
from causalcf.core.errors import InterventionError, UnknownNodeError
from causalcf.queries.examples import linear

MODES = ("backtracking", "intervention")
BACK = {"mode": "backtracking", "seed": 0}
SLOPES = torch.tensor([1.7, 2.0, 1.0])
"""y = 1.7 u_x + 2 u_m + u_y in the linear example."""


def stacked(noise) -> torch.Tensor:
    return torch.stack([noise[name] for name in ("x.u", "m.u", "y.u")], -1)


@pytest.fixture(scope="module")
def rows():
    return linear().sample(50, seed=0)


@pytest.fixture(scope="module")
def bent() -> ccf.SCM:
    """Three nodes with nonlinear flows as they are first drawn, in 64 bits."""
    scm = ccf.SCM([("x", "m"), ("x", "y"), ("m", "y"), ("w", "v")], dict.fromkeys("xmywv", ccf.Real())).double()
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    return scm


def test_the_linear_answer_is_the_closed_form(rows) -> None:
    scm = linear()
    cf = scm.counterfactual(rows, do={"y": 3.0}, **BACK)
    u = stacked(scm.abduct(rows))
    wanted = u + SLOPES * ((3.0 - rows["y"]) / (SLOPES @ SLOPES))[:, None]
    assert torch.allclose(stacked(cf.noise), wanted, atol=1e-5)
    assert torch.allclose(cf["x"], wanted[:, 0], atol=1e-5)
    assert torch.allclose(cf["m"], 0.6 * wanted[:, 0] + wanted[:, 1], atol=1e-5)
    assert torch.allclose(cf["y"], torch.tensor(3.0), atol=1e-5)


def test_two_conditions_at_once(rows) -> None:
    scm = linear()
    cf = scm.counterfactual(rows, do={"y": 3.0, "m": 1.0}, **BACK)
    slopes = torch.stack([torch.tensor([0.6, 1.0, 0.0]), SLOPES])
    u = stacked(scm.abduct(rows))
    missing = torch.stack([1.0 - rows["m"], 3.0 - rows["y"]], 1)
    wanted = u + (torch.linalg.pinv(slopes) @ missing.T).T
    assert torch.allclose(stacked(cf.noise), wanted, atol=1e-4)


def test_draws_have_the_mean_and_spread_of_the_conditioned_normal() -> None:
    scm = linear()
    row = scm.sample(1, seed=1)
    cf = scm.counterfactual(row, do={"y": 2.0}, num_samples=20_000, spread=0.5, **BACK)
    u, drawn = stacked(scm.abduct(row))[0], stacked(cf.noise)[:, 0]
    wanted = u + SLOPES * (2.0 - row["y"]) / (SLOPES @ SLOPES)
    across = 0.25 * (torch.eye(3) - SLOPES[:, None] * SLOPES / (SLOPES @ SLOPES))
    # Five standard errors: .5 / sqrt(20,000) = .0035; of variances .0025.
    assert torch.allclose(drawn.mean(0), wanted, atol=0.018)
    assert torch.allclose(drawn.T.cov(), across, atol=0.012)
    assert torch.allclose(cf["y"], torch.tensor(2.0), atol=1e-4)
    again = scm.counterfactual(row, do={"y": 2.0}, num_samples=5, spread=0.5, **BACK)
    assert torch.equal(again["x"], cf["x"][:5]), "draws belong to rows"


def test_elsewhere_the_move_is_along_the_slopes_of_the_condition(bent) -> None:
    """At a minimum, u' - u is a multiple of the gradient of the condition (Lagrange)."""
    rows = bent.sample(20, seed=0)
    cf = bent.counterfactual(rows, do={"y": rows["y"] + 1.0}, **BACK)
    assert torch.allclose(cf["y"], rows["y"] + 1.0, atol=1e-6)
    before, after = (stacked(noise).double() for noise in (bent.abduct(rows), cf.noise))

    def y(u):
        x = bent.mechanisms["x"].predict({"u": u[:, 0]}, {})
        m = bent.mechanisms["m"].predict({"u": u[:, 1]}, {"x": x})
        return bent.mechanisms["y"].predict({"u": u[:, 2]}, {"x": x, "m": m})

    leaf = after.clone().requires_grad_()
    (slope,) = torch.autograd.grad(y(leaf).sum(), leaf)
    cosine = torch.cosine_similarity(after - before, slope, dim=1).abs()
    assert bool((cosine > 1 - 1e-6).all())
    direct = bent.mechanisms["y"].abduct(rows["y"] + 1.0, {"x": rows["x"], "m": rows["m"]})["u"] - before[:, 2]
    assert bool(((after - before).norm(dim=1) < direct.abs() - 1e-4).all()), "moving y's own noise alone is farther"


def test_what_the_condition_does_not_touch_stays_bit_for_bit(bent) -> None:
    rows = bent.sample(5, seed=0)
    cf = bent.counterfactual(rows, do={"y": 0.5}, **BACK)
    assert torch.equal(cf["w"], rows["w"])
    assert torch.equal(cf["v"], rows["v"])
    same = bent.counterfactual(rows, do={"y": rows["y"]}, **BACK)
    assert torch.allclose(same["x"], rows["x"], atol=1e-8)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_answers_in_torchs_contexts(rows, context) -> None:
    plain = linear().counterfactual(rows, do={"y": 3.0}, **BACK)
    with context():
        made = linear().sample(50, seed=0)
        assert torch.equal(linear().counterfactual(made, do={"y": 3.0}, **BACK)["x"], plain["x"])


def test_of_a_root_it_is_the_action_and_of_an_effect_it_is_not(rows) -> None:
    scm = linear()
    back, act = (
        scm.counterfactual(rows, do={"x": 1.0}, mode=mode, seed=0) for mode in ("backtracking", "intervention")
    )
    for node in "xmy":
        assert torch.allclose(back[node], act[node], atol=1e-5)
    back, act = (
        scm.counterfactual(rows, do={"m": 5.0}, mode=mode, seed=0) for mode in ("backtracking", "intervention")
    )
    assert torch.equal(act["x"], rows["x"])
    assert float((back["x"] - rows["x"]).abs().min()) > 0.1
    assert (back.mode, act.mode) == ("backtracking", "intervention")
    assert back.sentence.startswith("Had m = 5 come about by the least change of noise, causes included")
    said = [[text.get_text() for text in cf.plot().findobj(Text)] for cf in (back, act)]
    assert [any("its causes moved, too" in text for text in texts) for texts in said] == [True, False]
    assert act.sentence == "Under do(m = 5), an action that leaves the causes as they were, this would have followed."


@pytest.fixture(scope="module")
def mixed() -> ccf.SCM:
    variables = {
        "x": ccf.Real(),
        "r": ccf.Categorical(3),
        "b": ccf.Boolean(),
        "c": ccf.Categorical(4),
        "o": ccf.Ordinal(3),
    }
    scm = ccf.SCM([(cause, effect) for cause in "xr" for effect in "bco"], variables)
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    return scm


@pytest.mark.parametrize(("node", "value"), [("b", True), ("c", 2), ("o", 0), ("o", 1), ("o", 2), ("r", 1)])
def test_categories_come_out_as_asked_and_rows_that_are_so_do_not_move(mixed, node, value) -> None:
    rows = mixed.sample(60, seed=0)
    cf = mixed.counterfactual(rows, do={node: value}, **BACK)
    assert bool((cf[node] == value).all())
    was = rows[node] == value
    assert 3 < int(was.sum()) < 57
    assert torch.equal(cf["x"][was], rows["x"][was])
    assert (node == "r") == torch.equal(cf["x"], rows["x"])
    others = [other for other in "rbco" if other != node and (node == "r" or other == "r")]
    assert all(torch.equal(cf[other], rows[other]) for other in others if other == "r")


def test_a_classifiers_label_is_a_condition() -> None:
    """label = [y > 1]: y moves to 1 and no farther, by the closed form."""
    scm = linear().attach("label", lambda y: torch.stack([torch.ones_like(y), y], 1), parents=["y"])
    rows = linear().sample(40, seed=0)
    cf = scm.counterfactual(rows, do={"label": 1}, **BACK)
    low = rows["y"] <= 1
    assert bool((cf["label"] == 1).all())
    assert torch.allclose(cf["y"][low], torch.tensor(1.01), atol=1e-3), "the lead of a label is .01 in log odds"
    assert torch.equal(cf["x"][~low], rows["x"][~low])


def test_an_image_changes_with_the_causes_of_its_intensity() -> None:
    scm = ccf.pretrained("morphomnist-vae")
    rows = scm.sample(4, seed=0)
    back = scm.counterfactual(rows, do={"intensity": 150.0}, **BACK)
    act = scm.counterfactual(rows, do={"intensity": 150.0})
    assert torch.allclose(back["intensity"], torch.tensor(150.0), atol=0.01)
    brighter = rows["intensity"] < 150
    assert bool((back["thickness"] > rows["thickness"])[brighter].all()), "thick strokes are bright ones"
    assert torch.equal(act["thickness"], rows["thickness"])
    assert float((back["image"] - act["image"]).abs().amax()) > 0.1
    assert torch.equal(back["digit"], rows["digit"])


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"do": {"w": 1.0}}, UnknownNodeError, "no node 'w'"),
        ({"do": {"y.u": 1.0}}, UnknownNodeError, "no node 'y.u'"),
        ({"do": [{"y": 1.0}]}, InterventionError, "takes one condition"),
        ({"do": {}}, InterventionError, "takes one condition"),
        ({"do": {"y": ccf.shift(1.0)}}, InterventionError, "not on a shift, a function or a distribution"),
        (
            {"do": {"y": 1.0}, "mode": "backwards"},
            InterventionError,
            r"choose one of \['intervention', 'backtracking'\]",
        ),
        ({"do": {"y": 1.0}, "num_samples": 3, "spread": 0.0}, InterventionError, "moves by spread above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows, asked, error, message) -> None:
    with pytest.raises(error, match=message):
        linear().counterfactual(rows, **{**BACK, **asked})


def test_images_and_values_out_of_reach_are_refused() -> None:
    scm = ccf.SCM([("x", "v")], {"x": ccf.Real(), "v": ccf.Vector(2)})
    for mechanism in scm.mechanisms.values():
        mechanism.fitted = True
    with pytest.raises(InterventionError, match=r"'v' is a Vector.*backtrack from numbers and categories"):
        scm.counterfactual(scm.sample(2, seed=0), do={"v": torch.zeros(2, 2)}, **BACK)
    dull = linear().attach("label", lambda y: torch.stack([0 * y + 2.5, 0 * y], 1), parents=["y"])
    with pytest.raises(InterventionError, match="In 3 of 3 rows no noise was found under which label = 1 comes out"):
        dull.counterfactual(linear().sample(3, seed=0), do={"label": 1}, **BACK)
