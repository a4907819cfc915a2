"""The predictors that come along, and how they are set up and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from causalcf.core.errors import GraphError, UnknownNodeError
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Recipe
from causalcf.predictors.fitting import Part
from causalcf.predictors.network import Jitter, Predictor
from causalcf.predictors.together import Predictors
from causalcf.variables.image import Image

__all__ = ["PLANS", "file_name", "known", "planned", "pretrained"]

FOLDER = Path(__file__).parent.parent / "pretrained" / "predictors"


@dataclass(frozen=True)
class _Plan:
    """How the predictors of a data set are set up: node -> options of `Predictor` and its recipe."""

    nodes: Mapping[str, Mapping[str, Any]]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)


_DARKEST = 0.26  # 66 of 255 grey levels, the least intensity there is

PLANS: dict[str, _Plan] = {
    "morphomnist": _Plan(
        {
            "intensity": {"pool": "all", "proportional": True, "jitter": Jitter(1)},
            "thickness": {"given": ("intensity",), "jitter": Jitter(1, _DARKEST, ("intensity",))},
            "digit": {"jitter": Jitter(2, _DARKEST)},
        },
        {"intensity": replace(Predictor.default_recipe, batch_size=64, ema=0.999)},
    ),
    # Small, as explainers ask it hundreds of times an image; its last maps are 7 x 7, fine enough to be swapped.
    "mnist": _Plan(
        {"digit": {"widths": (16, 32, 32, 64), "hidden": 64, "jitter": Jitter(2)}},
        {"digit": replace(Predictor.default_recipe, epochs=16)},
    ),
}
"""Data sets whose predictors come along, and how `causalcf predictors` trains them."""


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
    plan = PLANS.get(name, _Plan({node: {} for node in scalars}))
    for target in targets or ():
        graph.require(target)
    made = []
    for target in targets or plan.nodes:
        options = dict(plan.nodes.get(target, {}))
        given = {node: variables[node] for node in options.pop("given", ())}
        image: Image = variables[images[0]]  # type: ignore[assignment]
        predictor = Predictor(target, variables[target], image, node=images[0], given=given, **options)
        predictor.recipe = plan.recipes.get(target)
        made.append(predictor)
    return made


def file_name(name: str, target: str, which: Part = "judge") -> str:
    """The file a predictor is kept in."""
    return f"{name}.{target}{'' if which == 'judge' else f'.{which}'}.safetensors"


def known(name: str) -> bool:
    """Whether judges of a data set come along.

    Example:
        >>> known("morphomnist"), known("adult")
        (True, False)
    """
    return any(FOLDER.glob(f"{name}.*.safetensors"))


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
    folder = FOLDER if folder is None else Path(folder)
    found = []
    for path in sorted(folder.glob(f"{name}.*.safetensors")):
        _, *middle, _ = path.name.split(".")
        if middle[1:] == ([] if which == "judge" else [which]):
            found.append(Predictor.load(path, device=device))
    if not found:
        known = sorted({path.name.split(".")[0] for path in folder.glob("*.safetensors")})
        raise UnknownNodeError(
            f"There are no {which} predictors of '{name}' in {folder}; there are some of {known}."
            f" Train them: causalcf predictors {name} --part {which} --out FOLDER."
        )
    return Predictors(found)
