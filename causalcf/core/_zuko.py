"""zuko, imported without its side effects.

Importing zuko switches off argument validation for every torch distribution in the process
(`Distribution._validate_args = False`, `arg_constraints = {}`): `Normal(0, -1)` becomes legal
everywhere. The setting of before is put back. This is the only module that imports zuko.
"""

from torch.distributions import Distribution

_validate, _constraints = Distribution._validate_args, Distribution.__dict__["arg_constraints"]
import zuko  # noqa: E402

Distribution._validate_args = _validate
Distribution.arg_constraints = _constraints  # type: ignore[method-assign]

from zuko.flows import MaskedAutoregressiveTransform  # noqa: E402
from zuko.transforms import (  # noqa: E402
    ComposedTransform,
    DependentTransform,
    MonotonicAffineTransform,
)

__all__ = [
    "ComposedTransform",
    "DependentTransform",
    "MaskedAutoregressiveTransform",
    "MonotonicAffineTransform",
    "zuko",
]
