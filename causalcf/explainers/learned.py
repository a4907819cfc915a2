"""Training rows of learned explainers, with the classifier's classes, and pairs of classes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from causalcf.core.errors import DataError, ExplanationError, MechanismError
from causalcf.core.surroundings import callers_line
from causalcf.data import Batch, columns
from causalcf.explainers.protocol import Explaining
from causalcf.variables.raw import read_raw

__all__ = ["Pairs", "Rows", "coded", "paired"]


@dataclass(frozen=True)
class Rows:
    """Training rows. Indexing selects some.

    Args:
        x: (N, *event_shape) values of the explained node.
        pa: Its parents'.
        label: (N,) classes that the classifier gives.
        code: (N, D) abducted codes, where the explainer acts on latents; otherwise x.
    """

    x: Tensor
    pa: dict[str, Tensor]
    label: Tensor
    code: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: Tensor) -> Rows:
        pa = {name: value[rows] for name, value in self.pa.items()}
        return Rows(self.x[rows], pa, self.label[rows], self.code[rows])

    @classmethod
    @torch.no_grad()
    def observed(cls, explainer: Explaining, data: Any) -> Rows:
        """Rows of a data set, checked as the model reads them.

        Raises:
            DataError: Columns are missing, or there are no rows.
        """
        values, _ = columns(data)
        scm = explainer.scm
        names = [explainer.node, *scm.graph.parents(explainer.node)]
        lacks = [name for name in names if name not in values]
        if lacks:
            raise DataError(f"The training data lack {lacks}. {type(explainer).__name__} is fitted on {names}.")
        x, *parents = (scm.variables[name].read(name, values[name], scm.dtype, scm.device) for name in names)
        if not len(x):
            raise DataError("The training data have no rows.")
        pa = dict(zip(names[1:], parents, strict=True))
        return cls._labelled(explainer, x, pa, None if explainer.acts_on == "latents" else x)

    @classmethod
    @torch.no_grad()
    def drawn(cls, explainer: Explaining, n: int) -> Rows:
        """Rows drawn from the model, with the codes they were made of."""
        drawn = explainer.scm.sample(n)
        pa, node = explainer.parents_of(drawn), explainer.node
        code = explainer.joined(explainer.mechanism.sample_noise(n))
        codes = Batch({**pa, node: code})
        x = codes.walk(explainer.batch_size, lambda part: explainer.decode(part[node], explainer.parents_of(part)))
        return cls._labelled(explainer, explainer.mechanism.variable.project(x), pa, code)

    def require_images(self, method: str) -> None:
        """Check that the values are images.

        Raises:
            MechanismError: The node holds something else.
        """
        if self.x.ndim != 4:
            raise MechanismError(f"{method} works on images (N, C, H, W), and got {tuple(self.x.shape)}.")

    @classmethod
    def _labelled(cls, explainer: Explaining, x: Tensor, pa: dict[str, Tensor], code: Tensor | None) -> Rows:
        explained, node, size = explainer.explained, explainer.node, explainer.batch_size
        explained.check(node, x[:size])
        rows = Batch({**pa, node: x})
        label = rows.walk(size, lambda part: explained.predicted(explained.members(part[node])))
        if code is None:
            code = rows.walk(size, lambda part: explainer.encode(part[node], explainer.parents_of(part)))
        return cls(x, pa, label, code)


@dataclass(frozen=True)
class Pairs:
    """Which class may be asked to turn into which.

    Args:
        table: (K, K) number of the ordered pair source (row), target (column); -1 where there is none.
    """

    table: Tensor

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]] | None, classes: int, device: torch.device) -> Pairs:
        """Both directions of each pair, or of all pairs.

        Raises:
            ExplanationError: A pair names a class that does not exist, or one class twice.
        """
        if pairs is None:
            return cls(torch.arange(classes**2, device=device).view(classes, classes).fill_diagonal_(-1))
        table = torch.full((classes, classes), -1)
        for count, (a, b) in enumerate(pairs):
            if not (0 <= a < classes and 0 <= b < classes and a != b):
                raise ExplanationError(f"The pair {(a, b)} names no two of the classes 0..{classes - 1}.")
            table[a, b], table[b, a] = 2 * count, 2 * count + 1
        return cls(table.to(device))

    def concerned(self, rows: Rows) -> Rows:
        """The rows of classes that are in a pair; warns of classes that the classifier never gives.

        Raises:
            ExplanationError: There are no rows of any class in a pair.
        """
        counts = torch.bincount(rows.label, minlength=len(self.table))
        paired = (self.table >= 0).any(1)
        empty = torch.nonzero(paired & (counts == 0))[:, 0].tolist()
        if not bool(counts[paired].any()):
            raise ExplanationError(f"The classifier puts no training row into any of the classes {empty}.")
        if empty:
            warnings.warn(
                f"The classifier puts no training row into the classes {empty}: it may never have seen them. Do not"
                " expect explanations towards them to be reached, or to look like anything.",
                stacklevel=callers_line(),
            )
        return rows[torch.nonzero(paired[rows.label])[:, 0]]

    def draw(self, label: Tensor) -> Tensor:
        """A target for each row, (N,), among those its class has."""
        return (self.table[label] >= 0).float().multinomial(1)[:, 0]

    def require(self, source: Tensor, target: Tensor, method: str) -> None:
        """Check that each row's pair of classes was learned.

        Raises:
            ExplanationError: Names the pairs.
        """
        lacking = self.table[source, target] < 0
        if bool(lacking.any()):
            asked = torch.stack([source, target], 1)[lacking].unique(dim=0).tolist()
            raise ExplanationError(
                f"{method} has learned nothing about {asked} (predicted class, target), asked of {int(lacking.sum())}"
                f" rows. Make it for these pairs, pairs=[...], or for all, pairs=None; then fit it."
            )


def paired(explainer: Explaining, pairs: Sequence[tuple[int, int]] | None, everything: Rows) -> tuple[Pairs, Rows]:
    """The pairs of classes that a method learns, and the training images of these classes.

    Raises:
        ExplanationError: A pair names no two classes, or no row is of a class in a pair.
        MechanismError: The node holds no images.
    """
    learned = Pairs.of(pairs, explainer.explained.classes, explainer.scm.device)
    rows = learned.concerned(everything)
    rows.require_images(type(explainer).__name__)
    return learned, rows


def coded(explainer: Explaining, data: Any, label: str | None = None) -> tuple[Tensor, Tensor]:
    """Codes (N, D) of training rows, and their classes (N,): a column of the data, or the classifier's.

    Raises:
        DataError: The data have no such column, or it holds no classes.
    """
    values, _ = columns(data)
    if label is not None and label not in values:
        raise DataError(f"The training data have no column '{label}'. They have {list(values)}.")
    classes = None if label is None else _class_codes(explainer, label, values[label])
    scm, node, explained = explainer.scm, explainer.node, explainer.explained
    rows = scm.read({name: value for name, value in values.items() if name in scm.graph})
    codes, predicted = [], []
    for number, part in enumerate(rows.blocks(explainer.batch_size)):
        noise = scm.abduct(part, seed=number * explainer.batch_size)
        codes.append(explainer.joined(noise.of(node, explainer.mechanism)))
        if classes is None:
            predicted.append(explained.predicted(explained.check(node, part[node])))
    return torch.cat(codes), torch.cat(predicted) if classes is None else classes


def _class_codes(explainer: Explaining, label: str, values: Any) -> Tensor:
    """Class codes (N,) of a column: as the variable reads it or, without one, whole numbers."""
    scm = explainer.scm
    if explainer.variable is not None:
        return explainer.variable.read(label, values, scm.dtype, scm.device).long()
    raw = read_raw(label, values)
    codes = raw.numbers(label, "a column").to(scm.device) if raw.kind == "numbers" else torch.full((1,), -1)
    if bool(((codes == codes.long()) & (codes >= 0)).all()):
        return codes.long()
    raise DataError(
        f"The column '{label}' holds no class codes 0, 1, 2, ...: it begins with {values[:3]}. Say which categories"
        f" it has: {type(explainer).__name__}(..., variable=ccf.Categorical([...]))."
    )
