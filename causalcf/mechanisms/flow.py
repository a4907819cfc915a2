"""Invertible mechanisms for numbers: x := f(pa, u) with u ~ N(0, I) and f(pa, .) a bijection.

All share one map, `Pushforward`, from noise to data units: a conditional bijection made of zuko's
transforms, the training data's location and scale, and the bijector of the variable's support.
That order matters more for counterfactual accuracy than the choice of flow does.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pyro.distributions import Normal, TransformedDistribution
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from causalcf.core import draws
from causalcf.core._zuko import (
    Autoregressive,
    ComposedTransform,
    DependentTransform,
    MaskedAutoregressiveTransform,
    MonotonicAffine,
)
from causalcf.core.errors import MechanismError
from causalcf.core.nn import Growing, RobustStandardiser, mlp
from causalcf.core.settings import COUNT
from causalcf.core.surroundings import callers_line
from causalcf.mechanisms.base import Kind, Mechanism, Parents, Recipe
from causalcf.mechanisms.parents import FAR, ParentEncoder
from causalcf.mechanisms.spline import AffineSpline
from causalcf.mechanisms.tails import TamedExp, upper_tail
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.count import Count
from causalcf.variables.image import Image
from causalcf.variables.scalar import Interval, Positive, Real

__all__ = ["AdditiveNoise", "Flow", "InvertibleMechanism"]

EDGE = 1e-6
"""Values nearer than this share of an Interval's width to its edge count as lying there.

On the edge itself the logit is infinite; data may hold such values, noise may not."""

RECIPE = Recipe(epochs=20, min_steps=1000, batch_size=512, lr=1e-2, weight_decay=0.1, ema=0.99, slack=0.5)
"""How flows are trained. Without slack, a validation split of a thousand rows picks early weights by
chance, which costs twice the counterfactual error; a normal variable's log density varies by 0.7."""


class Pushforward(Transform):
    """Noise -> data units: the one bridge between zuko's transforms and torch's and Pyro's.

    Args:
        flow: zuko transform from standardised unconstrained values to noise, event dimension 1.
        standardise: Location and scale of the unconstrained values, width d.
        variable: The support and its shape.
        bijector: From the real line onto the support.
    """

    bijective = True
    sign = +1

    def __init__(
        self, flow: Transform, standardise: RobustStandardiser, variable: Variable, bijector: Transform
    ) -> None:
        super().__init__()
        self.flow: Any = flow  # torch's type does not know call_and_ladj
        self.standardise, self.variable, self.bijector = standardise, variable, bijector
        self._is_vector = bool(variable.event_shape)

    @property
    def domain(self) -> constraints.Constraint:  # type: ignore[override]
        return constraints.independent(constraints.real, int(self._is_vector))

    @property
    def codomain(self) -> constraints.Constraint:  # type: ignore[override]
        return self.variable.constraint

    def with_cache(self, cache_size: int = 1) -> Pushforward:
        """Itself: results are not cached."""
        return self

    def _column(self, x: Tensor) -> Tensor:
        return x if self._is_vector else x.unsqueeze(-1)

    def _uncolumn(self, x: Tensor) -> Tensor:
        return x if self._is_vector else x.squeeze(-1)

    def _call(self, u: Tensor) -> Tensor:  # type: ignore[override]
        y = self.standardise.inverse(self.flow.inv(self._column(u)))
        return self._uncolumn(self.bijector(y))  # type: ignore[arg-type]

    def _standardised(self, x: Tensor) -> Tensor:
        return self.standardise(self.bijector.inv(self._column(within_edges(x, self.variable))))

    def _inverse(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self._uncolumn(self.flow(self._standardised(x)))

    def inverse_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The noise of x and log |du/dx|, each transform run once."""
        x = self._column(within_edges(x, self.variable))
        y = self.bijector.inv(x)
        standard = self.standardise(y)
        u, ladj = self.flow.call_and_ladj(standard)
        bijector = self.bijector.log_abs_det_jacobian(y, x).expand_as(y).sum(-1)
        return self._uncolumn(u), ladj + self.standardise.log_slope(standard) - bijector

    def log_abs_det_jacobian(self, u: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        return -self.inverse_and_ladj(x)[1]


class FlowDistribution(TransformedDistribution):
    """The push-forward of standard normal noise, as a Pyro distribution.

    torch's `TransformedDistribution.log_prob` runs the transform twice, once for the noise and once
    for the Jacobian; here both come from one pass.
    """

    def __init__(self, transform: Pushforward, batch_shape: torch.Size, validate_args: bool | None = None) -> None:
        event, like = transform.variable.event_shape, transform.standardise.loc
        # Zero and one need no look, which would make the host wait for the device.
        base = Normal(like.new_zeros(()), like.new_ones(()), validate_args=False)
        super().__init__(base.expand(batch_shape + event).to_event(len(event)), [transform], validate_args)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> FlowDistribution:
        """The same law for more rows."""
        return FlowDistribution(self.transforms[0], torch.Size(batch_shape), self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in data units, shape (N,)."""
        if self._validate_args:
            self._validate_sample(value)
        # Like every torch distribution, take values that broadcast; zuko's transforms do not.
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape))
        (transform,) = self.transforms
        u, ladj = transform.inverse_and_ladj(value)
        return self.base_dist.log_prob(u) + ladj


