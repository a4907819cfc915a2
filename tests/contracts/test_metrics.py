"""What every metric owes, driven by the registry: a new one inherits the suite by adding a row."""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

import causalcf.metrics as M
from causalcf.core.errors import DataError
from causalcf.metrics import METRICS
from causalcf.metrics.base import Need

N = 24
NO_REFERENCE = {"rmse"}


@dataclass(frozen=True)
class Row:
    """How to call a metric.

    Args:
        needs: What it is handed beside the counterfactuals.
        make: Gives the tensors it is called with, float64 where floating; the first dimension is that of rows.
        call: Calls it on them and gives its scores.
        rows: How many of the tensors have one row per score; the others stay whole.
        axis: The dimension of rows.
        best: Tensors for which the score is the best there is; None where there is none.
        refuses: A type of values that it must refuse; None where any will do.
        scales: Whether values in another unit give a score in another unit, by the same factor.
    """

    needs: tuple[Need, ...]
    make: Callable[[], list[Tensor]]
    call: Callable[..., Tensor]
    rows: int = 2
    axis: int = 0
    best: Callable[[], list[Tensor]] | None = None
    refuses: torch.dtype | None = torch.uint8
    scales: bool = True


def images() -> Tensor:
    return torch.rand(N, 1, 16, 16, dtype=torch.float64)


def codes() -> Tensor:
    return torch.arange(N) % 3


def gaussians(n: int) -> list[Tensor]:
    return [torch.randn(n, 4, dtype=torch.float64), torch.randn(n, 4, dtype=torch.float64) - 2]


def twice(make: Callable[[], Tensor]) -> Callable[[], list[Tensor]]:
    def made() -> list[Tensor]:
        x = make()
        return [x, x.clone()]

    return made


def pair(metric: Callable[..., Tensor], make: Callable[[], Tensor], *needs: Need, **options: Any) -> Row:
    return Row(needs, lambda: [make(), make()], metric, best=twice(make), **options)


def pair_of_codes(metric: Callable[..., Tensor], *needs: Need, **options: Any) -> Row:
    options = {"best": twice(codes), "refuses": torch.float32} | options
    return Row(needs, lambda: [codes(), codes().flip(0)], metric, **options)


def _halved(x: Tensor) -> Tensor:
    return 0.5 * x


def _logits(x: Tensor) -> Tensor:
    return 10 * x.flatten(1)[:, ::50].cumsum(1)[:, :3]


PIXELS = M.Extractor("pixels", lambda x: x.flatten(1))
EDGES = M.PerceptualNetwork("edges", lambda x: [x.diff(dim=-1), x.diff(dim=-2)])
VECTORS = twice(lambda: torch.randn(N, 4, dtype=torch.float64))

