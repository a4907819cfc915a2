"""Queries to a fitted model beyond single counterfactuals. An open set: one file, one row of `QUERIES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from causalcf.queries.attribution import attribute_change, attribute_outlier, shapley
from causalcf.queries.bounds import bounds
from causalcf.queries.effects import effect, effect_on_treated
from causalcf.queries.estimate import Estimate, Estimates
from causalcf.queries.law import density, quantiles
from causalcf.queries.mediation import mediation
from causalcf.queries.necessity import necessity
from causalcf.queries.paths import counterfactual_fairness, path_effect
from causalcf.queries.recourse import Change, Recourse, recourse
from causalcf.queries.sensitivity import Sensitivity, sensitivity, with_hidden_cause

__all__ = [
    "QUERIES",
    "Change",
    "Estimate",
    "Estimates",
    "Query",
    "Recourse",
    "Sensitivity",
    "attribute_change",
    "attribute_outlier",
    "bounds",
    "counterfactual_fairness",
    "density",
    "effect",
    "effect_on_treated",
    "mediation",
    "necessity",
    "path_effect",
    "quantiles",
    "recourse",
    "sensitivity",
    "shapley",
    "with_hidden_cause",
]


@dataclass(frozen=True)
class Query:
    """One kind of question.

    Args:
        function: Takes a fitted model first, and `seed=`.
        rung: Of Pearl's ladder: 2 for interventions, 3 for counterfactuals.
        asks: Its question, in a sentence.
    """

    function: Callable[..., Any]
    rung: int
    asks: str


QUERIES: dict[str, Query] = {
    "effect": Query(effect, 2, "How much does the outcome move on average, if x is set?"),
    "effect on treated": Query(effect_on_treated, 3, "How much did x move the outcome of these very rows?"),
    "mediation": Query(mediation, 3, "How much of the effect goes through a mediator, and how much past it?"),
    "necessity": Query(necessity, 3, "Was x needed for the event, would it have been enough, or both?"),
    "quantiles": Query(quantiles, 2, "Where does the outcome lie after acting?"),
    "density": Query(density, 2, "How is the outcome spread after acting?"),
    "change": Query(attribute_change, 2, "Which mechanisms account for a change between two data sets?"),
    "path effect": Query(path_effect, 3, "How would these rows move, if x's change were felt along some arrows only?"),
    "fairness": Query(counterfactual_fairness, 3, "Would a decision be another, had an attribute been other?"),
    "recourse": Query(recourse, 3, "What is the cheapest that each row could do to be decided otherwise?"),
    "bounds": Query(bounds, 2, "What of an event's probability under action holds whatever the hidden causes?"),
    "sensitivity": Query(sensitivity, 2, "How strong must a hidden cause be to turn a conclusion?"),
    "outlier": Query(attribute_outlier, 3, "Which noises made these units outliers?"),
}
"""Questions by the name that reports and the command line give them."""
