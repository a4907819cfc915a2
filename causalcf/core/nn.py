"""Small network pieces that several mechanisms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

__all__ = ["RULED", "Growing", "RobustStandardiser", "Standardiser", "column", "make_room", "mlp", "quartiles"]


def column(per_row: Tensor, like: Tensor) -> Tensor:
    """One number a row, (N,) or (), in a shape that broadcasts against rows (N, ...).

    Example:
        >>> column(torch.ones(5), torch.zeros(5, 2, 3)).shape
        torch.Size([5, 1, 1])
    """
    return per_row.reshape(-1, *[1] * (like.ndim - 1))


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """A plain multilayer perceptron; `sizes` runs from input width to output width.

    Example:
        >>> mlp([2, 8, 1])(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """
    layers: list[nn.Module] = []
    for i, (width_in, width_out) in enumerate(pairwise(sizes)):
        layers += [activation()] if i else []
        layers += [nn.Linear(width_in, width_out)]
    return nn.Sequential(*layers)


class Standardiser(nn.Module):
    """Affine map to zero mean and unit variance per feature, with constants taken from data."""

    loc: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    @torch.no_grad()
    def calibrate(self, features: Tensor) -> None:
        """Take mean and standard deviation from features of shape (N, width)."""
        features = features.double()
        scale = features.std(0, unbiased=False)
        self.loc.copy_(features.mean(0))
        # A constant feature carries no scale of its own; leave it unscaled.
        self.scale.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.loc) / self.scale

    def inverse(self, features: Tensor) -> Tensor:
        """Back to data units."""
        return features * self.scale + self.loc


class Growing(nn.Module):
    """A module some of whose buffers are there only where its data called for them: None, or a tensor.

    Files written before such a buffer was thought of load as they are, and answer as they did.
    """

    optional: ClassVar[tuple[str, ...]] = ()

    def make_room(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """Have the optional buffers that a state has, and no others."""
        for name in self.optional:
            found = tensors.get(prefix + name)
            setattr(self, name, None if found is None else self.room(name).to(found.device))

    def room(self, name: str) -> Tensor:
        """A tensor of the type and shape of an optional buffer, for a state to fill."""
        raise NotImplementedError(f"{type(self).__name__} does not say how large its '{name}' is.")

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: Any,
        local_metadata: Any,
        strict: Any,
        missing_keys: Any,
        unexpected_keys: Any,
        error_msgs: Any,
    ) -> None:
        self.make_room(state_dict, prefix)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def make_room(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Have, in a whole module, the optional buffers that a state has."""
    for name, part in module.named_modules():
        if isinstance(part, Growing):
            part.make_room(tensors, f"{name}." if name else "")


REACH = 5.0
"""Where numbers that outliers would rule are bent: in spreads of the middle half, as of a normal variable."""

RULED = 3.0
"""Standard deviations over that spread from which on outliers rule the scale: 1 for a normal variable, 2 for an
exponential one."""


class RobustStandardiser(Growing, Standardiser):
    """A standardiser that outliers do not rule.

    Where the standard deviation is over `RULED` times what the middle half of the values suggests, location and scale
    are taken from that half, and values further out are bent: their distance grows like a logarithm up to where the
    data end, and like a line beyond, so that the way back does not run away. A feature without such values is
    standardised as by `Standardiser`, to the last bit.

    Example:
        >>> scales = RobustStandardiser(1)
        >>> scales.calibrate(torch.cat([torch.linspace(-1, 1, 99), torch.tensor([-9999.0])]).unsqueeze(1))
        >>> bool(scales(torch.tensor([1.0])) > 0.5), bool(scales(torch.tensor([-9999.0])) > -20)
        (True, True)
    """

    optional: ClassVar[tuple[str, ...]] = ("bent", "end")
    bent: Tensor | None
    end: Tensor | None
    """Where the bent data end, beyond `REACH`, (width,); files from before it was thought of have none."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("bent", None)
        self.register_buffer("end", None)

    def room(self, name: str) -> Tensor:
        return torch.zeros_like(self.scale, dtype=torch.bool if name == "bent" else self.scale.dtype)

    @torch.no_grad()
    def calibrate(self, features: Tensor) -> None:
        """Take location and scale from features of shape (N, width)."""
        super().calibrate(features)
        low, middle, high = quartiles(features)
        spread = (high - low) / 1.349  # of a normal variable, the standard deviation
        ruled = (spread > 0) & (self.scale.double() > RULED * spread)
        self.loc.copy_(torch.where(ruled, middle, self.loc.double()))
        self.scale.copy_(torch.where(ruled, spread, self.scale.double()))
        furthest = ((features.double() - self.loc) / self.scale).abs().amax(0)
        self.bend(ruled, (furthest - REACH).clamp_min(0).log1p().to(self.scale))

    def bend(self, which: Tensor, end: Tensor | None) -> None:
        """Bend the far ends of these features, (width,), bool, as far as the data go, (width,)."""
        self.bent, self.end = (which, end) if bool(which.any()) else (None, None)

    def forward(self, features: Tensor) -> Tensor:
        y = super().forward(features)
        if self.bent is None:
            return y
        inside = y.clamp(-REACH, REACH)
        beyond = (y - inside).abs()
        further = beyond.log1p()
        if self.end is not None:
            last = self.end.expm1()
            further = torch.minimum(beyond, last).log1p() + (beyond - last).clamp_min(0) / self.end.exp()
        return torch.where(self.bent, inside + torch.copysign(further, y), y)

    def inverse(self, features: Tensor) -> Tensor:
        if self.bent is None:
            return super().inverse(features)
        inside = features.clamp(-REACH, REACH)
        beyond = (features - inside).abs()
        further = beyond.expm1()
        if self.end is not None:
            last = torch.minimum(beyond, self.end)
            further = last.expm1() + (beyond - last) * self.end.exp()
        y = torch.where(self.bent, inside + torch.copysign(further, features), features)
        return super().inverse(y)

    def log_slope(self, features: Tensor) -> Tensor:
        """log |dy/dx| of each row, (N,), at its standardised values, (N, width)."""
        slope = -self.scale.log().sum()
        if self.bent is None:
            return slope
        beyond = (features.abs() - REACH).clamp_min(0)
        beyond = beyond if self.end is None else torch.minimum(beyond, self.end)
        return slope - torch.where(self.bent, beyond, 0.0).sum(-1)


def quartiles(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three quartiles of each column of (N, width), in 64 bits.

    Example:
        >>> [float(q) for q in quartiles(torch.arange(5.0).unsqueeze(1))]
        [1.0, 2.0, 3.0]
    """
    ranked = features.double().sort(0).values
    at = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64) * (len(ranked) - 1)
    below, above = ranked[at.floor().long()], ranked[at.ceil().long()]
    low, middle, high = below.lerp(above, (at - at.floor()).to(below).unsqueeze(1))
    return low, middle, high
