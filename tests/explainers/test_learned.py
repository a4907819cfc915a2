"""What learned explainers are made of: maps by pair, swaps by cell, a line in a mixture."""

from itertools import pairwise

import pytest
import torch
from explainers.models import CLASSES, convolutional_classifier, images, linear_classifier, linear_scm, mixture_scm
from torch import Tensor, nn

import causalcf as ccf
from causalcf.core.errors import DataError, ExplanationError, MechanismError
from causalcf.explainers import C3LT, CVE, CycleGAN, ExplainGAN, Explanation, MixtureSearch
from causalcf.explainers.learned import Pairs, Rows
from causalcf.explainers.networks import Critic, PairMaps, unevenness, vagueness

CPU = torch.device("cpu")


def _asked(explainer: ccf.explainers.Explainer, n: int) -> tuple[Tensor, Tensor]:
    x = images(linear_scm(), n)
    return x, (explainer.predict(x) + 1) % CLASSES


# ---------------------------------------------------------------------- shared pieces


def test_every_row_goes_through_the_map_of_its_pair() -> None:
    torch.manual_seed(0)
    maps = PairMaps(3, 5, Pairs.of([(0, 2), (1, 2)], 3, CPU).table)
    code, source, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 2]), torch.tensor([2, 0, 2, 1])
    for row, k in enumerate([0, 1, 2, 3]):
        hidden = torch.relu(code[row] @ maps.first[k] + maps.first_bias[k])
        expected = hidden @ maps.second[k] + maps.second_bias[k]
        assert torch.allclose(maps(code, source, target)[row], expected, atol=1e-6)


def test_targets_are_drawn_from_the_pairs() -> None:
    pairs = Pairs.of([(0, 2), (1, 2)], 3, CPU)
    label = torch.arange(3).repeat(100)
    drawn = pairs.draw(label)
    assert set(zip(label.tolist(), drawn.tolist(), strict=True)) == {(0, 2), (2, 0), (1, 2), (2, 1)}
    every = Pairs.of(None, 3, CPU).draw(label)
    assert (every != label).all()


def test_questions_about_other_pairs_are_refused_by_name() -> None:
    pairs = Pairs.of([(0, 2)], 3, CPU)
    with pytest.raises(ExplanationError, match=r"C3LT has learned nothing about \[\[1, 2\]\].* asked of 2 rows"):
        pairs.require(torch.tensor([0, 1, 1]), torch.tensor([2, 2, 2]), "C3LT")
    for wrong in ((0, 0), (0, 3)):
        with pytest.raises(ExplanationError, match="names no two of the classes"):
            Pairs.of([wrong], 3, CPU)


