"""`cf.check()`: ordinary questions pass, extrapolating ones are named, row by row."""

from pathlib import Path

import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, InterventionError
from causalcf.datasets.bars import Bars
from causalcf.scm.check import RARE
from causalcf.scm.scorecard import Check


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Bars(1500, seed=1)


@pytest.fixture(scope="module")
def scm(bars: Bars) -> ccf.SCM:
    vae = ccf.mechanisms.VAE(latent=3, widths=(8, 8, 8))
    return ccf.SCM(bars.graph, mechanisms={"image": vae}).fit(
        bars, epochs={"image": 2, "brightness": 20, "width": 20, "side": 3}, seed=0, progress=False
    )


def _names(check: Check) -> set[str]:
    return {finding.name for finding in check.findings if bool(finding.unusual.any())}


def test_an_ordinary_question_passes(scm: ccf.SCM) -> None:
    """At most 2 of 100 rows: eight findings with a false-alarm rate of one in a thousand each, p < .05 for 3."""
    x = Bars(100, seed=2)[:]
    check = scm.counterfactual(x, {"width": 3.0}, seed=0).check()
    assert int(check.extrapolates.sum()) <= 2
    assert check.extrapolates.shape == (100,)
    assert {f.name for f in check.findings} == {
        "width",
        "brightness",
        "width.u",
        "brightness.u",
        "image",
        "image.z",
        "image.eps",
    }


def test_an_acted_value_beyond_the_data_is_named(scm: ccf.SCM) -> None:
    x = Bars(20, seed=2)[:]
    check = scm.counterfactual(x, {"width": torch.linspace(3, 9, 20)}, seed=0).check()
    (finding,) = check.of("width")
    assert finding.unusual.tolist() == (finding.found > 5).tolist()
    assert bool((check.extrapolates >= finding.unusual).all())
    assert finding.typical.startswith("1")


def test_values_that_are_possible_apart_but_not_together_are_named(scm: ccf.SCM) -> None:
    """A width of 1 px and a brightness of 245 both occur; with that width the noise would be 6.8 sigma out."""
    x = Bars(10, seed=2)[:]
    alone = scm.counterfactual(x, {"brightness": 245.0}, seed=0).check()
    assert not bool(alone.of("brightness")[0].unusual.any()), "within the data's range"
    both = scm.counterfactual(x, {"width": 1.05, "brightness": 245.0}, seed=0).check()
    given = [f for f in both.of("brightness") if f.what == "tail probability given width"]
    assert bool(given[0].unusual.all())
    assert bool((given[0].found < RARE).all())


def test_an_unseen_category_is_named() -> None:
    rows = {"c": torch.arange(300) % 2, "y": torch.randn(300)}
    scm = ccf.SCM([("c", "y")], {"c": ccf.Categorical(3), "y": ccf.Real()}).fit(rows, epochs=2, seed=0, progress=False)
    x = {"c": torch.tensor([0, 1]), "y": torch.zeros(2)}
    assert bool(scm.counterfactual(x, {"c": 2}, seed=0).check().of("c")[0].unusual.all())
    assert not bool(scm.counterfactual(x, {"c": 1}, seed=0).check().of("c")[0].unusual.any())


def test_an_image_unlike_the_data_is_named(scm: ccf.SCM) -> None:
    x = dict(Bars(10, seed=2)[:])
    x["image"] = x["image"].clone()
    x["image"][0] = torch.rand(1, 16, 16)
    check = scm.counterfactual(x, {"width": 3.0}, seed=0).check()
    (residual,) = check.of("image.eps")
    assert bool(residual.unusual[0])
    assert not bool(residual.unusual[1:].any())
    assert bool(check.extrapolates[0])


def test_a_value_of_a_row_that_its_mechanism_could_not_give_is_named(scm: ccf.SCM) -> None:
    x = dict(Bars(3, seed=2)[:])
    x["width"], x["brightness"] = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([254.0, 150.0, 220.0])
    check = scm.counterfactual(x, {"side": "left"}, seed=0).check()
    assert check.of("brightness.u")[0].unusual.tolist() == [True, False, False]


def test_it_prints_as_a_table(scm: ccf.SCM) -> None:
    text = repr(scm.counterfactual(Bars(20, seed=2)[:], {"width": 9.0}, seed=0).check())
    assert "value, in the data's range, px" in text
    assert "20 of 20" in text
    assert text.endswith("-> 20 of 20 rows extrapolate")
    assert max(map(len, text.splitlines())) < 140


def test_a_loaded_model_checks_alike(scm: ccf.SCM, tmp_path: Path) -> None:
    scm.save(tmp_path / "scm.safetensors")
    again = ccf.SCM.load(tmp_path / "scm.safetensors")
    x = Bars(20, seed=2)[:]
    first, second = (model.counterfactual(x, {"width": 4.9}, seed=0).check() for model in (scm, again))
    assert repr(first) == repr(second)
    assert again.seen == scm.seen


def test_worlds_and_samples_are_checked_one_by_one(scm: ccf.SCM) -> None:
    x = Bars(5, seed=2)[:]
    worlds = scm.counterfactual(x, [{"width": 2.0}, {"width": 9.0}], seed=0)
    with pytest.raises(InterventionError, match=r"several worlds.*cf.world\(0\).check\(\)"):
        worlds.check()
    assert _names(worlds.world(1).check()) >= {"width"}
    assert "width" not in _names(worlds.world(0).check())
    samples = scm.counterfactual(x, {"width": 9.0}, num_samples=2, abduction="sample", seed=0)
    with pytest.raises(InterventionError, match=r"several samples.*cf.sample\(0\).check\(\)"):
        samples.check()
    assert bool(samples.sample(1).check().extrapolates.all())


