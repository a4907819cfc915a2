import copy
import io
import json
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, pairwise

import matplotlib as mpl
import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from PIL import Image as PILImage
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from torch.distributions import Normal, Uniform

from causalcf import SCM, Batch, given_factual, load_graph, scale, shift
from causalcf.core.errors import CausalCFError, DataError, UnknownNodeError
from causalcf.graph import CausalGraph, graph_names
from causalcf.mechanisms import Deterministic, LinearGaussian
from causalcf.plots import describe_actions, draw_graph, layout, plot_history, save_figure
from causalcf.plots.graphs import monotone
from causalcf.plots.layout import Extent, isotonic, layered, layers_of, ordered
from causalcf.plots.style import text_width
from causalcf.plots.words import three_digits
from causalcf.scm.abduction import Noise, sample_noise
from causalcf.scm.counterfactual import Counterfactual
from causalcf.scm.prediction import World
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.image import Image
from causalcf.variables.scalar import Positive, Real

N = 4


def paint(pa):
    """A bar as wide as the thickness and as bright as the intensity."""
    inside = torch.arange(8.0) < pa["thickness"][:, None]
    return (inside * pa["intensity"][:, None] / 255)[:, None, None, :].expand(-1, 1, 8, 8).clamp(0, 1)


@pytest.fixture(scope="module")
def scm():
    """thickness -> intensity -> image, with a colour that nothing causes."""
    thickness = torch.linspace(1, 6, 200)
    data = {
        "thickness": thickness,
        "intensity": 100 + 20 * thickness + torch.sin(50 * thickness),
        "colour": torch.arange(200) % 3,
    }
    return SCM(
        [("thickness", "intensity"), ("thickness", "image"), ("intensity", "image"), ("colour", "image")],
        variables={
            "thickness": Real(unit="px"),
            "intensity": Real(unit="grey levels"),
            "colour": Categorical(["red", "green", "blue"]),
            "image": Image(1, 8, 8),
        },
        mechanisms={"thickness": LinearGaussian(), "intensity": LinearGaussian(), "image": Deterministic(paint)},
    ).fit(data, seed=0, progress=False)


@pytest.fixture(scope="module")
def x():
    return Batch(
        {
            "thickness": torch.tensor([2.0, 3.0, 4.0, 5.0]),
            "intensity": torch.tensor([140.0, 161.0, 180.0, 200.0]),
            "colour": torch.tensor([0, 1, 2, 0]),
        },
        np.array(["anna", "bo", "cleo", "dan"]),
    )


def texts(figure):
    """All that is written in a figure."""
    found = figure.findobj(mpl.text.Text)
    return [text.get_text() for text in found if text.get_visible() and text.get_text()]


def images(figure):
    return [image for ax in figure.axes for image in ax.images]


