"""A data set that needs no download: scikit-learn's handwritten digits under MorphoMNIST's causal model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import zoom
from torch import Tensor

from causalcf.core.signatures import checked
from causalcf.data import Batch
from causalcf.datasets.base import Dataset, check_split
from causalcf.datasets.glyphs import GlyphSCM, sample_attributes
from causalcf.datasets.mnist import PREFIXES, Split
from causalcf.graph import load_graph

__all__ = ["Digits"]

TEST_ROWS = 297
"""Rows of the test split; the other 1,500 are for training."""

INK = 0.15
"""Greys below this are paper: a pixel of 8 x 8 is a stroke wide, and its smear would close loops."""

_FILE = Path("datasets", "data", "digits.csv.gz")
_SPLIT_SEED = 0  # the split is part of the data set, not of a run


@checked
class Digits(Dataset):
    """1,797 real handwritten digits with known thickness and intensity, made in a few seconds.

    scikit-learn's 8 x 8 digits are smoothly enlarged to glyphs of 28 x 28, then drawn by the true model of
    MorphoMNIST in its fast mode: `image` (N, 1, 32, 32) in [0, 1], `thickness` (px), `intensity`
    (grey levels), `digit`. The truth of every counterfactual is known, as for MorphoMNIST.

    Args:
        split: `"train"` (1,500) or `"test"` (297).
        seed: Decides thickness and intensity; the split is always the same.

    Raises:
        DataError: No such split.

    References:
        Alpaydin, Kaynak: Cascading classifiers, 1998 (the UCI handwritten digits, test part).
        Pawlowski, Castro, Glocker: Deep Structural Causal Models for Tractable Counterfactual
        Inference, 2020 (the causal model).

    Example:
        >>> data = Digits("test")
        >>> data["image"].shape
        torch.Size([297, 1, 32, 32])
        >>> thick = data.truth(data[:8], do={"thickness": 4.0})
        >>> bool((thick["image"].mean() > data[:8]["image"].mean()).item())
        True
    """

    def __init__(self, split: Split = "train", *, seed: int = 0) -> None:
        check_split(split, list(PREFIXES))
        self._scm = _true_model(split)
        super().__init__(dict(_values(split, seed)), load_graph("morphomnist"))

    def truth(self, x: Mapping[str, Tensor], do: Mapping[str, float | Tensor]) -> Batch:
        """The true counterfactual of rows of this data set.

        do(thickness) changes intensity and image, do(intensity) the image alone; do of both sets both.
        With do={} it gives back the factual images.

        Args:
            x: Rows of this data set, as in `data[:64]`.
            do: Value, or one value per row, for `thickness` (px, above 0 to 10) and `intensity`
                (grey levels, 64 to 255).

        Returns:
            Batch of `thickness`, `intensity`, `digit` and `image`, with the index of x.

        Raises:
            InterventionError: No truth is known for this action.
            SupportError: A value is outside its variable's support.
            DataError: x is not made of rows of this data set, or a value has the wrong shape.
        """
        return self._scm.counterfactual(x, do)


@lru_cache
def _values(split: Split, seed: int) -> Mapping[str, Tensor]:
    """The tensors of a split, drawn once per process."""
    scm, labels = _true_model(split), _small_digits(split)[1]
    stream = np.random.SeedSequence([seed, list(PREFIXES).index(split)])
    # As float32, which is what users see: rendering the factual values again gives the same bytes.
    thickness, intensity = (x.astype(np.float32) for x in sample_attributes(len(labels), stream))
    images = scm.image(np.arange(len(labels)), thickness.astype(np.float64), intensity.astype(np.float64))
    return {
        "thickness": torch.from_numpy(thickness),
        "intensity": torch.from_numpy(intensity),
        "digit": torch.from_numpy(labels),
        "image": images,
    }


@lru_cache
def _true_model(split: Split) -> GlyphSCM:
    """The true model of a split's glyphs, which it measures once per process."""
    return GlyphSCM(enlarge(_small_digits(split)[0]), mode="fast")


@lru_cache
def _small_digits(split: Split) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """scikit-learn's digits (N, 8, 8) and labels (N,) of a split."""
    pixels, labels = read_digits()
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    rows = order[:TEST_ROWS] if split == "test" else order[TEST_ROWS:]
    return pixels[rows].reshape(-1, 8, 8), labels[rows].astype(np.int64)


def read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels 0..16 (1797, 64) and labels (1797,), as `sklearn.datasets.load_digits` gives them.

    Read from scikit-learn's own file where it is found: importing scikit-learn takes longer than drawing the digits.
    """
    for folder in getattr(find_spec("sklearn"), "submodule_search_locations", None) or ():
        path = Path(folder, _FILE)
        if path.is_file():
            table = np.loadtxt(path, delimiter=",")
            return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels), np.asarray(labels)


def enlarge(small: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Enlarge 8 x 8 digits with values 0..16 to 20 x 20, as in MNIST, on a canvas of 28 x 28 bytes."""
    padded = np.pad(small / 16, ((0, 0), (1, 1), (1, 1)))  # room for the outer edge of the strokes
    # Cubic interpolation is linear in the pixels, along one axis and then along the other.
    one_axis = zoom(np.eye(padded.shape[-1]), (2.5, 1), order=3, mode="grid-constant", grid_mode=True)
    large = one_axis @ padded @ one_axis.T
    inked = np.clip((large - INK) / (1 - INK), 0, 1)
    return np.rint(255 * np.pad(inked, ((0, 0), (1, 2), (1, 2)))).astype(np.uint8)
