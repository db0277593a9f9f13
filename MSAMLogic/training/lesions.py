"""The connected lesions of a case, as training clicks them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MSAMLogic.geometry import ImageGrid, Point
from MSAMLogic.largest_error import deepest_voxel


@dataclass(frozen=True)
class Lesion:
    """One connected lesion of a case.

    Attributes:
        label: its value among the components.
        centre: LPS millimetres of the middle of its bounding box.
        extent: millimetres of the longest side of its bounding box.
        volume: cubic millimetres.
        deepest: LPS millimetres of the point farthest from its edge, where a reader clicks first.
    """

    label: int
    centre: Point
    extent: float
    volume: float
    deepest: Point


def lesions_of(grid: ImageGrid, labels: NDArray[np.integer]) -> list[Lesion]:
    """Return every component of an array of labels, the smallest too.

    Args:
        grid: where the labels lie.
        labels: (k, j, i), 0 is no lesion.
    """
    volume_mm3 = float(np.prod(grid.spacing)) * np.bincount(labels.ravel())
    found: list[Lesion] = []
    for label, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        if box is None:
            continue
        low = np.array([axis.start for axis in reversed(box)])
        high = np.array([axis.stop for axis in reversed(box)])
        centre = grid.point((low + high - 1) / 2)
        extent = float(((high - low) * np.asarray(grid.spacing)).max())
        voxel = deepest_voxel(labels[box] == label, grid.spacing[::-1])
        deepest = grid.point(low + voxel[::-1])
        found.append(Lesion(label, centre, extent, float(volume_mm3[label]), deepest))
    return found
