"""Bars: the smallest images under a known causal model, for tests and for learning."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from causalcf.core.errors import DataError, InterventionError
from causalcf.core.signatures import checked
from causalcf.data import Batch
from causalcf.datasets.base import Dataset, check_split
from causalcf.graph import load_graph
from causalcf.variables.raw import read_raw

__all__ = ["Bars"]

SIZE = 16
CENTRES = (4.0, 8.0, 12.0)


@checked
class Bars(Dataset):
    r"""Vertical bars of a known width, brightness and side: `image` (N, 1, 16, 16) in [0, 1].

    The model::

        width      = 1 + 4 u,                                       u ~ U(0, 1)          px
        brightness = 64 + 191 sigmoid(width - 3 + e / 2),           e ~ N(0, 1)          grey levels
        side       = left, middle, right with probability 1/4, 1/2, 1/4
        image      = a bar of that width and brightness, 4 (2 + side) px from the left, moved by
                     s ~ U(-1, 1) px; edge pixels are partly covered

    All noise is kept, so the true counterfactual of any of these actions is known exactly.

    Args:
        rows: How many.
        seed: Seed of the draws.

    Example:
        >>> bars = Bars(100)
        >>> wide = bars.truth(bars[:2], do={"width": 5.0})
        >>> float(wide["image"].sum()) > float(bars[:2]["image"].sum())
        True
    """

    def __init__(self, rows: int = 1000, *, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        width = 1 + 4 * torch.rand(rows, generator=generator)
        self._noise = torch.randn(rows, generator=generator)
        brightness = _brightness(width, self._noise)
        side = torch.multinomial(torch.tensor([0.25, 0.5, 0.25]), rows, replacement=True, generator=generator)
        self._moved = 2 * torch.rand(rows, generator=generator) - 1
        image = draw(width, brightness, side, self._moved)
        super().__init__({"width": width, "brightness": brightness, "side": side, "image": image}, load_graph("bars"))

    @classmethod
    def of_split(cls, split: str = "train") -> Bars:
        """1,000 bars for training, or 300 others for the test.

        Raises:
            DataError: No such split.

        Example:
            >>> Bars.of_split("test").rows
            300
        """
        check_split(split, ["train", "test"])
        return cls(1000, seed=0) if split == "train" else cls(300, seed=1)

    def truth(self, x: Mapping[str, Tensor], do: Mapping[str, float | Tensor]) -> Batch:
        """The true counterfactual of rows of this data set under do(width), do(brightness), do(side).

        Raises:
            InterventionError: Another action.
            DataError: x are not rows of this data set.
        """
        unknown = [node for node in do if node not in ("width", "brightness", "side")]
        if unknown:
            raise InterventionError(f"No true counterfactual is known for do({', '.join(unknown)}).")
        index = getattr(x, "index", None)
        if index is None or len(index) != len(x["width"]):
            raise DataError("The true counterfactual needs rows of the data set, as in data[:64].")
        rows = torch.as_tensor(index)
        width = _acted(do, "width", x["width"])
        natural = _brightness(width, self._noise[rows]) if "width" in do else x["brightness"]
        brightness, side = _acted(do, "brightness", natural), _acted(do, "side", x["side"])
        image = draw(width, brightness, side, self._moved[rows])
        return Batch({"width": width, "brightness": brightness, "side": side, "image": image}, rows)


def draw(width: Tensor, brightness: Tensor, side: Tensor, moved: Tensor) -> Tensor:
    """Bars as images (N, 1, 16, 16), from tensors of shape (N,)."""
    middle = torch.tensor(CENTRES)[side] + moved
    left = torch.arange(SIZE)
    covered = torch.minimum(left + 1, (middle + width / 2)[:, None]) - torch.maximum(
        left, (middle - width / 2)[:, None]
    )
    row = covered.clamp(0, 1) * brightness[:, None] / 255
    image = row[:, None, None, :].expand(-1, 1, SIZE, -1).clone()
    image[:, :, :3], image[:, :, -3:] = 0, 0
    return image


def _brightness(width: Tensor, noise: Tensor) -> Tensor:
    return 64 + 191 * torch.sigmoid(width - 3 + noise / 2)


def _acted(do: Mapping[str, float | Tensor], node: str, natural: Tensor) -> Tensor:
    if node not in do:
        return natural
    value = read_raw(f"do({node})", do[node]).numbers(f"do({node})", "an action")
    return value.to(natural.dtype).expand(natural.shape).clone()
