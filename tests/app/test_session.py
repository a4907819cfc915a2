"""The session gives what the API gives, bit for bit; what it cannot give is one sentence, and it lives on."""

import re
from dataclasses import replace

import pytest
import torch

import causalcf as ccf
from causalcf.app import Session, Source, State
from causalcf.app.session import in_words
from causalcf.core.errors import CausalCFError

THICK = State(unit=3).act(0, "thickness", 4.0)
STATES = {
    "one action": THICK,
    "nothing done": State(unit=5),
    "two worlds": State(unit=3, worlds=({"thickness": 4.0}, {"digit": "7", "intensity": 100.0})),
    "draws": replace(THICK, samples=4, seed=7),
    "draws of two worlds": replace(THICK, samples=3, worlds=({"thickness": 1.5}, {})),
    "no residual": replace(THICK, residual=0.0),
    "edited noise": THICK.edit("image.z", 0, 2.5).edit("image.z", 3, -1.0).edit("thickness.u", 0, 0.5),
}


def same(one, other) -> bool:
    return all(torch.equal(one[node], other[node]) for node in one)


@pytest.fixture(scope="module")
def x(session):
    return session.data[3:4]


def test_the_answer_is_that_of_the_model_bit_for_bit(session, x):
    answer = session.at(THICK).answer()
    assert same(answer.cf, session.scm.counterfactual(x, do={"thickness": 4.0}, seed=0))
    assert same(answer.factual, x)


def test_several_worlds_and_draws_are_those_of_the_model(session, x):
    state = State(unit=3, worlds=({"thickness": 4.0}, {"digit": "7"}), samples=4, seed=3)
    asked = session.scm.counterfactual(
        x, do=[{"thickness": 4.0}, {"digit": "7"}], num_samples=4, abduction="sample", seed=3
    )
    answer = session.at(state).answer()
    assert same(answer.cf, asked)
    assert answer.cf["image"].shape == (2, 4, 1, 1, 32, 32)
    assert same(answer.world(1), asked.world(1))


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_the_python_on_the_screen_gives_what_is_on_the_screen(session, state):
    there = session.at(state)
    names: dict = {}
    exec(there.call(), names)
    assert same(names["cf"], there.answer().cf)


def test_truth_is_the_data_sets(session, x):
    answer = session.at(THICK).answer()
    assert same(answer.truth[0], session.data.truth(x, {"thickness": 4.0}))
    assert answer.no_truth == ("",)
    assert not torch.equal(answer.truth[0]["image"], x["image"])


def test_where_no_truth_is_known_there_is_a_reason(session, x):
    state = State(unit=3, worlds=({"digit": "7"}, {"thickness": 4.0}))
    answer = session.at(state).answer()
    assert answer.truth[0] is None
    assert answer.no_truth[0].startswith("No truth is known for do") or "digit" in answer.no_truth[0]
    assert same(answer.truth[1], session.data.truth(x, {"thickness": 4.0}))
    edited = session.at(THICK.edit("image.z", 0, 1.0)).answer()
    assert edited.no_truth == ("No truth is known for edited noise: this would be another unit.",)
    untold = replace(session, data=ccf.Batch(dict(session.data)))
    assert untold.at(THICK).answer().no_truth == ("digits:test does not know its true counterfactuals.",)


def test_edited_noise_is_one_component_of_the_abducted(session):
    there = session.at(THICK.edit("image.z", 3, 2.5))
    changed = there.noise()["image.z"] != there.abducted["image.z"]
    assert changed.nonzero().tolist() == [[0, 3]]
    assert there.noise()["image.z"][0, 3] == 2.5
    assert not torch.equal(there.answer().cf["image"], session.at(THICK).answer().cf["image"])


def test_a_node_upstream_of_no_action_follows_edited_noise(session):
    """Whoever edits the noise asks for every node anew, not for descendants of the actions alone."""
    edited = session.at(State(unit=3).edit("thickness.u", 0, 2.0)).answer()
    assert edited.cf["thickness"] > 1.2 * edited.factual["thickness"]
    assert edited.cf["intensity"] > edited.factual["intensity"]


