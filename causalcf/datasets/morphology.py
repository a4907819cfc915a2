"""Measure and redraw the strokes of glyphs: the true image mechanism of MorphoMNIST.

A glyph (a small grey image of one stroke drawing) is upscaled and binarised; the mean thickness of
its strokes is read off its medial axis; the strokes are thickened or thinned until they have the
wanted thickness; the result is downscaled and multiplied to the wanted intensity.

Two modes do this. `"published"` follows the procedure that made the published MorphoMNIST data,
step by step and rounding by rounding, but runs it as matrix products, one medial axis for many
glyphs, and row-wise dilation. `"fast"` works at a quarter of the resolution on exact distances.

References:
    Castro, Tan, Kainz, Konukoglu, Glocker: Morpho-MNIST: Quantitative Assessment and Diagnostics
    for Representation Learning, 2019.
    Pawlowski, Castro, Glocker: Deep Structural Causal Models for Tractable Counterfactual
    Inference, 2020 (the thickness-intensity data).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import medial_axis
from skimage.transform import resize

from causalcf.core.errors import DataError

__all__ = ["MAX_THICKNESS", "MODES", "Mode", "measure_intensity", "measure_thickness", "render"]

Mode = Literal["published", "fast"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_THICKNESS = 10.0
"""The thickest stroke that is drawn, px; on a 28 px canvas thicker strokes are blobs."""

MONTAGE = 2_000_000
"""Fine pixels per montage: enough glyphs to share the medial axis's fixed cost, few enough for the cache."""

REFERENCE_SCALE = 16
"""The upscaling of the published data. Radii are whole numbers of these fine pixels in every mode."""

BLUR_REACH = 21
"""How far the blur of the published structuring element reaches: 4 standard deviations of 16 / 3 pixels, rounded."""


@dataclass(frozen=True)
class Resampling:
    """Upscaling and downscaling between n pixels and n * scale pixels, as matrices.

    Both are separable and linear, but for one clip in the middle of upscaling, so that an image is
    resampled by products from the left and right; equal to skimage's `pyramid_expand` and
    `pyramid_reduce` with order=3 up to rounding.
    """

    interpolate: NDArray[np.float32]
    """Cubic interpolation, shape (n * scale, n)."""
    smooth: NDArray[np.float32]
    """Gaussian smoothing, shape (n * scale, n * scale)."""
    reduce: Floats
    """Smoothing, then cubic interpolation down, shape (n, n * scale)."""

    def up(self, glyphs: Bytes) -> NDArray[np.float32]:
        """Upscale bytes (N, n, n) to floats (N, n * scale, n * scale) in [0, 1]."""
        x = glyphs.astype(np.float32) / np.float32(255)
        fine = self.interpolate @ x @ self.interpolate.T
        low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
        clipped: Any = np.clip(fine, low, high)  # numpy's stubs lose the float32
        return self.smooth @ clipped @ self.smooth.T

    def down(self, fine: NDArray[Any]) -> Bytes:
        """Downscale (N, n * scale, n * scale) in [0, 1] to bytes (N, n, n), truncated."""
        coarse = self.reduce @ fine.astype(np.float64) @ self.reduce.T
        # Full cells sum to 1 only up to rounding; without the margin they would truncate to 254.
        return (255 * np.clip(coarse, 0, 1) + 1e-6).astype(np.uint8)


@lru_cache
def resampling(size: int, scale: int) -> Resampling:
    """The matrices for square glyphs of `size` pixels, upscaled `scale` times."""
    fine = size * scale
    smooth = ndimage.gaussian_filter1d(np.eye(fine), sigma=2 * scale / 6, axis=0, mode="reflect")
    return Resampling(
        interpolate=_cubic_matrix(size, fine).astype(np.float32),
        smooth=smooth.astype(np.float32),
        reduce=_cubic_matrix(fine, size) @ smooth,
    )


def _cubic_matrix(size: int, new_size: int) -> Floats:
    """Cubic resizing of one axis as a matrix of shape (new_size, size)."""
    identity: Any = np.eye(size)
    return np.asarray(resize(identity, (new_size, size), order=3, mode="reflect", anti_aliasing=False, clip=False))


# ---------------------------------------------------------------------- measuring


def binarise(glyphs: Bytes, scale: int) -> Mask:
    """Upscale glyphs (N, n, n) and mark pixels at least half as bright as their range; an empty one has no mark."""
    fine = (255 * resampling(glyphs.shape[-1], scale).up(glyphs)).astype(np.uint8)
    low, high = fine.min((1, 2), keepdims=True), fine.max((1, 2), keepdims=True)
    return (fine >= low + 0.5 * (high - low)) & (high > low)


