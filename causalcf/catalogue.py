"""The data sets there are, an open set: one row each, read by every command, the judges and the benchmark.

To add one: a file in `causalcf/datasets/` with a class of rows, and a row in `DATASETS`; the contract suite in
`tests/contracts/test_datasets.py` then runs on it. Nothing is imported before a data set is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DATASETS", "Source"]


@dataclass(frozen=True)
class Source:
    """The facts about a data set that must be known before it is read.

    Args:
        file: The file in `causalcf/datasets/` that it stands in.
        loader: What gives its rows: a class of that file, or a class method, called with the folder and the split, or
            with the split alone if it is drawn.
        title: Its name in reports.
        graph: The name of its causal graph in `graphs/`; empty if there is no file of it.
        image: The node of its image, or empty.
        drawn: Whether it is drawn, or comes with a library, so that there is no folder to read.
        options: More arguments of the loader.
        truth: Nodes for which the true counterfactual of acting on them is known: what the leaderboard acts on.
        residuals: What the benchmark scores: scales of the residual noise, or lengths over which it fades.
        judges: Node -> how its judge is set up: options of `Predictor`, those of its `jitter`, and what differs from
            the standard under `recipe`. Where there are none, each cause of the image has a standard judge.
    """

    file: str
    loader: str
    title: str
    graph: str
    image: str = "image"
    drawn: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    truth: tuple[str, ...] = ()
    residuals: tuple[str, ...] = ("1", "0")
    judges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class of its rows."""
        return self.loader.split(".")[0]


_DARKEST = 0.26  # 66 of 255 grey levels, the least intensity of MorphoMNIST

DATASETS: dict[str, Source] = {
    "digits": Source(
        "digits", "Digits", "handwritten digits", "morphomnist", drawn=True, truth=("thickness", "intensity")
    ),
    "morphomnist": Source(
        "morphomnist",
        "MorphoMNIST",
        "MorphoMNIST",
        "morphomnist",
        truth=("thickness", "intensity"),
        # Of .25 to 4 px, 1 was best on the truth of 500 training images, for VAE, tuned VAE, HVAE and GAN alike; see
        # docs/concepts.md.
        residuals=("1", "0", "thickness=1,digit=0"),
        judges={
            "intensity": {
                "pool": "all",
                "proportional": True,
                "jitter": {"shift": 1},
                "recipe": {"batch_size": 64, "ema": 0.999},
            },
            "thickness": {
                "given": ("intensity",),
                "jitter": {"shift": 1, "brightness": _DARKEST, "scales": ("intensity",)},
            },
            "digit": {"jitter": {"shift": 2, "brightness": _DARKEST}},
        },
    ),
    "mnist": Source(
        "mnist",
        "MNIST",
        "MNIST",
        "mnist",
        # Small, as explainers ask it hundreds of times an image; its last maps are 7 x 7, fine enough to be swapped.
        judges={
            "digit": {
                "widths": (16, 32, 32, 64),
                "hidden": 64,
                "jitter": {"shift": 2},
                "recipe": {"epochs": 16},
            }
        },
    ),
    "faces": Source(
        "faces",
        "Faces",
        "drawn faces",
        "faces",
        drawn=True,
        truth=("male", "age", "smile", "eyeglasses", "beard", "bald", "hair"),
    ),
    "celeba": Source("celeba", "CelebA", "CelebA", "celeba"),
    "celeba-complex": Source(
        "celeba", "CelebA", "CelebA, complex graph", "celeba-complex", options={"graph": "celeba-complex"}
    ),
    "adult": Source("tabular", "Adult", "UCI Adult", "adult", image=""),
    "bars": Source("bars", "Bars.of_split", "bars", "bars", drawn=True, truth=("width", "brightness", "side")),
}
"""Data sets by the name the command line knows them by."""
