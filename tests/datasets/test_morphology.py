import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import disk, medial_axis
from skimage.transform import pyramid_expand, pyramid_reduce

from causalcf.core.errors import DataError
from causalcf.datasets import morphology
from causalcf.datasets.idx import read_idx
from causalcf.datasets.morphology import (
    MODES,
    dilate,
    footprint,
    measure_intensity,
    measure_thickness,
    render,
    render_measured,
    resampling,
)
from causalcf.datasets.morphomnist import read_attributes

ROWS = 96


@pytest.fixture(scope="module")
def published(data_root):
    """Glyphs, published images, thickness and intensity of a few seeded test images."""
    rows = np.random.default_rng(0).choice(10_000, ROWS, replace=False)
    values = read_attributes(data_root / "morphomnist" / "t10k-morpho.csv")
    return (
        read_idx(data_root / "mnist" / "t10k-images-idx3-ubyte.gz")[rows],
        read_idx(data_root / "morphomnist" / "t10k-images-idx3-ubyte.gz")[rows].astype(float),
        values["thickness"][rows].astype(float),
        values["intensity"][rows].astype(float),
    )


@pytest.fixture(scope="module")
def glyphs():
    """Six random smooth shapes, far from the edges of the canvas."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((6, 28, 28)), (0, 2, 2))
    noise[:, :5], noise[:, -5:], noise[:, :, :5], noise[:, :, -5:] = 0, 0, 0, 0
    return (255 * noise / noise.max((1, 2), keepdims=True)).astype(np.uint8)


@pytest.mark.parametrize(("mode", "limit"), [("published", 0.6), ("fast", 1.2)])
def test_reproduces_the_published_images(published, mode, limit):
    """Measured on 1,000 images: 0.38 and 0.91, with standard deviations of 0.4 and 0.6 between images.

    The mean of 96 then has a standard error of 0.04 and 0.06: the limits are 5 of them away.
    """
    glyphs, images, thickness, intensity = published
    error = np.abs(render(glyphs, thickness, intensity, mode) - images).mean()
    assert error < limit


def test_fast_measures_like_published(published):
    glyphs = published[0]
    difference = measure_thickness(glyphs, "fast") - measure_thickness(glyphs, "published")
    assert abs(difference.mean()) < 0.05  # px; 0.005 on 1,000 images, with a standard deviation of 0.08
    assert np.abs(difference).max() < 0.6


def test_resampling_is_skimage_as_matrices(glyphs):
    matrices = resampling(28, 16)
    up = np.stack([pyramid_expand(glyph, upscale=16, order=3) for glyph in glyphs])
    np.testing.assert_allclose(matrices.up(glyphs), up, atol=2e-6)
    binary = up > 0.5
    down = np.stack([pyramid_reduce(image.astype(float), downscale=16, order=3) for image in binary])
    np.testing.assert_array_equal(matrices.down(binary), (255 * down + 1e-6).astype(np.uint8))


@pytest.mark.parametrize("radius", [0, 1, 5, 12])
def test_dilation_by_rows_is_dilation_with_the_whole_footprint(glyphs, radius):
    element = pyramid_reduce(disk(16 * radius, dtype=float), downscale=16, order=1) != 0
    binary = resampling(28, 4).up(glyphs[:1])[0] > 0.5
    dilated = ndimage.grey_dilation(binary.astype(np.uint8), footprint=element)
    eroded = ndimage.grey_erosion(binary.astype(np.uint8), footprint=element)
    np.testing.assert_array_equal(dilate(binary, footprint(radius)), dilated)
    np.testing.assert_array_equal(~dilate(~binary, footprint(radius)), eroded)


@pytest.mark.parametrize("radius", [*range(20), 25, 40, 63, 80])
def test_footprint_rows_are_unbroken_and_symmetric(radius):
    """What `dilate` relies on, and the closed form: the element as the published data made it, drawn and reduced."""
    element = pyramid_reduce(disk(16 * radius, dtype=float), downscale=16, order=1) != 0
    widths = [*footprint(radius)[:0:-1], *footprint(radius)]
    columns = np.abs(np.arange(-radius, radius + 1))
    np.testing.assert_array_equal(element, columns <= np.array(widths)[:, None])


@pytest.mark.parametrize("mode", list(MODES))
def test_a_glyph_does_not_depend_on_its_company(glyphs, mode):
    thickness, intensity = np.linspace(1.5, 4, 6), np.linspace(80, 250, 6)
    together = render(glyphs, thickness, intensity, mode)
    alone = [render(glyphs[[i]], thickness[[i]], intensity[[i]], mode)[0] for i in range(6)]
    np.testing.assert_array_equal(together, np.stack(alone))
    np.testing.assert_array_equal(render(glyphs[::-1], thickness[::-1], intensity[::-1], mode), together[::-1])


@pytest.mark.parametrize("mode", list(MODES))
def test_rendered_images_measure_as_asked(published, mode):
    glyphs, _, thickness, intensity = published
    images = render(glyphs, thickness, intensity, mode)
    # Truncation takes half a level on average; clipping at 255 moves the half range, and with it a few medians.
    error = np.abs(measure_intensity(images) - intensity)
    assert error.mean() < 0.7
    assert np.quantile(error, 0.95) < 1.2
    # The published images miss their thickness by as much, 0.1 px on average: the element is too wide.
    error = measure_thickness(images, "published") - thickness
    assert 0 < error.mean() < 0.2
    assert np.abs(error).mean() < 0.25


@pytest.mark.parametrize("mode", list(MODES))
def test_thicker_is_a_superset_before_intensity(glyphs, mode):
    one = np.ones(6)
    thin, thick = (render(glyphs, one * t, one * 200, mode) for t in (2.0, 5.0))
    assert (thick.astype(int).sum((1, 2)) > thin.astype(int).sum((1, 2))).all()


@pytest.mark.parametrize("mode", list(MODES))
def test_an_empty_glyph_gives_a_black_image(mode):
    empty = np.zeros((1, 28, 28), np.uint8)
    assert measure_thickness(empty, mode) == 0
    for thickness in (0.1, 4.0):
        assert render(empty, np.array([thickness]), np.array([200.0]), mode).max() == 0


def test_no_glyphs_give_no_images():
    nothing = np.zeros((0, 28, 28), np.uint8)
    assert render(nothing, np.zeros(0), np.zeros(0)).shape == (0, 28, 28)
    assert measure_thickness(nothing).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "slow"}, "Unknown mode 'slow'. Known modes: "),
        ({"glyphs": np.zeros((2, 28, 28))}, "must be bytes of shape"),
        ({"glyphs": np.zeros((2, 28, 20), np.uint8)}, "must be bytes of shape"),
        ({"thickness": np.ones(3)}, r"'thickness' must have shape \(2,\), one value per glyph"),
        ({"thickness": np.array([1.0, 0.0])}, r"'thickness' must be in \(0, 10\] to be drawn: 1 of 2 rows"),
        ({"thickness": np.array([1.0, 11.0])}, "for example 11"),
        ({"intensity": np.array([np.nan, 100.0])}, r"'intensity' must be in \(0, 255\]"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"glyphs": np.zeros((2, 28, 28), np.uint8), "thickness": np.ones(2), "intensity": np.full(2, 99.0)}
    with pytest.raises(DataError, match=message):
        render(**(arguments | change))


def test_montages_cover_all_rows(monkeypatch):
    monkeypatch.setattr(morphology, "MONTAGE", 16 * 112 * 112)
    n = 2 * 16 + 3
    bars = np.zeros((n, 28, 28), np.uint8)
    for i in range(n):
        bars[i, 8:20, 10 : 12 + i % 5] = 255
    whole = measure_thickness(bars, "fast")
    np.testing.assert_array_equal(whole[-3:], measure_thickness(bars[-3:], "fast"))
    monkeypatch.setattr(morphology, "MONTAGE", 1)
    np.testing.assert_array_equal(whole, measure_thickness(bars, "fast"))


@pytest.mark.parametrize("mode", list(MODES))
def test_thickness_is_twice_the_mean_distance_along_the_whole_canvas_s_axis(glyphs, mode):
    """The margins that measuring leaves out change no bit."""
    scale = MODES[mode].scale
    binary = morphology.binarise(glyphs, scale)
    tied = {"rng": morphology._RasterOrder(np.random.PCG64(0))}
    for i, image in enumerate(np.pad(binary, ((0, 0), (1, 1), (1, 1)))):
        skeleton, distance = medial_axis(image, return_distance=True, **tied)
        wanted = 2 * np.where(skeleton, distance, 0).sum() / skeleton.sum() / scale
        assert measure_thickness(glyphs[[i]], mode) == wanted


@pytest.mark.parametrize("mode", list(MODES))
def test_glyphs_whose_thickness_is_known_are_not_measured(glyphs, mode, monkeypatch):
    measured = []
    whole = morphology.stroke_thickness
    monkeypatch.setattr(morphology, "stroke_thickness", lambda x, scale: measured.append(len(x)) or whole(x, scale))
    thickness, intensity = np.linspace(1.5, 4, 6), np.linspace(80, 250, 6)
    images, found = render_measured(glyphs, thickness, intensity, mode, np.full(6, np.nan))
    np.testing.assert_array_equal(images, render(glyphs, thickness, intensity, mode))
    np.testing.assert_array_equal(found, measure_thickness(glyphs, mode))
    measured.clear()
    some = np.where(np.arange(6) % 3 == 1, np.nan, found)
    again, filled = render_measured(glyphs, thickness, intensity, mode, some)
    assert sum(measured) == 2
    assert np.isnan(some).sum() == 2, "the caller's array is left alone"
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(filled, found)
    measured.clear()
    render_measured(glyphs, thickness, intensity, mode, found)
    assert measured == []