class _RasterOrder(np.random.Generator):
    """Breaks the medial axis's ties in raster order instead of at random.

    Ties then fall alike wherever a glyph stands in a montage, so that a glyph's thickness depends
    on nothing but the glyph: it need be measured only once.
    """

    def permutation(self, x: Any, axis: int = 0) -> Any:
        return x


def stroke_thickness(binary: Mask, scale: int) -> Floats:
    """Mean thickness of the strokes of (N, H, W) binary images, in px of the original: shape (N,).

    Twice the mean distance from the medial axis to the background; 0 for an empty image.
    """
    rows, columns = _inked(binary)
    tiles = np.pad(binary[:, rows, columns], ((0, 0), (1, 1), (1, 1)))  # beyond is background
    montage = tiles.reshape(-1, tiles.shape[2])
    in_order: Any = {"rng": _RasterOrder(np.random.PCG64(0))}
    skeleton, distance = (np.asarray(x) for x in medial_axis(montage, return_distance=True, **in_order))
    on_axis = skeleton.reshape(tiles.shape)[:, 1:-1, 1:-1]
    # Summed over the whole canvas, so that rounding does not depend on what part of it was looked at.
    along = np.zeros((len(binary), binary.shape[1] + 2, binary.shape[2] + 2))
    inside = along[:, 1:-1, 1:-1]
    inside[:, rows, columns] = np.where(on_axis, distance.reshape(tiles.shape)[:, 1:-1, 1:-1], 0)
    return 2 * along.reshape(len(along), -1).sum(1) / np.maximum(on_axis.sum((1, 2)), 1) / scale


def _inked(binary: Mask) -> tuple[slice, slice]:
    """The rows and columns in which any of (N, H, W) images has ink; at least one of each."""
    lines = [np.flatnonzero(binary.any(axes)) for axes in ((0, 2), (0, 1))]
    rows, columns = (slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 1) for at in lines)
    return rows, columns


