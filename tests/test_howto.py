"""Recipes: each file of docs/howto.md is added in a temporary folder, by its row, and the contract suite runs on it."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import causalcf as ccf

PAGE = Path(__file__).parent.parent / "docs" / "howto.md"
BLOCK = re.compile(r"```python\n# (\S+)(?:, in (\w+))?\n(.*?)```", re.DOTALL)


def blocks() -> dict[tuple[str, str], str]:
    """(file, registry or nothing) -> the code that the page shows for it."""
    return {(file, registry): code for file, registry, code in BLOCK.findall(PAGE.read_text(encoding="utf-8"))}


def suite(file: str) -> ModuleType:
    """A contract suite as a module of its own: another's rows are none of its business."""
    path = Path(__file__).parent / "contracts" / file
    spec: Any = importlib.util.spec_from_file_location(f"suite_of_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Add a file of the page to the package, in a temporary folder, and its rows to their registries."""
    added = []

    def add_file(file: str) -> ModuleType:
        package, name = file.removesuffix(".py").replace("/", ".").rsplit(".", 1)
        home = importlib.import_module(package)
        (tmp_path / f"{name}.py").write_text(blocks()[file, ""], encoding="utf-8")
        monkeypatch.setattr(home, "__path__", [*home.__path__, str(tmp_path)])
        importlib.invalidate_caches()
        module = importlib.import_module(f"{package}.{name}")
        delattr(home, name)
        monkeypatch.setattr(home, name, module, raising=False)  # gone in the end
        added.append(module.__name__)
        return module

    yield add_file
    for name in added:
        del sys.modules[name]


def row(file: str, registry: str, *homes: ModuleType) -> Mapping[str, Any]:
    """A row of the page, read where it stands: what its file and the new one define is known."""
    known = {name: value for home in homes for name, value in vars(home).items()}
    return eval("{" + blocks()[file, registry] + "}", known)


def enter(monkeypatch: pytest.MonkeyPatch, registry: Any, rows: Mapping[str, Any]) -> str:
    ((name, value),) = rows.items()
    assert name not in registry, "it is new"
    monkeypatch.setitem(registry, name, value)
    return name


def run(module: ModuleType, tests: str, **given: Any) -> None:
    """Run some tests of a suite with what they ask for."""
    for test in tests.split():
        function = getattr(module, f"test_{test}")
        function(**{argument: given[argument] for argument in inspect.signature(function).parameters})


def test_a_mechanism_is_one_file_and_one_row(add: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    laplace, contract = add("causalcf/mechanisms/laplace.py"), suite("test_mechanisms.py")
    home = importlib.import_module("causalcf.mechanisms")
    name = enter(monkeypatch, home.MECHANISMS, row("causalcf/mechanisms/__init__.py", "MECHANISMS", home, laplace))
    rows = row("tests/contracts/test_mechanisms.py", "ROWS", contract, laplace)
    monkeypatch.setattr(contract, "CASES", [*contract.CASES, *((name, each) for each in rows[name])])
    enter(monkeypatch, contract.ROWS, rows)
    contract.test_every_registered_mechanism_has_a_row()
    for each in rows[name]:
        for dtype in (torch.float32, torch.float64):
            tests = "shapes_and_types_follow_the_inputs predicting_what_was_abducted_gives_the_observation"
            run(contract, tests, name=name, row=each, dtype=dtype)
        run(
            contract,
            "noise_has_the_same_sites_however_it_comes log_densities_are_finite_one_a_row"
            " abducted_noise_has_the_law_of_the_prior_whatever_the_parents a_deep_copy_is_equal_and_apart"
            " the_loss_reaches_every_parameter a_configuration_makes_the_same_architecture"
            " a_batch_gives_what_single_rows_give the_same_seed_gives_the_same_bits",
            name=name,
            row=each,
        )
    from causalcf.cli.parse import parse_mechanisms

    assert type(parse_mechanisms(["pulse=Laplace(start_scale=2)"])["pulse"]) is laplace.Laplace


def test_a_model_with_it_is_saved_and_loaded(
    add: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    laplace, home = add("causalcf/mechanisms/laplace.py"), importlib.import_module("causalcf.mechanisms")
    enter(monkeypatch, home.MECHANISMS, row("causalcf/mechanisms/__init__.py", "MECHANISMS", home, laplace))
    scm = ccf.SCM([("a", "b")], {"a": ccf.Real(), "b": ccf.Real()}, {"b": laplace.Laplace()})
    scm.fit({"a": torch.randn(100), "b": torch.randn(100)}, epochs=1, seed=0, progress=False)
    scm.save(tmp_path / "scm.safetensors")
    assert type(ccf.SCM.load(tmp_path / "scm.safetensors").mechanisms["b"]) is laplace.Laplace


def test_a_metric_is_one_file_and_one_row(add: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    overlap, contract = add("causalcf/metrics/overlap.py"), suite("test_metrics.py")
    home = importlib.import_module("causalcf.metrics")
    name = enter(monkeypatch, home.METRICS, row("causalcf/metrics/__init__.py", "METRICS", home, overlap))
    enter(monkeypatch, contract.ROWS, row("tests/contracts/test_metrics.py", "ROWS", contract, overlap))
    run(
        contract,
        "it_says_what_it_is its_unit_is_the_one_that_its_docstring_says scores_have_the_declared_shape_and_range"
        " the_best_is_the_best single_precision_agrees_with_double a_split_into_batches_changes_nothing"
        " the_order_of_rows_does_not_matter missing_values_are_refused shapes_that_do_not_fit_are_refused"
        " no_rows_are_refused types_that_would_overflow_are_refused nothing_else_is_touched",
        name=name,
    )
    contract.test_every_metric_has_its_row()


def test_a_score_is_one_file_and_one_row(add: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record says what the metric's row says, and stands beside the truth, doing nothing and noise."""
    overlap, metrics = add("causalcf/metrics/overlap.py"), importlib.import_module("causalcf.metrics")
    enter(monkeypatch, metrics.METRICS, row("causalcf/metrics/__init__.py", "METRICS", metrics, overlap))
    shape, home = add("causalcf/evaluation/scores/shape.py"), importlib.import_module("causalcf.evaluation.scores")
    enter(monkeypatch, home.SCORES, row("causalcf/evaluation/scores/__init__.py", "SCORES", home, shape))
    bars = ccf.datasets.Bars(100)
    scm = ccf.SCM(bars.graph, mechanisms={"image": ccf.mechanisms.VAE(latent=2, widths=(8, 8, 8))})
    scm.fit(bars, epochs=1, seed=0, progress=False)
    record = ccf.evaluate(scm, bars, ["overlap"], do=["side"], n=40, residuals=(1.0,)).one()
    assert (record.unit, record.better, record.truth) == ("share", "higher", 1.0)
    assert record.identity is not None
    assert record.identity < 0.5, "a bar at another side"
    found = ccf.evaluate(scm, dict(bars), ["overlap"], n=40, optional=True)
    assert "a truth method" in found.missing["overlap"]


def test_a_data_set_is_one_file_and_one_row(add: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    kettle, contract = add("causalcf/datasets/kettle.py"), suite("test_datasets.py")
    home, catalogue = importlib.import_module("causalcf.datasets"), importlib.import_module("causalcf.catalogue")
    monkeypatch.setattr(home, "Kettle", kettle.Kettle, raising=False)  # which it would keep from its first use on
    name = enter(monkeypatch, catalogue.DATASETS, row("causalcf/catalogue.py", "DATASETS", catalogue, kettle))
    enter(monkeypatch, contract.ROWS, row("tests/contracts/test_datasets.py", "ROWS", contract, kettle))
    contract.test_every_data_set_has_its_row()
    run(
        contract,
        "it_is_as_its_row_says its_columns_fit_the_variables_of_its_graph"
        " rows_of_it_are_batches_that_know_where_they_stood it_is_the_same_every_time_and_its_splits_differ"
        " its_judges_can_be_made its_residuals_can_be_read doing_nothing_changes_nothing"
        " acting_with_the_observed_values_changes_nothing an_action_sets_its_node_and_leaves_non_descendants"
        " the_truth_of_a_row_depends_on_no_other_row a_truth_that_is_not_known_is_refused",
        name=name,
        data=cache(lambda name, split="train": home.load(name, None, split)),
        folder=lambda _name: None,
    )
    from causalcf.cli.load import knowing_truth, load_data

    assert load_data("kettle", None, "test").rows == 1000
    assert "kettle" in knowing_truth()


def test_an_explainer_is_one_file_and_one_row(
    add: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nearest, contract = add("causalcf/explainers/methods/nearest.py"), suite("test_explainers.py")
    home = importlib.import_module("causalcf.explainers")
    name = enter(monkeypatch, home.EXPLAINERS, row("causalcf/explainers/__init__.py", "EXPLAINERS", home, nearest))
    enter(monkeypatch, contract.ROWS, row("tests/contracts/test_explainers.py", "ROWS", contract, nearest))
    contract.test_every_registered_explainer_has_a_row()
    run(
        contract,
        "the_explanation_is_an_intervention the_record_says_what_the_classifier_says"
        " a_batch_gives_what_single_rows_give the_same_seed_gives_the_same_bits"
        " the_stream_runs_from_the_start_to_the_counterfactual"
        " a_class_that_cannot_be_reached_is_a_failure_with_a_reason a_saved_explainer_explains_as_before",
        name=name,
        conditional=False,
        tmp_path=tmp_path,
    )
