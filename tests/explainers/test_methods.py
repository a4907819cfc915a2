"""Each gradient-search method against what is known of its answers on a linear model."""

import numpy as np
import pytest
import torch
from explainers.models import CLASSES, columns, images, linear_classifier, linear_scm, targets
from torch import Tensor, nn

import causalcf as ccf
from causalcf.core.errors import DataError, ExplanationError
from causalcf.explainers import CEM, GDL, PGD, REVISE, CFProto, Clarity, Explainer, ImageGradient, LoSoCs, Schut


def _asked(n: int = 12) -> tuple[ccf.SCM, nn.Module, Tensor, Tensor]:
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, n)
    return scm, f, x, targets(f, x)


# ---------------------------------------------------------------------- latent space


def _regressor() -> nn.Module:
    """A number that is linear in the latents of the linear model."""
    f = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).double()
    with torch.no_grad():
        f[1].weight.copy_((columns() @ torch.tensor([1.0, -0.5, 0.25, 0.75]).double())[None])
    return f


def test_losocs_walks_straight_and_stops_at_tau() -> None:
    """The target's logit is linear in z, so its gradient is constant, and Adam's way known."""
    scm, f, x, target = _asked()
    e = LoSoCs(scm, classifier=f, lr=0.02).explain(x, target, seed=0, stream=True)
    gradient = -(f[1].weight @ scm.mechanisms["image"].weight)[target]
    assert torch.allclose(e.code, e.query.start + 0.02 * e.steps[:, None] * -gradient.sign(), atol=1e-5)
    assert bool(e.reached.all())
    assert bool((e.probability > 0.999).all())
    assert e.stream is not None
    before = e.stream.probability.gather(1, (e.stream.lengths - 2)[:, None])
    assert bool((before <= 0.999).all()), "not a step too many"


def test_losocs_may_raise_log_odds() -> None:
    """What is descended is log (1 - p) / p: other logits that rise along count against the step."""
    scm, f, x, target = _asked()
    explainer = LoSoCs(scm, classifier=f, raises="log odds")
    query = explainer.query({"image": x}, target)
    p = query.probability(query.ask(query.start))
    assert torch.allclose(explainer.evaluate(query, query.start).loss, ((1 - p) / p).log())


@pytest.mark.parametrize("change", [0.3, -0.3])
def test_losocs_takes_a_regression_to_its_threshold(change: float) -> None:
    scm, f = linear_scm(), _regressor()
    x = images(scm, 9)
    threshold = f(x)[:, 0].detach() + change
    e = LoSoCs(scm, classifier=f, variable=ccf.Real(), lr=0.05).explain(x, threshold, seed=0)
    slope = (f[1].weight @ scm.mechanisms["image"].weight)[0]
    start = f(e.reconstruction)[:, 0]
    expected = ((threshold - start).abs() / (0.05 * slope.abs().sum())).ceil().long()
    assert torch.equal(e.steps, expected)
    assert bool(((e.probability - threshold).sign() == torch.tensor(change).sign()).all())


def test_losocs_pays_for_codes_its_own_encoder_does_not_know() -> None:
    scm, f, x, target = _asked()
    plain, wary = (LoSoCs(scm, classifier=f, plausibility=weight) for weight in (0.0, 0.5))
    query = plain.query({"image": x}, target)
    code = 4 * query.start  # far out, where pixels are clamped and the code is not found again
    found_again = plain.encode(query.decode(code), {})
    penalty = wary.evaluate(query, code).loss - plain.evaluate(query, code).loss
    assert torch.allclose(penalty, 0.5 * (found_again - code).square().sum(1))
    assert bool((penalty > 0).any())


def test_losocs_gives_an_even_stream_of_any_length() -> None:
    scm, f, x, target = _asked()
    e = LoSoCs(scm, classifier=f, frames=9).explain(x, target, seed=0, stream=True)
    assert e.stream is not None
    assert bool((e.stream.lengths == 9).all())
    assert torch.allclose(e.stream.image[:, -1], e.counterfactual)
    logits = e.stream.logits.gather(2, target[:, None, None].expand(-1, 9, 1))[..., 0]
    steps = logits.diff(dim=1)
    assert bool((steps.std(1) / steps.mean(1) < 0.05).all()), "a linear model is linear along its way"


def test_revise_stays_closer_the_more_distance_costs() -> None:
    scm, f, x, target = _asked()
    distances = []
    for weight in (0.0, 0.05, 0.5):
        e = REVISE(scm, classifier=f, gamma=0.9, distance_weight=weight, max_steps=200).explain(x, target, seed=0)
        distances.append(float((e.counterfactual - x).abs().flatten(1).sum(1).mean()))
    assert distances[0] > distances[2]
    assert distances == sorted(distances, reverse=True)