ROWS: dict[str, Row] = {
    "truth error": pair(M.grey_level_error, images, "truth"),
    "zero-one error": pair_of_codes(M.zero_one_error, "truth"),
    "absolute error": pair(M.absolute_error, lambda: torch.randn(N, 2, dtype=torch.float64), "predictors"),
    "rmse": pair(M.rmse, lambda: torch.randn(N, dtype=torch.float64), "truth"),
    "accuracy": pair_of_codes(M.accuracy, "predictors"),
    "f1": pair_of_codes(lambda x, y: M.f1(x, y, classes=3, average="macro"), "predictors"),
    "composition": pair(M.composition, images, "factual", "cycled"),
    "reversibility": pair(M.reversibility, images, "factual", "returned"),
    "embedding distance": pair(lambda x, y: M.embedding_distance(x, y, PIXELS), images, "factual", "features"),
    "lpips": pair(lambda x, y: M.lpips(x, y, EDGES), images, "factual", "perception"),
    "fid": Row(
        ("reference", "features"),
        lambda: [torch.randn(N, 4).double(), torch.randn(N, 4).double()],
        M.fid,
        best=VECTORS,
        refuses=None,
    ),
    "kid": Row(
        ("reference", "features"),
        lambda: [torch.randn(N, 4).double(), torch.randn(N, 4).double()],
        lambda x, y: torch.tensor(M.kid(x, y, subsets=3, subset_size=N).value),
        refuses=None,
        scales=False,  # its kernel adds 1 to a product of features
    ),
    "cld": Row(
        ("factual", "reference", "latents"),
        lambda: [*gaussians(N), *gaussians(N), codes(), codes().roll(1), *gaussians(40), torch.arange(40) % 3],
        lambda cm, cv, fm, fv, old, new, rm, rv, labels: (
            M.cld((cm, cv), (fm, fv), (rm, rv), labels=old, acted_labels=new, reference_labels=labels).value
        ),
        rows=6,
        refuses=None,
        scales=False,  # means are in the latents' unit, log variances in none
    ),
    "unchanged": pair_of_codes(M.unchanged, "factual", refuses=None),
    "max change": pair(M.max_change, lambda: torch.randn(N, 2, dtype=torch.float64), "factual", refuses=None),
    "abduction std": Row(("samples",), lambda: [torch.rand(3, N, 1, 8, 8).double()], M.abduction_std, rows=1, axis=1),
    "abduction spread": Row(
        ("samples",), lambda: [torch.rand(3, N, 1, 8, 8).double()], M.abduction_spread, rows=1, axis=1
    ),
    "sharpness": Row((), lambda: [images()], M.sharpness, rows=1),
    "diversity": Row(("samples",), lambda: [images()], M.diversity, rows=1),
    "validity": pair_of_codes(M.validity, "classifier"),
    "class changed": pair_of_codes(M.class_changed, "classifier", "factual", best=lambda: [codes(), (codes() + 1) % 3]),
    "proximity": pair(M.proximity, images, "factual"),
    "distance": pair(M.distance, images, "factual"),
    "total change": pair(M.total_change, images, "factual"),
    "changed features": pair(M.changed_features, images, "factual", scales=False),  # more than a tenth is a change
    "reconstruction error": Row(
        ("autoencoder",), lambda: [images()], lambda x: M.reconstruction_error(x, _halved), rows=1
    ),
    "cout": Row(
        ("classifier", "factual"),
        lambda: [images(), images(), codes(), codes().roll(1)],
        lambda x, y, old, new: M.cout(x, y, old, new, _logits, steps=5),
        rows=4,
        scales=False,  # a classifier's probabilities
    ),
    "im1": Row(
        ("autoencoder",),
        lambda: [torch.rand(N, 4, 1, 8, 8).double(), torch.rand(N, 1, 8, 8).double(), codes(), codes().roll(1)],
        M.im1,
        rows=4,
    ),
    "im2": Row(
        ("autoencoder",),
        lambda: [torch.rand(N, 4, 1, 8, 8).double(), torch.rand(N, 1, 8, 8).double(), codes()],
        M.im2,
        rows=3,
    ),
    "linearity": Row(("stream",), lambda: [torch.randn(N, 7).double(), 3 + torch.arange(N) % 5], M.linearity),
    "continuity": Row(("stream",), lambda: [torch.rand(N, 7, 1, 4, 4).double(), 3 + torch.arange(N) % 5], M.continuity),
    "path linearity": Row(
        ("stream",), lambda: [torch.randn(N, 7, 3).double(), 3 + torch.arange(N) % 5], M.path_linearity
    ),
    "chord share": Row(("stream",), lambda: [torch.randn(N, 7, 3).double(), 3 + torch.arange(N) % 5], M.chord_share),
    "distance ratio": Row(("factual",), lambda: gaussians(N), M.distance_ratio),
    "epistemic doubt": Row(
        ("ensemble",), lambda: [torch.randn(3, N, 4).double()], M.epistemic, rows=1, axis=1, scales=False
    ),
    "aleatoric doubt": Row(
        ("ensemble",), lambda: [torch.randn(3, N, 4).double()], M.aleatoric, rows=1, axis=1, scales=False
    ),
}

