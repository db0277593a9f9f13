"""Sets of voxels against plain boolean arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from MSAMLogic.geometry import Region
from MSAMLogic.voxels import EMPTY, VoxelSet, changed_region

unhurried = settings(max_examples=80, deadline=None)

SIDE = 24  # of the plain array; sets lie well inside
corners = st.tuples(*[st.integers(3, 8)] * 3)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 12))  # (k, j, i), across bytes


@st.composite
def placed_bits(draw: st.DrawFn) -> tuple[np.ndarray, Region]:
    """An array (k, j, i) and the box that it fills."""
    bits = draw(arrays(bool, draw(shapes)))
    i, j, k = draw(corners)
    return bits, Region((i, j, k), (i + bits.shape[2], j + bits.shape[1], k + bits.shape[0]))


@st.composite
def any_boxes(draw: st.DrawFn) -> Region:
    i, j, k = draw(st.tuples(*[st.integers(0, 18)] * 3))
    a, b, c = draw(st.tuples(*[st.integers(0, 6)] * 3))
    return Region((i, j, k), (i + a, j + b, k + c))


def crop(whole: np.ndarray, region: Region) -> np.ndarray:
    (i, j, k), (x, y, z) = region.start, region.stop
    return whole[k:z, j:y, i:x]


def plain(placed: tuple[np.ndarray, Region]) -> np.ndarray:
    """Return the same voxels in an array of a whole image."""
    whole = np.zeros((SIDE,) * 3, bool)
    crop(whole, placed[1])[...] = placed[0]
    return whole


@unhurried
@given(placed_bits(), any_boxes())
def test_any_box_reads_as_from_an_array(placed: tuple[np.ndarray, Region], box: Region) -> None:
    assert np.array_equal(VoxelSet.of(*placed).read(box), crop(plain(placed), box))


@unhurried
@given(placed_bits())
def test_the_region_is_the_tight_box_of_the_voxels(placed: tuple[np.ndarray, Region]) -> None:
    voxels = VoxelSet.of(*placed)
    indices = np.argwhere(plain(placed))[:, ::-1]
    assert voxels.empty == (len(indices) == 0)
    if len(indices):
        assert np.array_equal(voxels.region.start, indices.min(axis=0))
        assert np.array_equal(voxels.region.stop, indices.max(axis=0) + 1)


@unhurried
@given(placed_bits(), st.tuples(*[st.integers(-1, SIDE - 1)] * 3))
def test_a_voxel_is_in_the_set_or_not(placed: tuple[np.ndarray, Region], index: tuple[int, int, int]) -> None:
    whole = plain(placed)
    i, j, k = index
    assert (index in VoxelSet.of(*placed)) is bool(min(index) >= 0 and whole[k, j, i])
    for k, j, i in np.argwhere(whole)[:3].tolist():
        assert (i, j, k) in VoxelSet.of(*placed)


@unhurried
@given(placed_bits(), placed_bits(), any_boxes())
def test_a_union_has_the_voxels_of_both(
    a: tuple[np.ndarray, Region], b: tuple[np.ndarray, Region], box: Region
) -> None:
    first, second = VoxelSet.of(*a), VoxelSet.of(*b)
    united = first.union(second)
    expected = plain(a) | plain(b)
    assert np.array_equal(united.read(box), crop(expected, box))
    assert np.array_equal(united.read(Region((0, 0, 0), (SIDE,) * 3)), expected)
    assert united.region == first.region.union(second.region)


@unhurried
@given(placed_bits(), placed_bits())
def test_what_is_left_of_a_set_without_another(
    a: tuple[np.ndarray, Region], b: tuple[np.ndarray, Region]
) -> None:
    first, second = VoxelSet.of(*a), VoxelSet.of(*b)
    left = first.minus(second).read(Region((0, 0, 0), (SIDE,) * 3))
    assert np.array_equal(left, plain(a) & ~plain(b))
    assert first.minus(EMPTY) is first and first.minus(first).empty
    common = first.intersection(second)
    assert np.array_equal(common.read(Region((0, 0, 0), (SIDE,) * 3)), plain(a) & plain(b))
    assert first.intersection(EMPTY).empty and common.count == (plain(a) & plain(b)).sum()


@unhurried
@given(placed_bits())
def test_nothing_added_changes_nothing(placed: tuple[np.ndarray, Region]) -> None:
    voxels = VoxelSet.of(*placed)
    assert voxels.union(EMPTY) is voxels
    assert EMPTY.union(voxels) is voxels or voxels.empty


def test_the_empty_set_reads_as_false_everywhere() -> None:
    assert EMPTY.empty and (0, 0, 0) not in EMPTY
    read = EMPTY.read(Region((1, 1, 1), (2, 3, 4)))
    assert read.shape == (3, 2, 1) and not read.any()


@unhurried
@given(st.data())
def test_what_changed_is_the_tight_box_of_the_difference(data: st.DataObject) -> None:
    before, region = data.draw(placed_bits())
    after = data.draw(arrays(bool, before.shape))
    changed = changed_region(before, after, region)
    different = np.argwhere(before != after)[:, ::-1] + np.array(region.start)
    assert changed.empty == (len(different) == 0)
    if len(different):
        assert np.array_equal(changed.start, different.min(axis=0))
        assert np.array_equal(changed.stop, different.max(axis=0) + 1)


def test_eight_voxels_take_one_byte_and_the_surroundings_none() -> None:
    array = np.zeros((100, 100, 100), bool)
    array[40:60, 40:60, 40:56] = True
    assert VoxelSet.of(array, Region((0, 0, 0), (100, 100, 100))).bits.nbytes == 20 * 20 * 2


@unhurried
@given(first=placed_bits(), second=placed_bits())
def test_dice_is_that_of_the_plain_arrays(
    first: tuple[np.ndarray, Region], second: tuple[np.ndarray, Region]
) -> None:
    one, other = plain(first), plain(second)
    total = one.sum() + other.sum()
    expected = 2 * (one & other).sum() / total if total else 1.0
    assert VoxelSet.of(*first).dice(VoxelSet.of(*second)) == expected
