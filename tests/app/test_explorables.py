"""The pages to touch: small, whole without JavaScript, and right when a slider moves."""

import importlib.util
import itertools
import json
import re
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

import causalcf as ccf

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_explorables", DOCS / "make_explorables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(make, tmp_path_factory):
    return {path.stem: path for path in make.write(tmp_path_factory.mktemp("explore"))}


def embedded(page):
    """The table that a page carries."""
    return json.loads(re.search(r"^const \w+ = (.*);$", page.read_text(encoding="utf-8"), re.MULTILINE)[1])


def test_each_page_is_one_small_file_that_asks_no_other_server(pages):
    assert set(pages) == {"digit", "simpson", "collider", "steps"}
    for path in pages.values():
        text = path.read_text(encoding="utf-8")
        assert len(text) < 1_000_000
        assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"'](?!data:|#)", text)
        assert "${" not in re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL)


def test_each_page_says_what_it_shows_without_javascript(pages):
    stills = {
        name: re.sub(r"<script>.*</script>", "", path.read_text(), flags=re.DOTALL) for name, path in pages.items()
    }
    assert re.search(r"differ by <span[^>]*>\d+\.\d</span> grey", stills["digit"])
    assert "recovers 25 points less often" in stills["simpson"]
    assert stills["simpson"].count("<rect") == 8
    assert stills["collider"].count("<circle") == 250
    assert re.search(r"by -0\.\d\d among the hired", stills["collider"])
    assert stills["steps"].count("<section>") == 4


def test_simpsons_numbers_are_those_of_the_joint_distribution(make):
    for share in (0.2, 0.85):
        joint = {}
        for ill, drug, well in itertools.product((0, 1), repeat=3):
            treated = share if ill else 1 - share
            cured = make.RECOVERY["ill" if ill else "others"][drug]
            joint[ill, drug, well] = 0.5 * (treated if drug else 1 - treated) * (cured if well else 1 - cured)
        for drug in (0, 1):
            well = sum(p for (_, d, w), p in joint.items() if d == drug and w)
            assert make.recovery(share)["seen"][drug] == pytest.approx(
                well / sum(p for (_, d, _), p in joint.items() if d == drug)
            )
    assert make.recovery(0.2)["done"] == pytest.approx((0.55, 0.65))


def test_the_digits_numbers_are_the_models(make, pages):
    table, data = embedded(pages["digit"]), ccf.datasets.Digits("test")
    unit, row = data[make.UNIT : make.UNIT + 1], 2
    do = {"thickness": table["thickness"][row]}
    answer, truth = ccf.pretrained(make.MODEL).counterfactual(unit, do=do), data.truth(unit, do=do)
    assert table["intensities"]["model"][row][0] == pytest.approx(float(answer["intensity"]), abs=0.6)
    error = 255 * float((answer["image"] - truth["image"]).abs().mean())
    assert table["error"][row][0] == pytest.approx(error, abs=0.1)


def test_a_slider_moves_the_picture_and_the_numbers(chromium, pages):
    chromium.get(pages["digit"].as_uri())
    one, table = (lambda name: chromium.find_element(By.ID, name)), embedded(pages["digit"])
    before = one("model").value_of_css_property("background-position")
    slide = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    chromium.execute_script(slide, one("thickness"), 0)
    assert one("model").value_of_css_property("background-position") != before
    assert one("error").text == f"{table['error'][0][0]:.1f}"
    one("follows").click()
    chromium.execute_script(slide, one("intensity"), 11)
    assert one("model-intensity").text == f"intensity {table['intensities']['model'][0][12]:.0f}"
    assert not [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]


def test_the_steps_are_stepped_and_simpson_turns_round(chromium, pages):
    chromium.get(pages["steps"].as_uri())
    for expected in ("Step 1", "Step 2", "Step 3"):
        chromium.find_element(By.ID, "next").click()
        shown = [s for s in chromium.find_elements(By.CSS_SELECTOR, "section h2") if s.is_displayed()]
        assert len(shown) == 1
        assert shown[0].text.startswith(expected)
    assert not chromium.find_element(By.ID, "next").is_enabled()
    chromium.get(pages["simpson"].as_uri())
    slide = "arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))"
    chromium.execute_script(slide, chromium.find_element(By.ID, "slider"))
    assert "more often" in chromium.find_element(By.ID, "caption").text
