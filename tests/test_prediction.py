"""Step 3: which mechanisms run, on which noise, and what leaves them."""

import pytest
import torch

import causalcf as ccf
from causalcf.core.errors import DataError, InterventionError
from causalcf.scm.abduction import Noise


def test_what_is_not_reached_is_the_observation_in_memory_of_its_own(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    noise = mixed.abduct(rows, seed=0)
    cf = mixed.predict(noise, {"p": 1.0})
    assert noise.factual is not None
    for node in ("x", "y", "i", "b", "c", "d"):
        assert torch.equal(cf[node], rows[node])
        assert cf[node] is cf[node]
        cf[node].zero_()
        noise.factual[node].zero_()
        assert rows[node].bool().any(), "the caller's tensor is not written to"
    assert not torch.equal(cf["v"], rows["v"])


def test_recompute_all_runs_every_mechanism(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    noise = mixed.abduct(rows, seed=0)
    cf = mixed.predict(noise, {}, recompute="all")
    assert cf.recompute == "all"
    for node, variable in mixed.variables.items():
        assert cf[node] is not rows[node]
        assert torch.allclose(cf[node].float(), rows[node].float(), atol=0 if variable.discrete else 1e-4)


def test_noise_without_a_factual_runs_every_mechanism(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    noise = mixed.abduct(rows, seed=0)
    bare = Noise(dict(noise))
    assert bare.factual is None
    assert bare.rows == rows.rows
    by_noise, by_rows = mixed.predict(bare, {"x": 1.0}), mixed.predict(noise, {"x": 1.0}, recompute="all")
    assert all(torch.equal(by_noise[node], by_rows[node]) for node in mixed.graph.nodes)


def test_a_noise_is_replaced_not_changed(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    noise = mixed.abduct(rows, seed=0)
    other = noise.replace({"x.u": torch.zeros(rows.rows)})
    assert other.observed is noise.observed
    assert not torch.equal(noise["x.u"], other["x.u"])
    assert "x.u: (64,)" in repr(noise)
    assert len(noise) == 7


def test_the_unprojected_output_is_differentiable() -> None:
    scm = ccf.SCM([("t", "image")], {"t": ccf.Real(), "image": ccf.Image(1, 8, 8)}, {"image": _small_vae()})
    scm.fit({"t": torch.rand(40), "image": torch.rand(40, 1, 8, 8)}, epochs=1, seed=0, progress=False)
    noise = scm.abduct({"t": torch.rand(3), "image": torch.rand(3, 1, 8, 8)})
    extreme = noise.replace({"image.eps": (50 * noise["image.eps"]).requires_grad_()})
    free = scm.predict(extreme, {"image.z": noise["image.z"]}, project=False)["image"]
    assert free.amax() > 1
    (gradient,) = torch.autograd.grad(free.sum(), extreme["image.eps"])
    assert (gradient != 0).all()
    kept = scm.predict(extreme, {"image.z": noise["image.z"]})["image"]
    assert torch.equal(kept, free.clamp(0, 1))


def test_the_residual_is_scaled_where_it_is_asked_for() -> None:
    scm = ccf.SCM([("t", "image")], {"t": ccf.Real(), "image": ccf.Image(1, 8, 8)}, {"image": _small_vae()})
    scm.fit({"t": torch.rand(40), "image": torch.rand(40, 1, 8, 8)}, epochs=1, seed=0, progress=False)
    x = {"t": torch.rand(3), "image": torch.rand(3, 1, 8, 8)}
    whole, none = (scm.counterfactual(x, {"t": 0.5}, residual=r) for r in (1.0, 0.0))
    assert (whole.residual, none.residual) == (1.0, 0.0)
    noise = scm.abduct(x)
    mean = scm.predict(noise, {"t": 0.5, "image.eps": torch.zeros(1, 8, 8)})["image"]
    assert torch.allclose(none["image"], mean)
    assert not torch.allclose(whole["image"], mean, atol=1e-2)
    same = scm.counterfactual(x, {"t": x["t"]})["image"]
    assert torch.allclose(same, x["image"], atol=1e-5)
    assert not torch.allclose(scm.counterfactual(x, {"t": x["t"]}, residual=0)["image"], x["image"], atol=1e-2)


def test_edges_of_an_interval_warn_and_stay_finite(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    for low, high in ((0, 10), (1900, 2020), (1000, 1001)):
        scm = ccf.SCM([("x", "i")], {"x": ccf.Real(), "i": ccf.Interval(low, high)})
        i = low + (high - low) * torch.rand(60)
        i[:20], i[20:40] = low, high
        x = {"x": torch.randn(60), "i": i}
        with pytest.warns(UserWarning, match=rf"'i' lies on the edge of \[{low}, {high}\] in \d+ of \d+ rows"):
            scm.fit(x, epochs=1, seed=0, progress=False)
        with pytest.warns(UserWarning, match="'i' lies on the edge .* in 40 of 60 rows; these are moved inside"):
            cf = scm.counterfactual(x, {"x": x["x"]})
        assert torch.isfinite(cf.noise["i.u"]).all()
        assert torch.isfinite(cf["i"]).all()
        assert (cf["i"] - i).abs().max() < 1e-3 * (high - low)
        assert torch.isfinite(scm.log_prob(x).total).all()


def test_a_deterministic_function_that_gives_the_wrong_shape_is_named() -> None:
    scm = ccf.SCM([("x", "y")], mechanisms={"y": ccf.mechanisms.Deterministic(lambda pa: pa["x"].mean())})
    with pytest.raises(ccf.CausalCFError, match=r"The function of 'y' must give a tensor of shape \(\d+,\), got \(\)"):
        scm.fit({"x": torch.randn(30), "y": torch.randn(30)}, epochs=1, seed=0, progress=False).counterfactual(
            {"x": torch.randn(3)}, {"x": 1.0}
        )


def test_an_observed_row_must_be_whole(mixed: ccf.SCM, rows: ccf.Batch) -> None:
    without_noiseless = {node: rows[node] for node in rows if node != "d"}
    assert torch.equal(mixed.counterfactual(without_noiseless, {}, seed=0)["d"], rows["x"] + rows["y"])
    for node in ("x", "c"):
        with pytest.raises(DataError, match=rf"The data lack \['{node}'\]"):
            mixed.counterfactual({name: rows[name] for name in rows if name != node}, {})


def _small_vae() -> ccf.mechanisms.VAE:
    return ccf.mechanisms.VAE(latent=3, widths=(8, 8, 8))


@pytest.mark.parametrize("options", [{"recompute": "decendants"}, {"out_of_support": "ignore"}])
def test_a_misspelled_choice_is_refused(options: dict[str, str]) -> None:
    scm = ccf.SCM([("a", "b")], {"a": ccf.Real(), "b": ccf.Real()})
    rows = {"a": torch.randn(50), "b": torch.randn(50)}
    scm.fit(rows, epochs=1, seed=0, progress=False)
    with pytest.raises(InterventionError, match="choose one of"):
        scm.counterfactual(rows, {"a": 1.0}, **options)  # type: ignore[arg-type]
