"""A mask in a cube of cells: what of it each cell holds, and the mask that logits in the cube make of it."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.geometry import ImageGrid, PatchGrid, Region, extract_patch
from MSAMLogic.voxels import BoolArray, VoxelSet

# A cell is no finer than this share of the image's finest voxel side, and no coarser than so many mm.
_FINEST_SHARE = 0.5
_COARSEST_MM = 5.0
_FAR_CELLS = 8.0  # a cell is no farther from an edge than this; most cubes hold none so far away
_REDRAWN_CELLS = 2  # round cells that change, so that no crust of the old edge is left


def possible_spacing(spacing: float, image: ImageGrid) -> float:
    """Return the millimetres a side that a cell may have: not much finer than the voxels, nor very coarse."""
    return float(np.clip(spacing, _FINEST_SHARE * min(image.spacing), _COARSEST_MM))


def mask_share(mask: VoxelSet, image: ImageGrid, cube: PatchGrid) -> NDArray[np.float32]:
    """Return the share (n, n, n) of each cell that a mask holds; it costs what the mask in the cube costs."""
    region = image.region_of(cube).intersection(mask.region)
    if region.empty:
        return np.zeros((cube.size,) * 3, np.float32)
    # One voxel more on each side, so that the mask fades out rather than ends with its box.
    (i, j, k), (x, y, z) = region.start, region.stop
    region = Region((i - 1, j - 1, k - 1), (x + 1, y + 1, z + 1))
    return extract_patch(image.image(mask.read(region).astype(np.uint8), region), cube, antialias=True)


def edge_distance(share: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the cells (n, n, n) to the edge of a mask, positive inside, at most 8 either way."""
    inside = share > 0.5
    if inside.all() or not inside.any():
        return np.full(share.shape, _FAR_CELLS if inside.any() else -_FAR_CELLS, np.float32)
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return np.asarray(np.clip(distance, -_FAR_CELLS, _FAR_CELLS), np.float32)


def redrawn_mask(
    mask: VoxelSet,
    image: ImageGrid,
    cube: PatchGrid,
    before: NDArray[np.float32],
    logits: NDArray[np.float32],
) -> VoxelSet:
    """Return a mask that is what the logits say where they change it, and what it was elsewhere.

    Away from what changes the mask stays to the voxel, within the cube too: cells may be larger than voxels,
    and an edge that nobody complained of must not be drawn anew at their resolution.

    Args:
        mask: as it was.
        image: its grid.
        cube: of cells, round a click or a lesion.
        before: (n, n, n) what the cube showed of the mask, see :func:`mask_share`.
        logits: (n, n, n) in the cube.
    """
    differs = (logits > 0) != (before > 0.5)
    # A box is the same along one axis after the other, and takes a fraction of a dilation's time.
    near = ndimage.maximum_filter(differs, 2 * _REDRAWN_CELLS + 1, mode="constant")
    within = image.region_of_cells(cube, near)
    if within.empty:
        return mask
    reference = image.reference(within)

    def sampled(values: NDArray[np.float32]) -> NDArray[np.float32]:
        placed = sitk.Resample(
            cube.image(values), reference, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32
        )
        found: NDArray[np.float32] = sitk.GetArrayFromImage(placed)
        return found

    changes = sampled(near.astype(np.float32)) > 0.5
    region = within.union(mask.region)
    voxels = mask.read(region)
    k, j, i = (
        slice(a - c, b - c)
        for a, b, c in zip(reversed(within.start), reversed(within.stop), reversed(region.start), strict=True)
    )
    inner: BoolArray = voxels[k, j, i]
    voxels[k, j, i] = np.where(changes, sampled(logits) > 0, inner)
    return VoxelSet.of(voxels, region)