def render(figure, dpi=60):
    """The figure as drawn pixels, which runs every artist."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return np.asarray(PILImage.open(buffer).convert("RGB"))


# ---------------------------------------------------------------------- images


def test_a_row_per_unit_with_the_signed_difference(scm, x):
    cf = scm.counterfactual(x, do={"thickness": 4.0})
    figure = cf.plot(rows=3)
    drawn = [np.asarray(image.get_array()) for image in images(figure)]
    assert len(drawn) == 3 * 3
    factual, after, change = drawn[:3], drawn[3::2], drawn[4::2]
    np.testing.assert_allclose(factual, cf.factual["image"][:3, 0])
    np.testing.assert_allclose(after, cf["image"][:3, 0])
    np.testing.assert_allclose(change, 255 * (cf["image"] - cf.factual["image"])[:3, 0], rtol=1e-4, atol=1e-4)
    assert change[0].max() > 0, "thicker is positive"


def test_differences_share_one_symmetric_scale(scm, x):
    figure = scm.counterfactual(x, do=[{"thickness": 6.0}, {"intensity": 150.0}]).plot()
    signed = [image for image in images(figure) if image.get_cmap().name == "RdBu_r"]
    assert len(signed) == 2 * N
    limits = {image.get_clim() for image in signed}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high
    assert high == pytest.approx(max(np.abs(image.get_array()).max() for image in signed))
    assert "grey levels" in texts(figure)


def test_captions_say_what_was_and_what_is(scm, x):
    cf = scm.counterfactual(x, do={"thickness": 4.0})
    written = texts(cf.plot(rows=1))
    assert "do(thickness = 4)" in written
    assert "anna" in written
    assert "2.00 px" in written
    assert "2.00 → 4.00 px" in written
    assert f"140 → {three_digits(float(cf['intensity'][0]))} grey levels" in written
    assert written.count("red") == 2, "the colour did not change, and says so"


def test_no_more_rows_than_there_are(scm, x):
    figure = scm.counterfactual(x, do={"thickness": 4.0}).plot(rows=100)
    assert len(images(figure)) == 3 * N
    assert "dan" in texts(figure)


def test_each_world_has_its_column(scm, x):
    cf = scm.counterfactual(x, do=[{}, {"thickness": shift(1.0)}, {"colour": "blue", "intensity": scale(0.5)}])
    figure = cf.plot(rows=2)
    assert len(images(figure)) == 2 * (1 + 3 * 2)
    written = " ".join(texts(figure))
    for title in ("factual", "no action", "do(thickness += 1)", "do(colour = blue,", "intensity ×= 0.5)", "red → blue"):
        assert title in written
    render(figure)


def from_prior(scm, do):
    return scm.predict(sample_noise(scm.graph, scm.mechanisms, N), do=do)


def test_sampled_noise_has_no_factual_column(scm):
    figure = from_prior(scm, {"thickness": 4.0}).plot(rows=2)
    assert len(images(figure)) == 2
    written = texts(figure)
    assert "factual" not in written
    assert "4.00 px" in written
    render(figure)


def test_samples_show_the_first_and_their_spread(scm, x):
    cf = scm.counterfactual(x, do={"thickness": Normal(4.0, 0.2)}, num_samples=5, seed=0)
    figure = cf.plot(rows=1)
    written = texts(figure)
    first, spread = float(cf.sample(0)["thickness"][0]), float(cf["thickness"][:, 0].std(correction=0))
    assert f"2.00 → {three_digits(first)} ± {three_digits(spread)} px" in written
    assert any(text.startswith("Sample 1 of 5") for text in written)
    np.testing.assert_allclose(images(figure)[1].get_array(), cf.sample(0)["image"][0, 0])


def test_a_figure_says_what_is_no_abduction(scm, x):
    assert "Residual noise scaled by 0: not abduction." in texts(
        scm.counterfactual(x, do={"thickness": 4.0}, residual=0.0).plot()
    )
    clipped = scm.counterfactual(x, do={"thickness": 4.0}, recompute="all").plot()
    assert any("Every mechanism was recomputed" in text for text in texts(clipped))


def by_hand(variables, before, after, edges=(), do=None):
    """A result of one world, without a model."""
    dag = nx.DiGraph(list(edges))
    dag.add_nodes_from(variables)
    noise = Noise({}, Batch(before), abduction="mean")
    return Counterfactual(CausalGraph(dag, variables), (World(after),), noise, do or {}, None, 1.0)


def test_clipped_rows_are_counted():
    values = {"a": torch.ones(3)}
    cf = by_hand({"a": Positive()}, values, values)
    cf = replace(cf, worlds=(World(values, clipped={"a": 1}),))
    assert "Clipped to the support: a in 1 of 3 rows.\nNothing random." in texts(cf.plot())


def test_colour_images_show_the_mean_difference_of_their_channels():
    before = torch.rand(2, 3, 6, 4)
    after = before.clone()
    after[:, 0] = 1.0
    cf = by_hand({"image": Image(3, 6, 4)}, {"image": before}, {"image": after})
    figure = cf.plot()
    picture, _, change = images(figure)[0], images(figure)[2], images(figure)[3]
    assert picture.get_array().shape == (6, 4, 3)
    np.testing.assert_allclose(change.get_array(), 255 * (1 - before[0, 0]) / 3, rtol=1e-4, atol=1e-3)
    assert "grey levels,\nmean of channels" in texts(figure)
    render(figure)


def test_two_image_nodes_have_columns_of_their_own():
    values = {"scan": torch.rand(2, 1, 4, 4), "mask": torch.rand(2, 1, 4, 4)}
    cf = by_hand({name: Image(1, 4, 4) for name in values}, values, values)
    assert len(images(cf.plot())) == 2 * (2 + 4)
    assert {"scan counterfactual", "mask difference"} <= set(texts(cf.plot()))
    assert len(images(cf.plot(nodes=["mask"]))) == 2 * 3


def test_of_many_attributes_captions_name_those_that_changed():
    before = {f"x{i}": torch.zeros(1) for i in range(30)} | {"image": torch.zeros(1, 1, 4, 4)}
    variables = {name: Image(1, 4, 4) if name == "image" else Real() for name in before}
    written = texts(by_hand(variables, before, before | {"x25": torch.ones(1)}).plot())
    assert "0.00 → 1.00" in written
    assert sum(text.startswith("x") for text in written) == 2 * 8


# ---------------------------------------------------------------------- values


def test_without_an_image_there_is_a_panel_per_node(scm, x):
    cf = scm.counterfactual(x, do=[{"thickness": 4.0}, {"colour": "blue"}])
    figure = cf.plot(nodes=["colour", "thickness", "intensity"])
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert set(panels) == {"thickness", "intensity", "colour"}
    assert [label.get_text() for label in panels["thickness"].get_yticklabels()] == list(x.index)
    assert panels["intensity"].get_xlabel() == "grey levels"
    assert {"red → blue", "green → blue", "red"} <= {text.get_text() for text in panels["colour"].texts}
    dots = np.concatenate(
        [
            np.asarray(dots.get_offsets())[:, 0]
            for dots in panels["thickness"].collections[1:]
            if hasattr(dots, "get_offsets") and len(dots.get_offsets()) == N
        ]
    )
    assert np.isin(x["thickness"].numpy(), dots).all()
    assert {"factual", "do(thickness = 4)", "do(colour = blue)"} <= {
        text.get_text() for text in figure.legends[0].get_texts()
    }
    render(figure)


def test_samples_of_values_show_their_mean_and_how_many_agree():
    before = {"x": torch.zeros(2), "c": torch.tensor([0, 1])}
    after = {"x": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), "c": torch.tensor([0, 1, 0, 1, 1, 1])}
    flat = Noise({}, Batch({name: value.repeat(3) for name, value in before.items()}), abduction="sample")
    graph = CausalGraph(nx.DiGraph([("x", "c")]), {"x": Real(), "c": Categorical(["no", "yes"])})
    cf = Counterfactual(graph, (World(after),), flat, {"x": Normal(0.0, 1.0)}, 0, 1.0, num_samples=3)
    figure = cf.plot()
    assert {"no (67% of samples)", "yes"} <= set(texts(figure))
    means = [dots.get_offsets()[:, 0].tolist() for dots in figure.axes[0].collections if len(dots.get_offsets()) == 2]
    assert [3.0, 4.0] in means
    render(figure)


def test_values_of_sampled_noise_have_no_factual(scm):
    figure = from_prior(scm, {"thickness": 4.0}).plot(nodes=["thickness", "colour"])
    assert "factual" not in texts(figure)
    render(figure)


@pytest.mark.parametrize("name", ["adult", "chain", "front-door"])
def test_every_kind_of_tabular_graph_can_be_drawn(name):
    variables = load_graph(name).variables
    values = {
        node: torch.zeros(3, dtype=torch.long)
        if isinstance(variable, Categorical)
        else torch.zeros(3, dtype=torch.bool)
        if isinstance(variable, Boolean)
        else torch.arange(1.0, 4.0)
        for node, variable in variables.items()
    }
    figure = by_hand(variables, values, values).plot(rows=2)
    assert sum(bool(ax.get_title(loc="left")) for ax in figure.axes) == len(variables)
    render(figure)


def test_nothing_to_draw_is_an_error(scm, x):
    cf = scm.counterfactual(x, do={"thickness": 4.0})
    with pytest.raises(UnknownNodeError, match="no node 'q'"):
        cf.plot(nodes=["q"])
    with pytest.raises(DataError, match="nothing to draw: 0 rows"):
        cf.plot(rows=0)
    with pytest.raises(DataError, match="no image or scalar node"):
        cf.plot(nodes=[])


# ---------------------------------------------------------------------- actions in words


def thicker(parents):
    return parents["thickness"] + 1


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ({}, "no action"),
        (None, "no action"),
        ({"thickness": 4.0}, "do(thickness = 4)"),
        ({"thickness": torch.tensor(2.5), "digit": 3}, "do(thickness = 2.5, digit = 3)"),
        ({"digit": "7"}, "do(digit = 7)"),
        ({"thickness": torch.ones(5)}, "do(thickness set per unit)"),
        ({"thickness": [1.0, 2.0]}, "do(thickness set per unit)"),
        ({"image": torch.ones(2, 1, 32, 32)}, "do(image set)"),
        ({"image.z": torch.ones(2, 16)}, "do(image.z set per unit)"),
        ({"image.eps": 0}, "do(image.eps = 0)"),
        ({"intensity": shift(10)}, "do(intensity += 10)"),
        ({"intensity": shift(-0.5)}, "do(intensity −= 0.5)"),
        ({"intensity": shift(torch.ones(5))}, "do(intensity += one per unit)"),
        ({"intensity": scale(2.0)}, "do(intensity ×= 2)"),
        ({"intensity": Normal(100.0, 5.0)}, "do(intensity ~ Normal(100, 5))"),
        ({"intensity": Uniform(torch.zeros(3), torch.ones(3))}, "do(intensity ~ Uniform)"),
        ({"intensity": lambda pa: pa["thickness"]}, "do(intensity = f(thickness))"),
        ({"intensity": thicker}, "do(intensity = thicker(thickness))"),
        ({"thickness": given_factual(lambda _, x: x["thickness"])}, "do(thickness = f(factual))"),
        ({"intensity": given_factual(lambda _, x: x["thickness"])}, "do(intensity = f(thickness; factual))"),
    ],
)
def test_actions_are_described(do, words):
    assert describe_actions(do, load_graph("morphomnist")) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (2.346, "2.35"), (-12.34, "−12.3"), (180.4, "180"), (0.0123, "0.012"), (1e-5, "1.00e−05")],
)
def test_numbers_are_short(value, text):
    assert three_digits(value) == text


# ---------------------------------------------------------------------- graphs


@st.composite
def dags(draw):
    names = "abcdefg"[: draw(st.integers(1, 7))]
    pairs = list(combinations(names, 2))
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return graph


@settings(deadline=None, max_examples=40)
@given(dags())
def test_causes_lie_above_effects_and_nothing_overlaps(dag):
    layer = layers_of(dag)
    assert all(layer[cause] < layer[effect] for cause, effect in dag.edges)
    extents = {node: Extent(0.3, 0.4 + 0.1 * i, 0.4) for i, node in enumerate(dag)}
    found = layered(dag, extents, gap=0.2)
    for cause, effect in dag.edges:
        points = [found.nodes[cause], *found.waypoints[cause, effect], found.nodes[effect]]
        assert len(points) == layer[effect] - layer[cause] + 1
        assert all(above[1] > below[1] for above, below in pairwise(points))
    for a, b in combinations(dag, 2):
        (xa, ya), (xb, yb) = found.nodes[a], found.nodes[b]
        if ya == yb:
            a, b, xa, xb = (a, b, xa, xb) if xa < xb else (b, a, xb, xa)
            assert xa + extents[a].right + 0.2 <= xb - extents[b].left + 1e-9


def test_rising_and_monotone_fits_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 40):
        values, weights = rng.normal(size=n), rng.uniform(0.1, 3, n)
        np.testing.assert_allclose(isotonic(values, weights), isotonic_regression(values, weights=weights).x)
        x, y = np.sort(rng.uniform(size=n + 3)), rng.normal(size=n + 3).round(1)
        at = np.linspace(x[1], x[-2], 50)  # inside: at the ends, scipy looks at three points
        np.testing.assert_allclose(monotone(x, y, at), PchipInterpolator(x, y)(at), atol=1e-12)
    ends = monotone(x, y, np.linspace(x[0], x[1], 50))
    assert (np.diff(ends) * (y[1] - y[0]) >= 0).all()


def test_a_layout_without_crossings_is_found():
    """Two ladders declared in the order that crosses."""
    dag = nx.DiGraph([("a", "q"), ("b", "p"), ("q", "z"), ("p", "y")])
    x = {node: at[0] for node, at in layered(dag, dict.fromkeys(dag, Extent(0.3, 0.3, 0.3))).nodes.items()}
    assert (x["a"] - x["b"]) * (x["q"] - x["p"]) > 0
    assert (x["q"] - x["p"]) * (x["z"] - x["y"]) > 0


def crossings(layers):
    """How many edges of a layout cross, and how far they run sideways: all pairs, one by one."""
    crossed, run = 0, 0.0
    for upper, lower in pairwise(layers.rows):
        ends = [(i, lower.index(below)) for i, node in enumerate(upper) for below in layers.below[node]]
        crossed += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(ends, 2))
        run += sum(abs((a - (len(upper) - 1) / 2) - (b - (len(lower) - 1) / 2)) for a, b in ends)
    return crossed, run


def large(nodes, edges):
    """A random DAG."""
    draw = np.random.default_rng(0)
    graph = nx.DiGraph()
    graph.add_nodes_from(f"v{i}" for i in range(nodes))
    while graph.number_of_edges() < edges:
        cause, effect = sorted(draw.choice(nodes, 2, replace=False))
        graph.add_edge(f"v{cause}", f"v{effect}")
    return graph


@settings(deadline=None, max_examples=40)
@given(dags())
def test_crossings_are_counted_right_and_swapping_neighbours_cannot_lower_them(dag):
    layers = ordered(dag)
    least = crossings(layers)
    assert layout._cost(layers.rows, layers.below) == least
    for row in layers.rows:
        for j in range(len(row) - 1):
            row[j], row[j + 1] = row[j + 1], row[j]
            assert crossings(layers) >= least
            row[j], row[j + 1] = row[j + 1], row[j]


def test_the_order_within_layers_undoes_crossings():
    dag = large(60, 120)
    layers = ordered(dag)
    declared = [[node for node in layers.above if node in row] for row in layers.rows]
    assert crossings(layers)[0] < crossings(replace(layers, rows=declared))[0] / 2


def test_the_arrows_of_a_large_graph_end_at_their_nodes_and_nothing_overlaps():
    dag = large(60, 120)
    ax = draw_graph(CausalGraph(dag), noise=False)
    boxes = {
        label.get_text(): box.get_window_extent()
        for box, label in zip(
            [patch for patch in ax.patches if isinstance(patch, mpl.patches.FancyBboxPatch)], ax.texts, strict=True
        )
    }
    assert not any(boxes[a].overlaps(boxes[b]) for a, b in combinations(dag, 2))
    heads = [patch for patch in ax.patches if isinstance(patch, mpl.patches.Polygon)]
    inch = ax.figure.dpi
    for (_, effect), head in zip(CausalGraph(dag).edges, heads, strict=True):
        corners = head.get_verts()[:3]
        near = boxes[effect].padded(0.1 * inch)
        assert near.contains(*corners[0]), "the tip"
        assert np.hypot(*(corners[0] - corners[1:].mean(0))) < 0.13 * inch, "no longer than a head"


def test_a_very_wide_graph_is_drawn_smaller():
    dag = nx.DiGraph([("cause", f"an effect with a long name, {i}") for i in range(30)])
    figure = draw_graph(CausalGraph(dag, {node: Real() for node in dag})).figure
    width, height = figure.get_size_inches()
    assert width == pytest.approx(40)
    assert height < 1
    drawn = render(figure, dpi=200)
    assert drawn.std() > 5
    assert (np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]]) == 255).all()


@pytest.mark.parametrize("bold", [True, False])
@pytest.mark.parametrize("text", ["marital-status", "price_$", "Größe ß €", "8", "u", "a b"])
def test_text_is_as_wide_as_its_ink(text, bold):
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    ink = TextPath((0, 0), text, size=9.0, prop=font).get_extents().width / 72
    assert text_width(text, 9.0, bold=bold) == pytest.approx(ink, abs=1e-9)


@pytest.mark.parametrize("name", graph_names())
@pytest.mark.parametrize("noise", [True, False])
def test_every_shipped_graph_is_drawn_whole(name, noise):
    graph = load_graph(name)
    ax = graph.draw(noise=noise)
    written = [text.get_text() for text in ax.texts]
    assert sorted(written) == sorted([*graph.nodes, *(["u"] * len(graph.nodes) if noise else [])])
    heads = [patch for patch in ax.patches if isinstance(patch, mpl.patches.Polygon)]
    assert len(heads) == len(graph.edges) + noise * len(graph.nodes)
    drawn = render(ax.figure)
    border = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
    assert (border == 255).all(), "nothing is cut off at the edge of the figure"


@pytest.mark.parametrize("name", graph_names())
def test_labels_fit_in_their_nodes_and_edges_pass_no_node(name):
    graph = load_graph(name)
    ax = graph.draw()
    renderer = ax.figure.canvas.get_renderer()
    boxes = [patch for patch in ax.patches if isinstance(patch, mpl.patches.FancyBboxPatch)]
    labels = [text for text in ax.texts if text.get_text() != "u"]
    for box, label in zip(boxes, labels, strict=True):
        outside, inside = box.get_window_extent(renderer), label.get_window_extent(renderer)
        assert outside.x0 < inside.x0
        assert inside.x1 < outside.x1
    for line, edge in zip(ax.lines, graph.edges, strict=False):
        points = ax.transData.transform(line.get_xydata())
        for box, label in zip(boxes, labels, strict=True):
            if label.get_text() not in edge:
                extent = box.get_window_extent(renderer)
                within = (points > [extent.x0, extent.y0]) & (points < [extent.x1, extent.y1])
                assert not within.all(1).any(), f"{edge} runs through {label.get_text()}"


def test_nodes_acted_on_are_filled_and_cut_off():
    graph = load_graph("morphomnist")
    ax = graph.draw(do=["intensity"])
    fills = {
        label.get_text(): mpl.colors.to_hex(box.get_facecolor())
        for box, label in zip(
            [patch for patch in ax.patches if isinstance(patch, mpl.patches.FancyBboxPatch)],
            [text for text in ax.texts if text.get_text() != "u"],
            strict=True,
        )
    }
    assert len({fills[node] for node in graph.nodes if node != "intensity"}) == 1
    assert fills["intensity"] != fills["thickness"]
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(crosses) == 2, "the edge from thickness, and the noise"
    assert not [line for line in graph.draw().lines if line.get_marker() == "x"]
    with pytest.raises(UnknownNodeError, match="no node 'q'"):
        graph.draw(do=["q"])


def test_a_graph_fits_into_axes_that_are_given():
    figure = Figure(figsize=(4, 3))
    ax = figure.add_subplot()
    assert draw_graph(load_graph("adult"), ax=ax) is ax
    figure.canvas.draw()
    inside = ax.get_window_extent()
    for text in ax.texts:
        extent = text.get_window_extent()
        assert inside.x0 <= extent.x0
        assert extent.x1 <= inside.x1


def test_names_are_written_as_they_are():
    graph = CausalGraph([("price_$", "gain_$")], {"gain_$": Real(unit="$")})
    assert "price_$" in texts(graph.draw().figure)
    render(graph.draw().figure)


# ---------------------------------------------------------------------- training curves


def record(node, epoch, train, validation, skipped=0):
    return {
        "node": node,
        "epoch": epoch,
        "train": train,
        "validation": validation,
        "lr": 1e-3,
        "skipped": skipped,
        "seconds": 0.1,
    }


def test_each_trained_node_has_its_curves():
    history = [record("digit", 0, 2.31, 2.30)]
    history += [record("t", epoch, 3 / epoch, 3 / epoch + 0.1 * (epoch > 8) * epoch) for epoch in range(1, 13)]
    history += [record("image", epoch, -epoch, 1.0 - epoch, skipped=2) for epoch in range(1, 4)]
    figure = plot_history(history)
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert set(panels) == {"t", "image (2 steps skipped)"}
    train, validation, best = panels["t"].lines
    assert train.get_xdata().tolist() == list(range(1, 13))
    assert validation.get_ydata().tolist() == [row["validation"] for row in history[1:13]]
    assert best.get_xdata().tolist() == [8]
    assert "Solved in closed form (validation loss): digit (2.30)." in texts(figure)
    render(figure)


def test_curves_of_a_real_fit_can_be_drawn(scm):
    figure = plot_history(scm.history)
    assert any("Solved in closed form" in text for text in texts(figure))
    render(figure)


def test_curves_with_one_epoch_or_without_numbers_can_be_drawn():
    render(plot_history([record("t", 1, 2.0, 1.0)]))
    render(plot_history([record("t", epoch, float("nan"), float("nan")) for epoch in range(1, 15)]))


def test_curves_go_into_a_figure_that_is_given():
    parent = Figure(figsize=(6, 3))
    left, _ = parent.subfigures(1, 2)
    assert plot_history([record("t", 1, 2.0, 1.0), record("t", 2, 1.0, 0.5)], left) is left
    assert len(left.axes) == 1


def test_a_training_in_stages_has_a_panel_for_each_and_a_curve_for_each_turn():
    both = {"critic_loss": 0.7, "generator_loss": 1.2}
    adversarial = [
        record("image", epoch, 1.9, None) | {"stage": "adversarial", "losses": {k: v / epoch for k, v in both.items()}}
        for epoch in range(1, 13)
    ]
    encoder = [record("image", e, 1 / e, 1.1 / e) | {"stage": "encoder", "losses": {"cycle": 1 / e}} for e in (1, 2, 3)]
    figure = plot_history(adversarial + encoder)
    first, second = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["image, adversarial", "image, encoder"]
    assert [line.get_label() for line in first.lines] == ["critic loss", "generator loss"]
    assert first.lines[1].get_ydata().tolist() == [1.2 / epoch for epoch in range(1, 13)]
    assert first.get_ylim()[1] > 0.6, "only the steep start may be left out"
    assert [line.get_label() for line in second.lines[:2]] == ["train", "validation"]
    render(figure)


def test_an_empty_history_is_an_error():
    with pytest.raises(DataError, match="history is empty: fit the model first"):
        plot_history([])


# ---------------------------------------------------------------------- files and global state


def test_pictures_carry_their_provenance(scm, x, tmp_path):
    cf = scm.counterfactual(x, do={"thickness": 4.0})
    facts = {"seed": 3, "note": "größer"}
    save_figure(cf.plot(rows=1), tmp_path / "cf.png", facts)
    with PILImage.open(tmp_path / "cf.png") as picture:
        assert json.loads(picture.text["provenance"]) == facts
    save_figure(cf.plot(rows=1), tmp_path / "cf.svg", facts)
    assert '"seed": 3' in (tmp_path / "cf.svg").read_text("utf-8").replace("&quot;", '"')
    with pytest.raises(CausalCFError, match=r"'cf\.doc'.*\.png or \.svg"):
        save_figure(cf.plot(rows=1), "cf.doc", facts)


def test_notebooks_show_figures():
    assert load_graph("chain").draw().figure._repr_png_().startswith(b"\x89PNG")


def test_drawing_leaves_settings_and_pyplot_alone(scm, x):
    import matplotlib.pyplot as plt

    before, open_figures = copy.copy(mpl.rcParams), plt.get_fignums()
    scm.counterfactual(x, do={"thickness": 4.0}).plot()
    load_graph("chain").draw()
    plot_history([record("t", 1, 2.0, 1.0)])
    assert mpl.rcParams == before
    assert plt.get_fignums() == open_figures


def test_importing_causalcf_imports_no_matplotlib():
    code = "import sys, causalcf; causalcf.load_graph('chain'); sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
