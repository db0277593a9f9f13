"""Volume, intensity, and long and short axes on the original slices, against shapes of known size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from images import AXIAL, CORONAL, LEFT_HANDED, SAGITTAL, oblique

from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid
from MSAMLogic.measurements import LesionMeasurements, Plane, measure, plane_axes

DIRECTIONS = {
    "axial": AXIAL,
    "coronal": CORONAL,
    "sagittal": SAGITTAL,
    "left-handed": LEFT_HANDED,
    "oblique": oblique(20),
}


def on_grid(
    array: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0), direction: Sequence[float] = AXIAL
) -> sitk.Image:
    """Return an array (k, j, i) as an image somewhere in the world."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(tuple(map(float, spacing)))
    image.SetOrigin((-31.5, 12.25, 400.0))
    image.SetDirection(direction)
    return image


def ellipse(a: float, b: float, degrees: float, spacing: Sequence[float], n: int = 90) -> np.ndarray:
    """Return a slice (1, n, n) with an ellipse of semi-axes ``a`` and ``b`` mm; columns first in spacing."""
    row, column = np.mgrid[:n, :n] - (n - 1) / 2
    x, y = column * spacing[0], row * spacing[1]
    turn = np.deg2rad(degrees)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return ((u / a) ** 2 + (v / b) ** 2 <= 1).astype(np.uint8)[None]


def measured(array: np.ndarray, **grid: Any) -> LesionMeasurements:
    mask = on_grid(array.astype(np.uint8), **grid)
    return measure(mask, mask)


# Known shapes


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.5), (0.6, 1.1)])
@pytest.mark.parametrize(("a", "b"), [(15.0, 15.0), (20.0, 9.0), (12.5, 11.0)])
@pytest.mark.parametrize("degrees", [0, 30, 45, 117])
def test_an_ellipse_is_as_long_and_short_as_it_is(
    a: float, b: float, degrees: float, spacing: tuple[float, float]
) -> None:
    array = ellipse(a, b, degrees, spacing)
    axial = measured(array, spacing=(*spacing, 5)).diameters["axial"]
    assert axial.long_mm == pytest.approx(2 * a, abs=max(spacing))
    assert axial.short_mm == pytest.approx(2 * b, abs=max(spacing))


def test_a_disc_is_never_too_short_and_never_a_pixel_too_long() -> None:
    # The longest of all directions; pixel centres would be too short, pixel corners over a pixel too long.
    random = np.random.default_rng(0)
    for radius in np.linspace(4, 20, 33):
        row, column = np.mgrid[:50, :50] - 24.5 - random.uniform(-0.5, 0.5, (2, 1, 1))
        axial = measured((row**2 + column**2 <= radius**2)[None]).diameters["axial"]
        assert 0 < axial.long_mm - 2 * radius < 1
        assert abs(axial.short_mm - 2 * radius) < 1


def test_a_single_voxel_is_as_large_as_its_sides() -> None:
    array = np.zeros((5, 6, 7), np.uint8)
    array[1, 2, 3] = 1
    found = measured(array, spacing=(0.5, 0.7, 3.0))
    assert found.volume_ml == pytest.approx(0.5 * 0.7 * 3 / 1000) and found.voxel_count == 1
    sizes = {plane: (d.long_mm, d.short_mm, d.slice_index) for plane, d in found.diameters.items()}
    assert sizes["axial"] == pytest.approx((0.7, 0.5, 1))
    assert sizes["coronal"] == pytest.approx((3.0, 0.5, 2))
    assert sizes["sagittal"] == pytest.approx((3.0, 0.7, 3))


def test_a_box_is_measured_in_its_middle_slice_along_its_diagonal() -> None:
    array = np.zeros((9, 30, 30), np.uint8)
    array[2:7, 5:15, 5:25] = 1  # 5 slices, 10 rows, 20 columns
    axial = measured(array).diameters["axial"]
    assert axial.slice_index == 4
    # The corner pixels' edge middles: half a pixel less than the corners in one of the two directions.
    assert axial.long_mm == pytest.approx(np.hypot(20, 9), abs=1e-9)


def test_the_longest_slice_counts_not_the_largest() -> None:
    array = np.zeros((3, 40, 40), np.uint8)
    array[0, 10:30, 10:30] = 1
    array[2, 20, 2:37] = 1
    axial = measured(array).diameters["axial"]
    assert (axial.slice_index, axial.long_mm, axial.short_mm) == (2, pytest.approx(35), pytest.approx(1))


