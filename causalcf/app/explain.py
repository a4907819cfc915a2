"""The tab that explains a classifier: which methods can be asked, and a search as frames to scrub through."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch

from causalcf.app.session import Session, literal
from causalcf.core.errors import CausalCFError, ExplanationError
from causalcf.core.pictures import difference_url, image_url
from causalcf.explainers import EXPLAINERS, Explainer, Explanation, Stream
from causalcf.variables import Variable
from causalcf.variables.codes import Categorical
from causalcf.variables.image import Image

__all__ = ["WORDS", "Classified", "explained_json", "methods_json"]

MOST_FRAMES = 48
"""Frames that are sent of a stream: the first, the last, and those between at equal distances."""

WORDS: Mapping[str, str] = {
    "reached": "The classifier now gives the target.",
    "max steps": "It failed: the search used all of its steps. This is its best attempt.",
    "nan gradient": "It failed: the search met a gradient that is not finite. This is its best attempt.",
    "stuck": "It failed: no step was left that the method may take. This is its best attempt.",
    "no crossing": "It failed: the path of the method never enters the target. This is its best attempt.",
    "missed": "It failed: what the method has learned does not reach the target. This is its best attempt.",
}
"""Reason -> a sentence."""


@dataclass(frozen=True, eq=False)
class Classified:
    """A classifier of a model's images, and the methods that can explain it at once, without training.

    Args:
        session: Whose model and node.
        classifier: Module or function of the image, giving logits.
        variable: Its classes.
        name: Its name on the page.
        code: Python that gives it as `f`, and its classes as `variable`.

    Raises:
        ExplanationError: The model has no image, or the classifier no categories.
    """

    session: Session = field(repr=False)
    classifier: Any = field(repr=False)
    variable: Variable | None
    name: str
    code: str

    def __post_init__(self) -> None:
        if not isinstance(self.variable, Categorical):
            raise ExplanationError(f"{self.name} gives no categories; this page explains a choice between categories.")
        if not self.methods:
            raise ExplanationError(f"{self.session.source.model} has no image that a method could change.")

    @cached_property
    def node(self) -> str | None:
        """The image that is classified; None if there is none."""
        variables = self.session.scm.variables
        return next((node for node, variable in variables.items() if isinstance(variable, Image)), None)

    @cached_property
    def methods(self) -> dict[str, Explainer]:
        """Name -> a method that needs no training and fits the model."""
        found: dict[str, Explainer] = {}
        node, f, variable = self.node, self.classifier, self.variable
        if node is None:
            return found
        for name, kind in EXPLAINERS.items():
            if kind.trains or kind.reads_codes:
                continue
            try:
                found[name] = kind(self.session.scm, node=node, classifier=f, variable=variable)
            except CausalCFError:  # made for another kind of mechanism
                continue
        return found

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(cast("Categorical", self.variable).categories)  # or it would not have been made

    def explain(self, session: Session, method: str, target: str) -> Explanation:
        """Explain the unit of a session, with every step.

        Raises:
            ExplanationError: There is no such method, or the classifier gives the target already.
            SupportError: There is no such class.
        """
        if method not in self.methods:
            raise ExplanationError(f"There is no method '{method}' here. There are {list(self.methods)}.")
        explainer, x = self.methods[method], session.factual
        code = cast("Categorical", self.variable).code("target", target)
        if int(explainer.predict(x)[0]) == code:
            raise ExplanationError(f"The classifier says {target} already. Choose another target.")
        return explainer.explain(x, code, seed=session.state.seed, stream=True)

    def call(self, session: Session, method: str, target: str) -> str:
        """Python code that makes the result of `explain`, as `explanation`."""
        start = session.call().splitlines()[:-1]
        lines = start[: next(i for i, line in enumerate(start) if line.startswith("x = ")) + 1]
        made = f"explainer = ccf.explainers.{method}(scm, node={literal(self.node)}, classifier=f, variable=variable)"
        asked = (
            f"explanation = explainer.explain(x, {self.classes.index(target)}, seed={session.state.seed}, stream=True)"
        )
        return "\n".join([*lines, self.code, made, asked])


def methods_json(classified: Classified | None) -> dict[str, Any] | None:
    """The choices on the tab of explanations, as JSON; None without a classifier."""
    if classified is None:
        return None
    return {"name": classified.name, "methods": list(classified.methods), "classes": classified.classes}


def explained_json(classified: Classified | None, session: Session, method: str, target: str) -> dict[str, Any]:
    """An explanation as frames, with probability, doubt and outcome.

    Raises:
        ExplanationError: There is no classifier.
    """
    if classified is None:
        raise ExplanationError("No classifier comes along with these data. Give one: causalcf app --classifier FILE.")
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as warned:  # they are for whoever asked, on the page
        warnings.simplefilter("always")
        explanation = classified.explain(session, method, target)
    took = 1e3 * (time.perf_counter() - started)
    stream = cast("Stream", explanation.stream)  # it was asked for
    frames = stream.frames(0)
    chosen = torch.linspace(0, len(frames) - 1, min(MOST_FRAMES, len(frames))).round().long()
    factual = explanation.factual[explanation.node][0]
    return {
        "factual": image_url(factual),
        "says": classified.classes[int(explanation.factual_predicted[0])],
        "frames": [
            {
                "step": int(i),
                "image": image_url(frames[i]),
                "difference": difference_url(frames[i] - factual),
                "probability": float(stream.probability[0, i]),
                "doubt": float(stream.total[0, i]),
                "says": classified.classes[int(stream.logits[0, i].argmax())],
            }
            for i in chosen
        ],
        "reached": bool(explanation.reached[0]),
        "reason": WORDS[explanation.reason[0]],
        "steps": int(explanation.steps[0]),
        "warnings": [str(warning.message) for warning in warned if warning.category is UserWarning],
        "ms": took,
        "call": classified.call(session, method, target),
    }
