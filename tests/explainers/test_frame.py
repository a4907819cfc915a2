"""The frame of explanations: how a question is read, and what an answer says of itself."""

import copy
import pickle
import warnings

import networkx as nx
import pytest
import torch
from explainers.models import CLASSES, LATENT, images, linear_classifier, linear_scm, targets
from torch import Tensor, nn

import causalcf as ccf
from causalcf.core.errors import DataError, ExplanationError, MechanismError, UnknownNodeError
from causalcf.explainers import REVISE, Explanation, ImageGradient, LoSoCs
from causalcf.explainers.classifier import Explained


def _explained(n: int = 5, **options: object) -> Explanation:
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, n)
    return REVISE(scm, classifier=f, **options).explain(x, targets(f, x), seed=0)


# ---------------------------------------------------------------------- targets


def test_a_target_may_be_a_code_a_name_or_one_of_them_per_row() -> None:
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 40)
    x = x[f(x).argmax(1) != 2]
    named = REVISE(scm, classifier=f, variable=ccf.Categorical(["ant", "bee", "cow"]), max_steps=3)
    by_code = named.explain(x, 2, seed=0)
    for target in ("cow", ["cow"] * len(x), [2] * len(x), torch.full((len(x),), 2), by_code.target.numpy()):
        e = named.explain(x, target, seed=0)
        assert torch.equal(e.counterfactual, by_code.counterfactual)
    assert set(by_code.to_frame()["target"]) == {"cow"}
    assert set(by_code.to_frame()["factual"]) <= {"ant", "bee"}


def test_rows_already_there_are_counted_and_named() -> None:
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 30)
    target = targets(f, x)
    target[[4, 7]] = f(x).argmax(1)[[4, 7]]
    with pytest.raises(ExplanationError, match=r"2 of 30 rows \(for example \[4, 7\]\)"):
        REVISE(scm, classifier=f).explain(x, target)


def test_a_regression_is_refused_by_methods_that_explain_classes() -> None:
    with pytest.raises(ExplanationError, match="REVISE explains classes"):
        REVISE(linear_scm(), classifier=nn.Flatten(), variable=ccf.Real())


# ---------------------------------------------------------------------- rows


def test_a_tensor_is_enough_for_a_model_of_one_node() -> None:
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 4)
    explainer = REVISE(scm, classifier=f, max_steps=5)
    a = explainer.explain(x, targets(f, x), seed=0)
    b = explainer.explain({"image": x.numpy()}, targets(f, x), seed=0)
    assert torch.equal(a.counterfactual, b.counterfactual)
    with pytest.raises(DataError, match=r"the model has the nodes \['t', 'image'\]"):
        REVISE(linear_scm(ccf.Real()), classifier=f).explain(x, 0)


def test_the_index_of_the_rows_is_kept() -> None:
    scm, f = linear_scm(), linear_classifier()
    rows = ccf.Batch({"image": images(scm, 10)})[[7, 3]]
    e = REVISE(scm, classifier=f, max_steps=5).explain(rows, targets(f, rows["image"]))
    assert e.to_frame().index.tolist() == [7, 3]


def test_a_node_without_latents_cannot_be_moved() -> None:
    scm = linear_scm().attach("label", linear_classifier(), parents=["image"])
    with pytest.raises(MechanismError, match="the Classifier of 'label' has none"):
        REVISE(scm, node="label", classifier=linear_classifier())
    with pytest.raises(UnknownNodeError):
        REVISE(scm, node="picture", classifier=linear_classifier())


def test_descendants_of_the_image_follow() -> None:
    f = linear_classifier()
    scm = linear_scm().attach("label", f, parents=["image"])
    x = images(linear_scm(), 6)
    e = REVISE(scm, classifier=f).explain(x, targets(f, x), seed=0)
    assert torch.equal(e.answer()["label"], targets(f, x))
    assert torch.equal(e.factual["label"], f(x).argmax(1))


