"""Faces: a data set that is drawn when asked for, and knows what each person would have looked like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from causalcf.core.columns import Column
from causalcf.core.errors import DataError, InterventionError
from causalcf.core.signatures import checked
from causalcf.data import Batch
from causalcf.datasets.base import Dataset, check_split
from causalcf.datasets.faces.credit import Credit, credit, directions
from causalcf.datasets.faces.drawn import Drawn
from causalcf.datasets.faces.model import ATTRIBUTES, draw_noise, fill_in
from causalcf.datasets.faces.renderer import render
from causalcf.graph import CausalGraph, load_graph
from causalcf.variables.codes import Categorical
from causalcf.variables.image import Image

__all__ = ["SPLITS", "Faces", "Split"]

Split = Literal["train", "valid", "test"]
SPLITS = ("train", "valid", "test")
"""Each with a stream of faces of its own."""

Action = Mapping[str, float | str | Tensor]


@checked
class Faces(Dataset):
    r"""Drawn faces in colour, `image` (N, 3, size, size) in [0, 1], with seven attributes and their causal model.

    The model, with u ~ U(0, 1) and e ~ N(0, 1), a noise of its own for each::

        male       = u < 0.42                                                 42 %
        age        = 18 + 62 sigmoid(1.4 e - 1.1)                             years; 37 on average
        smile      = sigmoid(1.5 e)                                           0 none, 1 all there is
        eyeglasses = e > 1.175                                                12 %
        beard      = u < sigmoid(-0.5 + 0.02 (age - 40)), sigmoid(-6)         37 % of men, 0.25 % of women
        bald       = u < sigmoid(-2.2 + 0.06 (age - 45)), sigmoid(-7)         9 % of men, 0.1 % of women
        hair       = grey if age > 57 + 9 e,                                  14 %
                     else black, brown, blond, red                            26, 33, 21, 6 %
        image      = a drawing of all these, and of the noise of the picture

    The noise of the picture is who it is (the bones, the skin), how they are done up (hair style, make-up, earrings,
    glasses' frames), how they hold their head, light, backdrop and clothes: seventy numbers. Nothing acts on one
    spot alone. Lines come with age and show as the light falls; frames hide the brows, beards the chin, fringes the
    forehead; light changes skin and hair together. Eyeglasses go with age though neither causes the other: a cause
    that is not recorded moves both.

    Pictures are drawn when they are asked for, and kept as bytes. Row i of a split and a seed is the same face
    however many rows there are, at any size.

    Args:
        split: `"train"`, `"valid"` or `"test"`, each with faces of its own.
        rows: How many.
        size: Height and width of the pictures, px.
        seed: Seed of the draws.
        confounding: Correlation of the noise of age and of eyeglasses, -1 to 1; 0 makes them independent.

    Attributes:
        noise: All noise, name -> (N,): a row is drawn from it, and from the actions on it.

    Raises:
        DataError: No such split, or a number that cannot be.

    Example:
        >>> faces = Faces("test", rows=100)
        >>> x = faces[:8]
        >>> x["image"].shape
        torch.Size([8, 3, 64, 64])
        >>> old = faces.truth(x, do={"age": 75.0})
        >>> bool((old["age"] == 75).all()), bool((old["smile"] == x["smile"]).all())
        (True, True)
    """

    def __init__(
        self,
        split: Split = "train",
        *,
        rows: int = 10_000,
        size: int = 64,
        seed: int = 0,
        confounding: float = 0.5,
    ) -> None:
        check_split(split, SPLITS)
        if rows < 1 or size < 8:
            raise DataError(f"Faces needs rows of at least 1 and a size of at least 8 px, got {rows} and {size}.")
        if not -1 <= confounding <= 1:
            raise DataError(f"confounding is a correlation, from -1 to 1, got {confounding}.")
        if seed < 0:
            raise DataError(f"The seed of Faces is a number from 0 on, got {seed}.")
        self.size = size
        self.noise = draw_noise(rows, (seed, SPLITS.index(split)), confounding)
        image = Column(Drawn(self.draw, (rows, 3, size, size)))
        super().__init__({**fill_in(self.noise, {}), "image": image}, _graph(size))

    def __repr__(self) -> str:
        return f"Faces(rows={self.rows}, size={self.size})"  # and draws none of them

    def draw(
        self, rows: slice | Tensor, height: int | None = None, width: int | None = None,
        *, reach: tuple[float, float] = (1.0, 1.0),
    ) -> Tensor:  # fmt: skip
        """Pictures of some rows as bytes (N, 3, height, width), at any size, drawn now and not kept.

        Args:
            rows: Which rows.
            height: Of the pictures, px; by default the data set's size.
            width: Of the pictures, px; by default the data set's size.
            reach: How far they reach from their middle, horizontally and vertically: 1 shows the usual square.

        Example:
            >>> Faces("test", rows=4).draw(slice(0, 2), 32, 32).shape
            torch.Size([2, 3, 32, 32])
        """
        attributes = {name: self._values[name][rows] for name in ATTRIBUTES}
        noise = {name: value[rows] for name, value in self.noise.items()}
        return render(attributes, noise, height or self.size, width or self.size, reach)

    def truth(self, x: Mapping[str, Tensor], do: Action) -> Batch:
        """The true counterfactual of rows of this data set, under any action on any attributes.

        Each person keeps their noise, the attributes acted on get their values, those caused by them follow, and
        the picture is drawn again. With do={} it is the factual picture, bit for bit.

        Args:
            x: Rows of this data set, as in `data[:64]`.
            do: attribute -> a value or one per row; hair takes the name of a colour, too.

        Returns:
            Batch of all attributes and `image`, with the index of x, on the device of x.

        Raises:
            InterventionError: Acts on something other than an attribute.
            SupportError: A value is outside its variable's support.
            DataError: x is not made of rows of this data set, or a value has the wrong shape.
        """
        return self._world(x, do, held=())

    def _world(self, x: Mapping[str, Tensor], do: Action, held: tuple[str, ...]) -> Batch:
        """The world under an action, in which some attributes are held at what they factually are."""
        rows, device = self._index(x), x["age"].device
        acted = {name: self._value(name, value, len(rows), device) for name, value in do.items()}
        moved = set(self.graph.descendants(acted)) - set(held)
        kept = {name: self._values[name][rows].to(device) for name in ATTRIBUTES if name not in moved}
        noise = {name: value[rows].to(device) for name, value in self.noise.items()}
        attributes = fill_in(noise, kept | acted)
        if not acted:
            return Batch({**attributes, "image": self.held["image"][rows].to(device)}, rows)
        image = render(attributes, noise, self.size, self.size)
        return Batch({**attributes, "image": _as_floats(image)}, rows)

    def credit(self, x: Mapping[str, Tensor], changed: Tensor, target: str) -> Credit:
        """Split the changes of pictures by their cause: the truth of an explanation.

        An explanation turns the picture of a row into another. Its change is split into what truly changes with the
        target, what truly changes with another attribute (a short cut), and what changes with none. See `Credit`.

        Args:
            x: Rows of this data set.
            changed: The pictures that an explanation made of them, (N, 3, size, size) in [0, 1].
            target: The attribute that they were to change.

        Raises:
            InterventionError: The target is not an attribute.
            DataError: x is not made of rows of this data set, or the pictures have another shape.

        Example:
            >>> faces = Faces("test", rows=4)
            >>> x = faces[:4]
            >>> shares = faces.credit(x, faces.truth(x, do={"age": 70.0})["image"], "age")
            >>> bool((shares.target > 0.9).all())
            True
        """
        self._require(target)
        if changed.shape != x["image"].shape:
            expected, came = tuple(x["image"].shape), tuple(changed.shape)
            raise DataError(f"The changed pictures must have the shape of x's, {expected}, got {came}.")
        whole = directions(x["image"], [self.truth(x, do)["image"] for do in _actions(target)])
        alone = {
            node: directions(x["image"], [self._world(x, do, held=ATTRIBUTES)["image"] for do in _actions(node)])
            for node in ATTRIBUTES
        }
        own = torch.cat([alone.pop(target), whole], 1)
        return credit(changed - x["image"], own, alone)

    def touched(self, x: Mapping[str, Tensor], node: str, *, levels: float = 2.0) -> Tensor:
        """Where the picture of each row changes when an attribute alone is acted on: bool of shape (N, H, W).

        Args:
            x: Rows of this data set.
            node: The attribute; those that it causes keep their values.
            levels: How far a pixel must change, in grey levels, in any channel, under any of the actions tried.

        Example:
            >>> faces = Faces("test", rows=4)
            >>> faces.touched(faces[:4], "smile").shape
            torch.Size([4, 64, 64])
        """
        self._require(node)
        worlds = [self._world(x, do, held=ATTRIBUTES)["image"] for do in _actions(node)]
        return torch.stack([((w - x["image"]).abs() > (levels - 0.5) / 255).any(1) for w in worlds]).any(0)

    def _index(self, x: Mapping[str, Tensor]) -> Tensor:
        index = getattr(x, "index", None)
        lacks = [name for name in ATTRIBUTES if name not in x] or ([] if index is not None else ["index"])
        if lacks:
            raise DataError(f"The true counterfactual needs {lacks}. Pass rows of the data set, as in data[:64].")
        rows = torch.as_tensor(index).cpu()
        if rows.is_floating_point() or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self.rows):
            raise DataError(f"The index of x must hold row numbers 0..{self.rows - 1}. Pass rows of this data set.")
        if len(rows) != len(x["age"]) or not torch.equal(x["age"].cpu(), self._values["age"][rows]):
            raise DataError("x are not rows of this data set as they are. Pass rows of it, as in data[:64].")
        return rows

    def _value(self, name: str, value: Any, rows: int, device: torch.device) -> Tensor:
        """One checked value per row."""
        self._require(name)
        variable = self.variables[name]
        if isinstance(value, str) and isinstance(variable, Categorical):
            value = variable.code(name, value)
        try:
            given = torch.as_tensor(value, device=device)
        except (TypeError, ValueError, RuntimeError):
            raise InterventionError(f"do({name}) takes a value or one per row, got {value!r}.") from None
        if given.ndim > 1 or (given.ndim == 1 and len(given) != rows):
            raise DataError(f"do({name}) takes a value or one per row, shape ({rows},), got {tuple(given.shape)}.")
        return variable.read(name, given.expand(rows).clone(), torch.float32, device)

    def _require(self, name: str) -> None:
        if name not in ATTRIBUTES:
            raise InterventionError(
                f"No true counterfactual is known for do({name}). It is known for the attributes {list(ATTRIBUTES)}."
            )


_TRIED: Mapping[str, tuple[float, ...]] = {
    "male": (0, 1), "age": (20, 40, 60, 78), "smile": (0.05, 0.5, 0.95), "eyeglasses": (0, 1), "beard": (0, 1),
    "bald": (0, 1), "hair": (0, 1, 2, 3, 4),
}  # fmt: skip
"""The values at which an attribute's doing is looked at."""


def _actions(node: str) -> list[Action]:
    return [{node: value} for value in _TRIED[node]]


def _as_floats(image: Tensor) -> Tensor:
    return image.float() / 255


def _graph(size: int) -> CausalGraph:
    graph = load_graph("faces")
    if size == 64:
        return graph
    variables = {**graph.variables, "image": Image(3, size, size)}
    return CausalGraph(list(graph.edges), variables, name=graph.name, title=graph.title)