def within_edges(x: Tensor, variable: Variable) -> Tensor:
    """x, moved off the edges of an Interval by `EDGE` of its width, symmetrically.

    By more where numbers this size are too coarse to tell that from the edge.
    """
    if not isinstance(variable, Interval):
        return x
    resolution = 4 * torch.finfo(x.dtype).eps * max(abs(variable.low), abs(variable.high))
    margin = max(EDGE * (variable.high - variable.low), resolution)
    return x.clamp(variable.low + margin, variable.high - margin)


class InvertibleMechanism(Growing, Mechanism):
    """x := f(pa, u) with a bijection f(pa, .); subclasses choose the bijection."""

    kind: ClassVar[Kind] = "invertible"
    draws_by_row: ClassVar[bool] = True

    def validate(self) -> None:
        if isinstance(self.variable, Boolean | Categorical | Count | Image):
            raise self.reject("a Real, Positive, Interval or Vector")
        unfit = ParentEncoder.unfit(self.parents)
        if unfit:
            raise MechanismError(
                f"{type(self).__name__} of '{self.node}' cannot take the image parents {unfit}."
                " Put a Deterministic feature between them, or remove the edges."
            )

    linear: ClassVar[bool] = False
    """Whether the parents enter as they are, only centred."""
    optional: ClassVar[tuple[str, ...]] = ("tail",)
    tail: Tensor | None
    """The tail of a Positive: where the data end, and how fast it may grow beyond; see `TamedExp`."""

    def room(self, name: str) -> Tensor:
        return torch.zeros(2, dtype=self.dtype)

    def build(self) -> None:
        self.encoder = ParentEncoder(self.parents, linear=self.linear)
        self.standardise = RobustStandardiser(self.variable.numel)
        self.register_buffer("tail", None)
        self.build_flow(self.variable.numel, self.encoder.width)

    @abstractmethod
    def build_flow(self, features: int, context: int) -> None:
        """Create the parameters of the conditional bijection."""

    @abstractmethod
    def flow(self, c: Tensor | None) -> Transform:
        """zuko transform from standardised unconstrained values (N, d) to noise, given features c."""

    def calibrate(self, x: Tensor, pa: Parents) -> None:
        self.encoder.calibrate(pa)
        self._warn_on_edges(x)
        y = self.variable.bijector.inv(within_edges(x, self.variable))
        self.standardise.calibrate(y.reshape(x.shape[0], -1))  # type: ignore[union-attr]
        if isinstance(self.variable, Positive):
            self.tail = upper_tail(x).to(x)

    @property
    def bijector(self) -> Transform:
        """From the real line onto the support; beyond the data it does not run away."""
        return self.variable.bijector if self.tail is None else TamedExp(self.tail)

    def transform(self, pa: Parents) -> Pushforward:
        """The bijection from noise to data units given the parents."""
        return Pushforward(self.flow(self.encoder(pa)), self.standardise, self.variable, self.bijector)

    def dist(self, pa: Parents, latents: Mapping[str, Tensor] = MappingProxyType({})) -> FlowDistribution:
        return self._law(pa)

    def loss(self, x: Tensor, pa: Parents) -> Tensor:
        return -self._law(pa, validate_args=False).log_prob(x).mean()

    def _law(self, pa: Parents, validate_args: bool | None = None) -> FlowDistribution:
        c = self.encoder(pa)
        batch = torch.Size() if c is None else c.shape[:-1]
        pushforward = Pushforward(self.flow(c), self.standardise, self.variable, self.bijector)
        return FlowDistribution(pushforward, batch, validate_args)

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        self._warn_on_edges(x)
        return self.abduct_known(x, pa)

    def abduct_known(self, x: Tensor, pa: Parents) -> dict[str, Tensor]:
        return {"u": self.transform(pa)._inverse(x)}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        return self.transform(pa)._call(u["u"])

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {"u": draws.normal((n, *self.variable.event_shape), self._anchor)}

    def _warn_on_edges(self, x: Tensor) -> None:
        if not isinstance(self.variable, Interval):
            return
        moved = int((within_edges(x, self.variable) != x).sum())
        if moved:
            warnings.warn(
                f"'{self.node}' lies on the edge of {self.variable.support[3:]} in {moved} of {x.shape[0]} rows;"
                f" these are moved inside by {EDGE:g} of the width. Widen the interval if the edge is not a limit.",
                stacklevel=callers_line(),
            )


