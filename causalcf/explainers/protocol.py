"""The members of an explainer that its parts use: each is handed the explainer, and none imports the class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor

from causalcf.data import Batch
from causalcf.explainers.classifier import Explained
from causalcf.mechanisms import Mechanism
from causalcf.mechanisms.base import Parents
from causalcf.scm.model import StructuralCausalModel
from causalcf.variables import Variable

__all__ = ["Explaining"]


class Explaining(Protocol):
    """The members of an explainer that questions, training rows and files use; `Explainer` documents them."""

    scm: StructuralCausalModel
    node: str
    classifier: Any
    variable: Variable | None
    carry_residual: bool
    batch_size: int
    explained: Explained
    fitted: bool
    fitted_on: dict[str, str]
    classifier_digest: str

    acts_on: ClassVar[Literal["latents", "node"]]
    trains: ClassVar[bool]
    gradients: ClassVar[bool]
    reads_codes: ClassVar[bool]

    @property
    def mechanism(self) -> Mechanism: ...
    @property
    def sites(self) -> tuple[str, ...]: ...
    def parents_of(self, rows: Batch) -> dict[str, Tensor]: ...
    def joined(self, u: Mapping[str, Tensor]) -> Tensor: ...
    def encode(self, x: Tensor, pa: Parents) -> Tensor: ...
    def decode(self, code: Tensor, pa: Parents) -> Tensor: ...
    def restore(self) -> None: ...
