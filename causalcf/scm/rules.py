"""How a query is carried out: its rules, read and checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from causalcf.core.errors import InterventionError
from causalcf.graph import CausalGraph
from causalcf.mechanisms import Mechanism
from causalcf.scm.residual import Residual, check_residual, read_residual

__all__ = ["Abduction", "OutOfSupport", "Recompute", "Rules", "is_sampled"]

Abduction = Literal["mean", "sample"]
Recompute = Literal["descendants", "all"]
OutOfSupport = Literal["raise", "clip"]


@dataclass(frozen=True)
class Rules:
    """The rules of a query.

    Args:
        recompute: Run the "descendants" of the acted nodes, the rest as observed bit for bit; or "all" mechanisms.
        residual: Scale of the residual noise of amortised mechanisms; 1 is abduction, another number is not,
            `Fading` lets go of it as the parents move.
        out_of_support: "raise" or "clip" where a generated action leaves the support.
        project: Project outputs of mechanisms onto the support; turn off to differentiate.

    Raises:
        InterventionError: A rule has a value that is not among its choices.

    Example:
        >>> Rules(residual=0).residual
        0.0
    """

    recompute: Recompute = "descendants"
    residual: Residual = 1.0
    out_of_support: OutOfSupport = "raise"
    project: bool = True

    def __post_init__(self) -> None:
        for name, choices in (("recompute", get_args(Recompute)), ("out_of_support", get_args(OutOfSupport))):
            if getattr(self, name) not in choices:
                raise InterventionError(f"{name}={getattr(self, name)!r}: choose one of {list(choices)}.")
        object.__setattr__(self, "residual", read_residual(self.residual))

    def check(self, graph: CausalGraph, mechanisms: Mapping[str, Mechanism]) -> None:
        """Raise if a residual fades with a node that is not a parent of a node with a residual."""
        check_residual(self.residual, graph, mechanisms)


def is_sampled(abduction: str) -> bool:
    """Whether amortised latents are drawn instead of taken at their mean.

    Raises:
        InterventionError: It is neither "mean" nor "sample".
    """
    if abduction not in get_args(Abduction):
        raise InterventionError(f'abduction must be "mean" or "sample", got {abduction!r}.')
    return abduction == "sample"
