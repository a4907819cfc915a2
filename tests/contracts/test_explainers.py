"""What every explainer owes, driven by the registry: a new one inherits the suite by adding a row.

All run on a linear generator of 8 x 8 images and linear classifiers of them, in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from explainers.models import (
    CLASSES,
    LATENT,
    SIDE,
    convolutional_classifier,
    images,
    linear_classifier,
    linear_scm,
    mixture_scm,
    targets,
)
from torch import Tensor, nn

import causalcf as ccf
from causalcf.core.errors import (
    CheckpointError,
    DataError,
    ExplanationError,
    MechanismError,
    NotFittedError,
    SupportError,
)
from causalcf.explainers import EXPLAINERS, REASONS, Explainer, Explanation

N = 256


@dataclass(frozen=True)
class Row:
    """How to make an explainer for the tests.

    Args:
        settings: Its hyperparameters.
        reaches: Share of rows it reaches at least.
        streams: Whether it has steps to show.
        scm: Gives the model, with a parent variable "t" or without.
        classifier: Gives the classifier to explain.
        fit: Options of `fit`.
        by_gradient: Whether its training differentiates the classifier, though asking does not.
        module_only: Whether the classifier has to be one torch module.
    """

    settings: dict[str, Any]
    reaches: float = 1.0
    streams: bool = True
    scm: Callable[..., ccf.SCM] = linear_scm
    classifier: Callable[..., nn.Module] = linear_classifier
    fit: tuple[tuple[str, Any], ...] = ()
    by_gradient: bool = False
    module_only: bool = False


ROWS: dict[str, Row] = {
    "ImageGradient": Row({}),
    "Schut": Row({}),
    "REVISE": Row({"max_steps": 100}),
    "Clarity": Row({"members": 3, "epochs": 20, "lr": 0.2}),
    "LoSoCs": Row({"lr": 0.1, "max_steps": 150}),
    "GDL": Row({}),
    "CFProto": Row({"max_steps": 100, "autoencoder_weight": 1.0, "prototype_weight": 0.1}),
    "CEM": Row({"max_steps": 60, "c_steps": 3, "autoencoder_weight": 1.0}),
    "PGD": Row({"max_steps": 64}),
    "MixtureSearch": Row({"frames": 5}, reaches=0.9, scm=mixture_scm),
    "C3LT": Row({"epochs": 10, "hidden": 32, "lr": 0.02}, reaches=0.95, by_gradient=True),
    "CFRL": Row({"steps": 300, "hidden": 32, "warmup": 20, "lr": 5e-3}, reaches=0.3),
    "ExplainGAN": Row({"epochs": 10, "width": 8, "lr": 5e-3, "kappa": 0.5}, reaches=0.5, by_gradient=True),
    "CVE": Row({"distractors": 5}, reaches=0.1, classifier=convolutional_classifier, module_only=True),
    "CycleGAN": Row({"epochs": 1, "width": 4, "blocks": 1, "lr": 2e-3}, reaches=0.95),
}
every_explainer = pytest.mark.parametrize("name", list(EXPLAINERS))


@cache
def _scm(name: str, conditional: bool = False) -> ccf.SCM:
    return ROWS[name].scm(ccf.Real() if conditional else None)


@cache
def _explainer(name: str, conditional: bool = False) -> Explainer:
    """A fitted explainer; fitting does not depend on the rows that are explained."""
    row, scm = ROWS[name], _scm(name, conditional)
    explainer = EXPLAINERS[name](scm, classifier=row.classifier(), **row.settings)
    return explainer.fit(_rows(name, 1000, seed=9, conditional=conditional), seed=0, **dict(row.fit))


def _rows(name: str, n: int, seed: int = 2, conditional: bool = False) -> dict[str, Tensor]:
    rows = {"image": images(_scm(name, conditional), n, seed)}
    return rows | {"t": torch.zeros(n)} if conditional else rows


def _asked(explainer: Explainer, rows: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """For each row a class that the explained classifier does not give it."""
    predicted = explainer.predict(rows)
    return rows, (predicted + 1) % CLASSES


@cache
def _explained(name: str, conditional: bool = False) -> tuple[dict[str, Tensor], Tensor, Explanation]:
    explainer = _explainer(name, conditional)
    rows, target = _asked(explainer, _rows(name, N, conditional=conditional))
    return rows, target, explainer.explain(rows, target, seed=0)


def test_every_registered_explainer_has_a_row() -> None:
    assert ROWS.keys() == EXPLAINERS.keys()


@every_explainer
@pytest.mark.parametrize("conditional", [False, True], ids=["one node", "with a parent"])
def test_the_explanation_is_an_intervention(name: str, conditional: bool) -> None:
    scm = _scm(name, conditional)
    rows, _, e = _explained(name, conditional)
    answer = scm.counterfactual(rows, do=e.do)
    assert torch.equal(answer["image"], e.counterfactual)
    assert torch.equal(e.answer()["image"], e.counterfactual)
    if conditional:
        assert torch.equal(answer["t"], rows["t"].to(scm.dtype))
    mechanism = scm.mechanisms["image"]
    if _explainer(name).acts_on == "node":
        assert set(e.do) == {"image"}
    else:
        moved = {f"image.{suffix}" for suffix in (*_explainer(name).sites, *mechanism.residual_sites)}
        assert set(e.do) == moved
        assert all(not e.do[f"image.{suffix}"].any() for suffix in mechanism.residual_sites)


@every_explainer
def test_the_record_says_what_the_classifier_says(name: str) -> None:
    rows, target, e = _explained(name)
    assert e.rows == N
    assert torch.equal(e.target, target)
    assert e.reached.float().mean() >= ROWS[name].reaches
    assert [reason == "reached" for reason in e.reason] == e.reached.tolist()
    assert set(e.reason) <= set(REASONS)
    assert bool((e.steps >= 0).all())
    assert torch.equal(e.predicted[e.reached], target[e.reached])
    assert torch.equal(e.factual_predicted, _explainer(name).predict(rows))
    assert torch.isfinite(e.counterfactual).all()
    assert e.counterfactual.aminmax().min >= 0
    assert e.counterfactual.aminmax().max <= 1
    assert e.counterfactual.dtype == torch.float64
    if not _explainer(name).reads_codes:
        p = ROWS[name].classifier()(e.counterfactual).softmax(1)
        assert torch.allclose(p.gather(1, target[:, None])[:, 0], e.probability)
    frame = e.to_frame()
    assert frame["reached"].tolist() == e.reached.tolist()
    assert frame["target"].tolist() == [str(i) for i in target.tolist()]


@every_explainer
def test_a_batch_gives_what_single_rows_give(name: str) -> None:
    rows, target, e = _explained(name)
    for i in (0, 101, 255):
        alone = _explainer(name).explain(rows["image"][i : i + 1], target[i : i + 1], seed=0)
        assert torch.allclose(alone.counterfactual[0], e.counterfactual[i], atol=1e-8), i
        assert alone.steps[0] == e.steps[i]
        assert alone.reason[0] == e.reason[i]


@every_explainer
def test_batches_of_any_size_give_the_same(name: str) -> None:
    rows, target, e = _explained(name)
    explainer = _explainer(name)
    whole = explainer.batch_size
    try:
        explainer.batch_size = 7
        parts = explainer.explain(rows["image"][:20], target[:20], seed=0, stream=ROWS[name].streams)
    finally:
        explainer.batch_size = whole
    assert torch.allclose(parts.counterfactual, e.counterfactual[:20], atol=1e-8)
    assert parts.reason == e.reason[:20]


@every_explainer
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    rows, target, _ = _explained(name)
    x, target = rows["image"][:5], target[:5]
    state = torch.get_rng_state()
    first, second = (_explainer(name).explain(x, target, seed=3) for _ in range(2))
    assert torch.equal(first.counterfactual, second.counterfactual)
    assert first.seed == 3
    assert torch.equal(torch.get_rng_state(), state)


@every_explainer
def test_the_stream_runs_from_the_start_to_the_counterfactual(name: str) -> None:
    rows, target, _ = _explained(name)
    explainer = _explainer(name)
    if not ROWS[name].streams:
        with pytest.raises(ExplanationError, match="no steps between"):
            explainer.explain(rows["image"][:4], target[:4], stream=True)
        return
    e = explainer.explain(rows["image"][:20], target[:20], seed=0, stream=True)
    stream = e.stream
    assert stream is not None
    n, longest = stream.probability.shape
    assert stream.image.shape == (n, longest, 1, SIDE, SIDE)
    assert int(stream.lengths.max()) == longest
    assert torch.allclose(stream.image[:, 0], e.reconstruction)
    assert bool(((stream.probability >= 0) & (stream.probability <= 1)).all())
    assert bool((stream.total >= stream.aleatoric - 1e-9).all())
    assert torch.allclose(stream.image[:, -1], e.counterfactual, atol=1e-9), "it ends there, reached or not"
    for i in range(n):
        assert torch.equal(stream.image[i, stream.lengths[i] - 1], stream.image[i, -1]), "padded with the last"


@every_explainer
def test_a_class_that_cannot_be_reached_is_a_failure_with_a_reason(name: str) -> None:
    class Rigged(nn.Module):
        """Gives an additional class next to no probability, whatever it sees."""

        def __init__(self) -> None:
            super().__init__()
            self.f = ROWS[name].classifier()

        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.pad(self.f(x), (0, 1), value=-50.0) + 0 * x.flatten(1).sum(1, keepdim=True)

    if _explainer(name).trains or ROWS[name].scm is mixture_scm:
        pytest.skip("its training never sees that class")
    x = _rows(name, 6)["image"]
    e = EXPLAINERS[name](_scm(name), classifier=Rigged(), **ROWS[name].settings).explain(x, CLASSES, seed=0)
    assert not e.reached.any()
    assert "reached" not in e.reason
    assert bool((e.probability < 0.01).all())
    assert torch.isfinite(e.counterfactual).all()


@every_explainer
def test_networks_are_given_back_as_found(name: str) -> None:
    f = ROWS[name].classifier().train()
    before = {key: value.clone() for key, value in f.state_dict().items()}
    scm = _scm(name)
    model = {key: value.clone() for key, value in scm.state_dict().items()}
    explainer = EXPLAINERS[name](scm, classifier=f, **ROWS[name].settings)
    if explainer.trains:
        explainer.fit(_rows(name, 200, seed=9), seed=0, **dict(ROWS[name].fit))
    rows, target = _asked(explainer, _rows(name, 3))
    explainer.explain(rows, target, seed=0)
    assert f.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in f.parameters())
    assert all(torch.equal(f.state_dict()[key], value) for key, value in before.items())
    assert all(torch.equal(scm.state_dict()[key], value) for key, value in model.items())
    assert not any(parameter.requires_grad for parameter in scm.parameters())


@every_explainer
def test_a_classifier_that_is_trained_on_afterwards_is_another(name: str, tmp_path: Path) -> None:
    scm, row, f = _scm(name), ROWS[name], ROWS[name].classifier()
    explainer, same = (EXPLAINERS[name](scm, classifier=g, **row.settings) for g in (f, row.classifier()))
    with torch.no_grad():
        for parameter in f.parameters():
            parameter.neg_()
    for one in (explainer, same):
        one.fit(_rows(name, 200, seed=9), seed=0, **dict(row.fit))
    rows, target = _asked(same, _rows(name, 3))
    first, second = (one.explain(rows, target, seed=0) for one in (explainer, same))
    assert torch.equal(first.counterfactual, second.counterfactual)
    if explainer.trains:
        explainer.save(tmp_path / "it")
        assert Explainer.load(tmp_path / "it", scm, classifier=row.classifier()).fitted
        with pytest.raises(CheckpointError, match="fitted on another classifier"):
            Explainer.load(tmp_path / "it", scm, classifier=f)


@every_explainer
def test_grad_mode_does_not_matter(name: str) -> None:
    rows, target, e = _explained(name)
    with torch.no_grad():
        quiet = _explainer(name).explain(rows["image"][:3], target[:3], seed=0)
    assert torch.allclose(quiet.counterfactual, e.counterfactual[:3], atol=1e-8)
    assert not quiet.counterfactual.requires_grad


@every_explainer
def test_float32(name: str) -> None:
    row = ROWS[name]
    scm = row.scm(None, torch.float32)
    explainer = EXPLAINERS[name](scm, classifier=row.classifier(), **row.settings)
    if explainer.trains:
        explainer.fit({"image": images(scm, 300, 9)}, seed=0, **dict(row.fit))
    rows, target = _asked(explainer, {"image": images(scm, 4)})
    e = explainer.explain(rows, target, seed=0)
    assert e.counterfactual.dtype == torch.float32
    assert torch.equal(scm.counterfactual(rows, do=e.do)["image"], e.counterfactual)


# ---------------------------------------------------------------------- files


@every_explainer
def test_a_saved_explainer_explains_as_before(name: str, tmp_path: Path) -> None:
    explainer, row = _explainer(name), ROWS[name]
    if not explainer.trains:
        with pytest.raises(ExplanationError, match=f"{name} learns nothing that could be saved"):
            explainer.save(tmp_path / "it")
        return
    explainer.save(tmp_path / "it")
    again = Explainer.load(tmp_path / "it", _scm(name), classifier=row.classifier())
    assert type(again) is EXPLAINERS[name]
    assert again.provenance == explainer.provenance
    assert again.provenance["seed"] == 0
    assert all(getattr(again, f.name) == getattr(explainer, f.name) for f in fields(again) if f.name in row.settings)
    rows, target, _ = _explained(name)
    x = rows["image"][:40]
    before, after = (e.explain(x, target[:40], seed=4, stream=row.streams) for e in (explainer, again))
    assert torch.equal(before.counterfactual, after.counterfactual)
    assert torch.equal(before.probability, after.probability)
    assert before.reason == after.reason
    if before.stream is not None and after.stream is not None:
        assert torch.equal(before.stream.image, after.stream.image)
    again.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "it").read_bytes()


@every_explainer
def test_files_of_other_models_and_classifiers_are_refused(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    if not _explainer(name).trains:
        pytest.skip("it learns nothing")
    with pytest.raises(NotFittedError, match=f"{name} is not fitted"):
        EXPLAINERS[name](_scm(name), classifier=row.classifier(), **row.settings).save(tmp_path / "it")
    assert not (tmp_path / "it").exists()
    _explainer(name).save(tmp_path / "it")
    with pytest.raises(CheckpointError, match="fitted on another classifier"):
        EXPLAINERS[name].load(tmp_path / "it", _scm(name), classifier=row.classifier(2))
    with pytest.raises(CheckpointError, match="fitted on another model"):
        EXPLAINERS[name].load(tmp_path / "it", _scm(name, conditional=True), classifier=row.classifier())
    with pytest.raises(CheckpointError, match=rf"holds a {name}, not a REVISE. Explainer.load reads any"):
        EXPLAINERS["REVISE"].load(tmp_path / "it", _scm(name), classifier=row.classifier())
    with pytest.raises(CheckpointError, match=r"needs the settings \[\].* got \['perception'\]"):
        EXPLAINERS[name].load(tmp_path / "it", _scm(name), classifier=row.classifier(), perception=torch.relu)


# ---------------------------------------------------------------------- what is refused


@every_explainer
def test_bad_questions_say_what_is_wrong(name: str) -> None:
    explainer = _explainer(name)
    x = _rows(name, 3)["image"]
    predicted = explainer.predict(x)
    with pytest.raises(ExplanationError, match=r"3 of 3 rows .* in their target already"):
        explainer.explain(x, predicted)
    with pytest.raises(SupportError, match="target"):
        explainer.explain(x, 17)
    with pytest.raises(SupportError, match="no category 'cat'"):
        explainer.explain(x, "cat")
    with pytest.raises(ExplanationError, match="2 targets for 3 rows"):
        explainer.explain(x, (predicted[:2] + 1) % CLASSES)
    with pytest.raises(SupportError, match=r"\[0, 1\]"):
        explainer.explain(x + 1, 0)
    with pytest.raises(DataError, match="NaN"):
        explainer.explain(x * torch.nan, 0)
    with pytest.raises(DataError, match="expected shape"):
        explainer.explain(x[:, :, :4], 0)
    if not explainer.untargeted:
        with pytest.raises(ExplanationError, match="needs a target"):
            explainer.explain(x, None)


@every_explainer
def test_classifiers_that_do_not_fit_are_refused(name: str) -> None:
    scm, x = _scm(name), _rows(name, 3)["image"]

    def ask(f: Any) -> None:
        explainer = EXPLAINERS[name](scm, classifier=f, **ROWS[name].settings)
        explainer.fit({"image": images(scm, 200, 9)}, seed=0, **dict(ROWS[name].fit))
        explainer.explain(x, (explainer.predict(x) + 1) % CLASSES)

    with pytest.raises(MechanismError, match=r"cannot take 'image', a tensor of shape \(N, 1, 8, 8\)"):
        ask(nn.Linear(5, 3).double())
    with pytest.raises(ExplanationError, match="probabilities, where logits are needed"):
        ask(nn.Sequential(ROWS[name].classifier(), nn.Softmax(1)))
    if ROWS[name].module_only:
        with pytest.raises(ExplanationError, match="torch module, not a function"):
            ask(lambda image: image.flatten(1)[:, :CLASSES])
    else:
        with pytest.raises(ExplanationError, match="NaN or infinite"):
            ask(lambda image: image.flatten(1)[:, :CLASSES] * torch.nan)
    with pytest.raises(ExplanationError, match="must be a torch module"):
        ask(3)
    with pytest.raises(ExplanationError, match="needs"):
        ask(None)


@every_explainer
def test_numbers_that_make_no_sense_are_refused(name: str) -> None:
    numbers = [f.name for f in fields(EXPLAINERS[name]) if type(f.default) in (int, float)]
    assert "batch_size" in numbers
    for number in numbers:
        for wrong in (-3, float("nan"), "many", True):
            with pytest.raises(ExplanationError, match=f"{name}: {number} must be a .* got {wrong!r}"):
                EXPLAINERS[name](_scm(name), classifier=ROWS[name].classifier(), **{number: wrong})


@every_explainer
def test_options_that_fit_does_not_have_are_refused(name: str) -> None:
    explainer = EXPLAINERS[name](_scm(name), classifier=ROWS[name].classifier(), **ROWS[name].settings)
    with pytest.raises(ExplanationError, match=rf"{name}.fit takes the options \[.*\], got \['epochs', 'rowz'\]"):
        explainer.fit(_rows(name, 50), epochs=1, rowz=2)
    assert explainer.fitted == (not explainer.trains)


@every_explainer
def test_explaining_before_fitting_is_refused(name: str) -> None:
    explainer = EXPLAINERS[name](_scm(name), classifier=ROWS[name].classifier(), **ROWS[name].settings)
    if not explainer.trains:
        assert explainer.fitted
        return
    with pytest.raises(NotFittedError, match=f"{name} is not fitted"):
        explainer.explain(_rows(name, 2)["image"], 0)


@every_explainer
def test_a_gradient_that_is_not_finite_ends_the_row(name: str) -> None:
    """A root whose derivative at 0 is infinite, times 0: the value is fine, the gradient NaN."""
    if not EXPLAINERS[name].gradients or EXPLAINERS[name].reads_codes:
        pytest.skip("it takes no gradient of the classifier")

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = ROWS[name].classifier()

        def forward(self, x: Tensor) -> Tensor:
            return self.f(x) + (0 * x).sqrt().flatten(1).sum(1, keepdim=True)

    scm, x = _scm(name), _rows(name, 4)["image"]
    explainer = EXPLAINERS[name](scm, classifier=Broken(), **ROWS[name].settings)
    explainer.fit({"image": images(scm, 200, 9)}, seed=0, **dict(ROWS[name].fit))
    e = explainer.explain(x, targets(ROWS[name].classifier(), x), seed=0)
    assert set(e.reason) == {"nan gradient"}
    assert not e.reached.any()
    assert torch.isfinite(e.counterfactual).all()


@every_explainer
def test_a_black_box_works_or_is_refused(name: str) -> None:
    f = ROWS[name].classifier().requires_grad_(False)

    def black_box(image: Tensor) -> Tensor:
        return torch.from_numpy(f(image.detach()).numpy())

    scm, x = _scm(name), _rows(name, 4)["image"]
    if ROWS[name].module_only:
        pytest.skip("it is refused as no torch module")
    explainer = EXPLAINERS[name](scm, classifier=black_box, **ROWS[name].settings)
    target = targets(f, x)
    if ROWS[name].by_gradient:
        with pytest.raises(ExplanationError, match="gives no gradient"):
            explainer.fit(_rows(name, 300, seed=9), seed=0, **dict(ROWS[name].fit))
        return
    if explainer.reads_codes:
        explainer.fit(_rows(name, 300, seed=9), seed=0, **dict(ROWS[name].fit))
        assert explainer.explain(x, (explainer.predict(x) + 1) % CLASSES, seed=0).rows == 4
    elif explainer.gradients:
        explainer.fit(_rows(name, 300, seed=9), seed=0, **dict(ROWS[name].fit))
        with pytest.raises(ExplanationError, match="gives no gradient"):
            explainer.explain(x, target)
    else:
        explainer.fit(_rows(name, 300, seed=9), seed=0, **dict(ROWS[name].fit))
        assert explainer.explain(x, target, seed=0).rows == 4


@every_explainer
def test_several_classifiers_are_an_ensemble(name: str) -> None:
    if EXPLAINERS[name].reads_codes:
        pytest.skip("its classifiers are its own")
    if ROWS[name].module_only:
        pytest.skip("it takes one torch module")
    members = [linear_classifier(seed=1), linear_classifier(seed=1, scale=5.0)]
    explainer = EXPLAINERS[name](_scm(name), classifier=members, **ROWS[name].settings)
    explainer.fit(_rows(name, 300, seed=9), seed=0, **dict(ROWS[name].fit))
    rows, target = _asked(explainer, _rows(name, 4))
    e = explainer.explain(rows, target, seed=0)
    mean = sum(f(e.counterfactual).softmax(1) for f in members) / 2
    assert torch.allclose(mean.gather(1, target[:, None])[:, 0], e.probability)


def test_the_latent_sizes_are_those_of_the_linear_model() -> None:
    assert _explained("REVISE")[2].code.shape == (N, LATENT)
