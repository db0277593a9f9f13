"""What a correcting click changes: its depth, its cube, and the mask; needs no torch."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import GRID, box, centre_of, voxels
from hypothesis import given, settings
from hypothesis import strategies as st

from MSAMLogic.correcting.correction import (
    CUBE_SIZE,
    Correction,
    click_depth,
    correction_cube,
    obeying_earlier_clicks,
    varied_cube,
)
from MSAMLogic.geometry import RAS_AXES, ImageGrid, PatchGrid


def test_depth_is_the_distance_to_the_nearest_voxel_that_agrees_in_millimetres() -> None:
    mask = box(GRID, (10, 10, 10), (20, 20, 20))
    assert click_depth(mask, GRID, centre_of(GRID, (23, 15, 15)), True) == pytest.approx(4.0)
    assert click_depth(mask, GRID, centre_of(GRID, (15, 23, 15)), True) == pytest.approx(6.0)
    assert click_depth(mask, GRID, centre_of(GRID, (15, 15, 23)), True) == pytest.approx(8.0)
    assert click_depth(mask, GRID, centre_of(GRID, (12, 15, 15)), False) == pytest.approx(3.0)


def test_a_click_that_confirms_the_mask_has_no_depth() -> None:
    mask = box(GRID, (10, 10, 10), (20, 20, 20))
    assert click_depth(mask, GRID, centre_of(GRID, (15, 15, 15)), True) == 0
    assert click_depth(mask, GRID, centre_of(GRID, (30, 15, 15)), False) == 0


def test_depth_of_a_click_far_from_the_mask_is_found_too() -> None:
    mask = box(GRID, (0, 0, 0), (1, 1, 1))
    point = centre_of(GRID, (39, 43, 35))
    expected = np.linalg.norm(np.array([39, 43, 35]) * np.array(GRID.spacing))
    assert click_depth(mask, GRID, point, True) == pytest.approx(expected)


def test_beyond_the_image_is_background() -> None:
    everything = box(GRID, (0, 0, 0), GRID.size)
    assert click_depth(everything, GRID, centre_of(GRID, (1, 20, 18)), False) == pytest.approx(2.0)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(0, 19)] * 3),
    st.tuples(*[st.integers(1, 8)] * 3),
    st.tuples(*[st.integers(0, 19)] * 3),
    st.booleans(),
)
def test_depth_agrees_with_the_nearest_of_all_voxels(
    start: tuple[int, int, int], size: tuple[int, int, int], click: tuple[int, int, int], positive: bool
) -> None:
    grid = ImageGrid((20, 20, 20), (0.0, 0.0, 0.0), (0.7, 1.1, 2.9), GRID.direction)
    stop = tuple(min(20, a + b) for a, b in zip(start, size, strict=True))
    mask = box(grid, start, (stop[0], stop[1], stop[2]))
    alike = np.argwhere(np.pad(voxels(mask, grid), 12) == positive)[:, ::-1] - 12
    expected = np.sqrt((((alike - click) * np.array(grid.spacing)) ** 2).sum(axis=1).min())
    assert click_depth(mask, grid, centre_of(grid, click), positive) == pytest.approx(expected)


def test_depth_on_slanting_axes_is_measured_in_the_world() -> None:
    slant = (1.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.75**0.5)
    grid = ImageGrid((30, 30, 30), (0.0, 0.0, 0.0), (1.0, 1.0, 2.0), slant)
    mask = box(grid, (10, 10, 10), (12, 12, 12))
    click = (11, 20, 5)
    inside = np.argwhere(voxels(mask, grid))[:, ::-1]
    expected = min(
        float(np.linalg.norm(np.subtract(centre_of(grid, tuple(v)), centre_of(grid, click)))) for v in inside
    )
    assert click_depth(mask, grid, centre_of(grid, click), True) == pytest.approx(expected, rel=1e-4)


def test_cube_lies_round_the_click_and_shows_each_depth_alike() -> None:
    shallow, deep = (correction_cube(depth, GRID, (8.0, 9.0, 10.0), RAS_AXES) for depth in (2.0, 6.0))
    assert shallow.centre == deep.centre == (8.0, 9.0, 10.0)
    assert deep.spacing == pytest.approx(3 * shallow.spacing)
    assert shallow.size == CUBE_SIZE


def test_cube_is_neither_much_finer_than_the_voxels_nor_as_coarse_as_a_body() -> None:
    assert correction_cube(0.01, GRID, (0.0, 0.0, 0.0), RAS_AXES).spacing == pytest.approx(0.5)
    assert correction_cube(500.0, GRID, (0.0, 0.0, 0.0), RAS_AXES).spacing == pytest.approx(5.0)


@pytest.mark.parametrize(("factor", "expected"), [(0.5, 1.0), (1.5, 3.0), (0.1, 0.5), (9.0, 5.0)])
def test_a_varied_cube_keeps_within_what_makes_sense(factor: float, expected: float) -> None:
    cube = PatchGrid((1.0, 2.0, 3.0), 2.0, CUBE_SIZE, RAS_AXES)
    varied = varied_cube(cube, GRID, factor)
    assert varied.spacing == pytest.approx(expected)
    assert (varied.centre, varied.size, varied.axes) == (cube.centre, cube.size, cube.axes)


def asked(coords: list[tuple[float, float, float]], labels: list[int], before: np.ndarray) -> Correction:
    nothing = np.zeros_like(before)
    places = np.array([*coords, (15.5, 15.5, 15.5)], np.float32)
    cube = PatchGrid((0.0, 0.0, 0.0), 1.0, CUBE_SIZE)
    voxel = np.ones(3, np.float32)
    return Correction(cube, nothing, before, nothing, places, np.array([*labels, 1]), 2.0, voxel)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 31)] * 3), min_size=1, max_size=5, unique=True),
    st.lists(st.integers(0, 1), min_size=5, max_size=5),
    st.integers(0, 99),
)
def test_a_correction_takes_back_nothing_that_an_earlier_click_had(
    places: list[tuple[int, int, int]], labels: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 2, (CUBE_SIZE,) * 3).astype(np.float32)
    logits = rng.normal(0, 3, before.shape).astype(np.float32)
    correction = asked([(float(i), float(j), float(k)) for i, j, k in places], labels[: len(places)], before)
    kept = obeying_earlier_clicks(logits, correction)
    for place, label in zip(places, labels, strict=False):
        if before[place] == label:
            assert (kept[place] > 0) == label
    # What the correcting click lies nearest to is the corrector's to say.
    assert (kept[15:17, 15:17, 15:17] == logits[15:17, 15:17, 15:17]).all()
    changed = kept != logits
    assert ((kept > 0) == (before > 0.5))[changed].all()


def test_earlier_clicks_that_are_obeyed_lie_elsewhere_or_were_wrong_before_change_nothing() -> None:
    before = np.ones((CUBE_SIZE,) * 3, np.float32)
    logits = np.full(before.shape, -1, np.float32)
    logits[:16] = 1
    coords = [(3.0, 3.0, 3.0), (40.0, 3.0, 3.0), (28.0, 3.0, 3.0)]
    kept = obeying_earlier_clicks(logits, asked(coords, [1, 1, 0], before))
    assert (kept == logits).all()


def test_where_a_correction_contradicts_an_earlier_click_the_mask_stays_round_it() -> None:
    before = np.ones((CUBE_SIZE,) * 3, np.float32)
    logits = np.full(before.shape, -1, np.float32)
    kept = obeying_earlier_clicks(logits, asked([(28.0, 15.5, 15.5)], [1], before))
    assert (kept[22:] > 0).all() and (kept[:21] < 0).all()
