"""The address of the page: every state survives it, and what cannot be read is one sentence."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalcf.app import State, read_state
from causalcf.core.errors import CausalCFError
from causalcf.variables import Boolean, Categorical, Image, Positive, Real

VARIABLES = {
    "thickness": Positive(),
    "a & b=c": Real(),
    "smiling": Boolean(),
    "digit": Categorical(["zero", "one/two", "50% & more"]),
    "image": Image(1, 2, 2),
}

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
WORLD = st.fixed_dictionaries(
    {},
    optional={
        "thickness": NUMBERS,
        "a & b=c": NUMBERS,
        "smiling": st.booleans(),
        "digit": st.sampled_from(VARIABLES["digit"].categories),
    },
)
STATES = st.builds(
    State,
    unit=st.integers(0, 10**6),
    worlds=st.lists(WORLD, min_size=1, max_size=6).map(tuple),
    noise=st.dictionaries(st.tuples(st.sampled_from(["image.z", "thickness.u"]), st.integers(0, 99)), NUMBERS),
    residual=NUMBERS,
    samples=st.integers(0, 64),
    seed=st.integers(0, 2**31 - 1),
)


@given(STATES)
def test_a_state_survives_its_address(state):
    assert read_state(state.to_query(), VARIABLES) == state


@given(st.text())
def test_any_text_is_a_state_or_one_sentence(text):
    said = "."
    try:
        assert isinstance(read_state(text, VARIABLES), State)
    except CausalCFError as error:
        said = str(error)
    assert said.endswith(".")


def test_actions_are_set_changed_and_let_go_in_one_world_alone():
    start = State(worlds=({}, {"digit": "zero"}))
    acted = start.act(0, "thickness", 4.0).act(0, "thickness", 5.0)
    assert acted.worlds == ({"thickness": 5.0}, {"digit": "zero"})
    assert acted.free(0, "thickness") == start
    assert start.worlds[0] == {}
    assert start.edit("image.z", 3, 1.5).noise == {("image.z", 3): 1.5}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("unit=-1", "'unit' takes a whole number from 0 to 2147483648, got '-1'"),
        ("unit=²", "'unit' takes a whole number"),
        ("unit=9" + "9" * 9000, "'unit' takes a whole number"),
        ("samples=65", "'samples' takes a whole number from 0 to 64, got '65'"),
        ("worlds=7", "'worlds' takes a whole number from 1 to 6, got '7'"),
        ("residual=nan", "'residual' takes a number, got 'nan'"),
        ("colour=red", "The address has 'colour', which this page does not know"),
        ("colour.0.x=red", "The address has 'colour.0.x', which this page does not know"),
        ("do.1.thickness=4", "'do.1.thickness' takes a whole number from 0 to 0, got '1'"),
        ("do.0.thickness=thick", "'thickness' takes a number, got 'thick'"),
        ("do.0.thickness=inf", "'thickness' takes a number, got 'inf'"),
        ("do.0.weight=4", "The model has no node 'weight' to act on. Its nodes are ['thickness'"),
        ("do.0.digit=nine", "'digit' has no category 'nine'"),
        ("do.0.smiling=1", "'smiling' is true or false, got '1'"),
        ("do.0.image=1", "'image' is an Image. This page acts on numbers and categories alone."),
        ("noise.image.z.x=1", "'noise.image.z.x' takes a whole number"),
        ("noise.image.z.0=x", "'noise.image.z.0' takes a number, got 'x'"),
    ],
)
def test_what_cannot_be_read_is_named(query, message):
    with pytest.raises(CausalCFError, match=re.escape(message)):
        read_state(query, VARIABLES)
