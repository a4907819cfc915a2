"""The page of the benchmark: it stands alone, and says what was found."""

import re
from pathlib import Path
from typing import Any

from benchmark.bars import NODES

from causalcf.benchmark import Benchmark
from causalcf.benchmark.page import findings
from causalcf.evaluation.records import Record, Records


def test_the_page_stands_alone(out: Path) -> None:
    page = (out / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page), "it needs nothing but itself"
    assert "<script" not in page
    assert page.count("data:image/png;base64,") == 2 * (len(NODES) + 1)
    assert "do(width) sets width" in page, "what it explains is of this data set"
    assert "thickness" not in page
    for text in ("Distance to the true counterfactual", "Effectiveness", "Composition", "the truth", "doing nothing"):
        assert text in page


def _record(metric: str, do: str, node: str, value: float, **fields: Any) -> Record:
    """A score that was made up, but for its value."""
    given: dict[str, Any] = {
        "n": 60,
        "seed": 0,
        "device": "cpu",
        "residual": 1.0,
        "abduction": "mean",
        "better": "lower",
    }
    return Record(metric=metric, do=do, node=node, value=value, low=None, high=None, **given | fields)


def test_the_page_says_which_actions_leave_no_trace(bench: Benchmark) -> None:
    """An action whose image is the factual one is named; the truth itself is not."""
    fields = {"unit": "px", "truth": 0.1, "identity": 1.5, "noise": 2.0, "judge": ""}
    good = bench.predictors["width"].score.value  # type: ignore[union-attr]
    ignored, obeyed = (_record("effectiveness", "width", "width", value, **fields) for value in (1.4, good))
    ignoring, obeying = findings(bench, {"idle": Records((ignored,))}), findings(bench, {"good": Records((obeyed,))})
    assert len(ignoring) == 1
    assert "idle all but ignores do(width)" in ignoring[0]
    assert not obeying


def test_the_page_says_when_samples_are_no_pictures(bench: Benchmark) -> None:
    """By ratio nearer to noise than to real images."""
    fields = {"unit": "features²", "truth": None, "identity": 1.0, "noise": 100.0, "judge": "net"}
    for value, told in ((9.0, 0), (11.0, 1)):
        said = findings(bench, {"ours": Records((_record("sample fid[net]", "", "image", value, **fields),))})
        assert len(said) == told
    assert "Samples of ours are not like the data: FID 11.0" in said[0]