UNITS = {
    "grey levels²": "squared grey levels",
    "grey levels": "grey levels",
    "features²": "squared features",
    "features": "features' unit",
    "the variable's²": "variable's unit, squared",
    "the variable's": "variable's unit",
    "nats": "in nats",
    "LPIPS": "LPIPS",
    "F1": "F1",
    "accuracy": "[Aa]ccuracy",
    "share wrong": "share wrong",
    "share": r"\ba share\b|^Share",
}
"""Unit -> how a docstring says it; the first that is said is meant, and none where a score has none."""


every_metric = pytest.mark.parametrize("name", METRICS)


def metrics_that(have: Callable[[str], object]) -> pytest.MarkDecorator:
    """Run a test on the metrics that a law is about."""
    return pytest.mark.parametrize("name", [name for name in METRICS if have(name)])


def test_every_metric_has_its_row() -> None:
    assert set(ROWS) == set(METRICS)


@every_metric
def test_it_says_what_it_is(name: str) -> None:
    metric = METRICS[name]
    text = inspect.getdoc(metric.function) or ""
    assert "better" in text, "the docstring gives the direction of better"
    assert "Example:" in text
    assert re.search(r"\d", text.split("\n\n")[0]), "the summary gives the range"
    assert name in NO_REFERENCE or re.search(r"(19|20)\d\d", text), "the docstring gives a reference"
    assert metric.range[0] < metric.range[1]
    assert set(metric.needs) <= set(get_args(Need))
    assert metric.needs == ROWS[name].needs, "what it is handed"
    direction = {True: ("higher", "↑"), False: ("lower", "↓"), None: ("", "")}[metric.higher_is_better]
    assert (metric.better, metric.arrow) == direction
    assert f"{metric.better or 'neither'} is better" in " ".join(text.lower().split())


@every_metric
def test_its_unit_is_the_one_that_its_docstring_says(name: str) -> None:
    said = " ".join((inspect.getdoc(METRICS[name].function) or "").split("Args:")[0].split())
    named = [unit for unit, words in UNITS.items() if re.search(words, said)]
    assert METRICS[name].unit == (named[0] if named else "")


@metrics_that(lambda name: ROWS[name].scales)
def test_its_unit_has_the_right_power(name: str) -> None:
    """Values in a unit twice as large are half as many: so is a score in that unit, and a quarter of it squared."""
    unit = METRICS[name].unit
    measured = unit.removesuffix("²") in ("grey levels", "features", "the variable's")
    power = 0 if not measured else 2 if unit.endswith("²") else 1
    given = ROWS[name].make()
    halved = [x / 2 if x.is_floating_point() else x for x in given]
    assert torch.allclose(ROWS[name].call(*halved), ROWS[name].call(*given) / 2**power, rtol=1e-6, atol=1e-9)


@metrics_that(lambda name: METRICS[name].unit.startswith("grey levels"))
def test_grey_levels_are_255th_parts(name: str) -> None:
    """In single pixels of black and white, the score is some 255 times what its plain numbers are at most."""
    given = [x.round() for x in ROWS[name].make()]
    power = 2 if METRICS[name].unit.endswith("²") else 1
    assert ROWS[name].call(*given).mean() > 0.2 * 255**power


def test_doubt_is_in_nats() -> None:
    """Of members that find four classes equally probable, and of members that are sure and disagree."""
    assert M.aleatoric(torch.zeros(3, 1, 4)).item() == pytest.approx(math.log(4), abs=1e-6)
    sure = torch.eye(4)[:, None] * 1000
    assert M.epistemic(sure).item() == pytest.approx(math.log(4), abs=1e-6)


def test_the_unit_of_the_variable_is_resolved() -> None:
    resolved = {name: metric.unit_for("px") for name, metric in METRICS.items()}
    units = {name: unit for name, unit in resolved.items() if unit != METRICS[name].unit}
    assert set(units.values()) == {"px", "px²"}
    assert units["absolute error"] == "px"
    assert {METRICS[name].unit_for("") for name in units} == {""}
    assert METRICS["truth error"].heading == "grey levels ↓"


