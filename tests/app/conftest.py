"""One session for the tests of the page: the shipped VAE on the embedded digits, whose truth is known."""

import pytest

import causalcf as ccf
from causalcf.app import Session, Source


@pytest.fixture(scope="session")
def session() -> Session:
    source = Source(
        "morphomnist-vae", "digits:test", 'ccf.pretrained("morphomnist-vae")', 'ccf.datasets.Digits(split="test")'
    )
    return Session(ccf.pretrained("morphomnist-vae"), ccf.datasets.Digits("test"), source)