class Rigged(nn.Module):
    """Never gives its last class, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.f = linear_classifier()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(self.f(x), (0, 1), value=-50.0)


def test_a_class_the_classifier_never_saw_is_told_and_not_reached() -> None:
    explainer = C3LT(linear_scm(), classifier=Rigged(), pairs=[(0, CLASSES)], hidden=8, epochs=1)
    x = images(linear_scm(), 300, seed=9)
    with pytest.warns(UserWarning, match=r"no training row into the classes \[3\]"):
        explainer.fit({"image": x}, seed=0)
    e = explainer.explain(x[explainer.predict(x) == 0][:20], CLASSES)
    assert not e.reached.any()
    assert set(e.reason) == {"missed"}
    assert torch.isfinite(e.counterfactual).all()
    with (
        pytest.warns(UserWarning, match="may never have seen them"),
        pytest.raises(ExplanationError, match="CycleGAN needs images of both 0 and 3"),
    ):
        CycleGAN(linear_scm(), classifier=Rigged(), pairs=[(0, CLASSES)], width=4).fit({"image": x}, seed=0)


def test_rows_without_any_class_of_the_pairs_are_refused() -> None:
    explainer = C3LT(linear_scm(), classifier=linear_classifier(), pairs=[(0, 1)])
    rows = Rows.observed(explainer, {"image": images(linear_scm(), 50)})
    with pytest.raises(ExplanationError, match=r"into any of the classes \[0, 1\]"):
        Pairs.of([(0, 1)], CLASSES, CPU).concerned(rows[torch.nonzero(rows.label == 2)[:, 0]])
    with pytest.raises(DataError, match=r"lack \['image'\]"):
        explainer.fit({"digit": torch.zeros(3)})


def test_masks_are_judged_by_hand() -> None:
    assert vagueness(torch.full((1, 1, 2, 2), 0.5)).item() == pytest.approx(0.6931, abs=1e-4)
    assert vagueness(torch.tensor([[0.0, 1.0]])).item() == pytest.approx(0, abs=1e-4)
    half = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    assert unevenness(half).item() == 1.0
    assert unevenness(torch.zeros(2, 5)).tolist() == [0.0, 0.0]


def test_critics_take_images_of_any_size_and_vectors() -> None:
    for shape in ((1, 28, 28), (3, 8, 10), (5,)):
        assert Critic(shape, 4)(torch.zeros(2, *shape)).shape == (2, 4)


# ---------------------------------------------------------------------- C3LT


@pytest.fixture(scope="module")
def walker() -> C3LT:
    settings = {"steps": 3, "hidden": 32, "epochs": 8, "lr": 0.02, "cycle_weight": 1.0}
    explainer = C3LT(linear_scm(), classifier=linear_classifier(), **settings)
    return explainer.fit({"image": images(linear_scm(), 800, seed=9)}, seed=0)


def test_steps_are_shown_one_by_one(walker: C3LT) -> None:
    x, target = _asked(walker, 20)
    e = walker.explain(x, target, stream=True)
    assert e.stream is not None
    assert e.stream.lengths.tolist() == [4] * 20
    assert e.steps.tolist() == [3] * 20
    source = walker.predict(x)
    code = e.query.start
    for t in range(1, 4):
        code = walker.step(code, source, target)
        assert torch.allclose(e.stream.code[:, t], code)


def test_one_map_for_all_pairs_reaches_and_leads_back(walker: C3LT) -> None:
    x, target = _asked(walker, 100)
    e = walker.explain(x, target)
    assert e.reached.float().mean() > 0.9
    back = walker.walk(e.code, target, walker.predict(x))[-1]
    moved, left = (e.code - e.query.start).norm(dim=1).mean(), (back - e.query.start).norm(dim=1).mean()
    assert left < 0.5 * moved


def test_rows_that_miss_go_further_the_same_way(walker: C3LT) -> None:
    x, target = _asked(walker, 100)
    plain = walker.explain(x, target)
    demanding, walker.gamma = walker.gamma, 0.99
    try:
        before = walker.explain(x, target)
        walker.stretch = (1.05, 3.0)
        after = walker.explain(x, target, stream=True)
    finally:
        walker.gamma, walker.stretch = demanding, ()
    assert after.reached.sum() > before.reached.sum()
    assert torch.equal(after.code[before.reached], before.code[before.reached])
    moved = after.reached & ~before.reached
    times = (after.code - after.query.start)[moved] / (plain.code - plain.query.start)[moved]
    assert all(
        row.allclose(row[:1].expand_as(row), atol=1e-6) and float(row[0].round(decimals=3)) in (1.05, 3.0)
        for row in times
    )
    assert after.steps[moved].eq(4).all()
    assert after.stream is not None
    assert after.stream.lengths[moved].eq(5).all()
    assert torch.equal(after.stream.code[:, 3], plain.code)
    assert (times[:, 0] > 2).any(), "some need the second factor, and skip the first's frame"
    assert torch.equal(after.stream.code[:, -1], after.code)


def test_a_refined_row_is_reached_and_costs_no_more(walker: C3LT) -> None:
    x, target = _asked(walker, 100)
    plain = walker.explain(x, target)
    try:
        walker.refine = 30
        refined = walker.explain(x, target, stream=True)
    finally:
        walker.refine = 0

    def cost(e: Explanation) -> torch.Tensor:
        change = (e.counterfactual - e.query.x).abs()
        p = change.clamp(1e-6, 1 - 1e-6)
        entropy = -(p * p.log() + (1 - p) * (1 - p).log())
        uneven = change.diff(dim=2).abs().mean((1, 2, 3)) + change.diff(dim=3).abs().mean((1, 2, 3))
        return 0.1 * 10 * ((change + entropy).mean((1, 2, 3)) + uneven) - e.probability.log()

    assert refined.reached[plain.reached].all()
    assert (cost(refined) <= cost(plain) + 1e-9)[plain.reached].all()
    assert cost(refined).mean() < 0.95 * cost(plain).mean()
    assert refined.steps.min() >= 3
    assert refined.steps.max() <= 33
    assert refined.stream is not None
    assert torch.equal(refined.stream.code[:, -1], refined.code)
    assert torch.equal(refined.stream.code[:, 3], plain.code), "where the maps lead, before the search"


def test_it_learns_from_the_models_own_draws() -> None:
    explainer = C3LT(linear_scm(), classifier=linear_classifier(), pairs=[(0, 1)], hidden=32, epochs=8, lr=0.02)
    explainer.fit(None, seed=0, rows=800)
    x = images(linear_scm(), 60)
    predicted = explainer.predict(x)
    assert explainer.explain(x[predicted == 0], 1).reached.float().mean() > 0.9
    with pytest.raises(ExplanationError, match=r"nothing about \[\[2, 1\]\]"):
        explainer.explain(x[predicted == 2], 1)


def test_it_steers_a_gan_without_data() -> None:
    gan = ccf.mechanisms.GAN(latent=3, widths=(8, 8, 8))
    scm = ccf.SCM(linear_scm().graph, mechanisms={"image": gan}).requires_grad_(False)
    scm.mechanisms["image"].fitted = True
    drawn = scm.sample(400, seed=0)["image"]
    middle = drawn.mean((1, 2, 3)).median()

    def brightness(x: Tensor) -> Tensor:
        return 50 * torch.stack([middle - x.mean((1, 2, 3)), x.mean((1, 2, 3)) - middle], 1)

    explainer = C3LT(scm, classifier=brightness, hidden=8, epochs=1)
    with pytest.raises(ExplanationError, match="rows=400 is the number of codes"):
        explainer.fit({"image": drawn}, seed=0, rows=400)
    explainer.fit(None, seed=0, rows=400)
    x = drawn[brightness(drawn)[:, 0] > 0][:5]
    e = explainer.explain(x, 1)
    assert torch.equal(scm.counterfactual({"image": x}, do=e.do)["image"], e.counterfactual)
    assert torch.isfinite(e.counterfactual).all()


# ---------------------------------------------------------------------- CVE


@pytest.fixture(scope="module")
def swapper() -> CVE:
    return CVE(linear_scm(), classifier=convolutional_classifier(), distractors=5).fit(
        {"image": images(linear_scm(), 200, seed=9)}, seed=0
    )


def test_pasted_pixels_are_the_swapped_cells(swapper: CVE) -> None:
    """Each cell of these maps sees its own 2 x 2 pixels only, so that the edited image has the edited maps."""
    x, target = _asked(swapper, 12)
    e = swapper.explain(x, target, stream=True)
    assert e.stream is not None
    f = convolutional_classifier()
    factual = f[:2](x)
    assert e.reached.all(), "so the image flips where the maps do"
    for row in range(12):
        frames = f[:2](e.stream.frames(row))
        changed = [(a != b).any(0).sum() for a, b in pairwise(frames)]
        assert all(int(cells) <= 1 for cells in changed)
        assert torch.equal(frames[0], factual[row])


def test_the_first_swap_is_the_best_of_all(swapper: CVE) -> None:
    x, target = _asked(swapper, 1)
    e = swapper.explain(x, target, stream=True)
    assert e.stream is not None
    f = convolutional_classifier().requires_grad_(False)
    maps = swapper.split.features(x)
    other = swapper.split.features(swapper.images[int(target)])
    nearest = other[(other - maps).flatten(1).norm(dim=1).argmin()]
    best = -torch.inf
    for at in range(16):
        for of in range(16):
            tried = maps[0].clone()
            tried[:, at // 4, at % 4] = nearest[:, of // 4, of % 4]
            best = max(best, float(f[2:](tried[None]).log_softmax(1)[0, target]))
    assert float(f(e.stream.image[:, 1]).log_softmax(1)[0, target]) == pytest.approx(best)


def test_the_two_parts_make_the_whole_classifier() -> None:
    """Also where a part of it looks at the image again, as a predictor does at its peak."""
    x = images(linear_scm(), 40)
    predictor = ccf.predictors.Predictor("c", ccf.Categorical(3), ccf.Image(1, 8, 8), widths=(4, 6), hidden=5).double()
    for f in (convolutional_classifier(), predictor):
        explainer = CVE(linear_scm(), classifier=f).fit({"image": x}, seed=0)
        assert torch.allclose(explainer.split.decide(explainer.split.features(x)), f(x))


def test_what_passes_around_the_layer_is_refused_and_in_place_activations_are_not() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Conv2d(1, 1, 3, padding=1), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + self.inner(x))

    data = {"image": images(linear_scm(), 40)}
    with pytest.raises(ExplanationError, match="skip connection"):
        CVE(linear_scm(), classifier=Skips().double()).fit(data, seed=0)
    f = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(72, 3)).double()
    split = CVE(linear_scm(), classifier=f, layer="0").fit(data, seed=0).split
    maps = split.features(data["image"])
    assert torch.equal(maps, f[0](data["image"]))
    before = maps.clone()
    split.decide(maps)
    assert torch.equal(maps, before)


def test_a_layer_can_be_named() -> None:
    data = {"image": images(linear_scm(), 50)}
    CVE(linear_scm(), classifier=convolutional_classifier(), layer="0").fit(data, seed=0)
    with pytest.raises(ExplanationError, match=r"no layer 'x'. It has \['', '0'"):
        CVE(linear_scm(), classifier=convolutional_classifier(), layer="x").fit(data, seed=0)
    with pytest.raises(ExplanationError, match="has none"):
        CVE(linear_scm(), classifier=linear_classifier()).fit(data, seed=0)


# ---------------------------------------------------------------------- image maps


def test_a_painting_is_put_in_where_the_mask_is() -> None:
    explainer = ExplainGAN(linear_scm(), classifier=linear_classifier(), pairs=[(0, 1)], width=4, epochs=1)
    explainer.fit({"image": images(linear_scm(), 150)}, seed=0)
    x, target = images(linear_scm(), 5), torch.tensor([1, 1, 0, 0, 1])
    fresh = ExplainGAN(linear_scm(), classifier=linear_classifier(), width=4, epochs=1, lr=0.0)
    fresh.fit({"image": images(linear_scm(), 150)}, seed=0)
    assert fresh.painter(x, target)[1].mean().item() == pytest.approx(fresh.kappa, rel=0.5)
    paint, mask = explainer.painter(x, target)
    assert torch.allclose(explainer.compose(x, target), x * (1 - mask) + paint * mask)
    assert paint.shape == x.shape
    assert mask.shape == (5, 1, 8, 8)


def test_translation_needs_no_gradient_and_has_a_network_for_each_direction() -> None:
    explainer = CycleGAN(linear_scm(), classifier=linear_classifier(), pairs=[(0, 2)], width=4, blocks=1, epochs=1)
    explainer.fit({"image": images(linear_scm(), 150)}, seed=0)
    assert len(explainer.generators) == 2
    assert {*explainer.history[0]} == {"epoch", "translators", "discriminators"}


def test_a_translation_leads_back_to_its_image() -> None:
    explainer = CycleGAN(linear_scm(), classifier=linear_classifier(), pairs=[(0, 1)], width=4, blocks=1, epochs=3)
    explainer.lr = 2e-3
    explainer.fit({"image": images(linear_scm(), 600, seed=9)}, seed=0)
    x = images(linear_scm(), 200)
    x = x[explainer.predict(x) == 0]
    there, back = explainer.generators
    with torch.no_grad():
        again = back(there(x))
    own, other = ((again - y).abs().mean() for y in (x, x.roll(1, 0)))
    assert own < 0.95 * other, "untrained networks get .99"


def test_image_maps_refuse_what_is_no_image() -> None:
    rows = Rows(torch.zeros(2, 3), {}, torch.zeros(2).long(), torch.zeros(2, 3))
    with pytest.raises(MechanismError, match="ExplainGAN works on images"):
        rows.require_images("ExplainGAN")


# ---------------------------------------------------------------------- MixtureSearch


def test_it_walks_straight_to_the_class_centre_and_keeps_the_rest() -> None:
    scm = mixture_scm()
    explainer = MixtureSearch(scm, classifier=linear_classifier(), frames=5)
    x, target = _asked(explainer, 60)
    e = explainer.explain(x, target, stream=True)
    assert set(e.do) == {"image.z", "image.eps"}
    means = scm.mechanisms["image"].means
    whole, part = means[target] - e.query.start, e.code - e.query.start
    along = (part * whole).sum(1) / whole.square().sum(1)
    assert torch.allclose(part, along[:, None] * whole, atol=1e-9)
    assert (along >= 0).all()
    assert (along <= 1).all()
    assert ((e.probability >= 0.5) & (e.probability <= 0.55))[e.reached].float().mean() > 0.95
    answer = scm.counterfactual({"image": x}, do=e.do)
    assert torch.equal(answer.noise["image.u"], scm.abduct({"image": x})["image.u"])


def test_it_needs_a_mixture_of_the_classifiers_classes() -> None:
    with pytest.raises(MechanismError, match="'image' has a Linear"):
        MixtureSearch(linear_scm(), classifier=linear_classifier())
    two = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).double()
    explainer = MixtureSearch(mixture_scm(), classifier=two)
    x = images(linear_scm(), 3)
    with pytest.raises(MechanismError, match="has 3 classes, the classifier 2"):
        explainer.explain(x, 1 - explainer.predict(x))
