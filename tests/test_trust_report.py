"""The report of trust: its tests keep their level, and each part sees what is wrong with a model made to be so."""

import networkx as nx
import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import CausalCFWarning, DataError
from causalcf.trust.independence import Columns, beside_permuted, implied, scores

REAL = ccf.Real()


def drawn(n: int, seed: int) -> dict[str, torch.Tensor]:
    """z -> x -> m -> y and z -> y, linear but for m = tanh x."""
    z, a, b, c = torch.randn(4, n, generator=torch.Generator().manual_seed(seed))
    x = z + a
    m = x.tanh() + 0.5 * b
    return {"z": z, "x": x, "m": m, "y": m + z + c}


ARROWS = [("z", "x"), ("x", "m"), ("m", "y"), ("z", "y")]


def fitted(edges, rows=None, **options) -> ccf.SCM:
    graph = ccf.CausalGraph(edges, **options)
    nodes = {node: ccf.mechanisms.LinearGaussian() for node in graph.nodes}
    rows = drawn(2000, 0) if rows is None else rows
    scm = ccf.SCM(graph, dict.fromkeys(graph.nodes, REAL), nodes)
    return scm.fit({node: rows[node] for node in graph.nodes}, seed=0, progress=False)


def part(report, title: str):
    return next(part for part in report.parts if title in part.title)


# ---------------------------------------------------------------------- the tests within


def columns(rows) -> Columns:
    return Columns({node: scores(REAL, value) for node, value in rows.items()}, 0)


def test_independences_that_hold_are_rejected_as_seldom_as_they_say() -> None:
    rejected = 0
    for seed in range(200):
        z, a, b = torch.randn(3, 200, generator=torch.Generator().manual_seed(seed))
        rejected += columns({"z": z, "a": z.sin() + a, "b": z**2 + b}).test("a", "b", ["z"]).p < 0.05
    assert rejected <= 19, "binomial(200, .05) is above 19 in one case of a thousand"


@pytest.mark.parametrize("how", [lambda a: a, lambda a: a**2, torch.cos])
def test_dependences_are_found_be_they_bent_or_not(how) -> None:
    z, a, b = torch.randn(3, 600, generator=torch.Generator().manual_seed(0))
    found = columns({"z": z, "a": z + a, "b": z.sin() + how(a) + 0.5 * b}).test("a", "b", ["z"])
    assert found.p < 1e-3
    assert found.size > 0.1
    assert found.words == "a and b independent, given z"


def test_categories_and_constants_can_be_tested() -> None:
    generator = torch.Generator().manual_seed(0)
    c = torch.randint(3, (500,), generator=generator)
    b = torch.rand(500, generator=generator) < torch.tensor([0.2, 0.5, 0.8])[c]
    made = {"c": scores(ccf.Categorical(3), c), "b": scores(ccf.Boolean(), b), "k": scores(REAL, torch.ones(500))}
    assert Columns(made, 0).test("c", "b", []).p < 1e-6
    assert Columns(made, 0).test("c", "k", []).p == 1.0


def test_implied_independences_are_d_separations() -> None:
    graph = ccf.load_graph("morphomnist")
    claims = list(implied(graph.mixed, ["thickness", "intensity", "digit"]))
    assert {frozenset(claim[:2]) for claim in claims} == {
        frozenset(("thickness", "digit")),
        frozenset(("intensity", "digit")),
    }
    assert all(nx.is_d_separator(graph.networkx, {a}, {b}, set(given)) for a, b, given in claims)
    hidden = ccf.CausalGraph([("x", "m"), ("m", "y")], confounded=[("x", "y")])
    assert list(implied(hidden.mixed, "xmy")) == [], "x and y are tied by the hidden cause"


def test_the_true_graph_beats_graphs_with_permuted_names() -> None:
    own, others = beside_permuted(ccf.CausalGraph(ARROWS), columns(drawn(1000, 1)), 0.01, 15)
    assert own == 0.0
    assert sum(other > 0 for other in others) > len(others) / 2


# ---------------------------------------------------------------------- the report


@pytest.fixture(scope="module")
def straight():
    """A world in which the linear model is right."""

    def rows(n, seed):
        z, a, b, c = torch.randn(4, n, generator=torch.Generator().manual_seed(seed))
        x = z + a
        m = 0.8 * x + b
        return {"z": z, "x": x, "m": m, "y": m + z + c}

    return rows


@pytest.fixture(scope="module")
def right(straight):
    return ccf.trust_report(fitted(ARROWS, straight(2000, 0)), straight(1200, 1), model="m.safetensors")


def test_nothing_is_found_against_a_right_model(right) -> None:
    assert right.grade == "good", str(right)
    assert right.verdict.startswith("Nothing was found against this model in 1,000 rows. That is no proof")
    assert str(right).startswith(right.verdict)
    assert "all 2 independences" in part(right, "contradict").sentence
    assert "which data alone can never confirm" in part(right, "not identified").sentence


def test_a_missing_arrow_is_named() -> None:
    report = ccf.trust_report(fitted(ARROWS[:3]), drawn(1000, 1))
    found = part(report, "contradict")
    assert found.grade == report.grade == "bad"
    assert report.verdict.startswith("Do not trust this model yet. Does the data contradict the graph? Yes: ")
    assert "z and y are independent" in found.sentence
    assert found.rows[0][3] == "rejected"


