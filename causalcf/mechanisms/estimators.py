"""Classifiers from other libraries: modules (a frozen copy is taken), functions, scikit-learn's estimators."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causalcf.core.errors import MechanismError
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["Estimator", "as_function", "frozen"]


class Estimator:
    """A fitted estimator of scikit-learn as a function of tensors: logits of its classes, or a regression's values.

    It gives no gradients. Its features are the inputs' values in the order given, images flattened.

    Args:
        model: With `decision_function` or `predict_proba`, and `classes_`; a regressor with `predict`.
        names: The inputs' names, held against those of the columns that the model was fitted on.

    Raises:
        MechanismError: It is not fitted, was fitted on other columns, or is neither classifier nor regressor.
    """

    def __init__(self, model: Any, names: Sequence[str] = ()) -> None:
        _require_fitted(model)
        self.model, self.names = model, tuple(names)
        self._agrees = False
        self.columns = [str(name) for name in getattr(model, "feature_names_in_", [])]
        if self.columns and self.names and sorted(self.columns) != sorted(self.names):
            raise MechanismError(
                f"The {type(model).__name__} was fitted on the columns {self.columns}, its parents are"
                f" {list(self.names)}. Name the same."
            )

    @property
    def variable(self) -> Variable | None:
        """The variable of its predictions; None for a regressor."""
        classes = list(getattr(self.model, "classes_", []))
        if not classes:
            return None
        if len(classes) == 2 and all(name in (0, 1) for name in classes if not isinstance(name, str)):
            return Categorical([str(name) for name in classes]) if isinstance(classes[0], str) else Boolean()
        return Categorical([str(name) for name in classes])

    def __call__(self, *inputs: Tensor) -> np.ndarray:
        x = np.concatenate([part.detach().cpu().reshape(len(part), -1).numpy() for part in inputs], 1)
        table = self._table(x)
        if self.variable is None:
            return np.asarray(self.model.predict(table), dtype=float)
        if hasattr(self.model, "decision_function"):
            logits = np.asarray(self.model.decision_function(table))
        else:
            p = np.log(np.clip(self.model.predict_proba(table), 1e-30, None))
            logits = p[:, 1] - p[:, 0] if p.shape[1] == 2 else p
        if logits.ndim == 1 and not isinstance(self.variable, Boolean):
            logits = np.stack([-logits / 2, logits / 2], 1)
        if not self._agrees:
            self._require_agreement(np.asarray(self.model.predict(table)), logits)
        return logits

    def _require_agreement(self, predicted: np.ndarray, logits: np.ndarray) -> None:
        """Raise if the largest logit is not the class that the estimator predicts, as where classes vote in pairs."""
        codes = logits.argmax(1) if logits.ndim == 2 else (logits > 0).astype(int)
        codes = np.minimum(codes, len(self.model.classes_) - 1)
        agreed = int((np.asarray(self.model.classes_)[codes] == predicted).sum())
        if 4 * agreed < 3 * len(predicted):
            raise MechanismError(
                f"The largest value that the {type(self.model).__name__} gives is the class that it predicts in only"
                f" {agreed} of {len(predicted)} rows. Where it decides between pairs of classes, fit it with"
                " decision_function_shape='ovr'."
            )
        self._agrees = True

    def _table(self, x: np.ndarray) -> Any:
        """The features; with their names, and in the order that the model knows, where it knows names."""
        if not self.columns or not self.names or x.shape[1] != len(self.names):
            return x
        import pandas as pd

        return pd.DataFrame(x, columns=list(self.names))[self.columns]


def _require_fitted(model: Any) -> None:
    """Raise unless an estimator of scikit-learn can be asked: fitted, and one that predicts a class or a number."""
    from sklearn.base import BaseEstimator, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = type(model).__name__
    if isinstance(model, BaseEstimator):
        try:
            check_is_fitted(model)
        except NotFittedError:
            raise MechanismError(f"The {kind} is not fitted. Fit it first: model.fit(x, y).") from None
        if not hasattr(model, "classes_") and not is_regressor(model):
            raise MechanismError(
                f"The {kind} is neither a classifier nor a regressor. Give what it decides by as a function, such as"
                " lambda *x: model.decision_function(np.stack(x, 1))."
            )
    if any(np.ndim(name) for name in getattr(model, "classes_", [])):
        raise MechanismError(f"The {kind} gives several outputs. Attach each of them by itself: model.estimators_[0].")


def as_function(f: Any, names: Sequence[str] = ()) -> Any:
    """A classifier that can be called: itself, or an `Estimator` of it.

    Args:
        f: Module, function or fitted estimator.
        names: Its inputs' names.

    Raises:
        MechanismError: It is none of these.
    """
    if callable(f) and not isinstance(f, type):
        return f
    if isinstance(f, type):
        raise MechanismError(f"The classifier is the class {f.__name__}: give an instance of it, {f.__name__}(...).")
    if not any(hasattr(f, method) for method in ("decision_function", "predict_proba", "predict")):
        raise MechanismError(
            f"The classifier must be a torch module, a function or a fitted estimator, got {repr(f)[:60]}."
        )
    return Estimator(f, names)


def frozen(f: nn.Module, device: torch.device | str, dtype: torch.dtype | None) -> nn.Module:
    """A copy of a module for evaluation: the caller may train on.

    Args:
        f: Any module, compiled and scripted ones too.
        device: Where the copy goes.
        dtype: Its floating type.

    Raises:
        MechanismError: It cannot be copied.
    """
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in f.parameters()):
        raise MechanismError("The classifier has layers without weights yet (lazy ones). Ask it once first: f(x).")
    try:
        with torch.no_grad():  # copies of scripted weights would hang on the weights' own gradients
            copied = deepcopy(f)
    except Exception as error:  # it is the caller's: what its copying raises is unknown
        raise MechanismError(
            f"The classifier, {type(f).__name__}, cannot be copied ({' '.join(str(error).split())[:200]})."
            " Give a function: lambda x: f(x)."
        ) from error
    with suppress(NotImplementedError):  # an exported program has no modes
        copied.eval()
    for parameter in copied.parameters():  # a scripted module has no `requires_grad_`
        parameter.requires_grad_(False)
    return copied.to(device=device, dtype=dtype)
