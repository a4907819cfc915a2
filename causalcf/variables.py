"""The variables of a causal model: what values a node can take, and in which unit.

A variable's *support* decides everything that would otherwise be configured by hand: how raw data
are read, which bijector carries the real line onto the support, which mechanism is the default,
and what counts as an impossible value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.distributions.transforms import ExpTransform, identity_transform
from torch.nn.functional import logsigmoid, one_hot

from causalcf.errors import DataError, GraphError, SupportError

__all__ = [
    "VARIABLES",
    "Boolean",
    "Categorical",
    "Image",
    "Interval",
    "Positive",
    "Real",
    "Table",
    "Variable",
    "Vector",
    "variable_from_json",
]


class IntervalTransform(Transform):
    """Bijection from the real line onto the open interval (low, high), by the logistic function.

    torch's `AffineTransform` after a sigmoid reports the whole line as its codomain; this one
    reports the interval, so that Pyro knows the support.
    """

    bijective = True
    sign = +1
    domain = constraints.real

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    @property
    def codomain(self) -> constraints.Constraint:  # type: ignore[override]
        return constraints.interval(self.low, self.high)

    def _call(self, x: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * torch.sigmoid(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.log(y - self.low) - torch.log(self.high - y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return np.log(self.high - self.low) + logsigmoid(x) + logsigmoid(-x)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalTransform) and (self.low, self.high) == (other.low, other.high)

    __hash__ = None  # type: ignore[assignment]


def as_array(name: str, values: Any) -> np.ndarray:
    """Raw values as an array; raises `DataError` if rows differ in length."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"'{name}' is not an array: {error} Give every row the same shape.") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor, without torch's warning for read-only memory, which data frames give."""
    native = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(native if native.flags.writeable else native.copy())


