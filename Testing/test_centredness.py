"""How far in the middle of a mask a click lies."""

from __future__ import annotations

import numpy as np
import pytest

from MSAMLogic.geometry import ImageGrid
from MSAMLogic.looking.centredness import centredness
from MSAMLogic.voxels import EMPTY, VoxelSet

SPACING = (1.0, 1.0, 4.0)
GRID = ImageGrid((40, 40, 12), (0.0, 0.0, 0.0), SPACING, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def ball(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    """Return (k, j, i) of a ball of millimetres round a voxel (i, j, k)."""
    k, j, i = np.indices(GRID.size[::-1])
    offsets = [(a - b) * s for a, b, s in zip((i, j, k), centre, SPACING, strict=True)]
    return sum(offset**2 for offset in offsets) <= radius**2


def voxels(array: np.ndarray) -> VoxelSet:
    return VoxelSet.of(array, GRID.whole)


def test_the_middle_is_wholly_centred_and_the_outside_not_at_all() -> None:
    mask = voxels(ball((20, 20, 6), 12.0))
    assert centredness(mask, GRID, (20, 20, 6)) == 1
    assert centredness(mask, GRID, (34, 20, 6)) == 0
    assert centredness(EMPTY, GRID, (20, 20, 6)) == 0


def test_it_falls_towards_the_edge_as_the_depth_in_millimetres_does() -> None:
    mask = voxels(ball((20, 20, 6), 12.0))
    along = [centredness(mask, GRID, (20 + step, 20, 6)) for step in (0, 3, 6, 9, 12)]
    assert along == sorted(along, reverse=True) and along[-1] < 0.15
    assert along[2] == pytest.approx(0.5, abs=0.12)
    # Four millimetres up in one step, not one.
    assert centredness(mask, GRID, (20, 20, 7)) == pytest.approx(
        centredness(mask, GRID, (24, 20, 6)), abs=0.1
    )


def test_only_the_part_that_is_clicked_counts() -> None:
    both = voxels(ball((8, 8, 6), 5.0) | ball((26, 26, 6), 11.0))
    assert centredness(both, GRID, (8, 8, 6)) == 1


def test_a_mask_at_the_border_of_the_image_ends_there() -> None:
    array = np.zeros(GRID.size[::-1], bool)
    array[:, :, :9] = True
    mask = voxels(array)
    assert centredness(mask, GRID, (4, 20, 6)) == 1
    assert centredness(mask, GRID, (0, 20, 6)) < 0.3
