"""Pictures of whole answers, of mechanisms and of scores: what is drawn is what was computed."""

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from plots.test_plots import by_hand, render, texts
from torch.distributions import Normal

import causalcf as ccf
from causalcf.core.errors import DataError, UnknownNodeError
from causalcf.evaluation.records import Record, Records
from causalcf.plots.style import WORLDS
from causalcf.scm.responses import responses


@pytest.fixture(scope="module")
def answer():
    """Three units, one of whom stays; a category of whom two change; an image."""
    before = {
        "age": torch.tensor([20.0, 30.0, 40.0]),
        "job": torch.tensor([0, 1, 1]),
        "photo": torch.zeros(3, 1, 4, 4),
        "still": torch.ones(3),
    }
    after = before | {
        "age": torch.tensor([25.0, 30.0, 50.0]),
        "job": torch.tensor([1, 1, 0]),
        "photo": torch.full((3, 1, 4, 4), 0.2),
    }
    kinds = {
        "age": ccf.Real(unit="years"),
        "job": ccf.Categorical(["<cook>", "smith"]),
        "photo": ccf.Image(1, 4, 4),
        "still": ccf.Real(),
    }
    return by_hand(kinds, before, after, do={"age": ccf.shift(5.0)})


def dots(ax):
    """All points scattered in a panel."""
    return np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections if hasattr(c, "get_offsets")])


def test_changes_show_what_moved_by_how_much_and_for_whom(answer):
    figure = answer.plot(kind="changes")
    numbers, flows, picture = figure.axes[:3]
    np.testing.assert_allclose(dots(numbers), [[20, 25], [30, 30], [40, 50]])
    assert "2 moved by +7.50 (+5.25 .. +9.75) years" in texts(numbers)
    assert "2 of 3 changed" in texts(flows)
    assert sorted(t.get_text() for t in flows.texts if t.get_text().isdigit()) == ["1", "1", "1"]
    assert [t.get_text() for t in flows.get_yticklabels()] == ["<cook>", "smith"]
    np.testing.assert_allclose(picture.lines[0].get_ydata(), 51.0, rtol=1e-5)
    foot = figure._supxlabel.get_text()
    assert "The same for every unit: still." in foot
    assert "Residual 1, latents at their mean, nothing random." in foot
    render(figure)


def test_changes_of_some_units_and_nodes(answer):
    figure = answer.plot(2, kind="changes", nodes=["still", "age"])
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["age", "still"]
    assert len(dots(figure.axes[0])) == 2
    assert "nobody moved" in texts(figure.axes[1])
    with pytest.raises(UnknownNodeError, match="no node 'q'"):
        answer.plot(kind="changes", nodes=["q"])


def test_samples_of_a_change_are_their_mean_and_a_line(mixed, rows):
    cf = mixed.counterfactual(rows[:5], do={"y": Normal(3.0, 1.0)}, num_samples=40, seed=3)
    panel = cf.plot(kind="changes", nodes=["y"]).axes[0]
    spread = next(c for c in panel.collections if len(c.get_segments() if hasattr(c, "get_segments") else []) == 5)
    ends = np.array([segment[:, 1] for segment in spread.get_segments()])
    np.testing.assert_allclose(ends.T, np.quantile(cf["y"].numpy(), [0.05, 0.95], 0), rtol=1e-5)
    means = [c.get_offsets()[:, 1] for c in panel.collections if len(c.get_offsets()) == 5]
    assert any(np.allclose(mean, cf["y"].mean(0), rtol=1e-5) for mean in means)
    assert "Seed 3." in cf.plot(kind="changes")._supxlabel.get_text()


def test_the_world_that_changes_a_category_most_is_drawn(mixed, rows):
    cf = mixed.counterfactual(rows, do=[{"x": ccf.shift(0.01)}, {"c": "red"}])
    panel = cf.plot(kind="changes", nodes=["c"]).axes[0]
    assert to_hex(panel.spines["left"].get_edgecolor()) == WORLDS[1]
    moved = sum(int(t.get_text()) for t in panel.texts if t.get_text().isdigit())
    assert moved == rows.rows


def test_a_pair_of_numbers(answer):
    figure = answer.plot(kind="pair", nodes=("age", "still"))
    points = dots(figure.axes[0]).tolist()
    assert [25.0, 1.0] in points
    assert [20.0, 1.0] in points
    assert points.count([30.0, 1.0]) == 1, "who did not move has no second dot"
    with pytest.raises(DataError, match=r"A pair is two nodes that are numbers, got \['age', 'job'\]"):
        answer.plot(kind="pair", nodes=("age", "job"))


def test_worlds_along_the_value_that_was_set(mixed, rows):
    at = [2.0, -1.0, 0.5]
    cf = mixed.counterfactual(rows[:6], do=[{"x": value} for value in at])
    figure = cf.plot(kind="worlds")
    panel = next(ax for ax in figure.axes if ax.get_title(loc="left") == "y")
    assert panel.get_xlabel() == "do(x = …)"
    thick = panel.lines[-1]
    np.testing.assert_allclose(thick.get_xdata(), sorted(at))
    np.testing.assert_allclose(thick.get_ydata(), np.quantile(cf["y"][[1, 2, 0]].numpy(), 0.5, axis=1), rtol=1e-5)
    assert "x" not in {ax.get_title(loc="left") for ax in figure.axes}
    render(figure)


def test_worlds_of_different_actions_are_named(mixed, rows):
    figure = mixed.counterfactual(rows[:3], do=[{"c": "red"}, {"b": True}]).plot(kind="worlds", nodes=["c"])
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["c = red", "b = true"]
    assert {"blue", "green", "red"} & set(texts(figure.axes[0].get_legend()))


