"""Counts: whole numbers from zero on, by a discretised mixture of logistics on one noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid, softplus

from causalcf import variables
from causalcf.core import draws
from causalcf.core.nn import Standardiser
from causalcf.core.settings import COUNT
from causalcf.mechanisms.base import Parents
from causalcf.mechanisms.categorical import DiscreteMechanism
from causalcf.mechanisms.ordinal import logistic_between, warn_of_impossible

__all__ = ["Count", "CountDistribution"]

NARROWEST = 1e-2
"""Least scale of a component, in standard deviations of the data."""


class CountDistribution(TorchDistribution):
    r"""Whole numbers from 0 on, :math:`P(x \le k) = \sum_j w_j\, \sigma((k + 1/2 - m_j) / s_j)`.

    Args:
        log_weight: Logarithms of the weights, (*batch, J).
        loc: Places m of the components, (*batch, J), in the unit of the count.
        scale: Their scales s, (*batch, J).

    Example:
        >>> law = CountDistribution(torch.zeros(1), torch.tensor([2.0]), torch.tensor([0.5]))
        >>> law.log_prob(torch.arange(50.0)).exp().sum().round(decimals=4)
        tensor(1.)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}  # type: ignore[misc]
    support = constraints.nonnegative_integer  # type: ignore[assignment]

    def __init__(self, log_weight: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.log_weight, self.loc, self.scale = torch.broadcast_tensors(log_weight, loc, scale)
        super().__init__(self.loc.shape[:-1], validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> CountDistribution:
        shape = (*batch_shape, self.loc.shape[-1])
        return CountDistribution(*(t.expand(shape) for t in (self.log_weight, self.loc, self.scale)))

    def threshold(self, x: Tensor) -> Tensor:
        """The noise up to which the count is at most x: the logit of P(count <= x), exact in both tails; (*batch,)."""
        z = (x[..., None] + 0.5 - self.loc) / self.scale
        below = (self.log_weight + logsigmoid(z)).logsumexp(-1)
        above = (self.log_weight + logsigmoid(-z)).logsumexp(-1)
        return torch.where(x < 0, -torch.inf, below - above)

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.to(self.loc.dtype)[..., None]
        high, low = (x + 0.5 - self.loc) / self.scale, (x - 0.5 - self.loc) / self.scale
        # log(sigma(high) - sigma(low)), without a difference of numbers that are close.
        between = logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(-1 / self.scale))
        log_p = (self.log_weight + torch.where(x > 0, between, logsigmoid(high))).logsumexp(-1)
        possible = (value >= 0) & (value == value.round())
        return log_p.masked_fill(~possible, -torch.inf)

    @torch.no_grad()
    def quantile(self, u: Tensor) -> Tensor:
        """The count at a noise (*batch,): the least one whose threshold is not below it."""
        # The mixture's quantile lies between those of its components; the whole numbers between are halved.
        ends = self.loc + self.scale * u[..., None] - 0.5
        most = variables.count.largest_count(ends.dtype)
        low = ends.amin(-1).floor().clamp(0, most) - 1
        high = ends.amax(-1).ceil().clamp(0, most) + 1
        steps = int((high - low).max().clamp_min(1).log2().ceil()) if u.numel() else 0
        for _ in range(steps + 1):
            middle = ((low + high) / 2).floor()
            enough = self.threshold(middle) >= u
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return high.clamp_min(0)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008  # type: ignore[override]
        shape = self._extended_shape(sample_shape)
        u = torch.logit(draws.uniform(shape, self.loc))
        return self.expand(shape).quantile(u)


@dataclass(eq=False, repr=False)
class Count(DiscreteMechanism):
    r"""x := the least k with :math:`u \le \theta_k(pa)`, with logistic noise.

    :math:`\sigma(\theta_k(pa)) = P(x \le k \mid pa)` is a mixture of logistics cut at the halves, all of them below
    one half being 0. So zeros, spikes, several modes and more or less spread than a Poisson law's are all within reach;
    the tail falls like that of a geometric law. The count is monotone in the noise, whose posterior is a logistic
    between two thresholds, in closed form: counterfactual counts are whole.

    References:
        Salimans, Karpathy, Chen, Kingma, "PixelCNN++", 2017, section 2.1 (the discretised mixture of logistics).

    Args:
        hidden: Widths of the hidden layers of the network that gives the mixture.
        components: How many logistics there are.

    Example:
        >>> visits = Count().bind("visits", variables.Count(), {"age": variables.Real()})
        >>> pa, x = {"age": torch.zeros(4)}, torch.tensor([0.0, 7.0, 2.0, 1.0])
        >>> visits.predict(visits.abduct(x, pa), pa)
        tensor([0., 7., 2., 1.])
    """

    components: int = 4

    def validate(self) -> None:
        super().validate()
        self.require(components=COUNT)
        if not isinstance(self.variable, variables.Count):
            raise self.reject("a Count")

    @property
    def num_logits(self) -> int:
        return 3 * self.components

    def build(self) -> None:
        super().build()
        self.standardise = Standardiser(1)

    def calibrate(self, x: Tensor, pa: Parents) -> None:
        super().calibrate(x, pa)
        self.standardise.calibrate(x[:, None])
        self.standardise.scale.clamp_min_(0.5)  # of counts that are nearly all the same

    def law(self, logits: Tensor, validate_args: bool | None = None) -> CountDistribution:
        """p(x | pa) from the network's output, (*batch, 3 J)."""
        weight, place, width = logits.unflatten(-1, (3, self.components)).unbind(-2)
        # Components start apart, within a standard deviation of the mean.
        apart = torch.linspace(-1, 1, self.components, device=logits.device, dtype=logits.dtype)
        scale = self.standardise.scale * (softplus(width) + NARROWEST)
        return CountDistribution(weight.log_softmax(-1), self.standardise.inverse(place + apart), scale)

    def prior_noise(self, n: int) -> Tensor:
        return torch.logit(draws.uniform((n,), self._anchor))

    def posterior_noise(self, x: Tensor, logits: Tensor) -> Tensor:
        # In 64 bits: the thresholds of large counts lie closer together than 32 bits can tell.
        law, x = self.law(logits.double()), x.double()
        low, high = law.threshold(x - 1), law.threshold(x)
        warn_of_impossible(self.node, x, low, high, logits.dtype)
        return logistic_between(low, high).to(logits)

    def decide(self, logits: Tensor, u: Tensor) -> Tensor:
        return self.law(logits.double()).quantile(u.double()).to(logits)
