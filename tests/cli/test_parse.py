"""Words of the command line: actions, epochs, mechanisms, and what is given twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import causalcf as ccf
from causalcf.cli import parse
from causalcf.core.errors import DataError, InterventionError
from causalcf.mechanisms import MECHANISMS

VARIABLES = {
    "thickness": ccf.Positive(),
    "ice-cream": ccf.Real(),
    "digit": ccf.Categorical(10),
    "bald": ccf.Boolean(),
}


@given(
    node=st.sampled_from(["thickness", "ice-cream", "image.z"]),
    amount=st.floats(-1e6, 1e6, allow_nan=False),
    operator=st.sampled_from(["=", "+=", "-=", "*="]),
    space=st.sampled_from(["", " "]),
)
def test_numbers_and_moves_are_read_as_written(node, amount, operator, space):
    expected = {"=": amount, "+=": ccf.shift(amount), "-=": ccf.shift(-amount), "*=": ccf.scale(amount)}[operator]
    assert parse.parse_do(f"{node}{space}{operator}{space}{amount!r}", VARIABLES) == {node: expected}


@given(st.permutations(["thickness=4", "digit=7", "ice-cream+=1", "bald=yes"]))
def test_the_order_of_actions_does_not_matter(parts):
    actions = parse.parse_do(", ".join(parts), VARIABLES)
    assert actions == {"thickness": 4.0, "digit": "7", "ice-cream": ccf.shift(1.0), "bald": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thickness", "Cannot read the action 'thickness'. Write node=4"),
        ("thickness=", "Cannot read the action 'thickness='"),
        ("=4", "Cannot read the action '=4'"),
        ("thickness=thick", "'thick' is not a number"),
        ("thickness*=nine", "'nine' is not a number"),
        ("bald=maybe", "expected true or false"),
        ("thickness=1,thickness+=2", "Two actions on 'thickness' in one world"),
    ],
)
def test_what_is_not_an_action_is_refused(text, message):
    with pytest.raises(InterventionError, match=message.replace("*", r"\*")):
        parse.parse_do(text, VARIABLES)


def test_no_action_is_refused():
    """An empty shell variable is no question."""
    with pytest.raises(InterventionError, match="An action is empty"):
        parse.parse_do(" ", VARIABLES)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: parse.parse_epochs(["1", "2"], ["x"]), "--epochs: 'all nodes' is given twice"),
        (lambda: parse.parse_epochs(["x=1", "x=2"], ["x"]), "--epochs: 'x' is given twice"),
        (lambda: parse.parse_weights(["digit=2", "digit=5"]), "--do: 'digit' is given twice"),
        (lambda: parse.parse_residual("a=1,a=2"), "--residual a=1,a=2: 'a' is given twice"),
        (lambda: parse.parse_mechanisms(["image=VAE", "image=GAN"]), "--mechanism: 'image' is given twice"),
    ],
)
def test_what_is_given_twice_is_refused(read, message):
    with pytest.raises(DataError, match=message):
        read()


def test_mechanisms_are_named_with_their_settings_or_by_their_preset():
    asked = ["a=VAE", "b=VAE(8, beta=2.0)", "c=HVAE.preset('32', beta=3.0)"]
    made = parse.parse_mechanisms(asked)
    assert (made["a"].config, made["b"].latent, made["b"].beta) == (ccf.mechanisms.VAE().config, 8, 2.0)
    assert made["c"].config == ccf.mechanisms.HVAE.preset("32", beta=3.0).config


def test_epochs_are_a_number_or_by_node():
    nodes = ["x", "image"]
    assert parse.parse_epochs(["20"], nodes) == 20
    assert parse.parse_epochs(["image=20", "a=b=1"], nodes) == {"image": 20, "a=b": 1}
    assert parse.parse_epochs([], nodes) is None
    for both in (["1", "image=3"], ["image=3", "1"]):
        assert parse.parse_epochs(both, nodes) == {"x": 1, "image": 3}


def test_every_mechanism_can_be_named():
    easy = [name for name, kind in MECHANISMS.items() if not kind.holds_code]
    assert {
        node: type(mechanism).__name__
        for node, mechanism in parse.parse_mechanisms([f"{name}={name}()" for name in easy]).items()
    } == {name: name for name in easy}
