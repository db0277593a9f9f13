"""Boxes of voxels on a grid whose voxels have three different sides."""

from __future__ import annotations

import numpy as np

from MSAMLogic.geometry import ImageGrid, Region
from MSAMLogic.voxels import VoxelSet

GRID = ImageGrid((40, 44, 36), (5.0, -7.0, 3.0), (1.0, 1.5, 2.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def box(grid: ImageGrid, start: tuple[int, int, int], stop: tuple[int, int, int]) -> VoxelSet:
    """Return the voxels (i, j, k) from ``start`` up to ``stop``."""
    region = Region(start, stop)
    return VoxelSet.of(np.ones(tuple(reversed(region.size)), bool), region)


def voxels(mask: VoxelSet, grid: ImageGrid) -> np.ndarray:
    """Return (k, j, i) of the whole grid, true in the mask."""
    return mask.read(grid.whole)


def centre_of(grid: ImageGrid, index: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return LPS millimetres of a voxel's centre."""
    return grid.point(np.array(index))
