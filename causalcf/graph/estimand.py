"""Estimands: what to compute from the law of the observed nodes, as formulas that print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Expression", "Product", "Ratio", "Seen", "Sum", "product", "ratio", "summed"]


@dataclass(frozen=True)
class Expression:
    """A formula over the law of the observed nodes. It prints; sums over a node that has a value already are primed."""

    def free(self) -> frozenset[str]:
        """The nodes whose values the formula depends on."""
        raise NotImplementedError

    def words(self, names: Mapping[str, str]) -> str:
        """The formula as text, with each node called by its name here.

        Args:
            names: node -> how it is written; nodes that are not in it are written as they are.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return self.words({node: node for node in self.free()})


@dataclass(frozen=True)
class Seen(Expression):
    """P(node | given), as the data show it.

    Args:
        node: Whose law.
        given: The nodes conditioned on, in topological order.
    """

    node: str
    given: tuple[str, ...] = ()

    def free(self) -> frozenset[str]:
        return frozenset((self.node, *self.given))

    def words(self, names: Mapping[str, str]) -> str:
        given = ", ".join(names.get(node, node) for node in self.given)
        return f"P({names.get(self.node, self.node)}{' | ' if given else ''}{given})"


@dataclass(frozen=True)
class Product(Expression):
    """Factors, multiplied.

    Args:
        factors: None of them for 1.
    """

    factors: tuple[Expression, ...]

    def free(self) -> frozenset[str]:
        return frozenset().union(*(factor.free() for factor in self.factors))

    def words(self, names: Mapping[str, str]) -> str:
        last = len(self.factors) - 1
        parts = [
            f"({text})" if isinstance(factor, Ratio) or (isinstance(factor, Sum) and i < last) else text
            for i, factor in enumerate(self.factors)
            for text in [factor.words(names)]
        ]
        return " ".join(parts) or "1"


@dataclass(frozen=True)
class Sum(Expression):
    """A formula summed, or integrated, over all values of some nodes.

    Args:
        over: The nodes.
        body: The formula.
    """

    over: tuple[str, ...]
    body: Expression

    def free(self) -> frozenset[str]:
        return self.body.free() - set(self.over)

    def words(self, names: Mapping[str, str]) -> str:
        taken, inner = set(names.values()), dict(names)
        for node in self.over:
            name = node
            while name in taken:
                name += "'"
            taken.add(name)
            inner[node] = name
        return f"Σ_{{{', '.join(inner[node] for node in self.over)}}} {self.body.words(inner)}"


@dataclass(frozen=True)
class Ratio(Expression):
    """One formula over another.

    Args:
        top: The numerator.
        bottom: The denominator.
    """

    top: Expression
    bottom: Expression

    def free(self) -> frozenset[str]:
        return self.top.free() | self.bottom.free()

    def words(self, names: Mapping[str, str]) -> str:
        return f"[{self.top.words(names)}] / [{self.bottom.words(names)}]"


def product(factors: Iterable[Expression]) -> Expression:
    """The product of formulas; products in it are taken apart."""
    flat = [f for factor in factors for f in (factor.factors if isinstance(factor, Product) else (factor,))]
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def summed(over: Iterable[str], body: Expression) -> Expression:
    """A formula summed over nodes. A law summed over all values of its own node is 1, so such a factor goes.

    Example:
        >>> print(summed(["y"], product([Seen("y", ("x",)), Seen("x")])))
        P(x)
    """
    left = [node for node in over if node in body.free()]
    factors: list[Expression] = []
    for part in body.factors if isinstance(body, Product) else (body,):
        # The sum of a sum is one sum, where that gives no node two meanings.
        others = [other for other in (body.factors if isinstance(body, Product) else ()) if other is not part]
        taken = set(left).union(*(other.free() for other in others))
        if isinstance(part, Sum) and part.free() & set(left) and not taken & set(part.over):
            left += part.over
            part = part.body
        factors += part.factors if isinstance(part, Product) else [part]
    while True:
        ends = [
            (node, factor)
            for node in left
            for factor in factors
            if isinstance(factor, Seen)
            and factor.node == node
            and not any(node in other.free() for other in factors if other is not factor)
        ]
        if not ends:
            break
        node, factor = ends[0]
        left.remove(node)
        factors = [other for other in factors if other is not factor]
    outside = [factor for factor in factors if not factor.free() & set(left)]
    inside = [factor for factor in factors if factor.free() & set(left)]
    if not left:
        return product(factors)
    return product([*outside, Sum(tuple(left), product(inside))])


def ratio(top: Expression, bottom: Expression) -> Expression:
    """One formula over another, factors that both have left out."""
    above = list(top.factors) if isinstance(top, Product) else [top]
    below = list(bottom.factors) if isinstance(bottom, Product) else [bottom]
    for factor in list(above):
        if factor in below and len(above) > 1:
            above.remove(factor)
            below.remove(factor)
    return Ratio(product(above), product(below)) if below else product(above)
