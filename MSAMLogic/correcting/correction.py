"""A correcting click, what is known round it, and what clicks ask of the mask there.

A reader clicks the middle of what is wrong. The click's distance to the present mask's edge therefore
says how deep the error is, and with it how far the edge should move: the cube's spacing is a share of
that distance, so that to a corrector every error is of the same size, a nodule's rim and half a sarcoma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MSAMLogic.geometry import ImageGrid, PatchGrid, Point, Region
from MSAMLogic.mask_in_cube import edge_distance, possible_spacing
from MSAMLogic.voxels import BoolArray, VoxelSet

CUBE_SIZE = 32
# Cells of the cube between the click and the edge of the mask.
_CELLS_OF_DEPTH = 2.0
_NEAR_VOXELS = 4.0  # of the thickest kind; most clicks lie so near to an edge


@dataclass(frozen=True, eq=False)
class Correction:
    """A correcting click and what is known round it.

    Attributes:
        cube: round the click, n cells a side.
        image: (n, n, n) scanner values, NaN beyond the image.
        before: (n, n, n) share of each cell that the mask holds that was clicked at, 0 to 1.
        answer: (n, n, n) logits of the network's answer to all clicks, this one included.
        coords: (N, 3) the clicks in cells of the cube, the correcting one last; others may lie outside.
        labels: (N,) 1 for the lesion, 0 for background.
        depth: cells between that click and the edge of the mask.
        voxel: (3,) how many cells long a voxel of the image is along each axis of the cube.
    """

    cube: PatchGrid
    image: NDArray[np.float32]
    before: NDArray[np.float32]
    answer: NDArray[np.float32]
    coords: NDArray[np.float32]
    labels: NDArray[np.int64]
    depth: float
    voxel: NDArray[np.float32]

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Return all of it as a corrector takes it, and after ``before`` the distance to its edge."""
        distance = edge_distance(self.before)
        depth = np.asarray(self.depth, np.float32)
        return (self.image, self.before, distance, self.answer, self.coords, self.labels, depth, self.voxel)


def click_depth(mask: VoxelSet, image: ImageGrid, point: Point, positive: bool) -> float:
    """Return the millimetres from a click to the nearest voxel that the mask labels as the click does.

    0 when the click only confirms the mask. What lies beyond the image is background.

    Args:
        mask: the mask that was clicked at, not empty.
        image: its grid.
        point: LPS millimetres of the click.
        positive: whether the click is for the lesion.
    """
    centre = np.asarray(image.nearest(point))
    spacing = np.asarray(image.spacing)
    to_world = np.asarray(image.direction).reshape(3, 3) * spacing
    reach = _NEAR_VOXELS * float(spacing.max())
    while True:
        steps = np.ceil(reach / spacing).astype(int)
        region = _box(centre - steps, centre + steps + 1)
        nearest = _nearest(mask.read(region) == positive, region, centre, to_world)
        if nearest <= reach:
            return nearest
        if positive:  # farther away: all of the mask is no larger than what lies between
            return _nearest(mask.read(mask.region), mask.region, centre, to_world)
        reach *= 2


def _box(low: NDArray[np.intp], high: NDArray[np.intp]) -> Region:
    start, stop = (tuple(int(v) for v in corner) for corner in (low, high))
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _nearest(
    alike: BoolArray, region: Region, centre: NDArray[np.intp], to_world: NDArray[np.float64]
) -> float:
    """Return the millimetres from a voxel to the nearest of a box (k, j, i) that is true; inf without one."""
    i, j, k = (
        np.arange(start - at, stop - at, dtype=np.float32)
        for start, stop, at in zip(region.start, region.stop, centre, strict=True)
    )
    along = (i[None, None, :], j[None, :, None], k[:, None, None])
    metric = (to_world.T @ to_world).astype(np.float32)  # diagonal, but for a scan with gantry tilt
    total = along[0] ** 2 * metric[0, 0] + along[1] ** 2 * metric[1, 1] + along[2] ** 2 * metric[2, 2]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        if abs(metric[a, b]) > 1e-6:
            total = total + 2 * metric[a, b] * along[a] * along[b]
    return math.sqrt(total.min(where=alike, initial=np.inf))


def correction_cube(depth: float, image: ImageGrid, point: Point, axes: tuple[float, ...]) -> PatchGrid:
    """Return the cube round a click that lies so many millimetres deep in an error."""
    return PatchGrid(point, possible_spacing(depth / _CELLS_OF_DEPTH, image), CUBE_SIZE, axes)


def varied_cube(cube: PatchGrid, image: ImageGrid, factor: float) -> PatchGrid:
    """Return a cube with a spacing so many times as large, as far as that makes sense."""
    return replace(cube, spacing=possible_spacing(cube.spacing * factor, image))


def obeys(logits: NDArray[np.float32], correction: Correction) -> bool:
    """Whether logits (n, n, n) say at the correcting click what it asks for."""
    n = logits.shape[0]
    middle = (slice((n - 1) // 2, n // 2 + 1),) * 3
    return bool((logits[middle].mean() > 0) == bool(correction.labels[-1]))


def made_to_obey(
    logits: NDArray[np.floating], correction: Correction, depths: float = 0.5
) -> NDArray[np.float32]:
    """Return logits that obey the correcting click, so many times as far round it as the error is deep."""
    sign = 1.0 if correction.labels[-1] else -1.0
    near = distance_from(correction.coords[-1], logits.shape[0]) < max(depths * correction.depth, 1.0)
    return np.where(near, sign, logits).astype(np.float32)


def distance_from(coords: NDArray[np.float32], size: int) -> NDArray[np.floating]:
    """Return the distance (n, n, n) in cells of each cell of a cube from a place (3,) in cells."""
    cells = np.moveaxis(np.indices((size,) * 3, np.float32), 0, -1)
    return np.asarray(np.linalg.norm(cells - coords, axis=-1))


def obeying_earlier_clicks(logits: NDArray[np.float32], correction: Correction) -> NDArray[np.float32]:
    """Return logits that do not take back what earlier clicks asked for and had.

    Where a correction would contradict an earlier click, the mask stays as it was in all cells that lie
    nearer to that click than to the correcting one. The same array where there is nothing to take back.

    Args:
        logits: (n, n, n) what a corrector says.
        correction: what it was asked.
    """
    before = 2 * correction.before - 1
    contradicted = []
    for coords, label in zip(correction.coords[:-1], correction.labels[:-1], strict=True):
        i, j, k = np.rint(coords).astype(int)
        if all(0 <= v < logits.shape[0] for v in (i, j, k)):
            was_right, is_right = ((values[i, j, k] > 0) == bool(label) for values in (before, logits))
            if was_right and not is_right:
                contradicted.append(coords)
    if not contradicted:
        return logits
    size = logits.shape[0]
    from_newest = distance_from(correction.coords[-1], size)
    stays = np.zeros(logits.shape, bool)
    for coords in contradicted:
        stays |= distance_from(coords, size) < from_newest
    return np.where(stays, before, logits).astype(np.float32)
