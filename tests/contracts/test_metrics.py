"""What every metric owes, driven by the registry: a new one inherits the suite by adding a row."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

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
        make: Gives the tensors it is called with, float64 where floating; the first dimension is that of rows.
        call: Calls it on them and gives its scores.
        rows: How many of the tensors have one row per score; the others stay whole.
        axis: The dimension of rows.
        best: Tensors for which the score is the best there is; None where there is none.
        refuses: A type of values that it must refuse.
    """

    make: Callable[[], list[Tensor]]
    call: Callable[..., Tensor]
    rows: int = 2
    axis: int = 0
    best: Callable[[], list[Tensor]] | None = None
    refuses: torch.dtype = torch.uint8


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


def pair(metric: Callable[..., Tensor], make: Callable[[], Tensor], refuses: torch.dtype = torch.uint8) -> Row:
    return Row(lambda: [make(), make()], metric, best=twice(make), refuses=refuses)


def pair_of_codes(metric: Callable[..., Tensor]) -> Row:
    return Row(lambda: [codes(), codes().flip(0)], metric, best=twice(codes), refuses=torch.float32)


def _halved(x: Tensor) -> Tensor:
    return 0.5 * x


def _logits(x: Tensor) -> Tensor:
    return 10 * x.flatten(1)[:, ::50].cumsum(1)[:, :3]


PIXELS = M.Extractor("pixels", lambda x: x.flatten(1))
EDGES = M.PerceptualNetwork("edges", lambda x: [x.diff(dim=-1), x.diff(dim=-2)])
VECTORS = twice(lambda: torch.randn(N, 4, dtype=torch.float64))

ROWS: dict[str, Row] = {
    "truth error": pair(M.grey_level_error, images),
    "absolute error": pair(M.absolute_error, lambda: torch.randn(N, 2, dtype=torch.float64)),
    "rmse": pair(M.rmse, lambda: torch.randn(N, dtype=torch.float64)),
    "accuracy": Row(lambda: [codes(), codes().flip(0)], M.accuracy, best=twice(codes), refuses=torch.float32),
    "f1": Row(
        lambda: [codes(), codes().flip(0)],
        lambda x, y: M.f1(x, y, classes=3, average="macro"),
        best=twice(codes),
        refuses=torch.float32,
    ),
    "composition": pair(M.composition, images),
    "reversibility": pair(M.reversibility, images),
    "embedding distance": pair(lambda x, y: M.embedding_distance(x, y, PIXELS), images),
    "lpips": pair(lambda x, y: M.lpips(x, y, EDGES), images),
    "fid": Row(lambda: [torch.randn(N, 4).double(), torch.randn(N, 4).double()], M.fid, best=VECTORS),
    "kid": Row(
        lambda: [torch.randn(N, 4).double(), torch.randn(N, 4).double()],
        lambda x, y: torch.tensor(M.kid(x, y, subsets=3, subset_size=N).value),
    ),
    "cld": Row(
        lambda: [*gaussians(N), *gaussians(N), codes(), codes().roll(1), *gaussians(40), torch.arange(40) % 3],
        lambda cm, cv, fm, fv, old, new, rm, rv, labels: (
            M.cld((cm, cv), (fm, fv), (rm, rv), labels=old, acted_labels=new, reference_labels=labels).value
        ),
        rows=6,
    ),
    "unchanged": Row(lambda: [codes(), codes().flip(0)], M.unchanged, best=twice(codes)),
    "max change": pair(M.max_change, lambda: torch.randn(N, 2, dtype=torch.float64)),
    "abduction std": Row(lambda: [torch.rand(3, N, 1, 8, 8).double()], M.abduction_std, rows=1, axis=1),
    "abduction spread": Row(lambda: [torch.rand(3, N, 1, 8, 8).double()], M.abduction_spread, rows=1, axis=1),
    "sharpness": Row(lambda: [images()], M.sharpness, rows=1),
    "diversity": Row(lambda: [images()], M.diversity, rows=1),
    "validity": pair_of_codes(M.validity),
    "class changed": Row(
        lambda: [codes(), codes().flip(0)],
        M.class_changed,
        best=lambda: [codes(), (codes() + 1) % 3],
        refuses=torch.float32,
    ),
    "proximity": pair(M.proximity, images),
    "distance": pair(M.distance, images),
    "total change": pair(M.total_change, images),
    "changed features": pair(M.changed_features, images),
    "reconstruction error": Row(lambda: [images()], lambda x: M.reconstruction_error(x, _halved), rows=1),
    "cout": Row(
        lambda: [images(), images(), codes(), codes().roll(1)],
        lambda x, y, old, new: M.cout(x, y, old, new, _logits, steps=5),
        rows=4,
    ),
    "im1": Row(
        lambda: [torch.rand(N, 4, 1, 8, 8).double(), torch.rand(N, 1, 8, 8).double(), codes(), codes().roll(1)],
        M.im1,
        rows=4,
    ),
    "im2": Row(
        lambda: [torch.rand(N, 4, 1, 8, 8).double(), torch.rand(N, 1, 8, 8).double(), codes()],
        M.im2,
        rows=3,
    ),
    "linearity": Row(lambda: [torch.randn(N, 7).double(), 3 + torch.arange(N) % 5], M.linearity),
    "continuity": Row(lambda: [torch.rand(N, 7, 1, 4, 4).double(), 3 + torch.arange(N) % 5], M.continuity),
    "path linearity": Row(lambda: [torch.randn(N, 7, 3).double(), 3 + torch.arange(N) % 5], M.path_linearity),
    "chord share": Row(lambda: [torch.randn(N, 7, 3).double(), 3 + torch.arange(N) % 5], M.chord_share),
    "distance ratio": Row(lambda: gaussians(N), M.distance_ratio),
    "epistemic doubt": Row(lambda: [torch.randn(3, N, 4).double()], M.epistemic, rows=1, axis=1),
    "aleatoric doubt": Row(lambda: [torch.randn(3, N, 4).double()], M.aleatoric, rows=1, axis=1),
}

every_metric = pytest.mark.parametrize("name", METRICS)
TAKES_ANY_TYPE = {"unchanged", "max change", "fid", "kid", "cld"}


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
    assert metric.arrow == {True: "↑", False: "↓", None: ""}[metric.higher_is_better]


@every_metric
def test_scores_have_the_declared_shape_and_range(name: str) -> None:
    scores = ROWS[name].call(*ROWS[name].make())
    assert scores.shape == ((N,) if METRICS[name].per_row else ())
    low, high = METRICS[name].range
    assert torch.isfinite(scores).all()
    assert scores.min() >= low
    assert scores.max() <= high


@every_metric
def test_the_best_is_the_best(name: str) -> None:
    if ROWS[name].best is None:
        return
    scores, best = ROWS[name].call(*ROWS[name].make()), ROWS[name].call(*ROWS[name].best())
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


@every_metric
def test_a_split_into_batches_changes_nothing(name: str) -> None:
    if not METRICS[name].per_row:
        return
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


@every_metric
def test_missing_values_are_refused(name: str) -> None:
    given = ROWS[name].make()
    for i in (i for i, x in enumerate(given) if x.is_floating_point()):
        for bad in (float("nan"), float("inf")):
            broken = [x.clone() for x in given]
            broken[i].view(-1)[5] = bad
            with pytest.raises(DataError, match="NaN or infinite"):
                ROWS[name].call(*broken)


@every_metric
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    given = ROWS[name].make()
    if len(given) < 2:
        return
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


@every_metric
def test_types_that_would_overflow_are_refused(name: str) -> None:
    if name in TAKES_ANY_TYPE:
        return
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
