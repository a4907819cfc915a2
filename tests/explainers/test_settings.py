"""Settings of explainers: what they may be, and what is refused."""

from typing import Any

import numpy as np
import pytest
from explainers.models import linear_classifier, linear_scm

from causalcf.core.errors import ExplanationError
from causalcf.explainers import C3LT, CFRL, CVE, GDL, PGD, Clarity, Explainer, LoSoCs, MixtureSearch

REFUSED: list[tuple[type[Explainer], dict[str, Any], str]] = [
    (GDL, {"optimizer": "sgd"}, "GDL: optimizer must be one of ['adam', 'descent'], got 'sgd'."),
    (LoSoCs, {"raises": "odds"}, "LoSoCs: raises must be one of ['logit', 'log odds'], got 'odds'."),
    (LoSoCs, {"frames": 1}, "LoSoCs: frames must be a whole number of at least 2, got 1."),
    (LoSoCs, {"pace": 1.5}, "LoSoCs: pace must be a number of at least 0 and at most 1, got 1.5."),
    (C3LT, {"refine": -3}, "C3LT: refine must be a whole number of at least 0, got -3."),
    (C3LT, {"stretch": (1.5, -1)}, "C3LT: stretch must be numbers of at least 0, got (1.5, -1)."),
    (PGD, {"max_steps": 0}, "PGD: max_steps must be a whole number of at least 1, got 0."),
    (PGD, {"max_steps": 2.5}, "PGD: max_steps must be a whole number of at least 1, got 2.5."),
    (PGD, {"batch_size": 0}, "PGD: batch_size must be a whole number of at least 1, got 0."),
    (CVE, {"max_swaps": 0}, "CVE: max_swaps must be a whole number of at least 1, got 0."),
    (MixtureSearch, {"alphas": 1}, "MixtureSearch: alphas must be a whole number of at least 2, got 1."),
    (Clarity, {"hidden": (16, 0)}, "Clarity: hidden must be whole numbers of at least 1, got (16, 0)."),
    (Clarity, {"hidden": 16}, "Clarity: hidden must be whole numbers of at least 1, got 16."),
]


@pytest.mark.parametrize(("method", "settings", "says"), REFUSED)
def test_a_setting_out_of_its_range_is_named(method: type[Explainer], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ExplanationError) as refused:
        method(linear_scm(), classifier=linear_classifier(), **settings)
    assert str(refused.value) == says


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (C3LT, {"refine": 0, "stretch": [1.5, np.float32(2)]}),
        (CFRL, {"warmup": 0, "steps": np.int64(5)}),
        (LoSoCs, {"frames": None, "pace": 0}),
        (Clarity, {"hidden": []}),
        (PGD, {"radius": 1, "gamma": 2}),
    ],
)
def test_the_ends_of_a_range_and_numbers_of_numpy_are_taken(method: type[Explainer], settings: dict[str, Any]) -> None:
    explainer = method(linear_scm(), classifier=linear_classifier(), **settings)
    assert all(getattr(explainer, name) == value for name, value in settings.items())
