"""Nodes without noise: a function of the parents, or a classifier of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from causalcf.core.errors import DensityError, MechanismError
from causalcf.mechanisms.asked import as_rows
from causalcf.mechanisms.base import Kind, Mechanism, Parents
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["Classifier", "Deterministic"]


@dataclass(eq=False, repr=False)
class Deterministic(Mechanism):
    """x := fn(pa), with no noise and nothing to fit.

    Data need not contain the node: `abduct` computes it.

    Args:
        fn: Function of the mapping parent -> tensor, in data units; a torch module is kept as a
            submodule, so it moves and is saved with the model.

    Example:
        >>> import torch
        >>> from causalcf.variables import Real
        >>> double = Deterministic(lambda pa: 2 * pa["x"]).bind("y", Real(), {"x": Real()})
        >>> double.predict({}, {"x": torch.tensor([1.0, 2.0])})
        tensor([2., 4.])
    """

    fn: Callable[..., Tensor]

    kind: ClassVar[Kind] = "deterministic"
    draws_by_row: ClassVar[bool] = True
    holds_code: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fitted = True

    @property
    def config(self) -> dict[str, Any]:
        """Empty: JSON cannot hold a function, so the caller gives it to `load` again."""
        return {}

    @property
    def sites(self) -> tuple[str, ...]:
        return ()

    def validate(self) -> None:
        if not self.parents:
            raise MechanismError(
                f"{type(self).__name__} of '{self.node}' needs parents: a root without noise is a constant."
                " Give it a parent, or another mechanism."
            )

    def solve(self, x: Tensor, pa: Parents) -> bool:
        return True

    def dist(self, pa: Parents, latents: Mapping[str, Tensor] = MappingProxyType({})) -> Any:
        raise DensityError(
            f"'{self.node}' is a deterministic function of {list(self.parents)}: it has no density,"
            " and cannot be conditioned on. Condition on its parents instead."
        )

    def abduct(self, x: Tensor, pa: Parents, *, sample: bool = False) -> dict[str, Tensor]:
        return {}

    def sample_noise(self, n: int) -> dict[str, Tensor]:
        return {}

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        x = self.fn(pa)
        rows = next(iter(pa.values())).shape[0]
        expected = (rows, *self.variable.event_shape)
        if not isinstance(x, Tensor) or tuple(x.shape) != expected:
            came = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise MechanismError(f"The function of '{self.node}' must give a tensor of shape {expected}, got {came}.")
        return x


@dataclass(eq=False, repr=False)
class Classifier(Deterministic):
    """y := argmax of the logits that a classifier gives its parents; Boolean: logit above 0.

    Args:
        fn: Module or function of the parents' tensors, called with them one by one in the order of
            `inputs`; gives logits (N, k) for a Categorical, (N,) or (N, 1) for a Boolean, and values
            (N,) for a regression.
        inputs: The order of the parents; by default the order of the graph.

    Example:
        >>> import torch
        >>> from causalcf.variables import Vector
        >>> f = torch.nn.Linear(2, 3)
        >>> y = Classifier(f).bind("y", Categorical(3), {"x": Vector(2)})
        >>> y.predict({}, {"x": torch.zeros(4, 2)}).shape
        torch.Size([4])
    """

    inputs: tuple[str, ...] = ()

    def logits(self, pa: Parents) -> Tensor:
        """The classifier's logits, before the decision.

        Raises:
            MechanismError: Its output has the wrong shape, or NaN.
        """
        inputs = [pa[name] for name in self.inputs or self.parents]
        logits = as_rows(self.fn(*inputs), inputs, f"The classifier of '{self.node}'")
        rows = len(inputs[0])
        if not isinstance(self.variable, Categorical) and logits.shape == (rows, 1):
            logits = logits.squeeze(1)
        expected = (rows, self.variable.k) if isinstance(self.variable, Categorical) else (rows,)
        if tuple(logits.shape) != expected:
            raise MechanismError(
                f"The classifier of '{self.node}' must give logits of shape {expected}, got {tuple(logits.shape)}."
            )
        if torch.isnan(logits).any():
            raise MechanismError(f"The classifier of '{self.node}' gives NaN. Check its weights, and the rows given.")
        return logits

    def decide(self, logits: Tensor) -> Tensor:
        """The class (or the regression value) that the logits stand for."""
        if isinstance(self.variable, Categorical):
            return logits.argmax(-1)
        return logits > 0 if isinstance(self.variable, Boolean) else logits.to(self.dtype)

    def predict(self, u: Mapping[str, Tensor], pa: Parents) -> Tensor:
        return self.decide(self.logits(pa))
