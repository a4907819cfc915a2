"""Counterfactual fine-tuning: the objective is held, actions are obeyed, and a tuner never judges."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import causalcf as ccf
from causalcf import finetuning, predictors, training
from causalcf.core.errors import (
    CheckpointError,
    DataError,
    GraphError,
    InterventionError,
    MechanismError,
    NotFittedError,
    TrainingError,
    UnknownNodeError,
)
from causalcf.mechanisms import GAN, HVAE, VAE, Diffusion, Generator, Mechanism, Recipe
from causalcf.predictors import Ensemble, Predictor, Predictors
from causalcf.scm.residual import Fading, Residual

BARS = ccf.datasets.Bars(600)
SMALL: dict[str, Any] = {"widths": (8, 8, 16, 16), "hidden": 32}
RECIPE = Recipe(epochs=2, batch_size=64, lr=2e-3, warmup=5, ema=0.9)


@cache
def _reader(part: str = "tune", target: str = "side", seed: int = 0) -> Predictor:
    predictor = Predictor(target, BARS.variables[target], BARS.variables["image"], **SMALL)  # type: ignore[arg-type]
    recipe = Recipe(epochs=40 if part == "tune" else 8, batch_size=32, lr=5e-3, warmup=20, ema=0.9)
    return predictors.fit(predictor, BARS, which=part, recipe=recipe, seed=seed, progress=False)  # type: ignore[arg-type]


@cache
def _pretrained() -> ccf.SCM:
    """A model that ignores the side: it learned from shuffled ones, so its code carries the side."""
    order = torch.randperm(BARS.rows, generator=torch.Generator().manual_seed(0))
    shuffled = {**BARS, "side": BARS["side"][order]}
    vae = VAE(latent=4, widths=(8, 16, 16), recipe=Recipe(epochs=12, batch_size=64, lr=5e-3, warmup=20, ema=0.9))
    return ccf.SCM(BARS.graph, mechanisms={"image": vae}).fit(
        shuffled, epochs={"width": 1, "brightness": 1}, seed=0, progress=False
    )


def _model() -> ccf.SCM:
    return copy.deepcopy(_pretrained())


def _tuned(scm: ccf.SCM, **options: Any) -> ccf.SCM:
    settings: dict[str, Any] = {"recipe": RECIPE, "seed": 0, "progress": False, "slack": 0.05, **options}
    return scm.finetune(BARS, [_reader()], **settings)


def _obedience(scm: ccf.SCM) -> float:
    """How often a judge reads the side asked for."""
    x = BARS[:300]
    asked = (x["side"] + 1) % 3
    read = _reader("judge").read(scm.counterfactual(x, {"side": asked}, residual=0.0))
    return float((read == asked).double().mean())


def test_the_side_is_obeyed_and_the_objective_held() -> None:
    before, scm = _pretrained(), _model()
    flows = copy.deepcopy(scm.mechanisms["brightness"].state_dict())
    _tuned(scm, recipe=Recipe(epochs=8, batch_size=64, lr=2e-3, warmup=5, ema=0.9), slack=0.05)
    assert _obedience(before) < 0.1
    assert _obedience(scm) > 0.9
    x = BARS[:]
    pa = {node: x[node] for node in scm.graph.parents("image")}
    losses = []
    for model in (before, scm):
        torch.manual_seed(0)
        losses.append(float(model.mechanisms["image"].loss(x["image"], pa)))
    assert losses[1] < losses[0] + 2 * 0.05
    for name, tensor in scm.mechanisms["brightness"].state_dict().items():
        assert torch.equal(tensor, flows[name])  # nothing else has moved
    assert not any(parameter.requires_grad for parameter in scm.parameters())


def test_the_multiplier_follows_the_excess() -> None:
    rising = _tuned(_model(), slack=1e-4, recipe=Recipe(epochs=3, batch_size=64, lr=2e-2, warmup=1))
    falling = _tuned(_model(), slack=50.0)
    assert rising.history[-1]["multiplier"] > 0.3 > falling.history[-1]["multiplier"]
    record = falling.history[-1]
    assert record["stage"] == "counterfactual"
    assert {"surprise", "objective"} <= record.keys()


def test_effects_follow_and_nothing_else() -> None:
    scm = _model()
    ancestors = {name: (scm.mechanisms[name], scm.graph.parents(name)) for name in scm.graph.ancestors(["image"])}
    tuning = finetuning.Tuning(
        scm.mechanisms["image"],
        ancestors,
        Predictors([_reader()]),
        finetuning.Settings(actions={"width": 1.0}),
    )
    known = {name: BARS[:50][name] for name in ancestors}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        imagined = tuning.imagine(known)
    assert torch.equal(imagined["side"], known["side"])
    assert set(imagined["width"].tolist()) == set(known["width"].tolist())
    assert not torch.equal(imagined["width"], known["width"])
    expected = scm.counterfactual(BARS[:50], {"width": imagined["width"]})["brightness"]
    torch.testing.assert_close(imagined["brightness"], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("residual", [None, 0.25, Fading(width=2.0, side=0)])
def test_counterfactuals_carry_the_residual_asked_for(
    residual: Residual | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scm = _model()
    image, shares = scm.mechanisms["image"], []
    told = type(image).finetune_loss

    def listen(self: Mechanism, x: Tensor, pa: Any, pa_star: Any, readers: Any, carried: Tensor) -> Any:
        shares.append((pa, pa_star, carried))
        return told(self, x, pa, pa_star, readers, carried)

    monkeypatch.setattr(type(image), "finetune_loss", listen)
    _tuned(scm, residual=residual, recipe=Recipe(epochs=1, batch_size=64))
    for pa, pa_star, carried in shares:
        assert carried.shape == pa["side"].shape
        if residual is None:
            assert set(carried.tolist()) <= {0.0, 1.0}
        elif isinstance(residual, Fading):
            faded = (-(pa["width"] - pa_star["width"]).abs() / 2.0).exp() * (pa["side"] == pa_star["side"])
            torch.testing.assert_close(carried, faded)
        else:
            assert (carried == residual).all()
    everything = torch.cat([carried for *_, carried in shares])
    assert residual == 0.25 or everything.unique().numel() > 1
    assert scm.provenance["tuned"]["residual"] == str(residual)


def test_a_residual_that_would_fade_with_nothing_is_refused() -> None:
    with pytest.raises(InterventionError, match="nowhere"):
        _tuned(_model(), residual=Fading(nowhere=1.0))


def test_the_multiplier_hears_of_every_part_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked through in three parts, its gradient is minus the mean excess of the whole batch."""
    tuning = finetuning.Tuning(_model().mechanisms["image"], {}, Predictors([]), finetuning.Settings(start=1.0))
    monkeypatch.setattr(tuning, "weighed", lambda x, _pa: (x.mean(), torch.zeros(())))
    x = torch.arange(10.0)
    parts = x.chunk(3)
    for part in parts:
        tuning.descend(part, {})
    for part in parts:
        (tuning.ascend(part, {}) * len(part) / len(x)).backward()
    torch.testing.assert_close(tuning.log_multiplier.grad, -x.mean())