class _Autoregressive(MaskedAutoregressiveTransform):
    """zuko's, whose network is shown components no further out than `FAR`, as it is shown parents: it stays finite."""

    def meta(self, c: Tensor | None, x: Tensor) -> Transform:
        return super().meta(c, x.clamp(-FAR, FAR))  # type: ignore[arg-type]  # zuko takes None, too

    def forward(self, c: Tensor | None = None) -> Transform:
        return Autoregressive(partial(self.meta, c), self.passes)


def _spline_flow(features: int, context: int, bins: int, **network: Any) -> nn.Module:
    """`AffineSpline` with its parameters read off the context, autoregressive over the features."""
    shapes = [(3 * bins + 1,)]
    flow = _Autoregressive(features, context, univariate=AffineSpline, shapes=shapes, **network)
    if features == 1 and context == 0:
        for parameter in flow.parameters():  # zuko starts these at random; the identity is a better start
            nn.init.zeros_(parameter)
    return flow


@dataclass(eq=False, repr=False)
class Flow(InvertibleMechanism):
    r"""Conditional normalising flow: the default for numbers and vectors.

    In the unconstrained scale of the support, standardised,
    :math:`u = \mathrm{RQS}_{pa}(s(pa)\, y + m(pa))`: one affine map and one rational-quadratic spline
    whose parameters an MLP reads off the parents; for a Vector, autoregressive over its components.

    References:
        Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", 2019.
        Pawlowski, Castro, Glocker, "Deep Structural Causal Models for Tractable Counterfactual
        Inference", 2020.

    Args:
        bins: Bins of the spline.
        hidden: Widths of the MLP's hidden layers.

    Example:
        >>> from causalcf.variables import Positive, Real
        >>> flow = Flow().bind("y", Positive(), {"x": Real()})
        >>> pa = {"x": torch.zeros(3)}
        >>> u = flow.abduct(torch.tensor([1.0, 2.0, 3.0]), pa)
        >>> flow.predict(u, pa).allclose(torch.tensor([1.0, 2.0, 3.0]))
        True
    """

    bins: int = 8
    hidden: tuple[int, ...] = (64, 64)

    default_recipe: ClassVar[Recipe] = RECIPE

    def validate(self) -> None:
        super().validate()
        self.require(bins=COUNT, hidden=COUNT.each())

    def build_flow(self, features: int, context: int) -> None:
        self.bijection = _spline_flow(features, context, self.bins, hidden_features=self.hidden, activation=nn.SiLU)

    def flow(self, c: Tensor | None) -> Transform:
        if self.variable.numel > 1:
            return self.bijection(c)
        # What zuko does for one feature, without taking the parameters apart and together again.
        parameters = self.bijection.phi[0] if c is None else self.bijection.hyper(c).unsqueeze(-2)  # type: ignore[operator,index]
        return DependentTransform(AffineSpline(parameters), 1)


@dataclass(eq=False, repr=False)
class AdditiveNoise(InvertibleMechanism):
    """x := f(pa) + g(u): the parents move the location only (Hoyer et al. 2009).

    f is an MLP; g, an affine map and a rational-quadratic spline, lets the noise have any shape.

    References:
        Hoyer, Janzing, Mooij, Peters, Schoelkopf, "Nonlinear causal discovery with additive noise
        models", 2009.

    Args:
        bins: Bins of the noise's spline.
        hidden: Widths of f's hidden layers.

    Example:
        >>> from causalcf.variables import Real
        >>> mechanism = AdditiveNoise().bind("y", Real(), {"x": Real()})
        >>> low, high = (mechanism.predict({"u": torch.zeros(1)}, {"x": torch.tensor([v])}) for v in (0.0, 1.0))
        >>> shifted = [mechanism.predict({"u": torch.ones(1)}, {"x": torch.tensor([v])}) for v in (0.0, 1.0)]
        >>> torch.allclose(high - low, shifted[1] - shifted[0], atol=1e-6)
        True
    """

    bins: int = 8
    hidden: tuple[int, ...] = (64, 64)

    default_recipe: ClassVar[Recipe] = RECIPE

    def validate(self) -> None:
        super().validate()
        self.require(bins=COUNT, hidden=COUNT.each())
        if not isinstance(self.variable, Real):
            raise self.reject("a Real")

    def build_flow(self, features: int, context: int) -> None:
        self.location = mlp([context, *self.hidden, features]) if context else None
        self.noise = _spline_flow(features, 0, self.bins)

    def flow(self, c: Tensor | None) -> Transform:
        if self.location is None or c is None:
            return self.noise()
        location = self.location(c)
        return ComposedTransform(MonotonicAffine(-location, torch.zeros_like(location)), self.noise())
