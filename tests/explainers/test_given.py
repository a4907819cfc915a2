"""Classifiers as people have them: taken, or refused in one sentence with the remedy; by `attach` and by `explain`."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from explainers.models import images, linear_classifier, linear_scm, mixture_scm, targets
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

import causalcf as ccf
from causalcf.core.errors import CausalCFError, ExplanationError, MechanismError, SupportError
from causalcf.explainers import REVISE, MixtureSearch

f = linear_classifier()


def margin(x: Tensor) -> Tensor:
    """One logit (N,): class 0 against class 1."""
    return f(x)[:, 0] - f(x)[:, 1]


def wary(x: Tensor) -> Tensor:
    """Probabilities (N,), of pixels alone."""
    if bool((x.abs() > 50).any()):
        raise ValueError("no pixels")
    return torch.sigmoid(margin(x))


class Output(OrderedDict):
    """As Hugging Face's: a mapping whose entries are attributes too."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]


WRONG = {
    "probabilities of pixels alone": (wary, r"gives probabilities, where logits are needed.*last sigmoid"),
    "a tuple": (lambda x: (f(x), x), r"gives a tuple, where logits are needed.*lambda x: f\(x\)\[0\]"),
    "a list": (lambda x: [3, f(x)], r"gives a list.*f\(x\)\[1\]"),
    "a dict": (lambda x: {"logits": f(x)}, r"gives a dict.*lambda x: f\(x\)\['logits'\]"),
    "another dict": (lambda x: {"scores": f(x)}, r"f\(x\)\['scores'\]"),
    "an output": (lambda x: Output(logits=f(x)), r"gives an Output.*lambda x: f\(x\)\.logits"),
    "a record": (lambda x: SimpleNamespace(logits=f(x)), r"lambda x: f\(x\)\.logits"),
    "nothing": (lambda _: None, "gives nothing"),
    "a number": (lambda _: 3.0, "gives a float"),
    "a softmax": (lambda x: f(x).softmax(1), r"probabilities.*every row sums to 1.*last softmax.*clamp_min\(1e-30\)"),
    "sigmoids": (lambda x: f(x).sigmoid(), r"probabilities.*all in \[0, 1\].*Drop its last sigmoid"),
    "a sigmoid": (lambda x: margin(x).sigmoid(), r"torch\.logit\(f\(x\), 1e-7\).*variable=causalcf\.Interval\(0, 1\)"),
    "labels": (lambda x: f(x).argmax(1), r"gives labels \(torch\.int64\).*last argmax.*one_hot"),
    "labels as floats": (lambda x: f(x).argmax(1).double(), r"gives labels \(whole numbers\)"),
    "truth": (lambda x: margin(x) > 0, r"gives labels \(torch\.bool\).*lambda x: f\(x\)\.float\(\) - 0\.5"),
    "truth as floats": (lambda x: (margin(x) > 0).double(), r"gives labels \(0 or 1\)"),
    "one-hot labels": (lambda x: nn.functional.one_hot(f(x).argmax(1), 3).double(), r"lambda x: 2\.0 \* f\(x\) - 1"),
    "NaN": (lambda x: f(x) * float("nan"), "NaN or infinite values"),
    "infinity": (lambda x: f(x) / 0, "NaN or infinite values"),
    "dropout": (lambda x: nn.functional.dropout(f(x), 0.5), r"another answer each time it is asked.*model\.eval\(\)"),
    "a softmax over rows": (lambda x: f(x).log_softmax(0), "another answer alone than beside others"),
    "another shape": (lambda x: f(x)[:, :, None, None], r"must give logits \(N, K\) or \(N,\)"),
    "fewer rows": (lambda x: f(x)[:-1], r"must give logits \(N, K\) or \(N,\)"),
    "an error of its own": (lambda _: {}["weights"], r"cannot take 'image'.*KeyError"),
    "complex numbers": (lambda x: f(x) + 1j, "gives labels"),
    "minus infinity": (lambda x: f(x) + torch.tensor([0.0, -torch.inf, 0.0]), r"f\(x\)\.clamp\(-1e4, 1e4\)"),
    "a sparse tensor": (lambda x: f(x).to_sparse(), r"lambda x: f\(x\)\.to_dense\(\)"),
    "names": (lambda x: np.array(["a"] * len(x)), r"gives a NumPy array of <U1.*logits rather than the classes' names"),
    "lazy layers": (nn.LazyLinear(3), "has layers without weights yet"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("rows", [1, 2, 12])
def test_what_gives_no_logits_is_refused_with_the_remedy(name: str, rows: int) -> None:
    wrong, message = WRONG[name]
    scm = linear_scm()
    with pytest.raises(MechanismError, match=message):
        scm.attach("label", wrong, parents=["image"])
    if rows < 12 and name in ("labels as floats", "truth as floats"):
        return  # of one row, a 1 may be a logit
    with pytest.raises((MechanismError, ExplanationError), match=message):
        REVISE(scm, classifier=wrong, max_steps=3).explain(images(scm, rows), 0, seed=0)


RIGHT = {
    "a module": f,
    "a function": lambda x: f(x),
    "NumPy": lambda x: f(torch.as_tensor(np.asarray(x))).detach().numpy(),
    "logarithms": lambda x: f(x).softmax(1).clamp_min(1e-30).log(),
    "inference mode inside": torch.inference_mode()(lambda x: f(x)),
    "squeezed": lambda x: f(x).squeeze(),
    "scripted": torch.jit.trace(f, torch.zeros(2, 1, 8, 8, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_gives_logits_is_taken(name: str) -> None:
    scm = linear_scm()
    labelled = scm.attach("label", RIGHT[name], parents=["image"])
    for rows in (1, 12):
        x = images(scm, rows)
        expected = f(x).argmax(1)
        answer = labelled.counterfactual({"image": x}, do={}, seed=0)
        assert torch.equal(answer["label"], expected)
        assert torch.equal(MixtureSearch(mixture_scm(), classifier=RIGHT[name]).predict(x), expected)


def test_a_classifier_that_squeezes_is_explained_to_the_last_row() -> None:
    scm = linear_scm()
    x = images(scm, 12)
    x = x[margin(x) < 0][:3]
    answer = REVISE(scm, classifier=lambda x: margin(x)[:, None].squeeze(), max_steps=200).explain(x, True, seed=0)
    assert answer.rows == len(x)


@pytest.mark.parametrize("name", ["NumPy", "inference mode inside"])
def test_gradients_are_needed_where_they_are(name: str) -> None:
    scm = linear_scm()
    x = images(scm, 3)
    with pytest.raises((MechanismError, ExplanationError), match="gives no gradient"):
        REVISE(scm, classifier=RIGHT[name], max_steps=3).explain(x, targets(f, x), seed=0)


def test_explaining_and_fitting_leave_inference_mode() -> None:
    scm = linear_scm()
    with torch.inference_mode():
        x = images(linear_scm(), 3)
        answer = REVISE(scm, classifier=linear_classifier(), max_steps=200).explain(x, targets(f, x), seed=0)
        rows = {"x": torch.randn(50), "y": torch.randn(50)}
        fitted = ccf.SCM([("x", "y")]).fit(rows, epochs=1, seed=0, progress=False)
    assert bool(answer.reached.all())
    outside = ccf.SCM([("x", "y")]).fit({n: v.clone() for n, v in rows.items()}, epochs=1, seed=0, progress=False)
    assert torch.equal(fitted.sample(3, seed=0)["y"], outside.sample(3, seed=0)["y"])


def test_a_target_is_a_name_where_there_are_names() -> None:
    scm = linear_scm()
    x = images(scm, 12)
    x = x[f(x).argmax(1) == 0][:2]
    explainer = REVISE(scm, classifier=f, max_steps=200, variable=ccf.Categorical(["cat", "dog", "owl"]))
    by_name, by_code = (explainer.explain(x, target, seed=0).counterfactual for target in ("owl", 2))
    assert torch.equal(by_name, by_code)
    assert explainer.explain(x, ["dog", "owl"], seed=0).rows == 2
    with pytest.raises(SupportError, match=r"no category 'cow'. It has \['cat', 'dog', 'owl'\]"):
        explainer.explain(x, "cow", seed=0)
    with pytest.raises(ExplanationError, match="the classifier says cat of the factual"):
        explainer.explain(x, "cat", seed=0)
    with pytest.raises(CausalCFError, match="'target' is a Boolean: expected"):
        REVISE(scm, classifier=margin, max_steps=3).explain(x, "maybe", seed=0)


# ---------------------------------------------------------------------- scikit-learn


@pytest.fixture(scope="module")
def table() -> tuple[ccf.SCM, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, generator=generator)
    rows = {"x": x, "y": 2 * x + torch.randn(300, generator=generator)}
    mechanisms = {node: ccf.mechanisms.LinearGaussian() for node in rows}
    return ccf.SCM([("x", "y")], mechanisms=mechanisms).fit(rows, seed=0, progress=False), rows


@pytest.mark.parametrize("make", [LogisticRegression, lambda: RandomForestClassifier(20, random_state=0)])
@pytest.mark.parametrize("names", [(False, True), ("low", "high"), ("high", "low", "middle")])
def test_estimators_are_attached(table, make, names) -> None:
    scm, rows = table
    columns = np.stack([rows["x"], rows["y"]], 1)
    code = (columns.sum(1) > 0).astype(int) + (columns.sum(1) > 2) * (len(names) == 3)
    model = make().fit(columns, np.array(names)[code])
    labelled = scm.attach("label", model, parents=["x", "y"])
    answer, variable = labelled.counterfactual(rows, do={}, seed=0)["label"], labelled.variables["label"]
    if names == (False, True):
        assert variable == ccf.Boolean()
        said = answer.tolist()
    else:
        assert variable == ccf.Categorical(sorted(names))
        said = [variable.categories[code] for code in answer]
    # A forest that is of two minds, 10 trees to 10, may decide otherwise.
    assert np.mean([a == b for a, b in zip(said, model.predict(columns), strict=True)]) > 0.99


def test_an_estimator_of_named_columns_reads_them_by_name(table) -> None:
    pd = pytest.importorskip("pandas")
    scm, rows = table
    frame = pd.DataFrame({"y": rows["y"].numpy(), "x": rows["x"].numpy()})
    model = LogisticRegression().fit(frame, frame["x"] - 0.2 * frame["y"] > 0)
    labelled = scm.attach("label", model, parents=["x", "y"])
    assert labelled.counterfactual(rows, do={}, seed=0)["label"].tolist() == model.predict(frame).tolist()
    with pytest.raises(MechanismError, match=r"was fitted on the columns \['y', 'x'\], its parents are \['x'\]"):
        scm.attach("label", model, parents=["x"])


def test_a_regressor_says_what_it_gives(table) -> None:
    scm, rows = table
    model = LinearRegression().fit(rows["x"][:, None].numpy(), rows["y"].numpy())
    with pytest.raises(MechanismError, match=r"LinearRegression gives numbers: say of which kind"):
        scm.attach("mean", model, parents=["x"])
    answer = scm.attach("mean", model, parents=["x"], variable=ccf.Real()).counterfactual(rows, do={}, seed=0)["mean"]
    assert np.allclose(answer, model.predict(rows["x"][:, None].numpy()), atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"), [(nn.Linear, "is the class Linear: give an instance"), ("f", "got 'f'"), (3, "got 3")]
)
def test_what_cannot_be_asked_is_refused(table, wrong, message) -> None:
    with pytest.raises(MechanismError, match=message):
        table[0].attach("label", wrong, parents=["x"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (LogisticRegression, "The LogisticRegression is not fitted. Fit it first"),
        (
            lambda: IsolationForest(n_estimators=2).fit(np.eye(2)),
            "The IsolationForest is neither",
        ),
        (lambda: KMeans(2, n_init=1).fit(np.eye(2)), "The KMeans is neither a classifier nor a regressor"),
        (lambda: DecisionTreeClassifier().fit(np.eye(2), np.eye(2)), "gives several outputs"),
    ],
)
def test_estimators_that_say_no_class_are_refused(table, make, message: str) -> None:
    with pytest.raises(MechanismError, match=message):
        table[0].attach("label", make(), parents=["x", "y"])


def test_an_estimator_whose_largest_value_is_not_its_class_is_refused(table) -> None:
    scm, rows = table
    columns = np.stack([rows["x"], rows["y"]], 1)
    pairs = SVC(decision_function_shape="ovo").fit(columns, np.digitize(rows["x"], [-0.5, 0.5]))
    with pytest.raises(MechanismError, match=r"only \d+ of 16 rows.*decision_function_shape='ovr'"):
        scm.attach("label", pairs, parents=["x", "y"])


def test_a_classifier_that_writes_into_its_input_is_refused(table) -> None:
    with pytest.raises(MechanismError, match=r"changes its input, 'x', in place.*f\(x\.clone\(\)\)"):
        table[0].attach("label", lambda x: x.mul_(2.0), parents=["x"])


def test_nan_in_a_query_is_an_error(table) -> None:
    scm, rows = table
    broken = [False]
    labelled = scm.attach("label", lambda x: x * float("nan") if broken[0] else x, parents=["x"])
    broken[0] = True
    with pytest.raises(MechanismError, match="The classifier of 'label' gives NaN"):
        labelled.counterfactual(rows, do={}, seed=0)