def test_a_killed_run_resumes_to_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _tuned(_model())
    path = tmp_path / "run.checkpoint"
    facts, calls = finetuning.Tuning.facts, []

    def killed(self: finetuning.Tuning) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return facts(self)

    with monkeypatch.context() as patch:
        patch.setattr(finetuning.Tuning, "facts", killed)
        with pytest.raises(KeyboardInterrupt):
            _tuned(_model(), checkpoint=path)
    with pytest.raises(CheckpointError, match="its mechanisms differ"):
        _tuned(_model(), checkpoint=path, resume=True, slack=0.06)
    other = _model()
    with torch.no_grad():
        next(other.mechanisms["image"].parameters()).mul_(1.01)
    with pytest.raises(CheckpointError, match="its mechanisms differ"):  # another model would become this one
        _tuned(other, checkpoint=path, resume=True)
    other = _model()
    with torch.no_grad():
        next(other.mechanisms["brightness"].parameters()).mul_(1.01)
    with pytest.raises(CheckpointError, match="its mechanisms differ"):
        _tuned(other, checkpoint=path, resume=True)
    resumed = _tuned(_model(), checkpoint=path, resume=True)
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name
    assert [record["epoch"] for record in resumed.history] == [record["epoch"] for record in whole.history]


def test_what_tuned_a_model_cannot_judge_it(tmp_path: Path) -> None:
    scm = _tuned(_model())
    assert scm.provenance["tuned"]["predictors"] == [_reader().signature]
    assert scm.provenance["made_from"]["seed"] == 0
    scm.save(tmp_path / "m.safetensors")
    loaded = ccf.SCM.load(tmp_path / "m.safetensors")
    for judge in (_reader(), Ensemble([_reader("judge"), _reader()])):
        with pytest.raises(DataError, match="fine-tuned this model and cannot judge it"):
            ccf.evaluate(loaded, BARS, ["effectiveness"], predictors=[judge], n=60)  # type: ignore[list-item]
    assert ccf.evaluate(loaded, BARS, ["effectiveness"], predictors=[_reader("judge")], do=["side"], n=60)