def test_the_short_axis_ends_on_the_outline_of_a_lesion_with_a_hollow() -> None:
    array = np.zeros((1, 40, 60), np.uint8)
    array[0, 20:24, 5:55] = 1  # a bar of 50 × 4 with two legs: 10 up at one end, 12 down at the other
    array[0, 10:20, 5:8] = 1
    array[0, 24:36, 52:55] = 1
    axial = measured(array).diameters["axial"]
    hull = 0.5 * axial.long_mm  # what the hull of this shape would give is much more than the legs
    assert axial.short_mm < hull
    assert_like_brute_force(array.astype(bool), (1.0, 1.0), axial)


# Against an exhaustive search


def outline_points(section: np.ndarray) -> np.ndarray:
    """Return (n, 2) the middles (row, column) of the pixel edges between lesion and background."""
    inside = np.pad(section, 1)
    rows = np.argwhere(inside[1:] != inside[:-1]) - [0.5, 1]
    columns = np.argwhere(inside[:, 1:] != inside[:, :-1]) - [1, 0.5]
    return np.concatenate([rows, columns])


def assert_like_brute_force(array: np.ndarray, spacing: Sequence[float], axial: Any) -> None:
    """Compare with all pairs of outline points, and a dense sweep of lines across."""
    scale = np.array([spacing[1], spacing[0]])
    longest = [0.0] * len(array)
    for number, section in enumerate(array):
        if section.any():
            points = outline_points(section) * scale
            longest[number] = np.linalg.norm(points[:, None] - points, axis=-1).max()
    assert axial.long_mm == pytest.approx(max(longest), abs=1e-6)
    assert longest[axial.slice_index] == pytest.approx(max(longest), abs=1e-6)
    # Any two outline points that face each other across the long axis are no farther apart.
    along = np.subtract(*axial.long_ends)[:2][::-1] / axial.long_mm
    across = np.array([-along[1], along[0]])
    points = outline_points(array[axial.slice_index]) * scale
    gap = points[:, None] - points
    facing = np.abs(gap @ along) < 1e-6
    assert axial.short_mm >= np.abs((gap @ across)[facing]).max() - 1e-6
    # And it is a chord of the points' hull, whose extent across it cannot pass.
    assert axial.short_mm <= np.ptp(points @ across) + 1e-6


SPACINGS = st.sampled_from([0.4, 0.7, 1.0, 1.9, 5.0])


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))).filter(np.any),
    st.tuples(SPACINGS, SPACINGS, SPACINGS),
)
def test_any_mask_is_measured_as_an_exhaustive_search_does(
    array: np.ndarray, spacing: tuple[float, ...]
) -> None:
    mask = sitk.GetImageFromArray(array.astype(np.uint8))
    mask.SetSpacing(spacing)
    assert_like_brute_force(array, spacing, measure(mask, mask).diameters["axial"])


# Any orientation


def lumps(shape: tuple[int, int, int] = (14, 30, 25)) -> np.ndarray:
    """Return a mask (k, j, i) without symmetry."""
    k, j, i = np.mgrid[: shape[0], : shape[1], : shape[2]]
    near = ((k - 5) / 4) ** 2 + ((j - 14) / 11) ** 2 + ((i - 9) / 6) ** 2 <= 1
    far = ((k - 8) / 3) ** 2 + ((j - 20) / 5) ** 2 + ((i - 15) / 7) ** 2 <= 1
    return near | far


@pytest.mark.parametrize("name", DIRECTIONS)
def test_ends_lie_in_the_slice_on_the_outline_and_at_right_angles(name: str) -> None:
    array, spacing = lumps(), (0.8, 0.6, 2.5)
    mask = on_grid(array.astype(np.uint8), spacing, DIRECTIONS[name])
    axes = plane_axes(ImageGrid.of(mask))
    for plane, found in measure(mask, mask).diameters.items():
        assert found.plane == plane
        long, short = (np.array(ends) for ends in (found.long_ends, found.short_ends))
        assert np.linalg.norm(long[1] - long[0]) == pytest.approx(found.long_mm)
        assert np.linalg.norm(short[1] - short[0]) == pytest.approx(found.short_mm)
        assert (long[1] - long[0]) @ (short[1] - short[0]) == pytest.approx(0, abs=1e-6)
        assert found.short_mm <= found.long_mm
        for end in (*found.long_ends, *found.short_ends):
            index = np.array(mask.TransformPhysicalPointToContinuousIndex(end))
            assert index[axes[plane]] == pytest.approx(found.slice_index, abs=1e-6)
            around = product(*[{int(np.floor(v)), int(np.ceil(v))} for v in index.round(6)])
            values = {bool(array[k, j, i]) for i, j, k in around}
            assert values == {True, False}


