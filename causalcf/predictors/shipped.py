"""The predictors that come along, and how they are set up and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from causalcf.catalogue import DATASETS
from causalcf.core.errors import GraphError, UnknownNodeError
from causalcf.core.signatures import checked
from causalcf.graph import CausalGraph
from causalcf.predictors.fitting import Part
from causalcf.predictors.jitter import Jitter
from causalcf.predictors.network import Predictor
from causalcf.predictors.together import Predictors
from causalcf.variables.image import Image

__all__ = ["PLANS", "file_name", "known", "planned", "pretrained"]

FOLDER = Path(__file__).parent.parent / "pretrained" / "predictors"


PLANS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    name: source.judges for name, source in DATASETS.items() if source.judges
}
"""Data set -> node -> how its judge is set up, as the row of the data set says."""


@checked
def planned(name: str, graph: CausalGraph, targets: Sequence[str] | None = None) -> list[Predictor]:
    """Untrained predictors of a data set: as its plan says, or one of each scalar parent of its image.

    Args:
        name: The data set.
        graph: Its graph.
        targets: Nodes to predict; by default all that are planned.

    Raises:
        UnknownNodeError: A target that the graph lacks.
        GraphError: The graph does not have exactly one image.
    """
    variables = graph.variables
    images = [node for node, variable in variables.items() if isinstance(variable, Image)]
    if len(images) != 1:
        raise GraphError(f"Predictors need a graph with one image, '{graph.name}' has {images}.")
    scalars = [node for node in graph.parents(images[0]) if not variables[node].event_shape]
    plan = PLANS.get(name, {node: {} for node in scalars})
    for target in targets or ():
        graph.require(target)
    return [_planned(target, graph, images[0], plan.get(target, {})) for target in targets or plan]


def _planned(target: str, graph: CausalGraph, node: str, options: Mapping[str, Any]) -> Predictor:
    """An untrained judge of a node, as the data set's row says."""
    variables, options = graph.variables, dict(options)
    given = {parent: variables[parent] for parent in options.pop("given", ())}
    recipe, jitter = options.pop("recipe", None), options.pop("jitter", None)
    if jitter is not None:
        options["jitter"] = Jitter(**jitter)
    image: Image = variables[node]  # type: ignore[assignment]
    predictor = Predictor(target, variables[target], image, node=node, given=given, **options)
    predictor.recipe = None if recipe is None else replace(Predictor.default_recipe, **recipe)
    return predictor


@checked
def file_name(name: str, target: str, which: Part = "judge") -> str:
    """The file a predictor is kept in."""
    return f"{_stem(name)}.{target}{'' if which == 'judge' else f'.{which}'}.safetensors"


def _stem(name: str) -> str:
    """A data set's name as it begins a file's; of the path of one's own data, its last part."""
    return Path(name).absolute().name.replace(".", "-")


def known(name: str) -> bool:
    """Whether judges of a data set come along.

    Example:
        >>> known("morphomnist"), known("adult")
        (True, False)
    """
    return any(path.name.startswith(f"{name}.") for path in FOLDER.glob("*.safetensors"))


@checked
def pretrained(
    name: str, *, which: Part = "judge", folder: str | Path | None = None, device: torch.device | str = "cpu"
) -> Predictors:
    """The predictors of a data set that come along; `pretrained/predictors/<name>.md` is their card.

    Args:
        name: For example "morphomnist".
        which: "judge", or "tune" for those that may guide fine-tuning.
        folder: Where to look instead.
        device: Where they go.

    Raises:
        UnknownNodeError: There are none of this name.

    Example:
        >>> pretrained("morphomnist")["digit"].score.value > 0.98
        True
    """
    stem = name if folder is None else _stem(name)
    folder = FOLDER if folder is None else Path(folder)
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        of, *middle, _ = path.name.split(".")
        if of == stem and len(middle) > 0 and middle[1:] == ([] if which == "judge" else [which]):
            found.append(Predictor.load(path, device=device))
    if not found:
        known = sorted({path.name.split(".")[0] for path in folder.glob("*.safetensors")})
        raise UnknownNodeError(
            f"There are no {which} predictors of '{name}' in {folder}; there are some of {known}."
            f" Train them: causalcf predictors {name} --part {which} --out FOLDER."
        )
    return Predictors(found)
