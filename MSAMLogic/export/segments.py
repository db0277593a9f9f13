"""A segment: a mask with what other software should know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSAMLogic.errors import ImageError
from MSAMLogic.export.terminology import ABNORMAL, LESION, Code
from MSAMLogic.geometry import ImageGrid, Region
from MSAMLogic.voxels import VoxelSet

Colour = tuple[float, float, float]

# Told apart also by people who do not see red and green as different.
COLOURS: tuple[Colour, ...] = (
    (0.89, 0.42, 0.29),
    (0.34, 0.71, 0.91),
    (0.94, 0.89, 0.26),
    (0.0, 0.62, 0.45),
    (0.8, 0.47, 0.65),
    (0.0, 0.45, 0.7),
    (0.84, 0.37, 0.0),
)
_OFF_GRID = 0.02  # voxels; NIfTI has single precision


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        mask: lesion where it is not 0; for fractional files, values from 0 to 1.
        name: what people read.
        colour: red, green and blue from 0 to 1; what to show it in.
        category: the kind of thing, coded.
        type: the thing itself, coded.
        region: where in the body, coded; ``None`` leaves it open.
        tracking_uid: names this lesion in all of its files; made up where it is ``None``.
        tracking_id: the same for people; the name where it is ``None``.
    """

    mask: sitk.Image = field(repr=False)
    name: str = "Lesion"
    colour: Colour = COLOURS[0]
    category: Code = ABNORMAL
    type: Code = LESION
    region: Code | None = None
    tracking_uid: str | None = None
    tracking_id: str | None = None


def check_is_mask(mask: sitk.Image) -> None:
    """Raise :class:`ImageError` unless ``mask`` is a single 3D volume with one value a voxel."""
    if mask.GetDimension() != 3 or mask.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError("The mask must be a single 3D volume with one value a voxel.")


def place(mask: sitk.Image, grid: ImageGrid) -> tuple[NDArray[np.generic], Region]:
    """Return a mask's values on the voxels of a grid, without resampling.

    The mask may cover a part of the grid, and may have its axes in another order or direction, as files
    of other formats do; its voxels have to be the grid's.

    Returns:
        The values (k, j, i) of the tight box of voxels that are not 0, and that box.

    Raises:
        ImageError: when the mask is no 3D scalar image, lies on other voxels, or reaches beyond the grid.
    """
    check_is_mask(mask)
    own = ImageGrid.of(mask)
    first = grid.index(own.origin)
    steps = np.stack([grid.index(own.point(unit)) - first for unit in np.eye(3)], axis=1)
    turn = np.rint(steps)
    is_turn = np.array_equal(np.abs(turn).sum(axis=0), [1, 1, 1]) and abs(round(np.linalg.det(turn))) == 1
    drift = np.abs(steps - turn) @ np.array(own.size) + np.abs(first - np.rint(first))
    if not is_turn or drift.max() > _OFF_GRID:
        raise ImageError(
            "The mask does not lie on the scan's voxels; make it on this scan, or resample it to the scan."
        )
    # For each axis of the grid, the mask's axis along it and whether both run the same way.
    axes = np.abs(turn).argmax(axis=1)
    signs = turn[range(3), axes]
    array = sitk.GetArrayViewFromImage(mask).transpose(2, 1, 0).transpose(axes)
    array = array[tuple(slice(None, None, int(sign)) for sign in signs)]
    lengths = np.array(own.size)[axes]
    start = np.rint(first).astype(int) - np.where(signs < 0, lengths - 1, 0)
    i, j, k = (int(v) for v in start)
    ni, nj, nk = (int(v) for v in lengths)
    region = Region((i, j, k), (i + ni, j + nj, k + nk))
    array = array.transpose(2, 1, 0)
    box = VoxelSet.of(np.asarray(array != 0), region).region
    if box.intersection(grid.whole) != box:
        raise ImageError("The mask reaches beyond the scan; make it on this scan.")
    cut = tuple(slice(a - c, b - c) for a, b, c in zip(box.start, box.stop, region.start, strict=True))
    return (array[cut[::-1]] if not box.empty else array[:0, :0, :0]), box


def fill(segments: Sequence[Segment], grid: ImageGrid) -> list[NDArray[np.bool_]]:
    """Return (k, j, i) of the whole grid for each segment, true in it.

    Raises:
        ImageError: as :func:`place`.
    """
    filled = []
    for segment in segments:
        values, box = place(segment.mask, grid)
        array = np.zeros(grid.size[::-1], np.bool_)
        array[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))[::-1]] = values != 0
        filled.append(array)
    return filled
