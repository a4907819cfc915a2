"""Data sets, each with its causal graph, and with the truth where it is known. An open set: `DATASETS` lists it.

Each is imported when it is first used: drawing strokes and reading pictures need scikit-image,
scikit-learn and SciPy, which take longer to import than all of causalcf.
"""

from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causalcf.catalogue import DATASETS, Source
from causalcf.core.errors import DataError
from causalcf.core.signatures import checked

if TYPE_CHECKING:  # for readers of types; whatever has a row of the catalogue is found without these lines
    from causalcf.datasets import synthetic as synthetic
    from causalcf.datasets.bars import Bars as Bars
    from causalcf.datasets.base import Dataset as Dataset
    from causalcf.datasets.celeba import CelebA as CelebA
    from causalcf.datasets.digits import Digits as Digits
    from causalcf.datasets.faces import Faces as Faces
    from causalcf.datasets.folder import from_folder as from_folder
    from causalcf.datasets.folder import from_frame as from_frame
    from causalcf.datasets.folder import from_items as from_items
    from causalcf.datasets.maker import make_morphomnist as make_morphomnist
    from causalcf.datasets.mnist import MNIST as MNIST
    from causalcf.datasets.morphomnist import MorphoMNIST as MorphoMNIST
    from causalcf.datasets.shards import from_shards as from_shards
    from causalcf.datasets.tabular import Adult as Adult

_OTHERS = {
    "Dataset": "base",
    "from_folder": "folder",
    "from_frame": "folder",
    "from_items": "folder",
    "from_shards": "shards",
    "make_morphomnist": "maker",
}
"""Names of objects other than data sets -> the files that define them."""

__all__ = ["DATASETS", "Source", "load", "synthetic"]
__all__ += sorted({source.name for source in DATASETS.values()} | _OTHERS.keys())


@checked
def load(name: str, root: str | Path | None = None, split: str = "train") -> Any:
    """A data set by its name.

    Args:
        name: Its row in `DATASETS`.
        root: The folder of its files, or a folder that holds it; by default the environment variable CAUSALCF_DATA.
            Data sets that are drawn have none.
        split: "train", "test", or another that it has.

    Raises:
        DataError: There is no such data set, or no such split.
        MissingFileError: Says which file is missing, where it was looked for, and how to get it.

    Example:
        >>> load("bars", split="test").graph.name
        'bars'
    """
    if name not in DATASETS:
        raise DataError(f"There is no data set '{name}'. Known: {list(DATASETS)}.")
    source = DATASETS[name]
    loader = attrgetter(source.loader)(import_module(f"causalcf.datasets.{source.file}"))
    return loader(split, **source.options) if source.drawn else loader(root, split, **source.options)


def __getattr__(name: str) -> Any:
    if name == "synthetic":
        return import_module("causalcf.datasets.synthetic")
    files = _OTHERS | {source.name: source.file for source in DATASETS.values()}
    if name not in files:
        raise AttributeError(f"causalcf.datasets has no '{name}'. It has {__all__}.")
    value = getattr(import_module(f"causalcf.datasets.{files[name]}"), name)
    globals()[name] = value  # so that this function is asked once
    return value


def __dir__() -> list[str]:
    return __all__
