"""The tab that explains: what it shows is the explanation the API gives, and why one fails."""

import re

import pytest
import torch
from starlette.testclient import TestClient

import causalcf as ccf
from causalcf.app import State, server
from causalcf.app.explain import WORDS, Classified, explained_json
from causalcf.core.errors import CausalCFError, ExplanationError
from causalcf.explainers import EXPLAINERS, REASONS, REVISE

pytestmark = pytest.mark.filterwarnings("ignore:The parent 'digit' of 'image' means what the classifier says")
CODE = 'f = ccf.predictors.pretrained("morphomnist")["digit"]\nvariable = f.variable'


@pytest.fixture(scope="module")
def classified(session):
    f = ccf.predictors.pretrained("morphomnist")["digit"]
    return Classified(session, f, f.variable, "digits", CODE)


@pytest.fixture(scope="module")
def unit(session):
    return session.at(State(unit=3))


def test_methods_are_those_that_need_no_training(classified):
    assert {"REVISE", "ImageGradient", "Schut", "LoSoCs"} <= set(classified.methods)
    assert not any(EXPLAINERS[name].trains for name in classified.methods)


def test_the_explanation_is_that_of_the_api(classified, unit, session):
    found = explained_json(classified, unit, "REVISE", "8")
    f = ccf.predictors.pretrained("morphomnist")["digit"]
    expected = REVISE(session.scm, classifier=f, variable=f.variable).explain(session.data[3:4], 8, seed=0, stream=True)
    assert found["steps"] == int(expected.steps[0])
    assert found["reached"] == bool(expected.reached[0])
    assert found["frames"][-1]["probability"] == pytest.approx(float(expected.probability[0]))
    assert found["frames"][0]["step"] == 0
    assert (found["says"], found["frames"][-1]["says"]) == ("2", "8")
    assert len(found["frames"]) <= 48
    assert found["warnings"][0].startswith("The parent 'digit' of 'image' means what the classifier says")


def test_the_python_on_the_screen_gives_the_explanation(classified, unit):
    names: dict = {}
    exec(classified.call(unit, "REVISE", "8"), names)
    shown = classified.explain(unit, "REVISE", "8")
    assert torch.equal(names["explanation"].counterfactual, shown.counterfactual)


def test_every_reason_has_a_sentence():
    assert set(WORDS) == set(REASONS)
    assert all(sentence.endswith(".") for sentence in WORDS.values())


def test_a_search_that_fails_says_why(classified, unit):
    """A method that may take one step cannot get there."""
    classified.methods["hasty"] = REVISE(
        unit.scm, classifier=classified.classifier, variable=classified.variable, max_steps=1
    )
    try:
        found = explained_json(classified, unit, "hasty", "8")
    finally:
        del classified.methods["hasty"]
    assert not found["reached"]
    assert found["reason"].startswith("It failed: the search used all of its steps.")


@pytest.mark.parametrize(
    ("method", "target", "message"),
    [
        ("Magic", "8", "There is no method 'Magic' here. There are ['ImageGradient'"),
        ("C3LT", "8", "There is no method 'C3LT' here."),
        ("REVISE", "eleven", "'target' has no category 'eleven'"),
        ("REVISE", "2", "The classifier says 2 already. Choose another target."),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(classified, unit, method, target, message):
    with pytest.raises(CausalCFError, match=re.escape(message)):
        explained_json(classified, unit, method, target)


def test_a_classifier_without_categories_or_image_is_refused(session):
    with pytest.raises(ExplanationError, match="judge gives no categories"):
        Classified(session, torch.nn.Identity(), ccf.Real(), "judge", "")


def test_over_http(session, classified):
    with TestClient(server.build(session, classified)) as client:
        assert client.get("/api/facts").json()["explain"]["classes"] == [str(i) for i in range(10)]
        found = client.get("/api/explain?unit=3&at.method=Schut&at.target=8").json()
        assert found["frames"][0]["image"].startswith("data:image/png")
    with TestClient(server.build(session)) as client:
        assert client.get("/api/facts").json()["explain"] is None
        reply = client.get("/api/explain?unit=3&at.method=Schut&at.target=8")
        assert (reply.status_code, reply.json()["error"][:32]) == (422, "No classifier comes along with t")
