"""Two noises that go together: a Gaussian copula over the noise of a cause and of its effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import asin
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from causalcf.core import draws
from causalcf.core.errors import DataError
from causalcf.mechanisms import Mechanism
from causalcf.mechanisms.base import Kind, Parents
from causalcf.mechanisms.categorical import DiscreteMechanism
from causalcf.mechanisms.flow import InvertibleMechanism
from causalcf.variables.codes import Boolean

__all__ = ["Cause", "Effect", "normal_below", "require_score", "score"]

POINTS = 24
"""Nodes of the quadrature over the correlation; errors stay below 1e-7 up to a correlation of .95."""

FAR = 38.0
"""A Gaussian score that stands for infinity: its tail is not told from 0."""

HALVINGS = 48
"""Steps of bisection: the interval of scores, 76 wide, down to the rounding of 64 bits."""


def normal_below(h: Tensor, k: Tensor, correlation: float) -> Tensor:
    """P(U <= h, V <= k) of two standard normals with this correlation, elementwise, in 64 bits.

    References:
        Drezner and Wesolowsky, "On the Computation of the Bivariate Normal Integral", 1990.

    Example:
        >>> zero = torch.zeros(1, dtype=torch.float64)
        >>> round(float(normal_below(zero, zero, 0.5)), 6)  # 1/4 + asin(.5) / 2 pi
        0.333333
    """
    h, k = (x.double().clamp(-FAR, FAR) for x in (h, k))
    nodes, weights = (torch.from_numpy(x).to(h) for x in np.polynomial.legendre.leggauss(POINTS))
    angle = asin(correlation) * (nodes + 1) / 2
    sine, square = angle.sin(), angle.cos().square()
    h, k = h[..., None], k[..., None]
    density = torch.exp(-(h.square() + k.square() - 2 * h * k * sine) / (2 * square))
    along = (density * weights).sum(-1) * asin(correlation) / 2
    both = torch.special.ndtr(h[..., 0]) * torch.special.ndtr(k[..., 0])
    return both + along / (2 * torch.pi)


def require_score(mechanism: Mechanism) -> None:
    """Refuse a node whose noise is no single number.

    Raises:
        DataError: It is an image, a vector, a count, or has no noise.
    """
    single = isinstance(mechanism, InvertibleMechanism) and not mechanism.variable.event_shape
    if not single and not (isinstance(mechanism, DiscreteMechanism) and mechanism.variable.discrete):
        raise DataError(
            f"'{mechanism.node}' is {mechanism.variable.article}, modelled by {type(mechanism).__name__}: its noise is"
            " not one number. A strength can be asked of numbers, Booleans and categories."
        )


def _cumulative(mechanism: DiscreteMechanism, pa: Parents, n: int) -> Tensor:
    """Gaussian scores of the borders between a node's categories, in their order, (n, K + 1), in 64 bits."""
    law = mechanism.dist(pa)
    p = law.probs.double()  # type: ignore[attr-defined]
    p = torch.stack([1 - p, p], -1) if isinstance(mechanism.variable, Boolean) else p
    below = torch.cat([torch.zeros_like(p[..., :1]), p.cumsum(-1)], -1)
    return torch.special.ndtri(below.clamp(0, 1)).clamp(-FAR, FAR).expand(n, -1)


def _interval(mechanism: DiscreteMechanism, x: Tensor, pa: Parents) -> tuple[Tensor, Tensor]:
    """The Gaussian scores that give these values, from and to, (N,)."""
    borders, at = _cumulative(mechanism, pa, len(x)), x.long()[:, None]
    return borders.gather(1, at)[:, 0], borders.gather(1, at + 1)[:, 0]


def score(mechanism: Mechanism, x: Tensor, pa: Parents) -> Tensor:
    """The Gaussian score of a node's noise, (N,), in 64 bits: of a number, its noise; of a category, drawn.

    Args:
        mechanism: Its own.
        x: Values, (N,).
        pa: Parents.
    """
    if not isinstance(mechanism, DiscreteMechanism):
        return mechanism.abduct_known(x, pa)["u"].double()
    low, high = (torch.special.ndtr(end) for end in _interval(mechanism, x, pa))
    drawn = draws.uniform(x.shape, low)
    return torch.special.ndtri(low + (high - low) * drawn).clamp(-FAR, FAR)


