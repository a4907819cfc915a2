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

from torch.distributions import AffineTransform  # noqa: E402
from torch.distributions.transforms import Transform, _InverseTransform  # noqa: E402
from zuko.flows import MaskedAutoregressiveTransform  # noqa: E402
from zuko.transforms import ComposedTransform, DependentTransform  # noqa: E402

__all__ = [
    "Affine",
    "Autoregressive",
    "ComposedTransform",
    "DependentTransform",
    "MaskedAutoregressiveTransform",
    "MonotonicAffine",
    "Uncycled",
    "zuko",
]


class Uncycled(Transform):
    """A transform that does not keep its inverse.

    torch's keep it, and are kept by it: such a pair, with parameters for every row, stays in memory until the garbage
    collector comes by, which over a million rows took 100 MiB.
    """

    @property
    def inv(self) -> Transform:
        return _InverseTransform(self)


class Affine(Uncycled, AffineTransform):
    """torch's affine map."""


class MonotonicAffine(Uncycled, zuko.transforms.MonotonicAffineTransform):
    """zuko's affine map, whose scale is bounded."""


class Autoregressive(Uncycled, zuko.transforms.AutoregressiveTransform):
    """zuko's autoregressive map."""