def test_revise_with_an_ensemble_descends_the_mean_cross_entropy() -> None:
    scm, _, x, _ = _asked()
    members = [linear_classifier(seed) for seed in (1, 2, 3)]
    explainer = REVISE(scm, classifier=members, distance_weight=0.01)
    query = explainer.query({"image": x}, (explainer.predict(x) + 1) % CLASSES)
    evaluation = explainer.evaluate(query, query.start)
    image = query.decode(query.start)
    mean = sum(nn.functional.cross_entropy(f(image), query.target, reduction="none") for f in members) / 3
    assert torch.allclose(evaluation.loss, mean + 0.01 * (image - x).abs().flatten(1).sum(1))
    p = sum(f(image).softmax(1) for f in members) / 3
    assert torch.allclose(evaluation.progress, p.gather(1, query.target[:, None])[:, 0])


@pytest.mark.parametrize("tolerance", [0.05, 0.01])
def test_gdl_ends_beyond_the_boundary_and_close_to_it(tolerance: float) -> None:
    scm, f, x, target = _asked()
    e = GDL(scm, classifier=f, tolerance=tolerance, probability=0.5 + tolerance).explain(x, target, seed=0)
    assert bool(e.reached.all())
    assert bool((e.probability >= 0.5).all())
    assert bool((e.probability <= 0.5 + 2 * tolerance).all())


def test_gdl_takes_a_regression_to_its_value() -> None:
    scm, f = linear_scm(), _regressor()
    x = images(scm, 6)
    wanted = f(x)[:, 0].detach() + torch.tensor([0.3, -0.3] * 3)
    e = GDL(scm, classifier=f, variable=ccf.Real(), tolerance=0.01).explain(x, wanted, seed=0)
    assert bool(e.reached.all())
    assert bool(((e.probability - wanted).abs() <= 0.01).all())


def test_plain_descent_stands_still_where_the_softmax_is_flat() -> None:
    """What GDL's published update does on a confident classifier, and why Adam is the default."""
    scm, f = linear_scm(), linear_classifier(scale=40.0)
    x = images(scm, 12)
    plain, adam = (
        GDL(scm, classifier=f, optimizer=optimizer, lr=0.004, max_steps=400).explain(x, targets(f, x), seed=0)
        for optimizer in ("descent", "adam")
    )
    assert plain.reached.float().mean() < 0.5 < adam.reached.float().mean()
    assert "max steps" in plain.reason


def test_clarity_explains_its_own_ensemble() -> None:
    scm, f, x, _ = _asked()
    explainer = Clarity(scm, classifier=f, members=4, epochs=8).fit({"image": images(scm, 800, 5)}, seed=0)
    target = (explainer.predict(x) + 1) % CLASSES
    e = explainer.explain(x, target, seed=0)
    p = explainer.ensemble.members(e.code).softmax(-1).mean(0)
    assert torch.allclose(e.probability, p.gather(1, target[:, None])[:, 0])
    assert bool((p.argmax(1) == target)[e.reached].all())
    imitated = (explainer.predict(x) == f(x).argmax(1)).float().mean()
    assert imitated > 0.8


def test_clarity_learns_a_column_of_the_data() -> None:
    scm, _, x, _ = _asked()
    train = images(scm, 800, 5)
    bright = (train.mean((1, 2, 3)) > 0.5).long()
    explainer = Clarity(scm, label="bright", members=1, epochs=15, variable=ccf.Categorical(["dark", "bright"]))
    explainer.fit({"image": train, "bright": bright}, seed=0)
    assert (explainer.predict(train) == bright).float().mean() > 0.85
    dark = x[explainer.predict(x) == 0]
    e = explainer.explain(dark, "bright", seed=0)
    assert bool((e.counterfactual.mean((1, 2, 3)) > dark.mean((1, 2, 3))).all())
    with pytest.raises(DataError, match="no column 'bright'"):
        explainer.fit({"image": train})
    with pytest.raises(ExplanationError, match="needs to know the classes"):
        Clarity(scm)


@pytest.mark.parametrize("values", [["left", "right"], np.array(["left", "right"], dtype=object), [0.5, 1.0], [-1, 1]])
def test_clarity_refuses_a_column_without_class_codes(values: object) -> None:
    scm = linear_scm()
    with pytest.raises(DataError, match=r"column 'side' holds no class codes .* variable=ccf.Categorical"):
        Clarity(scm, label="side", members=1).fit({"image": images(scm, 2), "side": values})


