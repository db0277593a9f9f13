"""A mask in a cube of cells, and what logits in the cube make of it; needs no torch."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import GRID, box, centre_of, voxels
from images import oblique

from MSAMLogic.geometry import ImageGrid, PatchGrid, Region
from MSAMLogic.mask_in_cube import edge_distance, mask_share, redrawn_mask
from MSAMLogic.voxels import EMPTY, VoxelSet

N = 32


def redrawn(mask: VoxelSet, grid: ImageGrid, cube: PatchGrid, logits: np.ndarray) -> VoxelSet:
    return redrawn_mask(mask, grid, cube, mask_share(mask, grid, cube), logits)


@pytest.mark.parametrize("direction", [GRID.direction, oblique()])
def test_share_of_a_mask_keeps_its_volume(direction: tuple[float, ...]) -> None:
    grid = ImageGrid(GRID.size, GRID.origin, GRID.spacing, direction)
    mask = box(grid, (12, 14, 10), (22, 24, 18))
    cube = PatchGrid(centre_of(grid, (17, 19, 14)), 1.0, N)
    volume_mm3 = 10 * 10 * 8 * float(np.prod(grid.spacing))
    assert mask_share(mask, grid, cube).sum() == pytest.approx(volume_mm3, rel=0.02)


def test_share_is_nothing_where_the_mask_is_not() -> None:
    cube = PatchGrid(centre_of(GRID, (30, 30, 30)), 0.5, N)
    assert not mask_share(box(GRID, (0, 0, 0), (3, 3, 3)), GRID, cube).any()
    assert not mask_share(EMPTY, GRID, cube).any()


@pytest.mark.parametrize("direction", [GRID.direction, oblique()])
def test_redrawing_changes_the_cube_alone(direction: tuple[float, ...]) -> None:
    grid = ImageGrid(GRID.size, GRID.origin, GRID.spacing, direction)
    mask = box(grid, (4, 4, 4), (36, 40, 32))
    cube = PatchGrid(centre_of(grid, (20, 20, 18)), 0.5, N)
    after = voxels(redrawn(mask, grid, cube, np.full((N,) * 3, -1, np.float32)), grid)
    before = voxels(mask, grid)
    region = grid.region_of(cube)
    (i, j, k), (x, y, z) = region.start, region.stop
    outside = np.ones(before.shape, bool)
    outside[k:z, j:y, i:x] = False
    assert (after[outside] == before[outside]).all()
    assert not after[18, 20, 20]
    removed = float((before & ~after).sum() * np.prod(grid.spacing))
    assert removed == pytest.approx((cube.extent - cube.spacing) ** 3, rel=0.2)


def test_a_redrawn_mask_is_what_the_logits_say() -> None:
    cube = PatchGrid(centre_of(GRID, (20, 20, 18)), 1.0, N)
    radius = np.linalg.norm(np.stack(np.indices((N,) * 3)) - (N - 1) / 2, axis=0)
    ball = redrawn(box(GRID, (0, 0, 0), (2, 2, 2)), GRID, cube, (8 - radius).astype(np.float32))
    mask = voxels(ball, GRID)
    assert mask[:2, :2, :2].all()  # beyond the cube's ball, and beyond the cube
    assert (mask.sum() - 8) * np.prod(GRID.spacing) == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.05)


def test_redrawing_may_take_the_whole_mask_away() -> None:
    cube = PatchGrid(centre_of(GRID, (20, 20, 18)), 1.0, N)
    mask = box(GRID, (18, 18, 17), (22, 22, 20))
    assert redrawn(mask, GRID, cube, np.full((N,) * 3, -1, np.float32)).empty


def test_redrawing_in_a_corner_of_the_image_stays_within_it() -> None:
    cube = PatchGrid(centre_of(GRID, (0, 0, 0)), 1.0, N)
    after = redrawn(box(GRID, (0, 0, 0), (2, 2, 2)), GRID, cube, np.ones((N,) * 3, np.float32))
    assert after.region.intersection(GRID.whole) == after.region
    assert voxels(after, GRID)[:5, :5, :5].all()


def test_an_edge_that_the_logits_leave_alone_stays_to_the_voxel() -> None:
    grid = ImageGrid((60, 60, 60), (0.0, 0.0, 0.0), (0.7, 0.7, 0.7), oblique())
    rng = np.random.default_rng(0)
    mask = VoxelSet.of(rng.random((20, 20, 20)) < 0.7, Region((20, 20, 20), (40, 40, 40)))
    cube = PatchGrid(centre_of(grid, (30, 30, 30)), 2.5, N)  # cells far larger than voxels
    share = mask_share(mask, grid, cube)
    assert (voxels(redrawn(mask, grid, cube, share - 0.5), grid) == voxels(mask, grid)).all()


def test_no_crust_of_the_old_edge_is_left() -> None:
    grid = ImageGrid((60, 60, 60), (0.0, 0.0, 0.0), (0.7, 0.7, 0.7), oblique())
    mask = box(grid, (10, 10, 10), (50, 50, 50))
    cube = PatchGrid(centre_of(grid, (30, 30, 30)), 2.5, N)  # cells far larger than voxels
    taken = mask_share(mask, grid, cube) - 0.5
    taken[: N // 2] = -1
    after, before = voxels(redrawn(mask, grid, cube, taken), grid), voxels(mask, grid)
    index = np.argwhere(before)[:, ::-1]
    along = cube.voxels(np.array([grid.point(i) for i in index]))[:, 0]
    kept = after[before]
    assert not kept[along < N / 2 - 1].any()
    assert kept[along > N / 2 + 3].all()


def test_edge_distance_is_positive_inside_and_has_an_end() -> None:
    share = np.zeros((32, 32, 32))
    share[8:, :, :] = 1
    distance = edge_distance(share)
    assert distance[8, 0, 0] == 1 and distance[7, 0, 0] == -1
    assert distance[31, 0, 0] == 8 and distance[0, 5, 5] == -8
    assert (edge_distance(np.zeros((4, 4, 4))) == -8).all()
    assert (edge_distance(np.ones((4, 4, 4))) == 8).all()
