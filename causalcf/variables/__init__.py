"""The variables of a causal model: what values a node can take, and in which unit.

A variable's *support* decides everything that would otherwise be configured by hand: how raw data
are read, which bijector carries the real line onto the support, which mechanism is the default,
and what counts as an impossible value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causalcf.core.errors import GraphError
from causalcf.core.signatures import checked
from causalcf.variables.base import Variable
from causalcf.variables.codes import Boolean, Categorical
from causalcf.variables.count import Count
from causalcf.variables.fields import check_fields
from causalcf.variables.image import Image
from causalcf.variables.ordinal import Ordinal
from causalcf.variables.raw import as_array, as_tensor
from causalcf.variables.scalar import Interval, Positive, Real, Vector
from causalcf.variables.table import Table

__all__ = [
    "VARIABLES",
    "Boolean",
    "Categorical",
    "Count",
    "Image",
    "Interval",
    "Ordinal",
    "Positive",
    "Real",
    "Table",
    "Variable",
    "Vector",
    "as_array",
    "as_tensor",
    "variable_from_json",
]

VARIABLES: dict[str, type[Variable]] = {
    kind.__name__: kind
    for kind in (
        Real,
        Positive,
        Interval,
        Count,
        Boolean,
        Categorical,
        Ordinal,
        Vector,
        Image,
        Table,
    )
}
"""The kinds a graph file may name."""
for _kind in VARIABLES.values():
    checked(_kind)


def variable_from_json(node: str, fields: Mapping[str, Any]) -> Variable:
    """Build the variable a graph file describes; the inverse of `Variable.to_json`.

    Raises:
        GraphError: The kind is unknown, or fields are missing or unknown.

    Example:
        >>> variable_from_json("t", {"kind": "Positive", "unit": "px"})
        Positive(unit='px')
    """
    check_fields(node, fields)
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
        if any(not isinstance(column, Mapping) for column in columns.values()):
            raise GraphError(f"Node '{node}' is a Table: every column is an object with a \"kind\".")
        arguments["columns"] = {name: variable_from_json(f"{node}.{name}", column) for name, column in columns.items()}
    try:
        return VARIABLES[kind](**arguments)
    except (TypeError, GraphError) as error:
        raise GraphError(f"Node '{node}' of kind {kind}: {str(error).rstrip('.')}.") from None