def test_the_three_rungs_answer_the_same_question(session, x):
    there = session.at(THICK.act(0, "digit", "2"))
    seen = there.see(0, n=5).rows
    assert seen.rows == 5
    assert (seen["digit"] == 2).all()
    assert (seen["thickness"] - 4).abs().max() < 1
    twos = session.data["digit"] == 2
    nearest = (session.data["thickness"][twos] - 4).abs().sort().values[:5]
    torch.testing.assert_close((seen["thickness"] - 4).abs().sort().values, nearest)
    drawn = there.do(0, n=5).rows
    assert same(drawn, session.scm.sample(5, do={"thickness": 4.0, "digit": "2"}, residual=0.0, seed=0))
    assert (drawn["thickness"] == 4).all()


@pytest.mark.parametrize("rung", ["see", "do"])
def test_the_python_of_the_other_rungs_gives_their_rows(session, rung):
    drawn = getattr(session.at(THICK), rung)(0, n=4)
    names: dict = {}
    exec(drawn.call, names)
    assert same(drawn.rows, names["x"])


def test_a_check_is_a_sentence(session):
    assert session.at(THICK).check(0) == "Nothing about this question lies outside of what the model has seen."
    found = session.at(THICK.act(0, "thickness", 9.5)).check(0)
    assert found.startswith("This question extrapolates. thickness: value, in the data's range, px is 9.5, usual is ")
    several = session.at(replace(THICK, worlds=({"thickness": 9.5}, {}), samples=2))
    assert several.check(0).startswith("This question extrapolates.")
    assert "thickness" not in several.check(1)


def test_a_check_says_what_the_model_says(session, x):
    check = session.scm.counterfactual(x, do={"thickness": 9.5}, seed=0).check()
    named = {finding.name for finding in check.findings if finding.unusual.any()}
    assert all(name in in_words(check) for name in named)


BAD = [
    (State(unit=297), "There is no unit 297: digits:test has the units 0 to 296."),
    (State().act(0, "thickness", -1.0), "'thickness' must be above 0"),
    (State().act(0, "intensity", 300.0), "'intensity' must be in [64, 255]"),
    (State().act(0, "weight", 3.0), "do names ['weight'], neither nodes"),
    (State().edit("image.q", 0, 1.0), "There is no noise 'image.q'. There are ['thickness.u'"),
    (State().edit("image.z", 4000, 1.0), "'image.z' has the components 0 to "),
    (replace(State(), samples=2).edit("image.z", 0, 1.0), "Edited noise is one abduction, not several draws."),
]


@pytest.mark.parametrize(("state", "message"), BAD)
def test_a_bad_question_is_one_sentence_and_the_session_lives_on(session, state, message):
    with pytest.raises(CausalCFError, match=re.escape(message)):
        session.at(state).answer()
    assert session.at(THICK).answer().cf["thickness"] == 4


def test_a_world_that_is_not_there(session):
    with pytest.raises(CausalCFError, match="There is no world 2: the question has 1"):
        session.at(THICK).check(2)


def test_no_unit_with_these_categories(session):
    few = replace(session, table=session.data[session.data["digit"] != 7])
    with pytest.raises(CausalCFError, match="No unit of digits:test has digit = 7"):
        few.at(State().act(0, "digit", "7")).see(0)


def test_data_that_lack_a_node_are_refused(session):
    lacking = {name: session.data[name] for name in ("thickness", "digit", "image")}
    with pytest.raises(CausalCFError, match="intensity"):
        Session(session.scm, lacking, session.source)


def test_a_table_is_asked_like_an_image(mixed, rows):
    """Categories, booleans, vectors and a noiseless node; no truth, no image."""
    there = Session(mixed, rows, Source("mixed", "rows", "", "")).at("unit=2&do.0.b=true&do.0.c=red&do.0.x=0.5")
    answer = there.answer()
    expected = mixed.counterfactual(rows[2:3], do={"b": True, "c": "red", "x": 0.5}, seed=0)
    assert same(answer.cf, expected)
    assert answer.truth == (None,)