CUBE = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]


def test_the_planes_are_the_patients_whatever_the_order_of_the_axes() -> None:
    array = np.zeros((12, 20, 30), np.uint8)  # k, j, i
    array[2:10, 4:16, 5:25] = 1
    expected = {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL}
    for plane, direction in expected.items():
        found = measured(array, direction=direction).diameters[plane]  # type: ignore[index]
        assert found.long_mm == pytest.approx(np.hypot(20, 11), abs=1e-6)  # in the plane of i and j
        assert 2 <= found.slice_index < 10


@pytest.mark.parametrize("degrees", [-40, -12, 12, 40])
def test_no_two_planes_share_an_axis_however_a_scan_is_turned(degrees: float) -> None:
    image = on_grid(np.zeros((3, 4, 5), np.uint8), direction=oblique(degrees))
    planes: dict[Plane, int] = plane_axes(ImageGrid.of(image))
    assert planes == {"axial": 2, "coronal": 1, "sagittal": 0}


def test_axes_that_slant_are_measured_in_the_world() -> None:
    slanting = np.eye(3)
    slanting[1, 2] = 0.3
    slanting[:, 2] /= np.linalg.norm(slanting[:, 2])
    mask = on_grid(lumps().astype(np.uint8), (1, 1, 2), tuple(slanting.ravel().tolist()))
    found = measure(mask, mask)
    for diameters in found.diameters.values():
        assert np.linalg.norm(np.subtract(*diameters.long_ends)) == pytest.approx(diameters.long_mm)
        assert np.dot(np.subtract(*diameters.long_ends), np.subtract(*diameters.short_ends)) == pytest.approx(
            0, abs=1e-6
        )
    # The slices stay apart by what they are apart along the normal.
    assert found.volume_ml == pytest.approx(lumps().sum() * 2 * slanting[2, 2] / 1000)


# Values


def test_values_are_those_of_the_image_in_the_mask() -> None:
    array = lumps()
    values = np.random.default_rng(0).normal(40, 12, array.shape).astype(np.float32)
    image, mask = on_grid(values), on_grid(array.astype(np.uint8))
    found = measure(image, mask)
    inside = values[array].astype(float)
    assert found.voxel_count == array.sum()
    assert found.volume_ml == pytest.approx(array.sum() / 1000)
    assert (found.mean, found.standard_deviation) == pytest.approx((inside.mean(), inside.std()))
    assert (found.minimum, found.maximum) == (inside.min(), inside.max())


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_mask_on_a_box_of_the_image_measures_the_same(name: str) -> None:
    array = lumps()
    image = on_grid(np.arange(array.size, dtype=np.float32).reshape(array.shape), (0.8, 0.6, 2.5))
    mask = on_grid(array.astype(np.uint8), (0.8, 0.6, 2.5))
    for volume in (image, mask):
        volume.SetDirection(DIRECTIONS[name])
    assert measure(image, mask[1:24, 2:28, 1:13]) == measure(image, mask)


# What cannot be measured


def test_an_empty_mask_is_refused() -> None:
    mask = on_grid(np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(ImageError, match="empty"):
        measure(mask, mask)


@pytest.mark.parametrize("change", ["origin", "spacing", "direction", "too large", "2D", "colour"])
def test_a_mask_on_another_grid_is_refused(change: str) -> None:
    image = on_grid(np.ones((6, 6, 6), np.int16))
    mask = on_grid(np.ones((6, 6, 6), np.uint8))
    if change == "origin":
        mask.SetOrigin([v + 0.4 for v in mask.GetOrigin()])
    elif change == "spacing":
        mask.SetSpacing((1, 1, 1.1))
    elif change == "direction":
        mask.SetDirection(oblique(3))
    elif change == "too large":
        mask = sitk.ConstantPad(mask, (1, 0, 0), (0, 0, 0))
    else:
        mask = mask[:, :, 2] if change == "2D" else sitk.Compose(mask, mask)
    with pytest.raises(ImageError, match="3D volume" if change in ("2D", "colour") else "voxels"):
        measure(image, mask)


def test_values_that_are_no_numbers_are_refused_where_they_count() -> None:
    values = np.ones((4, 4, 4), np.float32)
    values[0, 0, 0] = np.nan
    array = np.zeros((4, 4, 4), np.uint8)
    array[2, 2, 2] = 1
    assert measure(on_grid(values), on_grid(array)).mean == 1
    array[0, 0, 0] = 1
    with pytest.raises(ImageError, match="no numbers"):
        measure(on_grid(values), on_grid(array))
