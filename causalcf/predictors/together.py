"""Several predictors: ensembles of one node, and one for each of some nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from causalcf.core.errors import DataError, GraphError, UnknownNodeError
from causalcf.metrics.features import evaluating
from causalcf.predictors.network import Predictor
from causalcf.predictors.score import Score
from causalcf.variables import Variable
from causalcf.variables.raw import read_raw

__all__ = ["Ensemble", "Predictors"]


class Ensemble(nn.Module):
    """Several predictors of one node, judged together: the mean, or the mean of probabilities.

    Args:
        members: Predictors with the same target, image and given nodes.

    Raises:
        DataError: There are none, or they differ in their targets or their inputs.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        super().__init__()
        if len({member.name for member in members}) != 1:
            raise DataError(f"An ensemble needs predictors of one law, got {[member.name for member in members]}.")
        self.members = nn.ModuleList(members)
        first = members[0]
        self.target, self.variable, self.image, self.node = first.target, first.variable, first.image, first.node
        self.given, self.classes, self.name = first.given, first.classes, first.name

    @property
    def signature(self) -> str:
        """Its law and the members' digests."""
        return f"{self.name}#{'+'.join(member.signature.rsplit('#', 1)[1] for member in self.members)}"  # type: ignore[operator]

    @property
    def score(self) -> Score | None:
        """An ensemble's error is for `measure` to find."""
        return None

    @property
    def device(self) -> torch.device:
        """Where the members live."""
        return self.members[0].device  # type: ignore[return-value]

    def pooled(self, image: Tensor) -> Tensor:
        """Each member's pooled images, side by side, (N, d); `read` and `features` take it in their place."""
        return torch.cat([member.pooled(image) for member in self.members], 1)  # type: ignore[operator]

    def features(self, image: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """The members' last hidden layers, side by side, (N, members x hidden)."""
        shares = zip(self.members, self._shares(image), strict=True)
        return torch.cat([member.features(share, given) for member, share in shares], 1)  # type: ignore[operator]

    def _shares(self, image: Tensor) -> Sequence[Tensor]:
        """For each member its input: the images, or their pooled features."""
        if image.ndim > 2:
            return [image] * len(self.members)
        return image.split([member.num_pooled for member in self.members], 1)  # type: ignore[misc]

    @torch.no_grad()
    def read(self, data: Mapping[str, Any]) -> Tensor:
        """The target as read off the images, in its unit, or its code; shape (N,)."""
        data = {name: read_raw(name, data[name]).numbers(name, "a column") for name in (self.node, *self.given)}
        rows = [{**data, self.node: share} for share in self._shares(data[self.node])]
        members = zip(self.members, rows, strict=True)
        if not self.classes:
            return torch.stack([member.read(row) for member, row in members]).mean(0)  # type: ignore[operator]
        votes = []
        for member, row in members:
            with evaluating(member):
                given = {name: row[name] for name in self.given}
                votes.append(member.probabilities(row[self.node], given))  # type: ignore[operator]
        code = torch.stack(votes).mean(0).argmax(1)
        return code.bool() if self.variable.kind == "Boolean" else code

    def loss(self, x: Tensor, pa: Mapping[str, Tensor]) -> Tensor:
        """The members' mean loss on targets x (N,) and pa, the images and the given parents."""
        return torch.stack([member.loss(x, pa) for member in self.members]).mean()  # type: ignore[operator]

    @torch.no_grad()
    def spread(self, data: Mapping[str, Tensor]) -> Tensor:
        """How far the members disagree, (N,): standard deviation, or share not voting with the mode."""
        votes = torch.stack([member.read(data) for member in self.members])  # type: ignore[operator]
        if not self.classes:
            return votes.std(0)
        return (votes != votes.mode(0).values).double().mean(0)


class Predictors(Mapping[str, Predictor]):
    """One predictor for each of some nodes.

    Args:
        members: Predictors, each of another node.

    Example:
        >>> from causalcf.variables import Image, Real
        >>> judges = Predictors([Predictor("t", Real(), Image(1, 8, 8), widths=(4,), hidden=4)])
        >>> list(judges)
        ['t']
    """

    def __init__(self, members: Sequence[Predictor | Ensemble]) -> None:
        self._members = {member.target: member for member in members}
        if len(self._members) != len(members):
            raise DataError("Two predictors have the same target. Put them into one Ensemble.")

    def __getitem__(self, node: str) -> Predictor:
        if node not in self._members:
            raise UnknownNodeError(f"There is no predictor of '{node}'. There are: {list(self._members)}.")
        return self._members[node]  # type: ignore[return-value]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, node: object) -> bool:
        return node in self._members

    @property
    def members(self) -> tuple[Predictor, ...]:
        """Every single predictor, those in ensembles too."""
        found: list[Predictor] = []
        for member in self._members.values():
            found += list(member.members) if isinstance(member, Ensemble) else [member]  # type: ignore[arg-type]
        return tuple(found)

    @property
    def signatures(self) -> tuple[str, ...]:
        """Names of all single predictors: their laws and digests of their weights."""
        return tuple(member.signature for member in self.members)

    def check(self, variables: Mapping[str, Variable]) -> None:
        """Raise `GraphError` unless every predictor is one for these variables."""
        for member in self._members.values():
            wanted = {member.target: member.variable, member.node: member.image, **member.given}
            lacks = [name for name in wanted if name not in variables]
            if lacks:
                raise GraphError(
                    f"{member.name} is for another graph: {lacks} are not among {list(variables)}."
                    " Train predictors for this graph: causalcf predictors."
                )
            differ = [
                f"'{name}' was {v.support} and is {variables[name].support}"
                for name, v in wanted.items()
                if not _alike(v, variables[name])
            ]
            if differ:
                raise GraphError(f"{member.name} is for another graph: {'; '.join(differ)}.")

    def __repr__(self) -> str:
        return f"Predictors({', '.join(f'{m.name}: {m.score}' for m in self._members.values())})"


def _alike(a: Variable, b: Variable) -> bool:
    """Whether a predictor of the one reads the other: same kind and shape, same number of classes."""
    return a.kind == b.kind and a.event_shape == b.event_shape and a.num_features == b.num_features
