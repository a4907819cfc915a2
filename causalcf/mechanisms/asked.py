"""How a classifier is called, and the check that it gives logits: one for `attach` and for every explainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causalcf.core.errors import CausalCFError, MechanismError
from causalcf.variables import Variable
from causalcf.variables.codes import Boolean, Categorical

__all__ = ["as_rows", "check_answers"]

AGAIN = 16
"""Rows that a classifier is asked about twice."""

DECIDING = 16
"""Values that must all lie in [0, 1] before they are taken for probabilities."""

SAME = 5e-3
"""Largest difference of two answers to the same row that is rounding, as a share of the largest answer."""


def as_rows(y: Any, inputs: Sequence[Tensor], what: str = "The classifier") -> Tensor:
    """Return a classifier's answer as a tensor with one row for each row of the inputs.

    NumPy arrays become tensors; of one row, an answer whose axis of rows was squeezed away gets it back.

    Args:
        y: Its answer.
        inputs: Its inputs, rows first.
        what: Its name in errors.

    Raises:
        MechanismError: It is not a tensor; the message says how to make it one.

    Example:
        >>> as_rows(np.zeros(3), [torch.zeros(1, 5)]).shape
        torch.Size([1, 3])
        >>> as_rows((torch.zeros(2, 3), None), [torch.zeros(2, 5)])
        Traceback (most recent call last):
        ...
        causalcf.core.errors.MechanismError: The classifier gives a tuple, where logits are needed, a tensor (N, K) or \
