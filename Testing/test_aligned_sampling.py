"""Patches along an image's axes: the numbers of SimpleITK's resampling."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.aligned_sampling import sampled
from MSAMLogic.geometry import RAS_AXES, PatchGrid, extract_patch

DIRECTIONS = [
    tuple((np.eye(3)[list(order)] * signs).ravel().tolist())
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
TYPES = (np.int16, np.uint8, np.int32, np.float32, np.float64)


def resampled(image: sitk.Image, grid: PatchGrid, outside: float, repeat: int) -> np.ndarray:
    fine = PatchGrid(grid.centre, grid.spacing / repeat, grid.size * repeat, grid.axes)
    samples = sitk.Resample(
        image, fine.reference(), sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32
    )
    return sitk.GetArrayFromImage(sitk.BinShrink(samples, (repeat,) * 3)).transpose(2, 1, 0)


@settings(deadline=None, max_examples=150)
@given(
    direction=st.sampled_from(DIRECTIONS),
    axes=st.sampled_from((RAS_AXES, DIRECTIONS[0], DIRECTIONS[20])),
    size=st.tuples(*[st.integers(1, 12)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 5)] * 3),
    centre=st.tuples(*[st.floats(-20, 20)] * 3),
    cell=st.floats(0.3, 8),
    cells=st.integers(1, 7),
    outside=st.sampled_from((0.0, -1000.0, np.nan, np.inf)),
    antialias=st.booleans(),
    kind=st.sampled_from(TYPES),
)
def test_a_patch_along_the_axes(
    direction, axes, size, spacing, centre, cell, cells, outside, antialias, kind
):
    array = np.random.default_rng(0).integers(0, 255, size[::-1]).astype(kind)
    image = sitk.GetImageFromArray(array)
    image.SetDirection(direction)
    image.SetSpacing(spacing)
    image.SetOrigin((-7.0, 3.0, 11.0))
    grid = PatchGrid(centre, cell, cells, axes)
    repeat = 2 if antialias and cell > 1.75 * min(spacing) else 1
    found = extract_patch(image, grid, outside, antialias=antialias)
    expected = resampled(image, grid, outside, repeat)
    # On the very face of the image rounding decides whether a sample lies within.
    fine = PatchGrid(centre, cell / repeat, cells * repeat, axes)
    points = fine.world(np.moveaxis(np.indices((fine.size,) * 3), 0, -1)).reshape(-1, 3)
    at = np.array([image.TransformPhysicalPointToContinuousIndex(point) for point in points.tolist()])
    if np.minimum(np.abs(at + 0.5), np.abs(at - np.array(size) + 0.5)).min() > 1e-6:
        np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("degrees, is_along", [(0.0, True), (1e-5, True), (0.1, False), (30.0, False)])
def test_what_rounding_makes_of_a_direction_still_lies_along_the_axes(degrees, is_along, monkeypatch):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float32))
    image.SetDirection((c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0))
    grid = PatchGrid((4.1, 4.2, 3.9), 0.7, 8)
    expected = resampled(image, grid, 0.0, 1)
    used = []
    monkeypatch.setattr("MSAMLogic.geometry.sampled", lambda *args: used.append(True) or sampled(*args))
    np.testing.assert_allclose(extract_patch(image, grid), expected, atol=1e-3)
    assert bool(used) == is_along


def test_labels_are_never_mixed():
    labels = sitk.GetImageFromArray((np.random.default_rng(0).random((9, 9, 9)) > 0.5).astype(np.uint8) * 7)
    assert set(np.unique(extract_patch(labels, PatchGrid((4.1, 4.2, 3.9), 0.7, 8), nearest=True))) == {0, 7}


def test_only_the_box_round_the_samples_is_read():
    values = np.full((40, 40, 40), np.nan, np.float32)
    values[10:14, 20:24, 30:34] = 5
    positions = [start + np.array([0.2, 1.5, 2.7]) for start in (10, 20, 30)]
    assert np.allclose(sampled(values, positions, outside=0.0), 5)


def test_samples_that_are_averaged_count_alike_also_beyond_the_array():
    found = sampled(np.full((2, 2, 2), 6.0), [np.array([-1.0, 0.0, 1.0, 2.0])] * 3, -2.0, averaged=2)
    assert found.shape == (2, 2, 2) and np.allclose(found, (6 - 2 * 7) / 8)


@pytest.mark.parametrize("at_once", [1, 100, 250])
def test_a_few_planes_at_once_are_the_same_as_all(at_once, monkeypatch):
    values = np.random.default_rng(0).integers(-1000, 1000, (12, 9, 14)).astype(np.int16)
    positions = [np.linspace(-0.4, n - 0.6, 10) for n in values.shape]
    expected = sampled(values, positions, 0.0, averaged=2)
    monkeypatch.setattr("MSAMLogic.aligned_sampling._CACHED_VALUES", at_once)
    assert np.array_equal(sampled(values, positions, 0.0, averaged=2), expected)