@pytest.mark.parametrize("then", ["tuned again", "another node fitted"])
def test_what_tuned_a_model_once_never_judges_it(then: str) -> None:
    scm = _tuned(_model())
    if then == "tuned again":
        scm.finetune(BARS, [_reader(seed=1)], recipe=RECIPE, seed=0, progress=False)
    else:
        scm.fit(BARS, nodes=["width"], epochs=1, seed=0, progress=False)
    with pytest.raises(DataError, match="fine-tuned this model and cannot judge it"):
        ccf.evaluate(scm, BARS, ["effectiveness"], predictors=[_reader()], n=60)


def test_a_model_fitted_afresh_is_judged_by_anyone() -> None:
    scm = _tuned(_model()).fit(BARS, epochs=1, seed=0, progress=False)
    assert ccf.evaluate(scm, BARS, ["effectiveness"], predictors=[_reader()], do=["side"], n=60)


def test_an_ensemble_may_tune() -> None:
    pair = Ensemble([_reader(), _reader(seed=1)])
    scm = _model().finetune(BARS, [pair], recipe=RECIPE, seed=0, progress=False)  # type: ignore[list-item]
    assert scm.provenance["tuned"]["predictors"] == [_reader().signature, _reader(seed=1).signature]


def _refused(match: str, error: type[Exception], scm: ccf.SCM, readers: list[Predictor], **options: Any) -> None:
    before = copy.deepcopy(scm.state_dict())
    settings: dict[str, Any] = {"recipe": RECIPE, "seed": 0, "progress": False, **options}
    with pytest.raises(error, match=match):
        scm.finetune(BARS, readers, **settings)
    _unmoved(scm, before)


def _unmoved(scm: ccf.SCM, before: dict[str, torch.Tensor]) -> None:
    after = scm.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert not any(parameter.requires_grad for parameter in scm.parameters())
    assert not any(module.training for module in scm.modules())
    assert not scm.mechanisms["image"].by_category  # type: ignore[union-attr]
    assert "tuned" not in scm.provenance


def test_bad_input_is_refused_before_anything_moves() -> None:
    scm, reader = _model(), _reader()
    _refused("trained on the part 'judge'", DataError, scm, [_reader("judge")])
    _refused("There are no predictors", DataError, scm, [])
    blank = Predictor("side", BARS.variables["side"], BARS.variables["image"], **SMALL)  # type: ignore[arg-type]
    _refused("is not fitted", NotFittedError, scm, [blank])
    foreign = Predictor("tilt", ccf.Real(), BARS.variables["image"], **SMALL)  # type: ignore[arg-type]
    _refused("another graph", GraphError, scm, [foreign])
    _refused("invertible mechanism Flow", MechanismError, scm, [reader], node="width")
    _refused("There is no node 'picture'", UnknownNodeError, scm, [reader], node="picture")
    for setting, value in {"slack": 0.0, "start": 0, "ascent": -1}.items():
        _refused(f"{setting} must be a number", DataError, scm, [reader], **{setting: value})
    _refused("give weights >= 0", DataError, scm, [reader], actions={"side": float("inf")})
    _refused("epochs must be a whole number of at least 0", TrainingError, scm, [reader], recipe=None, epochs=-2)
    _refused("give weights >= 0", DataError, scm, [reader], actions={"side": -1.0})
    _refused("give weights >= 0", DataError, scm, [reader], actions={"image": 1.0})


