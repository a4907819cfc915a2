"""Categories in an order: grades, stages, ratings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from causalcf.variables.codes import Categorical, is_number
from causalcf.variables.raw import Raw

__all__ = ["Ordinal"]


@dataclass(frozen=True, init=False)
class Ordinal(Categorical):
    """Categories from the lowest to the highest; held as codes 0..k-1 (long), as a Categorical's are.

    Where the categories are numbers, as the stars 1 to 5 are, numbers are read as categories; a tensor always holds
    codes.

    Args:
        categories: Their names from the lowest to the highest, or how many there are.

    Example:
        >>> import torch
        >>> pain = Ordinal(["none", "mild", "severe"])
        >>> pain.read("pain", ["mild", "none"], torch.float32, torch.device("cpu"))
        tensor([1, 0])
        >>> Ordinal(range(1, 6)).read("stars", [5, 1], torch.float32, torch.device("cpu"))
        tensor([4, 0])
    """

    @property
    def _numbered(self) -> bool:
        """Whether the names are numbers."""
        return all(is_number(name) for name in self.categories)

    def encode(self, name: str, raw: Raw) -> Tensor:
        if raw.kind == "numbers" and self._numbered and not isinstance(raw.values, Tensor):
            raw = Raw("text", raw.labels(name), raw.dtype)
        return super().encode(name, raw)