def test_a_residual_can_be_carried() -> None:
    """With the residual kept, nothing moved gives the factual back, and the explanation keeps its noise."""
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 5)
    e = REVISE(scm, classifier=f, carry_residual=True).explain(x, targets(f, x), seed=0)
    assert set(e.do) == {"image.z"}
    assert torch.allclose(e.reconstruction, x)
    assert torch.equal(scm.counterfactual({"image": x}, do=e.do)["image"], e.counterfactual)
    plain = _explained()
    assert not torch.allclose(plain.reconstruction, x)


def test_sites_may_be_several_and_of_any_shape() -> None:
    """A hierarchical mechanism: all of its latents are searched together, and come back in their shapes."""
    graph = nx.DiGraph()
    graph.add_node("image")
    mechanism = ccf.mechanisms.HVAE()
    scm = ccf.SCM(ccf.CausalGraph(graph), {"image": ccf.Image(1, 32, 32)}, {"image": mechanism})
    scm.mechanisms["image"].fitted = True
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    f = nn.Sequential(nn.Flatten(), nn.Linear(1024, 3))
    e = REVISE(scm, classifier=f, max_steps=2).explain(x, targets(f, x), seed=0)
    noise = scm.abduct({"image": x})
    assert len(e.do) > 2
    assert all(e.do[name].shape == noise[name].shape for name in e.do)
    assert torch.allclose(scm.counterfactual({"image": x}, do=e.do)["image"], e.counterfactual, atol=1e-6)


# ---------------------------------------------------------------------- a parent that means the class


class _Labelled(nn.Module):
    """A classifier that reads the linear model's shift by its parent."""

    def forward(self, x: Tensor) -> Tensor:
        level = (x.flatten(1).mean(1) - 0.5) / 0.01
        return -40 * (level[:, None] - torch.arange(3.0, dtype=x.dtype)).square()


