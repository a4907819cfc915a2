"""The page in headless Chromium: load, drag, share, bad input, another tab. Runs where Chromium is installed."""

import base64
import io
import threading

import numpy as np
import PIL.Image
import pytest
import uvicorn
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import causalcf as ccf
from causalcf.app import server
from causalcf.app.explain import Classified

PATIENCE = 60
"""Seconds to wait for what must come; a busy machine is slow."""


@pytest.fixture(scope="module")
def address(session):
    listening = server.listen("127.0.0.1", 0)
    f = ccf.predictors.pretrained("morphomnist")["digit"]
    classified = Classified(session, f, f.variable, "digits", "f = ...")
    running = uvicorn.Server(uvicorn.Config(server.build(session, classified), log_level="warning"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    running.should_exit = True
    thread.join(timeout=30)


class Page:
    """The open page, with what a person does there."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address):
        self.driver.get("about:blank")
        self.driver.get(address)
        self.until(lambda: self.find("#pictures img, #alert:not([hidden]), #values td"))
        return self

    def find(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def until(self, true):
        return WebDriverWait(self.driver, PATIENCE, ignored_exceptions=[Exception]).until(lambda _: true())

    def drag(self, node, value):
        """Move a slider as a hand does: one input event a step."""
        self.driver.execute_script(
            "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
            " s.dispatchEvent(new Event('input', {bubbles: true}));",
            f"act-{node}",
            value,
        )

    def cell(self, node, column=1):
        return self.driver.execute_script(
            "return [...document.querySelectorAll('#values tbody tr')].find(r => r.children[0].textContent"
            ".startsWith(arguments[0])).children[arguments[1]].textContent",
            node,
            column,
        )

    def picture(self, number):
        """The bytes of a picture that is drawn: 0 factual, 1 counterfactual, 2 difference, 3 truth."""
        source = self.find("#pictures img")[number].get_attribute("src").removeprefix("data:image/png;base64,")
        return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(source))))

    def type(self, css, text):
        field = self.one(css)
        field.clear()
        field.send_keys(text, Keys.ENTER)


@pytest.fixture
def page(chromium, address):
    yield Page(chromium).open(f"{address}?unit=3")
    severe = [line["message"] for line in chromium.get_log("browser") if line["level"] == "SEVERE"]
    assert [line for line in severe if "status of 422" not in line and "status of 500" not in line] == []


def test_dragging_shows_the_picture_of_the_api_to_the_byte(page, session):
    for value in (1.5, 2.0, 3.0, 5.0, 4.0):  # faster than answers come: those between are dropped
        page.drag("thickness", value)
    page.until(lambda: page.cell("thickness", 2) == "4")
    x = session.data[3:4]
    cf = session.scm.counterfactual(x, do={"thickness": 4.0}, seed=0)
    truth = session.data.truth(x, {"thickness": 4.0})
    for number, image in ((0, x["image"]), (1, cf["image"]), (3, truth["image"])):
        assert np.array_equal(page.picture(number), np.rint(255 * image[0, 0].numpy()).astype(np.uint8))
    assert float(page.cell("intensity", 2)) == pytest.approx(float(cf["intensity"]), rel=1e-3)
    assert page.find(".node.acted text")[0].text == "thickness"
    assert "ms" in page.one("#latency").text


def test_the_address_holds_the_question(page, chromium):
    page.drag("intensity", 100)
    page.until(lambda: "do.0.intensity=100" in chromium.current_url)
    shared, shown = chromium.current_url, page.picture(1)
    assert page.find(".edge.cut")
    page.open(shared)
    page.until(lambda: page.cell("intensity", 2) == "100")
    assert np.array_equal(page.picture(1), shown)


def test_bad_input_is_said_and_the_page_lives_on(page):
    page.type("[data-node=thickness] input[type=number]", "-4")
    page.until(lambda: page.one("#alert").text.startswith("'thickness' must be above 0"))
    assert "stale" in page.one("#pictures").get_attribute("class")
    page.drag("thickness", 2)
    page.until(lambda: page.cell("thickness", 2) == "2")
    assert not page.one("#alert").is_displayed()


def test_beyond_what_was_seen_a_sentence_says_so(page):
    page.type("[data-node=thickness] input[type=number]", "9")
    page.until(lambda: page.one("#check").text.startswith("This question extrapolates. thickness"))


def test_letting_go_gives_the_unit_back(page):
    page.drag("intensity", 250)
    page.until(lambda: page.find(".control.acted"))
    page.one(".control.acted .free").click()
    page.until(lambda: not page.find(".control.acted"))
    assert np.array_equal(page.picture(0), page.picture(1))


def test_worlds_side_by_side(page):
    page.drag("thickness", 2)
    page.until(lambda: page.find(".control.acted"))
    page.one("#add").click()
    page.until(lambda: len(page.find("#worlds button")) == 2)
    page.drag("thickness", 5)
    page.until(lambda: page.cell("thickness", 4) == "5")
    assert page.cell("thickness", 2) == "2"
    assert len(page.find("#pictures img")) == 8


def test_tabs_by_keyboard(page, chromium):
    page.drag("thickness", 4)
    page.until(lambda: page.cell("thickness", 2) == "4")
    page.one("#tab-imagine").send_keys(Keys.ARROW_LEFT)
    page.until(lambda: len(page.find("#do .units figure")) == 12)
    assert chromium.switch_to.active_element.get_attribute("id") == "tab-do"
    assert page.one("#do .asked").text == "P(image | do(thickness = 4))"
    assert page.one("#call").text.endswith('scm.sample(12, do={"thickness": 4.0}, residual=0.0, seed=0)')
    page.one("#tab-do").send_keys(Keys.ARROW_LEFT)
    page.until(lambda: len(page.find("#see .units figure")) == 12)
    assert page.one("#see .asked").text == "P(image | thickness = 4)"


def test_noise_is_shown_and_edited(page, session):
    page.one("#tab-noise").click()
    page.until(lambda: page.find("#sites input[aria-label='image.z, component 1']"))
    page.driver.execute_script(
        "const s = document.querySelector(\"#sites input[aria-label='image.z, component 1']\"); s.value = 2;"
        " s.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    page.until(lambda: "noise.image.z.1=2" in page.driver.current_url)
    edited = session.at("unit=3&noise.image.z.1=2").answer().cf["image"]
    page.until(lambda: np.array_equal(page.picture(1), np.rint(255 * edited[0, 0].numpy()).astype(np.uint8)))


def test_an_explanation_is_scrubbed_along(page, chromium):
    page.one("#tab-explain").click()
    chromium.execute_script("document.getElementById('target').value = '8'")
    page.one("#explain-go").click()
    page.until(lambda: page.find("#scrub"))
    assert "P(8)" in page.one("#explained [role=status]").text
    last = page.one("#explained [role=status]").text
    page.one("#scrub").send_keys(Keys.HOME)
    page.until(lambda: page.one("#explained [role=status]").text.startswith("Step 0: P(8) = 0.0"))
    assert last != page.one("#explained [role=status]").text
    assert "explainer.explain(x, 8, seed=0, stream=True)" in page.one("#call").text


def test_every_control_has_a_name(page):
    unnamed = page.driver.execute_script(
        "return [...document.querySelectorAll('input, select, button, img')].filter(e => e.offsetParent &&"
        " !(e.labels && e.labels.length) && !e.getAttribute('aria-label') && !e.textContent.trim() && !e.alt)"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_a_phone_needs_no_sideways_scrolling(page, chromium):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_two_people_at_once_see_their_own(page, chromium, address):
    first = chromium.current_window_handle
    page.drag("thickness", 2)
    page.until(lambda: page.cell("thickness", 2) == "2")
    chromium.switch_to.new_window("tab")
    try:
        other = Page(chromium).open(f"{address}?unit=7")
        other.drag("thickness", 5)
        other.until(lambda: other.cell("thickness", 2) == "5")
        chromium.switch_to.window(first)
        assert page.cell("thickness", 2) == "2"
        page.drag("intensity", 99)
        page.until(lambda: page.cell("intensity", 2) == "99")
        assert page.cell("thickness", 2) == "2"
    finally:
        for handle in set(chromium.window_handles) - {first}:
            chromium.switch_to.window(handle)
            chromium.close()
        chromium.switch_to.window(first)


def test_a_model_that_raises_and_a_server_that_is_gone(page, session, monkeypatch):
    def broken(self, *args, **options):
        raise RuntimeError("out of ink")

    with monkeypatch.context() as patch:
        patch.setattr(type(session.scm), "counterfactual", broken)
        page.drag("thickness", 3)
        page.until(lambda: page.one("#alert").text == "The model raised RuntimeError: out of ink")
    page.drag("thickness", 2)
    page.until(lambda: page.cell("thickness", 2) == "2")
    page.driver.execute_cdp_cmd("Network.enable", {})
    gone = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", gone)
    try:
        page.drag("thickness", 4)
        page.until(lambda: page.one("#alert").text.startswith("The server does not answer"))
    finally:
        page.driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            gone | {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1},
        )
        page.driver.get_log("browser")  # the failed request is what was asked for
