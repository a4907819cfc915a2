"""Data sets, each with its causal graph, and with the truth where it is known.

Each is imported when it is first used: drawing strokes and reading pictures need scikit-image,
scikit-learn and SciPy, which take longer to import than all of causalcf.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causalcf.datasets import synthetic
    from causalcf.datasets.bars import Bars
    from causalcf.datasets.base import Dataset
    from causalcf.datasets.celeba import CelebA
    from causalcf.datasets.digits import Digits
    from causalcf.datasets.faces import Faces
    from causalcf.datasets.maker import make_morphomnist
    from causalcf.datasets.mnist import MNIST
    from causalcf.datasets.morphomnist import MorphoMNIST
    from causalcf.datasets.tabular import Adult

__all__ = [
    "MNIST",
    "Adult",
    "Bars",
    "CelebA",
    "Dataset",
    "Digits",
    "Faces",
    "MorphoMNIST",
    "make_morphomnist",
    "synthetic",
]

_MODULES = {
    "Adult": "tabular",
    "Bars": "bars",
    "CelebA": "celeba",
    "Dataset": "base",
    "Digits": "digits",
    "Faces": "faces",
    "MNIST": "mnist",
    "MorphoMNIST": "morphomnist",
    "make_morphomnist": "maker",
}
"""Where each name lives. A new data set is one file and one row here (and in the lines above)."""


def __getattr__(name: str) -> Any:
    if name == "synthetic":
        return import_module("causalcf.datasets.synthetic")
    if name not in _MODULES:
        raise AttributeError(f"causalcf.datasets has no '{name}'. It has {__all__}.")
    value = getattr(import_module(f"causalcf.datasets.{_MODULES[name]}"), name)
    globals()[name] = value  # so that this function is asked once
    return value


def __dir__() -> list[str]:
    return __all__
