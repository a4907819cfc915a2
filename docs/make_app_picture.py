"""Take the pictures of the page: python docs/make_app_picture.py [FOLDER], by default docs/images.

Needs Chromium and its driver, from the distribution's packages, and `pip install -e '.[test]'`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from pathlib import Path

import uvicorn
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import causalcf as ccf
from causalcf.app import Session, Source, server

SHOTS = {
    "app.png": (1280, 800, "light", "?unit=3&do.0.thickness=4.5"),
    "app-phone.png": (390, 800, "dark", "?unit=3&do.0.thickness=4.5"),
}
"""File -> width, height, colours and address of the page."""
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --hide-scrollbars"


def main(folder: Path) -> None:
    """Serve the page of the shipped VAE on the embedded digits and photograph it."""
    source = Source(
        "morphomnist-vae-tuned",
        "digits:test",
        'ccf.pretrained("morphomnist-vae-tuned")',
        'ccf.datasets.load("digits", split="test")',
    )
    session = Session(ccf.pretrained("morphomnist-vae-tuned"), ccf.datasets.Digits("test"), source)
    listening = server.listen("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(server.build(session), log_level="warning"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    for name, (width, height, colours, query) in SHOTS.items():
        _photograph(address + query, folder / name, width, height, colours)
    running.should_exit = True
    thread.join()


def _photograph(address: str, path: Path, width: int, height: int, colours: str) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wanted = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
        driver.get(address)
        WebDriverWait(driver, 60).until(lambda _: driver.find_element(By.ID, "check").text)
        driver.save_screenshot(str(path))
        driver.quit()
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images")