(N,): lambda x: f(x)[0].
    """
    rows, like = len(inputs[0]), next((x for x in inputs if x.is_floating_point()), inputs[0])
    if isinstance(y, np.ndarray | np.generic) and y.dtype.kind in "fiub":
        y = torch.as_tensor(np.array(y), device=like.device)
        y = y.to(like.dtype) if y.is_floating_point() and like.is_floating_point() else y
    if not isinstance(y, Tensor):
        raise MechanismError(
            f"{what} gives {_article(y)}, where logits are needed, a tensor (N, K) or (N,): {_remedy(y)}."
        )
    if y.layout != torch.strided or y.is_quantized:
        raise MechanismError(f"{what} gives a tensor that is not plain ({y.layout}): lambda x: f(x).to_dense().")
    if y.is_inference() and not torch.is_inference_mode_enabled():
        y = y.clone()
    if rows == 1 and y.ndim < 2 and tuple(y.shape) != (1,):
        y = y.reshape(1, -1) if y.numel() > 1 else y.reshape(1)
    return y


def _article(y: Any) -> str:
    name = "nothing" if y is None else type(y).__name__
    name = f"NumPy array of {y.dtype}" if isinstance(y, np.ndarray) else name
    return name if y is None else f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _remedy(y: Any) -> str:
    """The code that makes logits of an answer that is not a tensor."""
    if hasattr(y, "logits"):
        return "lambda x: f(x).logits"
    if isinstance(y, Mapping):
        key = "logits" if "logits" in y or not y else next(iter(y))
        return f"lambda x: f(x)[{key!r}]"
    if isinstance(y, tuple | list) and any(isinstance(part, Tensor) for part in y):
        return f"lambda x: f(x)[{next(i for i, part in enumerate(y) if isinstance(part, Tensor))}]"
    if isinstance(y, tuple | list | float | int):
        return "lambda x: torch.as_tensor(f(x))"
    if isinstance(y, np.ndarray):
        return "give numbers, lambda x: f(x).astype(float), logits rather than the classes' names"
    if hasattr(y, "to_numpy"):
        return "lambda x: torch.as_tensor(f(x).to_numpy())"
    return "let it return them"


@torch.no_grad()
def check_answers(
    ask: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    variable: Variable | None,
    error: type[CausalCFError],
    *,
    of: str = "its inputs",
    batch_size: int = 1024,
) -> tuple[Tensor, Variable]:
    """A classifier's answers to some rows, (M, N) or (M, N, K), once they are seen to be logits, and their variable.

    It is asked about all rows, about one alone, and about some again.

    Args:
        ask: Inputs -> answers of M members, (M, N) or (M, N, K).
        inputs: Its inputs, rows first.
        variable: Of its output; None for a Categorical of as many categories as there are logits, a Boolean for one. A
            number makes it a regression, whose values may be any.
        error: The exception for values that are not logits.
        of: Name of its inputs.
        batch_size: Rows that it is asked about at once.

    Raises:
        MechanismError: It cannot take the inputs, or gives something else than numbers, a row each.
        error: It gives NaN, probabilities, labels, or answers that change from one time to the next.
    """
    asked = partial(_asked, ask, of, batch_size)
    y, rows = asked(inputs), len(inputs[0])
    if y.ndim not in (2, 3) or y.shape[1] != rows:
        raise MechanismError(
            f"The classifier must give logits (N, K) or (N,) for N = {rows}, got {tuple(y.shape[1:])}."
        )
    classes = 1 if y.ndim == 2 else y.shape[2]
    variable = variable or (Categorical(classes) if classes > 1 else Boolean())
    regression = not isinstance(variable, Categorical | Boolean)
    if not y.is_floating_point():
        if not regression or y.is_complex():
            raise error(_labels(y.dtype, classes))
        y = y.to(torch.get_default_dtype())
    if not torch.isfinite(y).all():
        remedy = "Check its weights."
        if not y.isnan().any():
            remedy = "Where these are logarithms of probabilities, or masks: lambda x: f(x).clamp(-1e4, 1e4)."
        raise error(f"The classifier gives NaN or infinite values for factual rows of '{of}'. {remedy}")
    expected = variable.k if isinstance(variable, Categorical) else 1
    if classes != expected:
        raise MechanismError(f"The classifier must give {expected} values a row ({variable}), got {classes}.")
    if rows:
        _refuse_moods(asked, y, inputs, error)
    if rows and not regression:
        _refuse_probabilities(asked, y, inputs, error)
    return y, variable


def _asked(ask: Callable[..., Tensor], of: str, batch_size: int, inputs: Sequence[Tensor]) -> Tensor:
    """Answers to all rows, batch by batch; whatever the classifier raises, in one sentence.

    It is asked about copies, so that one that writes into its inputs shows, and spoils nobody's data.
    """
    try:
        parts = []
        for part in zip(*(x.split(batch_size) for x in inputs), strict=True):
            copies = [x.clone() for x in part]
            parts.append(ask(*copies))
            if not all(map(torch.equal, copies, part)):
                raise MechanismError(
                    f"The classifier changes its input, '{of}', in place. Give it a copy: lambda x: f(x.clone())."
                )
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    except CausalCFError:
        raise
    except Exception as error:  # it is the caller's: what it raises is unknown
        shapes = ", ".join("(" + ", ".join(["N", *map(str, x.shape[1:])]) + ")" for x in inputs)
        raise MechanismError(
            f"The classifier cannot take '{of}', a tensor of shape {shapes}: {str(error).strip()[:400]}"
            f" Give one that was made for this shape ({type(error).__name__} for N = {len(inputs[0])})."
        ) from error


def _labels(dtype: torch.dtype | str, classes: int = 1) -> str:
    boolean = dtype in (torch.bool, "0 or 1")
    remedy = (
        "lambda x: f(x).float() - 0.5"
        if boolean and classes == 1
        else "lambda x: 2.0 * f(x) - 1"
        if classes > 1
        else "lambda x: 2.0 * torch.nn.functional.one_hot(f(x).long(), K) - 1 for K classes"
    )
    return (
        f"The classifier gives labels ({dtype}), where logits are needed: leave out its last argmax or comparison."
        f" Where there is nothing before it: {remedy}."
    )


def _refuse_probabilities(
    asked: Callable[[Sequence[Tensor]], Tensor], y: Tensor, inputs: Sequence[Tensor], error: type[CausalCFError]
) -> None:
    """Raise if answers look like probabilities or labels: if all of them are at least 0."""
    if bool((y < 0).any()):
        return
    rows, classes = len(inputs[0]), 1 if y.ndim == 2 else y.shape[2]
    varied = bool((y != y.flatten()[0]).any())
    if classes == 1 and varied and bool((y == y.round()).all()):
        raise error(_labels("whole numbers" if bool((y > 1).any()) else "0 or 1"))
    if classes > 1 and bool((y.sum(-1) - 1).abs().max() < 1e-3):
        if bool(((y == 0) | (y == 1)).all()):
            raise error(_labels("0 or 1", classes))
        raise error(
            "The classifier gives probabilities, where logits are needed: every row sums to 1."
            " Drop its last softmax, or give their logarithm: lambda x: f(x).clamp_min(1e-30).log()."
        )
    if bool((y > 1).any()) or (rows > 1 and not varied):
        return
    if y.numel() < DECIDING:  # too few to tell: what of other inputs?
        y = asked([_paler(x) for x in inputs])
    # Logits leave [0, 1] far outside the data, which a sigmoid never does: a network that is barely trained tells.
    if _leaves(asked, inputs):
        return
    if rows > 1 or bool(((y >= 0) & (y <= 1)).all() and (y != y.flatten()[0]).any()):
        raise error(
            f"The classifier gives probabilities, where logits are needed: its values for {rows} rows are all in"
            " [0, 1]. Drop its last sigmoid, or give logits: lambda x: torch.logit(f(x), 1e-7). For a score, say"
            " variable=causalcf.Interval(0, 1)."
        )


def _leaves(asked: Callable[[Sequence[Tensor]], Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether answers leave [0, 1] far outside the data; not, where a classifier takes no such inputs."""
    try:
        far = asked([1e3 * x if x.is_floating_point() else x for x in inputs])
    except MechanismError:  # it looks at what it is given
        return False
    return bool(((far < 0) | (far > 1)).any())