def test_noise_alone_and_vectors(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    check = mixed.counterfactual(rows, {"p": 1.0}, seed=0).check()
    assert any(f.name == "v" and f.what.startswith("components") for f in check.findings)
    again = mixed.predict(mixed.abduct(rows, seed=0), {})
    assert again.check().rows == rows.rows


def test_an_answer_without_a_model_says_so(scm: ccf.SCM) -> None:
    from dataclasses import replace

    answer = replace(scm.counterfactual(Bars(2)[:], {"width": 2.0}, seed=0), origin=None)
    with pytest.raises(DataError, match="does not know its model"):
        answer.check()


@pytest.mark.parametrize(("share", "rare"), [(0.0005, True), (0.002, False), (0.005, False)])
def test_a_value_of_one_row_in_a_thousand_is_where_extrapolation_begins(share: float, rare: bool) -> None:
    rows = {"c": torch.arange(20_000) < 20_000 * share, "y": torch.zeros(20_000)}
    scm = ccf.SCM([("c", "y")], {"c": ccf.Boolean(), "y": ccf.Real()}).fit(rows, epochs=1, seed=0, progress=False)
    x = {"c": torch.tensor([False]), "y": torch.zeros(1)}
    (finding,) = scm.counterfactual(x, {"c": True}, seed=0).check().of("c")
    assert finding.found.item() == pytest.approx(share, rel=0.4)
    assert bool(finding.unusual) is rare
    assert finding.typical == "above 0.001"


def test_noise_of_one_draw_in_a_thousand_is_where_extrapolation_begins() -> None:
    """A standard normal is beyond 2.9 in 4 of 1,000 draws, and beyond 3.8 in 1 of 7,000."""
    rows = {"a": torch.randn(2000), "y": torch.randn(2000)}
    linear = {node: ccf.mechanisms.LinearGaussian() for node in rows}
    scm = ccf.SCM([("a", "y")], {node: ccf.Real() for node in rows}, linear).fit(rows, seed=0, progress=False)
    x = {"a": torch.zeros(3), "y": torch.tensor([0.0, 2.9, 3.8])}
    (finding,) = scm.counterfactual(x, {"a": 0.5}, seed=0).check().of("y.u")
    assert 0.002 < finding.found[1].item() < 0.008
    assert finding.unusual.tolist() == [False, False, True]
    acted = {"a": 0.0, "y": torch.tensor([0.0, 2.9, 3.8])}
    (joint,) = [f for f in scm.counterfactual(x, acted, seed=0).check().of("y") if f.what.startswith("tail")]
    assert joint.unusual.tolist() == [False, False, True]


def _linear(data: dict[str, torch.Tensor], edges: list[tuple[str, str]]) -> ccf.SCM:
    linear = {node: ccf.mechanisms.LinearGaussian() for node in data}
    return ccf.SCM(edges, dict.fromkeys(data, ccf.Real()), linear).fit(data, seed=0, progress=False)


def test_causes_that_go_together_and_are_acted_on_apart_are_named() -> None:
    a, e, f = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    data = {"a": a, "b": a + 0.01 * e, "y": 2 * a + 0.3 * f}
    scm = _linear(data, [("a", "b"), ("a", "y"), ("b", "y")])
    x = {node: value[:20] for node, value in data.items()}
    (apart,) = [f for f in scm.counterfactual(x, {"b": ccf.shift(1.0)}).check().of("y") if "together" in f.what]
    assert bool(apart.unusual.all()), "each is in its range, the pair of them was never seen"
    (both,) = [f for f in scm.counterfactual(x, {"a": ccf.shift(0.2)}).check().of("y") if "together" in f.what]
    assert not bool(both.unusual.any()), "b follows a"


@pytest.mark.parametrize(("value", "unseen"), [(30.0, True), (20.0, False), (10.0, False), (5.0, True)])
def test_a_value_between_the_steps_of_a_coarse_grid_is_named(value: float, unseen: bool) -> None:
    dose = torch.tensor([0.0, 10.0, 20.0, 40.0])[torch.arange(400) % 4]
    scm = _linear({"dose": dose, "y": dose + torch.randn(400)}, [("dose", "y")])
    check = scm.counterfactual({"dose": dose[:5], "y": dose[:5]}, {"dose": value}).check()
    assert bool(check.extrapolates.all()) == unseen


def test_a_value_between_the_data_and_a_mark_for_missing_is_named() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    data = {"x": torch.where(torch.arange(1000) % 50 == 0, -9999.0, x), "y": x}
    with (
        pytest.warns(UserWarning, match="ruled by 18 of 900 rows"),
        pytest.warns(UserWarning, match="'x' is -9999 in 20 of"),
    ):
        scm = _linear(data, [("x", "y")])
    rows = {node: value[1:6] for node, value in data.items()}
    assert bool(scm.counterfactual(rows, {"x": -50.0}).check().of("x")[1].unusual.all())
    assert not bool(scm.counterfactual(rows, {"x": 1.0}).check().extrapolates.any())