def test_what_training_refuses_leaves_the_model_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scm, reader = _model(), _reader()
    checkpoint = tmp_path / "run.checkpoint"
    _tuned(_model(), checkpoint=checkpoint)

    def worked(*_: Any) -> None:
        raise InterruptedError

    # Refused before any work is done.
    monkeypatch.setattr(VAE, "prepare_finetuning", worked)
    monkeypatch.setattr(finetuning.Tuning, "measure", worked)
    _refused("There is no precision '16'", TrainingError, scm, [reader], precision="16")
    _refused("exists already", CheckpointError, scm, [reader], checkpoint=checkpoint)
    other = {"checkpoint": checkpoint, "resume": True, "slack": 0.05, "seed": 1}
    _refused("its seed, data differ", CheckpointError, scm, [reader], **other)
    checkpoint.write_bytes(b"")
    _refused("exists already", CheckpointError, scm, [reader], checkpoint=checkpoint)


@pytest.mark.parametrize("error", [KeyboardInterrupt, TrainingError])
def test_a_run_that_breaks_off_leaves_the_model_alone(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    scm = _model()
    before = copy.deepcopy(scm.state_dict())

    def broken(self: finetuning.Tuning) -> dict[str, float]:
        raise error

    monkeypatch.setattr(finetuning.Tuning, "facts", broken)  # asked for after the first epoch
    with pytest.raises(error):
        _tuned(scm)
    _unmoved(scm, before)


def test_a_check_knows_the_noise_of_the_tuned_mechanism() -> None:
    before, scm = _pretrained(), _tuned(_model(), validation=BARS)
    sizes = scm.abduct(BARS[:512])["image.z"].square().mean(1).sqrt()
    assert scm.seen["image"]["size.z"] == pytest.approx([float(sizes.median()), float(sizes.max())], rel=1e-4)
    assert {**scm.seen, "image": 0} == {**before.seen, "image": 0}


def test_a_model_may_be_tuned_in_double_precision() -> None:
    scm = _tuned(_model(), precision="64-true", epochs=1)
    assert scm.dtype == torch.float64
    again = _tuned(scm, precision="32-true", epochs=1)
    assert again.dtype == torch.float32


def test_processes_join_and_agree_on_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = []
    monkeypatch.setattr(training, "join", lambda device: joined.append(device) or torch.device("cpu"))
    monkeypatch.setattr(training, "agree", lambda _seed, _device: 7)
    scm = _tuned(_model(), epochs=1, seed=None)
    assert joined == ["cpu"]
    assert scm.provenance["seed"] == 7


@pytest.mark.parametrize(
    "mechanism",
    [
        HVAE(strides=(4, 8), widths=(8, 8, 8), blocks=(0, 1, 2), latent=(0, 2, 3)),
        GAN(latent=4, widths=(8, 8, 8)),
        Diffusion(widths=(8, 8, 8), steps=2, iterations=3),
    ],
    ids=lambda mechanism: type(mechanism).__name__,
)
def test_other_image_mechanisms_are_tuned_by_what_they_are(mechanism: Mechanism) -> None:
    scm = ccf.SCM(BARS.graph, mechanisms={"image": mechanism}).fit(BARS, epochs=1, seed=0, progress=False)
    before = copy.deepcopy(scm.mechanisms["image"].state_dict())
    _tuned(scm, recipe=Recipe(epochs=1, batch_size=270, lr=1e-3, warmup=0))
    after = scm.mechanisms["image"].state_dict()
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


def test_a_generator_without_an_objective_is_refused() -> None:
    class Drawing(torch.nn.Linear):
        def forward(self, z: torch.Tensor, *_pa: torch.Tensor) -> torch.Tensor:
            return super().forward(z).sigmoid().unflatten(1, BARS.variables["image"].event_shape)

    drawing = Drawing(2, BARS.variables["image"].numel)
    scm = ccf.SCM(BARS.graph, mechanisms={"image": Generator(drawing, latent=2)})
    scm.fit(BARS, epochs=1, seed=0, progress=False)
    with pytest.raises(MechanismError, match="The Generator of 'image' has no objective that could be held"):
        _tuned(scm)


def test_an_unfitted_model_is_refused() -> None:
    scm = ccf.SCM(BARS.graph, mechanisms={"image": VAE(latent=2, widths=(4, 4, 4))})
    with pytest.raises(NotFittedError, match="not fitted"):
        scm.finetune(BARS, [_reader()])
