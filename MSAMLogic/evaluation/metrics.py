"""How much two masks agree: overlap of volumes and overlap of surfaces.

Masks are boolean arrays (k, j, i), as SimpleITK gives them; spacings are (z, y, x) in millimetres. Two
empty masks agree perfectly (1.0), an empty and a filled one not at all (0.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from MSAMLogic.bounding_box import Mask, bounding_box
from MSAMLogic.errors import ImageError

# Distances between voxels are sums of rounded products; a surface exactly at the tolerance counts as near.
_ROUNDING_MM = 1e-6


def dice(a: Mask, b: Mask) -> float:
    """Return the Dice coefficient, twice the common volume over the sum of volumes.

    Args:
        a: mask of any shape; what is not zero is inside.
        b: mask of the same shape.

    Returns:
        0 (disjoint) to 1 (equal); 1 when both are empty.

    Raises:
        ImageError: when the shapes differ.
    """
    a, b = _pair(a, b)
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / total) if total else 1.0


def intersection_over_union(a: Mask, b: Mask) -> float:
    """Return the Jaccard index, the common volume over the joint volume.

    Args:
        a: mask of any shape; what is not zero is inside.
        b: mask of the same shape.

    Returns:
        0 (disjoint) to 1 (equal); 1 when both are empty.

    Raises:
        ImageError: when the shapes differ.
    """
    a, b = _pair(a, b)
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def surface_dice(a: Mask, b: Mask, spacing: Sequence[float], tolerance_mm: float = 2.0) -> float:
    """Return the share of both surfaces that lies within ``tolerance_mm`` of the other surface.

    The definition is that of Nikolov et al. 2018 (arXiv:1809.04430). Their surfaces run between voxels,
    as marching cubes makes them; here a surface is the set of mask voxels with a face towards the
    outside (the image border is outside). Each stands for the area of those faces, so that the few
    large faces of thick slices are worth what they cover, and distances run from voxel centre to voxel
    centre. This changes a distance by at most one voxel and overrates the area of slanting parts
    alike in both masks.

    Only surface voxels are stored and searched, so the cost does not depend on the size of the image
    once both masks are found, nor on how far apart they lie.

    Args:
        a: mask (k, j, i).
        b: mask of the same shape.
        spacing: (z, y, x) in millimetres.
        tolerance_mm: largest distance that counts as agreement.

    Returns:
        0 to 1; 1 when both masks are empty.

    Raises:
        ImageError: when the shapes differ, the masks have not three dimensions, or the spacing or the
            tolerance cannot be.
    """
    a, b = _pair(a, b)
    if a.ndim != 3 or len(spacing) != 3 or min(spacing) <= 0 or tolerance_mm < 0:
        raise ImageError(
            f"A surface needs masks (k, j, i), a positive spacing (z, y, x) and a tolerance of at least 0 "
            f"mm, not shape {a.shape}, spacing {tuple(spacing)} and tolerance {tolerance_mm}."
        )
    points_a, areas_a = _surface(a, spacing)
    points_b, areas_b = _surface(b, spacing)
    if not len(points_a) or not len(points_b):
        return 1.0 if len(points_a) == len(points_b) else 0.0
    near = _area_near(points_a, areas_a, points_b, tolerance_mm)
    near += _area_near(points_b, areas_b, points_a, tolerance_mm)
    return float(near / (areas_a.sum() + areas_b.sum()))


def _pair(a: NDArray[Any], b: NDArray[Any]) -> tuple[Mask, Mask]:
    if a.shape != b.shape:
        raise ImageError(f"Masks of shapes {a.shape} and {b.shape} cannot be compared; give one grid.")
    return a.astype(bool, copy=False), b.astype(bool, copy=False)


def _surface(mask: Mask, spacing: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres (n, 3) in millimetres and outward face areas (n,) in mm² of the surface voxels."""
    box = bounding_box(mask)
    if box is None:
        return np.empty((0, 3)), np.empty(0)
    inside = np.pad(mask[box], 1)
    area = np.zeros(inside.shape)
    for axis in range(3):
        face = np.prod(spacing) / spacing[axis]
        for step in (-1, 1):  # the padding keeps what rolls around out of the mask
            area += face * (inside & ~np.roll(inside, step, axis))
    voxels = np.argwhere(area)
    corner = np.array([axis.start - 1 for axis in box])
    return (voxels + corner) * np.asarray(spacing, float), area[tuple(voxels.T)]


def _area_near(
    points: NDArray[np.float64], areas: NDArray[np.float64], others: NDArray[np.float64], tolerance_mm: float
) -> float:
    distance, _ = spatial.cKDTree(others).query(points, distance_upper_bound=tolerance_mm + _ROUNDING_MM)
    return float(areas[np.isfinite(distance)].sum())
