"""The explained classifier or regressor, one or several, asked in one way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from causalcf.classifiers import ClassifierEnsemble, Stacked
from causalcf.core.errors import DataError, ExplanationError, MechanismError
from causalcf.mechanisms.asked import as_rows, check_answers
from causalcf.mechanisms.estimators import as_function, frozen
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
        variable: Of the output of f; None for a Categorical with as many categories as there are logits, a Boolean
            for one. A number (Real, Positive, Interval) makes it a regression.
        device: Where the copies go.
        dtype: Their floating type.

    Attributes:
        f: The copies, stacked to one module where they are alike, and functions as they are.
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
            node: Name of x.
            x: (N, ...).
            batch_size: Rows that f is asked about at once.

        Raises:
            MechanismError: f cannot take x, or gives something else than numbers, a row each.
            ExplanationError: It gives probabilities, labels or NaN, or changes its mind.
        """
        y, self.variable = check_answers(
            self._ask, [x], self.variable or _named(self.f), ExplanationError, of=node, batch_size=batch_size
        )
        return self._as_members(y)

    def check_gradient(self, x: Tensor) -> None:
        """Raise `ExplanationError` unless the outputs can be differentiated."""
        y, reason = torch.zeros(0), None
        with torch.enable_grad():
            try:
                y = self._ask(x.detach()[:1].requires_grad_(True))
            except Exception as error:  # it is the caller's: NumPy, for one, refuses what needs a gradient
                reason = error
        if reason is not None or not y.requires_grad:
            raise ExplanationError(
                "The classifier gives no gradient, which this method needs. Take one that computes in torch, or a"
                " method for black boxes: MixtureSearch or CFRL."
            ) from reason

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
        return frozen(f, device, dtype)
    try:
        return as_function(f)
    except MechanismError as error:
        raise ExplanationError(
            f"classifier must be a torch module, a function or a list of them, got {f!r}. {error}"
        ) from None


def _named(f: Any) -> Variable | None:
    """The variable that a classifier says it gives, where that has names: of a predictor, of an estimator."""
    variable = getattr(f, "variable", None)
    return variable if isinstance(variable, Categorical) else None


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
    return as_rows(f(x), [x])[None]