def test_a_parent_that_means_the_class_is_warned_of() -> None:
    scm = linear_scm(ccf.Categorical(3))
    t = torch.tensor([0, 1, 2, 0])
    rows = {"t": t, "image": torch.full((4, 1, 8, 8), 0.5).double() + 0.01 * t.view(-1, 1, 1, 1)}
    explainer = REVISE(scm, classifier=_Labelled(), max_steps=1)
    with pytest.warns(UserWarning, match=r"parent 't' of 'image' means .*without that parent.*do=\{'t': target\}"):
        explainer.explain(rows, (t + 1) % 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explainer.explain(rows | {"t": (t + 1) % 3}, (t + 2) % 3)
        ImageGradient(scm, classifier=_Labelled(), max_steps=1).explain(rows, (t + 1) % 3)


@pytest.mark.parametrize(("agreeing", "warned"), [(10, True), (9, True), (8, False), (3, False)])
def test_a_parent_means_the_class_where_nine_rows_of_ten_agree(agreeing: int, warned: bool) -> None:
    scm = linear_scm(ccf.Categorical(3))
    classes = torch.arange(10) % 3
    image = torch.full((10, 1, 8, 8), 0.5).double() + 0.01 * classes.view(-1, 1, 1, 1)
    t = torch.where(torch.arange(10) < agreeing, classes, (classes + 1) % 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        REVISE(scm, classifier=_Labelled(), max_steps=1).explain({"t": t, "image": image}, (classes + 1) % 3)
    found = [warning for warning in caught if "means what the classifier says" in str(warning.message)]
    assert len(found) == warned
    assert all(f"{agreeing / 10:.0%} of the rows" in str(warning.message) for warning in found)
    assert all(warning.filename == __file__ for warning in found), "it points at the caller's line"


# ---------------------------------------------------------------------- the answer


def test_the_seed_is_recorded_whatever_it_was() -> None:
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 3)
    explainer = REVISE(scm, classifier=f, max_steps=2)
    assert explainer.explain(x, targets(f, x), seed=11).seed == 11
    assert isinstance(explainer.explain(x, targets(f, x)).seed, int)
    generator = torch.Generator().manual_seed(3)
    assert isinstance(explainer.explain(x, targets(f, x), seed=generator).seed, int)


def test_an_explanation_is_frozen_and_prints_in_a_line() -> None:
    e = _explained()
    with pytest.raises(AttributeError):
        e.target = e.target
    assert repr(e) == "Explanation(REVISE, 5 rows, 5 reached)"
    assert torch.equal(e.changed, torch.ones(5).bool())
    assert e.query.start.shape == e.code.shape == (5, LATENT)


def test_uncertainty_along_a_stream() -> None:
    """Two members that agree to differ: all uncertainty is epistemic; of a single one none is."""
    scm = linear_scm()
    sure = [linear_classifier(scale=4000.0), nn.Sequential(linear_classifier(scale=4000.0), _Rolled())]
    x = images(scm, 6)
    explainer = REVISE(scm, classifier=sure, max_steps=2)
    target = (explainer.predict(x) + 1) % CLASSES
    e = explainer.explain(x, target, stream=True)
    assert e.stream is not None
    assert torch.allclose(e.stream.total[:, 0], torch.tensor(2.0).double().log(), atol=0.05)
    assert torch.allclose(e.stream.epistemic[:, 0], e.stream.total[:, 0], atol=0.05)
    alone = REVISE(scm, classifier=linear_classifier(), max_steps=2)
    single = alone.explain(x, targets(linear_classifier(), x), stream=True)
    assert single.stream is not None
    assert torch.allclose(single.stream.epistemic, torch.zeros(()).double(), atol=1e-9)
    assert torch.allclose(single.stream.logits[:, 0], linear_classifier()(single.stream.image[:, 0]))


class _Rolled(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits.roll(1, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_it_can_be_drawn(stream: bool) -> None:
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 4)
    e = REVISE(scm, classifier=[f, linear_classifier(2)], max_steps=8).explain(x, targets(f, x), stream=stream)
    figure = e.plot(rows=3)
    columns = 3 + 7 * stream  # six frames and the curve
    assert len(figure.axes) == 3 * columns
    failed = [axes.get_xlabel() for axes in figure.axes if "max steps" in axes.get_xlabel()]
    assert len(failed) == int((~e.reached[:3]).sum()) > 0
    with pytest.raises(DataError, match="0 rows"):
        e.plot(rows=0)


def test_a_regression_has_values_where_classes_have_names() -> None:
    scm, f = linear_scm(), nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).double()
    x = images(scm, 3)
    target = f(x)[:, 0].detach() + 0.1
    e = LoSoCs(scm, classifier=f, variable=ccf.Real()).explain(x, target, stream=True)
    assert torch.allclose(torch.tensor(e.to_frame()["target"].tolist()).double(), target)
    assert e.stream is not None
    assert not e.stream.total.any()


# ---------------------------------------------------------------------- classifiers


def test_one_logit_is_two_classes() -> None:
    f = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).double()
    x = images(linear_scm(), 9)
    explained = Explained(f, None)
    members = explained.check("image", x)
    assert isinstance(explained.variable, ccf.Boolean)
    p = torch.sigmoid(f(x)[:, 0])
    assert torch.allclose(explained.probabilities(members)[:, 1], p)
    assert torch.equal(explained.predicted(members), (p > 0.5).long())
    flat = Explained(lambda image: f(image)[:, 0], None)
    assert torch.equal(flat.check("image", x), members)
    e = ImageGradient(linear_scm(), classifier=f).explain(x[p < 0.5], True)
    assert bool((f(e.counterfactual)[:, 0] > 0).all())


