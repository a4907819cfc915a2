"""Malformed calls of the public API and of the command line are refused by an error that names the culprit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from trust.calls import malformed, outcome
from trust.commands import good_lines, line_outcome, malformed_lines
from trust.good_calls import good_calls

import causalcf as ccf
from causalcf.queries import examples

SHARE = 37
"""One in so many calls is made in every run of the tests."""


def _tally(calls: list[tuple[str, str]]) -> tuple[Counter[str], list[str]]:
    counts = Counter(found.split(":")[0] for _, found in calls)
    return counts, [f"{call} -> {found}" for call, found in calls if found != "good"]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list:
    return [call for good in good_calls(tmp_path_factory.mktemp("calls")) for call in malformed(good)]


def test_some_malformed_calls_are_refused_by_name(calls: list) -> None:
    some = calls[::SHARE]
    _, bad = _tally([(str(call), outcome(call)) for call in some])
    assert not bad
    assert len(some) > 100


@pytest.mark.trust
def test_many_malformed_calls_are_refused_by_name(calls: list) -> None:
    counts, bad = _tally([(str(call), outcome(call)) for call in calls])
    print(f"{len(calls)} malformed calls: {dict(counts)}")
    print("\n".join(bad))
    assert not bad
    assert len(calls) > 4000


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[str], str, str]]:
    folder = tmp_path_factory.mktemp("lines")
    scm = examples.linear()
    rows = scm.sample(40, seed=0)
    columns = {"x": rows["x"], "y": rows["y"], "b": rows["m"] > 0, "c": rows["y"] > 0}
    cells = [
        f"{x},{y},{'yes' if b else 'no'},{'red' if c else 'blue'}" for x, y, b, c in zip(*columns.values(), strict=True)
    ]
    (folder / "table.csv").write_text("x,y,b,c\n" + "\n".join(cells) + "\n")
    variables = {"x": ccf.Real(), "y": ccf.Real(), "b": ccf.Boolean(), "c": ccf.Categorical(["blue", "red"])}
    graph = ccf.CausalGraph([("x", "y"), ("y", "c"), ("b", "c")], variables)
    graph.save(folder / "graph.json")
    linear = {"x": ccf.mechanisms.LinearGaussian(), "y": ccf.mechanisms.LinearGaussian()}
    fitted = ccf.SCM(graph, mechanisms=linear).fit(
        {**columns, "c": columns["c"].long()}, epochs=1, seed=0, progress=False
    )
    fitted.save(folder / "model.safetensors")
    good = good_lines(folder / "table.csv", folder / "model.safetensors", folder / "graph.json", folder / "out")
    return list(malformed_lines(good))


def _asked(run: Callable[..., tuple[int, str, str]], line: list[str], option: str, value: str) -> tuple[str, str]:
    code, _, err = run(*line)
    return " ".join(line[:2]) + f" {option}={value!r}", line_outcome(code, err, option, value)


def test_some_malformed_lines_are_refused_by_name(run: Callable, lines: list) -> None:
    _, bad = _tally([_asked(run, *line) for line in lines[:: SHARE // 2]])
    assert not [text for text in bad if not text.endswith("taken")]


@pytest.mark.trust
def test_many_malformed_lines_are_refused_by_name(run: Callable, lines: list) -> None:
    counts, bad = _tally([_asked(run, *line) for line in lines])
    print(f"{len(lines)} malformed command lines: {dict(counts)}")
    print("\n".join(bad))
    assert not [text for text in bad if not text.endswith("taken")]