def test_a_mechanism_that_does_not_fit_is_named(right) -> None:
    found = part(ccf.trust_report(fitted(ARROWS), drawn(1000, 1)), "mechanism fit")
    assert found.grade == "bad"
    assert found.sentence.startswith("No: m. Noise is off its law, or a cause is left in it")
    assert part(right, "mechanism fit").grade == "good"


def test_a_mechanism_with_other_noise_is_named(straight) -> None:
    skewed = straight(2000, 0)
    skewed["y"] = skewed["m"] + skewed["z"] + torch.rand(2000, generator=torch.Generator().manual_seed(1)) ** 6
    found = part(ccf.trust_report(fitted(ARROWS, skewed), skewed), "mechanism fit")
    assert found.grade == "bad"
    assert "No: y." in found.sentence


def test_probabilities_are_held_against_frequencies() -> None:
    from causalcf.queries.examples import switch

    scm = switch()
    fine = part(ccf.trust_report(scm, scm.sample(2000, seed=1), n=2000), "mechanism fit")
    assert fine.grade == "good", fine.rows
    rows = dict(scm.sample(2000, seed=1))
    found = part(ccf.trust_report(scm, {**rows, "y": ~rows["y"]}), "mechanism fit")
    assert found.grade == "bad"
    assert "No: y." in found.sentence


def test_rows_from_elsewhere_extrapolate(straight, right) -> None:
    scm = fitted(ARROWS, straight(2000, 0))
    moved = {node: value + 6.0 for node, value in straight(400, 1).items()}
    found = part(ccf.trust_report(scm, moved), "extrapolates")
    assert found.grade == "bad"
    assert "Their counterfactuals are guesses" in found.sentence
    assert part(right, "extrapolates").grade == "good"


def test_effects_through_hidden_causes_are_listed() -> None:
    with pytest.warns(CausalCFWarning, match="fitted to how these nodes go together"):
        scm = fitted([("z", "x"), ("x", "y")], confounded=[("x", "y")])
    rows = {node: value for node, value in drawn(500, 1).items() if node != "m"}
    found = part(ccf.trust_report(scm, rows), "not identified")
    assert found.grade == "doubt"
    assert "shared by x and y. 2 of 3 effects are not what this model computes" in found.sentence
    assert dict(row[:2] for row in found.rows) == {
        "z on x": "by this model",
        "z on y": "by another formula",
        "x on y": "no",
    }


def test_the_strength_that_turns_an_effect_is_the_partial_correlation(straight, right) -> None:
    found = part(right, "hidden causes have to go")
    turns = {row[0].split(" (")[0] + row[0][-1]: float(row[2]) for row in found.rows if row[2].startswith("0")}
    seen = torch.stack([straight(2000, 0)[node] for node in "zxm"]).double()
    precision = seen.cov().inverse()
    assert turns["zx"] == pytest.approx(float(seen[:2].corrcoef()[0, 1]), abs=0.02)
    assert turns["xm"] == pytest.approx(float(-precision[1, 2] / (precision[1, 1] * precision[2, 2]).sqrt()), abs=0.02)
    assert "The most fragile is the effect of x on m" in found.sentence


class Knowing(ccf.Batch):
    """Rows that know their true counterfactuals under do(x)."""

    def __getitem__(self, key):
        rows = super().__getitem__(key)
        return Knowing(rows, rows.index) if isinstance(rows, ccf.Batch) else rows

    def truth(self, x, do):
        if list(do) != ["x"]:
            raise DataError("only do(x) is known")
        moved = torch.as_tensor(do["x"]) - x["x"]
        return {**x, "x": x["x"] + moved, "m": x["m"] + 0.8 * moved, "y": x["y"] + 0.8 * moved}


def test_the_truth_is_told_where_it_is_known(straight) -> None:
    scm = fitted(ARROWS, straight(2000, 0))
    found = part(ccf.trust_report(scm, Knowing(straight(300, 1))), "truth")
    assert found.grade == "good"
    assert [row[1] for row in found.rows] == ["m", "y"]
    assert float(found.rows[0][2]) < 0.1 * float(found.rows[0][3])


def test_the_page_begins_with_the_verdict_and_needs_nothing_else(right, tmp_path) -> None:
    page = right.save(tmp_path / "trust.html").read_text("utf-8")
    body = page[page.index("<body>") :]
    assert body.index(right.verdict) < body.index("<img") < body.index(right.parts[0].title)
    assert "http" not in page
    assert "data:image/png;base64," in page
    assert all(one.sentence.split(":")[0] in page for one in right.parts)
    assert "model m.safetensors" in page


def test_the_report_is_the_same_for_the_same_seed(straight, right) -> None:
    again = ccf.trust_report(fitted(ARROWS, straight(2000, 0)), straight(1200, 1))
    assert str(again) == str(right)


def test_too_few_rows_are_refused(straight) -> None:
    with pytest.raises(DataError, match="30 rows tell nothing about a model: give at least 100"):
        ccf.trust_report(fitted(ARROWS, straight(300, 0)), straight(30, 1))
    with pytest.raises(DataError, match="lack"):
        ccf.trust_report(fitted(ARROWS, straight(300, 0)), {"z": torch.zeros(200)})
