"""The networks of `MixtureAE`: encoders and decoders of images and of tables."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from causalcf.core.nn import mlp
from causalcf.mechanisms.images import framed
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean
from causalcf.variables.codes import Categorical as CategoricalVariable
from causalcf.variables.image import Image
from causalcf.variables.table import Table

__all__ = ["ImageDecoder", "ImageEncoder", "TableDecoder", "TableEncoder"]


class ImageEncoder(nn.Module):
    """Image and encoded parents to a code."""

    def __init__(self, variable: Image, code: int, context: int) -> None:
        super().__init__()
        self.frame = _frame(variable)
        grid = (self.frame[0] // 4) * (self.frame[1] // 4)
        self.convolutions = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * variable.channels, 16, 3, padding=1), nn.SiLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.SiLU(), nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(),
            nn.Flatten(),
        )  # fmt: skip
        self.head = mlp([32 * grid + context, 128, code])
        _awake(self)

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        return self.head(_beside(self.convolutions(framed(x, self.frame)), c)).to(x.dtype)


class ImageDecoder(nn.Module):
    """Code and encoded parents to an image in (0, 1)."""

    def __init__(self, variable: Image, code: int, context: int) -> None:
        super().__init__()
        frame = _frame(variable)
        self.size, self.grid = (variable.height, variable.width), (frame[0] // 4, frame[1] // 4)
        self.stem = nn.Sequential(
            nn.Linear(code + context, 128), nn.SiLU(), nn.Linear(128, 32 * self.grid[0] * self.grid[1])
        )
        self.convolutions = nn.Sequential(
            nn.SiLU(), nn.Conv2d(32, 128, 3, padding=1), nn.SiLU(), nn.PixelShuffle(2),
            nn.Conv2d(32, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 4 * variable.channels, 3, padding=1),
            nn.PixelShuffle(2), nn.Sigmoid(),
        )  # fmt: skip
        _awake(self)

    def forward(self, code: Tensor, c: Tensor | None) -> Tensor:
        h = self.stem(_beside(code, c)).unflatten(1, (32, *self.grid))
        return framed(self.convolutions(h), self.size).to(code.dtype)


class TableEncoder(nn.Module):
    """Scaled features and encoded parents to a code."""

    def __init__(self, variable: Variable, code: int, context: int) -> None:
        super().__init__()
        self.layers = mlp([variable.event_shape[0] + context, 128, 128, code])
        _awake(self)

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        return self.layers(_beside(x, c)).to(x.dtype)


class TableDecoder(nn.Module):
    """Code and encoded parents to scaled features: numbers within the data's range, shares of categories."""

    low: Tensor
    high: Tensor
    is_number: Tensor

    def __init__(self, variable: Variable, code: int, context: int, temperature: float = 0.5) -> None:
        super().__init__()
        features, self.temperature = variable.event_shape[0], temperature
        self.columns = [(v.num_features, _kind(v)) for _, v in variable.columns] if isinstance(variable, Table) else []
        self.layers = mlp([code + context, 128, 128, features])
        _awake(self)
        self.register_buffer("low", torch.full((features,), -3.0))
        self.register_buffer("high", torch.full((features,), 3.0))
        is_number = [kind == "number" for w, kind in self.columns for _ in range(w)]
        self.register_buffer("is_number", torch.tensor(is_number, dtype=torch.bool), persistent=False)

    def calibrate(self, x: Tensor) -> None:
        """Take the range of the scaled training rows."""
        low, high = x.aminmax(dim=0)
        self.low.copy_(low)
        self.high.copy_(high)

    def forward(self, code: Tensor, c: Tensor | None) -> Tensor:
        raw = self.layers(_beside(code, c)).to(code.dtype)
        number = self.low + (self.high - self.low) * torch.sigmoid(raw)
        if not self.columns:
            return number
        parts = zip(self.columns, raw.split([w for w, _ in self.columns], 1), strict=True)
        shares = [self._shares(kind, part) for (_, kind), part in parts]
        return torch.where(self.is_number, number, torch.cat(shares, 1))

    def _shares(self, kind: str, raw: Tensor) -> Tensor:
        if kind == "category":
            return (raw / self.temperature).softmax(1)
        return torch.sigmoid(raw / self.temperature)


def _awake(network: nn.Module) -> None:
    """Initial weights that keep the size of signals (He et al. 2015): with torch's own, codes drown in noise."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _kind(variable: Variable) -> str:
    if isinstance(variable, CategoricalVariable):
        return "category"
    return "boolean" if isinstance(variable, Boolean) else "number"


def _frame(image: Image) -> tuple[int, int]:
    """Height and width that two halvings divide."""
    return (-(-image.height // 4) * 4, -(-image.width // 4) * 4)


def _beside(x: Tensor, c: Tensor | None) -> Tensor:
    return x if c is None else torch.cat([x, c.to(x.dtype)], 1)
