"""The true structural causal model of MorphoMNIST, over any set of glyphs.

    thickness = 0.5 + Gamma(10, rate 5)                                    px
    intensity = 64 + 191 sigmoid(2 (thickness - 2.5) + 0.5 eps),  eps ~ N(0, 1)    grey levels
    image     = render(glyph, thickness, intensity)

The glyph, its digit with it, is the exogenous noise of the image. All mechanisms invert in closed
form or by look-up, so true counterfactuals are known. Written in numpy; shares no code with the
library it judges.

References:
    Pawlowski, Castro, Glocker: Deep Structural Causal Models for Tractable Counterfactual
    Inference, 2020, section 4.1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from causalcf.core.errors import DataError, InterventionError
from causalcf.data import Batch
from causalcf.datasets.mnist import to_unit
from causalcf.datasets.morphology import MAX_THICKNESS, Mode, render_measured
from causalcf.variables.raw import read_raw
from causalcf.variables.scalar import Interval, Positive

__all__ = ["GlyphSCM", "intensity_from_noise", "noise_from_intensity", "sample_attributes", "worker_pool"]

Floats = NDArray[np.float64]

CANVAS = 32
"""Height and width of the images, px; glyphs are padded with zeros."""

LOW, HIGH = 64.0, 255.0
_CENTRE, _SLOPE, _NOISE = 2.5, 2.0, 0.5

_BLOCK = 256
"""Rows that one process renders at a time."""

_SUPPORTS = {"thickness": Positive(unit="px"), "intensity": Interval(LOW, HIGH, unit="grey levels")}


def intensity_from_noise(thickness: Floats, noise: Floats) -> Floats:
    """True intensity, in grey levels, given thickness in px and standard normal noise.

    Example:
        >>> intensity_from_noise(np.array([2.5]), np.array([0.0]))
        array([159.5])
    """
    logit = _SLOPE * (thickness - _CENTRE) + _NOISE * noise
    return LOW + (HIGH - LOW) / (1 + np.exp(-logit))


def noise_from_intensity(intensity: Floats, thickness: Floats) -> Floats:
    """The inverse of `intensity_from_noise` in its noise; infinite at intensities of exactly 64 and 255.

    Example:
        >>> noise_from_intensity(np.array([159.5]), np.array([2.5]))
        array([0.])
    """
    with np.errstate(divide="ignore"):
        logit = np.log(intensity - LOW) - np.log(HIGH - intensity)
    return (logit - _SLOPE * (thickness - _CENTRE)) / _NOISE


def sample_attributes(n: int, seed: int | np.random.SeedSequence) -> tuple[Floats, Floats]:
    """Draw n thicknesses (px) and intensities (grey levels) from the true model.

    Example:
        >>> thickness, intensity = sample_attributes(1000, seed=0)
        >>> bool((thickness > 0.5).all() and (intensity > 64).all() and (intensity < 255).all())
        True
    """
    rng = np.random.default_rng(seed)
    thickness = 0.5 + rng.gamma(shape=10.0, scale=1 / 5.0, size=n)
    return thickness, intensity_from_noise(thickness, rng.standard_normal(n))


@dataclass(frozen=True)
class GlyphSCM:
    """The true model for known glyphs: answers counterfactual queries about their images.

    Args:
        glyphs: Source glyphs, bytes of shape (M, 28, 28); row i is the glyph of the unit with index i.
        mode: How images are rendered, see `causalcf.datasets.morphology`.
    """

    glyphs: NDArray[np.uint8]
    mode: Mode
    _measured: Floats = field(init=False, repr=False, compare=False)  # NaN for glyphs that were not drawn yet

    def __post_init__(self) -> None:
        object.__setattr__(self, "_measured", np.full(len(self.glyphs), np.nan))

    def image(self, index: NDArray[np.int64], thickness: Floats, intensity: Floats, workers: int = 1) -> Tensor:
        """Images (N, 1, 32, 32) in [0, 1] of the glyphs with the given index, all arguments of shape (N,)."""
        columns = (self.glyphs[index], thickness, intensity, self._measured[index])
        images, self._measured[index] = render_in_blocks(*columns, self.mode, workers)
        margin = (CANVAS - images.shape[-1]) // 2
        return to_unit(np.pad(images, ((0, 0), (margin, margin), (margin, margin))))

    def counterfactual(self, x: Mapping[str, Tensor], do: Mapping[str, float | Tensor], workers: int = 1) -> Batch:
        """The true counterfactual of units under hard interventions on thickness, intensity or both.

        Abducts eps from the factual thickness and intensity, acts, and renders the unit's own glyph.
        With nothing to do it renders the factual values again.

        Args:
            x: The units: `thickness`, `intensity` and `digit`, shape (N,), and `.index`, which says
                which glyph each row has. A slice of the data set has them all.
            do: Value, or one value per row, for `thickness` (px) and `intensity` (grey levels).
            workers: Processes to render with.

        Returns:
            `thickness`, `intensity`, `digit`, `image` with the index of x.

        Raises:
            InterventionError: Acts on anything but thickness and intensity.
            DataError: x lacks variables or its index, or a value has the wrong shape.
            SupportError: A value is outside its variable's support.
        """
        index = self._index(x)
        new_thickness, new_intensity = attributes_after(x, do)
        values = {
            "thickness": torch.from_numpy(new_thickness.astype(np.float32)),
            "intensity": torch.from_numpy(new_intensity.astype(np.float32)),
            "digit": x["digit"],
            "image": self.image(index, new_thickness, new_intensity, workers),
        }
        device = x["thickness"].device
        return Batch({name: value.to(device) for name, value in values.items()}, torch.from_numpy(index))

    def _index(self, x: Mapping[str, Tensor]) -> NDArray[np.int64]:
        missing = [name for name in ("thickness", "intensity", "digit") if name not in x]
        index = getattr(x, "index", None)
        if missing or index is None:
            lacks = missing or ["index (which glyph each row has)"]
            raise DataError(f"The true counterfactual needs {lacks}. Pass rows of the data set, as in data[:64].")
        rows = np.asarray(index)
        if rows.dtype.kind not in "iu" or (rows < 0).any() or (rows >= len(self.glyphs)).any():
            raise DataError(
                f"The index of x must hold row numbers 0..{len(self.glyphs) - 1} of the data set,"
                f" got {rows.dtype} from {rows.min()} to {rows.max()}. Pass rows of the same split, as in data[:64]."
            )
        return rows.astype(np.int64)


def attributes_after(x: Mapping[str, Tensor], do: Mapping[str, float | Tensor]) -> tuple[Floats, Floats]:
    """The true thickness (px) and intensity (grey levels) of units had one or both been acted on: no image is drawn.

    Args:
        x: The units' `thickness` and `intensity`, shape (N,).
        do: Value, or one value per row, for `thickness` and `intensity`.

    Returns:
        Two arrays of shape (N,).

    Raises:
        InterventionError: Acts on anything but thickness and intensity.
        DataError: A value has the wrong shape.
        SupportError: A value is outside its variable's support.

    Example:
        >>> x = {"thickness": torch.tensor([2.5]), "intensity": torch.tensor([159.5])}
        >>> [after.round(1).tolist() for after in attributes_after(x, {"thickness": 4.0})]
        [[4.0], [245.9]]
    """
    thickness, intensity = (x[name].detach().cpu().double().numpy() for name in ("thickness", "intensity"))
    acted = {name: _action(name, value, len(thickness)) for name, value in do.items()}
    new_thickness, new_intensity = acted.get("thickness", thickness), acted.get("intensity", intensity)
    if "thickness" in acted and "intensity" not in acted:
        new_intensity = intensity_from_noise(new_thickness, noise_from_intensity(intensity, thickness))
    return new_thickness, new_intensity


def _action(name: str, value: float | Tensor, rows: int) -> Floats:
    """One value per row, checked, as float64 of shape (rows,)."""
    if name not in _SUPPORTS:
        raise InterventionError(
            f"No true counterfactual is known for do({name}): the drawing of another {name} is not determined"
            f" by this one. The truth is known for {list(_SUPPORTS)}."
        )
    raw = read_raw(f"do({name})", value)
    if raw.kind != "numbers":
        raise InterventionError(f"do({name}) takes a number or one number per row, got {value!r}.")
    given = raw.numbers(name, "an action").detach().to("cpu", torch.float64)
    if given.ndim > 1 or (given.ndim == 1 and len(given) != rows):
        raise DataError(f"do({name}) takes a number or one per row, shape ({rows},), got {tuple(given.shape)}.")
    values = given.expand(rows)
    _SUPPORTS[name].check(name, values, remedy="Choose values inside the support.")
    if name == "thickness" and (values > MAX_THICKNESS).any():
        raise DataError(f"do(thickness) can be drawn up to {MAX_THICKNESS:g} px, got {values.max():g}.")
    return values.numpy().copy()


# ---------------------------------------------------------------------- many glyphs


def render_in_blocks(
    glyphs: NDArray[np.uint8], thickness: Floats, intensity: Floats, measured: Floats, mode: Mode, workers: int
) -> tuple[NDArray[np.uint8], Floats]:
    """`render_measured`, spread over processes. The result does not depend on how many there are."""
    if workers <= 1 or len(glyphs) <= _BLOCK:
        return render_measured(glyphs, thickness, intensity, mode, measured)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(glyphs), _BLOCK)]
    with worker_pool(min(workers, len(blocks))) as pool:
        jobs = [
            pool.submit(render_measured, glyphs[rows], thickness[rows], intensity[rows], mode, measured[rows])
            for rows in blocks
        ]
        images, found = zip(*(job.result() for job in jobs), strict=True)
    return np.concatenate(images), np.concatenate(found)


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of single-threaded processes.

    They are spawned, since forking a process that holds torch's threads can hang; a script that uses
    them therefore needs `if __name__ == "__main__":`.
    """
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    threadpool_limits(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool whose parent was killed would otherwise wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