def test_worlds_and_samples_of_images():
    scm = ccf.pretrained("morphomnist-vae")
    x = scm.sample(3, seed=0)
    figure = scm.counterfactual(x, do=[{"thickness": 2.0}, {"thickness": 4.0}]).plot(kind="worlds")
    assert sum(bool(ax.images) for ax in figure.axes) == 3 * 3
    cf = scm.counterfactual(x, do={"thickness": 4.0}, abduction="sample", num_samples=4, seed=5)
    shown = [ax.images[0].get_array() for ax in cf.plot(2, kind="samples").axes]
    assert len(shown) == 2 * (1 + 4 + 1)
    np.testing.assert_allclose(shown[5], cf["image"][:, 0].std(0, correction=0)[0], atol=1e-6)
    np.testing.assert_allclose(shown[2], cf["image"][1, 0, 0])
    assert "Residual 1, latents drawn, seed 5." in cf.plot(kind="samples")._supxlabel.get_text()


def test_pictures_that_cannot_be_drawn_say_why(answer, mixed, rows):
    cf = mixed.counterfactual(rows[:3], do={"y": Normal(0.0, 1.0)}, num_samples=2, seed=0)
    with pytest.raises(DataError, match=r"no picture kind='pie' of an answer. There are \['units', 'changes'"):
        answer.plot(kind="pie")
    with pytest.raises(DataError, match="one world only"):
        answer.plot(kind="worlds")
    with pytest.raises(DataError, match="Samples are drawn of one world"):
        answer.plot(kind="samples")
    with pytest.raises(DataError, match=r"is an image\. Samples of numbers"):
        cf.plot(kind="samples")
    with pytest.raises(DataError, match="no node changed for any of 3 units"):
        mixed.counterfactual(rows[:3], do={}).plot(kind="changes")
    with pytest.raises(DataError, match="nothing was observed"):
        replace(answer, flat_noise=answer.flat_noise.like({"u": torch.zeros(3)}, None)).plot(kind="changes")


# ---------------------------------------------------------------------- mechanisms


def test_responses_are_the_counterfactuals_of_units(mixed, rows):
    """Each point of a unit's line is what acting on all causes at once gives."""
    found = {(r.cause, r.child): r for r in responses(mixed.graph, mixed.mechanisms, rows, seed=0)}
    assert set(found) == {(cause, child) for cause, child in mixed.graph.edges if child != "v"}
    response = found["x", "d"]
    for k in (0, 12, 24):
        held = {"x": float(response.grid[k]), "y": rows["y"]}
        torch.testing.assert_close(response.curves[k], mixed.counterfactual(rows, do=held)["d"])
    flow = found["x", "y"]
    expected = mixed.counterfactual(rows, do={"x": float(flow.grid[7])})["y"]
    torch.testing.assert_close(flow.curves[7], expected, rtol=1e-4, atol=1e-4)


def test_a_model_draws_its_mechanisms(mixed, rows):
    figure = mixed.plot(rows)
    labels = {(ax.get_ylabel(), ax.get_xlabel()) for ax in figure.axes if ax.get_xlabel()}
    assert {("y", "x"), ("p (px)", "y"), ("share of b", "y"), ("share of c", "x"), ("", "b"), ("d", "x")} <= labels
    panel = next(ax for ax in figure.axes if ax.get_ylabel() == "y")
    assert np.isin(dots(panel)[:, 1], rows["y"].double().numpy()).all()
    assert "rows of the data" in figure._supxlabel.get_text()
    note = mixed.plot(nodes=["y"], seed=5)._supxlabel.get_text()
    assert "draws of the model" in note
    assert "Seed 5." in note
    render(figure)


def test_a_model_of_roots_has_nothing_to_draw():
    graph = nx.DiGraph()
    graph.add_node("x")
    scm = ccf.SCM(graph, mechanisms={"x": ccf.mechanisms.LinearGaussian()})
    scm.fit({"x": torch.randn(50)}, progress=False)
    with pytest.raises(DataError, match="no node has a cause"):
        scm.plot()


def test_the_mechanism_of_an_image_is_a_strip():
    figure = ccf.pretrained("morphomnist-vae").plot(nodes=["image"])
    assert [ax.get_xlabel() for ax in figure.axes] == ["thickness (px)", "intensity (grey levels)", "digit"]
    assert [t.get_text() for t in figure.axes[2].get_xticklabels()] == [str(k) for k in range(10)]
    assert figure.axes[2].images[0].get_array().shape == (32, 320)


# ---------------------------------------------------------------------- scores


def record(metric, do, value, residual=1.0, **more):
    facts = {"low": value - 0.1, "high": value + 0.1, "truth": 0.0, "identity": 2.0, "noise": 9.0} | more
    return Record(metric, do, "image", value, **facts, unit="grey levels", better="lower", n=20, seed=7,
                  device="cpu", residual=residual, abduction="mean", judge="")  # fmt: skip


def test_scores_stand_beside_the_truth_and_doing_nothing():
    found = Records((record("error", "a", 1.0), record("error", "a", 1.5, 0.0), record("other", "b", 0.2)))
    figure = found.plot()
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")] == ["error", "other"]
    at = {float(line.get_xdata()[0]) for line in figure.axes[0].lines if len(line.get_xdata()) == 1}
    assert at == {1.0, 1.5, 0.0, 2.0}
    assert {"the model, residual 1", "the model, residual 0", "the truth", "doing nothing"} <= set(texts(figure))
    assert "n = 20, seed 7" in figure._supxlabel.get_text()
    render(figure)
    with pytest.raises(DataError, match="no scores"):
        Records(()).plot()