def test_clarity_takes_the_options_of_its_training() -> None:
    def bias(**options: object) -> Tensor:
        explainer = Clarity(linear_scm(), classifier=linear_classifier(), members=1, epochs=1)
        return explainer.fit({"image": images(linear_scm(), 100)}, seed=0, **options).ensemble.biases[0]

    assert torch.equal(bias(lr=2e-3, batch_size=128, balanced=False), bias())
    for options in ({"lr": 0.1}, {"batch_size": 10}, {"balanced": True}):
        assert not torch.equal(bias(**options), bias())


# ---------------------------------------------------------------------- image space


@pytest.mark.parametrize("method", [ImageGradient, Schut, PGD, CEM])
def test_the_image_is_set_whatever_its_causes(method: type[Explainer]) -> None:
    scm, f = linear_scm(ccf.Real()), linear_classifier()
    rows = {"t": torch.zeros(3), "image": images(scm, 3)}
    e = method(scm, classifier=f, max_steps=20).explain(rows, targets(f, rows["image"]), seed=0)
    assert set(e.do) == {"image"}
    moved = scm.counterfactual(rows, do={**e.do, "t": 50.0})
    assert torch.equal(moved["image"], e.counterfactual), "cut from its causes"


@pytest.mark.parametrize("method", [ImageGradient, Schut, PGD, CEM, CFProto])
def test_values_stay_in_the_nodes_own_support(method: type[Explainer]) -> None:
    """Years, weights, ... are not pixels: nothing but the search moves them."""
    scm = ccf.SCM(ccf.CausalGraph([("v", "t")]), {"v": ccf.Vector(3), "t": ccf.Real()})
    drawn = torch.tensor([25.0, 40.0, 40.0]) + torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    scm.fit({"v": drawn, "t": drawn.sum(1)}, epochs=1, seed=0, progress=False)
    f = nn.Linear(3, 2)
    with torch.no_grad():
        f.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]))
        f.bias.copy_(torch.tensor([0.0, -100.0]))
    few = {"v": drawn[f(drawn)[:, 1] < 0][:5], "t": torch.zeros(5)}
    settings = {"max_steps": 100} if method is CEM else {}  # of nine searches
    e = method(scm, node="v", classifier=f, **settings).fit({"v": drawn, "t": drawn.sum(1)}).explain(few, 1, seed=0)
    change = e.counterfactual - few["v"]
    assert bool((change[:, 0] > 0).any())
    assert bool((change.abs() < 15).all())


def test_schut_moves_one_pixel_a_step_by_delta() -> None:
    scm, f, x, target = _asked()
    e = Schut(scm, classifier=f, delta=0.2, times=2).explain(x, target, seed=0, stream=True)
    assert e.stream is not None
    change = e.stream.image.diff(dim=1).flatten(2)
    assert bool(((change != 0).sum(2) <= 1).all())
    assert bool((change.abs() <= 0.2 + 1e-9).all())
    assert bool(((e.counterfactual - x).abs() <= 0.4 + 1e-9).all()), "twice at most"
    first = torch.autograd.functional.jacobian(
        lambda image: nn.functional.cross_entropy(f(image), target, reduction="sum"), x
    )
    assert torch.equal(change[:, 0].abs().argmax(1), first.flatten(1).abs().argmax(1))


def test_pgd_takes_all_steps_and_stays_in_its_ball() -> None:
    scm, f, x, target = _asked()
    e = PGD(scm, classifier=f, radius=0.1, step=0.01, max_steps=30).explain(x, target, seed=0)
    assert bool((e.steps == 30).all())
    assert bool(((e.counterfactual - x).abs() <= 0.1 + 1e-9).all())
    assert ((e.counterfactual - x).abs() > 0.099).float().mean() > 0.5, "most pixels at the edge"


def _elastic(method: type[Explainer], scm: ccf.SCM, f: nn.Module, **options: object) -> Explainer:
    settings = {"max_steps": 100, "autoencoder_weight": 0.0, "c_steps": 3, **options}
    return method(scm, classifier=f, **settings).fit({"image": images(scm, 300, 5)})


def test_a_pertinent_negative_only_adds() -> None:
    scm, f, x, target = _asked()
    e = _elastic(CEM, scm, f).explain(x, target, seed=0)
    assert bool(e.reached.all())
    assert bool((e.counterfactual >= x).all())
    assert torch.equal(f(e.counterfactual).argmax(1), target)


