"""Settings are checked before anything is built or trained with them."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import causalcf as ccf
from causalcf.core.errors import ArgumentError, CausalCFError, MechanismError, TrainingError
from causalcf.core.settings import COUNT, POSITIVE, Range, require_settings
from causalcf.mechanisms import Recipe


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (COUNT, [1, 7], [0, 1.0, True, "1", None, (1,)]),
        (POSITIVE, [1e-9, 1, float("inf")], [0, -1.0, float("nan"), "a", False]),
        (Range(0, 1, below=True), [0, 0.5], [1, 1.0, -0.1]),
        (replace(COUNT, entries=2), [(1, 2), [3, 4]], [(1,), (1, 2, 3), (1, 0), 5]),
        (replace(COUNT, entries=None), [(), (1, 2, 3)], [(0,), 5]),
    ],
)
def test_a_range_holds_what_it_says(allowed: Range, inside: list[Any], outside: list[Any]) -> None:
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)


def test_what_is_outside_is_named_with_what_came() -> None:
    with pytest.raises(CausalCFError, match=r"A model: share must be a number of at least 0 and below 1, got 2\."):
        require_settings(SimpleNamespace(share=2), "A model", CausalCFError, share=Range(0, 1, below=True))


@pytest.mark.parametrize(
    "setting", [{"epochs": -1}, {"epochs": 1.5}, {"batch_size": 0}, {"lr": -1}, {"betas": (0.9,)}, {"ema": 1.0}]
)
def test_nothing_is_trained_by_a_recipe_that_cannot_be(setting: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=f"The training recipe: {next(iter(setting))} must be"):
        Recipe(**setting)


@pytest.mark.parametrize("epochs", [-1, 1.5, {"y": -1}])
def test_a_model_is_not_called_fitted_by_passes_there_cannot_be(epochs: Any) -> None:
    rows = {"x": [0.0, 1.0, 2.0, 3.0] * 5, "y": [1.0, 2.0, 0.0, 3.0] * 5}
    scm = ccf.SCM([("x", "y")])
    with pytest.raises((TrainingError, ArgumentError), match="epochs must be a whole number"):
        scm.fit(rows, epochs=epochs, seed=0, progress=False)
    assert not any(mechanism.fitted for mechanism in scm.mechanisms.values())


@pytest.mark.parametrize(
    ("mechanism", "variable", "setting"),
    [
        (ccf.mechanisms.Flow(bins=0), ccf.Real(), "bins"),
        (ccf.mechanisms.Flow(hidden=(8, 0)), ccf.Real(), "hidden"),
        (ccf.mechanisms.AdditiveNoise(hidden=8), ccf.Real(), "hidden"),  # type: ignore[arg-type]
        (ccf.mechanisms.Categorical(hidden=(2.5,)), ccf.Categorical(2), "hidden"),  # type: ignore[arg-type]
        (ccf.mechanisms.MixtureAE(classes=2, latent=0), ccf.Vector(3), "latent"),
    ],
)
def test_mechanisms_of_numbers_name_what_they_cannot_be_built_with(mechanism: Any, variable: Any, setting: str) -> None:
    with pytest.raises(MechanismError, match=f"{type(mechanism).__name__} of 'x': {setting} must be"):
        mechanism.bind("x", variable, {})