@every_metric
def test_scores_have_the_declared_shape_and_range(name: str) -> None:
    scores = ROWS[name].call(*ROWS[name].make())
    assert scores.shape == ((N,) if METRICS[name].per_row else ())
    low, high = METRICS[name].range
    assert torch.isfinite(scores).all()
    assert scores.min() >= low
    assert scores.max() <= high


@metrics_that(lambda name: ROWS[name].best)
def test_the_best_is_the_best(name: str) -> None:
    ideal: Any = ROWS[name].best
    scores, best = ROWS[name].call(*ROWS[name].make()), ROWS[name].call(*ideal())
    expected = float(METRICS[name].higher_is_better is True)
    assert torch.allclose(best.double(), torch.tensor(expected).double(), atol=1e-9)
    assert (scores.mean() < best.mean()) if expected else (scores.mean() > best.mean())


@every_metric
def test_single_precision_agrees_with_double(name: str) -> None:
    given = ROWS[name].make()
    single = [x.float() if x.is_floating_point() else x for x in given]
    assert torch.allclose(ROWS[name].call(*single).double(), ROWS[name].call(*given).double(), rtol=1e-4, atol=1e-4)


@every_metric
def test_a_gpu_agrees_with_the_processor(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    given = [x.float() if x.is_floating_point() else x for x in ROWS[name].make()]
    there = ROWS[name].call(*(x.cuda() for x in given))
    assert torch.allclose(there.cpu().double(), ROWS[name].call(*given).double(), rtol=1e-4, atol=1e-4)


@metrics_that(lambda name: METRICS[name].per_row)
def test_a_split_into_batches_changes_nothing(name: str) -> None:
    row, given = ROWS[name], ROWS[name].make()
    parts = [
        row.call(*(x.narrow(row.axis, start, size) for x in given[: row.rows]), *given[row.rows :])
        for start, size in ((0, 1), (1, 10), (11, N - 11))
    ]
    assert torch.allclose(torch.cat(parts), row.call(*given), rtol=1e-12, atol=1e-12)


@every_metric
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    row, given = ROWS[name], ROWS[name].make()
    order = torch.randperm(N)
    shuffled = row.call(*(x.index_select(row.axis, order) for x in given[: row.rows]), *given[row.rows :])
    scores = row.call(*given)
    assert torch.allclose(shuffled, scores[order] if METRICS[name].per_row else scores, rtol=1e-9, atol=1e-9)


@metrics_that(lambda name: any(x.is_floating_point() for x in ROWS[name].make()))
def test_missing_values_are_refused(name: str) -> None:
    given = ROWS[name].make()
    for i in (i for i, x in enumerate(given) if x.is_floating_point()):
        for bad in (float("nan"), float("inf")):
            broken = [x.clone() for x in given]
            broken[i].view(-1)[5] = bad
            with pytest.raises(DataError, match="NaN or infinite"):
                ROWS[name].call(*broken)


@metrics_that(lambda name: len(ROWS[name].make()) > 1)
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    given = ROWS[name].make()
    axis = 1 if name in ("fid", "kid") else 0  # sets of images may differ in size, not in features
    given[0] = given[0].narrow(axis, 0, given[0].shape[axis] - 1)
    with pytest.raises(DataError, match=r"one shape|dimensions|one extractor"):
        ROWS[name].call(*given)


@every_metric
def test_no_rows_are_refused(name: str) -> None:
    row = ROWS[name]
    given = [x.narrow(row.axis if len(x) != N else 0, 0, 0) for x in row.make()]
    with pytest.raises(DataError, match=r"needs|got 0"):
        row.call(*given)


@metrics_that(lambda name: ROWS[name].refuses)
def test_types_that_would_overflow_are_refused(name: str) -> None:
    given = [x.to(ROWS[name].refuses) for x in ROWS[name].make()]
    with pytest.raises(DataError, match=r"expected floating|Expected category codes"):
        ROWS[name].call(*given)


@every_metric
def test_nothing_else_is_touched(name: str) -> None:
    given = ROWS[name].make()
    before = [x.clone() for x in given]
    state = torch.get_rng_state()
    first, second = ROWS[name].call(*given), ROWS[name].call(*given)
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))