@dataclass(frozen=True)
class Variable(ABC):
    """What a node of the graph can be: its kind, shape, support and unit."""

    unit: str = field(default="", kw_only=True)

    discrete: ClassVar[bool] = False
    """Whether the values are codes (long or bool) rather than numbers."""

    @property
    def kind(self) -> str:
        """The name of the class, as written in graph files."""
        return type(self).__name__

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one value: `()`, `(d,)` or `(c, h, w)`."""
        return ()

    @property
    def numel(self) -> int:
        """How many numbers one value has."""
        return prod(self.event_shape)

    @property
    @abstractmethod
    def support(self) -> str:
        """The support in words, for error messages."""

    @property
    def constraint(self) -> constraints.Constraint:
        """The support as torch knows it."""
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def bijector(self) -> Transform:
        """Element-wise bijection from the real line onto the support."""
        return identity_transform

    @property
    def num_features(self) -> int:
        """Width of `features`: how many numbers represent the value to a network."""
        return self.numel

    def features(self, x: Tensor) -> Tensor:
        """The value as network input, (*batch, num_features), not yet standardised."""
        return x.reshape(*x.shape[: x.ndim - len(self.event_shape)], -1)

    def outside(self, x: Tensor) -> Tensor:
        """Which rows lie outside the support, shape (N,), bool."""
        return torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)

    def project(self, x: Tensor) -> Tensor:
        """The nearest value inside the support."""
        return x

    def read(self, name: str, values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Raw values as a checked tensor of shape (N, *event_shape).

        Args:
            name: The node, for error messages.
            values: Tensor, array, series or sequence with rows first.
            dtype: Floating type for numbers; codes become long, booleans bool.
            device: Where the tensor goes.

        Raises:
            DataError: Wrong shape or type, or missing values.
            SupportError: Values outside the support.
        """
        x = self._as_tensor(name, values).to(device)
        if x.shape[1:] != self.event_shape or x.ndim == 0:
            expected = ", ".join(["N", *map(str, self.event_shape)])
            raise DataError(f"'{name}' is {self.article}: expected shape ({expected}), got {tuple(x.shape)}.")
        x = self._cast(name, x, dtype)
        self.check(name, x)
        return x

    def check(self, name: str, x: Tensor, remedy: str = "Correct or drop these rows.") -> None:
        """Raise if any row is not finite or lies outside the support."""
        if x.is_floating_point() and not torch.isfinite(x).all():
            rows = int((~torch.isfinite(x)).reshape(x.shape[0], -1).any(1).sum())
            raise DataError(
                f"'{name}' has NaN or infinite values in {rows} of {x.shape[0]} rows. Drop or impute these rows first."
            )
        outside = self.outside(x)
        if outside.any():
            worst = x[outside].reshape(int(outside.sum()), -1)[0]
            shown = worst[(worst - self.project(worst)).abs().argmax()] if worst.numel() > 1 else worst[0]
            raise SupportError(
                f"'{name}' must be {self.support}: {int(outside.sum())} of {x.shape[0]} rows are not"
                f" (for example {shown.item():g}). {remedy}"
            )

    @property
    def article(self) -> str:
        """The kind with its article, as in 'an Image'."""
        return f"{'an' if self.kind[0] in 'AEIOU' else 'a'} {self.kind}"

    def _as_tensor(self, name: str, values: Any) -> Tensor:
        if isinstance(values, Tensor):
            return values
        array = as_array(name, values)
        if array.dtype.kind not in "fiub":
            raise DataError(
                f"'{name}' is {self.article}: expected numbers, got {array.dtype} values."
                " Convert them, and drop or impute missing ones first."
            )
        return as_tensor(array)

    def _cast(self, name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(dtype)

    def to_json(self) -> dict[str, Any]:
        """The fields a graph file holds for this variable."""
        return {"kind": self.kind, **({"unit": self.unit} if self.unit else {})}


@dataclass(frozen=True)
class Real(Variable):
    """A real number.

    Example:
        >>> Real(unit="kg").support
        'a real number'
    """

    @property
    def support(self) -> str:
        return "a real number"


@dataclass(frozen=True)
class Positive(Variable):
    """A number above zero, modelled on the log scale.

    Example:
        >>> Positive(unit="px").bijector(torch.zeros(1))
        tensor([1.])
    """

    @property
    def support(self) -> str:
        return "above 0"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.positive

    @property
    def bijector(self) -> Transform:
        return ExpTransform()

    def outside(self, x: Tensor) -> Tensor:
        return x <= 0

    def project(self, x: Tensor) -> Tensor:
        return x.clamp_min(torch.finfo(x.dtype).tiny)


@dataclass(frozen=True)
class Interval(Variable):
    """A number in [low, high], modelled on the logit scale.

    Example:
        >>> Interval(64, 255).bijector(torch.zeros(1))
        tensor([159.5000])
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise GraphError(f"An Interval needs low < high, got low={self.low}, high={self.high}.")

    @property
    def support(self) -> str:
        return f"in [{self.low:g}, {self.high:g}]"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.high)

    @property
    def bijector(self) -> Transform:
        return IntervalTransform(float(self.low), float(self.high))

    def outside(self, x: Tensor) -> Tensor:
        return (x < self.low) | (x > self.high)

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"low": self.low, "high": self.high}


@dataclass(frozen=True)
class Boolean(Variable):
    """True or false; reads bool, and numbers that are exactly 0 or 1.

    Example:
        >>> Boolean().read("smiling", [0, 1, 1], torch.float32, torch.device("cpu"))
        tensor([False,  True,  True])
    """

    discrete: ClassVar[bool] = True

    @property
    def support(self) -> str:
        return "True or False (or 0 and 1)"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.boolean

    def _cast(self, name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
        if x.dtype == torch.bool:
            return x
        wrong = (x != 0) & (x != 1)
        if wrong.any():
            raise SupportError(
                f"'{name}' must be {self.support}: {int(wrong.sum())} of {x.shape[0]} rows are not"
                f" (for example {x[wrong][0].item():g}). Recode these rows."
            )
        return x != 0


@dataclass(frozen=True)
class Categorical(Variable):
    """One of k categories, given by their number or their names; held as codes 0..k-1 (long).

    Text is read as names and numbers as codes. Where names are numbers other than their codes, as "1", "2", "3" are,
    plain numbers could be either and are refused; a tensor always holds codes.

    Example:
        >>> colour = Categorical(["blue", "red"])
        >>> colour.read("colour", ["red", "blue"], torch.float32, torch.device("cpu"))
        tensor([1, 0])
        >>> Categorical(3).categories
        ('0', '1', '2')
    """

    categories: tuple[str, ...]
    discrete: ClassVar[bool] = True

    def __init__(self, categories: int | Sequence[str], *, unit: str = "") -> None:
        names = range(categories) if isinstance(categories, int) else categories
        object.__setattr__(self, "categories", tuple(str(name) for name in names))
        object.__setattr__(self, "unit", unit)
        if len(self.categories) < 2 or len(set(self.categories)) < len(self.categories):
            raise GraphError(f"A Categorical needs two or more different categories, got {self.categories}.")

    @property
    def k(self) -> int:
        """How many categories there are."""
        return len(self.categories)

    @property
    def support(self) -> str:
        return f"one of the categories {list(self.categories)} or their codes 0..{self.k - 1}"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.k - 1)

    @property
    def num_features(self) -> int:
        return self.k

    def features(self, x: Tensor) -> Tensor:
        return one_hot(x, self.k)

    def outside(self, x: Tensor) -> Tensor:
        return (x < 0) | (x >= self.k)

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(0, self.k - 1)

    def code(self, name: str, category: str) -> int:
        """The code of a category name; raises `SupportError` if there is none."""
        if category not in self.categories:
            raise SupportError(f"'{name}' has no category '{category}'. It has {list(self.categories)}.")
        return self.categories.index(category)

    def require_codes(self, name: str) -> None:
        """Raise `DataError` if numbers could be names as well as codes, as with the names "1", "2", "3"."""
        if any(_is_number(label) and float(label) != code for code, label in enumerate(self.categories)):
            raise DataError(
                f"'{name}' got numbers, which could be its categories {list(self.categories)} or their codes"
                f" 0..{self.k - 1}. Give categories as text, or codes as a torch tensor."
            )

    def _as_tensor(self, name: str, values: Any) -> Tensor:
        if isinstance(values, Tensor):
            return values
        array = as_array(name, values)
        if array.dtype.kind in "fiub":
            self.require_codes(name)
            return as_tensor(array)
        labels, inverse = np.unique(array.astype(str), return_inverse=True)
        codes = np.array([self.code(name, label) for label in labels], dtype=np.int64)
        return torch.from_numpy(codes[inverse].reshape(array.shape))

    def _cast(self, name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
        codes = x.long()
        if x.is_floating_point() and not torch.equal(codes.to(x.dtype), x):
            raise SupportError(f"'{name}' must be {self.support}; it has fractional or missing values.")
        return codes

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"categories": list(self.categories)}


@dataclass(frozen=True)
class Vector(Variable):
    """A vector of d real numbers, modelled jointly.

    Example:
        >>> Vector(3).event_shape
        (3,)
    """

    d: int

    def __post_init__(self) -> None:
        if self.d < 1:
            raise GraphError(f"A Vector needs d of at least 1, got d={self.d}.")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.d,)

    @property
    def support(self) -> str:
        return f"a vector of {self.d} real numbers"

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"d": self.d}


@dataclass(frozen=True)
class Image(Variable):
    """An image with values in [0, 1], channels first.

    Example:
        >>> Image(1, 32, 32).event_shape
        (1, 32, 32)
    """

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.event_shape) < 1:
            raise GraphError(f"An Image needs channels, height and width of at least 1, got {self.event_shape}.")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    @property
    def support(self) -> str:
        return "an image with values in [0, 1]"

    @property
    def constraint(self) -> constraints.Constraint:
        return constraints.independent(constraints.unit_interval, 3)

    def outside(self, x: Tensor) -> Tensor:
        low, high = x.flatten(1).aminmax(dim=1)
        return (low < 0) | (high > 1)

    def project(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    def _as_tensor(self, name: str, values: Any) -> Tensor:
        x = super()._as_tensor(name, values)
        if x.dtype == torch.uint8:
            raise DataError(f"'{name}' holds bytes (uint8); an Image holds floats in [0, 1]. Divide by 255.")
        return x

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"shape": list(self.event_shape)}


@dataclass(frozen=True)
class Table(Variable):
    """A row of named columns as one value: numbers in their unit, booleans 0 or 1, categories one-hot.

    One tensor (N, F) with a number for every feature, so that networks read it and gradients reach it; `pack` makes it
    of columns and `unpack` gives them back. Values between categories are projected onto the likeliest.

    Args:
        columns: name -> a variable of one number, boolean or category.

    Raises:
        GraphError: There are no columns, or one is no scalar.

    Example:
        >>> table = Table({"age": Positive(unit="years"), "sex": Categorical(["Female", "Male"])})
        >>> x = table.pack({"age": [30.0, 50.0], "sex": ["Male", "Female"]})
        >>> x
        tensor([[30.,  0.,  1.],
                [50.,  1.,  0.]])
        >>> table.unpack(torch.tensor([[40.0, 0.3, 0.7]]))["sex"]
        tensor([1])
    """

    columns: tuple[tuple[str, Variable], ...]

    def __init__(self, columns: Mapping[str, Variable], *, unit: str = "") -> None:
        object.__setattr__(self, "columns", tuple(columns.items()))
        object.__setattr__(self, "unit", unit)
        unfit = [name for name, variable in self.columns if variable.event_shape]
        if unfit or not self.columns:
            raise GraphError(f"A Table needs one or more columns of one number or category each, {unfit} are not.")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (sum(variable.num_features for _, variable in self.columns),)

    @property
    def support(self) -> str:
        return f"a row of the columns {[name for name, _ in self.columns]}, each in its support"

    @property
    def widths(self) -> list[int]:
        """Features of each column."""
        return [variable.num_features for _, variable in self.columns]

    @property
    def numbers(self) -> Tensor:
        """Which features are numbers in a unit, (F,) bool; the others are shares of categories."""
        return torch.tensor([not v.discrete for _, v in self.columns for _ in range(v.num_features)])

    def pack(self, columns: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> Tensor:
        """Columns as one tensor, (N, F); raises as `read` does."""
        lacks = [name for name, _ in self.columns if name not in columns]
        if lacks:
            raise DataError(f"The columns {lacks} are missing. Give all of {[name for name, _ in self.columns]}.")
        parts = []
        for name, variable in self.columns:
            device = columns[name].device if isinstance(columns[name], Tensor) else torch.device("cpu")
            value = variable.read(name, columns[name], dtype, device)
            parts.append(variable.features(value).to(dtype).reshape(len(value), -1))
        return torch.cat(parts, -1)

    def unpack(self, x: Tensor) -> dict[str, Tensor]:
        """name -> values (N,): numbers, booleans, category codes."""
        parts = x.split(self.widths, -1)
        return {name: _one(variable, part) for (name, variable), part in zip(self.columns, parts, strict=True)}

    def outside(self, x: Tensor) -> Tensor:
        parts = zip(self.columns, x.split(self.widths, -1), strict=True)
        wrong = [
            (part != _features(variable, part)).any(-1) if variable.discrete else variable.outside(part[:, 0])
            for (_, variable), part in parts
        ]
        return torch.stack(wrong).any(0)

    def project(self, x: Tensor) -> Tensor:
        parts = zip(self.columns, x.split(self.widths, -1), strict=True)
        return torch.cat([_features(variable, part) for (_, variable), part in parts], -1)

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"columns": {name: variable.to_json() for name, variable in self.columns}}


def _one(variable: Variable, features: Tensor) -> Tensor:
    """A column's values from its features (N, k)."""
    if isinstance(variable, Categorical):
        return features.argmax(-1)
    return features[..., 0] > 0.5 if variable.discrete else features[..., 0]


def _features(variable: Variable, features: Tensor) -> Tensor:
    """The nearest features, (N, k), that a column can have."""
    value = _one(variable, features)
    value = value if variable.discrete else variable.project(value)
    return variable.features(value).to(features.dtype).reshape(features.shape)


VARIABLES: dict[str, type[Variable]] = {
    kind.__name__: kind for kind in (Real, Positive, Interval, Boolean, Categorical, Vector, Image, Table)
}
"""The kinds a graph file may name."""


def variable_from_json(node: str, fields: Mapping[str, Any]) -> Variable:
    """Build the variable a graph file describes; the inverse of `Variable.to_json`.

    Raises:
        GraphError: The kind is unknown, or fields are missing or unknown.

    Example:
        >>> variable_from_json("t", {"kind": "Positive", "unit": "px"})
        Positive(unit='px')
    """
    arguments = {key: value for key, value in fields.items() if key != "kind"}
    kind = fields.get("kind")
    if kind not in VARIABLES:
        raise GraphError(f"Node '{node}' has the unknown kind {kind!r}. Known kinds: {list(VARIABLES)}.")
    if kind == "Image":
        shape = arguments.pop("shape", None)
        if not isinstance(shape, list) or len(shape) != 3:
            raise GraphError(
                f"Node '{node}' is an Image: expected \"shape\": [channels, height, width], got {shape!r}."
            )
        arguments |= dict(zip(("channels", "height", "width"), shape, strict=True))
    if kind == "Table":
        columns = arguments.get("columns")
        if not isinstance(columns, Mapping):
            raise GraphError(f"Node '{node}' is a Table: expected \"columns\": {{name: variable}}, got {columns!r}.")
        arguments["columns"] = {name: variable_from_json(f"{node}.{name}", column) for name, column in columns.items()}
    try:
        return VARIABLES[kind](**arguments)
    except (TypeError, GraphError) as error:
        raise GraphError(f"Node '{node}' of kind {kind}: {str(error).rstrip('.')}.") from None
