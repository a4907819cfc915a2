"""How much of the residual noise a counterfactual carries over from where it was observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any, TypeGuard

import torch
from torch import Tensor

from causalcf.core.errors import InterventionError
from causalcf.core.signatures import checked
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.variables import Variable
from causalcf.variables.image import Image

__all__ = ["Fading", "Residual", "check_residual", "read_residual", "recorded", "residual_label"]

ROUNDING = 1e-4
"""Share of a value by which recomputing a mechanism may move it: such a move counts as 0."""


@checked
@dataclass(frozen=True, init=False)
class Fading:
    r"""A residual that fades as the parents move away from where it was observed.

    .. math::
        x^* = \mu^* + \sigma^*\, k(pa, pa^*)\, \epsilon, \qquad \epsilon = (x - \mu) / \sigma, \qquad
        k(pa, pa^*) = \prod_j \exp(-|pa^*_j - pa_j| / \ell_j)

    The residual is not one number per pixel but a standard Gaussian process over the parents (Ornstein-Uhlenbeck,
    lengths :math:`\ell_j`), of which the factual shows one value; the carried value is its mean elsewhere given
    that value. A residual of 1 (all lengths infinite) and of 0 (all lengths 0) are its two ends. Where strokes
    move, the texture of their old edges should not stay behind; where nothing moves, everything is kept, so
    composition stays exact. Nothing observed can tell the lengths: how a unit's residuals in two worlds go together is
    an assumption, as it is for 1 and for 0. Acting there and back does not restore the faded part.

    Draws from the prior were observed nowhere, and keep their residual.

    References:
        Karimi, von Kuegelgen, Schoelkopf, Valera, "Algorithmic recourse under imperfect causal knowledge: a
        probabilistic approach", 2020 (Gaussian processes as mechanisms). Pearl, "Causality", 2009, section 7.1
        (counterfactuals need the joint law over worlds).

    Args:
        lengths: Parent -> how far it moves until the residual has shrunk to 1/e, in the parent's unit; a category that
            changes moves by 1. With a length of 0, nothing remains once the parent moves. Parents that are not named
            have no effect.

    Raises:
        InterventionError: No length is given, or a length is not a number >= 0.

    Example:
        >>> Fading(thickness=1, digit=0)
        Fading(thickness=1, digit=0)
    """

    lengths: tuple[tuple[str, float], ...]

    def __init__(self, lengths: Mapping[str, float] | None = None, /, **named: float) -> None:
        lengths = {**(lengths or {}), **named}
        if not lengths:
            raise InterventionError("Fading needs a length for a parent at least, as in Fading(thickness=1.0).")
        for parent, length in lengths.items():
            if not (_is_number(length) and length >= 0):
                raise InterventionError(
                    f"Fading({parent}={length!r}): the length must be a number >= 0, in {parent}'s unit."
                )
        object.__setattr__(self, "lengths", tuple((parent, float(length)) for parent, length in lengths.items()))

    def share(self, parents: Mapping[str, Variable], factual: Mapping[str, Tensor], pa: Mapping[str, Tensor]) -> Tensor:
        """The share of the residual that is kept, one number in [0, 1] a row.

        Args:
            parents: parent -> variable, of one mechanism.
            factual: The observed rows.
            pa: The parents' values in another world, rows in the same order.
        """
        shares = [
            _kept(_distance(parents[parent], factual[parent], pa[parent]), length)
            for parent, length in self.lengths
            if parent in parents
        ]
        return torch.stack(shares).prod(0) if shares else torch.ones(())

    def __str__(self) -> str:
        return ", ".join(f"{parent}={length:g}" for parent, length in self.lengths)

    def __repr__(self) -> str:
        return f"Fading({self})"


Residual = float | Fading
"""Scale of the residual noise of amortised mechanisms: a number (1 is abduction), or one that fades."""


def read_residual(residual: Any) -> Residual:
    """A number as a float, a `Fading` as it is.

    Raises:
        InterventionError: It is neither a `Fading` nor a finite number >= 0.

    Example:
        >>> read_residual(1), read_residual(Fading(thickness=1))
        (1.0, Fading(thickness=1))
    """
    if isinstance(residual, Fading):
        return residual
    if not (_is_number(residual) and residual >= 0):
        raise InterventionError(
            f"residual={residual!r}: expected a number >= 0 (1 is abduction), or how it fades, such as"
            " Fading(thickness=1.0)."
        )
    return float(residual)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def check_residual(residual: Residual, graph: CausalGraph, mechanisms: Mapping[str, Mechanism]) -> None:
    """Raise if a residual is not valid, or if its fading cannot have an effect.

    Raises:
        InterventionError: The residual is neither a number >= 0 nor a `Fading`; or it has a length for a node that is
            an image, or is not a parent of a mechanism with a residual.
    """
    residual = read_residual(residual)
    if not isinstance(residual, Fading):
        return
    parents = {p for node, mechanism in mechanisms.items() if mechanism.residual_sites for p in graph.parents(node)}
    parents -= {parent for parent in parents if isinstance(graph.variables[parent], Image)}
    strange = [parent for parent, _ in residual.lengths if parent not in parents]
    if strange:
        raise InterventionError(
            f"{residual!r}: {strange} cannot make a residual fade: only parents, other than images, of a node with"
            f" a residual can. These are {sorted(parents)}."
        )


def recorded(residual: Residual | None) -> float | str | None:
    """A residual as JSON holds it: a number, or the lengths over which it fades."""
    return str(residual) if isinstance(residual, Fading) else residual


def residual_label(residual: Residual | str) -> str:
    """A residual's name in tables and pictures: `residual 0`, `residual fading (thickness=1)`."""
    return f"residual {residual:g}" if isinstance(residual, int | float) else f"residual fading ({residual})"


def _distance(variable: Variable, factual: Tensor, value: Tensor) -> Tensor:
    """How far a parent has moved, one number a row; 1 for another category, 0 for a move within rounding."""
    if variable.discrete:
        return (value != factual).to(torch.get_default_dtype())
    moved = _size(value - factual)
    return torch.where(moved <= ROUNDING * _size(factual), 0.0, moved)


def _size(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1) if x.ndim > 1 else x.abs()


def _kept(distance: Tensor, length: float) -> Tensor:
    return (-distance / length).exp() if length else (distance == 0).to(distance.dtype)