def measure_thickness(glyphs: Bytes, mode: Mode = "published") -> Floats:
    """Mean stroke thickness of glyphs, in px.

    Args:
        glyphs: Bytes of shape (N, n, n), bright strokes on a dark ground.
        mode: `"published"` (16x upscaling) or `"fast"` (4x, within 0.1 px).

    Returns:
        Thickness of shape (N,).

    Example:
        >>> bar = np.zeros((1, 28, 28), np.uint8)
        >>> bar[:, 4:24, 12:16] = 255
        >>> measure_thickness(bar).round(1)  # 4 in the middle, less where the axis forks to the corners
        array([3.])
    """
    renderer = MODES[mode]
    parts = [
        renderer.thickness(binarise(glyphs[rows], renderer.scale)) for rows in _montages(glyphs.shape, renderer.scale)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def measure_intensity(images: NDArray[Any]) -> Floats:
    """Median of the pixels at least half as bright as the image's range, per image of (N, H, W).

    The result, shape (N,), is in the unit of the pixels.

    Example:
        >>> measure_intensity(np.array([[[0, 10], [200, 240]]]))
        array([220.])
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    low, high = flat.min(1, keepdims=True), flat.max(1, keepdims=True)
    bright = flat >= low + 0.5 * (high - low)
    count = bright.sum(1)
    ranked = -np.sort(-np.where(bright, flat, -np.inf), axis=1)
    rows = np.arange(len(flat))
    return (ranked[rows, (count - 1) // 2] + ranked[rows, count // 2]) / 2


# ---------------------------------------------------------------------- redrawing


@lru_cache(maxsize=256)
def footprint(radius: int) -> tuple[int, ...]:
    """The published structuring element: half-width of each row, from the centre row outwards.

    The published data dilate and erode with every non-zero cell of a disk that was drawn 16 times
    too large and reduced with anti-aliasing. Its blur makes it wider than the nominal disk along the
    diagonals, by up to 2.2 fine pixels, and its square canvas cuts it at `radius` along the axes.
    Here it is read off in closed form: a cell is not zero if the disk comes within the blur's reach,
    along both axes, of where the cell lies in the large drawing.

    Example:
        >>> footprint(3), footprint(8)
        ((3, 3, 3, 3), (8, 8, 8, 8, 8, 8, 8, 7, 6))
    """
    size, large = 2 * radius + 1, 2 * REFERENCE_SCALE * radius + 1
    lies = np.arange(radius + 1) * large // size  # the nearer of the two pixels that a cell is interpolated from
    within = np.maximum(lies - BLUR_REACH, 0) ** 2
    cells = within[:, None] + within <= (REFERENCE_SCALE * radius) ** 2
    return tuple(int(width) - 1 for width in cells.sum(1))


def dilate(binary: Mask, half_widths: tuple[int, ...]) -> Mask:
    """Dilate one binary image (H, W) with a symmetric element whose rows are unbroken runs.

    Equal to a dilation with the full element, at the cost of one comparison per row of it.

    Args:
        binary: The image.
        half_widths: Half-width of each row of the element, from the centre row outwards.

    Example:
        >>> image = np.zeros((3, 5), bool); image[1, 2] = True
        >>> dilate(image, (2, 0)).astype(int)
        array([[0, 0, 1, 0, 0],
               [1, 1, 1, 1, 1],
               [0, 0, 1, 0, 0]])
    """
    distance = _distance_along_rows(binary)
    result = distance <= half_widths[0]
    for offset, half_width in enumerate(half_widths[1:], start=1):
        reached = distance <= half_width
        result[offset:] |= reached[:-offset]
        result[:-offset] |= reached[offset:]
    return result


def _distance_along_rows(binary: Mask) -> NDArray[np.int16]:
    """How far the nearest set pixel of the same row is; far beyond the image if there is none."""
    columns = np.arange(binary.shape[1], dtype=np.int16)
    far = np.int16(8192)
    left = np.maximum.accumulate(np.where(binary, columns, -far), axis=1)
    right = np.minimum.accumulate(np.where(binary, columns, far)[:, ::-1], axis=1)[:, ::-1]
    return np.minimum(columns - left, right - columns)


def stroke_radius(change: Floats) -> NDArray[np.int64]:
    """Radius of the structuring element for a change of thickness in px, truncated to fine pixels."""
    return (REFERENCE_SCALE * np.abs(change) / 2).astype(np.int64)


class Published:
    """The published procedure: 16x upscaling, the published structuring element."""

    scale = REFERENCE_SCALE

    def thickness(self, binary: Mask) -> Floats:
        """Mean thickness of (N, H, W) upscaled binary glyphs, px."""
        return stroke_thickness(binary, self.scale)

    def redraw(self, binary: Mask, change: Floats) -> Mask:
        """Thicken or thin (N, H, W) upscaled binary glyphs by `change` px, shape (N,)."""
        result = np.empty_like(binary)
        for i, radius in enumerate(stroke_radius(change)):
            element = footprint(int(radius))
            result[i] = dilate(binary[i], element) if change[i] >= 0 else ~dilate(~binary[i], element)
        return result


class Fast:
    """A quarter of the resolution; edges are moved by exact distances and drawn with partial coverage."""

    scale = 4
    past_edge = 0.4
    """How far past the edge the nearest pixel centre beyond it lies, in pixels: half a pixel at straight
    edges, less at slanted ones, where the nearest of several counts. Chosen on 250 published test images."""

    def thickness(self, binary: Mask) -> Floats:
        """Mean thickness of (N, H, W) upscaled binary glyphs, px."""
        return stroke_thickness(binary, self.scale)

    def redraw(self, binary: Mask, change: Floats) -> NDArray[np.float32]:
        """Thicken or thin (N, H, W) upscaled binary glyphs by `change` px, shape (N,)."""
        shift = np.sign(change) * [equivalent_radius(int(radius)) for radius in stroke_radius(change)]
        outward = shift * self.scale / REFERENCE_SCALE
        return np.stack([_shifted_edge(image, by) for image, by in zip(binary, outward, strict=True)])


@lru_cache(maxsize=256)
def equivalent_radius(radius: int) -> float:
    """How far the published structuring element moves an edge, in fine pixels, on average.

    Over all directions, a convex element moves straight edges by its perimeter / 2 pi (Cauchy).
    """
    if radius == 0:
        return 0.0
    widths = np.array(footprint(radius))
    rows = np.arange(radius + 1)
    corners = np.stack([widths, rows], 1)
    quarter = np.concatenate([corners, [[0, radius]]])
    return float(4 * np.hypot(*np.diff(quarter, axis=0).T).sum() / (2 * np.pi))


def _distance(binary: Mask) -> Floats:
    """Distance of each set pixel to the nearest one that is not set, in pixels."""
    return np.asarray(ndimage.distance_transform_edt(binary))


def _shifted_edge(binary: Mask, by: float) -> NDArray[np.float32]:
    """Move the edge of one binary image outwards by `by` pixels; edge pixels get partial coverage."""
    if by == 0 or not binary.any():
        return binary.astype(np.float32)
    if by > 0:
        coverage = by + 0.5 + Fast.past_edge - _distance(~binary)
    else:
        coverage = by + 0.5 - Fast.past_edge + _distance(binary)
    return np.clip(coverage, 0, 1).astype(np.float32)


MODES: dict[Mode, Published | Fast] = {"published": Published(), "fast": Fast()}
"""How glyphs can be rendered."""


def scale_intensity(images: Bytes, intensity: Floats) -> Bytes:
    """Multiply (N, H, W) images so that `measure_intensity` gives `intensity` (N,), truncated to bytes.

    Pixels that would exceed 255 are clipped; an image without any stroke stays black.
    """
    current = measure_intensity(images)
    factor = np.divide(intensity, current, out=np.zeros_like(current), where=current > 0)
    return np.clip(images * factor[:, None, None], 0, 255).astype(np.uint8)


def render(glyphs: Bytes, thickness: Floats, intensity: Floats, mode: Mode = "published") -> Bytes:
    """Redraw glyphs with the given thickness and intensity.

    Row i depends on row i of the arguments only. On the published test set, from the published
    values, the mean absolute error over the 28 x 28 pixels is 0.38 grey levels in `"published"` mode
    and 0.90 in `"fast"` mode (1,000 seeded images). The remaining error of the first is a radius that falls
    on the other side of a whole number, because the medial axis breaks ties at random.

    Args:
        glyphs: Bytes of shape (N, n, n), bright strokes on a dark ground.
        thickness: Wanted mean stroke thickness, px, shape (N,), in (0, MAX_THICKNESS].
        intensity: Wanted median stroke brightness, grey levels 0-255, shape (N,).
        mode: `"published"` or `"fast"`.

    Returns:
        Bytes of shape (N, n, n).

    Raises:
        DataError: Shapes, types, values or the mode are not as above.

    Example:
        >>> bar = np.zeros((1, 28, 28), np.uint8)
        >>> bar[:, 4:24, 12:16] = 255
        >>> thin = render(bar, np.array([2.0]), np.array([100.0]))
        >>> measure_intensity(thin)
        array([100.])
    """
    return render_measured(glyphs, thickness, intensity, mode, np.full(len(glyphs), np.nan))[0]


def render_measured(
    glyphs: Bytes, thickness: Floats, intensity: Floats, mode: Mode, measured: Floats
) -> tuple[Bytes, Floats]:
    """`render` for glyphs that may have been measured before; measuring takes most of its time.

    Args:
        glyphs: The glyphs; they, thickness, intensity and mode are those of `render`.
        thickness: Wanted mean stroke thickness.
        intensity: Wanted median stroke brightness.
        mode: How to render.
        measured: Thickness of the glyphs by `measure_thickness` in this mode, px, shape (N,); NaN where unknown.

    Returns:
        The images, and the thickness of all glyphs.
    """
    _check(glyphs, thickness, intensity, mode)
    renderer, images, measured = MODES[mode], np.empty_like(glyphs), measured.copy()
    for rows in _montages(glyphs.shape, renderer.scale):
        binary = binarise(glyphs[rows], renderer.scale)
        unknown = np.isnan(measured[rows])
        if unknown.any():
            measured[rows][unknown] = renderer.thickness(binary[unknown])
        redrawn = renderer.redraw(binary, thickness[rows] - measured[rows])
        coarse = resampling(glyphs.shape[-1], renderer.scale).down(redrawn)
        images[rows] = scale_intensity(coarse, np.asarray(intensity[rows], np.float64))
    return images, measured


def _check(glyphs: Bytes, thickness: Floats, intensity: Floats, mode: Mode) -> None:
    if mode not in MODES:
        raise DataError(f"Unknown mode {mode!r}. Known modes: {list(MODES)}.")
    if glyphs.ndim != 3 or glyphs.shape[1] != glyphs.shape[2] or glyphs.dtype != np.uint8:
        raise DataError(f"Glyphs must be bytes of shape (N, n, n), got {glyphs.dtype} {glyphs.shape}.")
    for name, values, low, high in [("thickness", thickness, 0, MAX_THICKNESS), ("intensity", intensity, 0, 255)]:
        if values.shape != (len(glyphs),):
            raise DataError(f"'{name}' must have shape ({len(glyphs)},), one value per glyph, got {values.shape}.")
        wrong = ~((values > low) & (values <= high))
        if wrong.any():
            raise DataError(
                f"'{name}' must be in ({low}, {high:g}] to be drawn: {int(wrong.sum())} of {len(values)} rows"
                f" are not (for example {values[wrong][0]:g})."
            )


def _montages(shape: tuple[int, ...], scale: int) -> Iterator[slice]:
    """Rows of glyphs (N, n, n) to work on at a time, upscaled so many times."""
    step = max(1, MONTAGE // (shape[1] * shape[2] * scale**2))
    return (slice(start, start + step) for start in range(0, shape[0], step))