def test_any_other_class_will_do() -> None:
    scm, f, x, target = _asked()
    free = _elastic(CEM, scm, f).explain(x, None, seed=0)
    assert bool(free.reached.all())
    assert bool((f(free.counterfactual).argmax(1) != f(x).argmax(1)).all())
    assert torch.equal(free.target, f(x).argmax(1)), "the class to leave"
    held = _elastic(CEM, scm, f).explain(x, target, seed=0)
    cost = [float((e.counterfactual - x).abs().sum()) for e in (free, held)]
    assert cost[0] <= cost[1] * 1.05, "more freedom costs no more"


def test_a_larger_kappa_goes_further_beyond_the_boundary() -> None:
    scm, f, x, target = _asked()
    for kappa in (0.0, 1.0, 3.0):
        e = _elastic(CFProto, scm, f, kappa=kappa, prototype_weight=0.0).explain(x, target, seed=0)
        logits = f(e.counterfactual)
        others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
        assert bool(e.reached.all())
        assert bool((logits.gather(1, target[:, None])[:, 0] - others >= kappa).all())


def test_bisection_finds_cheaper_changes() -> None:
    scm, f, x, target = _asked()

    def cost(rounds: int) -> Tensor:
        explainer = _elastic(CFProto, scm, f, c=100.0, c_steps=rounds, prototype_weight=0.0)
        change = (explainer.explain(x, target, seed=0).counterfactual - x).flatten(1)
        return change.square().sum(1) + 0.1 * change.abs().sum(1)

    one, many = cost(1), cost(6)
    assert bool((many <= one + 1e-12).all())
    assert many.mean() < one.mean()


def test_the_stream_is_that_of_the_round_that_is_kept() -> None:
    scm, f, x, target = _asked()
    e = _elastic(CFProto, scm, f, c_steps=4, prototype_weight=0.0).explain(x, target, seed=0, stream=True)
    assert e.stream is not None
    assert bool((e.stream.lengths <= 101).all()), "the frames of one round"
    assert torch.equal(e.stream.code[:, -1], e.counterfactual)


def test_a_small_constant_is_raised_until_the_target_is_reached() -> None:
    scm, f, x, target = _asked()
    weak = _elastic(CFProto, scm, f, c=1e-3, c_steps=1, prototype_weight=0.0).explain(x, target, seed=0)
    raised = _elastic(CFProto, scm, f, c=1e-3, c_steps=8, prototype_weight=0.0).explain(x, target, seed=0)
    assert not weak.reached.any()
    assert bool(raised.reached.all())


def test_prototypes_are_the_mean_codes_of_the_classes() -> None:
    scm, f, x, target = _asked()
    train = images(scm, 300, 5)
    explainer = CFProto(scm, classifier=f, max_steps=10).fit({"image": train})
    codes, labels = scm.abduct({"image": train})["image.z"], f(train).argmax(1)
    means = torch.stack([codes[labels == k].mean(0) for k in range(CLASSES)])
    assert torch.allclose(explainer.prototypes, means)
    query = explainer.query({"image": x}, target)
    assert torch.equal(explainer.prototypes_of(query), explainer.prototypes[target])
    free = explainer.query({"image": x}, None)
    distance = torch.cdist(scm.abduct({"image": x})["image.z"], means)
    nearest = distance.scatter(1, f(x).argmax(1)[:, None], torch.inf).argmin(1)
    assert torch.equal(explainer.prototypes_of(free), explainer.prototypes[nearest])


def test_the_prototype_pulls() -> None:
    scm, f, x, target = _asked()
    near, far = (_elastic(CFProto, scm, f, prototype_weight=weight) for weight in (10.0, 0.0))
    codes = [explainer.encode(explainer.explain(x, target, seed=0).counterfactual, {}) for explainer in (near, far)]
    distances = [(code - near.prototypes[target]).square().sum(1).mean() for code in codes]
    assert distances[0] < distances[1]


def test_a_class_without_training_rows_has_no_prototype() -> None:
    scm, f, x, _ = _asked(30)
    train = images(scm, 300, 5)
    train = train[f(train).argmax(1) != 2]
    explainer = CFProto(scm, classifier=f, max_steps=3).fit({"image": train})
    rows = x[f(x).argmax(1) != 2]
    with pytest.raises(ExplanationError, match=r"no prototype of the classes \[2\]"):
        explainer.explain(rows, 2)
    one = rows[f(rows).argmax(1) != 1]
    assert explainer.explain(one, 1).rows == len(one)
