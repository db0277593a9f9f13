"""Overlap and surface metrics: against sums by hand, a brute-force reference, and their own laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MSAMLogic.bounding_box import bounding_box
from MSAMLogic.errors import ImageError
from MSAMLogic.evaluation.metrics import dice, intersection_over_union, surface_dice

SHAPE = (4, 5, 3)
masks = hnp.arrays(bool, SHAPE, fill=st.just(False))
# Multiples of 1/8: their squares and sums are exact, so no distance ties with a tolerance by rounding.
spacings = st.tuples(*[st.integers(4, 24).map(lambda n: n / 8)] * 3)
tolerances = st.integers(0, 32).map(lambda n: n / 8)


def box(*corners: tuple[int, int], shape: tuple[int, int, int] = (20, 20, 20)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*corner) for corner in corners)] = True
    return mask


def surface_by_loops(mask: np.ndarray, spacing: tuple[float, ...]) -> list[tuple[np.ndarray, float]]:
    faces = []
    for voxel in map(tuple, np.argwhere(mask)):
        area = 0.0
        for axis, step in itertools.product(range(3), (-1, 1)):
            other = list(voxel)
            other[axis] += step
            inside = all(0 <= o < n for o, n in zip(other, mask.shape, strict=True)) and mask[tuple(other)]
            if not inside:
                area += float(np.prod([s for n, s in enumerate(spacing) if n != axis]))
        if area:
            faces.append((np.array(voxel) * spacing, area))
    return faces


def surface_dice_by_loops(
    a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> float:
    surface_a, surface_b = surface_by_loops(a, spacing), surface_by_loops(b, spacing)
    near = 0.0
    for mine, others in ((surface_a, surface_b), (surface_b, surface_a)):
        for point, area in mine:
            if min(float(np.linalg.norm(point - other)) for other, _ in others) <= tolerance:
                near += area
    return near / sum(area for _, area in surface_a + surface_b)


def test_dice_and_iou_of_half_overlapping_boxes_are_the_fractions_by_hand() -> None:
    a, b = box((0, 4), (0, 4), (0, 4)), box((2, 6), (0, 4), (0, 4))
    assert dice(a, b) == pytest.approx(0.5)
    assert intersection_over_union(a, b) == pytest.approx(1 / 3)


@given(masks, masks)
def test_dice_is_symmetric_and_tied_to_iou(a: np.ndarray, b: np.ndarray) -> None:
    overlap, ratio = dice(a, b), intersection_over_union(a, b)
    assert overlap == dice(b, a)
    assert 0 <= ratio <= overlap <= 1
    assert overlap == pytest.approx(2 * ratio / (1 + ratio))
    assert (overlap == 1) == np.array_equal(a, b)


def test_masks_of_integers_count_as_masks() -> None:
    a = np.array([[[0, 2, 1]]], np.uint8)  # 2 & 1 is 0: bits must not be compared
    b = np.array([[[0, 1, 2]]], np.uint8)
    assert dice(a, b) == intersection_over_union(a, b) == surface_dice(a, b, (1, 1, 1), 0) == 1.0


def test_two_empty_masks_agree_and_one_empty_mask_does_not() -> None:
    empty, filled = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    for metric in (dice, intersection_over_union, lambda a, b: surface_dice(a, b, (1, 1, 1))):
        assert metric(empty, empty) == 1.0
        assert metric(empty, filled) == metric(filled, empty) == 0.0


def test_masks_of_different_shapes_are_refused() -> None:
    a, b = np.ones((2, 3, 4), bool), np.ones((2, 3, 1), bool)  # NumPy would broadcast these
    for metric in (dice, intersection_over_union, lambda a, b: surface_dice(a, b, (1, 1, 1))):
        with pytest.raises(ImageError, match="shape"):
            metric(a, b)


@pytest.mark.parametrize("spacing, tolerance", [((1, 1), 2), ((1, 0, 1), 2), ((1, 1, 1), -1)])
def test_impossible_spacings_and_tolerances_are_refused(spacing: tuple[float, ...], tolerance: float) -> None:
    mask = np.ones(SHAPE, bool)
    with pytest.raises(ImageError):
        surface_dice(mask, mask, spacing, tolerance)


@settings(max_examples=60, deadline=None)
@given(masks, masks, spacings, tolerances)
def test_surface_dice_is_what_loops_over_all_pairs_give(
    a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> None:
    assume(a.any() and b.any())
    expected = surface_dice_by_loops(a, b, spacing, tolerance)
    assert surface_dice(a, b, spacing, tolerance) == pytest.approx(expected)


def test_surface_dice_counts_a_shift_up_to_the_tolerance_in_millimetres_of_its_axis() -> None:
    a, b = box((5, 9), (5, 12), (5, 12)), box((6, 10), (5, 12), (5, 12))
    assert surface_dice(a, b, (2.0, 0.5, 0.5)) == 1.0
    assert surface_dice(a, b, (2.1, 0.5, 0.5)) < 1.0
    assert surface_dice(a, b, (0.5, 2.1, 2.1)) == 1.0


def test_surface_dice_tolerance_survives_rounding() -> None:
    a, b = box((0, 1), (0, 1), (0, 1)), box((3, 4), (0, 1), (0, 1))
    assert 3 * 0.1 > 0.3
    assert surface_dice(a, b, (0.1, 0.1, 0.1), 0.3) == 1.0


def test_surface_dice_weighs_thick_slices_by_the_area_they_show() -> None:
    # A column with and without a far tail one voxel wide: by voxels the tail is half of the surface.
    a = box((0, 1), (0, 1), (0, 10))
    b = box((0, 1), (0, 1), (0, 20))
    thick = surface_dice(a, b, (100.0, 1.0, 1.0), 0)
    side_a, side_b = 2 * 10 * 100 + 2 * 10 + 2 * 100, 2 * 20 * 100 + 2 * 20 + 2 * 100
    assert thick == pytest.approx((side_a + (side_b - 200) / 2 + 100) / (side_a + side_b))


@given(masks)
def test_bounding_box_holds_the_mask_tightly(mask: np.ndarray) -> None:
    found = bounding_box(mask)
    if found is None:
        assert not mask.any()
        return
    assert np.count_nonzero(mask[found]) == np.count_nonzero(mask)
    for axis in range(3):
        ends = np.moveaxis(mask[found], axis, 0)
        assert ends[0].any() and ends[-1].any()


@given(masks, masks)
def test_bounding_box_of_two_masks_is_that_of_their_union(a: np.ndarray, b: np.ndarray) -> None:
    assert bounding_box(a, b) == bounding_box(a | b)
