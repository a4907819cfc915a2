"""The explained classifier or regressor, one or several, asked in one way."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from causalcf.classifiers import ClassifierEnsemble, Stacked
from causalcf.core.errors import DataError, ExplanationError, MechanismError
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["Explained"]


class Explained:
    """A classifier as explainers ask it: `members` gives the outputs of every member, (M, N, K).

    One logit stands for two classes, -l/2 and l/2, whose softmax is the logistic function of l. A regression
    has K = 1.

    Args:
        f: Torch module, function, `ClassifierEnsemble`, or a list of modules or functions, of what `node` holds
            (N, ...); gives logits (N, K), one logit (N,) or (N, 1), or the values of a regression. Modules are
            copied, as `scm.attach` does, frozen and set to evaluate; the caller's stay as they are.
        variable: What f gives; None for a Categorical with as many categories as there are logits, a Boolean
            for one. A number (Real, Positive, Interval) makes it a regression.
        device: Where the copies go.
        dtype: Their floating type.

    Attributes:
        f: What is asked: the copies, stacked to one module where they are alike, and functions as they are.
    """

    def __init__(
        self, f: Any, variable: Variable | None, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
    ) -> None:
        self.variable = variable
        self.f = _copied(f, device, dtype)
        self._ask = _members(self.f)
        self.regression = variable is not None and not isinstance(variable, Categorical | Boolean)

    @property
    def classes(self) -> int:
        """How many there are; 0 for a regression, and where `variable` is not known yet."""
        match self.variable:
            case Categorical():
                return self.variable.k
            case Boolean():
                return 2
        return 0

    def members(self, x: Tensor) -> Tensor:
        """Outputs of every member, (M, N, K)."""
        return self._as_members(self._ask(x))

    def _as_members(self, y: Tensor) -> Tensor:
        y = y.unsqueeze(-1) if y.ndim == 2 else y
        return torch.cat([-y / 2, y / 2], -1) if y.shape[-1] == 1 and not self.regression else y

    def check(self, node: str, x: Tensor, batch_size: int = 1024) -> Tensor:
        """`members(x)`, with checks of whether f fits; the variable is told from it.

        Args:
            node: What x is called.
            x: (N, ...).
            batch_size: Rows that f is asked about at once.

        Raises:
            MechanismError: f cannot take x, or gives something else than logits.
            ExplanationError: It gives probabilities, or NaN.
        """
        shape = ", ".join(["N", *map(str, x.shape[1:])])
        try:
            parts = [self._ask(part) for part in x.split(batch_size)]
            y = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise MechanismError(
                f"The classifier cannot take '{node}', a tensor of shape ({shape}): {error}"
                " Give one that was made for this shape."
            ) from error
        if not isinstance(y, Tensor) or y.ndim not in (2, 3) or y.shape[1] != x.shape[0]:
            came = tuple(y.shape[1:]) if isinstance(y, Tensor) else type(y).__name__
            raise MechanismError(f"The classifier must give logits (N, K) or (N,) for N = {x.shape[0]}, got {came}.")
        if not torch.isfinite(y).all():
            raise ExplanationError(
                f"The classifier gives NaN or infinite values for factual rows of '{node}'. Check its weights."
            )
        classes = 1 if y.ndim == 2 else y.shape[2]
        if self.variable is None:
            self.variable = Categorical(classes) if classes > 1 else Boolean()
        expected = self.variable.k if isinstance(self.variable, Categorical) else 1
        if classes != expected:
            raise MechanismError(f"The classifier must give {expected} values a row ({self.variable}), got {classes}.")
        if classes > 1 and ((y >= 0).all() and (y.sum(-1) - 1).abs().max() < 1e-3):
            raise ExplanationError(
                "The classifier gives probabilities, where logits are needed: every row sums to 1."
                " Drop its last softmax, or give their logarithm: lambda x: f(x).log()."
            )
        if classes == 1 and not self.regression and len(x) > 1 and ((y >= 0) & (y <= 1)).all():
            raise ExplanationError(
                f"The classifier gives probabilities, where logits are needed: its values for {len(x)} rows are all in"
                " [0, 1]. Drop its last sigmoid, or give logits: lambda x: torch.logit(f(x))."
            )
        return self._as_members(y)

    def check_gradient(self, x: Tensor) -> None:
        """Raise `ExplanationError` unless the outputs can be differentiated."""
        with torch.enable_grad():
            y = self._ask(x.detach()[:1].requires_grad_(True))
        if not y.requires_grad:
            raise ExplanationError(
                "The classifier gives no gradient, which this method needs. Take one that computes in torch, or a"
                " method for black boxes: MixtureSearch or CFRL."
            )

    def probabilities(self, members: Tensor) -> Tensor:
        """Mean over members of the class probabilities, (N, K); of the values, for a regression."""
        return members.mean(0) if self.regression else members.softmax(-1).mean(0)

    def predicted(self, members: Tensor) -> Tensor:
        """Most probable class, (N,), long; the value, for a regression."""
        p = self.probabilities(members)
        return p[:, 0] if self.regression else p.argmax(-1)


def _copied(f: Any, device: torch.device | str, dtype: torch.dtype | None) -> Any:
    """Modules frozen, for evaluation; a list as one stack or, of several makes, as a list; functions as they are."""
    if isinstance(f, nn.ModuleList | list | tuple):
        if not f:
            raise ExplanationError("classifier is an empty list: give at least one.")
        try:
            f = Stacked(list(f))  # one architecture: one vectorised call
        except (DataError, AttributeError):
            return [_copied(member, device, dtype) for member in f]
    if isinstance(f, nn.Module):
        return deepcopy(f).requires_grad_(False).eval().to(device=device, dtype=dtype)
    if not callable(f):
        raise ExplanationError(f"classifier must be a torch module, a function or a list of them, got {f!r}.")
    return f


def _members(f: Any) -> Callable[[Tensor], Tensor]:
    """x -> outputs of all members, stacked first."""
    if isinstance(f, list):
        return partial(_one_after_another, [_members(member) for member in f])
    if isinstance(f, ClassifierEnsemble):
        return f.members
    return partial(_alone, f)


# Functions with names, so that an explanation can be sent to another process.
def _one_after_another(asked: list[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
    return torch.cat([ask(x) for ask in asked])


def _alone(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return f(x)[None]
