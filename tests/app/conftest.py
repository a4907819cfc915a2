"""What the tests of pages share: a session of the shipped VAE on digits whose truth is known, and a browser."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

import causalcf as ccf
from causalcf.app import Session, Source

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage"
)


@pytest.fixture(scope="session")
def session() -> Session:
    source = Source(
        "morphomnist-vae", "digits:test", 'ccf.pretrained("morphomnist-vae")', 'ccf.datasets.Digits(split="test")'
    )
    return Session(ccf.pretrained("morphomnist-vae"), ccf.datasets.Digits("test"), source)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", "--window-size=1280,1000"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()
