"""Objects in a notebook: their HTML is well formed, escaped, small, and says what they are."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from explainers.models import images, linear_classifier, linear_scm
from plots.test_answers import record
from plots.test_plots import by_hand

import causalcf as ccf
from causalcf.evaluation.records import Records

EMPTY = {"img", "br", "meta"}


class Page(HTMLParser):
    """What a page holds; tags that are left open, or closed twice, are an error."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)

    @property
    def said(self):
        return " ".join(self.text)


HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def shipped():
    scm = ccf.pretrained("morphomnist-vae")
    return scm, scm.sample(20, seed=0)


def test_a_graph_is_a_picture_and_a_table():
    page = Page(ccf.load_graph("adult")._repr_html_())
    assert page.count("img") == 1
    assert page.count("tr") == 1 + len(ccf.load_graph("adult").nodes)
    assert "Categorical" in page.said


def test_names_are_escaped_everywhere():
    x = {HOSTILE: torch.randn(30), "b": torch.randn(30)}
    graph = ccf.CausalGraph([(HOSTILE, "b")], {HOSTILE: ccf.Real(unit="<u>"), "b": ccf.Real()}, title="<script>")
    scm = ccf.SCM(graph, mechanisms={"b": ccf.mechanisms.LinearGaussian(), HOSTILE: ccf.mechanisms.LinearGaussian()})
    scm.fit(x, progress=False)
    cf = scm.counterfactual(x, do={HOSTILE: 1.0})
    batch = ccf.Batch(x, np.array([HOSTILE] * 30))
    kinds = {"c": ccf.Categorical(["<b>bold</b>", "y"])}
    category = by_hand(kinds, {"c": torch.tensor([0])}, {"c": torch.tensor([1])})
    found = Records((record(HOSTILE, "b", 1.0),), missing={"m": "<i>why</i>"})
    for shown in (graph, scm, cf, cf.check(), batch, category, found):
        page = Page(shown._repr_html_())
        assert {tag for tag, _ in page.tags} <= {"style", "div", "p", "strong", "img", "span"} | {
            "table", "thead", "tbody", "tr", "th", "td",
        }  # fmt: skip
        assert all(attrs["src"].startswith("data:image/png;base64,") for tag, attrs in page.tags if tag == "img")


def test_a_model_says_how_it_was_fitted_and_what_its_noise_is(shipped):
    page = Page(shipped[0]._repr_html_())
    assert "image.z, image.eps" in page.said
    assert f"Fitted: {shipped[0].provenance['rows']:,} rows, seed {shipped[0].provenance['seed']}" in page.said
    bare = Page(ccf.SCM([("x", "y")])._repr_html_())
    assert "Not fitted yet" in bare.said
    assert "chosen by fit" in bare.said


def test_rows_are_pictures_and_numbers_and_few_of_them(shipped):
    page = Page(shipped[1]._repr_html_())
    assert page.count("img") == 8
    assert "20 rows, 4 nodes" in page.said
    assert "12 more rows." in page.said
    assert Page(ccf.Batch({})._repr_html_()).count("tr") == 1


def test_data_sets_name_their_categories():
    faces = ccf.datasets.Digits("test")
    assert "px" in Page(faces._repr_html_()).said
    adult = by_hand({"c": ccf.Categorical(["no", "yes"])}, {"c": torch.tensor([0])}, {"c": torch.tensor([1])})
    assert "no → yes" in Page(adult._repr_html_()).said


def test_an_answer_shows_what_was_and_what_would_have_been(shipped):
    scm, x = shipped
    cf = scm.counterfactual(x, do={"thickness": 4.0})
    page = Page(cf._repr_html_())
    assert page.count("img") == 8 * 3
    assert f"{float(x['thickness'][0]):.2f} → 4.00" in page.said
    assert "Residual 1, latents at their mean, nothing random." in page.said
    assert "12 more units." in page.said


def test_worlds_share_the_rows_and_samples_say_their_spread(shipped):
    scm, x = shipped
    worlds = [{"thickness": float(t)} for t in range(2, 8)]
    page = Page(scm.counterfactual(x, do=worlds)._repr_html_())
    assert page.count("tr") == 1 + 2 * 4
    assert "2 more worlds." in page.said
    law = torch.distributions.Normal(4.0, 0.1)
    sampled = Page(scm.counterfactual(x[:2], do={"thickness": law}, num_samples=3, seed=4)._repr_html_())
    assert "Sample 1 of 3" in sampled.said
    assert "seed 4." in sampled.said
    assert " ± " in sampled.said


def test_noise_from_the_prior_has_no_arrow(shipped):
    scm, _ = shipped
    noise = scm.abduct(shipped[1][:2])
    page = Page(scm.predict(noise.like(dict(noise), None), do={"thickness": 4.0})._repr_html_())
    assert "→" not in page.said


def test_a_check_marks_what_is_unusual(shipped):
    scm, x = shipped
    far = Page(scm.counterfactual(x, do={"thickness": 40.0}).check()._repr_html_())
    assert "20 of 20 rows extrapolate" in far.said
    marked = [attrs for tag, attrs in far.tags if tag == "span" and attrs.get("class") == "bad"]
    assert len(marked) >= 2
    near = Page(scm.counterfactual(x[:1], do={"thickness": x["thickness"][:1]}).check()._repr_html_())
    assert "no row extrapolates" in near.said


def test_scores_are_capped_and_beside_the_truth():
    page = Page(Records(tuple(record("error", f"n{i}", float(i)) for i in range(50)))._repr_html_())
    assert page.count("tr") == 41
    assert "10 more scores." in page.said
    assert "n = 20, seed 7" in page.said
    assert "grey levels ↓" in page.said


def test_an_explanation_shows_pictures_and_how_it_ended():
    scm, f = linear_scm(), linear_classifier()
    x = images(scm, 40)
    x = x[f(x).argmax(1) == 0][:12]
    found = ccf.explainers.REVISE(scm, classifier=f).explain(x, target=1, seed=0)
    page = Page(found._repr_html_())
    assert page.count("img") == 8 * 3
    assert f"{int(found.reached.sum())} of 12 reached" in page.said
    assert "REVISE, seed 0, residual left out." in page.said


def test_a_page_stays_small(shipped):
    scm, x = shipped
    for shown in (scm, scm.graph, x, scm.counterfactual(x, do={"thickness": 4.0})):
        assert len(shown._repr_html_()) < 150_000


def test_a_long_text_is_cut():
    index = pd.Index(["x" * 5000])
    cf = by_hand({"a": ccf.Real()}, {"a": torch.zeros(1)}, {"a": torch.ones(1)})
    batch = ccf.Batch({"a": torch.zeros(1)}, index.to_numpy(), index)
    assert len(Page(batch._repr_html_()).said) < 600
    assert "0.00 → 1.00" in Page(cf._repr_html_()).said
