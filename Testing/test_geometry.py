"""Grids, boxes of voxels and patches, on images that lie any way in the world."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from images import AXIAL, CORONAL, LEFT_HANDED, SAGITTAL, oblique

from MSAMLogic.errors import ImageError
from MSAMLogic.geometry import ImageGrid, PatchGrid, Region, extract_patch, lps_from_ras

unhurried = settings(max_examples=100, deadline=None)

coordinates = st.floats(-500, 500)
points = st.tuples(coordinates, coordinates, coordinates)


@st.composite
def directions(draw: st.DrawFn) -> tuple[float, ...]:
    """Orthonormal axes of either handedness, in any order, turned by any angle."""
    matrix = np.array(oblique(draw(st.integers(-180, 180)))).reshape(3, 3)
    matrix = matrix[:, draw(st.permutations(range(3)))] * draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    return tuple(float(v) for v in matrix.ravel())


patches = st.builds(PatchGrid, points, st.floats(0.2, 6), st.integers(1, 40), directions())


@st.composite
def image_grids(draw: st.DrawFn, most: int = 40) -> ImageGrid:
    size = draw(st.tuples(*[st.integers(1, most)] * 3))
    return ImageGrid(size, draw(points), draw(st.tuples(*[st.floats(0.3, 6)] * 3)), draw(directions()))


boxes = st.builds(
    lambda start, size: Region(start, tuple(a + n for a, n in zip(start, size, strict=True))),
    st.tuples(*[st.integers(-3, 5)] * 3),
    st.tuples(*[st.integers(0, 4)] * 3),
)


def voxels_of(region: Region) -> set[tuple[int, ...]]:
    return set(itertools.product(*map(range, region.start, region.stop)))


# Patches


@unhurried
@given(points)
def test_ras_and_lps_differ_in_the_sign_of_the_first_two_axes(point: tuple[float, float, float]) -> None:
    x, y, z = lps_from_ras(point)
    assert (x, y, z) == (-point[0], -point[1], point[2])
    assert lps_from_ras((x, y, z)) == point


@unhurried
@given(patches, points)
def test_patch_voxels_and_world_are_inverse_and_those_of_its_image(
    grid: PatchGrid, point: tuple[float, float, float]
) -> None:
    voxel = grid.voxels(np.array(point))
    assert grid.world(voxel) == pytest.approx(point, abs=1e-6)
    image = grid.reference()
    assert image.GetSize() == (grid.size,) * 3
    assert image.TransformPhysicalPointToContinuousIndex(point) == pytest.approx(voxel, abs=1e-6)
    assert image.TransformContinuousIndexToPhysicalPoint([2.0, 0.5, 1.0]) == pytest.approx(
        grid.world(np.array([2.0, 0.5, 1.0])), abs=1e-6
    )


@unhurried
@given(patches)
def test_a_patch_lies_round_its_centre_and_begins_at_its_origin(grid: PatchGrid) -> None:
    corners = grid.world(np.array(list(itertools.product([-0.5, grid.size - 0.5], repeat=3))))
    assert corners.mean(axis=0) == pytest.approx(grid.centre, abs=1e-6)
    assert np.linalg.norm(corners[0] - corners[-1]) == pytest.approx(np.sqrt(3) * grid.extent)
    assert grid.voxels(np.array(grid.origin)) == pytest.approx([0, 0, 0], abs=1e-6)


@unhurried
@given(patches, st.integers(0, 2), st.sampled_from([-1, 1]), st.floats(0, 2), st.floats(-1, 1))
def test_margin_falls_from_the_centre_through_the_face(
    grid: PatchGrid, axis: int, side: int, share: float, aside: float
) -> None:
    away = np.full(3, aside * share)
    away[axis] = side * share
    voxel = (grid.size - 1) / 2 + away * grid.size / 2
    x, y, z = grid.world(voxel)
    assert grid.margin((x, y, z)) == pytest.approx(1 - share, abs=1e-6)


def test_a_patch_array_becomes_an_image_that_knows_where_each_voxel_lies() -> None:
    grid = PatchGrid((5.0, -7.0, 11.0), 1.5, 4, oblique(40))
    array = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    image = grid.image(array)
    for voxel in [(0, 0, 0), (3, 0, 0), (0, 2, 0), (1, 2, 3)]:
        x, y, z = grid.world(np.array(voxel))
        assert image[image.TransformPhysicalPointToIndex((x, y, z))] == array[voxel]


# Boxes of voxels


@unhurried
@given(boxes, boxes)
def test_boxes_intersect_and_unite_as_sets_of_voxels(a: Region, b: Region) -> None:
    common = a.intersection(b)
    assert voxels_of(common) == voxels_of(a) & voxels_of(b)
    assert all(start <= stop for start, stop in zip(common.start, common.stop, strict=True))
    assert len(voxels_of(a)) == np.prod(a.size) and a.empty == (not voxels_of(a))
    both = voxels_of(a) | voxels_of(b)
    united = a.union(b)
    assert both <= voxels_of(united)
    if both:
        assert np.array_equal(united.start, np.min(list(both), axis=0))
        assert np.array_equal(united.stop, np.max(list(both), axis=0) + 1)
    else:
        assert united.empty


# Images


@unhurried
@given(image_grids(), st.tuples(*[st.floats(-50, 50)] * 3))
def test_image_index_and_point_are_inverse_and_those_of_simpleitk(
    grid: ImageGrid, index: tuple[float, float, float]
) -> None:
    image = grid.reference(grid.whole)
    assert ImageGrid.of(image) == grid
    point = grid.point(np.array(index))
    assert point == pytest.approx(image.TransformContinuousIndexToPhysicalPoint(index), abs=1e-6)
    assert grid.index(point) == pytest.approx(index, abs=1e-6)


@unhurried
@given(image_grids(), st.integers(0, 2), st.booleans(), st.floats(0.01, 30))
def test_an_image_ends_at_the_faces_of_its_outer_voxels(
    grid: ImageGrid, axis: int, high: bool, distance: float
) -> None:
    index = (np.array(grid.size) - 1) / 2
    face = grid.size[axis] - 0.5 if high else -0.5
    index[axis] = face + (distance if high else -distance)
    assert not grid.contains(grid.point(index))
    index[axis] = face - min(distance, 0.4) * (1 if high else -1)
    assert grid.contains(grid.point(index))


@unhurried
@given(
    directions(),
    st.tuples(*[st.floats(0.3, 2)] * 3),
    st.builds(PatchGrid, points, st.floats(1, 6), st.integers(1, 5), directions()),
    st.tuples(*[st.floats(-0.2, 1.2)] * 3),
)
def test_the_region_of_a_patch_holds_every_voxel_whose_centre_lies_in_it(
    direction: tuple[float, ...], spacing: tuple[float, ...], patch: PatchGrid, place: tuple[float, ...]
) -> None:
    frame = ImageGrid((12, 12, 12), (0.0, 0.0, 0.0), spacing, direction)
    # The patch lies somewhere in or beside the image.
    i, j, k = np.array(patch.centre) - frame.point(np.array(place) * 12)
    grid = replace(frame, origin=(float(i), float(j), float(k)))
    region = grid.region_of(patch)
    indices = np.array(list(itertools.product(*map(range, grid.size))))
    voxels = patch.voxels(np.array([grid.point(index) for index in indices]))
    inside = np.all((voxels >= -0.5) & (voxels <= patch.size - 0.5), axis=1)
    assert {tuple(map(int, index)) for index in indices[inside]} <= voxels_of(region)
    assert region.intersection(grid.whole) == region or region.empty


def test_voxels_whose_centre_lies_on_the_face_of_a_patch_belong_to_its_region() -> None:
    grid = ImageGrid((20, 20, 20), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), AXIAL)
    region = grid.region_of(PatchGrid((5.0, 6.0, 7.0), 2.0, 2))
    assert voxels_of(Region((3, 4, 5), (8, 9, 10))) <= voxels_of(region)


@unhurried
@given(st.floats(0.3, 4), st.floats(0.3, 4), st.integers(1, 20), st.floats(-3, 3))
def test_the_region_of_a_straight_patch_is_no_larger_than_the_patch(
    spacing: float, patch_spacing: float, size: int, shift: float
) -> None:
    grid = ImageGrid((500, 500, 500), (0.0, 0.0, 0.0), (spacing,) * 3, AXIAL)
    patch = PatchGrid((250 * spacing + shift, 250 * spacing, 250 * spacing), patch_spacing, size)
    assert max(grid.region_of(patch).size) <= patch.extent / spacing + 3


@unhurried
@given(image_grids())
def test_a_part_of_an_image_keeps_its_place(grid: ImageGrid) -> None:
    region = Region((1, 2, 3), (4, 4, 4))
    array = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    for part in (grid.image(array, region), grid.reference(region)):
        assert part.GetSize() == region.size
        assert part.GetSpacing() == grid.spacing and part.GetDirection() == grid.direction
        last = part.TransformIndexToPhysicalPoint((2, 1, 0))
        assert grid.index(last) == pytest.approx([3, 3, 3], abs=1e-6)
    assert grid.image(array, region)[2, 1, 0] == 5


@unhurried
@given(image_grids(300), st.data())
def test_grids_match_as_long_as_no_voxel_moves(grid: ImageGrid, data: st.DataObject) -> None:
    assert grid.matches(grid)
    axis = data.draw(st.integers(0, 2))
    longer = list(grid.size)
    longer[axis] += 1
    assert not grid.matches(ImageGrid(tuple(longer), grid.origin, grid.spacing, grid.direction))
    for moved, same in ((3e-5, True), (1e-3, False)):
        index = np.zeros(3)
        index[axis] = moved
        shifted = ImageGrid(grid.size, grid.point(index), grid.spacing, grid.direction)
        assert grid.matches(shifted) is same


@pytest.mark.parametrize(("length", "same"), [(5, True), (200, False)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_error_of_the_spacing_counts_by_what_it_adds_up_to(axis: int, length: int, same: bool) -> None:
    size, spacing = [4, 4, 4], [1.0, 2.0, 3.0]
    size[axis] = length
    grid = ImageGrid(tuple(size), (5.0, 6.0, 7.0), (1.0, 2.0, 3.0), oblique(20))
    spacing[axis] *= 1 + 1e-5
    assert grid.matches(ImageGrid(grid.size, grid.origin, tuple(spacing), grid.direction)) is same


def test_one_set_of_voxels_described_from_another_corner_is_another_grid() -> None:
    grid = ImageGrid((4, 5, 6), (0.0, 0.0, 0.0), (1.0, 1.0, 2.0), AXIAL)
    mirrored = ImageGrid((4, 5, 6), (0.0, 4.0, 0.0), (1.0, 1.0, 2.0), LEFT_HANDED)
    assert not grid.matches(mirrored)


# Patches cut from images

IMAGES = {
    "axial": (AXIAL, (1.0, 1.0, 1.0)),
    "coronal": (CORONAL, (0.9, 1.1, 1.3)),
    "sagittal": (SAGITTAL, (1.2, 0.8, 1.0)),
    "left-handed": (LEFT_HANDED, (1.0, 1.0, 1.5)),
    "oblique": (oblique(25), (1.0, 1.0, 1.0)),
    "oblique left-handed thick slices": (
        tuple((np.array(oblique(-50)).reshape(3, 3) * [1, 1, -1]).ravel().tolist()),
        (0.6, 0.6, 4.0),
    ),
}
GRADIENT = np.array([1.0, 10.0, 100.0])


def linear_image(direction: Sequence[float], spacing: Sequence[float], side: float = 60.0) -> sitk.Image:
    """Return an image round (10, 20, 30) whose value is ``x + 10 y + 100 z``, about ``side`` mm long."""
    size = [int(side / s) + 2 for s in spacing]
    matrix = np.array(direction).reshape(3, 3) * spacing
    origin = np.array([10.0, 20.0, 30.0]) - matrix @ ((np.array(size) - 1) / 2)
    index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    values = (index @ matrix.T + origin) @ GRADIENT
    image = sitk.GetImageFromArray(values.astype(np.float32).transpose(2, 1, 0))
    image.SetOrigin(origin.tolist())
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


LINEAR_IMAGES = {name: linear_image(*options) for name, options in IMAGES.items()}


def world_of(grid: PatchGrid) -> np.ndarray:
    """Return LPS millimetres (n, n, n, 3) of all voxels of a patch."""
    return grid.world(np.stack(np.meshgrid(*[np.arange(grid.size)] * 3, indexing="ij"), axis=-1))


@unhurried
@given(
    st.sampled_from(list(IMAGES)),
    directions(),
    st.tuples(*[st.floats(-4, 4)] * 3),
    st.floats(0.4, 2.4),
    st.booleans(),
)
def test_a_patch_has_the_values_of_the_world_where_it_lies(
    name: str, axes: tuple[float, ...], shift: tuple[float, ...], spacing: float, antialias: bool
) -> None:
    x, y, z = np.array([10.0, 20.0, 30.0]) + shift
    grid = PatchGrid((x, y, z), spacing, min(16, int(24 / spacing)), axes)
    patch = extract_patch(LINEAR_IMAGES[name], grid, antialias=antialias)
    assert patch.dtype == np.float32 and patch.shape == (grid.size,) * 3
    assert np.abs(patch - world_of(grid) @ GRADIENT).max() < 0.05


@pytest.mark.parametrize("name", IMAGES)
def test_patch_axes_run_to_right_anterior_and_superior(name: str) -> None:
    patch = extract_patch(LINEAR_IMAGES[name], PatchGrid((10.0, 20.0, 30.0), 1.5, 8))
    steps = [float(np.diff(patch, axis=axis).mean()) for axis in range(3)]
    assert steps == pytest.approx([-1.5, -15.0, 150.0], abs=0.05)


@pytest.mark.parametrize("name", IMAGES)
def test_outside_the_image_a_patch_is_zero_or_what_was_asked_for(name: str) -> None:
    image = LINEAR_IMAGES[name]
    grid = PatchGrid((10.0, 20.0, 30.0), 4.0, 32)
    frame = ImageGrid.of(image)
    index = np.array([frame.index(tuple(p)) for p in world_of(grid).reshape(-1, 3)])
    beyond = np.maximum(-index, index - (np.array(frame.size) - 1)).max(axis=1).reshape((grid.size,) * 3)
    values = world_of(grid) @ GRADIENT
    for outside in (0.0, -30000.0):
        patch = extract_patch(image, grid, outside=outside)
        assert (patch[beyond > 0.51] == outside).all()
        assert np.abs(patch - values)[beyond < 0].max() < 0.05
    assert (beyond > 0.51).any() and (beyond < 0).any()


def test_nearest_keeps_labels_as_they_are() -> None:
    labels = sitk.GetImageFromArray(np.random.default_rng(0).choice([0, 3, 7], (20, 20, 20)).astype(np.uint8))
    grid = PatchGrid((9.5, 9.5, 9.5), 0.7, 16, oblique(30))
    assert set(np.unique(extract_patch(labels, grid, nearest=True))) == {0, 3, 7}
    assert len(np.unique(extract_patch(labels, grid))) > 100


def test_a_patch_of_one_voxel_outlives_the_image_that_it_was_sampled_from() -> None:
    image = sitk.Image((3, 3, 3), sitk.sitkInt16) + 7
    patch = extract_patch(image, PatchGrid((1.0, 1.0, 1.0), 1.0, 1))
    assert patch.flags.owndata and patch.item() == 7


def test_antialias_averages_over_the_voxels_that_a_coarse_patch_would_skip() -> None:
    array = np.random.default_rng(0).normal(0, 100, (16, 16, 16)).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    grid = PatchGrid((7.5, 7.5, 7.5), 2.0, 8, AXIAL)
    blocks = array.transpose(2, 1, 0).reshape(8, 2, 8, 2, 8, 2).mean(axis=(1, 3, 5))
    assert extract_patch(image, grid, antialias=True) == pytest.approx(blocks, abs=1e-3)
    coarse = PatchGrid((8.0, 8.0, 8.0), 2.0, 7, AXIAL)  # its voxels lie on every other voxel of the image
    assert extract_patch(image, coarse) == pytest.approx(array.transpose(2, 1, 0)[2:15:2, 2:15:2, 2:15:2])


def test_antialias_leaves_a_patch_as_fine_as_the_image_alone() -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(0, 1, (16, 16, 16)).astype(np.float32))
    grid = PatchGrid((7.2, 7.4, 7.9), 1.5, 8, oblique(10))
    assert np.array_equal(extract_patch(image, grid, antialias=True), extract_patch(image, grid))


@pytest.mark.parametrize("size", [(8, 8), (8, 8, 8, 2)])
def test_an_image_without_three_dimensions_is_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=f"{len(size)} dimensions"):
        extract_patch(sitk.Image(size, sitk.sitkInt16), PatchGrid((0.0, 0.0, 0.0), 1.0, 4))