def _paler(x: Tensor) -> Tensor:
    """Rows between 0 and the first one, some all over and some here and there: within any support that holds both."""
    steps = torch.linspace(0, 1, DECIDING // 2, device=x.device).view(-1, *[1] * (x.ndim - 1))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand((DECIDING, *x.shape[1:]), generator=generator).to(x.device)
    factor = torch.cat([steps.expand(-1, *x.shape[1:]), drawn])
    return (x[:1] * factor).to(x.dtype)


def _refuse_moods(
    asked: Callable[[Sequence[Tensor]], Tensor], y: Tensor, inputs: Sequence[Tensor], error: type[CausalCFError]
) -> None:
    """Raise where the answer to a row depends on when it is asked, or on the rows beside it."""
    allowed = (SAME if y.dtype in (torch.float32, torch.float64) else 10 * SAME) * float(y.abs().max().clamp_min(1.0))
    several = torch.arange(AGAIN, device=inputs[0].device) % len(inputs[0])
    once, again = (asked([x[several] for x in inputs]).to(y.dtype) for _ in range(2))
    if not _same(once, again, allowed):
        raise error(
            "The classifier gives another answer each time it is asked. Set it to evaluation, model.eval(), which"
            " switches its dropout off."
        )
    rows = len(inputs[0])
    beside = [x[:1] if rows > 1 else torch.cat([x, x]) for x in inputs]
    other = asked(beside).to(y.dtype)
    if other.shape[1] != len(beside[0]) or other.shape[2:] != y.shape[2:]:
        raise MechanismError(
            f"The classifier must give logits (N, K) or (N,): for N = {rows} it gives {tuple(y.shape[1:])}, for N ="
            f" {len(beside[0])} {tuple(other.shape[1:])}. Where it squeezes, name the axis: squeeze(1)."
        )
    if not _same(other[:, :1], y[:, :1], allowed):
        raise error(
            "The classifier gives a row another answer alone than beside others: its batch normalisation is in training"
            " (model.eval() ends that), or its softmax runs over the rows instead of the classes."
        )


def _same(a: Tensor, b: Tensor, allowed: float) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= allowed)