def test_members_of_different_make_are_an_ensemble_too() -> None:
    a, b = linear_classifier(1), nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x = images(linear_scm(), 5)
    for members in ([a, b], [a, b.forward], nn.ModuleList([a, b])):
        assert torch.allclose(Explained(members, None).members(x), torch.stack([a(x), b(x)]))
    c, d = (nn.Sequential(nn.Flatten(), nn.Linear(64, 3), act).double() for act in (nn.ReLU(), nn.Tanh()))
    assert torch.allclose(Explained([c, d], None).members(x), torch.stack([c(x), d(x)]))
    same = [linear_classifier(seed) for seed in range(4)]
    assert torch.allclose(Explained(same, None).members(x), torch.stack([f(x) for f in same]))


def test_a_sigmoid_at_the_end_is_refused() -> None:
    x = images(linear_scm(), 9)
    f = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).double()
    for g in (nn.Sequential(f, nn.Sigmoid()), lambda image: f(image)[:, 0].sigmoid()):
        with pytest.raises(ExplanationError, match=r"probabilities.*torch\.logit"):
            Explained(g, None).check("image", x)
        Explained(g, ccf.Real()).check("image", x)
        Explained(lambda image, g=g: torch.logit(g(image)), None).check("image", x)


def test_no_more_rows_than_a_batch_are_encoded_decoded_or_classified_at_once() -> None:
    """50 convolutional networks of 10,000 images have to fit."""
    scm, f, most = linear_scm(), linear_classifier(), 0

    def seen(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        nonlocal most
        most = max(most, len(arguments[0]))

    explainer = ImageGradient(scm, classifier=lambda x: f(x), batch_size=3)
    latent = REVISE(scm, classifier=lambda x: f(x), batch_size=3, max_steps=100)
    f.register_forward_pre_hook(seen)
    mechanism = scm.mechanisms["image"]
    calls: list[int] = []
    predict, abduct = mechanism.predict, mechanism.abduct
    mechanism.predict = lambda u, pa: (calls.append(len(u["z"])), predict(u, pa))[1]  # type: ignore[method-assign]
    mechanism.abduct = lambda x, pa, **o: (calls.append(len(x)), abduct(x, pa, **o))[1]  # type: ignore[method-assign]
    x = images(scm, 10)
    target = (explainer.predict(x) + 1) % 3
    for asked in (explainer, latent):
        e = asked.explain(x, target, seed=0, stream=True)
        assert e.rows == 10
        assert e.reconstruction.shape == x.shape
    assert most == 3
    assert max(calls) == 3


def test_a_copy_is_explained() -> None:
    """Training the classifier on does not change an explainer that was made before."""
    f = linear_classifier()
    explained = Explained(f, None)
    x = images(linear_scm(), 5)
    before = explained.members(x)
    with torch.no_grad():
        f[1].weight.zero_()
    assert torch.equal(explained.members(x), before)


def test_classifiers_of_the_wrong_make_are_refused() -> None:
    x = images(linear_scm(), 5)
    with pytest.raises(MechanismError, match="3 values a row"):
        Explained(linear_classifier(classes=2), ccf.Categorical(3)).check("image", x)
    with pytest.raises(MechanismError, match=r"\(N, K\) or \(N,\) for N = 5"):
        Explained(lambda image: image, None).check("image", x)
    with pytest.raises(ExplanationError, match="empty list"):
        Explained([], None)
    with pytest.raises(ExplanationError, match="must be a torch module, a function or a list of them, got 'mnist'"):
        Explained("mnist", None)


def test_an_explanation_can_be_pickled_and_copied() -> None:
    explanation = _explained()
    for again in (pickle.loads(pickle.dumps(explanation)), copy.deepcopy(explanation)):
        assert torch.equal(again.counterfactual, explanation.counterfactual)


def test_decoding_outside_a_search_leaves_torchs_state_alone() -> None:
    scm, f = linear_scm(), linear_classifier()
    explainer, state = LoSoCs(scm, classifier=f), torch.get_rng_state()
    explainer.decode(torch.zeros(3, LATENT, dtype=torch.float64), {})
    scm.counterfactual({"image": images(scm, 3)}, {"image.z": [0.0] * LATENT})
    assert torch.equal(torch.get_rng_state(), state)