def valued(mechanism: Mechanism, scores: Tensor, pa: Parents) -> Tensor:
    """The node's value at these Gaussian scores of its noise, (N,)."""
    if not isinstance(mechanism, DiscreteMechanism):
        return mechanism.predict({"u": scores.to(mechanism.dtype)}, pa)
    borders = _cumulative(mechanism, pa, len(scores))[:, 1:-1]
    code = (scores[:, None] > borders).sum(1)
    return code.bool() if isinstance(mechanism.variable, Boolean) else code


@dataclass(eq=False, repr=False)
class Cause(Mechanism):
    """A node whose noise has become a node of its own, the hidden cause: x := f(pa, hidden).

    Args:
        own: The node's mechanism.
        hidden: The name of the hidden cause, a parent whose values are Gaussian scores.
    """

    own: Mechanism
    hidden: str

    kind: ClassVar[Kind] = "deterministic"
    draws_by_row: ClassVar[bool] = True

    @property
    def sites(self) -> tuple[str, ...]:
        return ()

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        return {}

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        return valued(self.own, pa[self.hidden].double(), pa)


@dataclass(eq=False, repr=False)
class Effect(Mechanism):
    r"""A node whose noise goes together with that of a parent, while the law of all that is observed stays as it was.

    The noise's Gaussian score is :math:`s = \rho h + \sqrt{1 - \rho^2}\, e`, where h is the hidden cause (the
    score of the parent's noise). The node is :math:`x := f(pa, \Phi^{-1}(P(S \le s \mid parent)))`, f being its own
    mechanism: given the parent as it came about, the second argument is standard normal, so the law of x given its
    parents is that of f whatever :math:`\rho` is. Where the parent is set, it is not.

    Args:
        own: The node's mechanism, fitted to what goes together.
        parent: The parent's mechanism; its own parents are parents of this node, too.
        hidden: The name of the hidden cause, a parent.
        strength: :math:`\rho`.
    """

    own: Mechanism
    parent: Mechanism
    hidden: str
    strength: float

    kind: ClassVar[Kind] = "implicit"
    draws_by_row: ClassVar[bool] = True

    def is_random(self, *, sample: bool) -> bool:
        return isinstance(self.own, DiscreteMechanism)

    @property
    def _free(self) -> float:
        return (1 - self.strength**2) ** 0.5

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {"u": draws.normal((n,), self._anchor)}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        s = self.strength * pa[self.hidden].double() + self._free * u["u"].double()
        return valued(self.own, self._own_score(s, pa), pa)

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        own = score(self.own, x, pa)
        e = (self._shared_score(own, pa) - self.strength * pa[self.hidden].double()) / self._free
        return {"u": e.to(self.dtype)}

    def _given(self, pa: Parents) -> tuple[Tensor, Tensor]:
        return _interval(self.parent, pa[self.parent.node], pa)  # type: ignore[arg-type]

    def _own_score(self, s: Tensor, pa: Parents) -> Tensor:
        """What the node's own mechanism takes as noise."""
        if not isinstance(self.parent, DiscreteMechanism):
            return (s - self.strength * score(self.parent, pa[self.parent.node], pa)) / self._free
        low, high = self._given(pa)
        below = normal_below(s, high, self.strength) - normal_below(s, low, self.strength)
        share = below / (torch.special.ndtr(high) - torch.special.ndtr(low)).clamp_min(torch.finfo(below.dtype).tiny)
        return torch.special.ndtri(share.clamp(0, 1)).clamp(-FAR, FAR)

    def _shared_score(self, own: Tensor, pa: Parents) -> Tensor:
        """The inverse of `_own_score`."""
        if not isinstance(self.parent, DiscreteMechanism):
            return self._free * own + self.strength * score(self.parent, pa[self.parent.node], pa)
        low, high = torch.full_like(own, -FAR), torch.full_like(own, FAR)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            beyond = self._own_score(middle, pa) > own
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        return (low + high) / 2
